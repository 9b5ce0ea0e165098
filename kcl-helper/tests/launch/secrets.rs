//! Puts a secret wherever one may occur, and looks for it in every output.

use std::fs;

use crate::support::{GOOD, Stage};

/// Contains no four characters that occur anywhere else.
const SECRET: &str = "kV9xQ2mWzpL4nR8tYb3H";

/// All that `check` can print of a file.
const CHECKS: [&[&str]; 5] = [
    &["check"],
    &["check", "--format", "json"],
    &["check", "--format", "github"],
    &["check", "--effective"],
    &["check", "--effective", "--format", "json"],
];

const JAVA: &str = r#"
if [ "$1" = -version ]; then
  [ -n "$JAVA_TOOL_OPTIONS" ] && { echo "Picked up JAVA_TOOL_OPTIONS: $JAVA_TOOL_OPTIONS" >&2; exit 1; }
  echo 'openjdk version "17.0.9" 2023-10-17' >&2; exit 0
fi
for word; do case $word in *.properties) cat "$word" > "$HOME/file" ;; esac; done
"#;

/// Lines of a properties file, with `$` for the secret. They replace lines of `GOOD` with the same key.
const LINES: &[&str] = &[
    "awsSecretKey = $",
    "dbPassword: $",
    "db_password $",
    "db\\u0050assword=$",
    "dbPassword = \\\n   $",
    "dbPassword = $ ",
    "dbPassword = é$é",
    "dbPassword = $$NAME",
    "dbPassword = 1\ndbPassword = $",
    "dbPassword = $\ndbPassword = 1",
    "#dbPassword = $\ncolour = red",
    "# dbPassword = $\ncolour = red",
    "AwsCredentialsProvider = com.example.Static|AKIAIOSFODNN7EXAMPLE|$",
    "AwsCredentialsProvider = com.example.Static|a|a,$",
    "AwsCredentialsProvider = NoSuchProvider|$",
    "AwsCredentialsProvider = DefaultAWSCredentialsProviderChain|$",
    "AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|$",
    "AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s|$",
    "AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s|externalId=$",
    "AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s|externalId=$=",
    "AwsCredentialsProvidr = com.example.Static|a|$",
    "kinesisCredentialsProvider.secretAccessKey = $",
    "kinesisCredentialsProvider.other = $",
    "kinesisClient.overrideConfiguration.apiToken = $",
    "executableName = nope --token $",
    "executableName = nope --password=$ --fast",
    "executableName = env DBPASS=$ nope",
    "executableName = the program --token $",
    "executableName = nope postgres://u:$@h/db",
    "kinesisEndpoint = https://u:$@h",
    "kinesisEndpoint = https:////u:$@h",
    "kinesisEndpoint = u:$@h:1",
    "kinesisEndpoint = //u:$@h",
    "dynamoDBEndpoint = https://h/?token=$ ",
    "workerMetricsTags = password=$",
    "workerMetricsTags = a=b,password=$=",
    "streamName = token=$ ",
    "dbPassword = $\ncolour = \\u12",
    "colour = \\u12\ndbPassword = a\\\n  $",
    "dbPassword = $\\u12",
    "privateKey = \nMIIEvQIBADANBgkqhkiG9w0BAQEFAA$",
];

/// Lines with environment variables. With `--expand-env`, all their values are secret.
const EXPANDED: &[&str] = &[
    "customToken = $SECRET",
    "executableName = $SECRET",
    "executableName = ./$SECRET/app --fast",
    "executableName = the program $SECRET",
    "executableName = the $SECRET",
    "streamName = ${SECRET} ",
    "regionName = a b$SECRET",
    "kinesisEndpoint = $SECRET",
    "kinesisEndpoint = localhost:$SECRET",
    "initialPositionInStream = $SECRET",
    "shutdownGraceMillis = $SECRET",
    "maxRecords = $SECRET",
    "timeoutInSeconds = $SECRET",
    "AwsCredentialsProvider = $SECRET",
    "AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s|$SECRET",
    "workerMetricsTags = $SECRET",
    "streamArn = arn:aws:kinesis:us-east-1:123456789012:stream/$SECRET",
    "leaseTableScanTotalSegments = $SECRET",
    "tableName = $MISSING\npassword = $SECRET",
];

fn stage() -> Stage {
    let stage = Stage::new();
    stage.fill_with_one_jar("3.0.9");
    stage.script("bin/java", JAVA);
    stage.script("the program", "");
    stage.script(format!("the {SECRET}"), "");
    stage
}

#[track_caller]
fn assert_hidden(text: &str, of: &str) {
    for start in 0..=SECRET.len() - 4 {
        let part = &SECRET[start..start + 4];
        assert!(!text.contains(part), "`{part}` of the secret is shown for {of}:\n{text}");
    }
}

fn run(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = stage.helper(arguments);
    command.env("KCL_HELPER_KCL_VERSION", "3.0.9").env("SECRET", SECRET);
    stage.outcome(&command.output().unwrap())
}

/// Returns a valid file with this line instead of the one with the same key.
fn with_line(line: &str) -> String {
    let key = line.split_once(" = ").map_or("no such key", |(key, _)| key);
    let rest = GOOD.lines().filter(|good| !good.starts_with(key));
    rest.chain([line, "colour = red"]).map(|line| format!("{line}\n")).collect()
}

#[test]
fn no_output_shows_a_secret_of_the_file() {
    let stage = stage();
    let mut files = Vec::new();
    for (index, line) in LINES.iter().enumerate() {
        let line = line.replacen('$', SECRET, 1);
        let name = format!("{index}.properties");
        stage.write(&name, with_line(&line));
        for command in [&["run", "-vv"][..], &["run", "--expand-env"]] {
            assert_hidden(
                &run(&stage, &[command, &[&name]].concat()),
                &format!("{command:?} {line}"),
            );
        }
        files.push(name);
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let others: [&[&str]; 3] = [
        &["check", "--kcl-version", "1.15.3"],
        &["check", "--effective", "--kcl-version", "2.5.4"],
        &["print-command", "-j", "java", "-p", "0.properties", "-c"],
    ];
    for command in CHECKS.into_iter().chain(others) {
        assert_hidden(&run(&stage, &[command, &files].concat()), &format!("{command:?}"));
    }
}

#[test]
fn no_output_shows_a_secret_that_was_set() {
    let stage = stage();
    stage.write("app.properties", GOOD);
    let single = LINES.iter().filter(|line| !line.contains(['\n', '\\', '#']));
    let sets: Vec<String> = single
        .map(|line| line.replacen('$', SECRET, 1).replacen(" = ", "=", 1).replacen(": ", "=", 1))
        .filter(|set| set.contains('='))
        .collect();
    let options: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    for command in CHECKS {
        let shown = run(&stage, &[command, &["app.properties"], &options].concat());
        assert!(shown.contains("dbPassword"), "{shown}");
        assert_hidden(&shown, &format!("{command:?}"));
    }
    for set in &sets {
        let shown = run(&stage, &["run", "-vv", "app.properties", "--set", set]);
        assert_hidden(&shown, set);
    }
}

#[test]
fn no_output_shows_a_secret_of_the_environment() {
    let stage = stage();
    for line in EXPANDED {
        stage.write("app.properties", with_line(line));
        assert_hidden(&run(&stage, &["run", "-vv", "app.properties", "--expand-env"]), line);
    }
    // The daemon gets it nevertheless.
    stage.write("app.properties", format!("{GOOD}customToken = $SECRET\n"));
    let shown = run(&stage, &["run", "app.properties", "--expand-env"]);
    assert!(shown.starts_with("status 0\n"), "{shown}");
    let file = fs::read_to_string(stage.path("home/file")).unwrap();
    assert!(file.contains(SECRET), "{file}");
}

#[test]
fn masked_values_can_be_told_apart() {
    let stage = stage();
    stage.write("app.properties", GOOD.replace("= cat", "= ${HOME}/bin/$SECRET --token $SECRET x"));
    let shown = run(&stage, &["run", "app.properties", "--expand-env"]);
    let cannot = "the daemon cannot start \"${HOME}/bin/$SECRET\"\n --> --set:1:16\n  |\n\
                  1 | executableName=***/bin/*** --token *** x\n";
    assert!(shown.contains(cannot), "{shown}");
}

#[test]
fn no_output_shows_a_secret_of_the_command_line() {
    let stage = stage();
    stage.write("app.properties", GOOD);
    let url = format!("http://u:{SECRET}@127.0.0.1:9/m2");
    let no_such = format!("nope --token {SECRET}");
    let password = format!("-Ddb.password={SECRET}");
    let repositories = [
        format!("ftp://{SECRET}@h"),
        format!("ftp://u:{SECRET}@h/"),
        format!("http://u:{SECRET}@h h/"),
        format!("u:{SECRET}@h"),
    ];
    for command in [
        &["run", "-vv", "app.properties", "--jvm-arg", &password, "--endpoint-url", &url][..],
        &["run", "app.properties", "--set", SECRET],
        &["check", "app.properties", "--set", SECRET],
        &["bench", "--", "nope", "--token", SECRET],
        &["bench", "--duration", "100ms", "--", "cat", "--token", SECRET],
        &["local", "--sample-input", "--", &no_such],
        &["local", "--", "nope", "--token", SECRET],
        &["record", "--to", "rec", "--", "nope", "--token", SECRET],
    ] {
        assert_hidden(&run(&stage, command), &format!("{command:?}"));
    }
    fs::remove_file(stage.path("cache/jars/3.0.9/alpha-1.0.jar")).unwrap();
    for repository in &repositories {
        for command in [
            &["jars", "fetch", "--no-archive", "-v", "--repository", repository][..],
            &["run", "app.properties", "--repository", repository],
        ] {
            let shown = run(&stage, command);
            assert!(shown.starts_with("status 3\n"), "{shown}");
            assert_hidden(&shown, &format!("{command:?}"));
        }
        let mut help = stage.helper(&["jars", "fetch", "--help"]);
        let help = help.env("KCL_MVN_REPO_SEARCH_URL", repository).output().unwrap();
        assert_hidden(&stage.outcome(&help), "the help");
    }
}

#[test]
fn output_of_other_programs_is_masked() {
    let stage = stage();
    stage.write("app.properties", GOOD);
    let mut command = stage.helper(&["run", "app.properties"]);
    command.env("JAVA_TOOL_OPTIONS", format!("-Djavax.net.ssl.keyStorePassword={SECRET}"));
    let shown = stage.outcome(&command.output().unwrap());
    assert!(
        shown.contains("Picked up JAVA_TOOL_OPTIONS: -Djavax.net.ssl.keyStorePassword=***"),
        "{shown}"
    );
    assert_hidden(&shown, "java");

    fs::remove_file(stage.path("cache/jars/3.0.9/alpha-1.0.jar")).unwrap();
    stage.script("bin/mvn", &format!("echo '[ERROR] cannot get https://u:{SECRET}@h/m2'; exit 1"));
    for command in [&["jars", "fetch"][..], &["jars", "fetch", "-v"]] {
        let shown = run(&stage, command);
        assert!(shown.contains("cannot get https://***@h/m2"), "{shown}");
        assert_hidden(&shown, "mvn");
    }
}

#[test]
fn recording_hides_secrets_of_the_command_line() {
    let stage = stage();
    let password = format!("DBPASS={SECRET}");
    run(&stage, &["record", "--to", "rec", "--", "env", &password, "true", "--token", SECRET]);
    let file = fs::read_dir(stage.path("rec")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(r#"["env","DBPASS=***","true","--token","***"]"#), "{text}");
    assert_hidden(&text, "a recording");
}
