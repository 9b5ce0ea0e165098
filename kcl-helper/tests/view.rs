//! `kcl-helper view` over recordings that `kcl-helper record` made, and over such as may be found after
//! a crash.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use insta::assert_snapshot;
use kcl_fixtures::{Stage, Step, awkward_child};
use serde_json::{Value, json};

const HEADER: &str = r#"{"version":1,"kcl_helper":"0.1.0","command":["./app","--table","words"],"started":"2026-11-25T10:00:00.000000Z","redacted":false}"#;

/// A recording with these events, whose times are in milliseconds.
fn recording(events: &[(u64, &str, &str)]) -> String {
    let mut text = format!("{HEADER}\n");
    for (after, kind, said) in events {
        let said = if *said == "END" { Value::Null } else { json!(said) };
        text.push_str(&format!("{}\n", json!([after * 1000, kind, said])));
    }
    text
}

fn batch(numbers: std::ops::Range<u32>, lag: u64) -> String {
    let records: Vec<Value> = numbers
        .map(|number| {
            json!({"data": "aGk=", "partitionKey": format!("key-{number}"), "subSequenceNumber": 0,
                   "sequenceNumber": number.to_string(), "action": "record"})
        })
        .collect();
    let message =
        json!({"action": "processRecords", "records": records, "millisBehindLatest": lag});
    format!("{message}\n")
}

fn status(action: &str) -> String {
    format!("{}\n", json!({"action": "status", "responseFor": action}))
}

const INITIALIZE: &str = "{\"action\":\"initialize\",\"shardId\":\"shardId-7\",\"sequenceNumber\":\"LATEST\",\"subSequenceNumber\":0}\n";
const ASK: &str =
    "{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n";
const ASK_11: &str =
    "{\"action\":\"checkpoint\",\"sequenceNumber\":\"11\",\"subSequenceNumber\":0}\n";

fn answer(error: Option<&str>) -> String {
    let answer = json!({"action": "checkpoint", "sequenceNumber": null, "subSequenceNumber": null, "error": error});
    format!("{answer}\n")
}

/// A life in which everything goes wrong once.
fn troubled() -> String {
    let throttled = answer(Some("ThrottlingException"));
    let answered = status("processRecords");
    recording(&[
        (1, "e", "starting\n"),
        (2, "<", INITIALIZE),
        (3, ">", &status("initialize")),
        (10, "<", &batch(1..4, 500)),
        (1, ">", "hello\n"),
        (1, ">", ASK),
        (4, "<", &throttled),
        (5, ">", ASK),
        (6, "<", &answer(None)),
        (7, ">", &answered),
        (400, "<", &batch(4..9, 700)),
        (2000, ">", &answered),
        (31_000, "<", "{\"action\":\"processRecords\",\"records\":[{\"data\":\"x\"}]}\n"),
        (100, "<", &batch(8..12, 0)),
        (3, ">", "\n"),
        (3, ">", ASK_11),
        (3, "<", &answer(None)),
        (1, ">", &answered),
        (301_000, "<", &batch(12..15, 0)),
        (5, ">", &status("leaseLost")),
        (20, "e", "panicked"),
        (0, "e", "END"),
        (1, "!", "the recording is full, see --max-size"),
        (9, "x", "signal 6, SIGABRT"),
    ])
}

#[test]
fn text_says_what_happened() {
    let stage = Stage::new();
    stage.write("rec.jsonl", troubled());
    assert_snapshot!(stage.run(&["view", "--format", "text", "rec.jsonl"]));
}

#[test]
fn json_has_the_same() {
    let stage = Stage::new();
    stage.write("rec.jsonl", troubled());
    let output = stage.helper(&["view", "--format", "json", "rec.jsonl"]).output().unwrap();
    let picture: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lane = &picture["lanes"][0];
    assert_eq!(picture["version"], 1);
    assert_eq!(lane["shard"], "shardId-7");
    assert_eq!(lane["totals"]["anomalies"]["refused-checkpoint"], 1);
    assert_eq!(lane["messages"][1]["details"]["records"][2]["data"], json!({"text": "hi"}));
    let kinds: Vec<_> =
        lane["anomalies"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    let expected = [
        "stray-output",
        "refused-checkpoint",
        "slow-batch",
        "silence",
        "unreadable-message",
        "repeated",
        "silence",
        "unanswered",
        "out-of-turn",
        "recording-full",
        "exit",
        "not-checkpointed",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn the_page_is_private_and_beside_the_recording_and_never_overwritten() {
    let stage = Stage::new();
    stage.write("rec/a.jsonl", recording(&[(1, "<", INITIALIZE), (1, "x", "exit status 0")]));
    stage.write("rec/b.jsonl", recording(&[]));
    stage.write("rec/readme.txt", "not a recording");
    let mut told = String::new();
    for arguments in [
        ["view", "rec"].as_slice(),
        &["view", "rec"],
        &["view", "rec", "--force"],
        &["view", "rec/a.jsonl"],
        &["view", "rec/a.jsonl", "rec/b.jsonl", "-o", "both.html"],
        &["view", "rec/a.jsonl", "-o", "rec/a.jsonl", "--force"],
        &["view", "rec/a.jsonl", "-o", "no/folder.html"],
    ] {
        told.push_str(&format!("$ kcl-helper {}\n{}", arguments.join(" "), stage.run(arguments)));
    }
    assert_snapshot!(told);
    for page in ["rec/view.html", "rec/a.html", "both.html"] {
        let mode = fs::metadata(stage.path(page)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{page}");
        assert!(stage.read(page).ends_with("</html>\n"), "{page}");
    }
    assert!(stage.read("rec/a.jsonl").starts_with(HEADER));
    let mut left: Vec<_> =
        fs::read_dir(stage.path("rec")).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a.html", "a.jsonl", "b.jsonl", "readme.txt", "view.html"]);
}

#[test]
fn what_is_no_recording_is_refused_if_it_is_named_and_else_skipped() {
    let stage = Stage::new();
    fs::create_dir(stage.path("empty")).unwrap();
    stage.write("rec/good.jsonl", recording(&[(1, "x", "exit status 0")]));
    stage.write("rec/other.jsonl", "{\"event\":1}\n");
    stage.write("rec/new.jsonl", "{\"version\":2}\n");
    stage.write("rec/nothing.jsonl", "");
    stage.write("bad/other.jsonl", "hello\n");
    let mut told = String::new();
    for arguments in [
        ["view"].as_slice(),
        &["view", "missing.jsonl"],
        &["view", "empty"],
        &["view", "bad"],
        &["view", "rec/other.jsonl"],
        &["view", "rec/new.jsonl"],
        &["view", "rec/nothing.jsonl"],
        &["view", "rec", "--format", "text"],
        &["view", "rec", "--format", "text", "-o", "x.txt"],
    ] {
        told.push_str(&format!("$ kcl-helper {}\n{}", arguments.join(" "), stage.run(arguments)));
    }
    assert_snapshot!(told);
}

#[test]
fn a_recording_may_come_by_stdin_and_end_anywhere() {
    let stage = Stage::new();
    let whole = troubled();
    for cut in [HEADER.len() + 1, HEADER.len() + 30, whole.len() / 2, whole.len() - 5, whole.len()]
    {
        let mut command = stage.helper(&["view", "-", "--format", "json"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&whole.as_bytes()[..cut]).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{cut}");
        let picture: Value = serde_json::from_slice(&output.stdout).unwrap();
        let lane = &picture["lanes"][0];
        assert_eq!(lane["file"], "stdin");
        let is_cut_off = lane["totals"]["anomalies"]["cut-off"] == 1;
        assert_eq!(is_cut_off, cut < whole.len(), "{cut}");
    }
}

/// What a real daemon said, to a child that `record` runs.
#[test]
fn what_record_writes_is_shown() {
    let dialogue = kcl_fixtures::dialogue("recorded-2.5.4-shard-0");
    for redact in [false, true] {
        let stage = Stage::new();
        let mut arguments = vec!["record", "--to", "rec"];
        arguments.extend(redact.then_some("--redact"));
        let child = awkward_child();
        arguments.extend(["--", &child, "checkpoint=batch"]);
        let mut command = stage.helper(&arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut records = 0;
        for step in &dialogue.steps {
            let Step::FromDaemon(line) = step else { continue };
            if line.starts_with(b"{\"action\":\"checkpoint\"") {
                continue;
            }
            records += String::from_utf8_lossy(line).matches("partitionKey").count();
            stdin.write_all(&[line, b"\n".as_slice()].concat()).unwrap();
            loop {
                let mut said = String::new();
                stdout.read_line(&mut said).unwrap();
                if !said.contains("\"checkpoint\"") {
                    break;
                }
                stdin.write_all(answer(None).as_bytes()).unwrap();
            }
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
        let output = stage.helper(&["view", "rec", "--format", "json"]).output().unwrap();
        let picture: Value = serde_json::from_slice(&output.stdout).unwrap();
        let lane = &picture["lanes"][0];
        assert_eq!(lane["shard"], "shardId-000000000001");
        assert_eq!(lane["totals"]["records"], records);
        assert_eq!(lane["totals"]["anomalies"], json!({}));
        assert_eq!((&lane["redacted"], &lane["end"]), (&json!(redact), &json!("exit status 0")));
        let data = &lane["messages"][1]["details"]["records"][0]["data"]["text"];
        assert_eq!(data.as_str().unwrap().contains(" bytes, hash "), redact, "{data}");
    }
}

#[test]
fn what_others_wrote_stays_text_in_all_forms() {
    let stage = Stage::new();
    let attack = "</script><script>alert(1)</script>\u{1b}[31m\u{202e}";
    let initialize = json!({"action": "initialize", "shardId": attack, "sequenceNumber": "LATEST"});
    let lines = [format!("{initialize}\n"), format!("{attack}\n")];
    stage.write(
        "rec.jsonl",
        recording(&[
            (1, "<", &lines[0]),
            (1, "e", &lines[1]),
            (1, ">", &lines[1]),
            (1, "x", attack),
        ]),
    );
    stage.run(&["view", "rec.jsonl"]);
    let page = stage.read("rec.html");
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page.matches("<script").count(), 2);
    let text = stage.run(&["view", "rec.jsonl", "--format", "text"]);
    assert!(text.contains("alert(1)") && !text.contains('\u{1b}') && !text.contains('\u{202e}'));
}
