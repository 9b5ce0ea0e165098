//! What the user writes.

use kcl_protocol::{InitializeInput, ProcessRecordsInput};

use crate::{Checkpointer, Result, ShardEndCheckpointer};

/// A record processor: one value of it, in a process of its own, deals with one shard.
///
/// Only [`process_records`](Self::process_records) is required. The daemon delivers each record at
/// least once: after a failure or a hand-over, delivery begins again behind the last checkpoint.
///
/// What an error leads to depends on the method:
///
/// | method | an error |
/// | --- | --- |
/// | `initialize` | ends the process |
/// | `process_records` | ends the process, or what [`Runtime::on_error`](crate::Runtime::on_error) says |
/// | `shard_ended` | is retried as long as [`Runtime::shard_end_retry`](crate::Runtime::shard_end_retry) says, then ends the process |
/// | `lease_lost`, `shutdown_requested` | is logged; the message is answered, as nothing was checkpointed and the records come again |
///
/// That the process ends means: one line on stderr, no status for the message, and an
/// [exit code](crate::RunError#exit-codes). The daemon then stops its whole worker.
///
/// ```
/// use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
///
/// /// Counts words.
/// #[derive(Default)]
/// struct Words(usize);
///
/// impl RecordProcessor for Words {
///     fn process_records(
///         &mut self,
///         input: &ProcessRecordsInput<'_>,
///         checkpointer: &mut Checkpointer<'_>,
///     ) -> Result {
///         for record in &input.records {
///             self.0 += String::from_utf8_lossy(record.data).split_whitespace().count();
///         }
///         Ok(checkpointer.checkpoint()?)
///     }
/// }
///
/// let mut words = Words::default();
/// let report = kcl_runtime::testing::Daemon::new().batch(["a b", "c"]).run(&mut words);
/// assert!(report.outcome.is_ok());
/// assert_eq!(words.0, 3);
/// ```
pub trait RecordProcessor {
    /// The first call: which shard this process has, and behind which checkpoint its records begin.
    ///
    /// # Errors
    /// End the process.
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        let _ = input;
        Ok(())
    }

    /// A batch of records, oldest first.
    ///
    /// # Errors
    /// Lead to what [`Runtime::on_error`](crate::Runtime::on_error) says.
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result;

    /// Another worker has the shard now. No checkpoint is possible any more; nothing but the end of
    /// the process follows.
    ///
    /// # Errors
    /// Are logged.
    fn lease_lost(&mut self) -> Result {
        Ok(())
    }

    /// The shard was split or merged, and all its records have been delivered. Its child shards are
    /// not read before its end is checkpointed, for which only
    /// [`checkpoint`](ShardEndCheckpointer::checkpoint) will do.
    ///
    /// The default does nothing. When this method has returned `Ok` without a checkpoint, the
    /// runtime checkpoints, provided that it may: with a [cadence](crate::Cadence), or if the
    /// processor's own last checkpoint covers the last record. Else it is an error that says so.
    ///
    /// # Errors
    /// Are retried, then end the process.
    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        let _ = checkpointer;
        Ok(())
    }

    /// The daemon is about to stop, or to hand the shard over: the last chance to write out what is
    /// held in memory, and to checkpoint it. `lease_lost`, the end of the process, or more records
    /// may follow.
    ///
    /// The default does nothing. With a [cadence](crate::Cadence) the runtime checkpoints when this
    /// method has returned `Ok`.
    ///
    /// # Errors
    /// Are logged.
    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        let _ = checkpointer;
        Ok(())
    }
}

impl<P: RecordProcessor + ?Sized> RecordProcessor for &mut P {
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

    fn lease_lost(&mut self) -> Result {
        (**self).lease_lost()
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        (**self).shard_ended(checkpointer)
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        (**self).shutdown_requested(checkpointer)
    }
}
