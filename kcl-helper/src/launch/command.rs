//! The command that starts a daemon: plain words, which are printed or run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// `java FLAGS -cp CLASSPATH MAIN ARGUMENTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JavaCommand {
    pub(crate) java: OsString,
    pub(crate) flags: Vec<OsString>,
    pub(crate) class_path: Vec<PathBuf>,
    pub(crate) main_class: &'static str,
    pub(crate) arguments: Vec<OsString>,
}

impl JavaCommand {
    /// The program and its arguments, in order.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = vec![self.java.clone()];
        words.extend(self.flags.iter().cloned());
        words.extend(["-cp".into(), join_class_path(&self.class_path), self.main_class.into()]);
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// The class path in kclpy's order: what the user names, the jars, the properties file's folder.
/// All of it absolute, so that the line may be run from anywhere.
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

/// An absolute path without touching the disk; only a lost working folder leaves it as it is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Joined as `java -cp` takes it. Java has no way to escape the separator in a path.
pub(crate) fn join_class_path(paths: &[PathBuf]) -> OsString {
    let paths: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
    paths.join(OsStr::new(if cfg!(windows) { ";" } else { ":" }))
}

/// A flag that ends in a path.
pub(crate) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}
