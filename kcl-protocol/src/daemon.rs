//! The daemon's end of the wire, for rehearsals, tests and measurements.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::wire::{self, ChildLine};
use crate::{
    Action, CheckpointAnswer, CheckpointError, CheckpointRequest, ChildMessage, Conversation,
    DaemonMessage, DecodeError, Error, Event, State,
};

/// The daemon's end of one shard's conversation, doing what the Java daemon does.
///
/// It skips lines that cannot be read and says so, ignores readable messages that a child does not
/// send, and takes a status with another `responseFor` as the end of the conversation. Where Java
/// reads a line only while it waits for a status, so should the caller: what the child says between
/// messages is for the next message's turn.
///
/// Java differs in one place: a wrong status for `shutdownRequested` is only logged there, and the
/// next message fails. Here that status is the error already.
///
/// ```
/// use kcl_protocol::{CheckpointError, DaemonMessage, DaemonSession, InitializeInput, Received};
/// use kcl_protocol::Action;
///
/// let mut session = DaemonSession::new();
/// let mut out = Vec::new();
/// session.send(&DaemonMessage::Initialize(InitializeInput::new("shardId-0")), &mut out)?;
///
/// // A child may not checkpoint during initialize. Its caller decides; Java answers so:
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
/// Each method returns the error that it finds, and [`Error::Failed`] from then on.
#[derive(Debug, Default)]
pub struct DaemonSession {
    conversation: Conversation,
    /// The numbers of the checkpoint that awaits its answer, to be echoed.
    asked: (Option<String>, Option<u64>),
}

/// What a child's line turned out to be.
///
/// ```
/// use kcl_protocol::Received;
/// assert!(Received::Ignored { action: "leaseLost".into() }.is_noise());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received<'a> {
    /// The message of this action has been dealt with.
    Status(Action),
    /// A checkpoint is asked for: [`answer_checkpoint`](DaemonSession::answer_checkpoint) is due.
    Checkpoint(CheckpointRequest<'a>),
    /// The line cannot be read; the daemon logs it as "Skipping unexpected line" and goes on
    /// waiting.
    Skipped(DecodeError),
    /// The line is a message that a child does not send; the daemon goes on waiting.
    Ignored {
        /// Its action.
        action: String,
    },
}

impl Received<'_> {
    /// Whether the daemon goes on waiting as if the line had not come.
    pub fn is_noise(&self) -> bool {
        matches!(self, Received::Skipped(_) | Received::Ignored { .. })
    }
}

impl DaemonSession {
    /// A session before its first message.
    pub fn new() -> DaemonSession {
        DaemonSession::default()
    }

    /// Where the conversation stands.
    pub fn state(&self) -> State {
        self.conversation.state()
    }

    /// Appends a message as a line.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it must not be sent now.
    pub fn send(&mut self, message: &DaemonMessage<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.conversation.apply_or(Event::from(message), Error::Misuse)?;
        message.encode(out);
        Ok(())
    }

    /// Says that a message of this action is sent, as a line that was written beforehand by
    /// [`DaemonMessage::encode`].
    ///
    /// # Errors
    /// [`Error::Misuse`] if it must not be sent now.
    pub fn mark_sent(&mut self, action: Action) -> Result<(), Error> {
        self.conversation.apply_or(Event::Message(action), Error::Misuse)
    }

    /// Takes a line of the child, without its end, and decodes it in place.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] and [`Error::NullLine`], at which the Java daemon stops the worker, and
    /// [`Error::OutOfTurn`] for a status or a checkpoint that nothing asked for.
    pub fn receive<'a>(&mut self, line: &'a mut [u8]) -> Result<Received<'a>, Error> {
        self.conversation.check_not_failed()?;
        match wire::decode_child_line(line) {
            Ok(ChildLine::Message(ChildMessage::Checkpoint(request))) => {
                self.conversation.apply_or(Event::CheckpointRequest, Error::OutOfTurn)?;
                self.asked =
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

    /// Appends the answer to the checkpoint that was asked for, echoing its numbers.
    ///
    /// # Errors
    /// [`Error::Misuse`] if none was asked for.
    pub fn answer_checkpoint(
        &mut self,
        result: Result<(), &CheckpointError>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (sequence_number, sub_sequence_number) = core::mem::take(&mut self.asked);
        let answer = CheckpointAnswer {
            sequence_number: sequence_number.as_deref(),
            sub_sequence_number,
            error: result.err().map(CheckpointError::name),
        };
        self.send(&DaemonMessage::Checkpoint(answer), out)
    }

    /// Says that the child's input is being closed.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a message of ours awaits its status.
    pub fn close(&mut self) -> Result<(), Error> {
        self.conversation.apply_or(Event::EndOfInput, Error::Misuse)
    }
}
