//! Runs the scenarios on one stage, several at a time, and prints one table.
//!
//! `kcl-e2e [--all] [--version V]… [--jobs N] [--keep FOLDER] --helper PATH --tools FOLDER [NAME]…`

use std::collections::VecDeque;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use kcl_e2e::case::{Case, Duplicates, Scenario, Version};
use kcl_e2e::ledger::Verdict;
use kcl_e2e::scenarios;
use kcl_e2e::stage::{Stage, Tools, tail};

#[derive(Debug, Default)]
struct Args {
    all: bool,
    versions: Vec<String>,
    names: Vec<String>,
    jobs: usize,
    helper: PathBuf,
    tools: PathBuf,
    /// Where the folders of failed scenarios are kept.
    keep: PathBuf,
}

fn args() -> Result<Args> {
    let mut args = Args { jobs: 4, ..Args::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--all" => args.all = true,
            "--version" => args.versions.push(value()?),
            "--jobs" => args.jobs = value()?.parse()?,
            "--helper" => args.helper = std::path::absolute(value()?)?,
            "--tools" => args.tools = std::path::absolute(value()?)?,
            "--keep" => args.keep = std::path::absolute(value()?)?,
            _ if word.starts_with('-') => bail!("unknown option {word}"),
            _ => args.names.push(word),
        }
    }
    Ok(args)
}

/// A scenario's row in the table.
struct Row {
    scenario: &'static str,
    version: Version,
    verdict: Verdict,
    seconds: f64,
    notes: Vec<String>,
    failure: Option<String>,
}

fn run_one(stage: &Stage, scenario: &Scenario, version: Version, keep: &Path) -> Row {
    let started = Instant::now();
    let mut row = Row {
        scenario: scenario.name,
        version,
        verdict: Verdict::default(),
        seconds: 0.0,
        notes: Vec::new(),
        failure: None,
    };
    let mut result = Case::new(stage, scenario, version).and_then(|mut case| {
        let run = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&mut case)));
        let verdict = case.verdict();
        row.notes = std::mem::take(&mut case.notes);
        row.verdict = verdict.as_ref().cloned().unwrap_or_default();
        run.unwrap_or_else(|_| bail!("the scenario panicked"))?;
        let verdict = verdict?;
        ensure!(verdict.put > 0, "nothing was put");
        ensure!(verdict.wrong.is_empty(), "{}", first_lines(&verdict.wrong));
        ensure!(verdict.lost == 0, "{} records lost", verdict.lost);
        if scenario.duplicates == Duplicates::Never {
            ensure!(verdict.duplicated == 0, "{} duplicates without a fault", verdict.duplicated);
        }
        Ok(())
    });
    row.seconds = started.elapsed().as_secs_f64();
    let name = scenario.case_name(version);
    let folder = stage.folder.join(&name);
    if result.is_ok() && left_over(&folder) {
        result =
            Err(anyhow::anyhow!("processes are left, which have {name} in their command line"));
    }
    if let Err(error) = result {
        let kept = keep.join(&name);
        let mut text = format!("{error:#}\n");
        if let Ok(entries) = fs::read_dir(&folder) {
            let mut logs: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
            logs.sort();
            for log in logs {
                let name = log.file_name().unwrap_or_default().display();
                text.push_str(&format!("--- the end of {name}\n{}\n", tail(&log, 25)));
            }
        }
        let _ = fs::create_dir_all(keep);
        let copied = Command::new("cp").arg("-r").arg(&folder).arg(&kept).status();
        if copied.is_ok_and(|status| status.success()) {
            text.push_str(&format!("--- all of it is in {}\n", kept.display()));
        }
        row.failure = Some(text);
    }
    // Big logs need not wait for the end.
    let _ = fs::remove_dir_all(&folder);
    row
}

fn first_lines(lines: &[String]) -> String {
    let more =
        if lines.len() > 5 { format!("\nand {} more", lines.len() - 5) } else { String::new() };
    lines[..lines.len().min(5)].join("\n") + &more
}

/// Whether a process has the scenario's folder in its command line, a moment after its end.
fn left_over(folder: &Path) -> bool {
    let folder = folder.display().to_string();
    let has = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    };
    let any = || fs::read_dir("/proc").is_ok_and(|entries| entries.filter_map(Result::ok).any(has));
    for _ in 0..50 {
        if !any() {
            return false;
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    true
}

fn main() -> Result<ExitCode> {
    let args = args()?;
    let started = Instant::now();
    let mut queue = VecDeque::new();
    for scenario in scenarios::all() {
        let versions = if args.all { scenario.all } else { scenario.ci };
        for &version in versions {
            let wanted = (args.versions.is_empty() || args.versions.iter().any(|v| v == version))
                && (args.names.is_empty() || args.names.iter().any(|n| n == scenario.name));
            if wanted {
                queue.push_back((queue.len(), scenario, version));
            }
        }
    }
    ensure!(!queue.is_empty(), "no scenario has such a name");
    let _ = fs::remove_dir_all(&args.keep);
    let tools = Tools { helper: args.helper.clone(), tools: args.tools.clone() };
    let stage = Stage::start(tools)?;
    println!("the stage is up after {:.1}s", started.elapsed().as_secs_f64());
    let queue = Mutex::new(queue);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nobody panics with it").pop_front();
                    let Some((index, scenario, version)) = next else { break };
                    // A thread of its own: what it has started ends with it.
                    let row = thread::scope(|scope| {
                        let run = scope.spawn(|| run_one(&stage, &scenario, version, &args.keep));
                        run.join().expect("the scenario's panic is caught")
                    });
                    let word = if row.failure.is_some() { "FAIL" } else { "ok  " };
                    println!("{word}  {} {version} ({:.0}s)", row.scenario, row.seconds);
                    rows.lock().expect("nobody panics with it").push((index, row));
                }
            });
        }
    });
    drop(stage);
    let mut rows = rows.into_inner().expect("nobody panics with it");
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    print_table(&rows);
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    println!("in {:.0}s", started.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", rows.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_table(rows: &[Row]) {
    for row in rows {
        if let Some(failure) = &row.failure {
            println!("\nFAIL  {} {}: {failure}", row.scenario, row.version);
        }
    }
    println!(
        "\n{:24} {:7} {:>7} {:>9} {:>10} {:>5} {:>7}",
        "scenario", "version", "put", "delivered", "duplicated", "lost", "seconds"
    );
    for row in rows {
        let verdict = &row.verdict;
        let mut notes = row.notes.clone();
        if verdict.skipped > 0 {
            notes.push(format!("{} kept by the skip policy", verdict.skipped));
        }
        println!(
            "{:24} {:7} {:>7} {:>9} {:>10} {:>5} {:>7.0}  {}",
            row.scenario,
            row.version,
            verdict.put,
            verdict.delivered,
            verdict.duplicated,
            verdict.lost,
            row.seconds,
            notes.join("; ")
        );
    }
}
