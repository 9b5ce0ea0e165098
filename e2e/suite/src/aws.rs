//! A small client of Kinesis and DynamoDB: JSON over HTTP/1.1 to a stand-in, which checks no
//! signature.

use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::ledger::{self, Number, Put};

/// Nothing here takes this long on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// One service at one address.
#[derive(Debug, Clone)]
pub struct Service {
    pub url: String,
    target: &'static str,
    agent: ureq::Agent,
}

impl Service {
    pub fn kinesis(port: u16) -> Service {
        Service::new(port, "Kinesis_20131202")
    }

    pub fn dynamodb(port: u16) -> Service {
        Service::new(port, "DynamoDB_20120810")
    }

    fn new(port: u16, target: &'static str) -> Service {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        let agent = config.build().into();
        Service { url: format!("http://127.0.0.1:{port}"), target, agent }
    }

    pub fn call(&self, operation: &str, body: &Value) -> Result<Value> {
        let version = if self.target.starts_with("Kinesis") { "1.1" } else { "1.0" };
        let service = if self.target.starts_with("Kinesis") { "kinesis" } else { "dynamodb" };
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=x"
        );
        let answer = self
            .agent
            .post(&self.url)
            .header("Content-Type", format!("application/x-amz-json-{version}"))
            .header("X-Amz-Target", format!("{}.{operation}", self.target))
            .header("X-Amz-Date", "20260101T000000Z")
            .header("Authorization", authorization)
            .send(serde_json::to_vec(body)?)
            .with_context(|| format!("{operation} at {}", self.url))?;
        let status = answer.status();
        let mut text = String::new();
        answer.into_body().into_reader().read_to_string(&mut text)?;
        ensure!(status.is_success(), "{operation}: {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

/// Calls until there is an answer.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_at_most(PATIENCE, what, &mut look)
}

pub fn wait_at_most<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("waited {}s in vain: {what}", patience.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// A record to be put.
#[derive(Debug, Clone)]
pub struct NewRecord {
    pub key: String,
    pub data: Vec<u8>,
    /// Decides the shard instead of the key.
    pub hash_key: Option<String>,
}

/// A stream of a scenario's own.
#[derive(Debug, Clone)]
pub struct Stream {
    pub kinesis: Service,
    pub name: String,
}

impl Stream {
    pub fn create(kinesis: &Service, name: &str, shards: usize) -> Result<Stream> {
        kinesis.call("CreateStream", &json!({"StreamName": name, "ShardCount": shards}))?;
        let stream = Stream { kinesis: kinesis.clone(), name: name.to_owned() };
        stream.wait_until_active()?;
        Ok(stream)
    }

    pub fn wait_until_active(&self) -> Result<()> {
        wait_for("the stream to be active", || {
            let answer = self.call("DescribeStreamSummary", json!({}))?;
            let status = &answer["StreamDescriptionSummary"]["StreamStatus"];
            Ok((status == "ACTIVE").then_some(()))
        })
    }

    /// Calls an operation on this stream.
    pub fn call(&self, operation: &str, mut body: Value) -> Result<Value> {
        body["StreamName"] = json!(self.name);
        self.kinesis.call(operation, &body)
    }

    /// Puts records, and answers each one's shard and sequence number.
    pub fn put_raw(&self, records: &[NewRecord]) -> Result<Vec<(String, Number)>> {
        let mut places = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            // Below both limits of PutRecords: 500 records, 5 MiB.
            let (mut count, mut bytes) = (0, 0);
            while count < rest.len().min(500) && (count == 0 || bytes < 3_000_000) {
                bytes += rest[count].data.len() + rest[count].key.len();
                count += 1;
            }
            let entries: Vec<Value> = rest[..count]
                .iter()
                .map(|record| {
                    let mut entry =
                        json!({"Data": BASE64.encode(&record.data), "PartitionKey": record.key});
                    if let Some(hash_key) = &record.hash_key {
                        entry["ExplicitHashKey"] = json!(hash_key);
                    }
                    entry
                })
                .collect();
            let answer = self.call("PutRecords", json!({"Records": entries}))?;
            ensure!(answer["FailedRecordCount"] == 0, "PutRecords refused some: {answer}");
            for placed in answer["Records"].as_array().context("no Records")? {
                let word = |key: &str| {
                    placed[key].as_str().map(str::to_owned).with_context(|| format!("{placed}"))
                };
                places.push((word("ShardId")?, Number(word("SequenceNumber")?)));
            }
            rest = &rest[count..];
        }
        ensure!(places.len() == records.len(), "PutRecords answered for others");
        Ok(places)
    }

    /// Puts records, and writes down what the ledger must show.
    pub fn put(&self, records: &[NewRecord], put: &mut Put) -> Result<()> {
        for (record, (shard, number)) in records.iter().zip(self.put_raw(records)?) {
            put.add(&shard, (number, 0), ledger::hash(&record.key, &record.data));
        }
        Ok(())
    }
}

/// Records with keys that spread them, some of them not ASCII, and binary payloads.
pub fn records(count: usize, sizes: std::ops::RangeInclusive<usize>, seed: u64) -> Vec<NewRecord> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count)
        .map(|index| {
            let key = match index % 4 {
                0 => format!("key-{seed}-{index}"),
                1 => format!("Schlüssel-{index}"),
                2 => format!("鍵-{index}-😀"),
                _ => format!("\"\\ \t{index}\u{7f}\u{2028}"),
            };
            let mut data = vec![0; random.usize(sizes.clone())];
            random.fill(&mut data);
            NewRecord { key, data, hash_key: None }
        })
        .collect()
}
