//! Which daemon: `--kcl-version`.

use std::fmt;
use std::str::FromStr;

/// A version of the KCL. A part that is missing, or `x`, means the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

/// A part that is missing. It is greater than any part that can be given.
const NEWEST: u16 = u16::MAX;

impl Version {
    /// The newest that the end-to-end suite runs.
    pub(crate) const DEFAULT: Version = Version::new(3, 1, 3);

    pub(crate) const fn new(major: u16, minor: u16, patch: u16) -> Version {
        Version { major, minor, patch }
    }

    pub(crate) fn major(self) -> u16 {
        self.major
    }

    /// Whether all three parts are given.
    pub(crate) fn is_exact(self) -> bool {
        self.minor != NEWEST && self.patch != NEWEST
    }

    /// Whether an exact version matches this one.
    pub(crate) fn covers(self, exact: Version) -> bool {
        self.major == exact.major
            && [exact.minor, NEWEST].contains(&self.minor)
            && [exact.patch, NEWEST].contains(&self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let wrong = || format!("`{text}` is not a version such as 3.1.3, 2.x or 1.15");
        let mut parts = [NEWEST; 3];
        let typed: Vec<&str> = text.split('.').collect();
        if typed.len() > parts.len() {
            return Err(wrong());
        }
        for (part, typed) in parts.iter_mut().zip(&typed) {
            if *typed == "x" {
                break;
            }
            *part = typed.parse().ok().filter(|part| *part != NEWEST).ok_or_else(wrong)?;
        }
        match parts {
            [major @ 1..=3, minor, patch] => Ok(Version { major, minor, patch }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { major, minor, patch } = self;
        match (*minor, *patch) {
            (NEWEST, _) => write!(f, "{major}.x"),
            (_, NEWEST) => write!(f, "{major}.{minor}.x"),
            _ => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}
