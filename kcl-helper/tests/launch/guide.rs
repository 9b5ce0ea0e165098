//! Runs, parses or checks what a reader may copy from README.md and docs/.
//!
//! The info string of a fenced block decides how:
//!
//! - `sh`: each line that calls kcl-helper is run, with a fake java and jars without content, and must
//!   succeed. Lines that call other programs are not run.
//! - `sh parse`: only the arguments are parsed, because the command needs real jars or the network.
//! - `properties fragment`: a valid file stays free of warnings with these lines; with `allow-warnings`,
//!   free of errors.
//! - `systemd`, `json`: parsed.
//! - `rust`: compiled by the documentation tests of kcl-runtime, which must include the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::Stage;

/// Answers `-version`; as the daemon, it exits with 0 at once.
const JAVA: &str =
    r#"[ "$1" = -version ] && echo 'openjdk version "17.0.9" 2023-10-17' >&2; exit 0"#;

const CLEAN: &str = "\
executableName = target/release/my-app
streamName = words
applicationName = my-app
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = eu-west-1
initialPositionInStream = TRIM_HORIZON
retrievalMode = POLLING
shutdownGraceMillis = 20000
";

struct Page {
    /// The path in the repository.
    name: String,
    path: PathBuf,
    text: String,
}

struct Block {
    /// The line number of its opening fence.
    line: usize,
    info: Vec<String>,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|it| it == "md");
    let mut paths: Vec<PathBuf> = docs.filter(is_page).collect();
    paths.push(root().join("README.md"));
    paths.sort();
    let page = |path: PathBuf| Page {
        name: path.strip_prefix(root()).unwrap().display().to_string(),
        text: fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(page).collect()
}

/// Returns the fenced blocks. On our pages, a fence is three backticks at the start of a line.
fn blocks(page: &Page) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in page.text.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(info), false) => {
                let info = info.split([' ', ',']).map(str::to_owned).collect();
                found.push(Block { line: number + 1, info, text: String::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => found.last_mut().unwrap().text.push_str(&format!("{line}\n")),
            (None, false) => {}
        }
    }
    assert!(!inside, "{}: a block has no end", page.name);
    found
}

/// The files that commands of the guide need.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.fill_with_one_jar("3.0.9");
    stage.script("bin/java", JAVA);
    stage.script("bin/kcl-helper", &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_kcl-helper")));
    for program in ["target/release/my-app", "target/debug/PROGRAM"] {
        stage.script(program, "exec kcl-helper sample-child");
    }
    stage.write("app.properties", CLEAN);
    let old = CLEAN.replace("DefaultCredentialsProvider", "DefaultAWSCredentialsProviderChain");
    stage.write("old.properties", old.replace("AwsCred", "AWSCred"));
    for input in ["words.txt", "FILE"] {
        stage.write(input, "cat\ndog\n");
    }
    stage
}

fn shell(stage: &Stage, line: &str) -> Output {
    let mut command = kcl_fixtures::command("sh");
    command.args(["-c", line]);
    let helper = stage.helper(&[]);
    command.env_clear().current_dir(helper.get_current_dir().unwrap());
    // Its lock names the stage's one small jar.
    command.env("KCL_HELPER_KCL_VERSION", "3.0.9");
    for (name, value) in helper.get_envs() {
        command.env(name, value.unwrap());
    }
    command.output().unwrap()
}

/// Returns the commands of a block that call kcl-helper, with their continuation lines.
fn calls(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let calls = |line: &&str| {
        let mut words = line.split_whitespace().skip_while(|word| word.contains('='));
        words.next() == Some("kcl-helper")
    };
    joined.lines().filter(calls).map(str::to_owned).collect()
}

#[test]
fn commands_of_the_guide_work() {
    let stage = stage();
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.info[0] == "sh") {
            for line in calls(&block.text) {
                let run = match &block.info[1..] {
                    [] => line.clone(),
                    [word] if word == "parse" => match line.split_once(" -- ") {
                        Some((ours, program)) => format!("{ours} --help -- {program}"),
                        None => format!("{line} --help"),
                    },
                    other => panic!("{}:{}: what is {other:?}?", page.name, block.line),
                };
                let output = shell(&stage, &run);
                let said = stage.outcome(&output);
                assert!(output.status.success(), "{}:{}: {run}\n{said}", page.name, block.line);
                // Each command must work in a new folder.
                let _ = fs::remove_dir_all(stage.path(".kcl-local"));
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} lines were found");
}

#[test]
fn properties_of_the_guide_are_valid() {
    let stage = stage();
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.info[0] == "properties") {
            let place = format!("{}:{}", page.name, block.line);
            let info: Vec<&str> = block.info[1..].iter().map(String::as_str).collect();
            let deny = match info[..] {
                ["fragment"] => "--deny-warnings",
                ["fragment", "allow-warnings"] => "",
                _ => panic!("{place}: what is {info:?}?"),
            };
            let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
            let given: Vec<String> = block.text.lines().filter_map(key).collect();
            assert!(!given.is_empty(), "{place}: it sets nothing");
            let mut file = block.text.clone();
            for line in CLEAN.lines().filter(|line| !given.contains(&key(line).unwrap())) {
                file.push_str(&format!("{line}\n"));
            }
            stage.write("fragment.properties", &file);
            let output = shell(&stage, &format!("kcl-helper check {deny} fragment.properties"));
            assert!(output.status.success(), "{place}\n{}", stage.outcome(&output));
        }
    }
}

#[test]
fn files_for_other_tools_can_be_parsed() {
    for page in pages() {
        for block in blocks(&page) {
            let place = format!("{}:{}", page.name, block.line);
            match block.info[0].as_str() {
                "sh" | "properties" => {}
                "rust" => {
                    let library =
                        fs::read_to_string(root().join("kcl-runtime/src/lib.rs")).unwrap();
                    let included = format!("include_str!(\"../../{}\")", page.name);
                    assert!(library.contains(&included), "{place}: nothing compiles it");
                }
                "json" => {
                    let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
                    assert!(parsed.is_ok(), "{place}: {parsed:?}");
                }
                "systemd" => {
                    for line in block.text.lines().filter(|line| !line.is_empty()) {
                        let section = ["[Unit]", "[Service]", "[Install]"].contains(&line);
                        let key = line.split_once('=').is_some_and(|(key, value)| {
                            key.chars().all(|letter| letter.is_ascii_alphabetic())
                                && value.trim() == value
                        });
                        assert!(section || key || line.starts_with('#'), "{place}: {line}");
                    }
                }
                other => panic!("{place}: nothing tests blocks of {other:?}"),
            }
        }
    }
}

#[test]
fn links_between_pages_are_valid() {
    let mut count = 0;
    for page in pages() {
        for part in page.text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let file = target.split('#').next().unwrap();
            let path = page.path.parent().unwrap().join(file);
            assert!(path.is_file(), "{}: {target} is not there", page.name);
            count += 1;
        }
    }
    assert!(count > 10, "{count} links were found");
}
