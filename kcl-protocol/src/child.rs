//! The child's end of the wire, which is ours.

use alloc::vec::Vec;

use crate::wire::{self, BatchBuffers};
use crate::{
    CheckpointRequest, ChildMessage, Conversation, DaemonMessage, Error, Event, Position,
    ProcessRecordsInput, State,
};

/// The child's end of one shard's conversation.
///
/// [`receive`](Self::receive) decodes what arrives, [`checkpoint`](Self::checkpoint) and
/// [`answer`](Self::answer) encode what goes out, and [`end_of_input`](Self::end_of_input) checks
/// that the daemon may close the input now. The session knows which message it is answering, so a
/// status always names the right one.
///
/// ```
/// use kcl_protocol::{CheckpointError, ChildSession, DaemonMessage, Position};
///
/// let mut session = ChildSession::new();
/// let mut out = Vec::new();
/// session.receive(&mut *br#"{"action":"initialize","shardId":"shardId-0"}"#.to_vec())?;
/// session.answer(&mut out)?;
///
/// session.receive(&mut *br#"{"action":"shutdownRequested"}"#.to_vec())?;
/// out.clear();
/// session.checkpoint(&Position::AllDelivered, &mut out)?;
/// assert_eq!(
///     out,
///     b"{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n"
/// );
///
/// let mut line = *br#"{"action":"checkpoint","error":"ThrottlingException"}"#;
/// let DaemonMessage::Checkpoint(answer) = session.receive(&mut line)? else { panic!() };
/// assert_eq!(answer.result(), Err(CheckpointError::Throttling));
/// session.answer(&mut out)?;
/// session.end_of_input()?;
/// # Ok::<(), kcl_protocol::Error>(())
/// ```
///
/// # Errors
/// After any error the session is over: every later call returns [`Error::Failed`].
#[derive(Debug, Default)]
pub struct ChildSession {
    conversation: Conversation,
    buffers: BatchBuffers,
}

impl ChildSession {
    /// Creates a session that waits for its first message.
    pub fn new() -> ChildSession {
        ChildSession::default()
    }

    /// Returns the state of the conversation.
    pub fn state(&self) -> State {
        self.conversation.state()
    }

    /// Decodes a line from the daemon in place. The line must not include its end.
    ///
    /// # Errors
    /// [`Error::Decode`] if the line cannot be decoded, [`Error::OutOfTurn`] if the message is not
    /// allowed now.
    #[inline]
    pub fn receive<'a>(&mut self, line: &'a mut [u8]) -> Result<DaemonMessage<'a>, Error> {
        self.conversation.check_not_failed()?;
        let message = DaemonMessage::decode_with(line, &mut self.buffers)
            .inspect_err(|_| self.conversation.fail())?;
        self.conversation.apply_or(Event::from(&message), Error::OutOfTurn)?;
        Ok(message)
    }

    /// Gives back a batch that was processed, so that the next one allocates no memory.
    ///
    /// ```
    /// use kcl_protocol::{ChildSession, DaemonMessage};
    ///
    /// let mut session = ChildSession::new();
    /// # let mut out = Vec::new();
    /// # session.receive(&mut *br#"{"action":"initialize","shardId":"shardId-0"}"#.to_vec())?;
    /// # session.answer(&mut out)?;
    /// let mut line = *br#"{"action":"processRecords","records":[],"millisBehindLatest":0}"#;
    /// if let DaemonMessage::ProcessRecords(input) = session.receive(&mut line)? {
    ///     // … process the records …
    ///     session.recycle(input);
    /// }
    /// # Ok::<(), kcl_protocol::Error>(())
    /// ```
    #[inline]
    pub fn recycle(&mut self, input: ProcessRecordsInput<'_>) {
        self.buffers.recycle(input.records);
    }

    /// Appends a checkpoint request as a line to `out`. The daemon's answer must be received before
    /// anything else is sent.
    ///
    /// # Errors
    /// [`Error::Misuse`] if no message is waiting for its status, or an earlier request for its answer.
    pub fn checkpoint(&mut self, at: &Position<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.conversation.apply_or(Event::CheckpointRequest, Error::Misuse)?;
        ChildMessage::Checkpoint(CheckpointRequest::from(at)).encode(out);
        Ok(())
    }

    /// Appends the status of the current message as a line to `out`.
    ///
    /// # Errors
    /// [`Error::NothingToAnswer`] if no message is waiting for its status, [`Error::Misuse`] if a
    /// checkpoint is waiting for its answer.
    #[inline]
    pub fn answer(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.conversation.check_not_failed()?;
        let (State::Busy(action) | State::Checkpointing(action)) = self.state() else {
            let state = self.state();
            self.conversation.fail();
            return Err(Error::NothingToAnswer(state));
        };
        self.conversation.apply_or(Event::Status(action), Error::Misuse)?;
        wire::encode_status(action, out);
        Ok(())
    }

    /// Records that the daemon has closed our input.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if a message is still waiting for its status, which means that the
    /// daemon died.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        self.conversation.apply_or(Event::EndOfInput, Error::OutOfTurn)
    }
}
