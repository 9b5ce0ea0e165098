//! A simple child as the documentation of serde and base64 suggests: structs with owned strings,
//! and each payload decoded into its own buffer.

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kcl_bench::Sums;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(dead_code, reason = "a real processor would read them")]
enum Message {
    Initialize {
        shard_id: String,
        sequence_number: Option<String>,
        sub_sequence_number: Option<u64>,
    },
    ProcessRecords {
        records: Vec<Record>,
        millis_behind_latest: Option<u64>,
    },
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
    Checkpoint {
        error: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "a real processor would read them")]
struct Record {
    #[serde(deserialize_with = "payload")]
    data: Vec<u8>,
    partition_key: String,
    sequence_number: String,
    sub_sequence_number: u64,
    approximate_arrival_timestamp: u64,
}

fn payload<'de, D: serde::Deserializer<'de>>(json: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(json)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[derive(Serialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Answer<'a> {
    Status { response_for: &'a str },
    Checkpoint { sequence_number: Option<&'a str>, sub_sequence_number: Option<u64> },
}

fn send(answer: &Answer<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

fn main() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    let mut sums = Sums::default();
    while stdin.read_line(&mut line)? > 0 {
        let response_for = match serde_json::from_str(&line)? {
            Message::Initialize { .. } => "initialize",
            Message::ProcessRecords { records, .. } => {
                records.iter().for_each(|record| sums.add(&record.data));
                "processRecords"
            }
            Message::LeaseLost => "leaseLost",
            Message::ShutdownRequested => "shutdownRequested",
            Message::ShardEnded => {
                send(&Answer::Checkpoint { sequence_number: None, sub_sequence_number: None })?;
                line.clear();
                stdin.read_line(&mut line)?;
                "shardEnded"
            }
            Message::Checkpoint { .. } => {
                line.clear();
                continue;
            }
        };
        send(&Answer::Status { response_for })?;
        line.clear();
    }
    sums.print();
    Ok(())
}
