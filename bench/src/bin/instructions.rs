//! Counts the instructions of each work and compares them with `bench/instructions.tsv`.
//!
//! `e2e/instructions.sh` builds what is needed and starts it; bench/README.md says how it counts.
#![expect(clippy::print_stdout, reason = "it is no record processor")]

use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio};
use std::{env, fs, iter};

use kcl_bench::bounds::{self, BLESS, Bounds, CPU_LEVEL, Count, FILE, Verdict};
use kcl_bench::workloads::{self, Shape, Workload};

const USAGE: &str = "usage: instructions [--bless] [WORK…]   counts all works, or these
       instructions --list
       instructions --run WORK TIMES    does one, for valgrind to look at";

/// The whole of `bench_processor`, over pipes.
const RUNTIME: [(&str, Shape); 2] =
    [("runtime/500x100B", workloads::SMALL_RECORDS), ("runtime/10000x1KiB", workloads::FULL_BATCH)];

/// A work is done so many times in one process and so many in another, which do all else alike: the
/// difference of the two counts is what the work takes.
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
    format!("there is no work {name}; --list shows all")
}

/// Under valgrind: does a work so many times.
fn run(name: &str, times: &str) -> Result<bool> {
    let workload = Workload::named(name).ok_or_else(|| unknown(name))?;
    let times = times.parse().map_err(|_| USAGE.to_owned())?;
    // What is done once in a process, such as asking what the processor can do, is none of it.
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
        let (verdict, text) = bounds.judge(&count(name)?, &tools);
        let is_passed = matches!(verdict, Verdict::Same | Verdict::Fewer);
        println!("{}  {text}", if is_passed { "ok  " } else { "FAIL" });
        *(if is_passed { &mut passed } else { &mut failed }) += 1;
    }
    for name in bounds.stale(&self::names().collect::<Vec<_>>()) {
        println!("FAIL  {name}: {FILE} has a bound for it, and it is no work\nhint: {BLESS}");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn bless(chosen: &[&str]) -> Result<bool> {
    // A file that is not there, or damaged, is written anew.
    let before = read(&file()).and_then(|text| Bounds::parse(&text)).unwrap_or_default();
    let names = choose(chosen)?;
    if !is_comparable()? {
        return Ok(false);
    }
    let mut counts = Vec::new();
    for name in names {
        let count = count(name)?;
        println!("{name}: {:.2} instructions a {}", count.instructions, count.unit);
        counts.push(count);
    }
    let text = before.blessed(&counts, &self::names().collect::<Vec<_>>(), &tools());
    fs::write(file(), text).map_err(|error| format!("cannot write {FILE}: {error}"))?;
    println!("{FILE} is written; look at its diff, and commit it");
    Ok(true)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.tsv")
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|error| format!("{FILE}: {error}\nhint: {BLESS}"))
}

/// The versions that counts depend on.
fn tools() -> String {
    let version = |tool: &str| {
        let output = Command::new(tool).arg("--version").output();
        let version = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
        version.unwrap_or_else(|error| format!("{tool}: {error}"))
    };
    format!("{}, {}", version("rustc"), version("valgrind"))
}

/// Whether the processor, as valgrind shows it to programs, is the one that the counts are of.
fn is_comparable() -> Result<bool> {
    let output = run_workload("sequence/sentinels", FEW)?;
    let level = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if level != CPU_LEVEL {
        println!("programs see a processor with {level} here, and the counts are of {CPU_LEVEL}");
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
    Err(format!("{name} under valgrind: {}, after it said:\n{stderr}", output.status))
}

/// A whole life of `bench_processor`, which is built beside this program. As with a daemon, each
/// batch comes when the one before has been answered.
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
    let stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    let talk = converse(stdin, stdout, line, batches);
    let output = child.wait_with_output().map_err(cannot_start)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let sums = format!("BENCH records={} ", shape.records * batches);
    if talk.is_err() || !stderr.contains(&sums) {
        let talk = talk.err().map(|error| format!(" ({error})")).unwrap_or_default();
        let processor = processor.display();
        return Err(format!("{processor} did not say {sums}…{talk}, but:\n{stderr}"));
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
            return Err(io::Error::other(format!("it said {answer:?}")));
        }
    }
    Ok(())
}

fn own_path() -> Result<PathBuf> {
    env::current_exe().map_err(|error| format!("where is this program? {error}"))
}

/// Cachegrind without a cache counts, and does nothing else.
fn valgrind(program: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(program);
    valgrind
}

fn cannot_start(error: io::Error) -> String {
    format!("cannot start valgrind: {error}")
}
