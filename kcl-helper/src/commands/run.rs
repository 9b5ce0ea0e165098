//! `kcl-helper run FILE`: checks, fetches what is missing, and runs the real daemon.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;
use clap::ValueEnum;

use super::check::overrides;
use super::jars::{Place, SourceArgs};
use super::units::{duration, duration_or_zero};
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::command::{self, JavaCommand};
use crate::launch::daemon::Daemon;
use crate::launch::jars::Jars;
use crate::launch::java::Java;
use crate::launch::logging::Level;
use crate::launch::prepare::{Changes, RunFolder, RunOverrides};
use crate::launch::supervise::{self, Ended, Events};
use crate::launch::worker_id::WorkerId;
use crate::launch::{archive, jvm_flags, sample};
use crate::output::Reporter;
use crate::properties::{self, File, Launcher, Request, Source};
use crate::secret::Masked;
use crate::shell::shell_line;
use crate::signals::{Cause, Requests};

/// A daemon that ran for this long had overcome what ended the one before it.
const SETTLED: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Status: the daemon's; 0 also for a stop that was asked for, 2 for the command line or a file with
errors, 3 if nothing can be started, 124 if --timeout ended it")]
pub(crate) struct Args {
    /// The properties file
    #[arg(value_name = "FILE", required_unless_present = "sample", conflicts_with = "sample")]
    file: Option<PathBuf>,
    /// Run the sample: its properties file is written to your data folder
    #[arg(long)]
    sample: bool,
    /// Set a property for this run, whatever the file says; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Replace $NAME and ${NAME} in the file's values by environment variables
    #[arg(long)]
    expand_env: bool,
    /// Send the daemon, and not its processors, to a stand-in for AWS
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// How long a stop may take before all is killed [default: shutdownGraceMillis and 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    grace: Option<Duration>,
    /// Stop after this long, whatever the daemon is at, with status 124
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Start the daemon again when it fails
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Restart::Never)]
    restart: Restart,
    /// Give up after this many restarts in a row
    #[arg(long, value_name = "N", default_value_t = 5)]
    restart_limit: usize,
    /// How long to wait before the first restart; the wait doubles, up to a minute
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero, default_value = "1s")]
    restart_delay: Duration,
    /// Show the daemon's log from this level on
    #[arg(long, value_name = "LEVEL", value_enum, conflicts_with = "log_configuration")]
    log_level: Option<Level>,
    /// Show the daemon's warnings and errors only
    #[arg(long, conflicts_with_all = ["log_configuration", "log_level"])]
    quiet_daemon: bool,
    /// A log configuration for the daemon (logback.xml)
    #[arg(short, long, value_name = "PATH")]
    log_configuration: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// The java program [default: that of JAVA_HOME, else of PATH]
    #[arg(short, long, value_name = "PATH")]
    java: Option<PathBuf>,
    /// A further argument for the JVM; repeatable
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    jvm_arg: Vec<String>,
    /// Leave out the flags that make the JVM lean
    #[arg(long)]
    plain_jvm: bool,
    /// Put PATH before the daemon's jars; repeatable
    #[arg(short = 'c', long, value_name = "PATH", alias = "path")]
    classpath: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    Never,
    OnFailure,
}

pub(crate) fn run(args: &Args, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let requests = Requests::watch(args.timeout, reporter)?;
    let environment = Environment::of_this_process();
    let jars = args.place.jars()?;
    let daemon = jars.daemon();
    let path = match &args.file {
        Some(path) => path.clone(),
        None => sample::properties_file(reporter)?,
    };
    let source = Source::read(&path)?;
    // A file that breaks the format has that one finding, and `checked` reports it.
    let file = File::parse(&source.bytes).unwrap_or_default();
    let run_overrides = RunOverrides {
        set: overrides(&args.set)?,
        expand: args.expand_env,
        endpoint: args.endpoint_url.as_deref().map(Masked::of_text),
    };
    let mut changes = Changes::of(&file, &run_overrides, daemon, &environment)?;
    let verdict = checked(source, &changes, args, &environment, reporter)?;
    let java = Java::find(args.java.as_deref(), &environment, guardian)?;
    reporter.say(&format!(
        "java {} ({}) · daemon {} · {verdict}",
        java.version,
        java.origin,
        daemon.version()
    ));
    for note in &changes.notes {
        reporter.say(note);
    }
    provide(&jars, &java, args, guardian, reporter)?;
    // From here on there is something to clean up.
    let events = Events::listen(&requests, guardian)?;
    let folder = RunFolder::new(guardian)?;
    let grace = args.grace.unwrap_or_else(|| changes.grace(&file, daemon));
    let launch =
        Launch { args, daemon, path: &path, file: &file, environment: &environment, reporter };
    let worker_id = launch.worker_id(&mut changes)?;
    let command = launch.command(changes, &java, &jars, &folder)?;
    // Also for a daemon that outlives us.
    let locks: Vec<BorrowedFd<'_>> =
        worker_id.iter().map(WorkerId::lock).chain([folder.lock()]).collect();
    let daemon = || supervise::run(&command, &locks, grace, guardian, &events, reporter);
    let status = repeated(daemon, &events, args, reporter)?;
    Ok(ExitCode::from(status))
}

/// Judges the file with all that this run changes. Errors end the run before it begins.
fn checked(
    source: Source,
    changes: &Changes,
    args: &Args,
    environment: &Environment,
    reporter: &Reporter,
) -> Result<String> {
    let request = Request {
        version: args.place.kcl_version,
        launcher: Launcher::Run,
        overrides: &changes.overrides,
        jvm_args: &args.jvm_arg,
        allow: &[],
        environment,
    };
    let report = properties::check(source, &request);
    if report.has_errors() {
        reporter.report(&report.text());
        let message = format!("nothing is started: {}", report.summary());
        return Err(Error::new(Exit::Usage, message));
    }
    let more = if report.warnings() > 0 { " (kcl-helper check shows them)" } else { "" };
    Ok(format!("{}{more}", report.summary()))
}

/// Makes sure that the jars are those of the lock.
fn provide(
    jars: &Jars,
    java: &Java,
    args: &Args,
    guardian: &Guardian,
    reporter: &Reporter,
) -> Result<()> {
    if !jars.faults()?.is_empty() {
        let fetched = jars.fetch(&args.source.source(), guardian, reporter)?;
        if !args.plain_jvm {
            archive::make(jars, java, fetched > 0, guardian, reporter)?;
        }
    } else if !args.plain_jvm && archive::present(jars, java).is_none() {
        reporter.detail("no class-data archive for this Java: `kcl-helper jars fetch` makes one");
    }
    Ok(())
}

/// What the command is made from.
struct Launch<'a> {
    args: &'a Args,
    daemon: Daemon,
    path: &'a Path,
    file: &'a File,
    environment: &'a Environment,
    reporter: &'a Reporter,
}

impl Launch<'_> {
    fn command(
        &self,
        mut changes: Changes,
        java: &Java,
        jars: &Jars,
        folder: &RunFolder,
    ) -> Result<JavaCommand> {
        let args = self.args;
        self.find_program(&mut changes, folder)?;
        let properties = folder.properties(self.path, self.file, &changes.overrides)?;
        let level = args.log_level.or(args.quiet_daemon.then_some(Level::Warn));
        let log = match (&args.log_configuration, level) {
            (Some(log), _) => Some(command::absolute(log)),
            (None, Some(level)) => Some(folder.log_configuration(self.daemon, level)?),
            (None, None) => None,
        };
        let (mut flags, mut archive) = (Vec::new(), archive::present(jars, java));
        let class_path = match jars.others() {
            None => jars.present().0,
            Some(others) => {
                self.reporter.say(&format!("the jars are copied for this run: {others}"));
                archive = None;
                jars.copies(&others, folder.path())?
            }
        };
        if !args.plain_jvm {
            flags = jvm_flags::flags(archive.as_deref(), &args.jvm_arg, self.environment);
        }
        flags.push("-Dfile.encoding=UTF-8".into());
        flags.extend(log.as_deref().and_then(|log| self.daemon.log_flag(log)));
        flags.extend(changes.jvm_flags.into_iter().map(OsString::from));
        flags.extend(args.jvm_arg.iter().map(OsString::from));
        let command = JavaCommand {
            java: java.path.clone().into(),
            flags,
            class_path: command::class_path(&args.classpath, class_path, Some(self.path)),
            main_class: self.daemon.main_class(),
            arguments: self.daemon.arguments(&properties, log.as_deref()),
        };
        let shown: Vec<OsString> =
            Masked::of_words(command.words()).iter().map(|word| word.to_string().into()).collect();
        self.reporter.detail(&shell_line(&shown).text);
        Ok(command)
    }

    /// Names the worker, where the file does not.
    fn worker_id(&self, changes: &mut Changes) -> Result<Option<WorkerId>> {
        if ["workerId", "workerIdentifier"].iter().any(|key| changes.get(self.file, key).is_some())
        {
            return Ok(None);
        }
        let value = |key| changes.get(self.file, key).unwrap_or_default();
        let folder = self.args.place.cache()?.workers();
        let (application, region) = (value("applicationName"), value("regionName"));
        let taken = WorkerId::take(&folder, application.reveal(), region.reveal());
        let id = match taken {
            Ok(id) => id,
            // A container's file system may be read-only; the daemon then finds a name itself.
            Err(error) => {
                let folder = folder.display();
                self.reporter.detail(&format!("no worker id is kept: {folder}: {error}"));
                None
            }
        };
        if let Some(id) = &id {
            self.reporter.detail(&format!("workerId is set to {} for this run", id.name));
            let name = Masked::of_property("workerId", &id.name);
            changes.overrides.push(("workerId".to_owned(), name));
        }
        Ok(id)
    }

    /// Helps the daemon to a program that it would not find.
    fn find_program(&self, changes: &mut Changes, folder: &RunFolder) -> Result<()> {
        let beside = self.path.parent().unwrap_or(Path::new(""));
        let Some(typed) = changes.get(self.file, "executableName") else {
            return Ok(());
        };
        let program = self.environment.program(&typed, beside);
        if let Some(found) = folder.executable(&program)? {
            self.reporter.say(&format!("executableName is set to {found} for this run"));
            changes.overrides.push(("executableName".to_owned(), found));
        }
        Ok(())
    }
}

/// Runs the daemon, and again where that is asked for. Returns the status that ours shall be.
fn repeated(
    daemon: impl Fn() -> Result<Ended>,
    events: &Events,
    args: &Args,
    reporter: &Reporter,
) -> Result<u8> {
    let backoff = backon::ExponentialBuilder::default()
        .with_min_delay(args.restart_delay)
        .with_max_delay(Duration::from_secs(60))
        .with_max_times(args.restart_limit);
    let mut waits = backoff.build();
    loop {
        let start = Instant::now();
        let ended = daemon()?;
        let status = ended.exit_status();
        if status == 0 || !ended.was_unasked() || args.restart == Restart::Never {
            return Ok(status);
        }
        if start.elapsed() > SETTLED {
            waits = backoff.build();
        }
        let Some(wait) = waits.next() else {
            reporter.warn(&format!(
                "the daemon ended with {status}: {} restarts are enough",
                args.restart_limit
            ));
            return Ok(status);
        };
        let after = humantime::format_duration(wait);
        reporter.warn(&format!("the daemon ended with {status}: it is started again in {after}"));
        if let Some(cause) = events.request_within(wait) {
            reporter.say(&format!("{cause}: the daemon is not started again"));
            return Ok(if let Cause::Timeout(_) = cause { cause.exit() as u8 } else { status });
        }
    }
}
