//! The daemon's end of the wire, for rehearsals, tests and benchmarks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::wire::{self, ChildLine};
use crate::{
    Action, CheckpointAnswer, CheckpointError, CheckpointRequest, ChildMessage, Conversation,
    DaemonMessage, DecodeError, Error, Event, State,
};

/// The daemon's end of one shard's conversation, which behaves as the Java daemon does.
///
/// It skips lines that it cannot decode, ignores messages that only a daemon sends, and fails on a
/// status with the wrong `responseFor`. The Java daemon reads a line only while it waits for a
/// status, and so should the caller: what the child writes between messages counts for the next
/// message.
///
/// One case differs. The Java daemon only logs a wrong status for `shutdownRequested` and fails on
/// the next message; here the status itself is the error.
///
/// ```
/// use kcl_protocol::{CheckpointError, DaemonMessage, DaemonSession, InitializeInput, Received};
/// use kcl_protocol::Action;
///
/// let mut session = DaemonSession::new();
/// let mut out = Vec::new();
/// session.send(&DaemonMessage::Initialize(InitializeInput::new("shardId-0")), &mut out)?;
///
/// // The caller decides about checkpoints. During initialize, the Java daemon refuses them so:
/// let mut line = *br#"{"action":"checkpoint","sequenceNumber":"21","subSequenceNumber":0}"#;
/// let Received::Checkpoint(request) = session.receive(&mut line)? else { panic!() };
/// assert_eq!(request.sequence_number, Some("21"));
/// out.clear();
/// session.answer_checkpoint(Err(&CheckpointError::InvalidState), &mut out)?;
/// assert_eq!(
///     String::from_utf8_lossy(&out),
///     "{\"action\":\"checkpoint\",\"sequenceNumber\":\"21\",\"subSequenceNumber\":0,\
///      \"error\":\"InvalidStateException\"}\n"
/// );
///
/// assert!(matches!(session.receive(&mut *b"hello".to_vec())?, Received::Skipped(_)));
/// let mut line = *br#"{"action":"status","responseFor":"initialize"}"#;
/// assert_eq!(session.receive(&mut line)?, Received::Status(Action::Initialize));
/// session.close()?;
/// # Ok::<(), kcl_protocol::Error>(())
/// ```
///
/// # Errors
/// After any error the session is over: every later call returns [`Error::Failed`].
#[derive(Debug, Default)]
pub struct DaemonSession {
    conversation: Conversation,
    /// The numbers of the current checkpoint request, which the answer repeats.
    requested: (Option<String>, Option<u64>),
}

/// What a line from the child means to the daemon.
///
/// ```
/// use kcl_protocol::Received;
/// assert!(Received::Ignored { action: "leaseLost".into() }.is_noise());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received<'a> {
    /// The child has processed this message.
    Status(Action),
    /// The child requests a checkpoint; [`answer_checkpoint`](DaemonSession::answer_checkpoint)
    /// must follow.
    Checkpoint(CheckpointRequest<'a>),
    /// The line cannot be decoded. The daemon logs "Skipping unexpected line" and keeps waiting.
    Skipped(DecodeError),
    /// The line is a message that only a daemon sends. The daemon ignores it and keeps waiting.
    Ignored {
        /// The message's action.
        action: String,
    },
}

impl Received<'_> {
    /// Returns whether the line changes nothing: the daemon keeps waiting.
    pub fn is_noise(&self) -> bool {
        matches!(self, Received::Skipped(_) | Received::Ignored { .. })
    }
}

impl DaemonSession {
    /// Creates a session that has sent nothing yet.
    pub fn new() -> DaemonSession {
        DaemonSession::default()
    }

    /// Returns the state of the conversation.
    pub fn state(&self) -> State {
        self.conversation.state()
    }

    /// Appends a message as a line to `out`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the message is not allowed now.
    pub fn send(&mut self, message: &DaemonMessage<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.conversation.apply_or(Event::from(message), Error::Misuse)?;
        message.encode(out);
        Ok(())
    }

    /// Records that a message of this action is sent, for callers that have encoded its line in
    /// advance with [`DaemonMessage::encode`].
    ///
    /// # Errors
    /// [`Error::Misuse`] if the message is not allowed now.
    pub fn mark_sent(&mut self, action: Action) -> Result<(), Error> {
        self.conversation.apply_or(Event::Message(action), Error::Misuse)
    }

    /// Decodes a line from the child in place. The line must not include its end.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] and [`Error::NullLine`], which make the Java daemon stop its worker,
    /// and [`Error::OutOfTurn`] for a status or a checkpoint request that is not allowed now.
    pub fn receive<'a>(&mut self, line: &'a mut [u8]) -> Result<Received<'a>, Error> {
        self.conversation.check_not_failed()?;
        match wire::decode_child_line(line) {
            Ok(ChildLine::Message(ChildMessage::Checkpoint(request))) => {
                self.conversation.apply_or(Event::CheckpointRequest, Error::OutOfTurn)?;
                self.requested =
                    (request.sequence_number.map(String::from), request.sub_sequence_number);
                Ok(Received::Checkpoint(request))
            }
            Ok(ChildLine::Message(ChildMessage::Status { response_for })) => {
                self.status(response_for).map(Received::Status)
            }
            Ok(ChildLine::FromDaemon { action }) => Ok(Received::Ignored { action }),
            Ok(ChildLine::Null) => {
                self.conversation.fail();
                Err(Error::NullLine)
            }
            Err(error) => Ok(Received::Skipped(error)),
        }
    }

    fn status(&mut self, response_for: Option<&str>) -> Result<Action, Error> {
        let expected = match self.state() {
            State::Busy(action) => Some(action),
            _ => None,
        };
        match response_for.and_then(Action::from_name) {
            Some(action) if expected.is_none_or(|expected| expected == action) => {
                self.conversation.apply_or(Event::Status(action), Error::OutOfTurn)?;
                Ok(action)
            }
            _ => {
                self.conversation.fail();
                let got = response_for.unwrap_or("null").to_string();
                Err(Error::WrongStatus { expected, got })
            }
        }
    }

    /// Appends the answer to the current checkpoint request as a line to `out`. It repeats the
    /// numbers of the request.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no such request.
    pub fn answer_checkpoint(
        &mut self,
        result: Result<(), &CheckpointError>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (sequence_number, sub_sequence_number) = core::mem::take(&mut self.requested);
        let answer = CheckpointAnswer {
            sequence_number: sequence_number.as_deref(),
            sub_sequence_number,
            error: result.err().map(CheckpointError::name),
        };
        self.send(&DaemonMessage::Checkpoint(answer), out)
    }

    /// Records that the child's input is closed.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a message is still waiting for its status.
    pub fn close(&mut self) -> Result<(), Error> {
        self.conversation.apply_or(Event::EndOfInput, Error::Misuse)
    }
}
