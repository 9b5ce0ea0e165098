//! Children, processors, helpers and JVMs that fail.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::aws::records;
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3, Version, send};
use crate::ledger::Event;
use crate::processor::{Fault, FaultKind, OnError};

const TWO: &[Version] = &[V2_2, V3];

const fn scenario(
    name: &'static str,
    ci: &'static [Version],
    run: fn(&mut Case<'_>) -> Result<()>,
) -> Scenario {
    Scenario { name, ci, all: ALL, duplicates: Duplicates::AfterAFault, run }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("child-kill", ALL, |case| ends_and_starts_again(case, FaultKind::Kill)),
    scenario("error-exit", TWO, |case| ends_and_starts_again(case, FaultKind::Error)),
    scenario("panic-exit", TWO, |case| ends_and_starts_again(case, FaultKind::Panic)),
    scenario("hang", TWO, |case| {
        case.properties.insert("timeoutInSeconds", "10".to_owned());
        ends_and_starts_again(case, FaultKind::Hang)
    }),
    scenario("error-retry", TWO, |case| goes_on(case, FaultKind::Error, OnError::Retry, 3, 0)),
    scenario("error-skip", TWO, |case| goes_on(case, FaultKind::Error, OnError::Skip, 1, 1)),
    scenario("panic-skip", TWO, |case| goes_on(case, FaultKind::Panic, OnError::Skip, 1, 1)),
    scenario("retry-then-skip", TWO, |case| {
        goes_on(case, FaultKind::Error, OnError::RetryThenSkip, 1000, 1)
    }),
    scenario("helper-kill", TWO, helper_killed),
    scenario("jvm-kill", TWO, jvm_killed),
];

/// The first shard that gets so far fails once; the worker ends, and `--restart on-failure` starts
/// it again.
fn ends_and_starts_again(case: &mut Case<'_>, kind: FaultKind) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 2)?;
    stream.put(&records(2_000, 20..=200, 4), &mut case.put)?;
    case.properties.insert("maxRecords", "200".to_owned());
    case.processor.fault = Some(Fault { kind, at: 250, times: 1 });
    let mut worker = case.start(&stream, &["--restart", "on-failure"])?;
    case.wait_for_all(&mut worker)?;
    ensure!(worker.log_has("restarting it in")?, "the daemon was not restarted");
    worker.stop()?;
    let ledger = case.ledger()?;
    let faults = ledger.lives.iter().flat_map(|life| &life.events);
    let faults = faults.filter(|(_, event)| matches!(event, Event::Fault(_))).count();
    ensure!(faults == 1, "{faults} faults");
    case.all_gone(ledger.lives.iter().map(|life| life.pid))?;
    case.all_is_checkpointed()
}

/// The policy deals with it: one worker, one process a shard.
fn goes_on(
    case: &mut Case<'_>,
    kind: FaultKind,
    policy: OnError,
    times: usize,
    skipped: usize,
) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 1)?;
    stream.put(&records(1_000, 20..=200, 5), &mut case.put)?;
    case.properties.insert("maxRecords", "200".to_owned());
    case.processor.on_error = policy;
    case.processor.fault = Some(Fault { kind, at: 250, times });
    let mut worker = case.start(&stream, &[])?;
    case.wait_until(&mut worker, "all to be dealt with", |ledger| {
        crate::ledger::judge(&case.put, ledger).lost == 0
    })?;
    worker.stop()?;
    let (ledger, verdict) = (case.ledger()?, case.verdict()?);
    ensure!(ledger.lives.len() == 1, "{} processes", ledger.lives.len());
    ensure!(verdict.skipped >= skipped, "{} records kept", verdict.skipped);
    ensure!(skipped > 0 || verdict.skipped == 0, "{} records kept", verdict.skipped);
    case.all_is_checkpointed()
}

fn under_way(case: &mut Case<'_>) -> Result<(crate::aws::Stream, crate::case::Worker)> {
    let stream = case.stream(&case.stage.ferrokinesis, 2)?;
    stream.put(&records(2_000, 20..=200, 6), &mut case.put)?;
    case.properties.insert("maxRecords", "200".to_owned());
    case.processor.pause_micros = 5_000;
    let mut worker = case.start(&stream, &[])?;
    case.wait_until(&mut worker, "both shards to be under way", |ledger| {
        ledger.lives.iter().filter(|life| life.has(&Event::Done)).count() == 2
    })?;
    case.processor.pause_micros = 0;
    Ok((stream, worker))
}

/// The guardian stops the daemon: nothing is left.
fn helper_killed(case: &mut Case<'_>) -> Result<()> {
    let (stream, mut worker) = under_way(case)?;
    let jvm = worker.jvm()?;
    worker.signal(Signal::KILL)?;
    worker.wait()?;
    case.all_gone([jvm])?;
    case.all_gone(case.ledger()?.lives.iter().map(|life| life.pid))?;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    worker.stop()
}

fn jvm_killed(case: &mut Case<'_>) -> Result<()> {
    let (stream, mut worker) = under_way(case)?;
    send(worker.jvm()?, Signal::KILL)?;
    let status = worker.wait()?;
    ensure!(status.code() == Some(137), "the helper ended with {status}");
    case.all_gone(case.ledger()?.lives.iter().map(|life| life.pid))?;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    worker.stop()
}
