//! How far a run is: counters that the drivers keep, and their display.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use crate::output::with_commas;

/// Nothing is drawn before this.
const QUIET_START: Duration = Duration::from_millis(500);
/// How often a line is printed where nothing can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// More shards than these share one line.
const MAX_SHARD_BARS: usize = 8;

/// What a shard has done so far.
#[derive(Debug, Default)]
pub(crate) struct ShardStats {
    records: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    /// The last line covered by the checkpoint.
    checkpoint: AtomicU64,
}

impl ShardStats {
    pub(crate) fn add_batch(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_checkpoint(&self, line: u64) {
        self.checkpoint.store(line, Ordering::Relaxed);
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

/// The display: on a terminal a line a shard, else a line every few seconds.
#[derive(Debug)]
pub(crate) struct Progress {
    console: Console,
    stats: Vec<Arc<ShardStats>>,
    /// How much of the input has been read.
    position: Arc<AtomicU64>,
    /// How much there is.
    length: Option<u64>,
    start: Instant,
    last_line: Instant,
    /// Records at the last line.
    last_records: u64,
    input: Option<ProgressBar>,
    bars: Vec<ProgressBar>,
    is_tried: bool,
}

impl Progress {
    pub(crate) fn new(
        console: Console,
        stats: Vec<Arc<ShardStats>>,
        position: Arc<AtomicU64>,
        length: Option<u64>,
    ) -> Progress {
        let now = Instant::now();
        Progress {
            console,
            stats,
            position,
            length,
            start: now,
            last_line: now,
            last_records: 0,
            input: None,
            bars: vec![],
            is_tried: false,
        }
    }

    /// To be called several times a second.
    pub(crate) fn tick(&mut self) {
        if self.console.is_quiet() || self.start.elapsed() < QUIET_START {
            return;
        }
        if !self.is_tried {
            self.is_tried = true;
            self.start_bars();
        }
        if self.bars.is_empty() {
            self.print_line();
        } else {
            self.draw();
        }
    }

    /// Takes the display away.
    pub(crate) fn end(&mut self) {
        for bar in self.input.take().into_iter().chain(self.bars.drain(..)) {
            bar.finish_and_clear();
        }
        let _ = self.console.bars().clear();
        self.console.bars().set_draw_target(ProgressDrawTarget::hidden());
    }

    fn start_bars(&mut self) {
        let bars = self.console.bars();
        bars.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if bars.is_hidden() {
            // No terminal, or one that cannot draw.
            return;
        }
        if let Some(length) = self.length {
            let style = ProgressStyle::with_template("input    {bar:30} {percent}%")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.input = Some(bars.add(ProgressBar::new(length).with_style(style)));
        }
        let style = ProgressStyle::with_template("{prefix}{wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let mut add = |prefix: String| {
            let bar = bars.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(prefix);
            self.bars.push(bar);
        };
        if self.stats.len() <= MAX_SHARD_BARS {
            for shard in 0..self.stats.len() {
                add(format!("shard {shard}  "));
            }
        } else {
            add(format!("{} shards  ", self.stats.len()));
        }
    }

    fn draw(&self) {
        if let Some(input) = &self.input {
            input.set_position(self.position.load(Ordering::Relaxed));
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let one_each = self.bars.len() == self.stats.len();
        for (index, bar) in self.bars.iter().enumerate() {
            let stats = if one_each { &self.stats[index..=index] } else { &self.stats[..] };
            let records = sum(stats, ShardStats::records);
            let mut message =
                format!("{} records  {}", with_commas(records), rate(records, seconds));
            if one_each {
                match stats[0].checkpoint.load(Ordering::Relaxed) {
                    0 => message.push_str("  no checkpoint"),
                    u64::MAX => message.push_str("  checkpoint at the shard's end"),
                    line => {
                        message.push_str(&format!("  checkpoint at line {}", with_commas(line)));
                    }
                }
            }
            bar.set_message(message);
        }
    }

    fn print_line(&mut self) {
        let since = self.last_line.elapsed();
        if since < LINE_EVERY {
            return;
        }
        let records = sum(&self.stats, ShardStats::records);
        if records == self.last_records {
            // That a child is silent is said elsewhere; an input at rest needs no words.
            return;
        }
        self.console.say(&format!(
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
