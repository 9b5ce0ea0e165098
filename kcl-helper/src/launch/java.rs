//! Finds the java program where its users expect it, and asks it for its version.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::guardian::Guardian;
use crate::secret::Masked;

/// The oldest Java that any daemon runs on.
const OLDEST: u32 = 8;

/// A java program that has told its version.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    pub(crate) path: PathBuf,
    pub(crate) origin: Origin,
    /// As java prints it: `17.0.12`, `1.8.0_392`.
    pub(crate) version: String,
    /// 8, 11, 17 …
    pub(crate) major: u32,
    /// All output of `java -version`, which differs between builds of one version.
    pub(crate) banner: String,
}

/// What named the java program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Option,
    JavaHome,
    Path,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Option => "--java",
            Origin::JavaHome => "JAVA_HOME",
            Origin::Path => "PATH",
        })
    }
}

impl Java {
    /// Finds the java to run: `--java`, else that of JAVA_HOME, else the first in PATH. If the one that
    /// the user names does not work, that is an error: falling back to another one would hide it.
    pub(crate) fn find(
        option: Option<&Path>,
        environment: &Environment,
        guardian: &Guardian,
    ) -> Result<Java> {
        let (path, origin) = match (option, environment.variable("JAVA_HOME")) {
            (Some(path), _) => (path.to_owned(), Origin::Option),
            (None, Some(home)) => (Path::new(home).join("bin").join("java"), Origin::JavaHome),
            (None, None) => (PathBuf::from("java"), Origin::Path),
        };
        let java = Java::ask(&path, origin, guardian)?;
        if java.major < OLDEST {
            let message = format!("cannot use {} ({origin})", path.display());
            let cause = format!("it is Java {}, and the daemon needs Java {OLDEST}", java.version);
            return Err(Error::new(Exit::Environment, message).because(cause).hint(INSTALL));
        }
        Ok(java)
    }

    /// Runs `java -version`.
    pub(crate) fn ask(path: &Path, origin: Origin, guardian: &Guardian) -> Result<Java> {
        let failed = |why: String| {
            let message = format!("cannot use {} ({origin})", path.display());
            Error::new(Exit::Environment, message).because(why).hint(INSTALL)
        };
        let output = guardian
            .output(vec![path.into(), "-version".into()])
            .map_err(|error| failed(error.to_string()))?;
        // java answers on stderr, perhaps after a line `Picked up JAVA_TOOL_OPTIONS`.
        let mut banner = String::from_utf8_lossy(&output.stderr).into_owned();
        banner.push_str(&String::from_utf8_lossy(&output.stdout));
        match read_version(&banner) {
            Some((version, major)) if output.status.success() => {
                Ok(Java { path: path.to_owned(), origin, version, major, banner })
            }
            _ => {
                // The line may quote secrets in JAVA_TOOL_OPTIONS.
                let line = Masked::of_text(banner.lines().next().unwrap_or("nothing").trim());
                Err(failed(format!(
                    "`java -version` ended with {} and wrote: {line}",
                    output.status
                )))
            }
        }
    }
}

const INSTALL: &str = "install a Java runtime, 17 or newer, or name one with --java or JAVA_HOME";

/// Reads the version and its major version from a line such as `java version "1.8.0_392"`.
fn read_version(banner: &str) -> Option<(String, u32)> {
    let version = banner.lines().find_map(|line| {
        let (_, rest) = line.split_once(" version \"")?;
        Some(rest.split_once('"')?.0)
    })?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let first: u32 = parts.next()?.parse().ok()?;
    // Up to Java 8 the first part was 1.
    let major = if first == 1 { parts.next()?.parse().ok()? } else { first };
    Some((version.to_owned(), major))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_formats_of_old_and_new_javas_are_read() {
        #[track_caller]
        fn check(banner: &str, expected: Option<(&str, u32)>) {
            let expected = expected.map(|(version, major)| (version.to_owned(), major));
            assert_eq!(read_version(banner), expected);
        }
        check("openjdk version \"17.0.15\" 2025-04-15\nmore", Some(("17.0.15", 17)));
        check("java version \"1.8.0_392\"", Some(("1.8.0_392", 8)));
        check("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"25\"", Some(("25", 25)));
        check("openjdk version \"24-ea\" 2025-03-18", Some(("24-ea", 24)));
        check("openjdk version \"1\"", None);
        check("command not found", None);
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic(banner in "(openjdk version \")?[0-9.\"a\n_-]{0,20}") {
            read_version(&banner);
        }
    }
}
