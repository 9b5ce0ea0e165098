//! What differs between the daemon's versions, as data.

use std::ffi::OsString;
use std::path::Path;

use super::command::flag;
use crate::error::{Error, Exit, Result};
use crate::properties::Version;

/// One version of the MultiLangDaemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Daemon {
    version: Version,
}

/// How a daemon writes its log, and so how its level is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogSystem {
    Logback,
    /// 1.x ships only a facade, which falls back to the JDK's own logging.
    JavaUtil,
}

/// The versions whose jars are locked in this crate, oldest first.
pub(crate) const LOCKED: [Version; 4] =
    [Version::new(1, 15, 3), Version::new(2, 2, 0), Version::new(2, 5, 4), Version::new(3, 1, 3)];

impl Daemon {
    /// The daemon of a version as typed: of `2.x` the newest one with a lock.
    pub(crate) fn of(typed: Version) -> Result<Daemon> {
        if typed.is_exact() {
            return Ok(Daemon { version: typed });
        }
        let version = LOCKED.into_iter().rev().find(|&locked| typed.covers(locked));
        version.map(|version| Daemon { version }).ok_or_else(|| {
            Error::new(Exit::Usage, format!("which {typed} is not said")).hint(format!(
                "give all three parts; kcl-helper knows the jars of {}",
                LOCKED.map(|locked| locked.to_string()).join(", ")
            ))
        })
    }

    pub(crate) fn version(self) -> Version {
        self.version
    }

    /// Group and name of the jar that holds the main class.
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

    /// Whether options are understood; older daemons take the properties file as a bare argument.
    fn takes_options(self) -> bool {
        self.version > Version::new(2, 2, 0)
    }

    /// The JVM's flag for a log configuration, where the daemon has no option of its own.
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

    /// The flag that makes the AWS SDK send JSON: stand-ins for Kinesis misread times in CBOR.
    pub(crate) fn cbor_off(self) -> &'static str {
        match self.version.major() {
            1 => "-Dcom.amazonaws.sdk.disableCbor=true",
            _ => "-Daws.cborEnabled=false",
        }
    }
}
