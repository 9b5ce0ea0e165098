//! The progress of a run: counters of each shard, and how they are shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kinesis::Covered;
use crate::output::{Reporter, bar, percent, with_commas};

/// Nothing is shown before this.
const QUIET_START: Duration = Duration::from_millis(500);
/// How often a line is printed where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// More shards than these share one line.
const MAX_SHARD_LINES: usize = 8;

/// What a shard has done so far.
#[derive(Debug)]
pub(crate) struct ShardStats {
    records: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    checkpoint: Mutex<Covered>,
}

impl ShardStats {
    /// Of a shard whose checkpoint covers this.
    pub(crate) fn new(checkpoint: Covered) -> ShardStats {
        ShardStats {
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            checkpoint: Mutex::new(checkpoint),
        }
    }

    pub(crate) fn add_batch(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_checkpoint(&self, covered: Covered) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = covered;
    }

    fn checkpoint(&self) -> Covered {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}

/// Shows the progress: on a terminal a line per shard, otherwise a line every few seconds.
#[derive(Debug)]
pub(crate) struct Progress {
    reporter: Reporter,
    stats: Vec<Arc<ShardStats>>,
    /// How many bytes of the input have been read.
    position: Arc<AtomicU64>,
    /// How many there are, if that is known.
    length: Option<u64>,
    start: Instant,
    last_line: Instant,
    /// Records at the last line.
    last_records: u64,
}

impl Progress {
    pub(crate) fn new(
        reporter: Reporter,
        stats: Vec<Arc<ShardStats>>,
        position: Arc<AtomicU64>,
        length: Option<u64>,
    ) -> Progress {
        let now = Instant::now();
        Progress { reporter, stats, position, length, start: now, last_line: now, last_records: 0 }
    }

    /// Updates what is shown. Call it several times a second.
    pub(crate) fn tick(&mut self) {
        if self.reporter.is_quiet() || self.start.elapsed() < QUIET_START {
            return;
        }
        if self.reporter.has_screen() {
            self.reporter.show(self.lines());
        } else {
            self.print_line();
        }
    }

    /// Removes what is shown.
    pub(crate) fn end(&self) {
        self.reporter.show(vec![]);
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(length) = self.length {
            let position = self.position.load(Ordering::Relaxed);
            lines.push(format!(
                "input    {} {}%",
                bar(position, length),
                percent(position, length)
            ));
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let done = |stats: &[Arc<ShardStats>]| {
            let records = sum(stats, ShardStats::records);
            format!("{} records  {}", with_commas(records), rate(records, seconds))
        };
        if self.stats.len() > MAX_SHARD_LINES {
            lines.push(format!("{} shards  {}", self.stats.len(), done(&self.stats)));
            return lines;
        }
        for (shard, stats) in self.stats.iter().enumerate() {
            let checkpoint = match stats.checkpoint() {
                Covered::Nothing => "no checkpoint".into(),
                Covered::ShardEnd => "checkpoint at the shard's end".into(),
                Covered::Line(line) => format!("checkpoint at line {}", with_commas(line)),
            };
            let done = done(std::slice::from_ref(stats));
            lines.push(format!("shard {shard}  {done}  {checkpoint}"));
        }
        lines
    }

    fn print_line(&mut self) {
        let since = self.last_line.elapsed();
        if since < LINE_EVERY {
            return;
        }
        let records = sum(&self.stats, ShardStats::records);
        if records == self.last_records {
            // Silent children are reported elsewhere, and an idle input needs no line.
            return;
        }
        self.reporter.say(&format!(
            "{} records, {:.1} MB, {} in {:.0}s",
            with_commas(records),
            sum(&self.stats, ShardStats::bytes) as f64 / 1e6,
            rate(records - self.last_records, since.as_secs_f64()),
            self.start.elapsed().as_secs_f64(),
        ));
        self.last_line = Instant::now();
        self.last_records = records;
    }
}

fn sum(stats: &[Arc<ShardStats>], of: impl Fn(&ShardStats) -> u64) -> u64 {
    stats.iter().map(|stats| of(stats)).sum()
}

fn rate(records: u64, seconds: f64) -> String {
    format!("{}/s", with_commas((records as f64 / seconds.max(0.001)) as u64))
}
