//! A class-data archive: the daemon's classes as the JVM holds them once they are loaded.
//!
//! Loading and verifying some 7,000 classes is half of what a daemon's start costs. The archive is
//! made once for a Java and a version, from a list of the classes that a real run has loaded up to
//! its graceful stop (`archive-classes.txt`), so making it needs no network and starts no daemon.
//! The list is what `-XX:DumpLoadedClassList` wrote, sorted, without its comments and ids. Its
//! `@lambda` lines are worth a tenth of the start: the SDK makes 1,900 classes from lambdas.
//! A JVM that finds an archive unfit, for another class path say, goes on without it.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::command::join_class_path;
use super::jars::{Jars, hexadecimal, megabytes};
use super::java::Java;
use crate::error::Result;
use crate::files::{is_regular_file, publish, replace_private_file};
use crate::guardian::Guardian;
use crate::output::Reporter;
use crate::secret::Masked;

/// Classes that a version or a Java does not have are left out.
const CLASSES: &str = include_str!("archive-classes.txt");
/// The oldest Java that this is proved with.
const OLDEST_JAVA: u32 = 17;

/// Where the archive for this Java belongs: beside the jars.
fn path(jars: &Jars, java: &Java) -> PathBuf {
    // The whole answer tells builds apart, which cannot read each other's archives.
    let build = hexadecimal(&Sha256::digest(&java.banner));
    jars.folder().join(format!("java-{}-{}.jsa", java.version, &build[..8]))
}

/// The archive, where there is one.
pub(crate) fn present(jars: &Jars, java: &Java) -> Option<PathBuf> {
    Some(path(jars, java)).filter(|path| is_regular_file(path))
}

/// Makes the archive, unless it is there and the jars are those that it was made from. It only
/// saves time, so what goes wrong is a word and not a failure.
pub(crate) fn make(
    jars: &Jars,
    java: &Java,
    jars_changed: bool,
    guardian: &Guardian,
    reporter: &Reporter,
) -> Result<()> {
    if present(jars, java).is_some() && !jars_changed {
        return Ok(());
    }
    if java.major < OLDEST_JAVA || jars.daemon().version().major() == 1 {
        reporter.detail(&format!(
            "no class-data archive: it needs Java {OLDEST_JAVA} and a daemon from 2.0"
        ));
        return Ok(());
    }
    let start = Instant::now();
    reporter.say(&format!("making a class-data archive for Java {}, once", java.version));
    let made = jars.while_locked(guardian, reporter, |unfinished| {
        let list = unfinished.join("classes.txt");
        let archive = unfinished.join("archive.jsa");
        replace_private_file(&list, CLASSES.as_bytes()).map_err(|error| error.to_string())?;
        let words = vec![
            java.path.clone().into(),
            "-Xshare:dump".into(),
            super::command::flag("-XX:SharedClassListFile=", &list),
            super::command::flag("-XX:SharedArchiveFile=", &archive),
            "-cp".into(),
            join_class_path(&jars.present().0),
        ];
        let output = guardian.output(words).map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !archive.is_file() {
            let last = Masked::of_text(said.lines().last().unwrap_or("nothing"));
            return Err(format!("java ended with {} and said: {last}", output.status));
        }
        let size = fs::metadata(&archive).map_or(0, |found| found.len());
        publish(&archive, &path(jars, java)).map_err(|error| error.to_string())?;
        Ok(size)
    })?;
    match made {
        Ok(size) => {
            reporter.say(&format!(
                "{} made in {:.1}s",
                megabytes(size),
                start.elapsed().as_secs_f64()
            ));
        }
        Err(why) => {
            reporter.warn(&format!("no class-data archive, so the daemon starts slower: {why}"));
        }
    }
    Ok(())
}
