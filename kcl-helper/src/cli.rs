//! The command line as clap parses it. The commands decide what it means.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{
    ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};

use crate::commands::{self, kclpy};
use crate::error::Result;
use crate::guardian::Guardian;
use crate::output::{Reporter, Styled};
use crate::text::{escape, is_harmful};
use crate::this_program::{BENCH_CHILD, GUARDIAN, SAMPLE_CHILD};

/// Checks, launches and rehearses Amazon Kinesis record processors.
#[derive(Debug, Parser)]
#[command(
    name = "kcl-helper",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    help_template = HELP
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Parses the command line and runs the command to its end. Returns the exit status.
///
/// # Errors
/// The command failed.
pub(crate) fn run(arguments: &[OsString], reporter: &Reporter) -> Result<ExitCode> {
    let words = arguments.get(1..).unwrap_or_default();
    if let Some(arguments) = kclpy::Arguments::parse(words) {
        return kclpy::run(arguments, reporter).map(ExitCode::from);
    }
    // With nothing at all it helps, as kclpy's helper, git and cargo do.
    let help = [OsString::from("kcl-helper"), OsString::from("--help")];
    match Cli::of(if words.is_empty() { &help } else { arguments }) {
        Ok(cli) => cli.run(reporter),
        Err(error) => explain(&error, reporter),
    }
}

impl Cli {
    fn of(arguments: &[OsString]) -> Result<Cli, clap::Error> {
        parse(arguments).map_err(|error| {
            // clap colours what it quotes, so it must get that escaped.
            let escaped = |word: &OsString| OsString::from(&*escape(&word.to_string_lossy()));
            parse(&arguments.iter().map(escaped).collect::<Vec<_>>()).err().unwrap_or(error)
        })
    }

    /// Runs the command to its end, and the guardian with it. Returns the exit status.
    fn run(self, reporter: &Reporter) -> Result<ExitCode> {
        let Globals { verbose, quiet, color } = self.globals;
        let guardian = match self.command {
            // Whoever started us must see the end of the program's stderr, and nothing of ours in it.
            Command::Record(_) => Guardian::silent(),
            _ => Guardian::new(),
        };
        let reporter = reporter.with(verbose, quiet, color.into());
        let result = self.command.run(&guardian, &reporter);
        guardian.end();
        result
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = without_env_values(Cli::command());
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Hides the values of environment variables in help.
fn without_env_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(without_env_values)
}

/// Prints the help that clap has rendered, or why it rejects the command line.
fn explain(error: &clap::Error, reporter: &Reporter) -> Result<ExitCode> {
    let said = Styled::new(error.render().ansi().to_string());
    // clap quotes these too, and then their line ends and colours look like its own.
    let is_quoted = |(name, value): (OsString, OsString)| {
        name.to_string_lossy().starts_with("KCL_") && value.to_string_lossy().contains(is_harmful)
    };
    if !error.use_stderr() {
        reporter.print_styled(&said)?;
    } else if std::env::vars_os().any(is_quoted) {
        reporter.result(error.to_string().trim_end());
    } else {
        reporter.report(&said);
    }
    // The code is 0 or 2.
    Ok(ExitCode::from(error.exit_code() as u8))
}

/// `--help` fits on a screen of 24 lines, and begins with the commands that a new user needs first.
const HELP: &str = "\
{about}
{usage-heading} {usage}
First steps:
  kcl-helper local --sample         the sample processor, here and now
  kcl-helper check app.properties   how the daemon will read a file
  kcl-helper run app.properties     the real daemon
Commands:
{subcommands}
Options:
{options}";

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_display_order = 900)]
pub(crate) struct Globals {
    /// Print more (-vv: everything)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print less on stderr: only warnings and the result (-qq: only errors)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
    /// When to colour: auto, always, never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        env = "KCL_HELPER_COLOR"
    )]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> anstream::ColorChoice {
        match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a record processor on this machine, over a file or stdin, without Java or AWS
    Local(commands::local::Args),
    /// Create a new project with everything that it needs
    Init(commands::init::Args),
    /// Measure record processors of any language
    Bench(commands::bench::Args),
    /// Judge a .properties file as the daemon will read it
    Check(commands::check::Args),
    /// Print what a .properties file says, for comparison with the JDK
    #[command(hide = true)]
    DumpProperties(commands::check::DumpArgs),
    /// Write .properties files with their hints applied, for comparison with the daemon
    #[command(hide = true)]
    DumpHints(commands::check::DumpHintsArgs),
    /// Run the real daemon on a properties file
    Run(commands::run::Args),
    /// Run a program as executableName does, and record its conversation with the daemon
    Record(commands::record::Args),
    /// Draw recordings as a page: shards over time, checkpoints, what went wrong
    View(commands::view::Args),
    /// Fetch and verify the daemon's jars
    Jars(commands::jars::Args),
    /// Print the command that starts the daemon
    #[command(name = "print-command")]
    Print(commands::print_command::Args),
    /// Print the daemon's class path
    PrintClasspath(commands::print_command::ClassPathOnlyArgs),
    /// Print a script that completes this command line in a shell
    Completions(commands::completions::Args),
    /// The parent process of everything that kcl-helper starts
    #[command(name = GUARDIAN, hide = true)]
    Guardian,
    /// The sample processor, as `local --sample` starts it
    #[command(name = SAMPLE_CHILD, hide = true)]
    SampleChild,
    /// The benchmark's own processor, as `bench --sample` starts it
    #[command(name = BENCH_CHILD, hide = true)]
    BenchChild,
}

impl Command {
    fn run(self, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
        let exit = match self {
            Command::Local(args) => commands::local::run(args, guardian, reporter)?,
            Command::Init(args) => commands::init::run(args, reporter)?,
            Command::Bench(args) => commands::bench::run(args, guardian, reporter)?,
            Command::Check(args) => commands::check::run(args, reporter)?,
            Command::DumpProperties(args) => commands::check::dump(&args, reporter)?,
            Command::DumpHints(args) => commands::check::dump_hints(&args)?,
            // These pass another program's status on.
            Command::Run(args) => return commands::run::run(&args, guardian, reporter),
            Command::Record(args) => return commands::record::run(args, guardian, reporter),
            Command::View(args) => commands::view::run(args, reporter)?,
            Command::Jars(args) => commands::jars::run(args, guardian, reporter)?,
            Command::Print(args) => commands::print_command::run(args, guardian, reporter)?,
            Command::PrintClasspath(args) => {
                commands::print_command::run_class_path(args, reporter)?
            }
            Command::Completions(args) => {
                commands::completions::run(&args, Cli::command(), reporter)?
            }
            Command::Guardian => commands::guardian::run(reporter)?,
            // The samples are whole programs, with exit codes and panics of their own.
            Command::SampleChild => return Ok(sample(kcl_samples::sample_kcl_app::main)),
            Command::BenchChild => return Ok(sample(kcl_samples::bench_processor::main)),
        };
        Ok(exit.into())
    }
}

fn sample(main: fn() -> ExitCode) -> ExitCode {
    drop(std::panic::take_hook());
    main()
}
