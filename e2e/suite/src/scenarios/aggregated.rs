//! Records that the Kinesis Producer Library has packed together.

use anyhow::{Result, ensure};
use md5::{Digest as _, Md5};

use crate::aws::{NewRecord, records};
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3};
use crate::ledger::{self, Event};
use crate::processor::{Checkpoint, Fault, FaultKind};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "aggregated",
    ci: &[V2_2, V3],
    all: ALL,
    duplicates: Duplicates::AfterAFault,
    run: aggregated,
}];

/// The KPL's own form: a magic number, a protobuf message, its MD5.
///
/// `message AggregatedRecord { repeated string partition_key_table = 1; repeated string
/// explicit_hash_key_table = 2; repeated Record records = 3; }` and `message Record { required uint64
/// partition_key_index = 1; optional uint64 explicit_hash_key_index = 2; required bytes data = 3; }`
fn aggregate(records: &[NewRecord]) -> Vec<u8> {
    fn number(out: &mut Vec<u8>, mut value: usize) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
        out.push(field << 3 | 2);
        number(out, value.len());
        out.extend_from_slice(value);
    }
    let mut message = Vec::new();
    for record in records {
        bytes(&mut message, 1, record.key.as_bytes());
    }
    for (index, record) in records.iter().enumerate() {
        let mut inner = vec![1 << 3];
        number(&mut inner, index);
        bytes(&mut inner, 3, &record.data);
        bytes(&mut message, 3, &inner);
    }
    let mut whole = vec![0xf3, 0x89, 0x9a, 0xc2];
    whole.extend_from_slice(&message);
    whole.extend_from_slice(&Md5::digest(&message));
    whole
}

/// Each record is checkpointed by both its numbers; a child dies in the middle of an aggregate, and
/// the next one goes on behind the last checkpoint, in the middle too.
fn aggregated(case: &mut Case<'_>) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 1)?;
    for round in 0..12 {
        let inner = records(10, 20..=500, 40 + round);
        let outer = NewRecord { key: "a".to_owned(), data: aggregate(&inner), hash_key: None };
        for (shard, at) in stream.put_raw(&[outer])? {
            for (sub, record) in inner.iter().enumerate() {
                let at = (at.clone(), sub as u64);
                case.put.add(&shard, at, ledger::hash(&record.key, &record.data));
            }
        }
        // A plain one in between.
        stream.put(&records(1, 20..=500, 140 + round), &mut case.put)?;
    }
    case.processor.checkpoint = Checkpoint::EachRecord;
    case.processor.fault = Some(Fault { kind: FaultKind::Kill, at: 38, times: 1 });
    let mut worker = case.start(&stream, &["--restart", "on-failure"])?;
    case.wait_for_all(&mut worker)?;
    worker.stop()?;
    let (ledger, verdict) = (case.ledger()?, case.verdict()?);
    let killed =
        ledger.lives.iter().find(|l| l.events.iter().any(|e| matches!(e.1, Event::Fault(_))));
    let killed = killed.and_then(|life| life.records().last()).map(|(_, at)| at.1);
    ensure!(killed == Some(4), "the child died behind sub-sequence number {killed:?}, not 4");
    // All was checkpointed, so nothing comes twice.
    ensure!(verdict.duplicated == 0, "{} came twice", verdict.duplicated);
    Ok(())
}
