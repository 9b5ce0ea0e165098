//! The child's end of the wire: ours.

use alloc::vec::Vec;

use crate::wire::{self, BatchBuffers};
use crate::{
    CheckpointRequest, ChildMessage, Conversation, DaemonMessage, Error, Event, Position,
    ProcessRecordsInput, State,
};

/// The child's end of one shard's conversation.
///
/// [`receive`](Self::receive) takes what arrives; [`checkpoint`](Self::checkpoint) and
/// [`answer`](Self::answer) write what must go out, and [`end_of_input`](Self::end_of_input) judges
/// the end. Every message is answered exactly once, with the name of its own action: the session
/// knows it, so the caller cannot get it wrong.
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
/// Each method returns the error that it finds, and [`Error::Failed`] from then on.
#[derive(Debug, Default)]
pub struct ChildSession {
    conversation: Conversation,
    buffers: BatchBuffers,
}

impl ChildSession {
    /// A session before its first message.
    pub fn new() -> ChildSession {
        ChildSession::default()
    }

    /// Where the conversation stands.
    pub fn state(&self) -> State {
        self.conversation.state()
    }

    /// Takes a line that has arrived, without its end, and decodes it in place.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is no message, [`Error::OutOfTurn`] if it must not come now.
    #[inline]
    pub fn receive<'a>(&mut self, line: &'a mut [u8]) -> Result<DaemonMessage<'a>, Error> {
        self.conversation.check_not_failed()?;
        let message = DaemonMessage::decode_with(line, &mut self.buffers)
            .inspect_err(|_| self.conversation.fail())?;
        self.conversation.apply_or(Event::from(&message), Error::OutOfTurn)?;
        Ok(message)
    }

    /// Gives a batch's memory back, to serve the batches to come: with it, one more batch takes
    /// none.
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
    ///     // … the records are dealt with …
    ///     session.recycle(input);
    /// }
    /// # Ok::<(), kcl_protocol::Error>(())
    /// ```
    #[inline]
    pub fn recycle(&mut self, input: ProcessRecordsInput<'_>) {
        self.buffers.recycle(input.records);
    }

    /// Appends the line that asks for a checkpoint. The answer must be received before anything
    /// else is sent.
    ///
    /// # Errors
    /// [`Error::Misuse`] unless a message of the daemon is being dealt with.
    pub fn checkpoint(&mut self, at: &Position<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.conversation.apply_or(Event::CheckpointRequest, Error::Misuse)?;
        ChildMessage::Checkpoint(CheckpointRequest::from(at)).encode(out);
        Ok(())
    }

    /// Appends the status that answers the message being dealt with.
    ///
    /// # Errors
    /// [`Error::NothingToAnswer`] if no message awaits its status, [`Error::Misuse`] if a checkpoint
    /// awaits its answer.
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

    /// Says that the daemon has closed our input.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if a message is still to be answered: the daemon has gone.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        self.conversation.apply_or(Event::EndOfInput, Error::OutOfTurn)
    }
}
