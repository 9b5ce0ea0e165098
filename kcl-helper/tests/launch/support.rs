//! A folder of its own for each test, the helper run in it, and what came of it as one text.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A test's own home, cache, PATH and working folder.
pub(crate) struct Stage {
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["bin", "home", "tmp"] {
            fs::create_dir(stage.path(folder)).unwrap();
        }
        stage
    }

    /// A path in the stage, without links in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // A cache that others can write to is refused, so the tester's umask must not make one.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{text}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The helper with nothing of this machine's environment but the system's own programs.
    pub(crate) fn helper(&self, arguments: &[&str]) -> Command {
        let mut command = kcl_fixtures::command(env!("CARGO_BIN_EXE_kcl-helper"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("KCL_HELPER_CACHE", self.path("cache"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if arguments.contains(&"jars") {
            // They would make an archive for this machine's java.
            command.env("JAVA_HOME", self.path("no-java"));
        }
        command
    }

    /// Runs the helper to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.outcome(&self.helper(arguments).output().unwrap())
    }

    /// Status, stdout and stderr, with the stage's folder and times out of the way.
    pub(crate) fn outcome(&self, output: &Output) -> String {
        let status = match output.status.code() {
            Some(code) => code.to_string(),
            None => output.status.to_string(),
        };
        let mut text = format!("status {status}\n");
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
            }
        }
        without_times(&self.without_folder(&text))
    }

    pub(crate) fn without_folder(&self, text: &str) -> String {
        let root = self.folder.path().canonicalize().unwrap();
        text.replace(root.to_str().unwrap(), "STAGE")
            .replace(env!("CARGO_BIN_EXE_kcl-helper"), "KCL_HELPER")
    }
}

/// The same command under another umask.
pub(crate) fn under_umask(umask: &str, inner: &Command) -> Command {
    let mut command = kcl_fixtures::command("sh");
    command
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(inner.get_current_dir().unwrap());
    command
}

/// `in 0.1s` is `in TIME`.
fn without_times(text: &str) -> String {
    let mut clean = String::new();
    for line in text.lines() {
        match line.rsplit_once(" in ") {
            Some((before, time))
                if time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                clean.push_str(&format!("{before} in TIME\n"));
            }
            _ => clean.push_str(&format!("{line}\n")),
        }
    }
    clean
}

/// Fills a version's folder with a lock of one jar and the jar.
pub(crate) fn fill_with_one_jar(stage: &Stage, version: &str) {
    let sum = "b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060";
    let lock = format!("g:alpha:1.0 alpha-1.0.jar 6 {sum}\n");
    stage.write(&format!("cache/jars/{version}/jars.lock"), &lock);
    stage.write(&format!("cache/jars/{version}/alpha-1.0.jar"), "alpha\n");
}

/// Fills a version's folder with files that have the right names and sizes, and nothing in them.
pub(crate) fn fill_with_hollow_jars(stage: &Stage, version: &str) {
    let lock =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/launch/jars/locks/{version}.lock"));
    for line in fs::read_to_string(lock).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let jar = stage.write(&format!("cache/jars/{version}/{}", words[1]), "");
        let file = fs::OpenOptions::new().write(true).open(jar).unwrap();
        file.set_len(words[2].parse().unwrap()).unwrap();
    }
}
