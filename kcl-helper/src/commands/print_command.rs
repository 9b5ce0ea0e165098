//! `kcl-helper print-command` and `print-classpath`: what `run` would start, as text.
//!
//! Both take the options of kclpy's helper, in its spellings too, so that a script which called
//! that one works with the name changed. Like it, they do not ask whether a file is there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::jars::Place;
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::command::{self, JavaCommand};
use crate::launch::jars::Jars;
use crate::launch::java::{Java, Origin};
use crate::launch::{archive, jvm_flags, sample};
use crate::output::Reporter;
use crate::shell;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The java program, as it is to stand in the line
    #[arg(short, long, value_name = "PATH")]
    java: PathBuf,
    #[command(flatten)]
    properties: PropertiesArgs,
    #[command(flatten)]
    class_path: ClassPathArgs,
    /// A log configuration for the daemon (logback.xml)
    #[arg(short, long, value_name = "PATH")]
    log_configuration: Option<PathBuf>,
    /// A further argument for the JVM; repeatable
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    jvm_arg: Vec<String>,
    /// Leave out the flags that make the JVM lean
    #[arg(long)]
    plain_jvm: bool,
    /// Quote nothing, for $(…) and back-ticks
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// As a line, or as a JSON array of words
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The line is empty where there are no jars and nothing is given to add to them: a warning says so, and
the status stays 0.")]
pub(crate) struct ClassPathOnlyArgs {
    // kclpy's helper prints the class path without a properties file as well.
    /// The properties file, whose folder ends the class path
    #[arg(short, long, value_name = "PATH", alias = "props", alias = "prop")]
    properties: Option<PathBuf>,
    /// Use the sample's properties file
    #[arg(long, alias = "sample-props", alias = "use-sample-properties")]
    sample: bool,
    #[command(flatten)]
    class_path: ClassPathArgs,
    // Taken and not needed, as scripts pass the same options to both.
    #[arg(short, long, value_name = "PATH", hide = true)]
    java: Option<PathBuf>,
    #[arg(short, long, value_name = "PATH", hide = true)]
    log_configuration: Option<PathBuf>,
    /// As a line, or as a JSON array of paths
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
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let environment = Environment::of_this_process();
    let properties = chosen_file(args.properties.properties, args.properties.sample, reporter)?
        .ok_or_else(|| Error::new(Exit::Usage, "no properties file is named"))?;
    let jars = jars(&args.class_path.place, reporter)?;
    let daemon = jars.daemon();
    let mut flags = Vec::new();
    if !args.plain_jvm {
        // A java that is not here, as when the line is for another machine, has no archive here.
        let java = Java::ask(&args.java, Origin::Option, guardian).ok();
        let archive = java.and_then(|java| archive::present(&jars, &java));
        flags = jvm_flags::flags(archive.as_deref(), &args.jvm_arg, &environment);
    }
    flags.push("-Dfile.encoding=UTF-8".into());
    flags.extend(args.log_configuration.as_deref().and_then(|log| daemon.log_flag(log)));
    flags.extend(args.jvm_arg.into_iter().map(OsString::from));
    let command = JavaCommand {
        java: args.java.into(),
        flags,
        class_path: command::class_path(
            &args.class_path.classpath,
            jars.present().0,
            Some(&properties),
        ),
        main_class: daemon.main_class(),
        arguments: daemon.arguments(&properties, args.log_configuration.as_deref()),
    };
    let words_of_command = command.words();
    if args.format == Format::Json {
        let list: Vec<_> = words_of_command.iter().map(|word| word.to_string_lossy()).collect();
        reporter.print_json(&list)?;
        return Ok(Exit::Done);
    }
    let line = shell::shell_line(&words_of_command);
    if args.raw {
        reporter.print_exact(&shell::raw_line(&words_of_command))?;
    } else {
        reporter.print_lines([&line.text])?;
    }
    if line.quoted {
        let problem = if args.raw { "would break apart" } else { "had to be quoted" };
        reporter.warn(&format!("a word {problem}: $(…) and back-ticks cannot run this line"));
        reporter.hint("eval \"$(kcl-helper print-command …)\", or kcl-helper run");
    }
    Ok(Exit::Done)
}

pub(crate) fn run_class_path(args: ClassPathOnlyArgs, reporter: &Reporter) -> Result<Exit> {
    let properties = chosen_file(args.properties, args.sample, reporter)?;
    let jars = jars(&args.class_path.place, reporter)?.present().0;
    let paths = command::class_path(&args.class_path.classpath, jars, properties.as_deref());
    match args.format {
        Format::Text => {
            reporter.print_exact(command::join_class_path(&paths).as_encoded_bytes())?;
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

/// The jars, with a warning where the class path lacks some: as with kclpy, that is no failure.
fn jars(place: &Place, reporter: &Reporter) -> Result<Jars> {
    let jars = place.jars()?;
    let (here, missing) = jars.present();
    let version = jars.daemon().version();
    let folder: &Path = jars.folder();
    if let Some(others) = jars.others() {
        reporter.warn(&format!("whoever can change the jars can run code as you: {others}"));
    }
    if here.is_empty() {
        reporter.warn(&format!("no jars of {version} in {}", folder.display()));
    } else if missing > 0 {
        reporter.warn(&format!("{missing} jars of {version} are missing in {}", folder.display()));
    }
    if here.is_empty() || missing > 0 {
        reporter.hint(&format!("kcl-helper jars fetch --kcl-version {version}"));
    }
    Ok(jars)
}

/// kclpy's helper has options where this one has commands: `--print_command`, or what an
/// unambiguous beginning of it is. With both of them kclpy prints the class path.
pub(crate) fn from_kclpy(arguments: Vec<OsString>) -> Vec<OsString> {
    let chosen = |argument: &OsString, name: &str, least: usize| {
        let text = argument.to_str().unwrap_or_default();
        text.len() >= least && name.starts_with(text)
    };
    // `--print_c` could be either of the two.
    let least = "--print_cl".len();
    let is_command = |argument: &OsString| chosen(argument, "--print_command", least);
    let is_class_path = |argument: &OsString| chosen(argument, "--print_classpath", least);
    // Where a command of ours or of a child's begins, the options are not kclpy's.
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
    fn kclpys_spelling_becomes_a_command() {
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
