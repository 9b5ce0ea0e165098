//! `kcl-helper`: checks, launches and rehearses Amazon Kinesis record processors.
//!
//! This file is the whole life of the process: parse, run, print what failed, exit.

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
mod error;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod guardian;
#[cfg(unix)]
mod init;
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
mod secret;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod text;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    dispositions::keep_statuses_of_children();
    let reporter = output::Reporter::new();
    reporter.report_panics();
    let arguments = commands::print_command::from_kclpy(std::env::args_os().collect());
    let ended = match cli::Cli::of(&arguments) {
        Ok(cli) => commands::run(cli, &reporter),
        Err(error) => cli::explain(&error, &reporter),
    };
    let exit = ended.unwrap_or_else(|error| {
        error.report(&reporter);
        error.exit().into()
    });
    reporter.flush();
    exit
}

// So that the error above is the only one, as for the modules.
#[cfg(not(unix))]
fn main() {}
