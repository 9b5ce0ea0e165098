//! All output of `kcl-helper`: that it is harmless for a terminal, and that nothing hangs if nobody reads it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod harmful;
mod unread;

use std::ffi::OsStr;
use std::process::Command;

use kcl_fixtures::Stage;

/// Answers `-version`, then runs the script `$HOME/play`.
const JAVA: &str = r#"
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

/// A stage with a fake java, its jars and a properties file.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.fill_with_one_jar("3.0.9");
    stage.write("app.properties", PROPERTIES);
    stage.script("bin/java", JAVA);
    stage
}

fn helper(stage: &Stage, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = stage.helper(&[]);
    command.args(arguments).env("KCL_HELPER_KCL_VERSION", "3.0.9").env("TERM", "xterm");
    command
}
