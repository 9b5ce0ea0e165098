//! `kcl-helper bench`: makes [`bench::Options`] from the arguments.

use std::ffi::OsString;
use std::time::Duration;

use super::units::{self, BYTES, COUNTS};
use crate::bench::{self, Answers, AtLeast, Cpus, Until};
use crate::child::faults::checkpoint_error;
use crate::child::{Program, Protocol};
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::output::Reporter;
use crate::this_program::BENCH_CHILD;

const EXAMPLES: &str = "\
Examples:
  kcl-helper bench -- ./app                            records/s, CPU, memory of your processor
  kcl-helper bench --batch 10000 --shards 4 -- ./app   full batches, four children
  kcl-helper bench --vs 'python3 app.py' -- ./app      two processors in turns, and their ratio";

const STATUS: &str = "\
Status: 0 done, 1 a child failed or is below --at-least, 2 command line, 3 a child cannot be started
or something cannot be written, 5 a child broke the protocol, 124 stopped by --timeout; 129, 130, 143
stopped by a signal. Stopping a measurement kills the children";

#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = STATUS)]
pub(crate) struct Args {
    /// Measure the built-in processor, which does almost nothing
    #[arg(long, conflicts_with = "command")]
    sample: bool,
    /// Records in a batch
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Bytes in a record, before base64
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = units::size)]
    size: usize,
    /// The number of shards, each with its own child process
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    shards: u32,
    /// How long to measure each command
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    duration: Duration,
    /// Measure this many batches per shard, however long they take
    #[arg(long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    batches: Option<u64>,
    /// Measure this many records of all shards, in whole batches
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "batches"],
          value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// How long each command runs before it is measured
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::duration_or_zero)]
    warmup: Duration,
    /// How many turns the measurement has
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    turns: u32,
    /// How many times a child is started, for the median of its start-up time
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    starts: u32,
    /// Send this many records per second, such as 20k/s; latency counts from the scheduled time
    /// [default: as fast as they are answered]
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    rate: Option<f64>,
    /// Answer checkpoints with `ok`, or every N-th with an error: `throttled@10`; also shutdown,
    /// invalid-state, dependency, illegal-argument
    #[arg(long, value_name = "HOW", default_value = "ok", value_parser = answers)]
    checkpoints: Answers,
    /// A second command, split at spaces; both are measured in turns
    #[arg(long, value_name = "COMMAND")]
    vs: Option<String>,
    /// Cores for the driver and the children (Linux): 0 to share it, 0,1 for one each [default: any]
    #[arg(long, value_name = "CORES", value_parser = Cpus::parse)]
    cpus: Option<Cpus>,
    /// Exit with 1 below this: 500k/s records, 100MB/s, or with --vs a ratio such as 2.5x
    #[arg(long, value_name = "RATE", value_parser = at_least)]
    at_least: Option<AtLeast>,
    /// The protocol that the processors' libraries know: 1 for KCL 1.x, which has `shutdown` instead of
    /// leaseLost and shardEnded
    #[arg(long, value_name = "1|2", default_value = "2", hide_possible_values = true)]
    protocol: Protocol,
    /// How long an answer may take before the child is killed
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = units::duration)]
    answer_timeout: Duration,
    /// Stop after this long, as a signal does
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// How long a child may be silent before a warning
    #[arg(long, hide = true, value_name = "DURATION", default_value = "10s",
          value_parser = units::duration)]
    patience: Duration,
    /// text, or json with the counts of all latencies
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true,
        env = "KCL_HELPER_FORMAT"
    )]
    format: Format,
    /// The record processor and its arguments, started without a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let first = match (args.sample, args.command.is_empty()) {
        (true, _) => super::ourselves(BENCH_CHILD)?,
        (false, false) => Program::from(args.command.as_slice()),
        (false, true) => {
            return Err(Error::new(Exit::Usage, "the record processor to measure is missing")
                .hint("write kcl-helper bench --sample, or kcl-helper bench -- COMMAND"));
        }
    };
    let mut programs = vec![first];
    if let Some(vs) = &args.vs {
        let words: Vec<&str> = vs.split_ascii_whitespace().collect();
        if words.is_empty() {
            return Err(Error::new(Exit::Usage, "--vs is invalid: the command is empty"));
        }
        programs.push(Program::from(words.as_slice()));
    }
    if matches!(args.at_least, Some(AtLeast::Ratio(_))) && programs.len() == 1 {
        return Err(Error::new(Exit::Usage, "--at-least is invalid: a ratio needs two commands")
            .hint("add --vs COMMAND, or write a rate such as 500k/s"));
    }
    let until = match (args.batches, args.records) {
        (Some(batches), _) => Until::Batches(batches),
        (None, Some(records)) => {
            Until::Batches(records.div_ceil(u64::from(args.batch) * u64::from(args.shards)))
        }
        (None, None) => Until::Passed(args.duration),
    };
    let options = bench::Options {
        programs,
        batch: args.batch,
        size: args.size,
        shards: args.shards,
        until,
        warmup: args.warmup,
        turns: args.turns,
        starts: args.starts,
        rate: args.rate,
        answers: args.checkpoints,
        protocol: args.protocol,
        cpus: args.cpus,
        at_least: args.at_least,
        patience: args.patience,
        answer_timeout: args.answer_timeout,
        timeout: args.timeout,
        json: args.format == Format::Json,
        reporter: reporter.clone(),
    };
    bench::run(&options, guardian)
}

fn at_least(text: &str) -> Result<AtLeast, String> {
    let help = "write records per second (500k/s), bytes per second (100MB/s), or a ratio (2.5x)";
    if let Some(ratio) = text.strip_suffix('x') {
        return units::amount(&format!("{ratio}x"), &[("x", 1.0)], help, ["/s", "x"])
            .map(AtLeast::Ratio);
    }
    if let Some(bytes) = text.strip_suffix("B/s") {
        return units::amount(&format!("{bytes}B"), &BYTES, help, ["/s", "x"])
            .map(AtLeast::BytesPerSecond);
    }
    units::amount(text, &COUNTS, help, ["/s", "x"]).map(AtLeast::RecordsPerSecond)
}

fn answers(text: &str) -> Result<Answers, String> {
    if text == "ok" {
        return Ok(Answers(None));
    }
    let help = "write ok, or an error and how often: throttled@10";
    let (name, every) = text.split_once('@').ok_or(help)?;
    let error = checkpoint_error(name)
        .ok_or("write one of throttled, shutdown, invalid-state, dependency, illegal-argument")?;
    let every = every.parse().ok().filter(|every| *every > 0).ok_or(help)?;
    Ok(Answers(Some((error, every))))
}

#[cfg(test)]
mod tests {
    use kcl_protocol::CheckpointError;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn at_least_is_parsed() {
        assert_eq!(at_least("500k/s"), Ok(AtLeast::RecordsPerSecond(500_000.0)));
        assert_eq!(at_least("100MB/s"), Ok(AtLeast::BytesPerSecond(1e8)));
        assert_eq!(at_least("2.5x"), Ok(AtLeast::Ratio(2.5)));
        assert_eq!(at_least("2").unwrap_err(), "the unit is missing: write 2/s or 2x");
        let help =
            "write records per second (500k/s), bytes per second (100MB/s), or a ratio (2.5x)";
        for bad in ["", "x", "B/s", "fast", "1y/s", "2xx"] {
            assert_eq!(at_least(bad).unwrap_err(), help, "{bad}");
        }
    }

    #[test]
    fn checkpoints_are_parsed() {
        assert_eq!(answers("ok"), Ok(Answers(None)));
        assert_eq!(answers("throttled@10"), Ok(Answers(Some((CheckpointError::Throttling, 10)))));
        for bad in ["", "throttled", "throttled@", "throttled@0", "throttled@-1", "@1", "ok@2"] {
            assert!(answers(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in "[0-9.kMGiBsx/@,-]{0,24}|throttled@[0-9]{0,30}|\\PC{0,8}") {
            let _ = (at_least(&text), answers(&text), Cpus::parse(&text));
        }
    }
}
