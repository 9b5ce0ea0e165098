//! How a command ends: its exit status, and for a failure what failed, why, and what to type next.

use std::error::Error as StdError;
use std::process::ExitCode;

use crate::output::{Reporter, StdoutError};

/// The exit statuses of every command. 128+n means ended by signal n; 101 is our own bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work was done.
    Done = 0,
    /// Something was judged and found wanting: a processor that failed, a file with errors.
    Wanting = 1,
    /// The command line, or a file named on it, cannot be used.
    Usage = 2,
    /// The surroundings failed: no Java, no network, a full disk, a program that cannot start.
    Surroundings = 3,
    /// The child broke the protocol.
    Protocol = 5,
    /// We broke our own rules.
    Bug = 101,
    /// Ended by `--timeout`, properly or not; coreutils' `timeout` has the same status.
    TimedOut = 124,
    /// Ended by SIGHUP, after what had to be done for a proper end.
    HungUp = 129,
    /// Ended by SIGINT (Ctrl-C), properly.
    Interrupted = 130,
    /// Ended by SIGTERM, properly.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failure for the user: `error: what failed: why`, then `hint: what to type`.
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

    /// As `error:` with the whole chain of causes, and `hint:` on a line of its own.
    pub(crate) fn report(&self, reporter: &Reporter) {
        reporter.error(self, self.hint.as_deref());
    }
}

impl From<StdoutError> for Error {
    fn from(error: StdoutError) -> Error {
        let StdoutError(cause) = error;
        Error::new(Exit::Surroundings, "stdout cannot be written").because(cause)
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
