//! The figures, for people and for machines.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::cpus::Cpus;
use super::doubts;
use super::figures::{Figures, Ratio, per};
use super::load::Load;
use super::options::Options;
use super::shard::Until;
use super::units::{bytes, bytes_per_second, nanos, records, time};
use super::usage::Memory;
use crate::child::Program;
use crate::columns::{Side, pad};
use crate::output::{count, with_commas};
use crate::secret::Masked;

/// How many bars show the latencies: in equal steps up to the 99th percentile, and one for the rest.
const BARS: u64 = 11;
const BAR_WIDTH: u64 = 40;
/// Shown for a figure that the system does not provide, instead of 0.
const NOT_KNOWN: &str = "not known";

pub(crate) fn banner(options: &Options, load: &Load) -> String {
    let amount = match options.until {
        Until::Passed(time) => humantime::format_duration(time).to_string(),
        Until::Batches(count) => format!("{} a shard", self::count(count, "batch")),
    };
    let rate = options.rate.map_or(String::new(), |rate| format!(" at {}", records(rate)));
    let warmup = if options.warmup.is_zero() {
        "no warm-up".into()
    } else {
        format!("{} of warm-up", humantime::format_duration(options.warmup))
    };
    let place = options.cpus.as_ref().map_or("any core".into(), Cpus::words);
    format!(
        "kcl-helper bench {} · {} · {} of {} B a batch, {} a line · {amount}{rate} after {warmup} · \
         {place}",
        env!("CARGO_PKG_VERSION"),
        count(options.shards.into(), "shard"),
        count(load.records, "record"),
        with_commas(options.size as u64),
        bytes(load.line.len() as u64),
    )
}

pub(crate) fn text(options: &Options, figures: &[Figures]) -> String {
    let mut text = String::new();
    let names = ["A", "B"];
    for (index, (figures, program)) in figures.iter().zip(&options.programs).enumerate() {
        if options.programs.len() > 1 {
            let _ = writeln!(text, "{}: {}", names[index], command(program));
        }
        one(&mut text, figures);
        if options.programs.len() > 1 {
            text.push('\n');
        }
    }
    if let Some(ratio) = Ratio::of(figures) {
        let _ = writeln!(
            text,
            "A is {:.2} ± {:.2} times as fast as B ({})",
            ratio.median,
            ratio.deviation,
            count(ratio.pairs.len() as u64, "interleaved pair")
        );
    }
    text
}

fn one(text: &mut String, figures: &Figures) {
    let total = figures.total();
    let cpu = total.cpu.map(|cpu| per(cpu.as_nanos() as f64, total.records as f64));
    let cpu = cpu.map_or(NOT_KNOWN.to_owned(), |cpu| format!("{}/record", nanos(cpu)));
    let memory = |size: Option<u64>| size.map_or(NOT_KNOWN.to_owned(), bytes);
    let checked = match figures.checked {
        0 => "sums not checked",
        _ => "sums right",
    };
    let _ = writeln!(
        text,
        "start-up {} · {} · {} · CPU {} · idle {} · peak {} · {} · {checked}",
        time(figures.start_up().as_nanos() as u64),
        records(total.rate()),
        bytes_per_second(figures.bytes_per_second()),
        cpu,
        memory(figures.idle()),
        memory(figures.peak()),
        count(total.batches, "batch"),
    );
    let latency = &figures.latency;
    let at = |quantile| time(latency.value_at_quantile(quantile));
    let _ = writeln!(
        text,
        "batch   p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        time(latency.max())
    );
    text.push_str(&bars(latency));
}

/// Draws a bar for each step, with the time at its end and the number of batches in it.
fn bars(latency: &Histogram<u64>) -> String {
    let mut text = String::new();
    if latency.is_empty() {
        return text;
    }
    let (min, p99) = (latency.min(), latency.value_at_quantile(0.99));
    let steps = BARS - 1;
    let ends: Vec<u64> = (1..=steps)
        .map(|step| {
            min + u64::try_from(u128::from(p99 - min) * u128::from(step) / u128::from(steps))
                .unwrap_or(0)
        })
        .collect();
    let mut counts = vec![0u64; ends.len() + 1];
    for value in latency.iter_recorded() {
        let at = latency.lowest_equivalent(value.value_iterated_to());
        let bar = ends.iter().position(|end| at <= *end).unwrap_or(ends.len());
        counts[bar] += value.count_at_value();
    }
    let labels: Vec<String> =
        ends.iter().map(|end| time(*end)).chain([format!("> {}", time(p99))]).collect();
    let width = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let numbers: Vec<String> = counts.iter().map(|count| with_commas(*count)).collect();
    let (label_width, number_width) = (width(&labels), width(&numbers));
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for ((label, number), count) in labels.iter().zip(&numbers).zip(&counts) {
        let length = (count * BAR_WIDTH).div_ceil(most) as usize;
        let (label, number) =
            (pad(label, label_width, Side::Right), pad(number, number_width, Side::Right));
        let _ = writeln!(text, "{label} [{number}] |{}", "■".repeat(length));
    }
    text
}

fn command(program: &Program) -> String {
    let words: Vec<String> = program.shown_words().iter().map(Masked::to_string).collect();
    words.join(" ")
}

/// The result as JSON. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Json {
    version: &'static str,
    options: JsonOptions,
    commands: Vec<JsonCommand>,
    /// How many times as fast the first command is as the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<JsonRatio>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonOptions {
    shards: u32,
    records_per_batch: u32,
    record_bytes: usize,
    line_bytes: usize,
    warmup_nanos: u64,
    turns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonCommand {
    command: Vec<Masked>,
    start_up_nanos: Vec<u64>,
    records: u64,
    bytes: u64,
    batches: u64,
    checkpoints: u64,
    nanos: u64,
    records_per_second: f64,
    bytes_per_second: f64,
    /// `null` where the system does not tell.
    cpu_nanos: Option<u64>,
    cpu_nanos_per_record: Option<f64>,
    driver_cpu_nanos_per_record: f64,
    idle: JsonMemory,
    busy: JsonMemory,
    /// How many children told sums, which were right.
    sums_checked: u64,
    /// Records a second of each turn.
    turns: Vec<f64>,
    latency: JsonLatency,
}

/// Of all children together, but for the peak, which is the largest of a child. `null` is what the
/// system does not tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonMemory {
    rss_bytes: Option<u64>,
    pss_bytes: Option<u64>,
    peak_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonLatency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
    /// Every value that was counted, to three digits, and how often.
    histogram: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRatio {
    median: f64,
    standard_deviation: f64,
    pairs: Vec<f64>,
}

pub(crate) fn json(options: &Options, load: &Load, figures: &[Figures]) -> Json {
    Json {
        version: env!("CARGO_PKG_VERSION"),
        options: JsonOptions {
            shards: options.shards,
            records_per_batch: options.batch,
            record_bytes: options.size,
            line_bytes: load.line.len(),
            warmup_nanos: in_nanos(options.warmup),
            turns: options.turns,
            records_per_second: options.rate,
            cpus: options.cpus.as_ref().map(Cpus::words),
        },
        commands: figures
            .iter()
            .zip(&options.programs)
            .map(|(figures, program)| json_command(figures, program))
            .collect(),
        ratio: Ratio::of(figures).map(|ratio| JsonRatio {
            median: ratio.median,
            standard_deviation: ratio.deviation,
            pairs: ratio.pairs,
        }),
        warnings: doubts::warnings(options, figures)
            .into_iter()
            .map(|(warning, _)| warning)
            .collect(),
    }
}

fn json_command(figures: &Figures, program: &Program) -> JsonCommand {
    let total = figures.total();
    let latency = &figures.latency;
    let records = total.records as f64;
    JsonCommand {
        command: program.shown_words(),
        start_up_nanos: figures.start_up.iter().copied().map(in_nanos).collect(),
        records: total.records,
        bytes: total.bytes,
        batches: total.batches,
        checkpoints: figures.checkpoints,
        nanos: in_nanos(total.took),
        records_per_second: total.rate(),
        bytes_per_second: figures.bytes_per_second(),
        cpu_nanos: total.cpu.map(in_nanos),
        cpu_nanos_per_record: total.cpu.map(|cpu| per(cpu.as_nanos() as f64, records)),
        driver_cpu_nanos_per_record: per(total.our_cpu.as_nanos() as f64, records),
        idle: json_memory(&figures.idle),
        busy: json_memory(&figures.busy),
        sums_checked: figures.checked,
        turns: figures.turns.iter().map(super::figures::TurnFigures::rate).collect(),
        latency: JsonLatency {
            min: latency.min(),
            mean: latency.mean(),
            p50: latency.value_at_quantile(0.5),
            p90: latency.value_at_quantile(0.9),
            p99: latency.value_at_quantile(0.99),
            p999: latency.value_at_quantile(0.999),
            max: latency.max(),
            histogram: latency
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
        },
    }
}

fn json_memory(memory: &[Memory]) -> JsonMemory {
    let Memory { rss, pss, peak } = Memory::of_all(memory);
    JsonMemory { rss_bytes: rss, pss_bytes: pss, peak_bytes: peak }
}

fn in_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_figure() {
        let turn = |cpu| super::super::figures::TurnFigures {
            records: 10,
            cpu,
            took: Duration::from_secs(1),
            ..Default::default()
        };
        let memory = |rss| Memory { rss, pss: None, peak: None };
        let figures = |cpu, rss| Figures {
            turns: vec![turn(Some(Duration::from_micros(70))), turn(cpu)],
            idle: vec![memory(Some(1 << 20)), memory(rss)],
            busy: vec![memory(rss)],
            ..Figures::default()
        };
        let figures_of = |figures: &Figures| {
            let mut text = String::new();
            one(&mut text, figures);
            let from = text.find("CPU").unwrap();
            text[from..].split(" · ").take(3).collect::<Vec<_>>().join(" · ")
        };
        let known = figures(Some(Duration::from_micros(30)), Some(3 << 20));
        assert_eq!(figures_of(&known), "CPU 5.00 µs/record · idle 2.00 MiB · peak not known");
        let unknown = figures(None, None);
        assert_eq!(figures_of(&unknown), "CPU not known · idle not known · peak not known");

        let program = Program { program: "x".into(), args: vec![] };
        let json = serde_json::to_value(json_command(&unknown, &program)).unwrap();
        for value in [
            "/cpuNanos",
            "/cpuNanosPerRecord",
            "/idle/rssBytes",
            "/busy/pssBytes",
            "/busy/peakBytes",
        ] {
            assert_eq!(json.pointer(value), Some(&serde_json::Value::Null), "{value}");
        }
    }

    #[test]
    fn eleven_bars() {
        let mut latency = Histogram::new_with_bounds(1, u64::MAX / 2, 3).unwrap();
        for value in 1..=1000u64 {
            latency.record(value * 1000).unwrap();
        }
        latency.record(50_000_000).unwrap();
        insta::assert_snapshot!(bars(&latency), @"
          100 µs [100] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          199 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          298 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          397 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          496 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          595 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          694 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          793 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          892 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
          991 µs [ 99] |■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■
        > 991 µs [ 10] |■■■■
        ");
        assert_eq!(bars(&Histogram::new_with_bounds(1, 1000, 3).unwrap()), "");
    }

    #[test]
    fn one_batch_is_one_bar() {
        let mut latency = Histogram::new_with_bounds(1, u64::MAX / 2, 3).unwrap();
        latency.record(1000).unwrap();
        assert_eq!(bars(&latency).matches("[1]").count(), 1);
    }
}
