//! `kcl-helper record`: makes [`record::Options`] from the arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::units::{duration_or_zero, size};
use crate::child::Program;
use crate::error::Result;
use crate::guardian::Guardian;
use crate::output::Reporter;
use crate::record;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example, in a daemon's properties file:
  executableName = kcl-helper record --to recordings -- ./app

A recording is a file of JSON lines: a header, then [microseconds since the line before, kind, text].
The kinds are `<` stdin, `>` stdout, `e` stderr (null: it has ended), `x` how the program ended, `!` a
note of kcl-helper. Invalid UTF-8 is in base64, marked by a fourth element.

Status: the program's; 2 for an invalid command line, 3 if the program cannot be started or its
output cannot be passed on, for example to a full disk")]
pub(crate) struct Args {
    /// The folder for recordings, one file per process; it is created if it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Record messages without data and keys, and only the length of everything else
    #[arg(long)]
    redact: bool,
    /// The maximum size of a recording; the program continues after it
    #[arg(long, value_name = "SIZE", default_value = "100MiB", value_parser = size)]
    max_size: usize,
    /// After a signal to stop, kill the program if it is still running this long after its stdin was
    /// closed
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration_or_zero)]
    grace: Duration,
    /// The program and its arguments, started without a shell
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let options = record::Options {
        program: Program::from(args.command.as_slice()),
        folder: args.to,
        redact: args.redact,
        max_size: args.max_size as u64,
        grace: args.grace,
    };
    record::run(&options, guardian, reporter)
}
