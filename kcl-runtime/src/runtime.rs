//! The settings of a run, and its start and end.

use std::io::{Read, Write};
use std::time::Duration;

use kcl_protocol::{DEFAULT_LINE_LIMIT, InitializeInput};

use crate::contain::contain;
use crate::link::Link;
use crate::shard::Shard;
use crate::{
    Backoff, Cadence, Method, OnError, RecordProcessor, RunError, SystemTimer, Timer, per_shard,
    stdio,
};

/// Runs a processor over this process's stdin and stdout, with the default [`Runtime`].
///
/// # Errors
/// See [`RunError`], which also gives the process's exit code.
pub fn run(processor: impl RecordProcessor) -> Result<(), RunError> {
    Runtime::new().run(processor)
}

/// Runs the processor that `create` returns for the shard, with the default [`Runtime`]. See
/// [`per_shard`].
///
/// ```no_run
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result, RunError};
/// # struct Clicks(String);
/// # impl Clicks {
/// #     fn open(shard_id: &str) -> Result<Clicks> { Ok(Clicks(shard_id.to_owned())) }
/// # }
/// # impl RecordProcessor for Clicks {
/// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
/// #         Ok(())
/// #     }
/// # }
/// kcl_runtime::run_with(|input| Clicks::open(&input.shard_id))?;
/// # Ok::<(), RunError>(())
/// ```
///
/// # Errors
/// See [`RunError`], which also gives the process's exit code.
pub fn run_with<P: RecordProcessor>(
    create: impl FnOnce(&InitializeInput<'_>) -> crate::Result<P>,
) -> Result<(), RunError> {
    run(per_shard(create))
}

/// What signals that stop a service do to this process: see [`Runtime::signals`].
///
/// ```
/// use kcl_runtime::{Runtime, Signals};
/// let runtime = Runtime::new().signals(Signals::Unchanged);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Signals {
    /// SIGINT, SIGTERM and SIGHUP do nothing while the daemon keeps stdin open, so that it can still
    /// send `shutdownRequested`. The third of them within 5 s takes its default action. So does the
    /// first one after the daemon is gone, even if the processor is busy.
    #[default]
    IgnoredUntilEndOfInput,
    /// The runtime installs no signal handlers.
    Unchanged,
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
///     .cadence(Cadence::every(Duration::from_secs(10)))
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

/// The default of [`Runtime::pipe_size`].
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
    /// Creates the default settings: the processor checkpoints, and the first error ends the process.
    pub fn new() -> Runtime {
        Runtime {
            settings: Settings {
                cadence: Cadence::manual(),
                checkpoint_retry: Backoff::up_to(Duration::from_secs(30)),
                shard_end_retry: Backoff::up_to(Duration::from_secs(300)),
            },
            on_error: OnError::exit(),
            signals: Signals::default(),
            line_limit: DEFAULT_LINE_LIMIT,
            pipe_size: Some(PIPE_SIZE),
        }
    }

    /// Sets when the runtime checkpoints by itself. By default it does not.
    pub fn cadence(mut self, cadence: Cadence) -> Runtime {
        self.settings.cadence = cadence;
        self
    }

    /// Sets what follows when `process_records` fails. By default the process ends.
    pub fn on_error(mut self, on_error: OnError) -> Runtime {
        self.on_error = on_error;
        self
    }

    /// Sets how long a checkpoint is retried when its error may pass: 30 s by default, and not at all
    /// with [`Backoff::none`]. If the daemon still refuses it, the next checkpoint makes up for it:
    /// see [`Checkpointer`](crate::Checkpointer).
    pub fn checkpoint_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.checkpoint_retry = backoff;
        self
    }

    /// Sets how long `shard_ended`, `flush` after it, and the checkpoint of the shard's end are retried:
    /// 5 minutes in total by default.
    ///
    /// The daemon gets no answer meanwhile. If its `timeoutInSeconds` is set, this total must stay
    /// well under it.
    pub fn shard_end_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.shard_end_retry = backoff;
        self
    }

    /// Sets the longest line to read, in bytes: 256 MiB by default. A longer one ends the run.
    pub fn line_limit(mut self, bytes: usize) -> Runtime {
        self.line_limit = bytes;
        self
    }

    /// Sets the size of stdin's pipe after the first line over 64 KiB, on Linux: 256 KiB by default.
    /// `None` leaves it unchanged.
    ///
    /// A larger pipe means fewer context switches for a large batch. An unprivileged user has 64 MiB
    /// for all pipes; once they are used, each new pipe gets 8 KiB. So the pipe is enlarged only if
    /// 1 MiB of them stays available. It is no error if it cannot be.
    pub fn pipe_size(mut self, bytes: Option<usize>) -> Runtime {
        self.pipe_size = bytes;
        self
    }

    /// Sets what signals do: see [`Signals`].
    pub fn signals(mut self, signals: Signals) -> Runtime {
        self.signals = signals;
        self
    }

    /// Runs a processor over this process's stdin and stdout until the daemon closes stdin. From now
    /// on stdin and stdout belong to the protocol.
    ///
    /// They belong to this process only: do not `fork` without `exec` afterwards, as the copy would
    /// also talk to the daemon. Starting programs with `std::process::Command` is fine.
    ///
    /// An error has already been written to stderr, as one line, when this returns it.
    ///
    /// # Errors
    /// See [`RunError`], which also gives the process's exit code.
    pub fn run(self, processor: impl RecordProcessor) -> Result<(), RunError> {
        let signals = self.signals;
        let result = match stdio::take(signals) {
            Ok(pipes) => {
                let enlarge = self.pipe_size.and_then(|bytes| pipes.enlarger(bytes));
                self.run_shard(pipes.reader, pipes.writer, pipes.timer, processor, enlarge)
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

    /// Runs the processor that `create` returns for the shard, as [`run`](Self::run) does. See
    /// [`per_shard`].
    ///
    /// # Errors
    /// See [`RunError`], which also gives the process's exit code.
    pub fn run_with<P: RecordProcessor>(
        self,
        create: impl FnOnce(&InitializeInput<'_>) -> crate::Result<P>,
    ) -> Result<(), RunError> {
        self.run(per_shard(create))
    }

    /// Runs a processor over any reader and writer. It does not touch this process's descriptors or
    /// signals, and logs only through `tracing`.
    ///
    /// ```
    /// use kcl_runtime::Runtime;
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
    /// Runtime::new().run_over(&input[..], &mut output, MyProcessor)?;
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
        processor: impl RecordProcessor,
    ) -> Result<(), RunError> {
        self.run_over_with(reader, writer, SystemTimer::new(), processor)
    }

    /// Runs a processor over any reader and writer, with a timer of your own: for a transport that
    /// can detect a hang-up during a pause, or for virtual time.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_over_with(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        processor: impl RecordProcessor,
    ) -> Result<(), RunError> {
        self.run_shard(reader, writer, timer, processor, None)
    }

    fn run_shard(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        mut processor: impl RecordProcessor,
        at_long_line: Option<Box<dyn FnOnce()>>,
    ) -> Result<(), RunError> {
        let Runtime { settings, on_error, line_limit, .. } = self;
        let link = Link::new(reader, writer, line_limit, at_long_line);
        let mut shard = Shard::new(settings, link, timer);
        let outcome = contain(|| shard.run(&mut processor, &on_error));
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
