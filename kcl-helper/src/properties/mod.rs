//! The daemon's `.properties` file: its format, the table of known keys, the rules that judge it.
//!
//! `check` is the one entrance: a `Source` and a `Request` in, a `Report` out. It prints nothing.

mod file;
mod report;
mod surroundings;
mod version;

use std::path::Path;

pub(crate) use file::{Entry, File, ParseError, Position, Text, line};
pub(crate) use report::{Finding, Report, Severity};
pub(crate) use surroundings::{Program, Surroundings};
pub(crate) use version::Version;

use crate::error::{Error, Exit, Result};

/// A file to judge.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As the user typed it; the daemon and all findings name it so.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Source> {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Ok(Source { name, bytes }),
            Err(error) => {
                Err(Error::new(Exit::Usage, format!("{name} cannot be read")).because(error))
            }
        }
    }
}

/// What a file is judged for.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) version: Version,
    pub(crate) launcher: Launcher,
    /// `--set KEY=VALUE`: these win over the file.
    pub(crate) overrides: &'a [(String, String)],
    /// Arguments of the JVM; `-Daws.region=…` says which region there is.
    pub(crate) jvm_args: &'a [String],
    /// Names of warnings not to report.
    pub(crate) allow: &'a [String],
    pub(crate) surroundings: &'a Surroundings,
}

/// Who will start the daemon. `kcl-helper run` helps with some things that stop a bare one, such as
/// a program that is found only from the file's folder; for a bare one those are findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launcher {
    Daemon,
    Run,
}

/// Judges a file as the daemon will read it. A file that breaks the format has that one finding.
pub(crate) fn check(source: Source, request: &Request<'_>) -> Report {
    let findings = match File::parse(&source.bytes) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Finding::bad_escape(&error)],
    };
    let _ = request;
    Report::new(source, findings)
}
