//! What makes figures doubtful.

use std::time::Duration;

use super::figures::{Figures, TurnFigures, median};
use super::options::Options;
use super::shard::Until;
use super::units;
use crate::output::count;

/// A turn with this modified Z-score or more is an outlier, as for hyperfine.
const OUTLIER: f64 = 14.826;
/// With fewer batches than this, a percentile is a batch or two.
const FEW_BATCHES: u64 = 100;
const SHORT: Duration = Duration::from_millis(500);

/// Returns what makes the figures doubtful, each with a hint.
pub(crate) fn warnings(options: &Options, figures: &[Figures]) -> Vec<(String, String)> {
    let mut warnings = vec![];
    for (figures, name) in figures.iter().zip(["A: ", "B: "]) {
        let name = if options.programs.len() > 1 { name } else { "" };
        let mut warn =
            |text: &str, hint: &str| warnings.push((format!("{name}{text}"), hint.to_owned()));
        let total = figures.total();
        if total.took < SHORT || total.batches < FEW_BATCHES {
            let text = format!(
                "too short: {} in {}",
                count(total.batches, "batch"),
                units::time(total.took.as_nanos() as u64)
            );
            let hint = match options.until {
                Until::Passed(_) => "set --duration 30s".to_owned(),
                Until::Batches(count) => format!("set --batches {}", count.max(1) * 10),
            };
            warn(&text, &hint);
            continue;
        }
        if options.rate.is_some() {
            continue;
        }
        let rates: Vec<f64> = figures.turns.iter().map(TurnFigures::rate).collect();
        let scores = scores(&rates);
        let is_slow = |index: usize| scores[index] < -OUTLIER;
        if scores.len() >= 4 && is_slow(0) {
            let twice = (options.warmup * 3).max(Duration::from_secs(1));
            let hint = format!("set --warmup {}s", twice.as_secs_f64().ceil());
            warn("the first turn was slow, perhaps as the child was still warming up", &hint);
        } else if scores.len() >= 4 && (1..scores.len()).any(|index| scores[index].abs() > OUTLIER)
        {
            let hint = match (&options.cpus, options.until) {
                (None, _) => "end other programs, or set --cpus 0,1 to choose cores".into(),
                (_, Until::Passed(time)) => {
                    let seconds = (time * 3).as_secs_f64().ceil();
                    format!("end other programs, or set --duration {seconds}s")
                }
                (_, Until::Batches(count)) => {
                    format!("end other programs, or set --batches {}", count * 3)
                }
            };
            warn("some turns were far from the others, perhaps as other programs were busy", &hint);
        }
    }
    warnings
}

/// Returns modified Z-scores: the distance of each value from the median, in units that a single outlier
/// does not change.
fn scores(values: &[f64]) -> Vec<f64> {
    let middle = median(values.to_vec());
    let deviation = median(values.iter().map(|value| (value - middle).abs()).collect());
    // If more than half are equal, any other would be infinitely far.
    let deviation = deviation.max(middle.abs() * 0.005).max(f64::MIN_POSITIVE);
    values.iter().map(|value| (value - middle) / deviation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_scores_of_small_samples() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let scores = scores(&[40.0, 100.0, 101.0, 99.0, 100.0]);
        assert!(scores[0] < -OUTLIER && scores[1..].iter().all(|score| score.abs() < OUTLIER));
    }
}
