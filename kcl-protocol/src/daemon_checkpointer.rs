//! Which checkpoints the daemon takes: the rules of KCL's `ShardRecordProcessorCheckpointer`.

use crate::{Action, CheckpointError, CheckpointRequest, ExtendedSequenceNumber, SequenceNumber};

/// Judges one shard's checkpoints as the Java daemon does, beside a [`DaemonSession`].
///
/// It keeps the range in which a checkpoint may lie, from the last one to the last record that was
/// delivered, and stores nothing itself: [`check`](Self::check) says what is to be stored, and
/// [`mark_stored`](Self::mark_stored) that it was.
///
/// ```
/// use kcl_protocol::{
///     Action, CheckpointError, CheckpointRequest, DaemonCheckpointer, ExtendedSequenceNumber,
///     SequenceNumber,
/// };
///
/// let start = ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0);
/// let mut checkpointer = DaemonCheckpointer::new(start);
/// checkpointer.mark_delivered(&ExtendedSequenceNumber::new(SequenceNumber::new("21")?, 0));
///
/// let during = Action::ProcessRecords;
/// let all = CheckpointRequest::default();
/// let place = checkpointer.check(&all, during)?.expect("nothing is stored yet");
/// assert_eq!(place.to_string(), "21/0");
/// checkpointer.mark_stored(place);
/// assert_eq!(checkpointer.check(&all, during)?, None, "21 is stored already");
///
/// let ahead = CheckpointRequest { sequence_number: Some("22"), sub_sequence_number: None };
/// assert_eq!(checkpointer.check(&ahead, during), Err(CheckpointError::IllegalArgument));
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
    pub fn last_checkpoint(&self) -> &ExtendedSequenceNumber<'static> {
        &self.last
    }

    /// Whether the shard's end has been stored.
    pub fn is_shard_end_stored(&self) -> bool {
        self.last.sequence_number == SequenceNumber::SHARD_END
    }

    /// Says that records up to this one have been delivered.
    pub fn mark_delivered(&mut self, last_record: &ExtendedSequenceNumber<'_>) {
        if self.largest_permitted < *last_record {
            self.largest_permitted = last_record.to_owned();
        }
    }

    /// Says that the shard has ended: from now on "all so far" means the shard's end.
    pub fn mark_shard_ended(&mut self) {
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
    pub fn check(
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
                ExtendedSequenceNumber::from_optional(number, request.sub_sequence_number)
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

    /// Says that what [`check`](Self::check) gave is stored.
    pub fn mark_stored(&mut self, place: ExtendedSequenceNumber<'static>) {
        self.last = place;
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn place(number: &str, sub: u64) -> ExtendedSequenceNumber<'static> {
        ExtendedSequenceNumber::new(SequenceNumber::new(number).unwrap(), sub).to_owned()
    }

    fn at(number: Option<&str>, sub: Option<u64>) -> CheckpointRequest<'_> {
        CheckpointRequest { sequence_number: number, sub_sequence_number: sub }
    }

    /// Last checkpoint 10, delivered up to 20.
    fn between() -> DaemonCheckpointer {
        let mut checkpointer = DaemonCheckpointer::new(place("10", 0));
        checkpointer.mark_delivered(&place("20", 0));
        checkpointer
    }

    #[test]
    fn numbers_inside_the_range_are_taken() {
        let records = Action::ProcessRecords;
        let check = |number, sub| between().check(&at(number, sub), records);
        assert_eq!(check(None, None), Ok(Some(place("20", 0))));
        assert_eq!(check(None, Some(7)), Ok(Some(place("20", 0))));
        assert_eq!(check(Some("15"), None), Ok(Some(place("15", 0))));
        assert_eq!(check(Some("15"), Some(3)), Ok(Some(place("15", 3))));
        assert_eq!(check(Some("10"), Some(0)), Ok(None));
        assert_eq!(check(Some("20"), Some(0)), Ok(Some(place("20", 0))));
        for (number, sub) in [("20", 1), ("21", 0), ("9", 0), ("SHARD_END", 0), ("TRIM_HORIZON", 0)]
        {
            let refused = check(Some(number), Some(sub));
            assert_eq!(refused, Err(CheckpointError::IllegalArgument), "{number}");
        }
        for number in ["", "x", "-1", "1.5", "15 "] {
            let refused = check(Some(number), None);
            assert_eq!(refused, Err(CheckpointError::IllegalArgument), "{number:?}");
        }
    }

    #[test]
    fn the_message_must_allow_it() {
        for (action, allowed) in [
            (Action::Initialize, false),
            (Action::LeaseLost, false),
            (Action::ProcessRecords, true),
            (Action::ShutdownRequested, true),
            (Action::ShardEnded, true),
        ] {
            let result = between().check(&at(None, None), action);
            assert_eq!(result.is_ok(), allowed, "{action}");
            if !allowed {
                assert_eq!(result, Err(CheckpointError::InvalidState));
            }
        }
    }

    #[test]
    fn before_the_first_record_null_changes_nothing() {
        let checkpointer = DaemonCheckpointer::new(place("TRIM_HORIZON", 0));
        assert_eq!(checkpointer.check(&at(None, None), Action::ShutdownRequested), Ok(None));
    }

    #[test]
    fn what_stores_the_shards_end() {
        let end = || Ok(Some(place("SHARD_END", 0)));
        let mut checkpointer = between();
        checkpointer.mark_shard_ended();
        let ended = Action::ShardEnded;
        assert_eq!(checkpointer.check(&at(None, None), ended), end());
        assert_eq!(checkpointer.check(&at(Some("20"), Some(0)), ended), end());
        assert_eq!(checkpointer.check(&at(Some("SHARD_END"), None), ended), end());
        // An earlier number is just that number; a repeated one does nothing.
        assert_eq!(checkpointer.check(&at(Some("15"), None), ended), Ok(Some(place("15", 0))));
        checkpointer.mark_stored(place("20", 0));
        assert_eq!(checkpointer.check(&at(Some("20"), Some(0)), ended), Ok(None));
        assert!(!checkpointer.is_shard_end_stored());
        checkpointer.mark_stored(place("SHARD_END", 0));
        assert!(checkpointer.is_shard_end_stored());
    }

    proptest! {
        /// Against plain numbers: taken if and only if last <= asked <= delivered.
        #[test]
        fn agrees_with_plain_numbers(
            requests in prop::collection::vec((0..40u64, 0..3u64, prop::bool::ANY), 1..20),
            step in 1..6u64,
        ) {
            let mut checkpointer = DaemonCheckpointer::new(place("TRIM_HORIZON", 0));
            let (mut last, mut delivered) = (None, None);
            for (number, sub, deliver) in requests {
                if deliver {
                    let next = delivered.map_or(0, |(number, _)| number) + step;
                    delivered = Some((next, 0));
                    checkpointer.mark_delivered(&place(&next.to_string(), 0));
                }
                let text = number.to_string();
                let asked = Some((number, sub));
                let result = checkpointer.check(&at(Some(&text), Some(sub)), Action::ProcessRecords);
                if asked < last || asked > delivered {
                    prop_assert_eq!(result, Err(CheckpointError::IllegalArgument));
                } else if asked == last {
                    prop_assert_eq!(result, Ok(None));
                } else {
                    prop_assert_eq!(result, Ok(Some(place(&text, sub))));
                    checkpointer.mark_stored(place(&text, sub));
                    last = asked;
                }
            }
        }
    }
}
