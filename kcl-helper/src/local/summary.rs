//! The table at the end of a run.

use std::time::Duration;

use super::progress::ShardStats;
use super::shard::{Outcome, Report};
use crate::columns::{self, Side};
use crate::kinesis::{Covered, Place};
use crate::output::with_commas;

/// The row of a shard.
#[derive(Debug)]
pub(crate) struct Row {
    records: u64,
    skipped: u64,
    batches: u64,
    bytes: u64,
    took: Duration,
    checkpoint: String,
    outcome: String,
}

impl Report {
    /// Of a shard that an earlier run brought to its end.
    pub(crate) fn ended_before(checkpoint: Place) -> Report {
        Report { outcome: Outcome::ShardEnded, checkpoint, took: Duration::ZERO }
    }

    /// Of a shard whose thread has panicked.
    pub(crate) fn of_a_bug() -> Report {
        Report {
            outcome: Outcome::Failed("our bug".into()),
            checkpoint: crate::kinesis::trim_horizon(),
            took: Duration::ZERO,
        }
    }
}

impl Row {
    pub(crate) fn new(report: &Report, stats: &ShardStats, skipped: u64) -> Row {
        let outcome = match &report.outcome {
            Outcome::Ok => "ok",
            Outcome::ShardEnded => "shard ended",
            Outcome::Stopped => "stopped",
            Outcome::CutOff => "cut off",
            Outcome::Killed => "killed",
            Outcome::Failed(summary) => summary,
        };
        let checkpoint = match Covered::by(&report.checkpoint) {
            Covered::Nothing => "none".into(),
            Covered::ShardEnd => "SHARD_END".into(),
            Covered::Line(line) => format!("line {}", with_commas(line)),
        };
        Row {
            records: stats.records(),
            skipped,
            batches: stats.batches(),
            bytes: stats.bytes(),
            took: report.took,
            checkpoint,
            outcome: outcome.into(),
        }
    }
}

const HEAD: [&str; 8] =
    ["shard", "records", "skipped", "batches", "MB", "records/s", "checkpoint", "outcome"];
/// Text is aligned to the left, numbers to the right.
const SIDES: [Side; 8] = {
    let mut sides = [Side::Right; 8];
    (sides[0], sides[6], sides[7]) = (Side::Left, Side::Left, Side::Left);
    sides
};

/// Lays out a row for each shard, and one for their sum.
pub(crate) fn table(rows: &[Row], took: Duration) -> Vec<String> {
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
    let total = Row {
        records: sum(|row| row.records),
        skipped: sum(|row| row.skipped),
        batches: sum(|row| row.batches),
        bytes: sum(|row| row.bytes),
        took,
        checkpoint: String::new(),
        outcome: String::new(),
    };
    let mut lines = vec![HEAD.map(String::from)];
    lines.extend(rows.iter().enumerate().map(|(shard, row)| cells(shard.to_string(), row)));
    lines.push(cells("total".into(), &total));

    columns::lines(&lines, SIDES)
}

fn cells(shard: String, row: &Row) -> [String; 8] {
    let seconds = row.took.as_secs_f64();
    let rate = if row.records == 0 { 0.0 } else { row.records as f64 / seconds.max(0.001) };
    [
        shard,
        with_commas(row.records),
        with_commas(row.skipped),
        with_commas(row.batches),
        format!("{:.2}", row.bytes as f64 / 1e6),
        with_commas(rate as u64),
        row.checkpoint.clone(),
        row.outcome.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |records, skipped, checkpoint: &str, outcome: &str| Row {
            records,
            skipped,
            batches: records / 1000,
            bytes: records * 100,
            took: Duration::from_millis(500),
            checkpoint: checkpoint.into(),
            outcome: outcome.into(),
        };
        let rows = [row(1_234_000, 0, "line 2,468,000", "ok"), row(0, 7, "none", "exit status 3")];
        insta::assert_snapshot!(table(&rows, Duration::from_secs(1)).join("\n"), @r"
        shard    records  skipped  batches      MB  records/s  checkpoint      outcome
        0      1,234,000        0    1,234  123.40  2,468,000  line 2,468,000  ok
        1              0        7        0    0.00          0  none            exit status 3
        total  1,234,000        7    1,234  123.40  1,234,000
        ");
    }
}
