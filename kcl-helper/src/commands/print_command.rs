//! `kcl-helper print-command` and `print-classpath`: what `run` would start, as text.
//!
//! Both accept the options of kclpy's helper in its spellings too, so that a script needs only another
//! name to use them. Like it, they do not check whether a file exists.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::jars::JarsArgs;
use super::run::JvmArgs;
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::command::{JavaCommand, Launch};
use crate::launch::jars::Jars;
use crate::launch::java::{Java, Origin};
use crate::launch::{archive, paths, sample};
use crate::output::Reporter;
use crate::shell;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The java program, printed as it is written here
    #[arg(short, long, value_name = "PATH")]
    java: PathBuf,
    #[command(flatten)]
    properties: PropertiesArgs,
    #[command(flatten)]
    class_path: ClassPathArgs,
    /// A log configuration for the daemon (logback.xml)
    #[arg(short, long, value_name = "PATH")]
    log_configuration: Option<PathBuf>,
    #[command(flatten)]
    jvm: JvmArgs,
    /// Quote nothing, for $(…) and backticks
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Print a line, or a JSON array of words
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
If there are no jars and no other paths, the line is empty; a warning says so, and the status is 0.")]
pub(crate) struct ClassPathOnlyArgs {
    // Optional, as for kclpy's helper.
    /// The properties file, whose folder ends the class path
    #[arg(short, long, value_name = "PATH", alias = "props", alias = "prop")]
    properties: Option<PathBuf>,
    /// Use the sample's properties file
    #[arg(long, alias = "sample-props", alias = "use-sample-properties")]
    sample: bool,
    #[command(flatten)]
    class_path: ClassPathArgs,
    // Ignored: scripts pass the same options to both commands.
    #[arg(short, long, value_name = "PATH", hide = true)]
    java: Option<PathBuf>,
    #[arg(short, long, value_name = "PATH", hide = true)]
    log_configuration: Option<PathBuf>,
    /// Print a line, or a JSON array of paths
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct PropertiesArgs {
    /// The properties file
    #[arg(short, long, value_name = "PATH", alias = "props", alias = "prop")]
    properties: Option<PathBuf>,
    /// Use the sample's properties file
    #[arg(long, alias = "sample-props", alias = "use-sample-properties")]
    sample: bool,
}

#[derive(Debug, clap::Args)]
struct ClassPathArgs {
    /// Put PATH before the daemon's jars; repeatable
    #[arg(short = 'c', long, value_name = "PATH", alias = "path")]
    classpath: Vec<PathBuf>,
    #[command(flatten)]
    jars: JarsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let environment = Environment::of_this_process();
    let properties = chosen_file(args.properties.properties, args.properties.sample, reporter)?
        .ok_or_else(|| Error::new(Exit::Usage, "the properties file is missing"))?;
    let jars = jars(&args.class_path.jars, reporter)?;
    // If the command is for another machine, java may not run here. Then there is no archive either.
    let java = || Java::ask(&args.java, Origin::Option, guardian).ok();
    let archive = (!args.jvm.plain_jvm).then(java).flatten();
    let archive = archive.and_then(|java| archive::present(&jars, &java));
    let command = JavaCommand::of(Launch {
        daemon: jars.daemon(),
        java: &args.java,
        jars: jars.present().0,
        added_class_path: &args.class_path.classpath,
        properties: &properties,
        properties_to_read: &properties,
        log_configuration: args.log_configuration.as_deref(),
        plain_jvm: args.jvm.plain_jvm,
        archive: archive.as_deref(),
        run_flags: &[],
        jvm_args: &args.jvm.jvm_arg,
        environment: &environment,
    });
    print(&command.argv(), args.format, args.raw, reporter)
}

fn print(argv: &[OsString], format: Format, raw: bool, reporter: &Reporter) -> Result<Exit> {
    if format == Format::Json {
        let list: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        reporter.print_json(&list)?;
        return Ok(Exit::Done);
    }
    let line = shell::shell_line(argv);
    if raw {
        reporter.print_exact(&shell::raw_line(argv))?;
    } else {
        reporter.print_lines([&line.text])?;
    }
    if line.quoted {
        let problem = if raw { "would be split" } else { "had to be quoted" };
        reporter.warn(&format!("a word {problem}: $(…) and backticks cannot run this line"));
        reporter.hint("use eval \"$(kcl-helper print-command …)\", or kcl-helper run");
    }
    Ok(Exit::Done)
}

pub(crate) fn run_class_path(args: ClassPathOnlyArgs, reporter: &Reporter) -> Result<Exit> {
    let properties = chosen_file(args.properties, args.sample, reporter)?;
    let jars = jars(&args.class_path.jars, reporter)?.present().0;
    let paths = paths::class_path(&args.class_path.classpath, jars, properties.as_deref());
    match args.format {
        Format::Text => {
            reporter.print_exact(paths::join_class_path(&paths).as_encoded_bytes())?;
        }
        Format::Json => reporter.print_json(&paths)?,
    }
    Ok(Exit::Done)
}

fn chosen_file(
    named: Option<PathBuf>,
    sample: bool,
    reporter: &Reporter,
) -> Result<Option<PathBuf>> {
    if !sample {
        return Ok(named);
    }
    if let Some(named) = named {
        reporter.warn(&format!("--sample: {} is not used", named.display()));
    }
    sample::properties_file(reporter).map(Some)
}

/// Finds the jars, and warns about missing ones. As with kclpy, these are not an error.
fn jars(args: &JarsArgs, reporter: &Reporter) -> Result<Jars> {
    let jars = args.jars()?;
    let (present, missing) = jars.present();
    let version = jars.daemon().version();
    let folder: &Path = jars.folder();
    if let Some(others) = jars.others() {
        reporter.warn(&format!("whoever can change the jars can run code as you: {others}"));
    }
    if present.is_empty() {
        reporter.warn(&format!("no jars of {version} in {}", folder.display()));
    } else if missing > 0 {
        let noun = if missing == 1 { "jar" } else { "jars" };
        reporter.warn(&format!("{missing} {noun} of {version} missing in {}", folder.display()));
    }
    if present.is_empty() || missing > 0 {
        reporter.hint(&format!("run kcl-helper jars fetch --kcl-version {version}"));
    }
    Ok(jars)
}

/// Translates the options `--print_command` and `--print_classpath` of kclpy's helper, or unambiguous
/// prefixes of them, into commands. If both are given, kclpy prints the class path.
pub(crate) fn from_kclpy(arguments: Vec<OsString>) -> Vec<OsString> {
    // `--print_c` is ambiguous.
    let shortest = "--print_cl".len();
    let abbreviates = |argument: &OsString, name: &str| {
        let text = argument.to_str().unwrap_or_default();
        text.len() >= shortest && name.starts_with(text)
    };
    let is_command = |argument: &OsString| abbreviates(argument, "--print_command");
    let is_class_path = |argument: &OsString| abbreviates(argument, "--print_classpath");
    // If the first argument is a command, or after `--`, options are not kclpy's.
    let is_option = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
    let options = match arguments.get(1..) {
        Some(options) if options.first().is_some_and(is_option) => options,
        _ => return arguments,
    };
    let mut options = options.iter().take_while(|argument| *argument != "--");
    let command = if options.clone().any(is_class_path) {
        "print-classpath"
    } else if options.any(is_command) {
        "print-command"
    } else {
        return arguments;
    };
    let mut arguments = arguments.into_iter();
    let program = arguments.next();
    let rest = arguments.filter(|argument| !is_command(argument) && !is_class_path(argument));
    program.into_iter().chain([command.into()]).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_kclpy_become_commands() {
        #[track_caller]
        fn check(typed: &str, expected: &str) {
            let typed = typed.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(from_kclpy(typed), expected);
        }
        check("k --print_command -j J", "k print-command -j J");
        check("k -j J --print_com", "k print-command -j J");
        check("k --print_classpath -c C", "k print-classpath -c C");
        check("k --print_command --print_cl", "k print-classpath");
        check("k --print_c", "k --print_c");
        check("k run --print_command", "k run --print_command");
        check("k -v local -- x --print_command", "k -v local -- x --print_command");
        check("k", "k");
    }
}
