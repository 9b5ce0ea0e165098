//! Runs `kcl-helper check`: each file of `tests/check/` is one case, and its whole output is a
//! snapshot. A comment `#$ …` in a file adds arguments, `#$ NAME=VALUE` a variable.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails its test")]

use std::path::Path;
use std::process::{Command, Output};

/// What is said of the default version.
const NOTE: &str = "note: daemon 3.1.3 can stall or lose leases: see #1669, #1718, #1765, #1788, #1744 of \
                    amazon-kinesis-client; all are fixed in 3.5.1\n";

/// A command with neither the environment nor the home folder of this machine.
fn kcl_helper() -> Command {
    let mut command = kcl_fixtures::scrubbed(env!("CARGO_BIN_EXE_kcl-helper"));
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    command.current_dir(&tests).env("HOME", tests.join("check/no-home"));
    command.env("PATH", tests.join("check/bin"));
    command
}

fn show(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = output.status.code().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    format!("status: {status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// Runs with these arguments, which blanks separate.
#[track_caller]
fn run(arguments: &str) -> String {
    show(&kcl_helper().args(arguments.split_whitespace()).output().unwrap())
}

#[test]
fn each_file_has_the_findings_of_its_snapshot() {
    insta::glob!("check/*.properties", |path| {
        let bytes = std::fs::read(path).unwrap();
        let mut command = kcl_helper();
        command.arg("check").arg(format!("check/{}", path.file_name().unwrap().to_str().unwrap()));
        for line in String::from_utf8_lossy(&bytes).lines() {
            for word in line.strip_prefix("#$").unwrap_or_default().split_whitespace() {
                match word.split_once('=') {
                    Some((name, value))
                        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') =>
                    {
                        command.env(name, value);
                    }
                    _ => {
                        command.arg(word);
                    }
                }
            }
        }
        insta::assert_snapshot!("file", show(&command.output().unwrap()));
    });
}

#[test]
fn clean_file_prints_nothing_to_stdout() {
    assert_eq!(
        run("check check/clean.properties"),
        format!(
            "status: 0\n--- stdout\n--- stderr\n{NOTE}check/clean.properties: no errors, no warnings\n"
        )
    );
    assert_eq!(run("check -qq check/clean.properties"), "status: 0\n--- stdout\n--- stderr\n");
}

#[test]
fn warnings_fail_only_with_deny_warnings() {
    assert!(run("check check/unknown-key.properties").starts_with("status: 0\n"));
    assert!(run("check check/unknown-key.properties --deny-warnings").starts_with("status: 1\n"));
    let allowed = "check check/unknown-key.properties --deny-warnings --allow unknown-key";
    assert!(run(allowed).starts_with("status: 0\n"));
}

#[test]
fn invalid_files_and_options_exit_with_2() {
    insta::assert_snapshot!("missing-file", run("check check/no-such.properties"));
    insta::assert_snapshot!("allow-error", run("check check/clean.properties --allow bad-choice"));
    insta::assert_snapshot!("set-shape", run("check check/clean.properties --set metricsLevel"));
    insta::assert_snapshot!("bad-version", run("check check/clean.properties --kcl-version 4"));
    insta::assert_snapshot!("no-file", run("check"));
}

#[test]
fn endless_input_is_refused() {
    let refused = |name| {
        format!(
            "status: 2\n--- stdout\n--- stderr\nerror: cannot read {name}: it has more than 4 MiB\n"
        )
    };
    assert_eq!(run("check /dev/zero"), refused("/dev/zero"));
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    let output = kcl_helper().args(["check", "-"]).stdin(zeros).output().unwrap();
    assert_eq!(show(&output), refused("stdin"));
}

/// Checks the clean file with more lines and these arguments.
fn check_with(more: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let clean =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/clean.properties"));
    let text = format!("{}{more}", String::from_utf8(clean.unwrap()).unwrap());
    std::fs::write(folder.path().join("app.properties"), text).unwrap();
    let mut command = kcl_helper();
    command.current_dir(&folder).args(["check", "app.properties"]).args(arguments);
    show(&command.output().unwrap())
}

#[test]
fn only_the_first_hundred_findings_of_a_kind_are_shown() {
    let many: String = (0..3_000).map(|n| format!("zq{n}zq = 1\n")).collect();
    let shown = check_with(&many, &[]);
    assert_eq!(shown.matches("warning[unknown-key]").count(), 101);
    let last = "\
warning[unknown-key]: 2900 more findings of this kind are not shown
   --> app.properties:110:1
    |
110 | zq100zq = 1
    | ^^^^^^^
    |
    = hint: correct those that are shown, then check again

";
    let end = format!("{last}--- stderr\n{NOTE}app.properties: no errors, 3000 warnings\n");
    assert!(shown.ends_with(&end), "{shown}");
    let json = check_with(&many, &["--format", "json"]);
    assert_eq!(json.matches("\"unknown-key\"").count(), 101);
    let last = "{\"file\":\"app.properties\",\"line\":110,\"column\":1,\"end_line\":110,\"end_column\":8,\
                \"severity\":\"warning\",\"name\":\"unknown-key\",\"message\":\"2900 more findings of this \
                kind are not shown\",\"label\":\"\",\"hint\":\"correct those that are shown, then check \
                again\"}\n]\n";
    let end = format!("{last}--- stderr\n{NOTE}app.properties: no errors, 3000 warnings\n");
    assert!(json.ends_with(&end), "{json}");
    // If just one would be left out, it is shown.
    let few: String = (0..101).map(|n| format!("zq{n}zq = 1\n")).collect();
    assert_eq!(check_with(&few, &[]).matches("no such key").count(), 101);
}

/// Many findings on one line: each is shown with the text around it, and its own column.
#[test]
fn long_line_is_shown_in_part() {
    let list = format!("AwsCredentialsProvider = Default,{}", "nothing,".repeat(30_000));
    let shown = check_with(&list, &["--set", "AwsCredentialsProvider=a"]);
    assert!(shown.len() < 10_000, "{shown}");
    let shown = check_with(&list, &[]);
    assert!(shown.len() < 100_000, "{}", shown.len());
    let last = "\
error[no-credentials-provider]: 29901 more findings of this kind are not shown
  --> app.properties:10:826
   |
10 | ...,nothing,nothing,nothing,nothing,nothing,nothing,nothing,nothing,nothing,nothing,nothing,...
   |                                             ^^^^^^^
   |
   = hint: correct those that are shown, then check again
";
    assert!(shown.contains(last), "{shown}");
}

#[test]
fn long_keys_and_values_are_shown_in_part() {
    let long = "v".repeat(100_000);
    for (text, title) in [
        (format!("{long} = 1\n"), "warning[unknown-key]: the daemon ignores `vvv"),
        (format!("regionName = {long}_\n"), "error[bad-region]: the daemon stops: \"vvv"),
        (format!("maxRecords = {long}\n"), "warning[number-falls-back]"),
    ] {
        let shown = check_with(&text, &[]);
        assert!(shown.contains(title) && shown.len() < 5_000, "{shown}");
        let shown = check_with(&text, &["--format", "json"]);
        assert!(shown.len() < 5_000, "{shown}");
    }
}

/// Would not end if the work grew faster than the file.
#[test]
fn large_files_are_checked_in_linear_time() {
    const MANY: usize = 20_000;
    // One key in as many combinations of upper and lower case as there are numbers.
    let spelling = |number: usize| -> String {
        let cased = |(bit, letter): (usize, char)| match number >> bit & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter.to_ascii_lowercase(),
        };
        "AwsCredentialsProvider".chars().enumerate().map(cased).collect()
    };
    let spellings: String = (0..MANY)
        .map(|number| {
            let service = ["DynamoDB", "CloudWatch"][number * 2 / MANY];
            format!("{}{service} = DefaultCredentialsProvider\n", spelling(number))
        })
        .collect();
    let role = "AwsCredentialsProviderDynamoDB = StsAssumeRoleCredentialsProvider|a|b";
    for (shape, text, summary) in [
        (
            "unknown keys",
            (0..MANY).map(|n| format!("failoverTime{n} = 1\n")).collect(),
            "no errors, 20000 warnings",
        ),
        ("one key", "maxRecords = 1\n".repeat(MANY), "no errors, 19999 warnings"),
        (
            "providers",
            format!("AwsCredentialsProviderDynamoDB = {}", "DefaultCredentials,".repeat(MANY)),
            "20000 errors",
        ),
        ("arguments", format!("{role}{}", "|x".repeat(MANY)), "no errors, 20001 warnings"),
        ("words", format!("executableName = {}", "a ".repeat(MANY)), "1 error, 1 warning"),
        ("lines of one value", format!("a = {}", "b\\\n".repeat(MANY)), "no errors, 1 warning"),
        ("spellings", spellings, "19998 errors"),
    ] {
        for arguments in [&["--format", "json"][..], &["--effective"]] {
            let shown = check_with(&text, arguments);
            let found = shown.lines().last().unwrap();
            assert_eq!(found, format!("app.properties: {summary}"), "{shape}");
            let properties = if shape == "unknown keys" { MANY } else { 0 };
            let bound = 150_000 + properties * 120;
            assert!(shown.len() < bound, "{shape}: {}", shown.len());
        }
    }
}

#[test]
fn long_value_does_not_widen_other_rows_of_the_table() {
    let short = check_with("workerId = v\n", &["--effective"]);
    let rows = |shown: &str| -> Vec<String> {
        shown
            .lines()
            .filter(|line| !line.starts_with("workerIdentifier "))
            .map(str::to_owned)
            .collect()
    };
    let long = "v".repeat(100_000);
    let shown = check_with(&format!("workerId = {long}\n"), &["--effective"]);
    assert_eq!(rows(&shown), rows(&short));
    let half = "v".repeat(500);
    let row = format!("workerIdentifier  {half}…{half}  app.properties:10");
    let found = shown.lines().find(|line| line.starts_with("workerIdentifier ")).unwrap();
    assert_eq!(found.split_whitespace().collect::<Vec<_>>().join("  "), row);
    let json = check_with(&format!("workerId = {long}\n"), &["--effective", "--format", "json"]);
    assert!(json.contains(&format!("\"workerIdentifier\",\"value\":\"{long}\"")));
    let shown = check_with(&format!("{long} = 1\n"), &["--effective"]);
    let row = format!("{half}…{half}  -");
    assert!(shown.lines().any(|line| line.starts_with(&row)), "{shown}");
}

#[test]
fn json_has_one_finding_a_line() {
    insta::assert_snapshot!("json", run("check check/trailing-blank.properties --format json"));
    let clean = run("check check/clean.properties --format json");
    assert!(clean.contains("--- stdout\n[]\n---"), "{clean}");
}

#[test]
fn github_format_has_one_command_a_finding() {
    insta::assert_snapshot!("github", run("check check/trailing-blank.properties --format github"));
    let mut command = kcl_helper();
    command.args(["check", "check/trailing-blank.properties"]).env("GITHUB_ACTIONS", "true");
    let by_itself = show(&command.output().unwrap());
    assert_eq!(by_itself, run("check check/trailing-blank.properties --format github"));
}

#[test]
fn several_files_are_checked_in_one_run() {
    insta::assert_snapshot!(
        "several",
        run(
            "check check/clean.properties check/short-timeout.properties check/bad-number.properties"
        )
    );
}

#[test]
fn stdin_has_the_given_name() {
    let run = |arguments: &[&str]| {
        let file = std::fs::File::open(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/short-timeout.properties"),
        );
        let mut command = kcl_helper();
        show(&command.args(arguments).stdin(file.unwrap()).output().unwrap())
    };
    insta::assert_snapshot!("stdin", run(&["check", "-", "--stdin-filepath", "app.properties"]));
    assert!(run(&["check", "-"]).contains("<stdin>:"));
}

#[test]
fn set_overrides_the_file() {
    insta::assert_snapshot!(
        "set",
        run("check check/clean.properties --set metricsLevel=SOME --set timeoutInSeconds=5")
    );
}

#[test]
fn effective_lists_every_property_with_its_origin() {
    insta::assert_snapshot!(
        "effective",
        run("check --effective check/effective.properties --set streamName=other")
    );
    insta::assert_snapshot!(
        "effective-refused",
        run("check --effective check/bad-escape.properties")
    );
    insta::assert_snapshot!(
        "effective-json",
        run("check --effective --format json check/clean.properties")
    );
    insta::assert_snapshot!(
        "effective-1.15",
        run("check --effective --kcl-version 1.15 check/before-3.properties")
    );
}

#[test]
fn effective_reads_the_environment() {
    let mut command = kcl_helper();
    command.args(["check", "--effective", "check/no-region.properties"]);
    command.args(["--jvm-arg", "-Daws.endpointUrlDynamodb=http://127.0.0.1:8000"]);
    command.env("AWS_REGION", "eu-west-1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");
    let output = show(&command.output().unwrap());
    let of = |key: &str| {
        output
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(of("regionName "), "regionName eu-west-1 AWS_REGION of the environment");
    assert_eq!(
        of("kinesisEndpoint "),
        "kinesisEndpoint http://127.0.0.1:4566 AWS_ENDPOINT_URL of the environment"
    );
    assert_eq!(
        of("dynamoDbClient.endpointOverride "),
        "dynamoDbClient.endpointOverride http://127.0.0.1:8000 -Daws.endpointUrlDynamodb as dynamoDBEndpoint"
    );
}

#[test]
fn region_is_found_where_the_sdk_finds_it() {
    let warns = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = kcl_helper();
        command.args(["check", "check/no-region.properties"]).args(arguments);
        if !name.is_empty() {
            command.env(name, value);
        }
        show(&command.output().unwrap()).contains("[no-region]")
    };
    assert!(warns("", "", &[]));
    assert!(warns("AWS_DEFAULT_REGION", "us-east-1", &[]));
    assert!(warns("AWS_PROFILE", "other", &[]));
    assert!(warns("AWS_CONFIG_FILE", "/dev/zero", &[]));
    assert!(!warns("AWS_REGION", "us-east-1", &[]));
    assert!(!warns("AWS_CONFIG_FILE", "check/profile/config", &[]));
    assert!(!warns("AWS_SHARED_CREDENTIALS_FILE", "check/profile/credentials", &[]));
    assert!(!warns("JAVA_TOOL_OPTIONS", "-Xmx1g -Daws.region=us-east-1", &[]));
    assert!(!warns("", "", &["--jvm-arg", "-Daws.region=us-east-1"]));
    assert!(!warns("AWS_CONFIG_FILE", "check/profile/config", &["--jvm-arg=-Daws.profile=named"]));
    assert!(warns("AWS_CONFIG_FILE", "check/profile/config", &["--jvm-arg=-Daws.profile=nobody"]));
}

#[test]
fn explain_knows_keys_and_findings() {
    insta::assert_snapshot!("explain-key", run("check --explain maxRecords"));
    insta::assert_snapshot!("explain-dropped", run("check --explain RetrievalMode"));
    insta::assert_snapshot!(
        "explain-choice",
        run("check --explain clientVersionConfig --format json")
    );
    insta::assert_snapshot!("explain-finding", run("check --explain trailing-blank"));
    insta::assert_snapshot!("explain-finding-json", run("check --explain no-region --format json"));
    insta::assert_snapshot!("explain-unknown", run("check --explain timeoutInSecond"));
}

#[test]
fn help_is_as_its_snapshot() {
    insta::assert_snapshot!("help", run("check --help"));
}
