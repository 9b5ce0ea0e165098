//! What reaches a terminal of all that `kcl-helper` says and prints, whoever wrote it; and what becomes
//! of a run whose output nobody reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod harmful;
mod unread;

use std::ffi::OsStr;
use std::process::Command;

use kcl_fixtures::Stage;

/// Answers `-version`, then does what `$HOME/play` says.
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

/// With a stand-in for java, the jars that it needs, and a properties file.
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
