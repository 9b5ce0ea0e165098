//! Untrusted text is always escaped on stdout and stderr.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;

use kcl_fixtures::awkward_child;
use serde_json::Value;

use crate::{PROPERTIES, helper, stage};

/// Sets the window title and a colour, reverses the text direction, has an invisible character and DEL, and
/// begins a line that looks like ours.
const EVIL: &str = "\x1b]0;PWNED\x07\u{9b}31m\u{202e}\u{200b}\x7f\r\nerror: forged";

/// The same for a properties file, where a line end would end the value.
fn evil_in_file(escaped: bool) -> String {
    let mut text = String::new();
    for char in EVIL.chars() {
        match char {
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            char if escaped && !char.is_ascii_graphic() && char != ' ' => {
                text.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            ':' | ' ' => text.extend(['\\', char]),
            char => text.push(char),
        }
    }
    text
}

/// A file with evil keys, names and values of every kind.
fn evil_file(escaped: bool) -> String {
    let evil = evil_in_file(escaped);
    format!(
        "executableName = nope{evil}\nstreamName = a{evil}\napplicationName = App\n\
         Aws{evil}CredentialsProvider = x\n\
         AwsCredentialsProvider = No{evil}Such, StsAssumeRoleCredentialsProvider|a|b|c{evil}d=e\n\
         initialPositionInStream = LAT{evil}EST\nfailoverTimeMillis = 1{evil}0\n\
         regionName = us{evil}-east-1\nkey{evil} = x\nfoo = {evil}\n"
    )
}

/// Returns text that could move the cursor, begin a line, or reverse or hide other text. Colours are harmless.
fn harm(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let is_harmful = |char: char| match char {
        '\n' | '\t' => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' => true,
        char => char.is_control(),
    };
    text.lines().find_map(|line| {
        if line.starts_with("error: forged") {
            return Some(line.to_owned());
        }
        let mut parts = line.split('\x1b');
        let plain = parts.next().is_some_and(|part| part.contains(is_harmful));
        let coloured = parts.any(|part| {
            let rest = part.strip_prefix('[').map(|part| {
                part.trim_start_matches(|char: char| char.is_ascii_digit() || char == ';')
            });
            let rest = rest.and_then(|part| part.strip_prefix('m'));
            rest.is_none_or(|rest| rest.contains(is_harmful))
        });
        (plain || coloured).then(|| format!("{line:?}"))
    })
}

#[track_caller]
fn check(mut command: Command) -> Output {
    let output = command.output().unwrap();
    for stream in [&output.stdout, &output.stderr] {
        if let Some(line) = harm(stream) {
            panic!("{command:?}\n{line}");
        }
    }
    output
}

#[track_caller]
fn check_quotes(command: Command) -> Output {
    let shown = format!("{command:?}");
    let output = check(command);
    let all = [&output.stdout[..], &output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("u{1b}]0;PWNED"), "{shown}\n{all}");
    assert!(all.contains("u{9b}31m") && all.contains("u{202e}"), "{shown}\n{all}");
    output
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(|word| word.replace("EVIL", EVIL).into()).collect()
}

#[test]
fn text_of_a_properties_file_is_escaped() {
    let stage = stage();
    for (name, escaped) in [("raw.properties", false), ("escaped.properties", true)] {
        stage.write(name, evil_file(escaped));
        for form in ["text", "json", "github"] {
            for color in ["always", "never"] {
                let all = ["--color", color, "check", "--format", form, name];
                check(helper(&stage, &all));
                check(helper(&stage, &[&all[..], &["--effective"]].concat()));
            }
        }
        // Java reads each byte of an unescaped character as a character.
        if escaped {
            check_quotes(helper(&stage, &["--color", "always", "check", name]));
            check_quotes(helper(&stage, &["check", "--effective", name]));
        }
        check(helper(&stage, &["run", "-v", name]));
        check(helper(&stage, &["run", "-v", "--expand-env", name]));
        let missing = format!(
            "{PROPERTIES}foo = {}$NOPE
",
            evil_in_file(escaped)
        );
        stage.write("missing.properties", missing);
        check(helper(&stage, &["run", "--expand-env", "missing.properties"]));
    }
}

/// Programs can unescape JSON.
#[test]
fn json_has_the_original_values() {
    let stage = stage();
    stage.write("app.properties", format!("{PROPERTIES}tableName = {}\n", evil_in_file(true)));
    let output =
        check(helper(&stage, &["check", "--effective", "--format", "json", "app.properties"]));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows.iter().find(|row| row["key"] == "tableName").unwrap();
    assert_eq!(row["value"], EVIL);
    let output =
        check(helper(&stage, &words("print-command --java EVIL --format json -p app.properties")));
    let words: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(words[0], EVIL);
}

#[test]
fn text_of_the_command_line_is_escaped() {
    let stage = stage();
    for line in [
        "EVIL",
        "check --EVIL x",
        "check --kcl-version EVIL x",
        "check nofileEVIL",
        "check --explain xEVIL",
        "check --set EVIL app.properties",
        "check --set kEVIL=vEVIL app.properties",
        "check --stdin-filepath EVIL -",
        "--color EVIL check app.properties",
        "run nofileEVIL",
        "run --java javaEVIL app.properties",
        "run --set executableName=EVIL app.properties",
        "run --grace EVIL app.properties",
        "init badEVIL",
        "init x --stream EVIL",
        "init no/such/EVIL/folder",
        "local -i noEVIL -- cat",
        "local -- noEVIL",
        "local --state noEVIL/x/y --shards EVIL -- cat",
        "bench -- noEVIL",
        "bench --cpus EVIL --sample",
        "record --to rec -- noEVIL",
        "jars fetch --cache /proc/xEVIL --offline",
        "jars fetch --repository http://127.0.0.1:1/EVIL --kcl-version 3.1.3",
        "print-command --java java -p xEVIL -c EVIL",
        "completions EVIL",
    ] {
        check(helper(&stage, &words(line)));
        let mut quiet = words(line);
        quiet.insert(0, "-qq".into());
        check(helper(&stage, &quiet));
    }
    check_quotes(helper(&stage, &words("check nofileEVIL")));
    check_quotes(helper(&stage, &words("EVIL")));
    // Invalid UTF-8 too.
    let raw = OsStr::from_bytes(b"check\x9b31m\xff");
    check(helper(&stage, &[raw]));
    check(helper(&stage, &[OsStr::new("run"), raw]));
}

#[test]
fn text_of_the_environment_is_escaped() {
    let stage = stage();
    for (name, line) in [
        ("KCL_HELPER_SHARDS", "local --sample"),
        ("KCL_HELPER_SHARDS", "local --help"),
        ("KCL_HELPER_KCL_VERSION", "check app.properties"),
        ("KCL_HELPER_CACHE", "jars path"),
        ("KCL_HELPER_COLOR", "jars list"),
        ("KCL_MVN_REPO_SEARCH_URL", "jars fetch --kcl-version 3.1.3"),
        ("JAVA_HOME", "run app.properties"),
    ] {
        let mut command = helper(&stage, &words(line));
        command.env(name, format!("/x{EVIL}"));
        if line == "jars path" {
            // A pipe gets it unchanged.
            let output = command.output().unwrap();
            assert!(output.stdout.starts_with(format!("/x{EVIL}/jars").as_bytes()));
        } else {
            check(command);
        }
    }
}

#[test]
fn file_names_are_escaped() {
    let stage = stage();
    let file = stage.write(format!("d{EVIL}/a.properties"), format!("{PROPERTIES}x = 1\n"));
    for form in ["text", "json", "github"] {
        let mut command = helper(&stage, &["check", "--format", form]);
        command.arg(&file);
        check(command);
    }
    let mut command = helper(&stage, &["print-command", "--java", "java", "-p"]);
    command.arg(&file);
    check(command);
    let mut command = helper(&stage, &["dump-properties"]);
    command.arg(file.parent().unwrap());
    check(command);
    stage.write(format!("cache/jars/3.0.9/{EVIL}.jar"), "");
    check_quotes(helper(&stage, &["jars", "verify"]));
}

#[test]
fn text_of_other_programs_is_escaped() {
    let stage = stage();
    let evil = EVIL.replace('\r', "\\r").replace('\n', "\\n").replace('\x1b', "\\033");
    stage.script("bin/java", &format!("printf '{evil}\\n' >&2; exit 1\n"));
    check_quotes(helper(&stage, &["run", "app.properties"]));
    // The output of the daemon itself passes unchanged.
    let version = format!("[ $1 != -version ] || printf 'openjdk version \"17{evil}\"\\n' >&2");
    stage.script("bin/java", &format!("{version}\n"));
    check(helper(&stage, &["run", "-v", "app.properties"]));
    stage.script("bin/mvn", &format!("printf '[ERROR] {evil}\\n'; exit 1\n"));
    check(helper(&stage, &["jars", "fetch", "-v", "--kcl-version", "3.1.3"]));

    let script = format!("printf '{evil}\\n' >&2; printf '{evil}\\n{{{evil}\\n'; exit 3");
    let child = ["--", "sh", "-c", &script];
    for command in [&["local"][..], &["bench", "-v"]] {
        check_quotes(helper(&stage, &[command, &child].concat()));
    }
    let status = format!("status={{\"action\":\"{EVIL}\"}}");
    check(helper(&stage, &["local", "--", &awkward_child(), &status]));
    let words = format!("last-words={EVIL}");
    check(helper(
        &stage,
        &["bench", "-v", "--batches", "2", "--warmup", "0s", "--", &awkward_child(), &words],
    ));
}

#[test]
fn text_of_a_repository_is_escaped() {
    let stage = stage();
    for answer in [
        format!("HTTP/1.1 404 {EVIL}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX: {EVIL}\r\nContent-Length: 3\r\n\r\nabc"),
        format!("HTTP/1.1 302 Found\r\nLocation: http://{EVIL}/\r\n\r\n"),
        format!("HTTP/1.1 302 Found\r\nLocation: /{EVIL}\r\n\r\n"),
        EVIL.to_owned(),
    ] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{EVIL}", server.local_addr().unwrap());
        thread::spawn(move || {
            for client in server.incoming() {
                let mut client = client.unwrap();
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        let sum = "b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060";
        stage.write("cache/jars/3.0.8/jars.lock", format!("g:alpha:1.0 alpha-1.0.jar 6 {sum}\n"));
        let url = url.replace(' ', "%20");
        check(helper(&stage, &["jars", "fetch", "--kcl-version", "3.0.8", "--repository", &url]));
    }
}

/// `record` passes on the program's bytes, but its own messages are escaped.
#[test]
fn text_of_a_recorded_program_is_escaped() {
    let stage = stage();
    let folder = format!("/dev/null/{EVIL}");
    check_quotes(helper(&stage, &["record", "--to", &folder, "--", "true"]));
}

/// bash reads the printed command back as the same words.
#[test]
fn printed_command_has_the_original_words() {
    let stage = stage();
    let jar = format!("/jars/{EVIL}'.jar");
    let output = check(helper(&stage, &["print-command", "--java", "java", "-p", "x", "-c", &jar]));
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    let script = format!("printf '%s\\0' {line}");
    let read =
        kcl_fixtures::command("bash").arg("-c").arg(script).stdin(Stdio::null()).output().unwrap();
    let words: Vec<&[u8]> = read.stdout.split(|byte| *byte == 0).collect();
    let class_path = words[words.iter().position(|word| *word == b"-cp").unwrap() + 1];
    assert!(class_path.starts_with(jar.as_bytes()), "{line}");
}
