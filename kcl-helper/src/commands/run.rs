//! `kcl-helper run FILE`: checks the file, fetches missing jars, and runs the real daemon.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;
use clap::ValueEnum;

use super::arguments::JarsArgs;
use super::check::overrides;
use super::jars::SourceArgs;
use super::units::{duration, duration_or_zero};
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::launch::command::{JavaCommand, Launch};
use crate::launch::daemon::Daemon;
use crate::launch::jars::Jars;
use crate::launch::java::Java;
use crate::launch::logging::Level;
use crate::launch::prepare::{Changes, RunFolder, RunOverrides};
use crate::launch::supervise::{self, Ended, Events};
use crate::launch::worker_id::WorkerId;
use crate::launch::{archive, sample};
use crate::output::Reporter;
use crate::properties::{self, File, Launcher, Request, Source};
use crate::secret::Masked;
use crate::shell::shell_line;
use crate::signals::{Cause, Requests};

/// After a daemon has run this long, the next failure counts as the first one again.
const SETTLED: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Status: the daemon's; 0 also after a requested stop, 2 for an invalid command line or properties
file, 3 if the daemon cannot be started, 124 if --timeout stopped it")]
pub(crate) struct Args {
    /// The properties file
    #[arg(value_name = "FILE", required_unless_present = "sample", conflicts_with = "sample")]
    file: Option<PathBuf>,
    /// Run the sample: its properties file is written to your data folder
    #[arg(long)]
    sample: bool,
    /// Override a property for this run; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Replace $NAME and ${NAME} in the file's values by environment variables
    #[arg(long)]
    expand_env: bool,
    /// Make the daemon, but not its processors, use an emulator of AWS
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// How long a stop may take before everything is killed [default: shutdownGraceMillis plus 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    grace: Option<Duration>,
    /// Stop the daemon after this long, with status 124
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Whether to restart the daemon when it fails
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Restart::Never)]
    restart: Restart,
    /// Give up after this many restarts in a row
    #[arg(long, value_name = "N", default_value_t = 5)]
    restart_limit: usize,
    /// How long to wait before the first restart; it doubles each time, up to a minute
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero, default_value = "1s")]
    restart_delay: Duration,
    /// The lowest level that the daemon's log shows
    #[arg(long, value_name = "LEVEL", value_enum, conflicts_with = "log_configuration")]
    log_level: Option<Level>,
    /// Show only the daemon's warnings and errors
    #[arg(long, conflicts_with_all = ["log_configuration", "log_level"])]
    quiet_daemon: bool,
    /// A log configuration for the daemon (logback.xml)
    #[arg(short, long, value_name = "PATH")]
    log_configuration: Option<PathBuf>,
    #[command(flatten)]
    jars: JarsArgs,
    /// The java program [default: that of JAVA_HOME, else of PATH]
    #[arg(short, long, value_name = "PATH")]
    java: Option<PathBuf>,
    #[command(flatten)]
    jvm: JvmArgs,
    /// Put PATH before the daemon's jars; repeatable
    #[arg(short = 'c', long, value_name = "PATH", alias = "path")]
    classpath: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

/// How the JVM is started, by `run` and in the command that `print-command` prints.
#[derive(Debug, clap::Args)]
pub(crate) struct JvmArgs {
    /// A further argument for the JVM; repeatable
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) jvm_arg: Vec<String>,
    /// Leave out the flags that save CPU time and memory
    #[arg(long)]
    pub(crate) plain_jvm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    Never,
    OnFailure,
}

pub(crate) fn run(args: &Args, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let requests = Requests::watch(args.timeout, reporter)?;
    let environment = Environment::of_this_process();
    let jars = args.jars.jars()?;
    let daemon = jars.daemon();
    let path = match &args.file {
        Some(path) => path.clone(),
        None => sample::properties_file(reporter)?,
    };
    let source = Source::read(&path)?;
    // If the file cannot be parsed, `checked` reports that.
    let file = File::parse(&source.bytes).unwrap_or_default();
    let typed = RunOverrides {
        set: overrides(&args.set)?,
        expand: args.expand_env,
        endpoint: args.endpoint_url.as_deref().map(Masked::of_text),
    };
    let mut changes = Changes::new(&file, &typed, daemon, &environment)?;
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
    provide_jars(&jars, &java, args, guardian, reporter)?;
    // From here on there are files and processes to clean up.
    let events = Events::listen(&requests, guardian)?;
    let folder = RunFolder::new(guardian)?;
    let grace = args.grace.unwrap_or_else(|| changes.grace(&file, daemon));
    let run = Run { args, daemon, path: &path, file: &file, environment: &environment, reporter };
    let worker_id = run.worker_id(&mut changes)?;
    let command = run.command(changes, &java, &jars, &folder)?;
    // The daemon inherits them, because it may outlive us.
    let locks: Vec<BorrowedFd<'_>> =
        worker_id.iter().map(WorkerId::lock).chain([folder.lock()]).collect();
    let daemon = || supervise::run(&command, &locks, grace, guardian, &events, reporter);
    let status = run_with_restarts(daemon, &events, args, reporter)?;
    Ok(ExitCode::from(status))
}

/// Checks the file together with what this run changes, and returns a summary. Errors in it end the run.
fn checked(
    source: Source,
    changes: &Changes,
    args: &Args,
    environment: &Environment,
    reporter: &Reporter,
) -> Result<String> {
    let request = Request {
        version: args.jars.kcl_version,
        launcher: Launcher::Run,
        overrides: &changes.overrides,
        jvm_args: &args.jvm.jvm_arg,
        allow: &[],
        environment,
    };
    let report = properties::check(source, &request);
    if report.has_errors() {
        reporter.report(&report.text());
        return Err(Error::new(Exit::Usage, "cannot start the daemon").because(report.summary()));
    }
    let more = if report.warnings() > 0 { " (kcl-helper check shows them)" } else { "" };
    Ok(format!("{}{more}", report.summary()))
}

/// Fetches jars that are missing or differ from the lock, and creates an archive for new ones.
fn provide_jars(
    jars: &Jars,
    java: &Java,
    args: &Args,
    guardian: &Guardian,
    reporter: &Reporter,
) -> Result<()> {
    if !jars.faults()?.is_empty() {
        let fetched = jars.fetch(&args.source.source(), guardian, reporter)?;
        if !args.jvm.plain_jvm {
            archive::create_if_needed(jars, java, fetched > 0, guardian, reporter)?;
        }
    } else if !args.jvm.plain_jvm && archive::present(jars, java).is_none() {
        reporter.detail("no class-data archive for this Java: `kcl-helper jars fetch` creates one");
    }
    Ok(())
}

/// What does not change during a run.
struct Run<'a> {
    args: &'a Args,
    daemon: Daemon,
    path: &'a Path,
    file: &'a File,
    environment: &'a Environment,
    reporter: &'a Reporter,
}

impl Run<'_> {
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
            (Some(log), _) => Some(log.clone()),
            (None, Some(level)) => Some(folder.log_configuration(self.daemon, level)?),
            (None, None) => None,
        };
        let (jars, archive) = match jars.others() {
            None => (jars.present().0, archive::present(jars, java)),
            Some(others) => {
                self.reporter.say(&format!("copying the jars for this run: {others}"));
                (jars.copies(&others, folder.path())?, None)
            }
        };
        let command = JavaCommand::of(Launch {
            daemon: self.daemon,
            java: &java.path,
            jars,
            added_class_path: &args.classpath,
            properties: self.path,
            properties_to_read: &properties,
            log_configuration: log.as_deref(),
            plain_jvm: args.jvm.plain_jvm,
            archive: archive.as_deref(),
            run_flags: &changes.jvm_flags,
            jvm_args: &args.jvm.jvm_arg,
            environment: self.environment,
        });
        let shown: Vec<OsString> =
            Masked::of_words(command.argv()).iter().map(|word| word.to_string().into()).collect();
        self.reporter.detail(&shell_line(&shown).text);
        Ok(command)
    }

    /// Sets a worker ID that stays the same after a restart, unless the file has one.
    fn worker_id(&self, changes: &mut Changes) -> Result<Option<WorkerId>> {
        if ["workerId", "workerIdentifier"].iter().any(|key| changes.get(self.file, key).is_some())
        {
            return Ok(None);
        }
        let value = |key| changes.get(self.file, key).unwrap_or_default();
        let folder = self.args.jars.cache()?.workers();
        let (application, region) = (value("applicationName"), value("regionName"));
        let taken = WorkerId::reserve(&folder, application.reveal(), region.reveal());
        let id = match taken {
            Ok(id) => id,
            // A container's file system may be read-only. The daemon then makes up a name.
            Err(error) => {
                let folder = folder.display();
                self.reporter.detail(&format!("cannot keep a worker ID in {folder}: {error}"));
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

    /// Replaces the path of a program that the daemon would not find.
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

/// Runs the daemon, and restarts it as the options say. Returns the exit status for this command.
fn run_with_restarts(
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
            let limit = args.restart_limit;
            reporter.warn(&format!(
                "the daemon ended with status {status}: giving up after {limit} restarts \
                 (--restart-limit)"
            ));
            return Ok(status);
        };
        let after = humantime::format_duration(wait);
        reporter.warn(&format!("the daemon ended with status {status}: restarting it in {after}"));
        if let Some(cause) = events.request_within(wait) {
            reporter.say(&format!("{cause}: not restarting the daemon"));
            return Ok(if let Cause::Timeout(_) = cause { cause.exit() as u8 } else { status });
        }
    }
}
