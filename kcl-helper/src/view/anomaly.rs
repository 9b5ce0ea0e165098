//! What may be wrong in a recording, and from which amount on it is shown.

use std::fmt;

use serde::{Serialize, Serializer};

const SECOND: u64 = 1_000_000;

/// A batch may be slow from here on, in microseconds.
pub(super) const SLOW: u64 = SECOND;
/// A slow batch takes so many times as long as the lane's median batch.
pub(super) const SLOW_BY_MEDIAN: u64 = 10;
/// A batch of this length is slow whatever the others are, in microseconds.
pub(super) const SLOW_ANYHOW: u64 = 300 * SECOND;
/// How long the daemon may send nothing though it is behind, in microseconds.
pub(super) const SILENT_BEHIND: u64 = 30 * SECOND;
/// How long it may send nothing when it is not known to be behind, in microseconds.
pub(super) const SILENT: u64 = 300 * SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Exit,
    Unanswered,
    NotCheckpointed,
    RefusedCheckpoint,
    OutOfTurn,
    UnreadableMessage,
    StrayOutput,
    Repeated,
    SlowBatch,
    Silence,
    RecordingFull,
    CutOff,
    Damaged,
}

impl Kind {
    pub(super) const ALL: [Kind; 13] = [
        Kind::Exit,
        Kind::Unanswered,
        Kind::NotCheckpointed,
        Kind::RefusedCheckpoint,
        Kind::OutOfTurn,
        Kind::UnreadableMessage,
        Kind::StrayOutput,
        Kind::Repeated,
        Kind::SlowBatch,
        Kind::Silence,
        Kind::RecordingFull,
        Kind::CutOff,
        Kind::Damaged,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Exit => "exit",
            Kind::Unanswered => "unanswered",
            Kind::NotCheckpointed => "not-checkpointed",
            Kind::RefusedCheckpoint => "refused-checkpoint",
            Kind::OutOfTurn => "out-of-turn",
            Kind::UnreadableMessage => "unreadable-message",
            Kind::StrayOutput => "stray-output",
            Kind::Repeated => "repeated",
            Kind::SlowBatch => "slow-batch",
            Kind::Silence => "silence",
            Kind::RecordingFull => "recording-full",
            Kind::CutOff => "cut-off",
            Kind::Damaged => "damaged",
        }
    }

    /// Why this is shown, and the reason for its threshold if it has one.
    pub(super) fn why(self) -> &'static str {
        match self {
            Kind::Exit => {
                "The program ended with another status than 0, or by a signal: the daemon then stops all \
                 shards of its worker."
            }
            Kind::Unanswered => {
                "The daemon waits for the answer and sends nothing else meanwhile; without \
                 timeoutInSeconds it waits for ever."
            }
            Kind::NotCheckpointed => {
                "Whoever takes the shard next starts after the last accepted checkpoint and gets these \
                 records again. A shard whose end is not checkpointed never completes."
            }
            Kind::RefusedCheckpoint => {
                "The daemon did not store the checkpoint. Only ThrottlingException and \
                 KinesisClientLibDependencyException are worth a retry."
            }
            Kind::OutOfTurn => {
                "The line breaks the order of the protocol. The daemon stops its worker at a status that \
                 it did not ask for. Only the first one of a recording is shown, as the order is not \
                 known after it."
            }
            Kind::UnreadableMessage => "A child cannot decode this line of its stdin.",
            Kind::StrayOutput => {
                "stdout belongs to the protocol: the daemon logs `Skipping unexpected line` for each such \
                 line, and stops its worker at the line `null`."
            }
            Kind::Repeated => {
                "The batch begins at or before the last delivered position. Within one process the daemon \
                 delivers each record once."
            }
            Kind::SlowBatch => {
                "Shown from 1 s on, as the daemon reads a shard about every 1.5 s \
                 (idleTimeBetweenReadsInMillis), if it is also 10 times the median batch of its lane, so \
                 that only what stands out is shown; and always from 5 min on, when the shard's iterator \
                 expires."
            }
            Kind::Silence => {
                "Shown from 30 s on if the last batch was behind the newest record \
                 (millisBehindLatest above 0), as about 20 reads of the shard then brought nothing; else \
                 from 5 min on, as a shard may have no new records."
            }
            Kind::RecordingFull => "The recorder stopped at its --max-size; the program went on.",
            Kind::CutOff => "The recording has no end: its writer was killed, or is still writing.",
            Kind::Damaged => {
                "Lines of the file that are no event. What they held is missing, and the line of the \
                 conversation that they were a part of may be wrong."
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Anomaly {
    /// Microseconds since the recording began.
    pub(super) at: u64,
    /// How long it lasted, in microseconds, if it did.
    pub(super) took: Option<u64>,
    pub(super) kind: Kind,
    /// The index of the message that it is about, if that is shown.
    pub(super) message: Option<usize>,
    pub(super) text: String,
}

/// Returns whether the daemon was silent for longer than it should be.
pub(super) fn is_silence(micros: u64, last_lag: Option<u64>) -> bool {
    micros >= if last_lag.unwrap_or(0) > 0 { SILENT_BEHIND } else { SILENT }
}

/// Returns whether a batch took longer than it should, given the lane's median.
pub(super) fn is_slow(micros: u64, median: u64) -> bool {
    micros >= SLOW_ANYHOW || micros >= SLOW && micros >= median.saturating_mul(SLOW_BY_MEDIAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_as_explained() {
        for (micros, median, expected) in [
            (999_999, 0, false),
            (SECOND, 100_000, true),
            (SECOND, 100_001, false),
            (299 * SECOND, 100 * SECOND, false),
            (300 * SECOND, 300 * SECOND, true),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(is_slow(micros, median), expected, "{micros} {median}");
        }
        for (seconds, lag, expected) in
            [(29, Some(1), false), (30, Some(1), true), (299, Some(0), false), (300, None, true)]
        {
            assert_eq!(is_silence(seconds * SECOND, lag), expected, "{seconds} {lag:?}");
        }
    }

    #[test]
    fn names_are_unique_and_all_are_listed() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.is_sorted());
    }
}
