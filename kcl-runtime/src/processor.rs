//! The trait that users implement, and its inputs.

use kcl_protocol::{InitializeInput, ProcessRecordsInput, Record};

use crate::error::NoDeadLetters;
use crate::{Checkpointer, ProcessorError, Result, ShardEndCheckpointer};

/// Processes the records of one shard. Each shard has a process of its own.
///
/// Only [`process_records`](Self::process_records) is required. The daemon delivers each record at
/// least once: after a failure or when the shard changes hands, delivery starts again after the last
/// checkpoint.
///
/// What follows from an error depends on the method:
///
/// | method | an error |
/// | --- | --- |
/// | `initialize` | ends the process |
/// | `process_records` | leads to what [`OnError`](crate::OnError) says |
/// | `flush` | is retried if [`OnError`](crate::OnError) retries, then ends the process |
/// | `dead_letter` | is retried if [`OnError`](crate::OnError) retries, then ends the process |
/// | `shard_ended` and `flush` after it | is retried as [`Runtime::shard_end_retry`](crate::Runtime::shard_end_retry) says, then ends the process |
/// | `lease_lost`, `shutdown_requested` and `flush` after it | is logged, and nothing is checkpointed, so the records are delivered again |
///
/// That the process ends means: it prints one line to stderr, sends no status for the message, and
/// exits with a [code](crate::RunError#exit-codes). The daemon then stops its whole worker.
///
/// A processor that counts words and writes the counts every 1,000 records or ten seconds:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{
///     Cadence, Checkpointer, ProcessRecordsInput, RecordProcessor, Result, Runtime,
///     for_each_record,
/// };
///
/// #[derive(Default)]
/// struct Words {
///     counts: BTreeMap<String, u64>,
///     written: Vec<String>,
/// }
///
/// impl RecordProcessor for Words {
///     fn process_records(
///         &mut self,
///         input: &ProcessRecordsInput<'_>,
///         _: &mut Checkpointer<'_>,
///     ) -> Result {
///         for_each_record(input, |record| {
///             for word in str::from_utf8(record.data)?.split_whitespace() {
///                 *self.counts.entry(word.to_owned()).or_default() += 1;
///             }
///             Ok(())
///         })
///     }
///
///     fn flush(&mut self) -> Result {
///         for (word, count) in std::mem::take(&mut self.counts) {
///             self.written.push(format!("{word}: {count}"));
///         }
///         Ok(())
///     }
/// }
///
/// let mut words = Words::default();
/// let cadence = Cadence::every_records(1_000).or_every(Duration::from_secs(10));
/// let report = Daemon::new()
///     .batch(["a b", "a"])
///     .shutdown_requested()
///     .run_with(Runtime::new().cadence(cadence), &mut words);
/// report.outcome.unwrap();
/// assert_eq!(words.written, ["a: 2", "b: 1"]);
/// assert_eq!(report.checkpoints, ["2/0"]);
/// ```
pub trait RecordProcessor {
    /// The first call: tells which shard this process has, and after which checkpoint its records
    /// start. [`per_shard`](crate::per_shard) creates the processor at this time instead.
    ///
    /// # Errors
    /// End the process.
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        let _ = input;
        Ok(())
    }

    /// Processes a batch of records, oldest first. The batch may be empty.
    ///
    /// # Errors
    /// Lead to what [`OnError`](crate::OnError) says, which also tells where a retry starts.
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result;

    /// Writes out what the processor holds in memory. The runtime calls it before each checkpoint of
    /// its own: when the [cadence](crate::Cadence) is due, after `shutdown_requested`, and at the
    /// shard's end. The checkpoint covers all records delivered so far, so afterwards nothing may be
    /// left in memory.
    ///
    /// # Errors
    /// There is no checkpoint then; the table above tells what follows.
    fn flush(&mut self) -> Result {
        Ok(())
    }

    /// Saves a record that cannot be processed. Processing continues after it.
    ///
    /// It is a method of the processor so that it can use the processor's own connection. If records
    /// are buffered, this one may be buffered too, until `flush`.
    ///
    /// # Errors
    /// Without this method the process ends with the letter's error.
    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        let _ = letter;
        Err(ProcessorError::permanent(NoDeadLetters))
    }

    /// Another worker has the shard now, and this process will end. No checkpoint is possible, and
    /// what is held in memory will be delivered to the other worker: drop it.
    ///
    /// # Errors
    /// Are logged.
    fn lease_lost(&mut self, input: &LeaseLostInput<'_>) -> Result {
        let _ = input;
        Ok(())
    }

    /// The shard was split or merged, and all its records have been delivered. Its child shards
    /// wait for the checkpoint of its end.
    ///
    /// If this method returns `Ok` without a checkpoint, the runtime calls `flush` and checkpoints
    /// the end, where that is safe: with a [cadence](crate::Cadence), or if the processor's last
    /// checkpoint covers the last record. Otherwise that is an error.
    ///
    /// # Errors
    /// Are retried, then end the process.
    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        let _ = checkpointer;
        Ok(())
    }

    /// The daemon will stop, or hand the shard over: the last chance for a checkpoint. `lease_lost`,
    /// the end of the process, or more records may follow.
    ///
    /// With a [cadence](crate::Cadence), the runtime calls `flush` and checkpoints when this method
    /// has returned `Ok`.
    ///
    /// # Errors
    /// Are logged.
    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        let _ = checkpointer;
        Ok(())
    }
}

/// Calls `process` for each record, oldest first, up to the first error, which then names its record
/// (unless it names one already).
///
/// A retry therefore starts at that record, and does not process the ones before it again; a
/// permanent error sends that record alone to the dead letters.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{
///     Checkpointer, DeadLetter, ProcessRecordsInput, ProcessorError, RecordProcessor, Result,
///     for_each_record,
/// };
///
/// #[derive(Default)]
/// struct Sum {
///     sum: u64,
///     bad: Vec<String>,
/// }
///
/// impl RecordProcessor for Sum {
///     fn process_records(
///         &mut self,
///         input: &ProcessRecordsInput<'_>,
///         checkpointer: &mut Checkpointer<'_>,
///     ) -> Result {
///         for_each_record(input, |record| {
///             let text = str::from_utf8(record.data).map_err(ProcessorError::permanent)?;
///             self.sum += text.parse::<u64>().map_err(ProcessorError::permanent)?;
///             Ok(())
///         })?;
///         Ok(checkpointer.checkpoint()?)
///     }
///
///     fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
///         self.bad.push(letter.error.to_string());
///         Ok(())
///     }
/// }
///
/// let mut sum = Sum::default();
/// let report = Daemon::new().batch(["1", "two", "3"]).run(&mut sum);
/// report.outcome.unwrap();
/// assert_eq!(sum.sum, 4);
/// assert_eq!(sum.bad, ["invalid digit found in string"]);
/// ```
///
/// # Errors
/// The first error of `process`.
pub fn for_each_record(
    input: &ProcessRecordsInput<'_>,
    mut process: impl FnMut(&Record<'_>) -> Result,
) -> Result {
    for record in &input.records {
        process(record).map_err(|error| error.or_at(record))?;
    }
    Ok(())
}

/// A record that cannot be processed, for [`RecordProcessor::dead_letter`].
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetter<'a> {
    /// The shard.
    pub shard_id: &'a str,
    /// The record.
    pub record: &'a Record<'a>,
    /// What `process_records` returned; for a panic, its message.
    pub error: &'a ProcessorError,
    /// How often `process_records` was called with the record.
    pub tries: u32,
}

/// The input of [`RecordProcessor::lease_lost`].
#[derive(Debug)]
#[non_exhaustive]
pub struct LeaseLostInput<'a> {
    /// The shard.
    pub shard_id: &'a str,
}

/// Creates a processor when its shard is known, so that its fields need no `Option`.
///
/// The result is a processor itself. Its `initialize` calls `create`, whose error ends the process,
/// and then the `initialize` of what it created.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result, per_shard};
///
/// struct Archive {
///     path: String,
/// }
///
/// impl RecordProcessor for Archive {
///     fn process_records(
///         &mut self,
///         input: &ProcessRecordsInput<'_>,
///         checkpointer: &mut Checkpointer<'_>,
///     ) -> Result {
///         eprintln!("{}: {} records", self.path, input.records.len());
///         Ok(checkpointer.checkpoint()?)
///     }
/// }
///
/// let report = Daemon::new()
///     .batch(["a"])
///     .run(per_shard(|input| Ok(Archive { path: format!("{}.archive", input.shard_id) })));
/// report.outcome.unwrap();
/// ```
pub fn per_shard<P: RecordProcessor>(
    create: impl FnOnce(&InitializeInput<'_>) -> Result<P>,
) -> impl RecordProcessor {
    PerShard { create: Some(create), processor: None }
}

struct PerShard<F, P> {
    create: Option<F>,
    processor: Option<P>,
}

impl<F, P> PerShard<F, P> {
    fn get(&mut self) -> Result<&mut P> {
        // The session delivers `initialize` first.
        self.processor.as_mut().ok_or_else(|| "there is no processor before `initialize`".into())
    }
}

impl<F, P> RecordProcessor for PerShard<F, P>
where
    F: FnOnce(&InitializeInput<'_>) -> Result<P>,
    P: RecordProcessor,
{
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        if let Some(create) = self.create.take() {
            self.processor = Some(create(input)?);
        }
        self.get()?.initialize(input)
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        self.get()?.process_records(input, checkpointer)
    }

    fn flush(&mut self) -> Result {
        self.get()?.flush()
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        self.get()?.dead_letter(letter)
    }

    fn lease_lost(&mut self, input: &LeaseLostInput<'_>) -> Result {
        self.get()?.lease_lost(input)
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        self.get()?.shard_ended(checkpointer)
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        self.get()?.shutdown_requested(checkpointer)
    }
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<P: RecordProcessor + ?Sized> RecordProcessor for $pointer {
            fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
                (**self).initialize(input)
            }

            fn process_records(
                &mut self,
                input: &ProcessRecordsInput<'_>,
                checkpointer: &mut Checkpointer<'_>,
            ) -> Result {
                (**self).process_records(input, checkpointer)
            }

            fn flush(&mut self) -> Result {
                (**self).flush()
            }

            fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
                (**self).dead_letter(letter)
            }

            fn lease_lost(&mut self, input: &LeaseLostInput<'_>) -> Result {
                (**self).lease_lost(input)
            }

            fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
                (**self).shard_ended(checkpointer)
            }

            fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
                (**self).shutdown_requested(checkpointer)
            }
        }
    };
}

forward!(&mut P);
forward!(Box<P>);
