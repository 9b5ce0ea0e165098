//! What the tests of launching share.

use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) use kcl_fixtures::Stage;

/// A properties file without findings, which `run` need not change.
pub(crate) const GOOD: &str = "\
executableName = cat
streamName = words
applicationName = App
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
initialPositionInStream = TRIM_HORIZON
workerId = w
shutdownGraceMillis = 3000
timeoutInSeconds = 600
retrievalMode = POLLING
maxRecords = 100
";

/// Wraps a command so that it runs with another umask.
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

/// Fills the folder of a version with files of the right names and sizes, but no content.
pub(crate) fn fill_with_hollow_jars(stage: &Stage, version: &str) {
    let lock =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/launch/jars/locks/{version}.lock"));
    for line in fs::read_to_string(lock).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let jar = stage.write(format!("cache/jars/{version}/{}", words[1]), "");
        let file = fs::OpenOptions::new().write(true).open(jar).unwrap();
        file.set_len(words[2].parse().unwrap()).unwrap();
    }
}
