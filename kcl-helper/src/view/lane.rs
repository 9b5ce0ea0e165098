//! What one recording becomes: data, in microseconds since the recording began.

use std::collections::BTreeMap;

use serde::Serialize;

use super::anomaly::{Anomaly, Kind};

/// One recording: the life of one process, which is mostly that of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Lane {
    pub(super) file: String,
    /// `None` if there was no `initialize`.
    pub(super) shard: Option<String>,
    /// As a shell takes it.
    pub(super) command: String,
    pub(super) kcl_helper: String,
    /// Microseconds since 1970.
    pub(super) started: Option<u64>,
    pub(super) redacted: bool,
    /// The time of the last event.
    pub(super) length: u64,
    /// How the program ended, if the recording has that.
    pub(super) end: Option<String>,
    pub(super) messages: Vec<Message>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) output: Vec<Output>,
    pub(super) notes: Vec<Note>,
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) totals: Totals,
    pub(super) left_out: LeftOut,
}

/// A line from the daemon, other than the answer to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// `unreadable` if it cannot be decoded.
    pub(super) action: &'static str,
    pub(super) at: u64,
    /// From delivery to status; `None` if there is none.
    pub(super) took: Option<u64>,
    pub(super) records: u64,
    /// Of the line.
    pub(super) bytes: u64,
    /// `millisBehindLatest`.
    pub(super) lag: Option<u64>,
    /// What it says, if that is shown.
    pub(super) details: Option<Details>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Details {
    /// The message in words, where it is not a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<RecordShown>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RecordShown {
    pub(super) key: String,
    /// The sequence number with the sub-sequence number.
    pub(super) position: String,
    /// Milliseconds since 1970.
    pub(super) arrival: Option<u64>,
    /// Of the payload.
    pub(super) bytes: u64,
    pub(super) data: Data,
}

/// A payload, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Data {
    Text(String),
    Base64(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Checkpoint {
    pub(super) at: u64,
    /// From request to answer; `None` if there is none.
    pub(super) took: Option<u64>,
    /// `None`: all records delivered so far.
    pub(super) position: Option<String>,
    pub(super) error: Option<String>,
    /// The index of the message that it was requested during, if that is shown.
    pub(super) message: Option<usize>,
}

/// A line that the program wrote for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Output {
    pub(super) at: u64,
    /// On stdout, where only messages belong.
    pub(super) stray: bool,
    pub(super) text: String,
    /// How many bytes more the line has.
    pub(super) more: u64,
    /// The line had no end when the stream or the recording ended.
    pub(super) unfinished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) at: u64,
    pub(super) text: String,
}

/// Sums over the whole recording, whatever is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) messages: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) payload_bytes: u64,
    pub(super) checkpoints: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) stderr_lines: u64,
    pub(super) stray_lines: u64,
    /// Of the answered batches.
    pub(super) batch_median: Option<u64>,
    pub(super) batch_p99: Option<u64>,
    pub(super) batch_max: Option<u64>,
    /// `millisBehindLatest` of the last batch that had one, and the largest.
    pub(super) lag_last: Option<u64>,
    pub(super) lag_max: Option<u64>,
    pub(super) anomalies: BTreeMap<Kind, u64>,
}

/// What is in the recording, but in no list above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    /// The time of the first message that is not shown, after which none is.
    pub(super) from: Option<u64>,
    pub(super) messages: u64,
    pub(super) checkpoints: u64,
    pub(super) output_lines: u64,
    /// Messages that are shown without what they say.
    pub(super) details: u64,
    pub(super) anomalies: u64,
}

/// All that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Picture {
    /// Of this form.
    pub(super) version: u32,
    /// Older ones, when there are too many for one page.
    pub(super) recordings_left_out: u64,
    pub(super) lanes: Vec<Lane>,
}
