//! What a newcomer does: the sample putter fills a stream, the sample application reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::aws::{Stream, wait_for};
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3};
use crate::ledger::{self, Event, Number};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "samples",
    ci: &[V2_2, V3],
    all: ALL,
    duplicates: Duplicates::Never,
    run: samples,
}];

fn samples(case: &mut Case<'_>) -> Result<()> {
    let words: Vec<String> = (0..500)
        .map(|index| format!("{}-{index}", ["cat", "Größe", "鍵", "😀 dog"][index % 4]))
        .collect();
    let stream = put(case, &words)?;
    let mut stored = read(&stream, case)?;
    stored.sort();
    let mut wanted = words.clone();
    wanted.sort();
    ensure!(stored == wanted, "the stream holds {} other words", stored.len());

    let sample = case.stage.tools.helper.with_file_name("sample_kcl_app");
    case.properties.insert("executableName", sample.display().to_string());
    let mut worker = case.start(&stream, &[])?;
    wait_for("the sample to have seen every word", || {
        let ended = worker.process.0.try_wait()?;
        ensure!(ended.is_none(), "the worker ended: {ended:?}");
        Ok((seen(&fs::read(&worker.log)?).len() >= words.len()).then_some(()))
    })?;
    worker.stop()?;
    for text in ["Shutdown has been requested, checkpointing", "Lease has been lost"] {
        ensure!(worker.log_has(text)?, "the sample did not say: {text}");
    }
    // What the sample said, as the ledger that it does not write.
    let mut ledgers: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for (shard, event) in seen(&fs::read(&worker.log)?) {
        let start = || vec![Event::Start { shard: shard.clone(), from: String::new() }];
        ledgers.entry(shard.clone()).or_insert_with(start).push(event);
    }
    for (index, events) in ledgers.values().enumerate() {
        let text: String = events.iter().map(|event| format!("{index}\t{event}\n")).collect();
        fs::write(case.folder.join(format!("worker1-{index}.ledger")), text)?;
    }
    case.all_is_checkpointed()
}

/// By the sample putter.
fn put(case: &mut Case<'_>, words: &[String]) -> Result<Stream> {
    let kinesis = case.stage.ferrokinesis.clone();
    let putter = case.stage.tools.helper.with_file_name("sample_word_putter");
    let mut process = Command::new(putter)
        .args(["--stream", &case.name, "--shards", "2", "--endpoint-url", &kinesis.url])
        .envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "x")])
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(fs::File::create(case.folder.join("putter.log"))?)
        .spawn()?;
    let text: String = words.iter().map(|word| format!("{word}\n")).collect();
    process.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
    let status = process.wait()?;
    ensure!(status.success(), "sample_word_putter ended with {status}");
    Ok(Stream { kinesis, name: case.name.clone() })
}

/// Reads the stream to its end: the words, with the ledger's side in `case.put`.
fn read(stream: &Stream, case: &mut Case<'_>) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        let from = json!({"ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let mut iterator = stream.call("GetShardIterator", from)?["ShardIterator"].clone();
        loop {
            let request = json!({"ShardIterator": iterator});
            let answer = stream.kinesis.call("GetRecords", &request)?;
            let records = answer["Records"].as_array().context("no Records")?;
            for record in records {
                let text = |key: &str| record[key].as_str().with_context(|| format!("no {key}"));
                let (key, data) = (text("PartitionKey")?, BASE64.decode(text("Data")?)?);
                let at = (Number(text("SequenceNumber")?.to_owned()), 0);
                ensure!(key.as_bytes() == data, "{key} is not its own key");
                case.put.add(shard, at, ledger::hash(key, &data));
                words.push(key.to_owned());
            }
            if records.is_empty() {
                break;
            }
            iterator = answer["NextShardIterator"].clone();
        }
    }
    Ok(words)
}

/// `… [Record (Partition Key: K, Sequence Number: N, Subsequence Number: 0, Data Size: S)] for shard X`
fn seen(log: &[u8]) -> Vec<(String, Event)> {
    let parse = |line: &str| {
        let (_, rest) = line.split_once("[Record (Partition Key: ")?;
        let (key, rest) = rest.split_once(", Sequence Number: ")?;
        let (number, rest) = rest.split_once(", Subsequence Number: 0, Data Size: ")?;
        let (size, shard) = rest.split_once(")] for shard ")?;
        // Of the payload only its length is said.
        let hash = match size.parse() == Ok(key.len()) {
            true => ledger::hash(key, key.as_bytes()),
            false => format!("{size} bytes"),
        };
        let at = (Number(number.to_owned()), 0);
        Some((shard.trim().to_owned(), Event::Record { at, hash }))
    };
    String::from_utf8_lossy(log).lines().filter_map(parse).collect()
}
