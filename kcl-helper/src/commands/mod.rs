//! The subcommands: each turns its arguments into a call of the layer below.

mod arguments;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod guardian;
pub(crate) mod init;
pub(crate) mod jars;
pub(crate) mod kclpy;
pub(crate) mod local;
pub(crate) mod print_command;
pub(crate) mod record;
pub(crate) mod run;
mod units;
pub(crate) mod view;

use crate::child::Program;
use crate::error::{Error, Exit, Result};
use crate::this_program;

/// Returns a record processor that is a hidden subcommand of this program.
fn ourselves(command: &str) -> Result<Program> {
    let program = this_program::path().map_err(|error| {
        Error::new(Exit::Environment, "cannot find the path of this program").because(error)
    })?;
    Ok(Program { program: program.into(), args: vec![command.into()] })
}
