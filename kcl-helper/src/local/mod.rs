//! The built-in daemon: lines of a file become records, one child process per shard gets them as
//! from the MultiLangDaemon, and its checkpoints are stored on disk.
//!
//! One thread reads the input and fills a bounded queue per shard; one thread per shard leads that
//! shard's conversation; the calling thread watches for signals, silent children and the first
//! failure, and shows the progress.

mod batch;
mod injected;
mod options;
mod prefix;
mod progress;
mod queue;
mod shard;
mod source;
mod state;
mod summary;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kcl_protocol::DaemonCheckpointer;

use crate::child::faults::{Fault, Silence};
use crate::child::{Bell, Control, Protocol, Watch, allow_files};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, Patience};
use crate::kinesis::{Covered, KeyedRecord, Place, Shards, trim_horizon};
use crate::output::{Reporter, count, with_commas};
use crate::signals::{Cause, Request, Requests, Step, Stop, Stopping};
use crate::threads;
use injected::FaultPlan;
pub(crate) use injected::InjectedFault;
pub(crate) use options::{AtEnd, Options};
use prefix::{Checked, Expected, History, Mark, Prefix};
use progress::{Progress, ShardStats};
use queue::{BatchLimit, Chunk, Queue};
use shard::{BatchSource, Checkpoints, Report, ShardRun, Starter};
pub(crate) use source::Source;
use source::{Input, Lines, LinesError, MAX_RECORD, Mismatch};
use state::{Checkpoint, State, Store};
use summary::Row;

/// The size of a full batch. Kinesis' own limits are 10,000 records and 10 MB.
const BATCH: BatchLimit = BatchLimit { records: 1000, bytes: 1 << 20 };
/// How often progress is shown and silent children are looked for.
const TICK: Duration = Duration::from_millis(100);

/// Where a run resumes.
#[derive(Debug)]
struct Resume {
    /// What each shard's checkpoint covers.
    covered: Vec<Covered>,
    /// How many records of each shard that are.
    skipped: Vec<u64>,
    records: u64,
    /// The part of the input that every shard's checkpoint covers: reading continues after it.
    start: Prefix,
    /// What the checkpoints expect of the input.
    expected: Vec<Expected>,
}

impl Resume {
    /// At the beginning of the input.
    fn from_start(shards: u32) -> Resume {
        Resume {
            covered: vec![Covered::Nothing; shards as usize],
            skipped: vec![0; shards as usize],
            records: 0,
            start: Prefix::default(),
            expected: vec![],
        }
    }

    fn left(&self) -> u64 {
        self.records - self.skipped.iter().sum::<u64>()
    }
}

/// What the other threads report to the calling thread.
enum News {
    Stop(Request),
    Input(Result<End, LinesError>),
    Shard(u32, thread::Result<(Report, Option<Fault>)>),
}

/// How the reading of the input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// After the end of its last line.
    Finished,
    /// After this line, which has no line end and may still grow.
    Unfinished(u64),
    /// Nobody needs more of it.
    Unwanted,
}

/// Runs to the end of the input, or to the first failure, or until told to stop.
pub(crate) fn run(options: &Options, guardian: &Guardian, reporter: &Reporter) -> Result<Exit> {
    let requests = Requests::watch(options.timeout, reporter)?;
    options.check_faults()?;
    // Even if earlier runs have left nothing to do.
    options.program.check()?;
    allow_files(options.shards.into())?;
    // Before the state is locked, as a new process holds a copy of the lock until its exec.
    guardian.start()?;
    let input = options.source.open()?;
    let state = match &options.state {
        Some(folder) if input.is_repeatable() => {
            Some(State::open(folder, options.shards, options.reset)?)
        }
        _ => None,
    };
    let mut resume = Resume::from_start(options.shards);
    if let Some(state) = state.as_ref().filter(|state| !state.is_new()) {
        resume = find_resume(&options.source, &input, state)?;
        let is_ended = resume.covered.iter().all(|covered| *covered == Covered::ShardEnd);
        if resume.left() == 0 && (options.at_end == AtEnd::Shutdown || is_ended) {
            let all = with_commas(resume.records);
            reporter.result(&format!("0 of {all} left; --reset starts over"));
            return Ok(Exit::Done);
        }
    }
    reporter.say(&banner(options, state.as_ref(), &resume));
    let run = Run::start(options, guardian, reporter, &requests, state, resume, &input)?;
    run.supervise(&requests)
}

/// Reads the input once, to prove that the checkpoints belong to it, and to count its records and those
/// that each shard's checkpoint covers.
fn find_resume(source: &Source, input: &Input, state: &State) -> Result<Resume> {
    let checkpoints = state.checkpoints();
    let shards = Shards::new(checkpoints.len() as u32);
    let covered = |checkpoint: &Option<Checkpoint>| {
        checkpoint.as_ref().map_or(Covered::Nothing, Checkpoint::covered)
    };
    let mut resume = Resume {
        covered: checkpoints.iter().map(covered).collect(),
        expected: checkpoints.iter().flatten().map(Checkpoint::expected).collect(),
        ..Resume::from_start(checkpoints.len() as u32)
    };
    // Every record after the furthest checkpoint is left, whatever its shard.
    let furthest = resume.covered.iter().max().copied().unwrap_or(Covered::Nothing);
    let bad_input = |error| bad_input(source, Some(state), error);
    let expected = resume.expected.iter().copied();
    let checked = Checked::new(input.reader(0), Prefix::default(), expected, None);
    let mut lines = Lines::behind(checked.map_err(|error| bad_input(error.into()))?, 0, 0);
    let mut count = |line, data: &[u8]| {
        if furthest.includes(line) {
            let shard = shards.of_record(data) as usize;
            resume.skipped[shard] += u64::from(resume.covered[shard].includes(line));
        }
    };
    while lines.read(&mut count).map_err(bad_input)? {}
    resume.records = lines.number();
    if checkpoints.iter().all(Option::is_some)
        && let Some(first) = lines.into_reader().into_first()
    {
        resume.start = first;
    }
    Ok(resume)
}

fn bad_input(source: &Source, state: Option<&State>, error: LinesError) -> Error {
    let name = source.name();
    match error {
        LinesError::Io(error) => source.cannot_read().because(error),
        LinesError::TooLong(line) => {
            let what = format!("line {line} of {name} cannot be a record");
            let why = format!(
                "it is longer than {} MiB, the most that Kinesis accepts",
                MAX_RECORD >> 20
            );
            Error::new(Exit::Usage, what).because(why)
        }
        LinesError::Mismatch(mismatch) => {
            let why = match mismatch {
                Mismatch::Changed(line) => {
                    format!("{name} differs at or before line {line} from what was delivered")
                }
                Mismatch::Shorter(line) => {
                    format!(
                        "{name} ends before the end of line {line}, up to which records were delivered"
                    )
                }
                Mismatch::Grown(line) => {
                    format!("{name} has grown after line {line}, where its shards ended")
                }
            };
            // Without a state nothing is expected of the input.
            state.map_or_else(|| source.cannot_read(), |state| state.cannot_resume(&why))
        }
    }
}

fn banner(options: &Options, state: Option<&State>, resume: &Resume) -> String {
    let kept = match (state, &options.state) {
        (_, None) => "state: none, as each run starts over".into(),
        (None, Some(_)) => "state: none, as this input cannot be read twice".into(),
        (Some(state), Some(folder)) => {
            let folder = folder.display();
            let news = if state.is_new() {
                "new".into()
            } else {
                let (left, all) = (with_commas(resume.left()), with_commas(resume.records));
                format!("{left} of {all} left; --reset starts over")
            };
            format!("state {folder} ({news})")
        }
    };
    let shards = if options.shards == 1 { "shard" } else { "shards" };
    format!(
        "kcl-helper local {} · {} {shards} · {} · {kept} · ^C asks for shutdown",
        env!("CARGO_PKG_VERSION"),
        options.shards,
        options.source.name(),
    )
}

/// A run in progress.
struct Run {
    reporter: Reporter,
    source: Source,
    control: Arc<Control>,
    shards: Vec<Shard>,
    news: mpsc::Receiver<News>,
    /// How many bytes of the input have been read, and how many there are.
    position: Arc<AtomicU64>,
    length: Option<u64>,
    guardian: Guardian,
    /// What went wrong first.
    failure: Option<Error>,
    stopping: Stopping,
    protocol: Protocol,
    /// How the reading of the input ended, once it has.
    end: Option<End>,
    started: Instant,
    /// Held to the end: it keeps other runs out.
    state: Option<State>,
}

/// What a run shares with the thread of one shard, and knows of it.
struct Shard {
    bell: Bell,
    queue: Arc<Queue>,
    stats: Arc<ShardStats>,
    watch: Arc<Watch>,
    silence: Silence,
    covered: Covered,
    /// How many records its checkpoint covers.
    skipped: u64,
    /// `None` while the shard is at work.
    report: Option<Report>,
}

impl Shard {
    fn new(covered: Covered, skipped: u64, patience: Duration, only_full: bool) -> Result<Shard> {
        let bell = Bell::new().map_err(|error| {
            Error::new(Exit::Environment, "cannot set up a pipe").because(error)
        })?;
        Ok(Shard {
            queue: Arc::new(Queue::new(BATCH, only_full, bell.clone())),
            stats: Arc::new(ShardStats::new(covered)),
            watch: Arc::default(),
            silence: Silence::new(patience),
            bell,
            covered,
            skipped,
            report: None,
        })
    }
}

impl Run {
    /// Starts all children, then all threads.
    fn start(
        options: &Options,
        guardian: &Guardian,
        reporter: &Reporter,
        requests: &Requests,
        state: Option<State>,
        resume: Resume,
        input: &Input,
    ) -> Result<Run> {
        let (sender, news) = mpsc::channel();
        let stop = sender.clone();
        requests.receive(move |request| drop(stop.send(News::Stop(request))));
        let shards = resume.covered.iter().zip(&resume.skipped).map(|(covered, skipped)| {
            Shard::new(*covered, *skipped, options.patience, input.is_repeatable())
        });
        let shards = shards.collect::<Result<Vec<_>>>()?;
        let mut run = Run {
            reporter: reporter.clone(),
            source: options.source.clone(),
            control: Arc::new(Control::new(
                shards.iter().map(|shard| shard.bell.clone()).collect(),
            )),
            shards,
            news,
            position: Arc::default(),
            length: input.length(),
            guardian: guardian.clone(),
            failure: None,
            stopping: Stopping::new(options.grace),
            protocol: options.protocol,
            end: None,
            started: Instant::now(),
            state,
        };
        let history = Arc::new(History::new(input.clone(), &resume.start));
        for shard in run.start_children(options, &history)? {
            let (sender, number) = (sender.clone(), shard.starter.shard);
            threads::start(&format!("shard {number}"), move || {
                let result = catch_unwind(AssertUnwindSafe(|| shard.run()));
                let _ = sender.send(News::Shard(number, result));
            })
            .map_err(threads::failed)?;
        }
        run.start_reading(input, resume, history, sender)?;
        Ok(run)
    }

    /// Starts the child of every shard that has not ended yet.
    fn start_children(
        &mut self,
        options: &Options,
        history: &Arc<History>,
    ) -> Result<Vec<ShardRun>> {
        let mut runs = Vec::new();
        for number in 0..options.shards {
            let position = self.start_position(number);
            let shard = &mut self.shards[number as usize];
            if shard.covered == Covered::ShardEnd {
                // Its end was stored by an earlier run: as with the real daemon, no child starts.
                shard.queue.close();
                shard.report = Some(Report::ended_before(position));
                continue;
            }
            let store = self.state.as_ref().map(|state| state.store(number, history.clone()));
            let starter = self.starter(options, number);
            let shard = &self.shards[number as usize];
            let faults = FaultPlan::new(&options.faults, number);
            runs.push(ShardRun {
                conversation: starter.start()?,
                starter,
                source: BatchSource::new(shard.queue.clone(), faults.may_replace_child()),
                checkpoints: Checkpoints {
                    rules: DaemonCheckpointer::new(position),
                    store: store.unwrap_or_else(Store::disabled),
                    stats: shard.stats.clone(),
                },
                faults,
                at_end: options.at_end,
                protocol: options.protocol,
            });
        }
        Ok(runs)
    }

    /// Returns the position that a shard starts from.
    fn start_position(&self, shard: u32) -> Place {
        let checkpoints = self.state.as_ref().map_or(&[][..], |state| state.checkpoints());
        let stored = checkpoints.get(shard as usize).and_then(Option::as_ref);
        stored.map_or_else(trim_horizon, |checkpoint| checkpoint.place.clone())
    }

    fn starter(&self, options: &Options, number: u32) -> Starter {
        let shard = &self.shards[number as usize];
        Starter {
            shard: number,
            guardian: self.guardian.clone(),
            program: options.program.clone(),
            grace: options.grace,
            patience: options.patience,
            bell: shard.bell.clone(),
            watch: shard.watch.clone(),
            control: self.control.clone(),
            reporter: self.reporter.clone(),
        }
    }

    /// Starts the thread that reads the input.
    fn start_reading(
        &self,
        input: &Input,
        resume: Resume,
        history: Arc<History>,
        sender: mpsc::Sender<News>,
    ) -> Result<()> {
        let remembered = self.state.is_some().then(|| history.clone());
        let lines = open_lines(input, &resume, remembered)
            .map_err(|error| bad_input(&self.source, self.state.as_ref(), error))?;
        let shards = Shards::new(self.shards.len() as u32);
        let queues: Vec<_> = self.shards.iter().map(|shard| shard.queue.clone()).collect();
        let position = self.position.clone();
        threads::start("input", move || {
            let result = distribute(lines, shards, &resume.covered, &queues, &position);
            if let Ok(End::Finished) = result {
                history.end();
            }
            let is_complete = result.is_ok();
            // Before the queues end, as then the shards do, and with the last of them the run.
            let _ = sender.send(News::Input(result));
            queues.iter().for_each(|queue| queue.end(is_complete));
        })
        .map_err(threads::failed)
    }

    /// Waits for the end of every shard. The first failure and requests to stop end all of them.
    fn supervise(mut self, requests: &Requests) -> Result<Exit> {
        let stats = self.shards.iter().map(|shard| shard.stats.clone()).collect();
        let position = self.position.clone();
        let mut progress = Progress::new(self.reporter.clone(), stats, position, self.length);
        while self.shards.iter().any(|shard| shard.report.is_none()) {
            match self.news.recv_timeout(TICK) {
                Ok(news) => self.hear(news),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // The thread that watches for signals holds a sender.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if let Some(step) = self.stopping.tick(Instant::now()) {
                self.stop(step);
            }
            self.warn_of_silence();
            progress.tick();
        }
        progress.end();
        if self.stopping.cause().is_none() {
            requests.end_at_once();
        }
        self.close()
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Input(Ok(end)) => self.end = Some(end),
            News::Input(Err(error)) => {
                // What was read before the error is still delivered.
                let error = bad_input(&self.source, self.state.as_ref(), error);
                self.failure.get_or_insert(error);
            }
            News::Shard(shard, Ok((report, fault))) => {
                self.shards[shard as usize].report = Some(report);
                if let Some(Fault { error, last_words, .. }) = fault {
                    self.fail(shard, error, &last_words);
                }
            }
            News::Shard(shard, Err(_)) => {
                // The panic has been printed, and its child was killed when it was dropped.
                let error = Error::new(Exit::Bug, format!("shard {shard}: kcl-helper is at fault"));
                self.shards[shard as usize].report = Some(Report::of_a_bug());
                self.fail(shard, error, &[]);
            }
            News::Stop(request) => {
                if let Some(step) = self.stopping.request(request) {
                    self.stop(step);
                }
            }
        }
    }

    fn warn_of_silence(&mut self) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let pending = shard.watch.pending();
            let warning = pending.and_then(|pending| shard.silence.next_warning(&pending));
            if let Some(warning) = warning {
                self.reporter.result(&format!("shard {number}: {warning}"));
            }
        }
    }

    /// The first failure ends the run, as one child's end makes the whole daemon exit.
    fn fail(&mut self, shard: u32, error: Error, last_words: &[String]) {
        self.reporter.last_words(&format!("shard {shard}"), shard, last_words);
        if self.failure.is_some() {
            self.reporter.result(&error.to_string());
        } else {
            self.failure = Some(error);
            self.control.cut_off();
        }
    }

    fn stop(&mut self, step: Step) {
        let grace = humantime::format_duration(self.stopping.grace());
        // Act before writing, which may take time.
        match step {
            Step::Ask(_) => self.control.stop(),
            Step::ForceAsAskedAgain(_) | Step::ForceAsGraceIsOver(_) => self.control.kill(),
        }
        match step {
            Step::Ask(cause) => {
                let busy = self.shards.iter().filter(|shard| shard.report.is_none()).count();
                let shards = count(busy as u64, "shard");
                let lease_lost = self.protocol.lease_lost_action();
                self.reporter.result(&format!(
                    "{cause}: sending shutdownRequested and {lease_lost} to {shards}, for up to \
                     {grace}; signal again to kill"
                ));
            }
            Step::ForceAsAskedAgain(cause) => {
                self.reporter.result(&format!("{cause} again: killing the children"));
            }
            Step::ForceAsGraceIsOver(_) => {
                self.reporter.result(&format!("not stopped within {grace}: killing the children"));
            }
        }
    }

    /// Prints the summary and returns the exit status.
    fn close(mut self) -> Result<Exit> {
        let took = self.started.elapsed();
        match self.stopping.stop() {
            Stop::Forced(_) => self.guardian.kill_all(&self.reporter),
            Stop::Unasked | Stop::Asked(_) => {
                let patience = Patience::for_the_rest(self.stopping.grace());
                self.guardian.clear(patience, "the children", &self.reporter);
            }
        }
        if let (None, Some(state)) = (&self.failure, &self.state) {
            // A run without checkpoints has not noticed.
            self.failure = state.check().err();
        }
        if let (Some(End::Unfinished(line)), Some(_)) = (self.end, &self.state) {
            self.reporter.result(&format!(
                "line {line} of {} is unfinished: the next run delivers it again",
                self.source.name()
            ));
        }
        let how = match (&self.failure, self.stopping.cause()) {
            (Some(_), _) => "failed after",
            (None, Some(_)) => "stopped after",
            (None, None) => "done in",
        };
        self.reporter.say(&format!("{how} {:.1}s", took.as_secs_f64()));
        let rows = self.shards.iter().filter_map(|shard| {
            Some(Row::new(shard.report.as_ref()?, &shard.stats, shard.skipped))
        });
        self.reporter.print_lines(summary::table(&rows.collect::<Vec<_>>(), took))?;
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        Ok(self.stopping.cause().map_or(Exit::Done, Cause::exit))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // However the run ends, the thread that reads the input must not wait for room forever.
        self.shards.iter().for_each(|shard| shard.queue.close());
    }
}

/// Opens the input where the run resumes. It is compared with what is expected and remembered while it is
/// read.
fn open_lines(
    input: &Input,
    resume: &Resume,
    history: Option<Arc<History>>,
) -> Result<Lines<Box<dyn Read + Send>>, LinesError> {
    let Mark { lines, bytes, .. } = resume.start.mark();
    let mut reader = input.reader(bytes);
    if history.is_some() {
        let expected = resume.expected.iter().copied();
        reader = Box::new(Checked::new(reader, resume.start.clone(), expected, history)?);
    }
    Ok(Lines::behind(reader, lines, bytes))
}

/// Reads the input and gives each record to its shard, unless the shard's checkpoint covers it.
fn distribute(
    mut lines: Lines<Box<dyn Read + Send>>,
    shards: Shards,
    covered: &[Covered],
    queues: &[Arc<Queue>],
    position: &AtomicU64,
) -> Result<End, LinesError> {
    loop {
        // Records are handed over before the next read, which may have to wait.
        let now = SystemTime::now();
        let mut chunks: Vec<Chunk> = queues.iter().map(|queue| queue.chunk(now)).collect();
        let more = lines.read(|line, data| {
            let record = KeyedRecord::new(line, data, shards);
            let shard = record.shard as usize;
            if !covered[shard].includes(line) {
                chunks[shard].push(&record);
            }
        });
        position.store(lines.position(), Ordering::Relaxed);
        for (chunk, queue) in chunks.into_iter().zip(queues) {
            if !chunk.is_empty() && !queue.push(chunk) {
                return Ok(End::Unwanted);
            }
        }
        if !more? {
            return Ok(lines.unfinished().map_or(End::Finished, End::Unfinished));
        }
    }
}

#[cfg(test)]
mod tests {
    use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::{at_line, md5};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// The run delivers exactly the records that no checkpoint covers, as many as were counted.
        #[test]
        fn records_left_are_counted_and_delivered(
            lines in 0..200u64,
            covered in prop::collection::vec(
                prop_oneof![(0..220u64).prop_map(Covered::up_to), Just(Covered::ShardEnd)],
                1..5,
            ),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let input = folder.path().join("input");
            let text: String = (1..=lines).map(|line| format!("{}\n", line % 30)).collect();
            std::fs::write(&input, text).unwrap();
            let source = Source::File(input);
            let input = source.open().unwrap();
            let state_folder = folder.path().join("state");
            let count = covered.len() as u32;
            let state = State::open(&state_folder, count, false).unwrap();
            let resume = Resume::from_start(count);
            let history = Arc::new(History::new(input.clone(), &resume.start));
            let mut read = open_lines(&input, &resume, Some(history.clone())).unwrap();
            while read.read(|_, _| {}).unwrap() {}
            history.end();
            for (shard, covered) in (0..).zip(&covered) {
                let place = match covered {
                    Covered::Nothing => at_line(0),
                    Covered::Line(line) => at_line(*line),
                    Covered::ShardEnd => ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0),
                };
                state.store(shard, history.clone()).put(&place).unwrap();
            }
            drop(state);
            // A checkpoint cannot cover more than there is.
            let covered: Vec<_> = covered
                .iter()
                .map(|covered| match covered {
                    Covered::Line(line) => Covered::up_to(*line.min(&lines)),
                    covered => *covered,
                })
                .collect();
            let state = State::open(&state_folder, count, false).unwrap();
            let resume = find_resume(&source, &input, &state).unwrap();
            prop_assert_eq!(&resume.covered, &covered);
            prop_assert_eq!(resume.records, lines);

            let shards = Shards::new(count);
            let shard_of_line = |line: &u64| {
                shards.of_hash(md5((line % 30).to_string().as_bytes())) as usize
            };
            let left: Vec<u64> =
                (1..=lines).filter(|line| !covered[shard_of_line(line)].includes(*line)).collect();
            prop_assert_eq!(resume.left(), left.len() as u64);

            let unlimited = BatchLimit { records: 1000, bytes: 100_000 };
            let queues: Vec<_> =
                covered.iter().map(|_| Arc::new(Queue::new(unlimited, true, Bell::new().unwrap()))).collect();
            let history = Arc::new(History::new(input.clone(), &resume.start));
            let left_lines = open_lines(&input, &resume, Some(history)).unwrap();
            let end = distribute(left_lines, shards, &covered, &queues, &AtomicU64::new(0)).unwrap();
            prop_assert_eq!(end, End::Finished);
            queues.iter().for_each(|queue| queue.end(true));
            let mut delivered = Vec::new();
            for (shard, queue) in queues.iter().enumerate() {
                if let queue::Next::Batch(batch) = queue.next() {
                    for record in batch.parts().flat_map(|(_, records)| records) {
                        prop_assert_eq!(shard_of_line(&record.line), shard);
                        delivered.push(record.line);
                    }
                }
            }
            delivered.sort_unstable();
            prop_assert_eq!(delivered, left);
        }
    }
}
