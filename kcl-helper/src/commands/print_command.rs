//! `kcl-helper print-command` and `print-classpath`: what `run` would start, as text.
//!
//! They do not check whether a file exists. The spellings of kclpy's helper are in [`super::kclpy`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::arguments::{Format, JarsArgs};
use super::run::JvmArgs;
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::command::{JavaCommand, Launch};
use crate::launch::jars::Jars;
use crate::launch::java::{Java, Origin};
use crate::launch::{archive, paths, sample};
use crate::output::{Reporter, count};
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
    /// The properties file, whose folder ends the class path
    #[arg(short, long, value_name = "PATH")]
    properties: Option<PathBuf>,
    /// Use the sample's properties file
    #[arg(long)]
    sample: bool,
    #[command(flatten)]
    class_path: ClassPathArgs,
    /// Print a line, or a JSON array of paths
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct PropertiesArgs {
    /// The properties file
    #[arg(short, long, value_name = "PATH")]
    properties: Option<PathBuf>,
    /// Use the sample's properties file
    #[arg(long)]
    sample: bool,
}

#[derive(Debug, clap::Args)]
struct ClassPathArgs {
    /// Put PATH before the daemon's jars; repeatable
    #[arg(short = 'c', long, value_name = "PATH")]
    classpath: Vec<PathBuf>,
    #[command(flatten)]
    jars: JarsArgs,
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
pub(super) fn jars(args: &JarsArgs, reporter: &Reporter) -> Result<Jars> {
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
        let missing = count(missing as u64, "jar");
        reporter.warn(&format!("{missing} of {version} missing in {}", folder.display()));
    }
    if present.is_empty() || missing > 0 {
        reporter.hint(&format!("run kcl-helper jars fetch --kcl-version {version}"));
    }
    Ok(jars)
}
