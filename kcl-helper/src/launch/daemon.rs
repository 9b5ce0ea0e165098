//! What differs between the daemon's versions, as data.

use std::ffi::OsString;
use std::path::Path;

use super::paths::flag;

use crate::error::{Error, Exit, Result};
use crate::properties::Version;

/// One version of the MultiLangDaemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Daemon {
    version: Version,
}

/// What a daemon logs with, which decides how the log level is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogSystem {
    Logback,
    /// The JDK's own logging, which the facade that 1.x ships falls back to.
    JavaUtil,
}

/// The versions that this crate has locks of, with the text of each lock, oldest first.
pub(crate) const LOCKS: [(Version, &str); 4] = [
    (Version::new(1, 15, 3), include_str!("jars/locks/1.15.3.lock")),
    (Version::new(2, 2, 0), include_str!("jars/locks/2.2.0.lock")),
    (Version::new(2, 5, 4), include_str!("jars/locks/2.5.4.lock")),
    (Version::new(3, 1, 3), include_str!("jars/locks/3.1.3.lock")),
];

impl Daemon {
    /// Chooses the daemon for a version as typed: for `2.x`, the newest one with a built-in lock.
    pub(crate) fn of(typed: Version) -> Result<Daemon> {
        if typed.is_exact() {
            return Ok(Daemon { version: typed });
        }
        let locked = LOCKS.map(|(version, _)| version);
        let newest = locked.into_iter().rev().find(|&locked| typed.covers(locked));
        newest.map(|version| Daemon { version }).ok_or_else(|| {
            let message = format!("cannot choose a daemon version: no lock matches {typed}");
            Error::new(Exit::Usage, message).hint(format!(
                "write all three parts of the version; kcl-helper has locks for {}",
                locked.map(|locked| locked.to_string()).join(", ")
            ))
        })
    }

    pub(crate) fn version(self) -> Version {
        self.version
    }

    /// Returns the Maven group and artifact of the jar with the main class.
    pub(crate) fn artifact(self) -> (&'static str, &'static str) {
        match self.version.major() {
            1 => ("com.amazonaws", "amazon-kinesis-client"),
            _ => ("software.amazon.kinesis", "amazon-kinesis-client-multilang"),
        }
    }

    pub(crate) fn main_class(self) -> &'static str {
        match self.version.major() {
            1 => "com.amazonaws.services.kinesis.multilang.MultiLangDaemon",
            _ => "software.amazon.kinesis.multilang.MultiLangDaemon",
        }
    }

    pub(crate) fn log_system(self) -> LogSystem {
        match self.version.major() {
            1 => LogSystem::JavaUtil,
            _ => LogSystem::Logback,
        }
    }

    /// Whether it has options; older daemons take the properties file as their only argument.
    fn takes_options(self) -> bool {
        self.version > Version::new(2, 2, 0)
    }

    /// Returns the JVM's flag for a log configuration, if the daemon has no option for it.
    pub(crate) fn log_flag(self, file: &Path) -> Option<OsString> {
        let property = match self.log_system() {
            LogSystem::Logback if self.takes_options() => return None,
            LogSystem::Logback => "-Dlogback.configurationFile=",
            LogSystem::JavaUtil => "-Djava.util.logging.config.file=",
        };
        Some(flag(property, file))
    }

    /// The daemon's own arguments.
    pub(crate) fn arguments(self, properties: &Path, log: Option<&Path>) -> Vec<OsString> {
        if !self.takes_options() {
            return vec![properties.into()];
        }
        let mut arguments = vec!["--properties-file".into(), properties.into()];
        if let Some(log) = log {
            arguments.extend(["--log-configuration".into(), log.into()]);
        }
        arguments
    }

    /// Returns the flag that makes the AWS SDK send JSON: emulators of Kinesis misread times in CBOR.
    pub(crate) fn cbor_off(self) -> &'static str {
        match self.version.major() {
            1 => "-Dcom.amazonaws.sdk.disableCbor=true",
            _ => "-Daws.cborEnabled=false",
        }
    }
}
