//! Which checkpoints the daemon accepts: the rules of KCL's `ShardRecordProcessorCheckpointer`.

use crate::{Action, CheckpointError, CheckpointRequest, ExtendedSequenceNumber, SequenceNumber};

/// Accepts or refuses the checkpoints of one shard as the Java daemon does. Use it beside a
/// [`DaemonSession`].
///
/// It tracks the range in which a checkpoint may lie: from the last checkpoint to the last
/// delivered record. It stores nothing itself: [`check`](Self::check) returns what the caller has
/// to store, and [`mark_stored`](Self::mark_stored) records that this has happened.
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
/// let position = checkpointer.check(&all, during)?.expect("there is something to store");
/// assert_eq!(position.to_string(), "21/0");
/// checkpointer.mark_stored(position);
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
    /// No checkpoint may be greater than this. It is never less than `last`.
    largest_permitted: ExtendedSequenceNumber<'static>,
    /// The last record, once the shard has ended. A checkpoint there completes the shard.
    at_shard_end: Option<ExtendedSequenceNumber<'static>>,
}

impl DaemonCheckpointer {
    /// Creates the rules for a shard that is read from this checkpoint on. It may be a sentinel.
    pub fn new(start: ExtendedSequenceNumber<'static>) -> DaemonCheckpointer {
        DaemonCheckpointer { largest_permitted: start.clone(), last: start, at_shard_end: None }
    }

    /// Returns the last checkpoint, or where reading the shard started.
    pub fn last_checkpoint(&self) -> &ExtendedSequenceNumber<'static> {
        &self.last
    }

    /// Returns whether the end of the shard has been stored.
    pub fn is_shard_end_stored(&self) -> bool {
        self.last.sequence_number == SequenceNumber::SHARD_END
    }

    /// Records that all records up to this one have been delivered.
    pub fn mark_delivered(&mut self, last_record: &ExtendedSequenceNumber<'_>) {
        if self.largest_permitted < *last_record {
            self.largest_permitted = last_record.to_owned();
        }
    }

    /// Records that the shard has ended. From now on "all delivered records" means the end of the
    /// shard.
    pub fn mark_shard_ended(&mut self) {
        let end = ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0);
        if self.at_shard_end.is_none() {
            self.at_shard_end = Some(core::mem::replace(&mut self.largest_permitted, end));
        }
    }

    /// Returns what to store for a checkpoint that the child requests during a message. `None`
    /// means that the checkpoint succeeds, but nothing has to be stored, since the last one was the
    /// same.
    ///
    /// # Errors
    /// [`CheckpointError::InvalidState`] during `initialize` and `leaseLost`.
    /// [`CheckpointError::IllegalArgument`] for text that is not a sequence number, and for a
    /// sequence number outside the range from the last checkpoint to the last delivered record.
    pub fn check(
        &self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Option<ExtendedSequenceNumber<'static>>, CheckpointError> {
        if matches!(during, Action::Initialize | Action::LeaseLost) {
            return Err(CheckpointError::InvalidState);
        }
        let requested = match request.sequence_number {
            None => self.largest_permitted.borrowed(),
            Some(text) => {
                let number =
                    SequenceNumber::new(text).map_err(|_| CheckpointError::IllegalArgument)?;
                ExtendedSequenceNumber::from_optional(number, request.sub_sequence_number)
            }
        };
        if requested < self.last || requested > self.largest_permitted {
            return Err(CheckpointError::IllegalArgument);
        }
        if requested == self.last {
            return Ok(None);
        }
        if self.at_shard_end.as_ref() == Some(&requested) {
            return Ok(Some(ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0)));
        }
        Ok(Some(requested.to_owned()))
    }

    /// Records that what [`check`](Self::check) returned has been stored.
    pub fn mark_stored(&mut self, position: ExtendedSequenceNumber<'static>) {
        self.last = position;
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn position(number: &str, sub: u64) -> ExtendedSequenceNumber<'static> {
        ExtendedSequenceNumber::new(SequenceNumber::new(number).unwrap(), sub).to_owned()
    }

    fn request(number: Option<&str>, sub: Option<u64>) -> CheckpointRequest<'_> {
        CheckpointRequest { sequence_number: number, sub_sequence_number: sub }
    }

    /// The last checkpoint is 10, and records up to 20 were delivered.
    fn from_10_to_20() -> DaemonCheckpointer {
        let mut checkpointer = DaemonCheckpointer::new(position("10", 0));
        checkpointer.mark_delivered(&position("20", 0));
        checkpointer
    }

    #[test]
    fn numbers_inside_the_range_are_accepted() {
        let records = Action::ProcessRecords;
        let check = |number, sub| from_10_to_20().check(&request(number, sub), records);
        assert_eq!(check(None, None), Ok(Some(position("20", 0))));
        assert_eq!(check(None, Some(7)), Ok(Some(position("20", 0))));
        assert_eq!(check(Some("15"), None), Ok(Some(position("15", 0))));
        assert_eq!(check(Some("15"), Some(3)), Ok(Some(position("15", 3))));
        assert_eq!(check(Some("10"), Some(0)), Ok(None));
        assert_eq!(check(Some("20"), Some(0)), Ok(Some(position("20", 0))));
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
    fn initialize_and_lease_lost_allow_no_checkpoint() {
        for (action, is_allowed) in [
            (Action::Initialize, false),
            (Action::LeaseLost, false),
            (Action::ProcessRecords, true),
            (Action::ShutdownRequested, true),
            (Action::ShardEnded, true),
        ] {
            let result = from_10_to_20().check(&request(None, None), action);
            assert_eq!(result.is_ok(), is_allowed, "{action}");
            if !is_allowed {
                assert_eq!(result, Err(CheckpointError::InvalidState));
            }
        }
    }

    #[test]
    fn all_delivered_stores_nothing_before_the_first_record() {
        let checkpointer = DaemonCheckpointer::new(position("TRIM_HORIZON", 0));
        assert_eq!(checkpointer.check(&request(None, None), Action::ShutdownRequested), Ok(None));
    }

    #[test]
    fn a_checkpoint_at_the_last_record_stores_the_end_of_the_shard() {
        let end = || Ok(Some(position("SHARD_END", 0)));
        let mut checkpointer = from_10_to_20();
        checkpointer.mark_shard_ended();
        let ended = Action::ShardEnded;
        assert_eq!(checkpointer.check(&request(None, None), ended), end());
        assert_eq!(checkpointer.check(&request(Some("20"), Some(0)), ended), end());
        assert_eq!(checkpointer.check(&request(Some("SHARD_END"), None), ended), end());
        // An earlier number is stored as it is; the same number again stores nothing.
        assert_eq!(
            checkpointer.check(&request(Some("15"), None), ended),
            Ok(Some(position("15", 0)))
        );
        checkpointer.mark_stored(position("20", 0));
        assert_eq!(checkpointer.check(&request(Some("20"), Some(0)), ended), Ok(None));
        assert!(!checkpointer.is_shard_end_stored());
        checkpointer.mark_stored(position("SHARD_END", 0));
        assert!(checkpointer.is_shard_end_stored());
    }

    proptest! {
        /// A checkpoint is accepted if and only if last <= requested <= delivered.
        #[test]
        fn acceptance_agrees_with_integer_comparison(
            requests in prop::collection::vec((0..40u64, 0..3u64, prop::bool::ANY), 1..20),
            step in 1..6u64,
        ) {
            let mut checkpointer = DaemonCheckpointer::new(position("TRIM_HORIZON", 0));
            let (mut last, mut delivered) = (None, None);
            for (number, sub, deliver) in requests {
                if deliver {
                    let next = delivered.map_or(0, |(number, _)| number) + step;
                    delivered = Some((next, 0));
                    checkpointer.mark_delivered(&position(&next.to_string(), 0));
                }
                let text = number.to_string();
                let requested = Some((number, sub));
                let result = checkpointer.check(&request(Some(&text), Some(sub)), Action::ProcessRecords);
                if requested < last || requested > delivered {
                    prop_assert_eq!(result, Err(CheckpointError::IllegalArgument));
                } else if requested == last {
                    prop_assert_eq!(result, Ok(None));
                } else {
                    prop_assert_eq!(result, Ok(Some(position(&text, sub))));
                    checkpointer.mark_stored(position(&text, sub));
                    last = requested;
                }
            }
        }
    }
}
