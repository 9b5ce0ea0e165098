//! The settings of a run, and its start and end.

use std::io::{Read, Write};
use std::time::Duration;

use kcl_protocol::DEFAULT_LINE_LIMIT;

use crate::contain::contain;
use crate::link::Link;
use crate::shard::Shard;
use crate::{Backoff, Cadence, Method, OnError, RecordProcessor, RunError, Timer, stdio};

/// Runs a processor over this process's stdin and stdout, with the default [`Runtime`].
///
/// # Errors
/// See [`RunError`], which also gives the process's exit code.
pub fn run(processor: impl RecordProcessor) -> Result<(), RunError> {
    Runtime::new().run(processor)
}

/// What the signals that stop a service do to this process: see [`Runtime::signals`].
///
/// ```
/// use kcl_runtime::{Runtime, Signals};
/// let runtime = Runtime::new().signals(Signals::Default);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Signals {
    /// SIGINT, SIGTERM and SIGHUP do nothing while the daemon holds our input open, so that it can
    /// still send `shutdownRequested`. The third of them within 5 s takes its default action, and so
    /// does the first when the daemon has gone, whatever the processor is busy with.
    #[default]
    UntilEndOfInput,
    /// Signals are left alone.
    Default,
}

/// The settings of a run.
///
/// ```no_run
/// use std::time::Duration;
/// use kcl_runtime::{Backoff, Cadence, OnError, Runtime};
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// # struct MyProcessor;
/// # impl RecordProcessor for MyProcessor {
/// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
/// #         Ok(())
/// #     }
/// # }
///
/// let result = Runtime::new()
///     .cadence(Cadence::AtMostEvery(Duration::from_secs(10)))
///     .on_error(OnError::retry(Backoff::up_to(Duration::from_secs(20))))
///     .run(MyProcessor);
/// ```
#[derive(Debug)]
#[must_use = "settings do nothing until `run`"]
pub struct Runtime {
    settings: Settings,
    on_error: OnError,
    signals: Signals,
    line_limit: usize,
    pipe_size: Option<usize>,
}

/// The pipe's size from the first long line on, unless set: see [`Runtime::pipe_size`].
const PIPE_SIZE: usize = 256 << 10;

/// What a shard's life depends on.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) cadence: Cadence,
    pub(crate) checkpoint_retry: Backoff,
    pub(crate) shard_end_retry: Backoff,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime::new()
    }
}

impl Runtime {
    /// The defaults: checkpoints by hand, the first error ends the process.
    pub fn new() -> Runtime {
        Runtime {
            settings: Settings {
                cadence: Cadence::Manual,
                checkpoint_retry: Backoff::up_to(Duration::from_secs(30)),
                shard_end_retry: Backoff::up_to(Duration::from_secs(300)),
            },
            on_error: OnError::exit(),
            signals: Signals::default(),
            line_limit: DEFAULT_LINE_LIMIT,
            pipe_size: Some(PIPE_SIZE),
        }
    }

    /// When the runtime checkpoints by itself; by hand unless set.
    pub fn cadence(mut self, cadence: Cadence) -> Runtime {
        self.settings.cadence = cadence;
        self
    }

    /// What an error from `process_records` leads to; the end of the process unless set.
    pub fn on_error(mut self, on_error: OnError) -> Runtime {
        self.on_error = on_error;
        self
    }

    /// How long a checkpoint is tried again when its error may pass; up to 30 s unless set, and
    /// not at all with [`Backoff::none`].
    pub fn checkpoint_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.checkpoint_retry = backoff;
        self
    }

    /// How long `shard_ended`, and the checkpoint of the shard's end, is tried again; up to 5
    /// minutes in all unless set.
    ///
    /// While an error of `shard_ended` itself waits to be tried again, the daemon hears nothing: where
    /// its `timeoutInSeconds` is set, this total must stay well under it.
    pub fn shard_end_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.shard_end_retry = backoff;
        self
    }

    /// The longest line that is read, in bytes; 256 MiB unless set. A longer one ends the run.
    pub fn line_limit(mut self, bytes: usize) -> Runtime {
        self.line_limit = bytes;
        self
    }

    /// To how many bytes the pipe that is our stdin is enlarged, on Linux, after the first line over
    /// 64 KiB; 256 KiB unless set, and `None` leaves it as it is.
    ///
    /// A larger pipe means fewer turns between the daemon and us for a large batch. An unprivileged
    /// user has 64 MiB of pipes in all, after which each new pipe is of 8 KiB; so the pipe stays as
    /// it is where less than 1 MiB of them would be left. That it cannot be enlarged is no error.
    pub fn pipe_size(mut self, bytes: Option<usize>) -> Runtime {
        self.pipe_size = bytes;
        self
    }

    /// What signals do; see [`Signals`].
    pub fn signals(mut self, signals: Signals) -> Runtime {
        self.signals = signals;
        self
    }

    /// Runs a processor over this process's stdin and stdout, which belong to the protocol from now
    /// on, until the daemon closes our input.
    ///
    /// They belong to this one process: never `fork` without `exec` from here on, as the copy would
    /// speak to the daemon too. To start a program with `std::process::Command` is fine.
    ///
    /// An error has been written to stderr, as one line, when this returns it.
    ///
    /// # Errors
    /// See [`RunError`], which also gives the process's exit code.
    pub fn run(self, processor: impl RecordProcessor) -> Result<(), RunError> {
        let signals = self.signals;
        let result = match stdio::take(signals) {
            Ok(pipes) => {
                let enlarge = self.pipe_size.and_then(|bytes| pipes.enlarger(bytes));
                self.run_with(pipes.reader, pipes.writer, pipes.timer, processor, enlarge)
            }
            Err(error) => {
                // Why there was no run matters more than a panic at the processor's end.
                let _ = drop_contained(processor, self.on_error);
                Err(error)
            }
        };
        if let Err(error) = &result {
            stdio::say(&format!("error: {error}"));
        }
        result
    }

    /// Runs a processor over any reader and writer. Touches neither this process's descriptors nor
    /// its signals, and writes nothing to stderr but through `tracing`.
    ///
    /// ```
    /// use kcl_runtime::{Runtime, SystemTimer};
    /// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
    /// # struct MyProcessor;
    /// # impl RecordProcessor for MyProcessor {
    /// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
    /// #         Ok(())
    /// #     }
    /// # }
    ///
    /// let input = b"{\"action\":\"initialize\",\"shardId\":\"shardId-0\"}\n";
    /// let mut output = Vec::new();
    /// Runtime::new().run_over(&input[..], &mut output, SystemTimer::new(), MyProcessor)?;
    /// assert_eq!(output, b"{\"action\":\"status\",\"responseFor\":\"initialize\"}\n");
    /// # Ok::<(), kcl_runtime::RunError>(())
    /// ```
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_over(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        processor: impl RecordProcessor,
    ) -> Result<(), RunError> {
        self.run_with(reader, writer, timer, processor, None)
    }

    fn run_with(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        mut processor: impl RecordProcessor,
        at_long_line: Option<Box<dyn FnOnce()>>,
    ) -> Result<(), RunError> {
        let Runtime { settings, mut on_error, line_limit, .. } = self;
        let link = Link::new(reader, writer, line_limit, at_long_line);
        let mut shard = Shard::new(settings, link, timer);
        let outcome = contain(|| shard.run(&mut processor, &mut on_error));
        let shard_id = shard.id().to_owned();
        let dropped = drop_contained(processor, on_error);
        let closed = contain(|| drop(shard));
        let panicked =
            |method, message| RunError::Panicked { shard_id: shard_id.clone(), method, message };
        outcome
            .unwrap_or_else(|message| Err(panicked(Method::Other, message)))
            .and_then(|()| dropped.map_err(|message| panicked(Method::Drop, message)))
            .and_then(|()| closed.map_err(|message| panicked(Method::Other, message)))
    }
}

/// Drops the user's code, which may panic. One after the other: a second panic while the first
/// unwinds would abort the process.
fn drop_contained(processor: impl RecordProcessor, on_error: OnError) -> Result<(), String> {
    let processor = contain(|| drop(processor));
    processor.and(contain(|| drop(on_error)))
}
