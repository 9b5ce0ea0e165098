//! `kcl-helper record`: what was typed becomes [`record::Options`].

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

A file is JSON lines: a header, then [microseconds since the line above, kind, text]. The kinds are
`<` stdin, `>` stdout, `e` stderr (null: its end), `x` how the program ended, `!` a word of ours.
Bytes that are no UTF-8 are in base64, and a fourth element says so.

Status: the program's; 2 for the command line, 3 if it cannot be started or if what it writes cannot
be passed on, as to a full disk")]
pub(crate) struct Args {
    /// The folder for the recordings, one file a process; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Keep the messages without data and keys, and of all else only the length
    #[arg(long)]
    redact: bool,
    /// Stop recording a process at this size; the program goes on
    #[arg(long, value_name = "SIZE", default_value = "100MiB", value_parser = size)]
    max_size: usize,
    /// After a signal that asks it to stop, the program is killed if it still runs this long after
    /// the last writer of its stdin has gone
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration_or_zero)]
    grace: Duration,
    /// The program and its arguments; no shell comes between
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
