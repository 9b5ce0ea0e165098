//! Errors, by who is at fault: the bytes, the daemon's order of messages, or the caller.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use crate::{Action, SequenceNumberError, State, Violation};

/// What can go wrong in a session. After any of these the session stays in error.
///
/// ```
/// use kcl_protocol::{ChildSession, Error};
///
/// let mut session = ChildSession::new();
/// let error = session.receive(&mut *b"{\"action\":\"leaseLost\"}".to_vec()).unwrap_err();
/// assert_eq!(error.to_string(), "got leaseLost before initialize; expected initialize or end of input");
/// assert!(matches!(error, Error::OutOfTurn(_)));
///
/// let error = session.answer(&mut Vec::new()).unwrap_err();
/// assert_eq!(error.to_string(), "the session has already failed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes: a line that cannot be read as a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer: a readable message at a time when it must not come.
    #[error(transparent)]
    OutOfTurn(Violation),
    /// The caller: something was to be sent at a time when it must not be.
    #[error("misuse: {0}")]
    Misuse(Violation),
    /// The caller: a status was to be sent when no message awaits one.
    #[error("misuse: a status is to be sent {0}, when no message awaits one")]
    NothingToAnswer(State),
    /// The peer: a status for another message than the one that awaits it, or for none.
    #[error("got a status for {got}; expected {}", StatusFor(*expected))]
    WrongStatus {
        /// The action whose status was awaited, if one was.
        expected: Option<Action>,
        /// What `responseFor` said.
        got: String,
    },
    /// The peer: the line `null`, at which the daemon stops its worker.
    #[error("got the line `null`, at which the daemon stops its worker")]
    NullLine,
    /// The session failed earlier; that error was returned then.
    #[error("the session has already failed")]
    Failed,
}

struct StatusFor(Option<Action>);

impl fmt::Display for StatusFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(action) => write!(f, "a status for {action}"),
            None => f.write_str("no status"),
        }
    }
}

/// Why bytes are no line.
///
/// ```
/// use kcl_protocol::{LineBuffer, LineError};
///
/// let mut lines = LineBuffer::with_limit(4);
/// lines.push(b"12345");
/// assert_eq!(lines.next_line().unwrap_err(), LineError::TooLong { limit: 4 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is longer than the limit, so far as it has come.
    #[error("a line is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit, in bytes without the line's end.
        limit: usize,
    },
    /// The input ended inside a line.
    #[error("the input ended inside a line, after {length} bytes of it")]
    EndInsideLine {
        /// How many bytes of the line had come.
        length: usize,
    },
}

/// Why a line is no message: where in the message, and what is wrong there.
///
/// ```
/// use kcl_protocol::{DaemonMessage, DecodeErrorKind};
///
/// let mut line = *br#"{"action":"processRecords","records":[{"data":"x","partitionKey":"k",
///     "sequenceNumber":"21"}]}"#;
/// let error = DaemonMessage::decode(&mut line).unwrap_err();
/// assert_eq!(error.action(), Some("processRecords"));
/// assert_eq!(error.record_index(), Some(0));
/// assert_eq!(error.sequence_number(), Some("21"));
/// assert_eq!(error.field(), Some("data"));
/// assert!(matches!(error.kind(), DecodeErrorKind::Base64(_)));
/// assert_eq!(
///     error.to_string(),
///     "processRecords, record 0 (sequence number 21), field `data`: not base64: \
///      1 letters, where groups of 4 belong"
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    action: Option<String>,
    record_index: Option<usize>,
    sequence_number: Option<String>,
    field: Option<&'static str>,
    kind: DecodeErrorKind,
    /// What a user can do about it.
    cure: Option<&'static str>,
}

/// What is wrong with a line that is no message.
///
/// ```
/// use kcl_protocol::{DaemonMessage, DecodeErrorKind};
/// let error = DaemonMessage::decode(&mut *b"{\"action\":\"hop\"}".to_vec()).unwrap_err();
/// assert_eq!(*error.kind(), DecodeErrorKind::UnknownAction { name: "hop".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes are not UTF-8 from this offset on.
    Utf8 {
        /// In bytes from the line's beginning.
        offset: usize,
    },
    /// The line is not JSON, or not an object; what the JSON parser says of it.
    Json(String),
    /// A field that must be there is absent or null.
    Missing,
    /// A field has a value of the wrong type.
    WrongType {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        got: &'static str,
    },
    /// No message of this direction has this action.
    UnknownAction {
        /// The value of `action`.
        name: String,
    },
    /// `reason` is neither TERMINATE nor ZOMBIE.
    UnknownReason {
        /// The value of `reason`.
        name: String,
    },
    /// The payload is not base64; what the base64 decoder says of it.
    Base64(String),
    /// A number that must not be negative is.
    Negative,
    /// A number does not fit 64 bits, or is no whole number.
    Number,
    /// Neither digits nor a sentinel.
    SequenceNumber(SequenceNumberError),
    /// A field that messages of this action do not have; the daemon refuses a line for it.
    UnknownField {
        /// The field's name.
        name: String,
    },
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind) -> DecodeError {
        DecodeError(Box::new(Details {
            action: None,
            record_index: None,
            sequence_number: None,
            field: None,
            kind,
            cure: None,
        }))
    }

    pub(crate) fn with_cure(mut self, cure: &'static str) -> DecodeError {
        self.0.cure = Some(cure);
        self
    }

    pub(crate) fn in_action(mut self, action: &str) -> DecodeError {
        self.0.action = Some(action.to_string());
        self
    }

    pub(crate) fn in_field(mut self, field: &'static str) -> DecodeError {
        self.0.field = Some(field);
        self
    }

    pub(crate) fn in_record(mut self, index: usize, sequence_number: Option<&str>) -> DecodeError {
        self.0.record_index = Some(index);
        self.0.sequence_number = sequence_number.map(ToString::to_string);
        self
    }

    /// The message's action, so far as it could be read.
    pub fn action(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// Which record of the batch, counted from 0.
    pub fn record_index(&self) -> Option<usize> {
        self.0.record_index
    }

    /// That record's sequence number, so far as it could be read.
    pub fn sequence_number(&self) -> Option<&str> {
        self.0.sequence_number.as_deref()
    }

    /// The field's name on the wire.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// What is wrong there.
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.0.kind
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(action) = self.action() {
            write!(f, "{}", Excerpt(action))?;
            separator = ", ";
        }
        if let Some(index) = self.record_index() {
            write!(f, "{separator}record {index}")?;
            separator = ", ";
            if let Some(number) = self.sequence_number() {
                write!(f, " (sequence number {})", Excerpt(number))?;
            }
        }
        if let Some(field) = self.field() {
            write!(f, "{separator}field `{field}`")?;
            separator = ", ";
        }
        if !separator.is_empty() {
            f.write_str(": ")?;
        }
        self.kind().fmt(f)?;
        self.0.cure.map_or(Ok(()), |cure| write!(f, "; {cure}"))
    }
}

/// A text out of the line, fit to be shown: no control characters, and no more than an error needs.
struct Excerpt<'t>(&'t str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = crate::MAX_SEQUENCE_NUMBER_DIGITS + 1;
        let end = self.0.char_indices().nth(MOST).map_or(self.0.len(), |(offset, _)| offset);
        let (shown, cut) = self.0.split_at(end);
        write!(f, "{}", shown.escape_debug())?;
        if cut.is_empty() { Ok(()) } else { write!(f, "… ({} bytes)", self.0.len()) }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({self})")
    }
}

impl core::error::Error for DecodeError {}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeErrorKind::Utf8 { offset } => {
                write!(f, "not UTF-8 at byte {offset} of the line")
            }
            DecodeErrorKind::Json(text) => write!(f, "not the JSON of a message: {text}"),
            DecodeErrorKind::Missing => f.write_str("missing or null"),
            DecodeErrorKind::WrongType { expected, got } => {
                write!(f, "expected {expected}, got {got}")
            }
            DecodeErrorKind::UnknownAction { name } => {
                write!(f, "unknown action \"{}\"", Excerpt(name))?;
                match name.as_str() {
                    "status" | "checkpoint" => f.write_str(", which only the other end may send"),
                    _ => Ok(()),
                }
            }
            DecodeErrorKind::UnknownReason { name } => {
                write!(f, "unknown reason \"{}\", expected TERMINATE or ZOMBIE", Excerpt(name))
            }
            DecodeErrorKind::Base64(text) => write!(f, "not base64: {text}"),
            DecodeErrorKind::Negative => f.write_str("negative, must be 0 or more"),
            DecodeErrorKind::Number => f.write_str("not a whole number of at most 64 bits"),
            DecodeErrorKind::SequenceNumber(error) => write!(f, "not a sequence number: {error}"),
            DecodeErrorKind::UnknownField { name } => {
                write!(
                    f,
                    "unknown field `{}`, for which the daemon refuses the line",
                    Excerpt(name)
                )
            }
        }
    }
}

/// Why the daemon refused a checkpoint: the simple name of the Java exception.
///
/// ```
/// use kcl_protocol::CheckpointError;
///
/// let error = CheckpointError::from_name("ThrottlingException");
/// assert!(error.is_retryable() && !error.is_lease_lost());
/// assert_eq!(error.to_string(), "ThrottlingException: try again later");
///
/// let error = CheckpointError::from_name("KaputtException");
/// assert_eq!(error, CheckpointError::Other("KaputtException".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointError {
    /// `ThrottlingException`: the lease table is asked too much; try again later.
    Throttling,
    /// `ShutdownException`: this worker no longer holds the lease. A normal event; leaseLost or the
    /// end of input follows.
    Shutdown,
    /// `InvalidStateException`: the lease table cannot be used, or no checkpoint is allowed during
    /// this message.
    InvalidState,
    /// `KinesisClientLibDependencyException`: DynamoDB, say, did not answer; try again later.
    Dependency,
    /// `IllegalArgumentException`: outside the range from the last checkpoint to the last record.
    IllegalArgument,
    /// An exception that this library does not know.
    Other(String),
}

impl CheckpointError {
    /// The error that an exception's simple name means.
    pub fn from_name(name: &str) -> CheckpointError {
        match name {
            "ThrottlingException" => CheckpointError::Throttling,
            "ShutdownException" => CheckpointError::Shutdown,
            "InvalidStateException" => CheckpointError::InvalidState,
            "KinesisClientLibDependencyException" => CheckpointError::Dependency,
            "IllegalArgumentException" => CheckpointError::IllegalArgument,
            other => CheckpointError::Other(other.to_string()),
        }
    }

    /// The exception's simple name, as on the wire.
    pub fn name(&self) -> &str {
        match self {
            CheckpointError::Throttling => "ThrottlingException",
            CheckpointError::Shutdown => "ShutdownException",
            CheckpointError::InvalidState => "InvalidStateException",
            CheckpointError::Dependency => "KinesisClientLibDependencyException",
            CheckpointError::IllegalArgument => "IllegalArgumentException",
            CheckpointError::Other(name) => name,
        }
    }

    /// Whether the same checkpoint may succeed later: throttling, and a failed dependency.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CheckpointError::Throttling | CheckpointError::Dependency)
    }

    /// Whether another worker has the lease now, so that no checkpoint can succeed any more.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, CheckpointError::Shutdown)
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            CheckpointError::Throttling => "try again later",
            CheckpointError::Shutdown => "this worker no longer holds the lease",
            CheckpointError::InvalidState => {
                "the lease table cannot be used, or no checkpoint is allowed now"
            }
            CheckpointError::Dependency => {
                "a service that the daemon depends on failed; try again later"
            }
            CheckpointError::IllegalArgument => {
                "not between the last checkpoint and the last delivered record"
            }
            CheckpointError::Other(_) => "see the daemon's log",
        };
        write!(f, "{}: {meaning}", self.name())
    }
}

impl core::error::Error for CheckpointError {}
