//! Checkpoints that DynamoDB does not take, and a lease that is gone under one.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::aws::{records, wait_for};
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::ledger::Event;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "checkpoint-throttled",
        ci: &[V2_2, V3],
        all: ALL,
        duplicates: Duplicates::Never,
        run: |case| recovers(case, Fault::Throttled),
    },
    Scenario {
        name: "checkpoint-refused",
        ci: &[V3],
        all: ALL,
        duplicates: Duplicates::Never,
        run: |case| recovers(case, Fault::Refused),
    },
    Scenario {
        name: "lease-stolen",
        ci: &[V2_2, V3],
        all: ALL,
        duplicates: Duplicates::AfterAFault,
        run: lease_stolen,
    },
];

/// The child tries again until DynamoDB takes its checkpoint; no process ends, nothing comes twice.
fn recovers(case: &mut Case<'_>, fault: Fault) -> Result<()> {
    let proxy = FaultProxy::start(&case.stage.dynamodb)?;
    case.properties.insert("dynamoDBEndpoint", proxy.url.clone());
    // The daemon's SDK tries a throttled call for up to a minute, in which no lease of the worker is
    // renewed: with the default of 10 s all would be lost, whatever the child does.
    case.properties.insert("failoverTimeMillis", "90000".to_owned());
    let stream = case.stream(&case.stage.ferrokinesis, 2)?;
    stream.put(&records(300, 20..=200, 11), &mut case.put)?;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    proxy.set(Some(fault));
    stream.put(&records(300, 20..=200, 12), &mut case.put)?;
    wait_for("the children to hear of it", || {
        let heard = match fault {
            Fault::Throttled => worker.log_has("Provisioned Throughput on the lease table")?,
            Fault::Refused | Fault::Broken => proxy.answered() >= 4,
        };
        Ok(heard.then_some(()))
    })?;
    proxy.set(None);
    stream.put(&records(300, 20..=200, 13), &mut case.put)?;
    case.wait_for_all(&mut worker)?;
    worker.stop()?;
    case.all_is_checkpointed()?;
    let lives = case.ledger()?.lives;
    ensure!(lives.len() == 2, "{} processes for 2 shards", lives.len());
    case.notes.push(format!("{} checkpoints refused", proxy.answered()));
    Ok(())
}

/// Another worker's name is in one lease between a batch and its checkpoint: that shard's child
/// hears of it, and the other shard goes on in its process.
fn lease_stolen(case: &mut Case<'_>) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 2)?;
    stream.put(&records(2_000, 20..=200, 14), &mut case.put)?;
    case.properties.insert("maxRecords", "100".to_owned());
    // A batch is under way for half a second, a checkpoint for some milliseconds.
    case.processor.pause_micros = 5_000;
    let mut worker = case.start(&stream, &[])?;
    case.wait_until(&mut worker, "both shards to be under way", |ledger| {
        ledger.lives.iter().filter(|life| life.has(&Event::Done)).count() == 2
    })?;
    let (stolen, other) = ("shardId-000000000000", "shardId-000000000001");
    case.stage.dynamodb.call(
        "UpdateItem",
        &json!({
            "TableName": case.name,
            "Key": {"leaseKey": {"S": stolen}},
            "UpdateExpression": "SET leaseOwner = :owner ADD leaseCounter :one",
            "ExpressionAttributeValues": {":owner": {"S": "another"}, ":one": {"N": "1"}},
        }),
    )?;
    case.wait_for_all(&mut worker)?;
    worker.stop()?;
    let lives = case.ledger()?.lives;
    let of = |shard: &str| lives.iter().filter(|life| life.shard == shard).collect::<Vec<_>>();
    ensure!(of(other).len() == 1, "the other shard had {} processes", of(other).len());
    ensure!(of(stolen).len() == 2, "the stolen shard had {} processes", of(stolen).len());
    let first = of(stolen)[0];
    let refused = first.checkpoints().iter().any(|(_, answer)| *answer != "ok");
    ensure!(refused, "no checkpoint was refused");
    ensure!(first.has(&Event::LeaseLost), "no leaseLost");
    case.all_is_checkpointed()
}
