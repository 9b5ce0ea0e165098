//! A shard is split, and its children are merged again, while the application runs.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::aws::{NewRecord, Stream, wait_for};
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3};
use crate::ledger::{Event, Ledger};
use crate::processor::Checkpoint;

const fn scenario(name: &'static str, run: fn(&mut Case<'_>) -> Result<()>) -> Scenario {
    Scenario { name, ci: &[V2_2, V3], all: ALL, duplicates: Duplicates::Never, run }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("split-merge", |case| split_and_merge(case, Checkpoint::Batch)),
    // The last record was just checkpointed by its number when the shard ends.
    scenario("split-merge-by-number", |case| split_and_merge(case, Checkpoint::LastRecord)),
    scenario("split-merge-cadence", |case| split_and_merge(case, Checkpoint::Cadence)),
];

/// A quarter of the hash keys.
const QUARTER: u128 = 1 << 126;

/// In turn to the first, the second, and the last two quarters of the hash keys.
fn spread(stream: &Stream, case: &mut Case<'_>, seed: u64) -> Result<()> {
    let mut new: Vec<NewRecord> = crate::aws::records(120, 20..=200, seed);
    for (index, record) in new.iter_mut().enumerate() {
        let quarter = (index % 4) as u128;
        record.hash_key = Some((quarter * QUARTER + index as u128).to_string());
    }
    stream.put(&new, &mut case.put)
}

fn has_shard(ledger: &Ledger, number: usize) -> bool {
    ledger.of_shard(&shard(number)).next().is_some()
}

fn shard(number: usize) -> String {
    format!("shardId-{number:012}")
}

/// The child's first life began when the parent's end had been answered.
fn ends_before(ledger: &Ledger, parent: usize, child: usize) -> Result<()> {
    let (parent, child) = (shard(parent), shard(child));
    let ended = ledger.of_shard(&parent).find_map(|life| life.time_of(&Event::ShardEnded));
    let ended = ended.with_context(|| format!("{parent} has not ended"))?;
    let began = ledger.of_shard(&child).map(|life| life.began()).min();
    let began = began.with_context(|| format!("{child} has not begun"))?;
    ensure!(ended <= began, "{child} began {} ms before {parent} ended", ended - began);
    Ok(())
}

fn split_and_merge(case: &mut Case<'_>, checkpoint: Checkpoint) -> Result<()> {
    case.processor.checkpoint = checkpoint;
    let stream = case.stream(&case.stage.kinesis_local, 2)?;
    spread(&stream, case, 10)?;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;

    let split = json!({"ShardToSplit": shard(0), "NewStartingHashKey": QUARTER.to_string()});
    stream.call("SplitShard", split)?;
    stream.wait_until_active()?;
    spread(&stream, case, 11)?;
    ensure!(case.put.shards.contains_key(&shard(3)), "shard 0 was not split into 2 and 3");
    case.wait_for_all(&mut worker)?;
    // The parent's lease may be cleaned away once its children are under way.
    wait_for("the parent's end to be stored", || {
        let stored = case.checkpoint(&shard(0))?;
        Ok(stored.is_none_or(|stored| stored == "SHARD_END").then_some(()))
    })?;

    stream
        .call("MergeShards", json!({"ShardToMerge": shard(2), "AdjacentShardToMerge": shard(3)}))?;
    stream.wait_until_active()?;
    spread(&stream, case, 12)?;
    case.wait_for_all(&mut worker)?;
    let ledger = case.wait_until(&mut worker, "the merged shard", |ledger| has_shard(ledger, 4))?;
    worker.stop()?;
    for (parent, child) in [(0, 2), (0, 3), (2, 4), (3, 4)] {
        ends_before(&ledger, parent, child)?;
    }
    ensure!(ledger.lives.len() == 5, "{} processes for 5 shards", ledger.lives.len());
    Ok(())
}
