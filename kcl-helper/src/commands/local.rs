//! `kcl-helper local`.

use crate::cli::Globals;
use crate::error::{Error, Exit, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<Exit> {
    Err(Error::new(Exit::Usage, "not written yet").hint("wait").because("this is a skeleton"))
}
