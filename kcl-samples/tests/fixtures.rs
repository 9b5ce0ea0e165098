//! Plays the daemon's part of every dialogue of the fixtures to the samples: each message gets its
//! status, whatever the daemon's version.
#![allow(clippy::unwrap_used)] // a test may

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use kcl_fixtures::{Dialogue, dialogues};
use serde_json::{Value, json};

/// Sends the daemon's messages one by one, and accepts every checkpoint.
fn play(program: &str, dialogue: &Dialogue) {
    let mut child = kcl_fixtures::command(program)
        .env("RUST_LOG", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for turn in dialogue.turns() {
        stdin.write_all(turn.message).and_then(|()| stdin.write_all(b"\n")).unwrap();
        let message: Value = serde_json::from_slice(turn.message.trim_ascii()).unwrap();
        loop {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let mut said: Value = serde_json::from_str(&line).unwrap();
            if said["action"] == "checkpoint" {
                said["error"] = Value::Null;
                writeln!(stdin, "{said}").unwrap();
                continue;
            }
            let status = json!({"action": "status", "responseFor": message["action"]});
            assert_eq!(said, status, "{}", dialogue.name);
            break;
        }
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", dialogue.name);
}

#[test]
fn sample_kcl_app_answers_every_daemon() {
    for dialogue in dialogues() {
        play(env!("CARGO_BIN_EXE_sample_kcl_app"), &dialogue);
    }
}

#[test]
fn bench_processor_answers_every_daemon() {
    for dialogue in dialogues() {
        play(env!("CARGO_BIN_EXE_bench_processor"), &dialogue);
    }
}
