//! Errors, grouped by who is at fault: the bytes, the peer, or the caller.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use crate::wire::STATUS;
use crate::{Action, SequenceNumberError, State, Violation};

/// Why a session cannot go on. Every later call on the same session returns [`Error::Failed`].
///
/// ```
/// use kcl_protocol::{ChildSession, Error};
///
/// let mut session = ChildSession::new();
/// let error = session.receive(&mut *b"{\"action\":\"leaseLost\"}".to_vec()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "got leaseLost before initialize; expected initialize or end of input"
/// );
/// assert!(matches!(error, Error::OutOfTurn(_)));
///
/// let error = session.answer(&mut Vec::new()).unwrap_err();
/// assert_eq!(error.to_string(), "the session has already failed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The line cannot be decoded as a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer sent something that the transition table does not allow now.
    #[error(transparent)]
    OutOfTurn(Violation),
    /// The caller asked to send something that the transition table does not allow now.
    #[error("cannot send {} {}: expected {}", .0.event, .0.state, .0.expected())]
    Misuse(Violation),
    /// The caller asked to send a status, but no message is waiting for one.
    #[error("cannot send a status {0}: no message is waiting for one")]
    NothingToAnswer(State),
    /// The child sent a status for another message than the one that is waiting for it, or a status
    /// that names no message.
    #[error("got a status for {got}; expected {}", StatusFor(*expected))]
    WrongStatus {
        /// The message that is waiting for its status, if there is one.
        expected: Option<Action>,
        /// The value of `responseFor`.
        got: String,
    },
    /// The child sent the line `null`, which makes the daemon stop its worker.
    #[error("got the line `null` instead of a message")]
    NullLine,
    /// The session failed earlier and returned the reason then.
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

/// Why bytes cannot be split into lines.
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
    /// More bytes than the limit arrived without a line end.
    #[error("a line is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes, not counting the line end.
        limit: usize,
    },
    /// The input ended before the line did.
    #[error("the input ended {length} bytes into a line")]
    EndInsideLine {
        /// How many bytes of the line had arrived.
        length: usize,
    },
}

/// Why a line cannot be decoded: the place in the message, and what is wrong there.
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
///     "processRecords, record 0 (sequence number 21), field `data`: cannot decode base64: \
///      length 1 is not a multiple of 4"
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
    /// What the user can do about it, as an imperative.
    hint: Option<&'static str>,
}

/// What is wrong in a line that cannot be decoded.
///
/// ```
/// use kcl_protocol::{DaemonMessage, DecodeErrorKind};
/// let error = DaemonMessage::decode(&mut *b"{\"action\":\"hop\"}".to_vec()).unwrap_err();
/// assert_eq!(*error.kind(), DecodeErrorKind::UnknownAction { name: "hop".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The line is not UTF-8.
    Utf8 {
        /// The first invalid byte, counted from the start of the line.
        offset: usize,
    },
    /// The line is not JSON, or a known field appears twice; the text is the parser's.
    Json(String),
    /// A required field is absent or null.
    Missing,
    /// A value has the wrong type.
    WrongType {
        /// The type that the protocol requires, such as `a string`.
        expected: &'static str,
        /// The type of the value.
        got: &'static str,
    },
    /// No message that this end may receive has this action.
    UnknownAction {
        /// The value of `action`.
        name: String,
    },
    /// `reason` is neither TERMINATE nor ZOMBIE.
    UnknownReason {
        /// The value of `reason`.
        name: String,
    },
    /// The payload is not standard base64 with padding; the text says what is wrong.
    Base64(String),
    /// A number is negative where only 0 or more makes sense.
    Negative,
    /// A number has a fraction or an exponent, or needs more than 64 bits.
    Number,
    /// The text is neither a number nor a sentinel.
    SequenceNumber(SequenceNumberError),
    /// The message has a field that the daemon does not know, so the daemon skips the line.
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
            hint: None,
        }))
    }

    pub(crate) fn with_hint(mut self, hint: &'static str) -> DecodeError {
        self.0.hint = Some(hint);
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

    /// Returns the message's action, if it could be decoded.
    pub fn action(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// Returns the index of the record in its batch, counted from 0.
    pub fn record_index(&self) -> Option<usize> {
        self.0.record_index
    }

    /// Returns that record's sequence number, if it could be decoded.
    pub fn sequence_number(&self) -> Option<&str> {
        self.0.sequence_number.as_deref()
    }

    /// Returns the field's name on the wire.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// Returns what is wrong there.
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
            if let Some(number) = self.sequence_number().filter(|number| !number.is_empty()) {
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
        self.0.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Text from the line, made safe to print: control characters are escaped and long text is cut.
struct Excerpt<'t>(&'t str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = crate::MAX_SEQUENCE_NUMBER_DIGITS + 1;
        let end = self.0.char_indices().nth(MAX_CHARS).map_or(self.0.len(), |(offset, _)| offset);
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
                write!(f, "invalid UTF-8 at byte {offset} of the line")
            }
            DecodeErrorKind::Json(text) => write!(f, "invalid JSON: {text}"),
            DecodeErrorKind::Missing => f.write_str("missing or null"),
            DecodeErrorKind::WrongType { expected, got } => {
                write!(f, "expected {expected}, got {got}")
            }
            DecodeErrorKind::UnknownAction { name } if name == STATUS => {
                write!(f, "unknown action \"{STATUS}\": only a child sends it")
            }
            DecodeErrorKind::UnknownAction { name } => {
                write!(f, "unknown action \"{}\"", Excerpt(name))
            }
            DecodeErrorKind::UnknownReason { name } => {
                write!(f, "unknown reason \"{}\"; expected TERMINATE or ZOMBIE", Excerpt(name))
            }
            DecodeErrorKind::Base64(text) => write!(f, "cannot decode base64: {text}"),
            DecodeErrorKind::Negative => f.write_str("expected 0 or more, got a negative number"),
            DecodeErrorKind::Number => f.write_str("expected a whole number of at most 64 bits"),
            DecodeErrorKind::SequenceNumber(error) => {
                write!(f, "invalid sequence number: {error}")
            }
            DecodeErrorKind::UnknownField { name } => {
                write!(f, "unknown field `{}`; the daemon skips the whole line", Excerpt(name))
            }
        }
    }
}

/// Why the daemon refused a checkpoint. On the wire it is the simple name of a Java exception.
///
/// ```
/// use kcl_protocol::CheckpointError;
///
/// let error = CheckpointError::from_name("ThrottlingException");
/// assert!(error.is_retryable() && !error.is_lease_lost());
/// assert_eq!(error.to_string(), "ThrottlingException: try again later");
///
/// let error = CheckpointError::from_name("CustomException");
/// assert_eq!(error, CheckpointError::Other("CustomException".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointError {
    /// `ThrottlingException`: DynamoDB throttles the lease table. Try again later.
    Throttling,
    /// `ShutdownException`: this worker no longer holds the lease. This is a normal event;
    /// `leaseLost` or the end of input follows.
    Shutdown,
    /// `InvalidStateException`: the lease table cannot be used, or no checkpoint is allowed during
    /// this message.
    InvalidState,
    /// `KinesisClientLibDependencyException`: a service such as DynamoDB failed. Try again later.
    Dependency,
    /// `IllegalArgumentException`: the position is outside the range from the last checkpoint to
    /// the last delivered record.
    IllegalArgument,
    /// An exception that this library does not know.
    Other(String),
}

impl CheckpointError {
    const KNOWN: [CheckpointError; 5] = [
        CheckpointError::Throttling,
        CheckpointError::Shutdown,
        CheckpointError::InvalidState,
        CheckpointError::Dependency,
        CheckpointError::IllegalArgument,
    ];

    /// Returns the error that the simple name of a Java exception stands for.
    pub fn from_name(name: &str) -> CheckpointError {
        CheckpointError::KNOWN
            .into_iter()
            .find(|known| known.name() == name)
            .unwrap_or_else(|| CheckpointError::Other(name.to_string()))
    }

    /// Returns the exception's simple name, as it goes over the wire.
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

    /// Returns whether the same checkpoint may succeed later: after throttling or a failed
    /// dependency.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CheckpointError::Throttling | CheckpointError::Dependency)
    }

    /// Returns whether this worker has lost the lease, so that no later checkpoint can succeed.
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
