//! The command that starts a daemon, as data: `run` starts it, `print-command` prints it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::jvm_flags;
use super::paths::{absolute, class_path, join_class_path};
use crate::environment::Environment;

/// What a daemon's command is made from.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) daemon: Daemon,
    pub(crate) java: &'a Path,
    /// The daemon's jars, in class-path order.
    pub(crate) jars: Vec<PathBuf>,
    /// What the user puts before them.
    pub(crate) added_class_path: &'a [PathBuf],
    /// The user's properties file, whose folder ends the class path.
    pub(crate) properties: &'a Path,
    /// The properties file that the daemon reads: the user's, or the run's copy of it.
    pub(crate) properties_to_read: &'a Path,
    pub(crate) log_configuration: Option<&'a Path>,
    /// Leaves out our own flags, which the archive belongs to.
    pub(crate) plain_jvm: bool,
    pub(crate) archive: Option<&'a Path>,
    /// What this run sets for the JVM, such as an endpoint.
    pub(crate) run_flags: &'a [String],
    /// The user's flags. They come last, so they win.
    pub(crate) jvm_args: &'a [String],
    pub(crate) environment: &'a Environment,
}

/// `java FLAGS -cp CLASSPATH MAIN ARGUMENTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JavaCommand {
    pub(crate) java: PathBuf,
    flags: Vec<OsString>,
    class_path: Vec<PathBuf>,
    main_class: &'static str,
    arguments: Vec<OsString>,
}

impl JavaCommand {
    pub(crate) fn of(launch: Launch<'_>) -> JavaCommand {
        let Launch { daemon, .. } = launch;
        let log = launch.log_configuration.map(absolute);
        let mut flags = Vec::new();
        if !launch.plain_jvm {
            flags = jvm_flags::flags(launch.archive, launch.jvm_args, launch.environment);
        }
        flags.push("-Dfile.encoding=UTF-8".into());
        flags.extend(log.as_deref().and_then(|log| daemon.log_flag(log)));
        flags.extend(launch.run_flags.iter().chain(launch.jvm_args).map(OsString::from));
        JavaCommand {
            java: launch.java.to_owned(),
            flags,
            class_path: class_path(launch.added_class_path, launch.jars, Some(launch.properties)),
            main_class: daemon.main_class(),
            arguments: daemon.arguments(&absolute(launch.properties_to_read), log.as_deref()),
        }
    }

    /// The program and its arguments, in order.
    pub(crate) fn argv(&self) -> Vec<OsString> {
        let mut argv = vec![self.java.clone().into()];
        argv.extend(self.flags.iter().cloned());
        argv.extend(["-cp".into(), join_class_path(&self.class_path), self.main_class.into()]);
        argv.extend(self.arguments.iter().cloned());
        argv
    }
}
