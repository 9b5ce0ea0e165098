//! Errors of the processor and of the whole run.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::ExitCode;

use kcl_protocol::{CheckpointError, DecodeError, ExtendedSequenceNumber, LineError, Record};

use crate::contain::contain;

/// The result of a processor's method.
pub type Result<T = (), E = ProcessorError> = std::result::Result<T, E>;

/// Why a processor's method failed. `?` converts every error type, and texts.
///
/// An error may say whether it is [`permanent`](Self::permanent), and name the record that it is
/// about: see [`at`](Self::at). [`OnError`](crate::OnError) tells what follows.
///
/// ```
/// use kcl_runtime::ProcessorError;
///
/// fn parse(text: &str) -> kcl_runtime::Result<u64> {
///     if text.is_empty() {
///         return Err("nothing to parse".into());
///     }
///     text.parse().map_err(ProcessorError::permanent)
/// }
/// assert_eq!(parse("").unwrap_err().to_string(), "nothing to parse");
/// assert_eq!(parse("x").unwrap_err().is_permanent(), Some(true));
/// ```
pub struct ProcessorError {
    source: Box<dyn StdError + Send + Sync>,
    at: Option<ExtendedSequenceNumber<'static>>,
    is_permanent: Option<bool>,
}

impl ProcessorError {
    /// Marks an error as permanent: processing the record again cannot succeed, so it is never
    /// retried, and the record goes to [`dead_letter`](crate::RecordProcessor::dead_letter).
    ///
    /// ```
    /// use kcl_runtime::ProcessorError;
    ///
    /// let error = "x".parse::<u8>().map_err(ProcessorError::permanent).unwrap_err();
    /// assert_eq!(error.is_permanent(), Some(true));
    /// ```
    pub fn permanent(error: impl Into<ProcessorError>) -> ProcessorError {
        let mut error = error.into();
        error.is_permanent = Some(true);
        error
    }

    /// Marks an error as one that may pass, whatever
    /// [`OnError::permanent_if`](crate::OnError::permanent_if) says.
    ///
    /// ```
    /// use kcl_runtime::ProcessorError;
    ///
    /// assert_eq!(ProcessorError::transient("the sink is busy").is_permanent(), Some(false));
    /// ```
    pub fn transient(error: impl Into<ProcessorError>) -> ProcessorError {
        let mut error = error.into();
        error.is_permanent = Some(false);
        error
    }

    /// Names the record that an error is about. The records before it must be processed: a retry
    /// starts at this record, and only this record becomes a dead letter.
    ///
    /// [`for_each_record`](crate::for_each_record) does it for you.
    ///
    /// ```
    /// use kcl_runtime::{
    ///     Checkpointer, ProcessRecordsInput, ProcessorError, RecordProcessor, Result,
    /// };
    ///
    /// struct Sum(u64);
    ///
    /// impl RecordProcessor for Sum {
    ///     fn process_records(
    ///         &mut self,
    ///         input: &ProcessRecordsInput<'_>,
    ///         _: &mut Checkpointer<'_>,
    ///     ) -> Result {
    ///         for record in &input.records {
    ///             let text = str::from_utf8(record.data).map_err(|e| ProcessorError::at(record, e))?;
    ///             self.0 += text.parse::<u64>().map_err(|e| ProcessorError::at(record, e))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn at(record: &Record<'_>, error: impl Into<ProcessorError>) -> ProcessorError {
        let mut error = error.into();
        error.at = Some(record.extended_sequence_number().to_owned());
        error
    }

    /// Names the record unless the error already names one.
    pub(crate) fn or_at(self, record: &Record<'_>) -> ProcessorError {
        if self.at.is_some() { self } else { ProcessorError::at(record, self) }
    }

    /// Returns the position of the record that the error names.
    pub fn record(&self) -> Option<&ExtendedSequenceNumber<'static>> {
        self.at.as_ref()
    }

    /// Returns whether the error is permanent; `None` if it does not say.
    pub fn is_permanent(&self) -> Option<bool> {
        self.is_permanent
    }

    /// Returns the error and all its causes in one line.
    pub(crate) fn in_full(&self) -> String {
        contain(|| chain(self.get_ref()))
            .unwrap_or_else(|_| "an error whose own text panics".to_owned())
    }

    /// Returns the error that the method returned.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

/// The default of [`dead_letter`](crate::RecordProcessor::dead_letter).
#[derive(Debug, thiserror::Error)]
#[error("the processor has no `dead_letter` method")]
pub(crate) struct NoDeadLetters;

/// A panic in the destructor of the user's error ends here, wherever the error is dropped.
impl Drop for ProcessorError {
    fn drop(&mut self) {
        let source = std::mem::replace(&mut self.source, Box::new(Dropped));
        // The panic hook has printed its message.
        let _ = contain(|| drop(source));
    }
}

/// Takes the place of an error that is being dropped, without an allocation.
#[derive(Debug, thiserror::Error)]
#[error("dropped")]
struct Dropped;

// Like `anyhow::Error` this is not a `std::error::Error` itself, or it could not be made from all.
impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for ProcessorError {
    fn from(error: E) -> Self {
        ProcessorError { source: error.into(), at: None, is_permanent: None }
    }
}

impl fmt::Display for ProcessorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for ProcessorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorError")
            .field("source", &self.source)
            .field("at", &self.at)
            .field("is_permanent", &self.is_permanent)
            .finish()
    }
}

/// Why the daemon did not store a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckpointFailed {
    /// The daemon refused it, after all retries.
    #[error("checkpoint refused{}: {error}", after(*tries))]
    Refused {
        error: CheckpointError,
        /// 0 if it was known before that the lease is lost.
        tries: u32,
    },
    /// The connection failed. The run ends with the reason once the processor's method returns.
    #[error("the connection to the daemon failed")]
    Broken,
}

impl CheckpointFailed {
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, CheckpointFailed::Refused { error, .. } if error.is_retryable())
    }

    /// Returns whether the next checkpoint makes up for it, so that the processor can continue.
    pub(crate) fn is_deferred(&self) -> bool {
        match self {
            CheckpointFailed::Refused { error, .. } => {
                !error.is_lease_lost() && *error != CheckpointError::IllegalArgument
            }
            CheckpointFailed::Broken => false,
        }
    }

    /// Returns what the processor is told.
    pub(crate) fn into_error(self) -> CheckpointError {
        match self {
            CheckpointFailed::Refused { error, .. } => error,
            CheckpointFailed::Broken => CheckpointError::Shutdown,
        }
    }
}

/// The prefix that names the shard. There is no shard before `initialize`.
fn before(shard_id: &str) -> String {
    if shard_id.is_empty() { String::new() } else { format!("{shard_id}: ") }
}

fn after(tries: u32) -> String {
    match tries {
        0 | 1 => String::new(),
        _ => format!(" after {tries} tries"),
    }
}

/// The method of the processor that failed.
///
/// ```
/// assert_eq!(kcl_runtime::Method::ShardEnded.to_string(), "shard_ended");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `process_records`
    ProcessRecords,
    /// `flush`
    Flush,
    /// `dead_letter`
    DeadLetter,
    /// `lease_lost`
    LeaseLost,
    /// `shard_ended`
    ShardEnded,
    /// `shutdown_requested`
    ShutdownRequested,
    /// The processor's destructor, after its last message.
    Drop,
    /// Other code of the program: the classifier of [`OnError`](crate::OnError), the reader, writer or
    /// timer of [`run_over`](crate::Runtime::run_over), or a `tracing` subscriber.
    Other,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Initialize => "initialize",
            Method::ProcessRecords => "process_records",
            Method::Flush => "flush",
            Method::DeadLetter => "dead_letter",
            Method::LeaseLost => "lease_lost",
            Method::ShardEnded => "shard_ended",
            Method::ShutdownRequested => "shutdown_requested",
            Method::Drop => "drop",
            Method::Other => "a classifier, reader, writer, timer or log subscriber",
        })
    }
}

/// Why a run ended early. No status was sent for the current message, so its records will be
/// delivered again.
///
/// # Exit codes
/// [`exit_code`](Self::exit_code) gives the process's exit code:
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | no error: the daemon closed stdin between two messages |
/// | 1 | [`Processor`](Self::Processor): the processor failed, after all retries |
/// | 3 | [`Io`](Self::Io): reading or writing failed, or stdin or stdout is closed or the null device |
/// | 4 | [`HungUp`](Self::HungUp): the daemon hung up during a message |
/// | 5 | [`Protocol`](Self::Protocol), [`Foreign`](Self::Foreign), [`Line`](Self::Line): the daemon sent an invalid or unexpected message |
/// | 6 | [`ShardEnd`](Self::ShardEnd): the shard's end could not be checkpointed |
/// | 101 | [`Panicked`](Self::Panicked): the processor panicked |
/// | 128+n | killed by signal n: see [`Signals`](crate::Signals) |
///
/// Every code but 0 makes the daemon stop its whole worker.
///
/// The text contains all causes, so [`source`](StdError::source) returns none.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
///
/// struct Picky;
/// impl RecordProcessor for Picky {
///     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
///         Err("the sink is full".into())
///     }
/// }
///
/// let report = Daemon::new().batch(["a"]).run(&mut Picky);
/// assert_eq!(
///     report.outcome.unwrap_err().to_string(),
///     "shardId-000000000000: process_records failed: the sink is full"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A method of the processor returned an error.
    #[error("{}{method} failed{}: {}", before(shard_id), after(*tries), error.in_full())]
    #[non_exhaustive]
    Processor {
        /// The shard.
        shard_id: String,
        /// Which method.
        method: Method,
        /// How often it was called.
        tries: u32,
        /// What it returned last.
        error: ProcessorError,
    },
    /// A method of the processor panicked.
    #[error("{}{method} panicked: {message}", before(shard_id))]
    #[non_exhaustive]
    Panicked {
        /// The shard.
        shard_id: String,
        /// Which method.
        method: Method,
        /// The panic's message.
        message: String,
    },
    /// The shard's end is not checkpointed, so `shardEnded` cannot be answered.
    #[error(
        "{shard_id}: shard_ended: {cause}; an answer now would leave the shard unfinished: its child \
         shards would not be read until another worker takes it over"
    )]
    #[non_exhaustive]
    ShardEnd {
        /// The shard.
        shard_id: String,
        /// Why its end is not checkpointed.
        cause: ShardEndError,
    },
    /// The daemon closed stdin or stdout during a message.
    #[error("{}the daemon hung up {during}; expected {}", before(shard_id), during.expected())]
    #[non_exhaustive]
    HungUp {
        /// The shard; empty before `initialize`.
        shard_id: String,
        /// When.
        during: HungUp,
    },
    /// A line is not a valid message, or a message is unexpected.
    #[error("cannot go on with the daemon's messages: {0}")]
    Protocol(kcl_protocol::Error),
    /// A line does not even start like a message, so another program may have written it.
    #[error("cannot go on with the daemon's messages: {error}; the line begins: {beginning}")]
    #[non_exhaustive]
    Foreign {
        /// What is wrong with it.
        error: DecodeError,
        /// Its first 60 bytes, with control characters escaped.
        beginning: String,
    },
    /// The line is invalid.
    #[error("cannot go on with the daemon's messages: {0}")]
    Line(LineError),
    /// Reading or writing failed.
    #[error("cannot {doing}: {error}")]
    #[non_exhaustive]
    Io {
        /// What failed.
        doing: &'static str,
        /// The cause.
        error: io::Error,
    },
}

/// Why a shard's end is not checkpointed.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// use kcl_runtime::{RunError, ShardEndError};
///
/// /// Never checkpoints.
/// struct Forgetful;
/// impl RecordProcessor for Forgetful {
///     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
///         Ok(())
///     }
/// }
///
/// let report = Daemon::new().batch(["a"]).shard_ended().run(Forgetful);
/// let Err(RunError::ShardEnd { cause, .. }) = report.outcome else { unreachable!() };
/// assert_eq!(cause, ShardEndError::NoCheckpoint);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardEndError {
    /// `shard_ended` made no checkpoint, and with [`Cadence::manual`](crate::Cadence::manual) the
    /// runtime makes one only if the processor's last checkpoint covers all records.
    #[error(
        "no checkpoint was made, and the processor's last checkpoint does not cover all records \
         (write `checkpointer.checkpoint()?` in shard_ended once they are processed)"
    )]
    NoCheckpoint,
    /// The daemon refused it, after all retries.
    #[error("checkpoint refused{}: {error}", after(*tries))]
    #[non_exhaustive]
    Refused {
        /// The last answer.
        error: CheckpointError,
        /// How often it was requested.
        tries: u32,
    },
}

/// When the daemon hung up.
///
/// ```
/// assert_eq!(kcl_runtime::HungUp::BeforeStatus.to_string(), "before it read a status");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HungUp {
    /// Stdin ended after this many bytes of a line.
    #[error("after {0} bytes of a line")]
    InsideLine(usize),
    /// Stdin closed while a checkpoint's answer was expected.
    #[error("before it answered a checkpoint request")]
    BeforeCheckpointAnswer,
    /// Stdout closed before a checkpoint request was written.
    #[error("before it read a checkpoint request")]
    BeforeCheckpoint,
    /// Stdout closed before a status was written.
    #[error("before it read a status")]
    BeforeStatus,
    /// Stdin closed during a pause before a retry of this method.
    #[error("before {0} was retried")]
    BeforeRetry(Method),
    /// Stdin closed during a pause before a retry of a checkpoint.
    #[error("before a checkpoint was retried")]
    BeforeCheckpointRetry,
}

impl HungUp {
    fn expected(self) -> &'static str {
        match self {
            HungUp::InsideLine(_) => "the rest of the line",
            HungUp::BeforeCheckpointAnswer => "the answer",
            HungUp::BeforeCheckpoint | HungUp::BeforeStatus => "stdout to stay open",
            HungUp::BeforeRetry(_) | HungUp::BeforeCheckpointRetry => {
                "stdin to stay open until the status"
            }
        }
    }
}

// Derived ones would make it a source as well, which is printed twice with its chain.
impl From<kcl_protocol::Error> for RunError {
    fn from(error: kcl_protocol::Error) -> Self {
        RunError::Protocol(error)
    }
}

impl From<LineError> for RunError {
    fn from(error: LineError) -> Self {
        RunError::Line(error)
    }
}

/// The most causes of an error to print. An error may be its own cause.
const MAX_CAUSES: usize = 100;

/// Returns an error and all its causes in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    for _ in 0..MAX_CAUSES {
        let Some(cause) = source else { break };
        let text = cause.to_string();
        // Some libraries both print their cause and return it.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

impl RunError {
    /// Returns the shard; `None` if the error is not about a shard.
    pub fn shard_id(&self) -> Option<&str> {
        let shard_id = match self {
            RunError::Processor { shard_id, .. }
            | RunError::Panicked { shard_id, .. }
            | RunError::ShardEnd { shard_id, .. }
            | RunError::HungUp { shard_id, .. } => shard_id.as_str(),
            _ => "",
        };
        Some(shard_id).filter(|shard_id| !shard_id.is_empty())
    }

    /// Adds the shard where it was not known.
    pub(crate) fn of_shard(mut self, id: &str) -> RunError {
        if let RunError::HungUp { shard_id, .. } = &mut self {
            id.clone_into(shard_id);
        }
        self
    }

    pub(crate) fn hung_up(during: HungUp) -> RunError {
        RunError::HungUp { shard_id: String::new(), during }
    }

    /// Returns the process's exit code: see the table above.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            RunError::Processor { .. } => 1,
            RunError::Io { .. } => 3,
            RunError::HungUp { .. } => 4,
            RunError::Protocol(_) | RunError::Foreign { .. } | RunError::Line(_) => 5,
            RunError::ShardEnd { .. } => 6,
            RunError::Panicked { .. } => 101,
        }
    }
}
