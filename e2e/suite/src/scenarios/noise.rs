//! Processors that print, flood, and leave programs behind.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::aws::records;
use crate::case::{ALL, Case, Duplicates, Scenario, V2_2, V3, is_alive};

const fn scenario(name: &'static str, run: fn(&mut Case<'_>) -> Result<()>) -> Scenario {
    Scenario { name, ci: &[V2_2, V3], all: ALL, duplicates: Duplicates::Never, run }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("stdout-printer", |case| {
        case.processor.prints = true;
        undisturbed(case)
    }),
    scenario("stderr-flood", |case| {
        case.processor.floods_megabytes = 100;
        undisturbed(case)
    }),
    scenario("subprocess", |case| {
        case.processor.leaves_subprocess = true;
        undisturbed(case)?;
        let entries = fs::read_dir(&case.folder)?.filter_map(Result::ok);
        let names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        let pid = names.iter().find_map(|name| name.strip_prefix("subprocess-"));
        let pid = pid.context("no subprocess was started")?.parse()?;
        ensure!(!is_alive(pid), "the subprocess is left");
        Ok(())
    }),
];

fn undisturbed(case: &mut Case<'_>) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 1)?;
    stream.put(&records(1_000, 20..=200, 7), &mut case.put)?;
    case.properties.insert("maxRecords", "200".to_owned());
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    // What the subprocess holds open may keep the daemon from its end: the helper sees to that.
    worker.signal(rustix::process::Signal::TERM)?;
    let status = worker.wait()?;
    ensure!(status.success() || case.processor.leaves_subprocess, "ended with {status}");
    case.notes.push(format!("{status}"));
    let ledger = case.ledger()?;
    ensure!(ledger.lives.len() == 1, "{} processes", ledger.lives.len());
    case.all_gone(ledger.lives.iter().map(|life| life.pid))?;
    case.all_is_checkpointed()
}
