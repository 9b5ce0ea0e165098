//! How far the shard has been delivered, and how far it is checkpointed.

use std::time::Duration;

use kcl_protocol::{ExtendedSequenceNumber, Position, Record};

use crate::Timer;
use crate::error::CheckpointFailed;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The last record delivered by this process.
    delivered: Option<ExtendedSequenceNumber<'static>>,
    /// The last checkpoint stored by this process.
    stored: Option<ExtendedSequenceNumber<'static>>,
    /// How many records were delivered since a checkpoint last covered all of them.
    pub(crate) uncovered: u64,
    /// When the first of those records came, or when a checkpoint last covered some of them.
    pub(crate) uncovered_since: Option<Duration>,
    /// When the last checkpoint was stored, or when the shard started.
    pub(crate) last_checkpoint: Duration,
    /// The daemon said that another worker has the lease.
    pub(crate) is_lease_lost: bool,
    pub(crate) shard_end: ShardEnd,
}

/// What the daemon answered to the checkpoint of the shard's end.
#[derive(Debug, Default)]
pub(crate) enum ShardEnd {
    #[default]
    NotRequested,
    Refused(CheckpointFailed),
    Stored,
}

impl Ledger {
    pub(crate) fn deliver(&mut self, records: &[Record<'_>], timer: &impl Timer) {
        if let Some(last) = records.last() {
            match &mut self.delivered {
                // Reuse the memory of the previous one.
                Some(delivered) => last.extended_sequence_number().clone_into(delivered),
                None => self.delivered = Some(last.extended_sequence_number().to_owned()),
            }
            self.uncovered += records.len() as u64;
            self.uncovered_since.get_or_insert_with(|| timer.now());
        }
    }

    pub(crate) fn store(&mut self, position: &Position<'_>, now: Duration) {
        match position.extended_sequence_number() {
            Some(number) => self.stored = Some(number.to_owned()),
            None => self.stored.clone_from(&self.delivered),
        }
        self.last_checkpoint = now;
        if self.covers_all() {
            self.uncovered = 0;
            self.uncovered_since = None;
        } else {
            self.uncovered_since = Some(now);
        }
    }

    /// Returns the last checkpoint stored by this process.
    pub(crate) fn stored(&self) -> Option<ExtendedSequenceNumber<'_>> {
        self.stored.as_ref().map(ExtendedSequenceNumber::borrowed)
    }

    /// Returns whether the last checkpoint covers the last delivered record. Without any delivered
    /// record it does, as delivery starts after the last checkpoint.
    pub(crate) fn covers_all(&self) -> bool {
        self.stored >= self.delivered
    }

    /// Returns how many records at the start of a batch the last checkpoint covers.
    pub(crate) fn count_covered(&self, records: &[Record<'_>]) -> usize {
        let Some(stored) = &self.stored else { return 0 };
        records.iter().take_while(|record| record.extended_sequence_number() <= *stored).count()
    }

    /// Notes the answer to a checkpoint of the shard's end. Once stored, the end stays stored,
    /// whatever the daemon answers to another request.
    pub(crate) fn note_shard_end(&mut self, answer: &Result<(), CheckpointFailed>) {
        match (&self.shard_end, answer) {
            (ShardEnd::Stored, _) => {}
            (_, Ok(())) => self.shard_end = ShardEnd::Stored,
            (_, Err(failed)) => self.shard_end = ShardEnd::Refused(failed.clone()),
        }
    }

    /// Forgets a refusal before `shard_ended` is called again.
    pub(crate) fn forget_refused_shard_end(&mut self) {
        if let ShardEnd::Refused(_) = self.shard_end {
            self.shard_end = ShardEnd::NotRequested;
        }
    }
}
