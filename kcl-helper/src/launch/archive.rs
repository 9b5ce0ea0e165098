//! A class-data archive: the daemon's classes in the form that the JVM has them in memory.
//!
//! Loading and verifying classes is half of the cost of a daemon's start. The archive is created once for
//! each Java and daemon version, from a list of the classes that a real run loaded until its graceful stop
//! (`archive-classes.txt`), so it needs no network and starts no daemon. The list is what
//! `-XX:DumpLoadedClassList` wrote, sorted, without comments and ids. A JVM that cannot use an archive, for
//! example because of another class path, starts without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::jars::{Jars, hexadecimal, megabytes};
use super::java::Java;
use super::paths::{flag, join_class_path};
use crate::error::Result;
use crate::files::{is_regular_file, publish, replace_private_file};
use crate::guardian::Guardian;
use crate::output::Reporter;
use crate::secret::Masked;

/// The JVM ignores classes that it does not find.
const CLASSES: &str = include_str!("archive-classes.txt");
/// The oldest Java that this was tested with.
const OLDEST_JAVA: u32 = 17;

/// Returns the path of the archive for this Java, which is beside the jars.
fn path(jars: &Jars, java: &Java) -> PathBuf {
    // Builds cannot read each other's archives, and may differ only in their banner.
    let build = hexadecimal(&Sha256::digest(&java.banner));
    jars.folder().join(format!("java-{}-{}.jsa", java.version, &build[..8]))
}

/// Returns the path of the archive, if there is one.
pub(crate) fn present(jars: &Jars, java: &Java) -> Option<PathBuf> {
    Some(path(jars, java)).filter(|path| is_regular_file(path))
}

/// Creates the archive, unless it exists and the jars have not changed. It only saves time, so a failure
/// is a warning.
pub(crate) fn create_if_needed(
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
    reporter.say(&format!("creating a class-data archive for Java {}, once", java.version));
    let created = jars
        .while_locked(guardian, reporter, |unfinished| create(jars, java, unfinished, guardian))?;
    match created {
        Ok(size) => {
            let (size, seconds) = (megabytes(size), start.elapsed().as_secs_f64());
            reporter.say(&format!("{size} created in {seconds:.1}s"));
        }
        Err(why) => {
            reporter.warn(&format!("no class-data archive, so the daemon starts slower: {why}"));
        }
    }
    Ok(())
}

/// Creates the archive in a folder for unfinished files, then moves it beside the jars. Returns its size
/// in bytes.
fn create(jars: &Jars, java: &Java, unfinished: &Path, guardian: &Guardian) -> Result<u64, String> {
    let list = unfinished.join("classes.txt");
    let archive = unfinished.join("archive.jsa");
    replace_private_file(&list, CLASSES.as_bytes()).map_err(|error| error.to_string())?;
    let argv = vec![
        java.path.clone().into(),
        "-Xshare:dump".into(),
        flag("-XX:SharedClassListFile=", &list),
        flag("-XX:SharedArchiveFile=", &archive),
        "-cp".into(),
        join_class_path(&jars.present().0),
    ];
    let output = guardian.output(argv).map_err(|error| error.to_string())?;
    if !output.status.success() || !archive.is_file() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = Masked::of_text(stderr.lines().last().unwrap_or("nothing"));
        return Err(format!("java ended with {} and wrote: {line}", output.status));
    }
    let size = fs::metadata(&archive).map_or(0, |found| found.len());
    publish(&archive, &path(jars, java)).map_err(|error| error.to_string())?;
    Ok(size)
}
