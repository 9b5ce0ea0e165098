//! Paths in the form that a JVM takes them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Returns the class path in kclpy's order: what the user adds, the jars, the folder of the properties
/// file. All of it is absolute, so that the command can be run from anywhere.
pub(crate) fn class_path(
    added: &[PathBuf],
    jars: Vec<PathBuf>,
    properties: Option<&Path>,
) -> Vec<PathBuf> {
    let mut class_path: Vec<PathBuf> = added.iter().map(|path| absolute(path)).collect();
    class_path.extend(jars);
    let folder = properties.map(absolute).and_then(|path| path.parent().map(Path::to_owned));
    class_path.extend(folder);
    class_path
}

/// Makes a path absolute without touching the disk. It stays as it is if the working directory is gone.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Joins paths as `java -cp` takes them. Java cannot escape a separator that is part of a path.
pub(crate) fn join_class_path(paths: &[PathBuf]) -> OsString {
    let paths: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
    paths.join(OsStr::new(if cfg!(windows) { ";" } else { ":" }))
}

/// Appends a path to a flag.
pub(crate) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}
