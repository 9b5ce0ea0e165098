//! `kcl-helper local`: makes [`local::Options`] from the arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Program, Protocol};
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::local::{self, AtEnd, InjectedFault, Source};
use crate::output::Reporter;
use crate::this_program::SAMPLE_CHILD;

const EXAMPLES: &str = "\
Examples:
  kcl-helper local --sample                            the built-in processor over a built-in text
  kcl-helper local -i words.txt --shards 2 -- ./app    your processor over your file
  tail -f log | kcl-helper local -i - -- python3 app.py";

const STATUS: &str = "\
Status: 0 done, 1 a child failed, 2 invalid command line or input, 3 a child cannot be started or
something cannot be written, 5 a child broke the protocol, 124 stopped by --timeout; 129, 130, 143
stopped by a signal";

#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = STATUS)]
pub(crate) struct Args {
    /// Run the built-in sample processor, always from the beginning
    #[arg(long, conflicts_with = "command")]
    sample: bool,
    /// Read records from this file, one per line; `-` is stdin [default: a built-in text]
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// The number of shards, each with its own child process
    #[arg(long, value_name = "N", default_value_t = 1, env = "KCL_HELPER_SHARDS",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::kinesis::MAX_SHARDS)))]
    shards: u32,
    /// The folder for checkpoints
    #[arg(long, value_name = "DIR", default_value = ".kcl-local", env = "KCL_HELPER_STATE")]
    state: PathBuf,
    /// Forget the checkpoints of earlier runs
    #[arg(long)]
    reset: bool,
    /// What children get at the end of the input: `shutdown` is shutdownRequested and leaseLost,
    /// `shard-ended` is shardEnded
    #[arg(long, value_name = "HOW", default_value = "shutdown", hide_possible_values = true)]
    at_end: AtEnd,
    /// The protocol that the processor's library knows: 1 for KCL 1.x, which has `shutdown` instead of
    /// leaseLost and shardEnded
    #[arg(long, value_name = "1|2", default_value = "2", hide_possible_values = true)]
    protocol: Protocol,
    /// Inject a fault; may be repeated: NAME[@[SHARD:]N][xCOUNT]. At the N-th checkpoint: throttled,
    /// dependency, invalid-state, shutdown, illegal-argument, unanswered. At the N-th record, and then
    /// another child resumes at the checkpoint: lease-lost, handoff, killed
    #[arg(long = "fault", value_name = "FAULT", value_parser = InjectedFault::parse)]
    faults: Vec<InjectedFault>,
    /// How long a stop may take before the children are killed
    #[arg(long, value_name = "DURATION", default_value = "10s",
          value_parser = super::units::duration_or_zero)]
    grace: Duration,
    /// Stop after this long, as a signal does
    #[arg(long, value_name = "DURATION", value_parser = super::units::duration)]
    timeout: Option<Duration>,
    /// How long a child may be silent before a warning
    #[arg(long, hide = true, value_name = "DURATION", default_value = "10s", value_parser = super::units::duration)]
    patience: Duration,
    /// Your record processor and its arguments, started without a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let program = match (args.sample, args.command.is_empty()) {
        (true, _) => super::ourselves(SAMPLE_CHILD)?,
        (false, false) => Program::from(args.command.as_slice()),
        (false, true) => {
            return Err(Error::new(Exit::Usage, "the record processor to run is missing")
                .hint("write kcl-helper local --sample, or kcl-helper local -i FILE -- COMMAND"));
        }
    };
    let options = local::Options {
        program,
        source: args.input.as_deref().map_or(Source::Sample, |path: &Path| Source::from(path)),
        shards: args.shards,
        state: (!args.sample).then_some(args.state),
        reset: args.reset,
        at_end: args.at_end,
        protocol: args.protocol,
        faults: args.faults,
        patience: args.patience,
        grace: args.grace,
        timeout: args.timeout,
    };
    local::run(&options, guardian, reporter)
}
