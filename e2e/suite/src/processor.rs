//! What the ledger processor is told to do: a file beside its ledger.

use serde::{Deserialize, Serialize};

/// The file's name.
pub const FILE: &str = "processor.json";

/// By default it writes its ledger and checkpoints each batch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Processor {
    pub checkpoint: Checkpoint,
    pub on_error: OnError,
    pub fault: Option<Fault>,
    /// After each record.
    pub pause_micros: u64,
    /// Prints to stdout all the time, from a thread.
    pub prints: bool,
    /// Writes this many megabytes to stderr, then goes on.
    pub floods_megabytes: usize,
    /// Starts a program that holds copies of its stdin, stdout and stderr, and outlives it.
    pub leaves_subprocess: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checkpoint {
    /// All delivered so far, at the end of each batch.
    #[default]
    Batch,
    /// The batch's last record, by its number.
    LastRecord,
    /// Each record by its number, sub-sequence number and all.
    EachRecord,
    /// The runtime does.
    Cadence,
    /// Only when the shutdown is requested or the shard ends.
    AtTheEnd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    #[default]
    Exit,
    Retry,
    Skip,
    RetryThenSkip,
}

/// A planted fault.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// Before a process's record of this number, from 0.
    pub at: usize,
    /// In how many processes or tries of the whole application.
    pub times: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// SIGKILL to itself.
    Kill,
    Error,
    Panic,
    /// Says nothing for an hour.
    Hang,
}
