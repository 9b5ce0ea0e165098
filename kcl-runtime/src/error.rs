//! Errors: of the processor, of a checkpoint, and of the whole run.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::ExitCode;

use kcl_protocol::{CheckpointError, DecodeError, ExtendedSequenceNumber, LineError, Record};

use crate::contain::contain;

/// What a processor's method returns.
pub type Result<T = (), E = ProcessorError> = std::result::Result<T, E>;

/// Why a processor's method failed. Every error type turns into one with `?`, and so do texts.
///
/// An error may name the record it is about: see [`ProcessorError::at`].
///
/// ```
/// use kcl_runtime::ProcessorError;
///
/// fn parse(text: &str) -> kcl_runtime::Result<u64> {
///     if text.is_empty() {
///         return Err("nothing to parse".into());
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("").unwrap_err().to_string(), "nothing to parse");
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct ProcessorError {
    source: Box<dyn StdError + Send + Sync>,
    at: Option<ExtendedSequenceNumber<'static>>,
}

impl ProcessorError {
    /// An error that names the record it is about.
    ///
    /// Where a failed batch is retried, it is retried from this record on; where failed records are
    /// skipped, this one alone is. So the records before it must have been dealt with.
    ///
    /// ```
    /// use kcl_runtime::{Checkpointer, ProcessRecordsInput, ProcessorError, RecordProcessor, Result};
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
    pub fn at(
        record: &Record<'_>,
        error: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> ProcessorError {
        ProcessorError {
            source: error.into(),
            at: Some(record.extended_sequence_number().to_owned()),
        }
    }

    /// The place of the record that the error is about, if it names one.
    pub fn record(&self) -> Option<&ExtendedSequenceNumber<'static>> {
        self.at.as_ref()
    }

    /// The error and all its causes in one line.
    pub(crate) fn in_full(&self) -> String {
        contain(|| chain(self.get_ref()))
            .unwrap_or_else(|_| "an error whose own text panics".to_owned())
    }

    /// The error that the method returned.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

/// Wherever an error is dropped, be it by us between two tries, a panic in its destructor ends here.
impl Drop for ProcessorError {
    fn drop(&mut self) {
        let source = std::mem::replace(&mut self.source, Box::new(Dropped));
        // What it says the panic hook has printed.
        let _ = contain(|| drop(source));
    }
}

/// Takes the place of an error that is being dropped. It needs no memory.
#[derive(Debug, thiserror::Error)]
#[error("dropped")]
struct Dropped;

// Like `anyhow::Error` this is no `std::error::Error` itself: else it could not be made from all.
impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for ProcessorError {
    fn from(error: E) -> Self {
        ProcessorError { source: error.into(), at: None }
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
            .finish()
    }
}

/// Why a checkpoint was not stored.
///
/// ```
/// use kcl_protocol::CheckpointError;
/// use kcl_runtime::CheckpointFailed;
///
/// let error = CheckpointFailed::Refused { error: CheckpointError::Throttling, tries: 7 };
/// assert!(error.is_retryable());
/// assert_eq!(
///     error.to_string(),
///     "checkpoint refused after 7 tries: ThrottlingException: try again later"
/// );
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFailed {
    /// The daemon refused it, after all retries where the error was worth them.
    #[error("checkpoint refused{}: {error}", after(*tries))]
    Refused {
        /// The last answer.
        error: CheckpointError,
        /// How often it was asked for. 0 where it was known beforehand that the lease is gone.
        tries: u32,
    },
    /// The daemon cannot be reached any more. The run ends with the reason when the processor's
    /// method returns, whatever it returns.
    #[error("checkpoint not possible: the conversation with the daemon is broken")]
    Broken,
}

/// The shard that an error is about. There is none before `initialize`.
fn before(shard_id: &str) -> String {
    if shard_id.is_empty() { String::new() } else { format!("{shard_id}: ") }
}

fn after(tries: u32) -> String {
    match tries {
        0 | 1 => String::new(),
        _ => format!(" after {tries} tries"),
    }
}

impl CheckpointFailed {
    /// Whether the same checkpoint may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CheckpointFailed::Refused { error, .. } if error.is_retryable())
    }

    /// Whether another worker has the lease now. This is a normal event; the runtime answers the
    /// current message whatever the processor returns.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, CheckpointFailed::Refused { error, .. } if error.is_lease_lost())
    }
}

/// The method of the processor in which something happened.
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
    /// `lease_lost`
    LeaseLost,
    /// `shard_ended`
    ShardEnded,
    /// `shutdown_requested`
    ShutdownRequested,
    /// The processor's destructor, after its last message.
    Drop,
    /// The callback of [`OnError::skip`](crate::OnError::skip).
    SkipCallback,
    /// Code of the program that is no method of the processor: the reader, writer or timer given to
    /// [`run_over`](crate::Runtime::run_over), or a subscriber of `tracing`.
    Other,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Initialize => "initialize",
            Method::ProcessRecords => "process_records",
            Method::LeaseLost => "lease_lost",
            Method::ShardEnded => "shard_ended",
            Method::ShutdownRequested => "shutdown_requested",
            Method::Drop => "drop",
            Method::SkipCallback => "the callback for skipped records",
            Method::Other => "a reader, writer, timer or log subscriber",
        })
    }
}

/// Why a run ended before the daemon closed our input in the regular way. No status was sent for
/// the message being dealt with, so its records will be delivered again.
///
/// # Exit codes
/// [`exit_code`](Self::exit_code) gives the process's exit code:
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | the daemon closed our input at a time when that is a normal end (no error) |
/// | 1 | [`Processor`](Self::Processor): the processor failed, after all retries |
/// | 3 | [`Io`](Self::Io): reading or writing failed; or stdin or stdout is closed, or the null device |
/// | 4 | [`HungUp`](Self::HungUp): the daemon went away in the middle of a message |
/// | 5 | [`Protocol`](Self::Protocol), [`Foreign`](Self::Foreign), [`Line`](Self::Line): what the daemon sent cannot be read, or must not come now |
/// | 6 | [`ShardEnd`](Self::ShardEnd): the shard's end could not be checkpointed |
/// | 101 | [`Panicked`](Self::Panicked): the processor panicked |
/// | 128+n | ended by signal n, where signals are left to their default, or at the third within 5 s |
///
/// Every code but 0 makes the daemon stop its whole worker.
///
/// The text of an error has all its causes in it, so [`source`](StdError::source) names none.
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
    Panicked {
        /// The shard.
        shard_id: String,
        /// Which method.
        method: Method,
        /// The panic's message.
        message: String,
    },
    /// `shardEnded` cannot be answered, as the shard's end is not checkpointed.
    #[error(
        "{shard_id}: {reason}; to answer shardEnded now would leave the shard unfinished: its \
         child shards would not be read until another worker takes it over"
    )]
    ShardEnd {
        /// The shard.
        shard_id: String,
        /// Why its end is not checkpointed, and what to write where that is the cure.
        reason: String,
    },
    /// The input ended, or the output was closed, when a message was not dealt with.
    #[error("the daemon hung up {during}; expected {expected}")]
    HungUp {
        /// When.
        during: String,
        /// What should have come, or gone out.
        expected: &'static str,
    },
    /// A line is no message, or must not come now.
    #[error("cannot go on with the daemon's messages: {0}")]
    Protocol(kcl_protocol::Error),
    /// A line that does not even begin like a message: it may be somebody else's.
    #[error("cannot go on with the daemon's messages: {error}; the line begins: {beginning}")]
    Foreign {
        /// What is wrong with it.
        error: DecodeError,
        /// Its first 60 bytes, as text without control characters.
        beginning: String,
    },
    /// Bytes are no line.
    #[error("cannot go on with the daemon's messages: {0}")]
    Line(LineError),
    /// Reading or writing failed.
    #[error("cannot {doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

// Written out, as a derived one would make it a source as well: said twice where chains are printed.
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

/// The most causes of an error that are told. An error may be its own cause.
const MOST_CAUSES: usize = 100;

/// An error and all its causes in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    for _ in 0..MOST_CAUSES {
        let Some(cause) = source else { break };
        let text = cause.to_string();
        // Some libraries print their cause as well as returning it.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

impl RunError {
    /// The process's exit code for this error: see the table above.
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
