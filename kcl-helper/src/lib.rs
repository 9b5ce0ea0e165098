//! `kcl-helper`: checks, launches and rehearses Amazon Kinesis record processors.
//!
//! This library is for its own `main.rs` and for the fuzz targets, and promises no stability: what others
//! can depend on is `kcl-protocol` and `kcl-runtime`. ARCHITECTURE.md shows the layers of its modules.

#[cfg(not(unix))]
compile_error!(
    "kcl-helper needs Unix process groups and signals: build it on Linux or macOS, or under WSL; \
     kcl-runtime, kcl-protocol and kcl-samples compile on this system too"
);

#[cfg(unix)]
mod bench;
#[cfg(unix)]
mod child;
#[cfg(unix)]
mod cli;
#[cfg(unix)]
mod columns;
#[cfg(unix)]
mod commands;
#[cfg(unix)]
mod dispositions;
#[cfg(unix)]
mod environment;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod guardian;
#[cfg(unix)]
mod init;
#[cfg(unix)]
mod kinesis;
#[cfg(unix)]
mod launch;
#[cfg(unix)]
mod local;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod properties;
#[cfg(unix)]
mod record;
#[cfg(unix)]
mod recording;
#[cfg(unix)]
mod secret;
#[cfg(unix)]
mod shell;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod text;
#[cfg(unix)]
mod this_program;
#[cfg(unix)]
mod threads;
#[cfg(unix)]
mod view;

/// For the fuzz targets alone: any version may change it.
#[cfg(unix)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::properties::{Entry, File, ParseError, Position, Text, line_of_units};
}

/// The whole life of the process: parses the command line, runs the command, reports what failed.
/// Returns the exit status.
#[cfg(unix)]
pub fn run() -> std::process::ExitCode {
    dispositions::keep_statuses_of_children();
    let reporter = output::Reporter::new();
    reporter.report_panics();
    let arguments: Vec<_> = std::env::args_os().collect();
    let exit = cli::run(&arguments, &reporter).unwrap_or_else(|error| {
        reporter.error(&error);
        error.exit().into()
    });
    reporter.flush();
    exit
}
