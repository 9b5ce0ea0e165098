//! One file a subcommand: what was typed becomes a call into the layer below.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod guardian;
pub(crate) mod init;
pub(crate) mod jars;
pub(crate) mod local;
pub(crate) mod print_command;
pub(crate) mod record;
pub(crate) mod run;
mod units;

use std::process::ExitCode;

use crate::child::Program;
use crate::cli::{Cli, Command, Globals};
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::output::Reporter;

/// The hidden subcommand that is the sample processor.
pub(crate) const SAMPLE_CHILD: &str = "sample-child";

/// The hidden subcommand that is the processor which measures what stands around it.
pub(crate) const BENCH_CHILD: &str = "bench-child";

/// A processor that is this program itself, by a command that help does not show.
fn ourselves(command: &str) -> Result<Program> {
    let program = std::env::current_exe().map_err(|error| {
        Error::new(Exit::Environment, "cannot find this program itself").because(error)
    })?;
    Ok(Program { program: program.into(), args: vec![command.into()] })
}

fn sample(main: fn() -> ExitCode) -> ExitCode {
    drop(std::panic::take_hook());
    main()
}

pub(crate) fn run(cli: Cli, reporter: &Reporter) -> Result<ExitCode> {
    let Globals { verbose, quiet, color } = cli.globals;
    let guardian = match cli.command {
        // Whoever started us must see the end of the program's stderr, and nothing of ours in it.
        Command::Record(_) => Guardian::silent(),
        _ => Guardian::new(),
    };
    let result = dispatch(cli.command, &guardian, &reporter.with(verbose, quiet, color.into()));
    guardian.end();
    result
}

fn dispatch(command: Command, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let exit = match command {
        Command::Local(args) => local::run(args, guardian, reporter)?,
        Command::Init(args) => init::run(args, reporter)?,
        Command::Bench(args) => bench::run(args, guardian, reporter)?,
        Command::Check(args) => check::run(args, reporter)?,
        Command::DumpProperties(args) => check::dump(&args, reporter)?,
        // These pass another program's status on.
        Command::Run(args) => return run::run(&args, guardian, reporter),
        Command::Record(args) => return record::run(args, guardian, reporter),
        Command::Jars(args) => jars::run(args, guardian, reporter)?,
        Command::Print(args) => print_command::run(args, guardian, reporter)?,
        Command::PrintClasspath(args) => print_command::run_class_path(args, reporter)?,
        Command::Completions(args) => completions::run(&args, reporter)?,
        Command::Guardian => guardian::run(reporter)?,
        // The samples are whole programs, with exit codes and panics of their own.
        Command::SampleChild => return Ok(sample(kcl_samples::sample_kcl_app::main)),
        Command::BenchChild => return Ok(sample(kcl_samples::bench_processor::main)),
    };
    Ok(exit.into())
}
