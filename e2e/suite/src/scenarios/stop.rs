//! SIGTERM and Ctrl-C to `kcl-helper run`.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::aws::records;
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3};
use crate::ledger::Event;
use crate::processor::Checkpoint;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sigterm",
        ci: ALL,
        all: ALL,
        duplicates: Duplicates::Never,
        run: |case| stopped_by(case, Signal::TERM),
    },
    Scenario {
        name: "ctrl-c",
        ci: &[V2_2, V3],
        all: ALL,
        duplicates: Duplicates::Never,
        run: |case| stopped_by(case, Signal::INT),
    },
];

/// Nothing is checkpointed but when the shutdown is requested, in the middle of the work; and the
/// second start delivers nothing twice.
fn stopped_by(case: &mut Case<'_>, signal: Signal) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 2)?;
    stream.put(&records(3_000, 20..=200, 3), &mut case.put)?;
    case.processor.checkpoint = Checkpoint::AtTheEnd;
    case.properties.insert("maxRecords", "100".to_owned());
    case.properties.insert("workerId", "the-same".to_owned());
    // Slow enough that the stop finds work undone.
    case.processor.pause_micros = 5_000;
    let mut worker = case.start(&stream, &[])?;
    case.wait_until(&mut worker, "both shards to be under way", |ledger| {
        let under_way = ledger.lives.iter().filter(|life| life.has(&Event::Done));
        under_way.count() == 2
    })?;
    worker.stop_by(signal)?;
    let ledger = case.ledger()?;
    ensure!(ledger.lives.len() == 2, "{} processes", ledger.lives.len());
    for life in &ledger.lives {
        ensure!(life.has(&Event::ShutdownRequested), "{}: no shutdownRequested", life.shard);
        ensure!(life.checkpoints().last() == Some(("all", "ok")), "{}: no checkpoint", life.shard);
        let last = life.records().last().map(|(_, at)| at.0.0.clone());
        let stored = case.checkpoint(&life.shard)?;
        ensure!(stored == last, "{}: {stored:?} is stored, not {last:?}", life.shard);
    }
    case.all_gone(ledger.lives.iter().map(|life| life.pid))?;
    let delivered = ledger.deliveries();
    ensure!(delivered < case.put.count(), "all was delivered before the stop");
    case.notes.push(format!("stopped after {delivered}"));
    case.processor.pause_micros = 0;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    worker.stop()
}
