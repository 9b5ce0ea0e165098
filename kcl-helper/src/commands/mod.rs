//! One file a subcommand: what was typed becomes a call into the layer below.

pub(crate) mod local;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Result;

pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let exit = match cli.command {
        Command::Local(args) => local::run(args, &cli.globals)?,
        // Its exit codes are those of every processor on kcl-runtime, not ours.
        Command::SampleChild => return Ok(kcl_samples::sample_kcl_app::main()),
    };
    Ok(exit.into())
}
