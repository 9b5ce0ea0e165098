//! Counts the instructions of each workload and compares them with `bench/instructions.tsv`.
//!
//! Run it with `e2e/instructions.sh`; bench/README.md explains how it counts.
#![expect(clippy::print_stdout, reason = "this is not a record processor")]

use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio};
use std::{env, fs, iter};

use kcl_bench::bounds::{self, BLESS, Bounds, CPU_LEVEL, Count, FILE, Verdict};
use kcl_bench::workloads::{self, Shape, Workload};

const USAGE: &str = "usage: instructions [--bless] [WORKLOAD…]    counts all workloads, or these
       instructions --list
       instructions --run WORKLOAD TIMES     runs one, for use under valgrind";

/// Workloads that run all of `bench_processor`, connected by pipes.
const RUNTIME: [(&str, Shape); 2] =
    [("runtime/500x100B", workloads::SMALL_RECORDS), ("runtime/10000x1KiB", workloads::FULL_BATCH)];

/// A workload runs this many times in one process and in another. Everything else is the same, so
/// the difference between the two counts is the cost of the workload.
const FEW: usize = 1;
const MANY: usize = 3;

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let outcome = match &words[..] {
        ["--list"] => {
            names().for_each(|name| println!("{name}"));
            Ok(true)
        }
        ["--run", name, times] => run(name, times),
        ["--bless", chosen @ ..] => bless(chosen),
        chosen if chosen.iter().all(|name| !name.starts_with('-')) => check(chosen),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    Workload::names().chain(RUNTIME.iter().map(|(name, _)| *name))
}

fn choose(chosen: &[&str]) -> Result<Vec<&'static str>> {
    if let Some(name) = chosen.iter().find(|name| names().all(|known| known != **name)) {
        return Err(unknown(name));
    }
    Ok(names().filter(|name| chosen.is_empty() || chosen.contains(name)).collect())
}

fn unknown(name: &str) -> String {
    format!("there is no workload `{name}`\nhint: run with --list to see all")
}

/// Runs a workload several times. This is what runs under valgrind.
fn run(name: &str, times: &str) -> Result<bool> {
    let workload = Workload::named(name).ok_or_else(|| unknown(name))?;
    let times = times.parse().map_err(|_| USAGE.to_owned())?;
    // Costs that occur once per process, such as detecting the instruction set, do not count.
    workload.run(&mut workload.input());
    let mut inputs: Vec<_> = (0..MANY.max(times)).map(|_| workload.input()).collect();
    inputs.iter_mut().take(times).for_each(|input| workload.run(input));
    black_box(inputs);
    println!("{}", bounds::cpu_level());
    Ok(true)
}

fn check(chosen: &[&str]) -> Result<bool> {
    let bounds = Bounds::parse(&read(&file())?)?;
    let names = choose(chosen)?;
    if !is_comparable()? {
        println!("0 passed, 0 failed, {} skipped", names.len());
        return Ok(true);
    }
    let tools = tools();
    let (mut passed, mut failed) = (0, 0);
    for name in names {
        let (verdict, text) = bounds.compare(&count(name)?, &tools);
        let is_passed = matches!(verdict, Verdict::Same | Verdict::Fewer);
        println!("{}  {text}", if is_passed { "ok  " } else { "FAIL" });
        *(if is_passed { &mut passed } else { &mut failed }) += 1;
    }
    for name in bounds.stale(&self::names().collect::<Vec<_>>()) {
        println!(
            "FAIL  {name}: {FILE} has a bound, but there is no such workload\nhint: run {BLESS}"
        );
        failed += 1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn bless(chosen: &[&str]) -> Result<bool> {
    // A missing or invalid file is replaced.
    let before = read(&file()).and_then(|text| Bounds::parse(&text)).unwrap_or_default();
    let names = choose(chosen)?;
    if !is_comparable()? {
        return Ok(false);
    }
    let mut counts = Vec::new();
    for name in names {
        let count = count(name)?;
        println!("{name}: {:.2} instructions per {}", count.instructions, count.unit);
        counts.push(count);
    }
    let text = before.blessed(&counts, &self::names().collect::<Vec<_>>(), &tools());
    fs::write(file(), text).map_err(|error| format!("cannot write {FILE}: {error}"))?;
    println!("updated {FILE}; review its diff and commit it");
    Ok(true)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.tsv")
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file)
        .map_err(|error| format!("cannot read {FILE}: {error}\nhint: run {BLESS}"))
}

/// Returns the versions of the tools that counts depend on.
fn tools() -> String {
    let version = |tool: &str| {
        let output = Command::new(tool).arg("--version").output();
        let version = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
        version.unwrap_or_else(|error| format!("{tool}: {error}"))
    };
    format!("{}, {}", version("rustc"), version("valgrind"))
}

/// Whether programs under valgrind detect the instruction set that the counts are for.
fn is_comparable() -> Result<bool> {
    let output = run_workload("sequence/sentinels", FEW)?;
    let level = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if level != CPU_LEVEL {
        println!("the counts are for {CPU_LEVEL}, but programs detect {level} here");
    }
    Ok(level == CPU_LEVEL)
}

fn count(name: &'static str) -> Result<Count> {
    let (unit, items, few, many);
    if let Some((_, shape)) = RUNTIME.iter().find(|(known, _)| *known == name) {
        let line = workloads::line(*shape);
        (unit, items) = ("record", shape.records);
        (few, many) = (run_processor(&line, *shape, FEW)?, run_processor(&line, *shape, MANY)?);
    } else {
        let workload = Workload::named(name).ok_or_else(|| unknown(name))?;
        (unit, items) = (workload.unit, workload.items);
        (few, many) = (run_workload(name, FEW)?, run_workload(name, MANY)?);
    }
    let few = bounds::instructions(&few.stderr)?;
    let many = bounds::instructions(&many.stderr)?;
    let instructions = many.saturating_sub(few) as f64 / ((MANY - FEW) * items) as f64;
    Ok(Count { workload: name.to_owned(), unit: unit.to_owned(), instructions })
}

fn run_workload(name: &str, times: usize) -> Result<Output> {
    let own = own_path()?;
    let output = valgrind(&own)
        .args(["--run", name, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(cannot_start)?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("cannot run {name} under valgrind: {}\n{stderr}", output.status))
}

/// Runs `bench_processor`, which is in the same folder as this program, from `initialize` to
/// `leaseLost`. As with a daemon, it gets each batch after it has answered the previous one.
fn run_processor(line: &[u8], shape: Shape, batches: usize) -> Result<Output> {
    let processor = own_path()?.with_file_name("bench_processor");
    let mut valgrind = valgrind(&processor);
    let mut child = valgrind
        .env("BENCH_CKPT_EVERY", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot_start)?;
    let stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let conversation = converse(stdin, stdout, line, batches);
    let output = child.wait_with_output().map_err(cannot_start)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let sums = format!("BENCH records={} ", shape.records * batches);
    if conversation.is_err() || !stderr.contains(&sums) {
        let cause = conversation.err().map(|error| format!(" ({error})")).unwrap_or_default();
        let processor = processor.display();
        return Err(format!("{processor} did not print `{sums}…`{cause}:\n{stderr}"));
    }
    Ok(output)
}

fn converse(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    line: &[u8],
    batches: usize,
) -> io::Result<()> {
    let first: &[u8] = b"{\"action\":\"initialize\",\"shardId\":\"shardId-000000000000\"}\n";
    let last: &[u8] = b"{\"action\":\"leaseLost\"}\n";
    let (mut stdout, mut answer) = (BufReader::new(stdout), String::new());
    for line in iter::once(first).chain(iter::repeat_n(line, batches)).chain([last]) {
        stdin.write_all(line)?;
        answer.clear();
        stdout.read_line(&mut answer)?;
        if !answer.starts_with("{\"action\":\"status\",") {
            return Err(io::Error::other(format!("unexpected answer {answer:?}")));
        }
    }
    Ok(())
}

fn own_path() -> Result<PathBuf> {
    env::current_exe().map_err(|error| format!("cannot find this program: {error}"))
}

/// Cachegrind without its cache simulation only counts instructions.
fn valgrind(program: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(program);
    valgrind
}

fn cannot_start(error: io::Error) -> String {
    format!("cannot start valgrind: {error}")
}
