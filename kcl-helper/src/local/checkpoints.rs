//! Which checkpoints are taken, judged as the Java daemon judges them.

use kcl_protocol::{
    Action, CheckpointError, CheckpointRequest, ExtendedSequenceNumber, SequenceNumber,
};

pub(crate) type Place = ExtendedSequenceNumber<'static>;

/// What one shard's checkpoints may be.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    /// The last one taken; the place to start from before the first.
    last: Place,
    /// The largest that is allowed: the last record delivered, and at the shard's end that end.
    delivered: Place,
    /// The last record, once the shard has ended: a checkpoint there is one at the end.
    at_shard_end: Option<Place>,
}

impl Checkpoints {
    pub(crate) fn starting_at(place: Place) -> Checkpoints {
        Checkpoints { last: place.clone(), delivered: place, at_shard_end: None }
    }

    /// The last checkpoint, or where the shard starts.
    pub(crate) fn last(&self) -> &Place {
        &self.last
    }

    pub(crate) fn deliver(&mut self, place: Place) {
        self.delivered = place;
    }

    pub(crate) fn end_shard(&mut self) {
        let end = ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0);
        self.at_shard_end = Some(std::mem::replace(&mut self.delivered, end));
    }

    pub(crate) fn is_at_shard_end(&self) -> bool {
        self.last.sequence_number == SequenceNumber::SHARD_END
    }

    /// Judges a request during the message of this action: `Some` is the place to store, after
    /// which [`stored`](Self::stored) is due, and `None` that it is stored already.
    pub(crate) fn judge(
        &self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Option<Place>, CheckpointError> {
        if matches!(during, Action::Initialize | Action::LeaseLost) {
            return Err(CheckpointError::InvalidState);
        }
        let asked = match request.sequence_number {
            // A sub-sequence number alone counts for nothing.
            None => self.delivered.clone(),
            Some(number) => {
                let number =
                    SequenceNumber::new(number).map_err(|_| CheckpointError::IllegalArgument)?;
                let sub_sequence_number = request.sub_sequence_number.unwrap_or(0);
                let place = ExtendedSequenceNumber::new(number, sub_sequence_number);
                if place < self.last || place > self.delivered {
                    return Err(CheckpointError::IllegalArgument);
                }
                place.to_owned()
            }
        };
        // What stands already is not stored again, even where that would now mean the shard's end.
        if asked == self.last {
            return Ok(None);
        }
        if self.at_shard_end.as_ref() == Some(&asked) {
            return Ok(Some(self.delivered.clone()));
        }
        Ok(Some(asked))
    }

    pub(crate) fn stored(&mut self, place: Place) {
        self.last = place;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(number: &str, sub: u64) -> Place {
        ExtendedSequenceNumber::new(SequenceNumber::new(number).unwrap(), sub).to_owned()
    }

    fn at<'a>(number: Option<&'a str>, sub: Option<u64>) -> CheckpointRequest<'a> {
        let mut request = CheckpointRequest::default();
        (request.sequence_number, request.sub_sequence_number) = (number, sub);
        request
    }

    /// Last checkpoint 10, delivered up to 20.
    fn between() -> Checkpoints {
        let mut checkpoints = Checkpoints::starting_at(place("10", 0));
        checkpoints.deliver(place("20", 0));
        checkpoints
    }

    #[test]
    fn numbers_inside_the_range_are_taken() {
        let records = Action::ProcessRecords;
        let judge = |number, sub| between().judge(&at(number, sub), records);
        assert_eq!(judge(None, None), Ok(Some(place("20", 0))));
        assert_eq!(judge(None, Some(7)), Ok(Some(place("20", 0))));
        assert_eq!(judge(Some("15"), None), Ok(Some(place("15", 0))));
        assert_eq!(judge(Some("15"), Some(3)), Ok(Some(place("15", 3))));
        assert_eq!(judge(Some("10"), Some(0)), Ok(None));
        assert_eq!(judge(Some("20"), Some(0)), Ok(Some(place("20", 0))));
        for (number, sub) in [("20", 1), ("21", 0), ("9", 0), ("SHARD_END", 0), ("TRIM_HORIZON", 0)]
        {
            let refused = judge(Some(number), Some(sub));
            assert_eq!(refused, Err(CheckpointError::IllegalArgument), "{number}");
        }
        for number in ["", "x", "-1", "1.5", "15 "] {
            let refused = judge(Some(number), None);
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
            let result = between().judge(&at(None, None), action);
            assert_eq!(result.is_ok(), allowed, "{action}");
            if !allowed {
                assert_eq!(result, Err(CheckpointError::InvalidState));
            }
        }
    }

    #[test]
    fn before_the_first_record_null_changes_nothing() {
        let checkpoints = Checkpoints::starting_at(place("TRIM_HORIZON", 0));
        assert_eq!(checkpoints.judge(&at(None, None), Action::ShutdownRequested), Ok(None));
    }

    #[test]
    fn what_stores_the_shards_end() {
        let end = || Ok(Some(place("SHARD_END", 0)));
        let mut checkpoints = between();
        checkpoints.end_shard();
        let ended = Action::ShardEnded;
        assert_eq!(checkpoints.judge(&at(None, None), ended), end());
        assert_eq!(checkpoints.judge(&at(Some("20"), Some(0)), ended), end());
        assert_eq!(checkpoints.judge(&at(Some("SHARD_END"), None), ended), end());
        // An earlier number is just that number; a repeated one does nothing.
        assert_eq!(checkpoints.judge(&at(Some("15"), None), ended), Ok(Some(place("15", 0))));
        checkpoints.stored(place("20", 0));
        assert_eq!(checkpoints.judge(&at(Some("20"), Some(0)), ended), Ok(None));
        assert!(!checkpoints.is_at_shard_end());
        checkpoints.stored(place("SHARD_END", 0));
        assert!(checkpoints.is_at_shard_end());
    }

    proptest! {
        /// Against plain numbers: taken if and only if last <= asked <= delivered.
        #[test]
        fn agrees_with_plain_numbers(
            requests in prop::collection::vec((0..40u64, 0..3u64, prop::bool::ANY), 1..20),
            step in 1..6u64,
        ) {
            let mut checkpoints = Checkpoints::starting_at(place("TRIM_HORIZON", 0));
            let (mut last, mut delivered) = (None, None);
            for (number, sub, deliver) in requests {
                if deliver {
                    let next = delivered.map_or(0, |(number, _)| number) + step;
                    delivered = Some((next, 0));
                    checkpoints.deliver(place(&next.to_string(), 0));
                }
                let text = number.to_string();
                let asked = Some((number, sub));
                let result = checkpoints.judge(&at(Some(&text), Some(sub)), Action::ProcessRecords);
                if asked < last || asked > delivered {
                    prop_assert_eq!(result, Err(CheckpointError::IllegalArgument));
                } else if asked == last {
                    prop_assert_eq!(result, Ok(None));
                } else {
                    prop_assert_eq!(result, Ok(Some(place(&text, sub))));
                    checkpoints.stored(place(&text, sub));
                    last = asked;
                }
            }
        }
    }
}
