//! `kcl-helper guardian`, hidden: the process that starts programs for another kcl-helper.

use crate::error::{Error, Exit, Result};
use crate::guardian::{list, server};
use crate::output::Reporter;

pub(crate) fn run(reporter: &Reporter) -> Result<Exit> {
    // It must end even if nobody reads stderr, and ignores signals.
    reporter.supervise();
    let cleared = server::run().map_err(|error| {
        Error::new(Exit::Environment, "cannot run the guardian process").because(error)
    })?;
    if !cleared.killed.is_empty() {
        reporter.warn(&format!("kcl-helper has ended: killed {}", list(&cleared.killed)));
    }
    if !cleared.left.is_empty() {
        reporter.warn(&format!("kcl-helper has ended: cannot kill {}", list(&cleared.left)));
    }
    Ok(Exit::Done)
}
