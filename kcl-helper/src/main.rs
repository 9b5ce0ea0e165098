//! `kcl-helper`: checks, launches and rehearses Amazon Kinesis record processors.
//!
//! This file is the whole life of the process: parse, run, print what failed, exit.

mod bench;
mod child;
mod cli;
mod commands;
mod dispositions;
mod error;
mod files;
mod init;
mod launch;
mod local;
mod output;
mod properties;
mod record;
mod signals;
mod text;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    dispositions::keep_statuses_of_children();
    // clap prints its own errors and exits 2 for a command line that cannot be used.
    let cli =
        cli::Cli::parse_from(commands::print_command::from_kclpy(std::env::args_os().collect()));
    let reporter = output::Reporter::new();
    match commands::run(cli, &reporter) {
        Ok(exit) => exit,
        Err(error) => {
            error.report(&reporter);
            error.exit().into()
        }
    }
}
