//! One file a subcommand: what was typed becomes a call into the layer below.

pub(crate) mod check;
pub(crate) mod jars;
pub(crate) mod local;
pub(crate) mod print_command;

use crate::cli::{Cli, Command};
use crate::error::{Exit, Result};

pub(crate) fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Local(args) => local::run(args, &cli.globals),
        Command::Check(args) => check::run(args, &cli.globals),
        Command::DumpProperties(args) => check::dump(&args),
        Command::Jars(args) => jars::run(args, &cli.globals),
        Command::PrintCommand(args) => print_command::run(args, &cli.globals),
        Command::PrintClasspath(args) => print_command::run_class_path(args, &cli.globals),
    }
}
