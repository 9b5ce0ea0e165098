//! Compares whole runs of `kcl-helper local`, between which anything happens to the input and to the state,
//! with a model that knows what was delivered.
//!
//! No run may exit with 0 if a record was never delivered since the state was created. No run may refuse
//! the input if nothing has changed that a checkpoint may cover. No record may be repeated that is covered
//! by a checkpoint whose success the child has seen. `PROPTEST_CASES` sets how many sequences run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kcl_fixtures::awkward_child;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;

const HELPER: &str = env!("CARGO_BIN_EXE_kcl-helper");
/// Much longer than any run takes.
const TOO_LONG: Duration = Duration::from_secs(60);
/// An input up to this size is read at once, so that later changes do not affect the run.
const ONE_READ: usize = 200_000;

/// Lines. The last one may have no line end.
#[derive(Debug, Clone)]
struct Text {
    lines: Lines,
    is_finished: bool,
}

#[derive(Debug, Clone)]
enum Lines {
    Few(Vec<String>),
    /// This many lines, which are several batches.
    Many(String, u32),
    /// Lines of these lengths, which take several reads.
    Long(Vec<usize>),
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        let lines = match &self.lines {
            Lines::Few(lines) => lines.clone(),
            Lines::Many(word, count) => (0..*count).map(|line| format!("{word}{line}")).collect(),
            Lines::Long(lengths) => lengths.iter().map(|length| "ab".repeat(*length)).collect(),
        };
        let end = if self.is_finished { "\n" } else { "" };
        (lines.join("\n") + end).into_bytes()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The first ones change the input.
    Append(Text),
    Truncate(Index),
    Edit(Index, u8),
    /// The last line gets an end.
    Finish,
    Replace {
        text: Text,
        in_place: bool,
    },
    /// Every line ends in CR LF.
    Crlf,
    Rename,
    /// These change the state.
    RemoveState,
    EmptyState,
    RemoveCheckpoint(u32),
    Run(Run),
}

#[derive(Debug, Clone)]
struct Run {
    shards: u32,
    cadence: &'static str,
    fate: Fate,
    shard_ended: bool,
    reset: bool,
}

/// What happens to a run. Numbers are of the record at which it happens.
#[derive(Debug, Clone)]
enum Fate {
    Lives,
    ChildDies(u64),
    Killed(u64),
    /// After this many microseconds.
    KilledAfter(u64),
    StateRemoved(u64),
    /// Removed, and created again by another run.
    StateReplaced(u64),
    Appended(u64, Text),
    Edited(u64, Index, u8),
}

impl Fate {
    fn at_record(&self) -> Option<u64> {
        match self {
            Fate::Killed(at)
            | Fate::StateRemoved(at)
            | Fate::StateReplaced(at)
            | Fate::Appended(at, _)
            | Fate::Edited(at, ..) => Some(*at),
            Fate::Lives | Fate::ChildDies(_) | Fate::KilledAfter(_) => None,
        }
    }
}

/// What is known since the state was created.
#[derive(Debug, Default)]
struct Ledger {
    /// Lines by number, and what was in them.
    delivered: HashSet<(u64, Vec<u8>)>,
    /// The longest beginning of the input that a stored checkpoint may cover.
    claimed: Vec<u8>,
    /// Inputs at the end of which a shard's end may be stored.
    ended: Vec<Vec<u8>>,
    /// The last line that a shard's stored checkpoint covers at least.
    acknowledged: BTreeMap<String, u64>,
    /// How many shards there were, where any checkpoint may be stored.
    shards: Option<u32>,
}

impl Ledger {
    /// Whether a run may refuse this input.
    fn may_refuse(&self, input: &[u8], shards: u32) -> bool {
        !input.starts_with(&self.claimed)
            || self.ended.iter().any(|ended| ended != input)
            || self.shards.is_some_and(|stored| stored != shards)
    }

    /// A run has accepted this input, so whatever is stored fits.
    fn accept(&mut self, input: &[u8], shards: u32) {
        let common = self.claimed.iter().zip(input).take_while(|(old, new)| old == new).count();
        self.claimed.truncate(common);
        self.ended.retain(|ended| ended == input);
        self.shards = self.shards.filter(|stored| *stored == shards);
    }
}

struct World {
    folder: TempDir,
    /// The input's name, and how often it was renamed.
    name: u32,
    input: Vec<u8>,
    ledger: Ledger,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let world = World { folder, name: 0, input: vec![], ledger: Ledger::default() };
        world.write();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn input_path(&self) -> PathBuf {
        self.path(&format!("input-{}", self.name))
    }

    /// Writes the input over what is there.
    fn write(&self) {
        fs::write(self.input_path(), &self.input).unwrap();
    }

    fn append(&mut self, text: &[u8]) {
        let mut file = File::options().append(true).open(self.input_path()).unwrap();
        file.write_all(text).unwrap();
        self.input.extend_from_slice(text);
    }

    fn edit(&mut self, at: &Index, byte: u8) {
        if !self.input.is_empty() {
            let at = at.index(self.input.len());
            self.input[at] = byte;
            self.write();
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(text) => self.append(&text.bytes()),
            Step::Truncate(at) => {
                self.input.truncate(at.index(self.input.len() + 1));
                self.write();
            }
            Step::Edit(at, byte) => self.edit(at, *byte),
            Step::Finish => self.append(b"!\n"),
            Step::Replace { text, in_place } => {
                if !in_place {
                    fs::remove_file(self.input_path()).unwrap();
                }
                self.input = text.bytes();
                self.write();
            }
            Step::Crlf => {
                let plain = String::from_utf8(self.input.clone()).unwrap().replace("\r\n", "\n");
                self.input = plain.replace('\n', "\r\n").into_bytes();
                self.write();
            }
            Step::Rename => {
                let old = self.input_path();
                self.name += 1;
                fs::rename(old, self.input_path()).unwrap();
            }
            Step::RemoveState => self.remove_state(),
            Step::EmptyState => {
                for entry in fs::read_dir(self.path("state")).into_iter().flatten() {
                    fs::remove_file(entry.unwrap().path()).unwrap();
                }
                self.ledger = Ledger::default();
            }
            Step::RemoveCheckpoint(shard) => {
                let shard = format!("shardId-{shard:012}");
                let _ = fs::remove_file(self.path(&format!("state/{shard}.json")));
                self.ledger.acknowledged.remove(&shard);
            }
            Step::Run(run) => self.run(run)?,
        }
        Ok(())
    }

    fn remove_state(&mut self) {
        let _ = fs::remove_dir_all(self.path("state"));
        self.ledger = Ledger::default();
    }

    fn run(&mut self, run: &Run) -> Result<(), TestCaseError> {
        let old = if run.reset { std::mem::take(&mut self.ledger) } else { Ledger::default() };
        let before = self.input.clone();
        let may_refuse = self.ledger.may_refuse(&before, run.shards);
        let mut running = Running::start(self, run, "log");
        // The state that the run began with may be gone when it ends.
        let mut is_state_gone = false;
        let mut is_input_edited = false;
        if running.waits_for_fate(run) {
            match &run.fate {
                Fate::Killed(_) => running.helper.kill().unwrap(),
                Fate::Appended(_, text) => self.append(&text.bytes()),
                Fate::Edited(_, at, byte) if before.len() < ONE_READ => {
                    is_input_edited = true;
                    self.edit(at, *byte);
                }
                Fate::StateRemoved(_) => {
                    self.remove_state();
                    is_state_gone = true;
                }
                Fate::StateReplaced(_) => {
                    self.remove_state();
                    is_state_gone = true;
                    let log = "log-of-other";
                    let run = Run { fate: Fate::Lives, reset: false, ..run.clone() };
                    let other = Running::start(self, &run, log).end(self, log);
                    self.judge(&run, &before, false, false, &other)?;
                }
                Fate::Lives | Fate::ChildDies(_) | Fate::KilledAfter(_) | Fate::Edited(..) => {}
            }
        }
        let ended = running.end(self, "log");
        if run.reset && ended.status.is_none() && ended.log.is_empty() {
            // Perhaps it was killed before it forgot anything.
            self.ledger = Ledger { acknowledged: BTreeMap::new(), ..old };
            return Ok(());
        }
        if is_state_gone {
            prop_assert_ne!(ended.status, Some(0), "{}", ended.stderr);
            return Ok(());
        }
        self.judge(run, &before, may_refuse, is_input_edited, &ended)
    }

    /// Compares a run that has ended with what is known, and adds what it did.
    fn judge(
        &mut self,
        run: &Run,
        before: &[u8],
        may_refuse: bool,
        is_input_edited: bool,
        ended: &Ended,
    ) -> Result<(), TestCaseError> {
        let Ended { status, log, stderr } = ended;
        prop_assert!([None, Some(0), Some(1), Some(2)].contains(status), "{status:?}: {stderr}");
        if *status == Some(2) && !is_input_edited {
            prop_assert!(may_refuse, "refused, and nothing has changed: {stderr}");
            prop_assert!(log.is_empty(), "refused, and delivered: {log:?}");
            return Ok(());
        }
        let ledger = &mut self.ledger;
        if status.is_some() || !log.is_empty() {
            ledger.accept(before, run.shards);
        }
        let mut acknowledged = BTreeMap::new();
        for Event { shard, line, what } in log {
            match what {
                What::Record(data) => {
                    let covered = ledger.acknowledged.get(shard).copied().unwrap_or(0);
                    prop_assert!(*line > covered, "{shard}: line {line} comes again: {stderr}");
                    ledger.delivered.insert((*line, data.clone()));
                }
                What::Asks { for_all } => {
                    ledger.shards = Some(run.shards);
                    let is_end = *for_all && run.shard_ended && run.cadence == "end";
                    // With what was appended meanwhile, or without. An edit came behind the reading.
                    let after = if is_input_edited { before } else { self.input.as_slice() };
                    for input in [before, after] {
                        let end = end_of_line(input, if is_end { u64::MAX } else { *line });
                        if end > ledger.claimed.len() {
                            ledger.claimed = input[..end].to_owned();
                        }
                        // Over a line that may still grow no shard ends.
                        if is_end && (input.is_empty() || input.ends_with(b"\n")) {
                            ledger.ended.push(input.to_owned());
                        }
                    }
                }
                What::HearsOk => {
                    let finished = before.iter().filter(|byte| **byte == b'\n').count() as u64;
                    acknowledged.insert(shard.clone(), (*line).min(finished));
                }
            }
        }
        ledger.acknowledged.extend(acknowledged);
        if *status == Some(0) {
            let mut records = lines(before);
            if !before.ends_with(b"\n") && self.input != before {
                // The last line may have become another one.
                records.pop();
            }
            for (line, data) in records {
                let text = String::from_utf8_lossy(&data).into_owned();
                let is_delivered = ledger.delivered.contains(&(line, data));
                prop_assert!(is_delivered, "line {line} was never delivered: {text}\n{stderr}");
            }
        }
        Ok(())
    }
}

/// The lines as records, counted from 1.
fn lines(input: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let last = lines.pop().unwrap_or_default();
    for line in &mut lines {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if !last.is_empty() {
        lines.push(last);
    }
    (1..).zip(lines).collect()
}

/// How many bytes there are up to the end of this line, or of the last that has one.
fn end_of_line(input: &[u8], line: u64) -> usize {
    let ends = (1..).zip(input).filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end);
    ends.take(usize::try_from(line).unwrap_or(usize::MAX)).last().unwrap_or(0)
}

/// What a child has written down about a shard.
#[derive(Debug)]
struct Event {
    shard: String,
    /// The record's, or the last one that the checkpoint covers.
    line: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Record(Vec<u8>),
    Asks { for_all: bool },
    HearsOk,
}

/// Reads what `log` and `log-checkpoints` of the child have written.
fn events(log: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    // The last line that each process was given, and the one that it asked for.
    let mut given: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in log.split(|byte| *byte == b'\n') {
        let line = String::from_utf8(line.to_vec()).unwrap();
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let [process, shard, number, rest] = [word(), word(), word(), word()];
        let line_of = |number: &str| number[number.len() - 20..].parse::<u64>().unwrap();
        let (last, asked) = given.entry(process).or_default();
        let (line, what) = match number.as_str() {
            "asks" if rest == "all" => {
                *asked = *last;
                (*last, What::Asks { for_all: true })
            }
            "asks" => {
                *asked = line_of(&rest);
                (*asked, What::Asks { for_all: false })
            }
            "hears" if rest.ends_with(": ok") => (*asked, What::HearsOk),
            "" | "hears" | "waits" | "of" => continue,
            number => {
                *last = line_of(number);
                (*last, What::Record(rest.into_bytes()))
            }
        };
        events.push(Event { shard, line, what });
    }
    events
}

/// A run in progress.
struct Running {
    helper: Child,
    log: PathBuf,
    go: PathBuf,
    /// Ends when the helper and all its children have.
    life: io::PipeReader,
    stderr: PathBuf,
}

/// How a run ended; `None` is by a signal.
struct Ended {
    status: Option<i32>,
    log: Vec<Event>,
    stderr: String,
}

impl Running {
    fn start(world: &World, run: &Run, log: &str) -> Running {
        let go = world.path("go");
        let stderr = world.path(&format!("{log}.stderr"));
        let _ = fs::remove_file(&go);
        let _ = fs::remove_file(world.path(log));
        let mut command = kcl_fixtures::scrubbed(HELPER);
        command.current_dir(world.folder.path()).args(["local", "-q", "--state", "state", "-i"]);
        command.arg(world.input_path()).args(["--shards", &run.shards.to_string()]);
        if run.shard_ended {
            command.args(["--at-end", "shard-ended"]);
        }
        if run.reset {
            command.arg("--reset");
        }
        command.arg("--").arg(awkward_child()).arg(format!("log={log}")).arg("log-checkpoints");
        command.arg(format!("checkpoint={}", run.cadence));
        if let Fate::ChildDies(at) = run.fate {
            command.arg(format!("die-at={at}"));
        }
        if let Some(at) = run.fate.at_record() {
            command.arg(format!("wait-at={at}")).arg("wait-for=go");
        }
        let (life, held) = io::pipe().unwrap();
        fcntl_setfd(&held, FdFlags::empty()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr).unwrap());
        let helper = command.spawn().unwrap();
        Running { helper, log: world.path(log), go, life, stderr }
    }

    /// Waits until it is time for what is to happen to the run; `false` if it has ended before.
    fn waits_for_fate(&mut self, run: &Run) -> bool {
        if let Fate::KilledAfter(micros) = run.fate {
            sleep(Duration::from_micros(micros));
            self.helper.kill().unwrap();
        }
        if run.fate.at_record().is_none() {
            return false;
        }
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < TOO_LONG, "{}", fs::read_to_string(&self.stderr).unwrap());
            let log = fs::read(&self.log).unwrap_or_default();
            if log.windows(7).any(|text| text == b" waits\n") {
                return true;
            }
            if self.helper.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn end(mut self, world: &World, log: &str) -> Ended {
        if log == "log" {
            fs::write(&self.go, "").unwrap();
        }
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.helper.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > TOO_LONG {
                self.helper.kill().unwrap();
                panic!("hangs: {}", fs::read_to_string(&self.stderr).unwrap());
            }
            sleep(Duration::from_micros(500));
        };
        assert!([None, Some(9)].contains(&status.signal()), "{status}");
        // Children may go on for a moment behind the helper's end.
        self.life.read_to_end(&mut Vec::new()).unwrap();
        let log = fs::read(world.path(log)).unwrap_or_default();
        let stderr = fs::read_to_string(&self.stderr).unwrap();
        Ended { status: status.code(), log: events(&log), stderr }
    }
}

/// Mostly a few short lines.
fn text() -> impl Strategy<Value = Text> {
    let lines = prop_oneof![
        16 => prop::collection::vec("[ab]{0,3}", 0..8).prop_map(Lines::Few),
        2 => ("[ab]{1,3}", 900..2500u32).prop_map(|(word, count)| Lines::Many(word, count)),
        1 => prop::collection::vec(0..20_000usize, 1..20).prop_map(Lines::Long),
    ];
    (lines, any::<bool>()).prop_map(|(lines, is_finished)| Text { lines, is_finished })
}

fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(b"abX\n\r".to_vec())
}

fn fate() -> impl Strategy<Value = Fate> {
    // Of a few records, or of many.
    let at = || prop_oneof![4 => 1..8u64, 1 => 1..2000u64];
    prop_oneof![
        8 => Just(Fate::Lives),
        4 => at().prop_map(Fate::ChildDies),
        4 => at().prop_map(Fate::Killed),
        4 => (0..40_000u64).prop_map(Fate::KilledAfter),
        1 => at().prop_map(Fate::StateRemoved),
        1 => at().prop_map(Fate::StateReplaced),
        2 => (at(), text()).prop_map(|(at, text)| Fate::Appended(at, text)),
        2 => (at(), any::<Index>(), byte()).prop_map(|(at, index, byte)| Fate::Edited(at, index, byte)),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let shards = prop_oneof![6 => Just(2u32), 1 => 1..4u32];
    let cadence =
        prop::sample::select(vec!["every", "behind", "between", "batch", "end", "end", "never"]);
    let is_rare = || prop::bool::weighted(0.1);
    (shards, cadence, fate(), is_rare(), is_rare()).prop_map(
        |(shards, cadence, fate, shard_ended, reset)| Run {
            shards,
            cadence,
            fate,
            shard_ended,
            reset,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => run().prop_map(Step::Run),
        8 => text().prop_map(Step::Append),
        2 => any::<Index>().prop_map(Step::Truncate),
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Step::Edit(at, byte)),
        2 => Just(Step::Finish),
        1 => (text(), any::<bool>()).prop_map(|(text, in_place)| Step::Replace { text, in_place }),
        1 => Just(Step::Crlf),
        1 => Just(Step::Rename),
        1 => Just(Step::RemoveState),
        1 => Just(Step::EmptyState),
        1 => (0..3u32).prop_map(Step::RemoveCheckpoint),
    ]
}

fn check(first: &Text, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    world.append(&first.bytes());
    for step in steps {
        world.step(step)?;
    }
    // Whatever happened: it goes on or says why not, and then it starts over.
    let plain =
        Run { shards: 2, cadence: "end", fate: Fate::Lives, shard_ended: false, reset: false };
    world.run(&plain)?;
    world.run(&Run { reset: true, ..plain })
}

#[test]
fn no_record_is_skipped_and_no_input_refused_without_a_reason() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: cases.unwrap_or(16),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let sequences = (text(), prop::collection::vec(step(), 1..10));
    let (count, has_failed) = (Cell::new(0), Cell::new(false));
    let result = runner.run(&sequences, |(first, steps)| {
        // What is run behind the first failure makes its sequence shorter.
        count.set(count.get() + u32::from(!has_failed.get()));
        check(&first, &steps).inspect_err(|_| has_failed.set(true))
    });
    if let Err(failure) = result {
        panic!("sequence {} failed: {failure}", count.get());
    }
}
