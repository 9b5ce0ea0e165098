//! Two workers.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::aws::records;
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3, send};
use crate::ledger::{Event, judge};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "two-workers",
    ci: &[V2_2, V3],
    all: ALL,
    duplicates: Duplicates::AfterAFault,
    run: two_workers,
}];

/// The second worker takes shards over, then the first is killed and the second takes the rest.
fn two_workers(case: &mut Case<'_>) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 4)?;
    stream.put(&records(400, 20..=200, 20), &mut case.put)?;
    let mut first = case.start(&stream, &[])?;
    case.wait_for_all(&mut first)?;
    let mut second = case.start(&stream, &[])?;
    // Shards without traffic are not worth moving.
    let mut seed = 1000;
    let mut put = std::mem::take(&mut case.put);
    let began = std::time::Instant::now();
    let taken = case.wait_until(&mut second, "the second worker to take a shard", |ledger| {
        seed += 1;
        ledger.of_worker("worker2").next().is_some()
            || stream.put(&records(40, 200..=2_000, seed), &mut put).is_err()
    });
    case.put = put;
    let taken = taken?;
    let shard = taken.of_worker("worker2").next().map(|life| life.shard.clone());
    let shard = shard.unwrap_or_default();
    case.notes.push(format!("a shard taken over after {:.0}s", began.elapsed().as_secs_f64()));
    case.wait_for_all(&mut second)?;
    let ledger = case.ledger()?;
    let mut left = ledger.of_worker("worker1").filter(|life| life.shard == shard);
    let graceful = left.any(|life| life.has(&Event::ShutdownRequested));
    if case.version == V3 {
        ensure!(graceful, "{shard} was handed over without shutdownRequested");
        let duplicated = judge(&case.put, &ledger).duplicated;
        case.notes.push(format!("{duplicated} twice by the handoff"));
    }
    send(first.jvm()?, Signal::KILL)?;
    first.wait()?;
    let began = std::time::Instant::now();
    stream.put(&records(400, 20..=200, 21), &mut case.put)?;
    case.wait_for_all(&mut second)?;
    case.notes.push(format!("the rest {:.0}s after the SIGKILL", began.elapsed().as_secs_f64()));
    second.stop()?;
    case.all_is_checkpointed()
}
