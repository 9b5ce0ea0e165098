//! What `bench` is asked to do.

use std::time::Duration;

use super::cpus::Cpus;
use super::figures::AtLeast;
use super::shard::{Answers, Until};
use crate::child::{Program, Protocol};
use crate::output::Reporter;

/// What to measure, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// One command, or two to be compared.
    pub(crate) programs: Vec<Program>,
    /// Records per batch.
    pub(crate) batch: u32,
    /// Bytes per payload.
    pub(crate) size: usize,
    pub(crate) shards: u32,
    /// How much to measure of each command, all turns together. Batches are counted per shard.
    pub(crate) until: Until,
    pub(crate) warmup: Duration,
    pub(crate) turns: u32,
    /// How often a child is started to measure its start-up time.
    pub(crate) starts: u32,
    /// Records per second, all shards together.
    pub(crate) rate: Option<f64>,
    pub(crate) answers: Answers,
    pub(crate) protocol: Protocol,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) at_least: Option<AtLeast>,
    /// How long a child may be silent before a warning.
    pub(crate) patience: Duration,
    /// How long a child may take for an answer.
    pub(crate) answer_timeout: Duration,
    /// How long the run may take before it is stopped.
    pub(crate) timeout: Option<Duration>,
    pub(crate) json: bool,
    pub(crate) reporter: Reporter,
}
