//! A lock: which jars a daemon needs, each with its size and checksum.
//!
//! One jar a line, `group:artifact:version file size sha256`, sorted by file name, which is also
//! their order on the class path. Lines that begin with `#` are comments.

use std::fmt;
use std::str::FromStr;

use crate::launch::daemon::{Daemon, LOCKS};
use crate::properties::Version;

/// The jars of one daemon, in class-path order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lock {
    jars: Vec<Jar>,
}

/// One jar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Jar {
    // First, because jars are ordered by it.
    pub(crate) file: String,
    pub(crate) group: String,
    pub(crate) artifact: String,
    pub(crate) version: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Jar {
    /// Returns where a Maven repository has the jar, relative to its root.
    pub(crate) fn repository_path(&self) -> String {
        let Jar { file, group, artifact, version, .. } = self;
        format!("{}/{artifact}/{version}/{file}", group.replace('.', "/"))
    }

    /// Returns what is between the version and `.jar`, such as `linux-x86_64` for netty's native parts.
    pub(crate) fn classifier(&self) -> Option<&str> {
        let rest = self.file.strip_prefix(&format!("{}-{}", self.artifact, self.version))?;
        rest.strip_suffix(".jar")?.strip_prefix('-')
    }
}

impl fmt::Display for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Jar { file, group, artifact, version, size, sha256 } = self;
        write!(f, "{group}:{artifact}:{version} {file} {size} {sha256}")
    }
}

impl Lock {
    pub(crate) fn new(mut jars: Vec<Jar>) -> Lock {
        jars.sort();
        Lock { jars }
    }

    /// Returns the built-in lock of a version.
    pub(crate) fn built_in(version: Version) -> Option<Lock> {
        let (_, text) = LOCKS.into_iter().find(|(locked, _)| *locked == version)?;
        // A test reads all of them.
        Some(text.parse().expect("the locks in this crate are well-formed"))
    }

    pub(crate) fn jars(&self) -> &[Jar] {
        &self.jars
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.jars.iter().map(|jar| jar.size).sum()
    }

    /// Returns the lock as the text of a file.
    pub(crate) fn to_text(&self, daemon: Daemon) -> String {
        let (group, artifact) = daemon.artifact();
        let mut text =
            format!("# {group}:{artifact}:{} and all it needs to run\n", daemon.version());
        for jar in &self.jars {
            text.push_str(&format!("{jar}\n"));
        }
        text
    }
}

/// A line of a lock that is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is invalid: it is not `group:artifact:version file size sha256`")]
pub(crate) struct LockError {
    line: usize,
}

impl FromStr for Lock {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Lock, LockError> {
        let mut jars = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            jars.push(read_jar(line).ok_or(LockError { line: index + 1 })?);
        }
        Ok(Lock::new(jars))
    }
}

fn read_jar(line: &str) -> Option<Jar> {
    let [coordinates, file, size, sha256] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let parts = coordinates.split(':').map(str::to_owned).collect::<Vec<_>>();
    let [group, artifact, version] = parts.try_into().ok()?;
    // A file gets this name, so it must not leave its folder or be split on a class path.
    let is_name = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
        !text.is_empty() && !text.starts_with('.') && text.bytes().all(fits)
    };
    let is_sum =
        sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let fits = is_sum && [&group, &artifact, &version, file].into_iter().all(is_name);
    fits.then_some(Jar {
        file: file.to_owned(),
        group,
        artifact,
        version,
        size: size.parse().ok()?,
        sha256: sha256.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_built_in_lock_names_its_own_daemon() {
        for (version, _) in LOCKS {
            let daemon = Daemon::of(version).unwrap();
            let lock = Lock::built_in(version).unwrap();
            let (group, artifact) = daemon.artifact();
            assert!(lock.jars().iter().any(|jar| jar.group == group
                && jar.artifact == artifact
                && jar.version == version.to_string()));
            assert!(lock.jars().windows(2).all(|pair| pair[0].file < pair[1].file), "{version}");
        }
        assert_eq!(Lock::built_in(Version::new(3, 0, 0)), None);
    }

    #[test]
    fn invalid_line_is_an_error_with_its_number() {
        let sum = "0".repeat(64);
        for line in [
            "g:a:1 a-1.jar 12".to_owned(),
            format!("g:a a-1.jar 12 {sum}"),
            format!("g:a:1 ../a-1.jar 12 {sum}"),
            format!("g:a:1 x:y.jar 12 {sum}"),
            format!("g:a:1 a\tb.jar 12 {sum}"),
            format!("g:a:1 a-1.jar many {sum}"),
            format!("g:a:1 a-1.jar 12 {}", "Z".repeat(64)),
            format!("g:a:1 a-1.jar 12 {sum} more"),
        ] {
            let error = format!("# comment\n\n{line}\n").parse::<Lock>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "line 3 is invalid: it is not `group:artifact:version file size sha256`"
            );
        }
    }

    #[test]
    fn paths_and_classifiers_follow_maven() {
        let sum = "0".repeat(64);
        let line = format!("io.n:epoll:4.1 epoll-4.1-linux-x86_64.jar 1 {sum}\n");
        let lock: Lock = line.parse().unwrap();
        let jar = &lock.jars()[0];
        assert_eq!(jar.repository_path(), "io/n/epoll/4.1/epoll-4.1-linux-x86_64.jar");
        assert_eq!(jar.classifier(), Some("linux-x86_64"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            jars in proptest::collection::vec(
                ("[a-z.]{1,9}", "[a-z-]{1,9}", "[0-9][0-9.]{0,5}", any::<u64>(), "[0-9a-f]{64}"),
                0..5,
            )
        ) {
            let jars = jars.into_iter().filter(|jar| !jar.0.starts_with('.')).map(|jar| Jar {
                file: format!("{}-{}.jar", jar.1, jar.2),
                group: jar.0, artifact: jar.1, version: jar.2, size: jar.3, sha256: jar.4,
            });
            let lock = Lock::new(jars.collect());
            let text = lock.to_text(Daemon::of(Version::DEFAULT).unwrap());
            prop_assert_eq!(text.parse::<Lock>().unwrap(), lock);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[ -~\n]{0,200}") {
            let _ = text.parse::<Lock>();
        }
    }
}
