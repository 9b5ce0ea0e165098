//! What was measured, and the figures that follow from it.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::load::Load;
use super::shard::ShardResult;
use super::units;
use super::usage::Memory;

/// The figures of one command.
#[derive(Debug)]
pub(crate) struct Figures {
    /// From the start of a child to its status for `initialize`.
    pub(crate) start_up: Vec<Duration>,
    /// The memory of each child before its first batch and after its last one.
    pub(crate) idle: Vec<Memory>,
    pub(crate) busy: Vec<Memory>,
    pub(crate) turns: Vec<TurnFigures>,
    /// From a batch's first byte, or the moment for which it was intended, to its status; in
    /// nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) checkpoints: u64,
    /// How many children summed up what they got. Their sums were right.
    pub(crate) checked: u64,
}

/// The figures of all shards of one command in one turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TurnFigures {
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// CPU time of the children, if the system provides it.
    pub(crate) cpu: Option<Duration>,
    /// CPU time of the threads that lead their conversations.
    pub(crate) our_cpu: Duration,
}

impl TurnFigures {
    pub(crate) fn rate(&self) -> f64 {
        per(self.records as f64, self.took.as_secs_f64())
    }
}

impl Default for Figures {
    fn default() -> Figures {
        // Three significant digits, over the whole range.
        let latency = Histogram::new_with_bounds(1, u64::MAX / 2, 3);
        Figures {
            start_up: vec![],
            idle: vec![],
            busy: vec![],
            turns: vec![],
            latency: latency.unwrap_or_else(|_| unreachable!("the bounds are good")),
            checkpoints: 0,
            checked: 0,
        }
    }
}

impl Figures {
    pub(crate) fn add(&mut self, results: &[ShardResult], load: &Load) {
        for result in results {
            // Whatever the shards have counted fits.
            for value in result.latency.iter_recorded() {
                let count = u64::from(value.count_at_value());
                let _ = self.latency.record_n(value.value_iterated_to(), count);
            }
            self.checkpoints += result.checkpoints;
            let sums = load.sums(result.batches);
            self.checked += u64::from(result.last_words.as_ref() == Some(&sums));
        }
    }

    /// Returns the figures of all turns together.
    pub(crate) fn total(&self) -> TurnFigures {
        let mut total = TurnFigures { cpu: Some(Duration::ZERO), ..TurnFigures::default() };
        for turn in &self.turns {
            total.batches += turn.batches;
            total.records += turn.records;
            total.bytes += turn.bytes;
            total.took += turn.took;
            total.cpu = total.cpu.zip(turn.cpu).map(|(total, cpu)| total + cpu);
            total.our_cpu += turn.our_cpu;
        }
        total
    }

    pub(crate) fn bytes_per_second(&self) -> f64 {
        let total = self.total();
        per(total.bytes as f64, total.took.as_secs_f64())
    }

    pub(crate) fn start_up(&self) -> Duration {
        Duration::from_secs_f64(median(self.start_up.iter().map(Duration::as_secs_f64).collect()))
    }

    /// Returns the largest peak of a child.
    pub(crate) fn peak(&self) -> Option<u64> {
        Memory::of_all(&self.busy).peak
    }

    /// Returns the median of the children's resident memory before the first batch.
    pub(crate) fn idle(&self) -> Option<u64> {
        let sizes: Option<Vec<_>> = self.idle.iter().map(|memory| memory.rss).collect();
        Some(median(sizes?.into_iter().map(|size| size as f64).collect()) as u64)
    }
}

/// How many times as fast the first command is as the second.
#[derive(Debug)]
pub(crate) struct Ratio {
    /// Of each pair of turns.
    pub(crate) pairs: Vec<f64>,
    pub(crate) median: f64,
    /// The pairs' standard deviation.
    pub(crate) deviation: f64,
}

impl Ratio {
    pub(crate) fn of(figures: &[Figures]) -> Option<Ratio> {
        let [a, b] = figures else { return None };
        let pairs: Vec<f64> =
            a.turns.iter().zip(&b.turns).map(|(a, b)| per(a.rate(), b.rate())).collect();
        let count = pairs.len() as f64;
        let mean = per(pairs.iter().sum(), count);
        let squares: f64 = pairs.iter().map(|ratio| (ratio - mean).powi(2)).sum();
        let deviation = per(squares, count - 1.0).sqrt();
        Some(Ratio { median: median(pairs.clone()), pairs, deviation })
    }
}

/// A figure that must be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AtLeast {
    RecordsPerSecond(f64),
    BytesPerSecond(f64),
    Ratio(f64),
}

impl AtLeast {
    /// Returns the message if it was not reached.
    pub(crate) fn missed(self, figures: &[Figures]) -> Option<String> {
        let first = figures.first()?;
        let (got, wanted, got_text, wanted_text) = match self {
            AtLeast::RecordsPerSecond(wanted) => {
                let got = first.total().rate();
                (got, wanted, units::records(got), units::records(wanted))
            }
            AtLeast::BytesPerSecond(wanted) => {
                let got = first.bytes_per_second();
                (got, wanted, units::bytes_per_second(got), units::bytes_per_second(wanted))
            }
            AtLeast::Ratio(wanted) => {
                let got = Ratio::of(figures)?.median;
                (got, wanted, format!("{got:.3}x"), format!("{wanted}x"))
            }
        };
        (got < wanted).then(|| format!("{got_text} is less than --at-least {wanted_text}"))
    }
}

/// Returns the middle value, or 0 if there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Divides, or returns 0 if there is nothing to divide by.
pub(crate) fn per(value: f64, by: f64) -> f64 {
    if by > 0.0 { value / by } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_median_of_pairs() {
        let side = |rates: &[u64]| Figures {
            turns: rates
                .iter()
                .map(|rate| TurnFigures {
                    records: *rate,
                    took: Duration::from_secs(1),
                    ..TurnFigures::default()
                })
                .collect(),
            ..Figures::default()
        };
        let figures = [side(&[300, 400, 800]), side(&[100, 100, 200])];
        let ratio = Ratio::of(&figures).unwrap();
        assert_eq!(ratio.pairs, [3.0, 4.0, 4.0]);
        assert_eq!(ratio.median, 4.0);
        assert!((ratio.deviation - 0.577).abs() < 0.001);
        assert_eq!(AtLeast::Ratio(4.0).missed(&figures), None);
        assert_eq!(
            AtLeast::Ratio(4.5).missed(&figures).unwrap(),
            "4.000x is less than --at-least 4.5x"
        );
        assert_eq!(
            AtLeast::RecordsPerSecond(2e6).missed(&figures).unwrap(),
            "500 records/s is less than --at-least 2.00 M records/s"
        );
        assert!(Ratio::of(&figures[..1]).is_none());
    }
}
