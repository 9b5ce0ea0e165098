//! What `record` is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::child::Program;

/// What to run, and how to record it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) folder: PathBuf,
    pub(crate) redact: bool,
    /// In bytes, of one recording.
    pub(crate) max_size: u64,
    /// How long a program may run after a signal to stop, once nobody can write to its stdin.
    pub(crate) grace: Duration,
}
