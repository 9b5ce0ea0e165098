//! What reaches a terminal of all that `kcl-helper` says and prints, whoever wrote it; and what becomes
//! of a run whose output nobody reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod harmful;
mod unread;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Answers `-version`, then does what `$HOME/play` says.
const JAVA: &str = r#"#!/bin/sh
if [ "$1" = -version ]; then echo 'openjdk version "17.0.9" 2023-10-17' >&2; exit 0; fi
. "$HOME/play"
"#;

const PROPERTIES: &str = "\
executableName = cat
streamName = words
applicationName = App
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
initialPositionInStream = TRIM_HORIZON
";

/// A home with a stand-in for java, the jars that it needs, and a properties file.
struct Stage(TempDir);

impl Stage {
    fn new() -> Stage {
        let stage = Stage(tempfile::tempdir().unwrap());
        let sum = "b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060";
        stage.write("cache/jars/3.0.9/jars.lock", format!("g:alpha:1.0 alpha-1.0.jar 6 {sum}\n"));
        stage.write("cache/jars/3.0.9/alpha-1.0.jar", "alpha\n");
        stage.write("app.properties", PROPERTIES);
        stage.program("java", JAVA);
        stage.write("tmp/.keep", "");
        stage
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        // A cache that others can write to is refused, whatever the tester's umask.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// A program that is found by its name.
    fn program(&self, name: &str, script: &str) {
        let path = self.write(Path::new("bin").join(name), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `kcl-helper` with nothing of this machine's environment but the system's own programs.
    fn helper<T: AsRef<std::ffi::OsStr>>(&self, arguments: &[T]) -> Command {
        let mut command = kcl_fixtures::command(env!("CARGO_BIN_EXE_kcl-helper"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path(""))
            .env("TMPDIR", self.path("tmp"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("KCL_HELPER_CACHE", self.path("cache"))
            .env("KCL_HELPER_KCL_VERSION", "3.0.9")
            .env("TERM", "xterm")
            .current_dir(self.path(""))
            .stdin(Stdio::null());
        command
    }
}

/// The processor that misbehaves, which cargo builds beside the program.
fn awkward() -> String {
    let helper = Path::new(env!("CARGO_BIN_EXE_kcl-helper"));
    let path = helper.with_file_name("examples").join("awkward_child");
    assert!(path.exists(), "cargo build -p kcl-helper --examples");
    path.to_str().unwrap().to_owned()
}
