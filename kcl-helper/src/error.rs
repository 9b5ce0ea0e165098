//! How a command ends: the exit status, and for a failure the error message, its cause and a hint.

use std::error::Error as StdError;
use std::process::ExitCode;

/// The exit statuses of every command. 128+n means that signal n ended the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command did what it was asked to do.
    Done = 0,
    /// What the command examined or ran failed: a processor, a properties file, a jar.
    Failed = 1,
    /// The command line, or a file named on it, cannot be used.
    Usage = 2,
    /// Something around us failed: no Java, no network, a full disk, a program that cannot start.
    Environment = 3,
    /// The child broke the protocol.
    Protocol = 5,
    /// A bug in kcl-helper; Rust's own status for a panic.
    Bug = 101,
    /// Stopped by `--timeout`, cleanly or not; coreutils' `timeout` has the same status.
    TimedOut = 124,
    /// Stopped cleanly on SIGHUP.
    HungUp = 129,
    /// Stopped cleanly on SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Stopped cleanly on SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failure as the user sees it: `error: MESSAGE: CAUSE`, then `hint: HINT`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    exit: Exit,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Error {
        Error { exit, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What to type next, if anything is known to help.
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
