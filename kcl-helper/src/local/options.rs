//! What `local` is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use super::injected::InjectedFault;
use super::source::Source;
use crate::child::{Program, Protocol};
use crate::error::{Error, Exit, Result};

/// What to run, over what, and how.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) source: Source,
    pub(crate) shards: u32,
    /// Where checkpoints are stored; without it each run starts over.
    pub(crate) state: Option<PathBuf>,
    pub(crate) reset: bool,
    pub(crate) at_end: AtEnd,
    pub(crate) protocol: Protocol,
    pub(crate) faults: Vec<InjectedFault>,
    /// How long a child may be silent.
    pub(crate) patience: Duration,
    /// How long a stop may take before the children are killed.
    pub(crate) grace: Duration,
    /// How long the run may take before it is stopped.
    pub(crate) timeout: Option<Duration>,
}

/// Which messages end the conversations when the input has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AtEnd {
    // shutdownRequested, then leaseLost: the daemon stops.
    Shutdown,
    // shardEnded: every shard was split or merged.
    ShardEnded,
}

impl Options {
    /// Checks that the faults are for shards of this run.
    pub(super) fn check_faults(&self) -> Result<()> {
        let is_missing = |fault: &&InjectedFault| fault.shard.is_some_and(|it| it >= self.shards);
        let Some(fault) = self.faults.iter().find(is_missing) else { return Ok(()) };
        let why = format!("shards are counted from 0, and there are {}", self.shards);
        Err(Error::new(Exit::Usage, format!("{fault} is invalid")).because(why))
    }
}
