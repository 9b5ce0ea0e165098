//! `kcl-helper exec-daemon`, hidden: becomes the JVM, bound to the life of the helper above it.
//!
//! What dies by SIGKILL cannot tell its children. The kernel can: a process may ask for a signal on
//! its parent's death, and keeps that through exec. Asking needs no unsafe code only from within
//! the process itself, so the helper starts this copy of itself, which asks and then becomes java.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::error::{Error, Exit, Result};

/// The subcommand's name.
pub(crate) const NAME: &str = "exec-daemon";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process that must be our parent
    parent: i32,
    /// The program to become, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let failed = |what: &str| Error::new(Exit::Surroundings, what.to_owned());
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        // SIGTERM, so that the daemon stops gracefully.
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| failed("the daemon cannot be bound to kcl-helper").because(error))?;
        // A parent that died before the line above sends nothing any more.
        let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
        if parent != args.parent {
            return Err(failed("kcl-helper ended before the daemon began"));
        }
    }
    let mut words = args.words.into_iter();
    // clap has asked for at least one word.
    let program = words.next().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    Err(failed(&format!("{} cannot be started", program.display())).because(error))
}
