//! `kcl-helper bench` as its users see it: its output on both streams, without the figures, and its exit
//! status, with children that behave and children that do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use kcl_fixtures::awkward_child;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

const HELPER: &str = env!("CARGO_BIN_EXE_kcl-helper");

/// Takes arguments as they would be typed; `_` is a blank inside an argument.
fn command(args: &str) -> Command {
    let mut command = kcl_fixtures::scrubbed(HELPER);
    command.arg("bench");
    for arg in args.split_whitespace() {
        // Blanks first, as the paths may contain underscores.
        let arg = arg.replace('_', " ").replace("AWKWARD", &awkward_child());
        command.arg(arg.replace("HELPER", HELPER));
    }
    command
}

fn bench(args: &str) -> String {
    let output = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    format!(
        "{}\n---- stdout\n{}---- stderr\n{}",
        output.status,
        without_figures(&text(output.stdout)),
        clean(&text(output.stderr))
    )
}

/// A measurement that is short on any machine.
const SMALL: &str = "--warmup 0s --batches 8 --turns 4 --batch 5 --size 10B";

fn clean(text: &str) -> String {
    let text = text
        .replace(&awkward_child(), "[awkward_child]")
        .replace(HELPER, "[kcl-helper]")
        .replace(concat!("bench ", env!("CARGO_PKG_VERSION")), "bench [version]");
    let mut clean = String::new();
    for line in text.lines() {
        match line.split_once(" in ").filter(|(start, _)| start.contains("too short: ")) {
            Some((start, _)) => clean.push_str(&format!("{start} in [time]\n")),
            None => clean.push_str(&format!("{line}\n")),
        }
    }
    clean
}

/// Replaces each number and its unit with `#`, and removes the bars.
fn without_figures(text: &str) -> String {
    const UNITS: [&str; 16] = [
        "ns",
        "µs",
        "ms",
        "s",
        "ns/record",
        "µs/record",
        "ms/record",
        "B",
        "KiB",
        "MiB",
        "B/s",
        "kB/s",
        "MB/s",
        "GB/s",
        "k",
        "M",
    ];
    let mut clean = String::new();
    for line in clean_bars(text).lines() {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            let is_number = word
                .trim_end_matches("]")
                .trim_start_matches("[")
                .chars()
                .all(|char| char.is_ascii_digit() || matches!(char, '.' | ','));
            if is_number {
                words.push("#");
            } else if !(UNITS.contains(&word) && words.last() == Some(&"#")) {
                words.push(word);
            }
        }
        clean.push_str(&clean_line(&words));
    }
    clean
}

fn clean_bars(text: &str) -> String {
    text.replace(['■', '[', ']'], "")
}

fn clean_line(words: &[&str]) -> String {
    format!("{}\n", clean(&words.join(" ")).trim_end())
}

// ---- The command line

#[test]
fn figures_are_kept_if_only_the_end_fails() {
    let text = bench(&format!("{SMALL} -- AWKWARD knows=1"));
    assert!(text.starts_with("exit status: 1\n---- stdout\n"), "{text}");
    assert!(text.contains("records/s"), "{text}");
    let (_, stderr) = text.split_once("---- stderr\n").unwrap();
    insta::assert_snapshot!(stderr, @r#"
    kcl-helper bench [version] · 1 shard · 5 records of 10 B a batch, 1.07 KiB a line · 8 batches a shard after no warm-up · any core
    warning: too short: 8 batches in [time]
    hint: set --batches 80
    error: shard 0: the child ended with exit status 1 during leaseLost; the real daemon would stop all shards of its worker and exit 1
    hint: if the processor's library is for KCL 1.x, which has no leaseLost, add --protocol 1
    "#);
    let warned = bench(&format!("{SMALL} -- AWKWARD answer-for=shutdownRequested"));
    assert!(warned.starts_with("exit status: 0\n"), "{warned}");
    assert!(warned.contains("which the real daemon only logs"), "{warned}");
    let one = bench(&format!("{SMALL} --protocol 1 -- AWKWARD knows=1"));
    assert!(one.starts_with("exit status: 0\n"), "{one}");
}

#[test]
fn missing_command_is_an_error() {
    assert_snapshot!(bench(""));
}

#[test]
fn help_fits_a_screen() {
    let output = command("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() <= 70, "{text}");
    assert!(text.starts_with("Examples:") && !text.contains("patience"), "{text}");
}

#[test]
fn invalid_arguments_are_refused() {
    for (args, problem) in [
        ("--sample -- AWKWARD", "cannot be used with"),
        ("--sample --shards 0", "0 is not in 1..=1000"),
        ("--sample --duration 0", "write more than 0, such as 10s or 500ms"),
        ("--sample --size 1024", "the unit is missing: write 1024B or 1024KiB"),
        ("--sample --rate 5000", "the unit is missing: write 5000/s or 5000k/s"),
        ("--sample --at-least 2", "the unit is missing: write 2/s or 2x"),
        ("--sample --at-least 2x", "error: --at-least is invalid: a ratio needs two commands"),
        ("--sample --vs _", "error: --vs is invalid: the command is empty"),
        ("--sample --batches 5 --records 5", "cannot be used with"),
        ("--sample --cpus a", "write the numbers of cores, such as 0 or 0,1"),
        ("--sample --checkpoints throttled", "write ok, or an error and how often: throttled@10"),
        ("--sample --batch 10000 --size 1MiB", "is a line of about 13335 MiB: children accept 256"),
    ] {
        let output = command(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(problem), "{args}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn program_that_is_not_in_path_is_an_error() {
    assert_snapshot!(bench("-- no-such-program"));
}

// ---- Runs that go well

#[test]
fn sample_is_measured() {
    assert_snapshot!(bench(&format!("{SMALL} --sample")));
}

#[test]
fn child_without_sums_is_measured() {
    assert_snapshot!(bench(&format!("{SMALL} --shards 2 -- AWKWARD")));
}

#[test]
fn two_commands_are_compared() {
    assert_snapshot!(bench(&format!("{SMALL} --starts 2 --vs HELPER_bench-child --sample")));
}

#[test]
fn v_shows_stderr_of_the_child() {
    let text = bench(&format!("{SMALL} -v -- AWKWARD last-words=hello"));
    assert!(text.contains("\nshard 0 | hello\n"), "{text}");
}

#[test]
fn rate_is_kept() {
    let mut command = command(&format!("{SMALL} --format json --rate 1k/s --sample"));
    let output = command.output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // 40 records at 1000 a second.
    assert!(json["commands"][0]["nanos"].as_u64().unwrap() >= 40_000_000, "{json}");
}

#[cfg(target_os = "linux")]
#[test]
fn core_that_is_not_available_is_an_error() {
    let output = command("--sample --cpus 1023").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with(
            "error: cannot use core 1023: it is not available to this process\nhint: choose from "
        ),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn cpus_moves_the_driver_and_the_child() {
    // The last core that we may use: by default children may use all of them.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let core = cores.trim().rsplit([',', '-']).next().unwrap();
    let script = "grep Cpus_allowed_list /proc/self/status >&2; exec \"$0\" bench-child";
    let mut command = command(&format!("{SMALL} --format json -v --cpus {core} -- sh -c"));
    let output = command.args([script, HELPER]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("| Cpus_allowed_list:\t{core}\n")), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cpus = format!("driver on core {core}, children on {core}");
    assert_eq!(json["options"]["cpus"], cpus);
}

#[cfg(not(target_os = "linux"))]
#[test]
fn cpus_is_an_error_without_linux() {
    let output = command("--sample --cpus 0").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let system = std::env::consts::OS;
    let error = format!("error: cannot choose cores: {system} decides where threads run\n");
    assert_eq!(stderr, format!("{error}hint: leave --cpus out\n"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn checkpoints_may_be_refused() {
    let args = format!("{SMALL} -v --checkpoints illegal-argument@2 --sample");
    let output = command(&args).env("BENCH_CKPT_EVERY", "1").output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.matches("IllegalArgumentException").count(), 4, "{stderr}");
}

/// Checks what programs may rely on: fields, their types, and figures that follow from others.
#[test]
fn json_has_its_fields() {
    let args = format!("{SMALL} --shards 2 --format json --vs HELPER_bench-child --sample");
    let output = command(&args).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_snapshot!(schema(&json));
    let options = &json["options"];
    assert_eq!(options["recordsPerBatch"], 5);
    for command in json["commands"].as_array().unwrap() {
        assert_eq!(command["batches"], 16);
        assert_eq!(command["records"], 80);
        assert_eq!(command["bytes"], 800);
        assert_eq!(command["sumsChecked"], 2);
        assert_eq!(command["startUpNanos"].as_array().unwrap().len(), 2);
        assert_eq!(command["turns"].as_array().unwrap().len(), 4);
        let counts = command["latency"]["histogram"].as_array().unwrap();
        assert_eq!(counts.iter().map(|pair| pair[1].as_u64().unwrap()).sum::<u64>(), 16);
        for figure in ["cpuNanos", "recordsPerSecond", "bytesPerSecond"] {
            assert!(command[figure].as_f64().unwrap() > 0.0, "{figure}");
        }
        for memory in [&command["idle"], &command["busy"]] {
            assert!(memory["pssBytes"].as_u64() <= memory["rssBytes"].as_u64());
            assert!(memory["peakBytes"].as_u64().unwrap() > 0);
        }
    }
    assert_eq!(json["ratio"]["pairs"].as_array().unwrap().len(), 4);
}

/// Lists every path of a JSON value with its type; of an array only the first element.
fn schema(value: &Value) -> String {
    fn walk(path: &str, value: &Value, lines: &mut String) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(&format!("{path}.{name}"), value, lines);
                }
            }
            Value::Array(values) => match values.first() {
                Some(first) => walk(&format!("{path}[]"), first, lines),
                None => lines.push_str(&format!("{path}[] empty\n")),
            },
            Value::Null => lines.push_str(&format!("{path} null\n")),
            Value::Bool(_) => lines.push_str(&format!("{path} bool\n")),
            Value::Number(_) => lines.push_str(&format!("{path} number\n")),
            Value::String(_) => lines.push_str(&format!("{path} string\n")),
        }
    }
    let mut lines = String::new();
    walk("", value, &mut lines);
    lines
}

// ---- Checks of the figures

#[test]
fn missed_rate_is_a_failure() {
    let output = command(&format!("{SMALL} --at-least 900M/s --sample")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("records/s is less than --at-least 900 M records/s\n"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"start-up "));
}

#[test]
fn wrong_sums_are_an_error() {
    assert_snapshot!(bench(&format!(
        "{SMALL} -- AWKWARD last-words=BENCH_records=1_bytes=2_edge=3"
    )));
}

// ---- Children that misbehave

#[test]
fn wrong_status_breaks_the_protocol() {
    let status = r#"status={"action":"status","responseFor":"leaseLost"}"#;
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD {status}")));
}

#[test]
fn endless_line_is_an_error() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD endless-line")));
}

#[test]
fn child_that_exits_in_a_batch_is_an_error() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD die-at=12")));
}

#[test]
fn child_that_exits_between_messages_is_an_error() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD die-after=initialize")));
}

#[test]
fn program_that_is_not_a_processor_gets_a_hint() {
    assert_snapshot!(bench(&format!("{SMALL} -- echo hello")));
}

#[test]
fn closed_stdout_is_an_error() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD close=stdout")));
}

#[test]
fn closed_stdin_is_an_error() {
    assert_snapshot!(bench("--warmup 0s --batch 5000 -- AWKWARD close=stdin"));
}

#[test]
fn silent_child_is_named_and_killed() {
    let args = "--patience 300ms --answer-timeout 1s -- AWKWARD hang=processRecords";
    assert_snapshot!(bench(&format!("{SMALL} {args}")));
}

#[test]
fn endless_checkpoints_are_an_error() {
    let text = bench(&format!("{SMALL} --answer-timeout 1s -- AWKWARD insistent"));
    let error = "error: shard 0: the child gave no answer to processRecords for 1s\n\
                 hint: raise --answer-timeout if the child needs longer\n";
    assert!(text.starts_with("exit status: 1\n") && text.ends_with(error), "{text}");
}

#[test]
fn child_that_never_reads_is_an_error() {
    assert_snapshot!(bench(&format!(
        "{SMALL} --patience 300ms --answer-timeout 1s -- AWKWARD deaf"
    )));
}

#[test]
fn child_that_does_not_exit_is_an_error() {
    assert_snapshot!(bench(&format!("{SMALL} --patience 300ms -- AWKWARD ignore-eof")));
}

#[test]
fn exit_status_after_a_proper_end_is_a_warning() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD exit=7")));
}

#[test]
fn noise_is_shown_and_floods_are_counted() {
    assert_snapshot!(bench(&format!("{SMALL} -- AWKWARD noise=1 flood-stderr=300000")));
    let text = bench(&format!("{SMALL} -- AWKWARD flood-stdout=3000000"));
    assert!(text.starts_with("exit status: 0"), "{text}");
    assert!(text.contains("skipped 29,990 more lines on stdout that are not messages"), "{text}");
}

#[test]
fn signal_ends_the_run_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut bench = kcl_fixtures::command(HELPER)
        .args(["bench", "--shards", "2", "--duration", "100s", "--"])
        .arg(awkward_child())
        .arg(format!("pids={}", pids.display()))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&pids).unwrap_or_default();
    while read().matches("starts\n").count() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(Pid::from_raw(i32::try_from(bench.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    for line in read().lines() {
        let pid = line.strip_suffix(" starts").unwrap().parse().unwrap();
        assert!(test_kill_process(Pid::from_raw(pid).unwrap()).is_err(), "{pid}");
    }
}

#[test]
fn timeout_stops_a_run() {
    assert_snapshot!(bench("--duration 100s --timeout 1s -q -- AWKWARD"), @r"
    exit status: 124
    ---- stdout
    ---- stderr
    --timeout 1s: stopped, so there are no figures
    ");
}
