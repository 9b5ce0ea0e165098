//! `kcl-helper jars`: fetches, lists, verifies and locates the daemon's jars.

use std::path::PathBuf;

use super::arguments::{Format, JarsArgs};
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::archive;
use crate::launch::jars::{Faulty, Jar, Jars, Source, megabytes};
use crate::launch::java::Java;
use crate::output::Reporter;
use crate::secret::Masked;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Fetch jars that are missing or differ from the lock, and print the folder
    Fetch(FetchArgs),
    /// List the jars that the daemon needs
    List(ListArgs),
    /// Compare every jar with its size and checksum in the lock
    Verify(JarsArgs),
    /// Print the folder of the jars
    Path(JarsArgs),
}

#[derive(Debug, clap::Args)]
struct FetchArgs {
    #[command(flatten)]
    jars: JarsArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// Let Maven resolve a version that kcl-helper has no lock for, and write a lock beside the jars
    #[arg(long, conflicts_with_all = ["repository", "offline"])]
    lock: bool,
    /// The java to create a class-data archive for [default: that of JAVA_HOME, else of PATH]
    #[arg(short, long, value_name = "PATH")]
    java: Option<PathBuf>,
    /// Skip the class-data archive, with which the daemon starts faster
    #[arg(long)]
    no_archive: bool,
}

/// Where missing jars come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Download from this Maven repository instead of running Maven
    #[arg(long, value_name = "URL", env = "KCL_MVN_REPO_SEARCH_URL", hide_env_values = true)]
    repository: Option<String>,
    /// Fetch nothing, and fail if jars are missing
    #[arg(long)]
    offline: bool,
}

impl SourceArgs {
    pub(crate) fn source(&self) -> Source {
        match (&self.repository, self.offline) {
            (_, true) => Source::Offline,
            // An empty variable counts as unset.
            (Some(url), false) if !url.is_empty() => {
                Source::Repository(Masked::of_text(url.as_str()))
            }
            _ => Source::Maven,
        }
    }
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    jars: JarsArgs,
    /// Print lines, or a JSON array
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    match args.action {
        Action::Fetch(args) => fetch(&args, guardian, reporter),
        Action::List(args) => list(&args, reporter),
        Action::Verify(args) => verify(&args, reporter),
        Action::Path(args) => {
            print_folder(&args.jars()?, reporter)?;
            Ok(Exit::Done)
        }
    }
}

fn fetch(args: &FetchArgs, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let mut jars = args.jars.jars()?;
    let changed = if args.lock {
        let lock = jars.resolve_and_lock(guardian, reporter)?;
        reporter.say(&format!("lock: {}", lock.display()));
        jars = args.jars.jars()?;
        true
    } else {
        jars.fetch(&args.source.source(), guardian, reporter)? > 0
    };
    if !args.no_archive {
        // Jars can be fetched on a machine without Java.
        match Java::find(args.java.as_deref(), &Environment::of_this_process(), guardian) {
            Ok(java) => archive::create_if_needed(&jars, &java, changed, guardian, reporter)?,
            Err(error) => reporter.detail(&format!("no class-data archive: {error}")),
        }
    }
    if let Some(others) = jars.others() {
        reporter.warn(&format!("each run will copy these jars: {others}"));
    }
    print_folder(&jars, reporter)?;
    Ok(Exit::Done)
}

fn list(args: &ListArgs, reporter: &Reporter) -> Result<Exit> {
    let jars = args.jars.jars()?;
    let lock = jars.lock()?;
    match args.format {
        Format::Text => {
            reporter.print_lines(lock.jars().iter().map(Jar::to_string))?;
        }
        Format::Json => reporter.print_json(lock.jars())?,
    }
    Ok(Exit::Done)
}

fn verify(args: &JarsArgs, reporter: &Reporter) -> Result<Exit> {
    let jars = args.jars()?;
    let lock = jars.lock()?;
    let faults = jars.faults()?;
    reporter.print_lines(faults.iter().map(Faulty::to_string))?;
    for jar in jars.unlocked_jars()? {
        reporter.warn(&format!("{jar} is not in the lock, so it is not on the class path"));
    }
    let count = lock.jars().len();
    if faults.is_empty() {
        reporter.result(&format!("{count} jars, {}: all match the lock", megabytes(lock.bytes())));
        return Ok(Exit::Done);
    }
    let version = args.kcl_version;
    let message = format!("{} of {count} jars do not match the lock", faults.len());
    Err(Error::new(Exit::Failed, message)
        .hint(format!("run kcl-helper jars fetch --kcl-version {version}")))
}

fn print_folder(jars: &Jars, reporter: &Reporter) -> Result<()> {
    Ok(reporter.print_exact(jars.folder().as_os_str().as_encoded_bytes())?)
}
