//! Which checkpoints the daemon takes: the rules of KCL's `ShardRecordProcessorCheckpointer`.

use crate::{Action, CheckpointError, CheckpointRequest, ExtendedSequenceNumber, SequenceNumber};

/// Judges one shard's checkpoints as the Java daemon does, beside a [`DaemonSession`].
///
/// It keeps the range in which a checkpoint may lie, from the last one to the last record that was
/// delivered, and stores nothing itself: [`judge`](Self::judge) says what is to be stored, and
/// [`stored`](Self::stored) that it was.
///
/// ```
/// use kcl_protocol::{
///     Action, CheckpointError, CheckpointRequest, DaemonCheckpointer, ExtendedSequenceNumber,
///     SequenceNumber,
/// };
///
/// let start = ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0);
/// let mut checkpointer = DaemonCheckpointer::new(start);
/// checkpointer.deliver(&ExtendedSequenceNumber::new(SequenceNumber::new("21")?, 0));
///
/// let during = Action::ProcessRecords;
/// let all = CheckpointRequest::default();
/// let place = checkpointer.judge(&all, during)?.expect("nothing is stored yet");
/// assert_eq!(place.to_string(), "21/0");
/// checkpointer.stored(place);
/// assert_eq!(checkpointer.judge(&all, during)?, None, "21 is stored already");
///
/// let ahead = CheckpointRequest { sequence_number: Some("22"), sub_sequence_number: None };
/// assert_eq!(checkpointer.judge(&ahead, during), Err(CheckpointError::IllegalArgument));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`DaemonSession`]: crate::DaemonSession
#[derive(Debug, Clone)]
pub struct DaemonCheckpointer {
    last: ExtendedSequenceNumber<'static>,
    /// No checkpoint may lie behind this one. Never less than `last`.
    largest_permitted: ExtendedSequenceNumber<'static>,
    /// The last record's place, once the shard has ended: to checkpoint there means the end.
    at_shard_end: Option<ExtendedSequenceNumber<'static>>,
}

impl DaemonCheckpointer {
    /// The rules for a shard that is read from this checkpoint on, which may be a sentinel.
    pub fn new(start: ExtendedSequenceNumber<'static>) -> DaemonCheckpointer {
        DaemonCheckpointer { largest_permitted: start.clone(), last: start, at_shard_end: None }
    }

    /// The last checkpoint, or where the shard was started from.
    pub fn last(&self) -> &ExtendedSequenceNumber<'static> {
        &self.last
    }

    /// Whether the shard's end has been stored.
    pub fn is_shard_end_stored(&self) -> bool {
        self.last.sequence_number == SequenceNumber::SHARD_END
    }

    /// Says that records up to this one have been delivered.
    pub fn deliver(&mut self, last_record: &ExtendedSequenceNumber<'_>) {
        if self.largest_permitted < *last_record {
            self.largest_permitted = last_record.to_owned();
        }
    }

    /// Says that the shard has ended: from now on "all so far" means the shard's end.
    pub fn end_shard(&mut self) {
        let end = ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0);
        if self.at_shard_end.is_none() {
            self.at_shard_end = Some(core::mem::replace(&mut self.largest_permitted, end));
        }
    }

    /// What a checkpoint, asked for during a message of this action, would store. `None` means
    /// that nothing is to be stored and the daemon reports success all the same: just this number
    /// was stored last.
    ///
    /// # Errors
    /// [`CheckpointError::InvalidState`] during `initialize` and `leaseLost`;
    /// [`CheckpointError::IllegalArgument`] for what is no sequence number, or one outside the
    /// range from the last checkpoint to the last delivered record.
    pub fn judge(
        &self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Option<ExtendedSequenceNumber<'static>>, CheckpointError> {
        if matches!(during, Action::Initialize | Action::LeaseLost) {
            return Err(CheckpointError::InvalidState);
        }
        let place = match request.sequence_number {
            None => self.largest_permitted.borrowed(),
            Some(text) => {
                let number =
                    SequenceNumber::new(text).map_err(|_| CheckpointError::IllegalArgument)?;
                ExtendedSequenceNumber::new(number, request.sub_sequence_number.unwrap_or(0))
            }
        };
        if place < self.last || place > self.largest_permitted {
            return Err(CheckpointError::IllegalArgument);
        }
        if place == self.last {
            return Ok(None);
        }
        if self.at_shard_end.as_ref() == Some(&place) {
            return Ok(Some(ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0)));
        }
        Ok(Some(place.to_owned()))
    }

    /// Says that what [`judge`](Self::judge) gave is stored.
    pub fn stored(&mut self, place: ExtendedSequenceNumber<'static>) {
        self.last = place;
    }
}
