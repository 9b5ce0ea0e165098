//! One file a subcommand: what was typed becomes a call into the layer below.

pub(crate) mod local;
mod sample_child;

use crate::cli::{Cli, Command};
use crate::error::{Exit, Result};

pub(crate) fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Local(args) => local::run(args, &cli.globals),
        Command::SampleChild => sample_child::run(),
    }
}
