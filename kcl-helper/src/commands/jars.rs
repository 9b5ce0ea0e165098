//! `kcl-helper jars`: fetch, list, verify and locate the daemon's jars.

use std::path::PathBuf;

use super::print_command::Format;
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::archive;
use crate::launch::daemon::Daemon;
use crate::launch::jars::{Cache, Faulty, Jar, Jars, Source, megabytes};
use crate::launch::java::Java;
use crate::output::Reporter;
use crate::properties::Version;
use crate::secret::Masked;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Fetch what is missing or broken, and print the folder
    Fetch(FetchArgs),
    /// List the jars that the daemon needs
    List(ListArgs),
    /// Compare every jar's bytes with the lock
    Verify(Place),
    /// Print the folder that the jars are in
    Path(Place),
}

/// Which jars, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The daemon's version
    #[arg(
        long,
        value_name = "V",
        default_value_t = Version::DEFAULT,
        env = "KCL_HELPER_KCL_VERSION"
    )]
    pub(crate) kcl_version: Version,
    /// The folder that jars are kept in
    #[arg(long, value_name = "DIR", env = "KCL_HELPER_CACHE")]
    cache: Option<PathBuf>,
}

impl Place {
    pub(crate) fn jars(&self) -> Result<Jars> {
        Jars::of(Daemon::of(self.kcl_version)?, &self.cache()?)
    }

    pub(crate) fn cache(&self) -> Result<Cache> {
        Cache::find(self.cache.as_deref())
    }
}

#[derive(Debug, clap::Args)]
struct FetchArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    source: SourceArgs,
    /// Let Maven resolve a version that kcl-helper has no lock for, and write one beside the jars
    #[arg(long, conflicts_with_all = ["repository", "offline"])]
    lock: bool,
    /// The java to make a class-data archive for [default: that of JAVA_HOME, else of PATH]
    #[arg(short, long, value_name = "PATH")]
    java: Option<PathBuf>,
    /// Make no class-data archive, with which the daemon starts faster
    #[arg(long)]
    no_archive: bool,
}

/// Where jars may come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Download from this Maven repository, without Maven
    #[arg(long, value_name = "URL", env = "KCL_MVN_REPO_SEARCH_URL", hide_env_values = true)]
    repository: Option<String>,
    /// Fetch nothing: what is missing is an error
    #[arg(long)]
    offline: bool,
}

impl SourceArgs {
    pub(crate) fn source(&self) -> Source {
        match (&self.repository, self.offline) {
            (_, true) => Source::Offline,
            // An empty variable is one that is not set.
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
    place: Place,
    /// As lines, or as a JSON array
    #[arg(long, value_enum, default_value_t = Format::Text, env = "KCL_HELPER_FORMAT")]
    format: Format,
}

pub(crate) fn run(args: Args, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    match args.action {
        Action::Fetch(args) => fetch(&args, guardian, reporter),
        Action::List(args) => list(&args, reporter),
        Action::Verify(place) => verify(&place, reporter),
        Action::Path(place) => {
            print_folder(&place.jars()?, reporter)?;
            Ok(Exit::Done)
        }
    }
}

fn fetch(args: &FetchArgs, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let mut jars = args.place.jars()?;
    let changed = if args.lock {
        let lock = jars.resolve_and_lock(guardian, reporter)?;
        reporter.say(&format!("lock: {}", lock.display()));
        jars = args.place.jars()?;
        true
    } else {
        jars.fetch(&args.source.source(), guardian, reporter)? > 0
    };
    if !args.no_archive {
        // Jars may be fetched where no Java is.
        match Java::find(args.java.as_deref(), &Environment::of_this_process(), guardian) {
            Ok(java) => archive::make(&jars, &java, changed, guardian, reporter)?,
            Err(error) => reporter.detail(&format!("no class-data archive: {error}")),
        }
    }
    if let Some(others) = jars.others() {
        reporter.warn(&format!("each run copies these jars: {others}"));
    }
    print_folder(&jars, reporter)?;
    Ok(Exit::Done)
}

fn list(args: &ListArgs, reporter: &Reporter) -> Result<Exit> {
    let jars = args.place.jars()?;
    let lock = jars.lock()?;
    match args.format {
        Format::Text => {
            reporter.print_lines(lock.jars().iter().map(Jar::to_string))?;
        }
        Format::Json => reporter.print_json(lock.jars())?,
    }
    Ok(Exit::Done)
}

fn verify(place: &Place, reporter: &Reporter) -> Result<Exit> {
    let jars = place.jars()?;
    let lock = jars.lock()?;
    let faults = jars.faults()?;
    reporter.print_lines(faults.iter().map(Faulty::to_string))?;
    for jar in jars.unlocked_jars()? {
        reporter.warn(&format!("{jar} is in no lock, so it is not on the class path"));
    }
    let count = lock.jars().len();
    if faults.is_empty() {
        reporter.result(&format!("{count} jars, {}: all as locked", megabytes(lock.bytes())));
        return Ok(Exit::Done);
    }
    let version = place.kcl_version;
    Err(Error::new(Exit::Failed, format!("{} of {count} jars are not as locked", faults.len()))
        .hint(format!("kcl-helper jars fetch --kcl-version {version}")))
}

fn print_folder(jars: &Jars, reporter: &Reporter) -> Result<()> {
    Ok(reporter.print_exact(jars.folder().as_os_str().as_encoded_bytes())?)
}
