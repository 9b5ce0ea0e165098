//! How much of the recordings is kept for the page, so that it opens in a browser however large they
//! are. What is left out is counted.

/// The most recordings that get a lane. The newest are shown.
pub(super) const LANES: usize = 256;
/// The most bytes of one payload that are shown.
pub(super) const PAYLOAD: usize = 4 << 10;
/// The most records of one message that are shown.
pub(super) const RECORDS: usize = 500;
/// The most bytes of one line of stderr, of a stray line or of an unreadable message that are shown.
pub(super) const TEXT: usize = 2 << 10;
/// The most bytes of a name: a shard's, a partition key, an exception.
pub(super) const NAME: usize = 300;
/// Candidates for slow batches, before the median is known; later ones are not looked at.
pub(super) const CANDIDATES: usize = 20_000;
/// Ranges of records that wait for a checkpoint; older ones are merged.
pub(super) const PENDING: usize = 4096;

/// What may still be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) messages: usize,
    pub(super) checkpoints: usize,
    /// Lines of stderr, and stray ones of stdout.
    pub(super) output_lines: usize,
    pub(super) output_bytes: usize,
    /// Keys, numbers and payloads of records.
    pub(super) record_bytes: usize,
    /// More of that for messages that something is wrong with.
    pub(super) reserve_bytes: usize,
    pub(super) anomalies: usize,
}

impl Budget {
    /// Makes pages of at most about 50 MB, which a browser opens within seconds.
    pub(super) const PAGE: Budget = Budget {
        messages: 200_000,
        checkpoints: 200_000,
        output_lines: 20_000,
        output_bytes: 4 << 20,
        record_bytes: 12 << 20,
        reserve_bytes: 2 << 20,
        anomalies: 5_000,
    };

    /// Takes the share of one of so many recordings that are left.
    pub(super) fn take_share(&mut self, left: usize) -> Budget {
        let part = |whole: &mut usize| {
            let share = *whole / left.max(1);
            *whole -= share;
            share
        };
        Budget {
            messages: part(&mut self.messages),
            checkpoints: part(&mut self.checkpoints),
            output_lines: part(&mut self.output_lines),
            output_bytes: part(&mut self.output_bytes),
            record_bytes: part(&mut self.record_bytes),
            reserve_bytes: part(&mut self.reserve_bytes),
            anomalies: part(&mut self.anomalies),
        }
    }

    /// Gives back what a recording did not need.
    pub(super) fn give_back(&mut self, share: Budget) {
        self.messages += share.messages;
        self.checkpoints += share.checkpoints;
        self.output_lines += share.output_lines;
        self.output_bytes += share.output_bytes;
        self.record_bytes += share.record_bytes;
        self.reserve_bytes += share.reserve_bytes;
        self.anomalies += share.anomalies;
    }
}

/// Takes an amount, if there is as much.
pub(super) fn spend(budget: &mut usize, amount: usize) -> bool {
    let left = budget.checked_sub(amount);
    *budget = left.unwrap_or(*budget);
    left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_small_recordings_leave_goes_to_large_ones() {
        let mut budget = Budget::PAGE;
        let mut share = budget.take_share(4);
        assert_eq!(share.messages, 50_000);
        assert!(spend(&mut share.messages, 1_000));
        assert!(!spend(&mut share.messages, 49_001));
        budget.give_back(share);
        assert_eq!(budget.messages, 199_000);
        assert_eq!(budget.take_share(1).messages, 199_000);
        assert_eq!(budget.take_share(1).messages, 0);
    }
}
