//! The built-in daemon: lines of a file become records, one child process per shard gets them as
//! the MultiLangDaemon would give them, and its checkpoints are kept on disk.
//!
//! One thread reads the input and fills a bounded queue per shard; one thread per shard leads that
//! shard's conversation; the calling thread watches signals, progress and the first failure.

mod driver;
mod md5_lanes;
mod progress;
mod queue;
pub(crate) mod shards;
mod source;
mod state;
mod summary;

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::child::{Bell, Child, Program, allow_files};
use crate::error::{Error, Exit, Result};
use crate::output::{Reporter, with_commas};
use crate::signals::{Cause, Request, Requests, Step, Stopping};
use driver::{Control, Driver, Outcome, Report};
use kcl_protocol::DaemonCheckpointer;
use progress::{Progress, ShardStats};
use queue::{BatchLimit, Chunk, Queue};
use shards::{Shards, Sorted, Sorter, covered};
pub(crate) use source::Source;
use source::{Lines, LinesError, MAX_RECORD};
use state::{State, Store};

/// A batch is full with so much; Kinesis' own limits are 10,000 records and 10 MB.
const BATCH: BatchLimit = BatchLimit { records: 1000, bytes: 1 << 20 };
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(100);

/// What to run, over what, and how.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) source: Source,
    pub(crate) shards: u32,
    pub(crate) state: PathBuf,
    pub(crate) reset: bool,
    pub(crate) at_end: AtEnd,
    /// How long a child may be silent.
    pub(crate) patience: Duration,
    /// How long a stop may take before the children are killed.
    pub(crate) grace: Duration,
    /// How long the run may take before it is stopped.
    pub(crate) timeout: Option<Duration>,
}

/// What the children are told when the input has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AtEnd {
    // shutdownRequested, then leaseLost: the daemon stops.
    Shutdown,
    // shardEnded: every shard was split or merged.
    ShardEnded,
}

/// How far each shard already is.
#[derive(Debug)]
struct Resume {
    /// The last line covered by each shard's checkpoint.
    covered: Vec<u64>,
    /// How many records of each shard that is.
    skipped: Vec<u64>,
    records: u64,
}

impl Resume {
    fn left(&self) -> u64 {
        self.records - self.skipped.iter().sum::<u64>()
    }
}

/// What the calling thread hears of.
enum News {
    Stop(Request),
    /// The input has been read, or cannot be read further.
    Input(Result<()>),
    Shard(u32, thread::Result<Report>),
}

/// Runs to the end of the input, or to the first failure, or until told to stop.
pub(crate) fn run(options: &Options, reporter: &Reporter) -> Result<Exit> {
    let requests = Requests::watch(options.timeout, reporter)?;
    let input = options.source.open()?;
    let state = if options.source.is_repeatable() {
        let Options { state, source, shards, reset, .. } = options;
        Some(State::open(state, source, *shards, *reset)?)
    } else {
        None
    };
    let shards = Shards::new(options.shards);
    let mut resume = Resume {
        covered: vec![0; options.shards as usize],
        skipped: vec![0; options.shards as usize],
        records: 0,
    };
    if let Some(state) = state.as_ref().filter(|state| !state.is_new()) {
        count(options, state, shards, &mut resume)?;
        let is_ended = resume.covered.iter().all(|covered| *covered == u64::MAX);
        if resume.left() == 0 && (options.at_end == AtEnd::Shutdown || is_ended) {
            let all = with_commas(resume.records);
            reporter.result(&format!("0 of {all} left; --reset starts over"));
            return Ok(Exit::Done);
        }
    }
    reporter.say(&banner(options, state.as_ref(), &resume));
    let run = Run::start(options, reporter, &requests, state, shards, resume, input)?;
    run.supervise()
}

/// Counts the input's records, and those that each shard's checkpoint covers.
fn count(options: &Options, state: &State, shards: Shards, resume: &mut Resume) -> Result<()> {
    for shard in 0..options.shards {
        resume.covered[shard as usize] = state.checkpoint(shard).map_or(0, covered);
    }
    // Behind the furthest checkpoint every record is left, whichever its shard.
    let last = resume.covered.iter().max().copied().unwrap_or(0);
    let mut lines = Lines::new(options.source.open()?);
    let mut add = |record: &Sorted<'_>| {
        let shard = record.shard as usize;
        resume.skipped[shard] += u64::from(record.line <= resume.covered[shard]);
    };
    while read_sorted(&mut lines, shards, 1..=last, &mut add)
        .map_err(|error| bad_input(&options.source, error))?
    {}
    resume.records = lines.number();
    Ok(())
}

/// Reads once, and gives the records of these lines on. `false` when all has been read.
fn read_sorted<R: Read>(
    lines: &mut Lines<R>,
    shards: Shards,
    wanted: RangeInclusive<u64>,
    mut each: impl FnMut(&Sorted<'_>),
) -> Result<bool, LinesError> {
    let mut sorter = Sorter::new(shards);
    let more = lines.read(|line, record| {
        if wanted.contains(&line) {
            sorter.add(line, record, &mut each);
        }
    });
    // What stands before an error is given on as well.
    sorter.finish(each);
    more
}

fn bad_input(source: &Source, error: LinesError) -> Error {
    match error {
        LinesError::Io(error) => source.cannot_read().because(error),
        LinesError::TooLong(line) => {
            let what = format!("line {line} of {} is no record", source.name());
            let why =
                format!("it is longer than {} MiB, as much as Kinesis takes", MAX_RECORD >> 20);
            Error::new(Exit::Usage, what).because(why)
        }
    }
}

fn banner(options: &Options, state: Option<&State>, resume: &Resume) -> String {
    let kept = match state {
        None => "state: none, as this input cannot be read twice".into(),
        Some(state) => {
            let folder = options.state.display();
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
    control: Arc<Control>,
    queues: Vec<Arc<Queue>>,
    news: mpsc::Receiver<News>,
    stats: Vec<Arc<ShardStats>>,
    /// How much of the input has been read, and how much there is.
    position: Arc<AtomicU64>,
    length: Option<u64>,
    skipped: Vec<u64>,
    /// `None` while a shard is at work.
    reports: Vec<Option<Report>>,
    /// What went wrong first.
    failure: Option<Error>,
    stopping: Stopping,
    started: Instant,
    /// Held to the end: it keeps other runs out.
    _state: Option<State>,
}

impl Run {
    /// Starts all children, then all threads.
    fn start(
        options: &Options,
        reporter: &Reporter,
        requests: &Requests,
        state: Option<State>,
        shards: Shards,
        resume: Resume,
        input: Box<dyn Read + Send>,
    ) -> Result<Run> {
        let (sender, news) = mpsc::channel();
        let stop = sender.clone();
        requests.receive(move |request| drop(stop.send(News::Stop(request))));
        allow_files(options.shards.into())?;
        let bells: io::Result<Vec<Bell>> = (0..options.shards).map(|_| Bell::new()).collect();
        let bells = bells.map_err(|error| {
            Error::new(Exit::Surroundings, "cannot set up a pipe").because(error)
        })?;
        let only_full = state.is_some();
        let queue = |bell: &Bell| Arc::new(Queue::new(BATCH, only_full, bell.clone()));
        let mut run = Run {
            reporter: reporter.clone(),
            control: Arc::new(Control::new(bells.clone())),
            queues: bells.iter().map(queue).collect(),
            news,
            stats: bells.iter().map(|_| Arc::default()).collect(),
            position: Arc::default(),
            length: options.source.length(),
            skipped: resume.skipped,
            reports: bells.iter().map(|_| None).collect(),
            failure: None,
            stopping: Stopping::new(options.grace),
            started: Instant::now(),
            _state: None,
        };

        let mut drivers = Vec::new();
        for (shard, bell) in (0..).zip(&bells) {
            let index = shard as usize;
            run.stats[index].set_checkpoint(resume.covered[index]);
            let start = state.as_ref().and_then(|state| state.checkpoint(shard));
            let start = start.cloned().unwrap_or_else(shards::trim_horizon);
            if resume.covered[index] == u64::MAX {
                // Its end was stored by an earlier run: as with the real daemon, no child starts.
                run.queues[index].close();
                run.reports[index] = Some(Report::ended_before(start));
                continue;
            }
            let to = run.reporter.clone();
            let child = Child::spawn(&options.program, bell.clone(), move |lines| {
                if !to.is_quiet() {
                    to.child(shard, lines);
                }
            })?;
            drivers.push(Driver {
                shard,
                program: options.program.name(),
                child,
                queue: run.queues[index].clone(),
                control: run.control.clone(),
                reporter: run.reporter.clone(),
                stats: run.stats[index].clone(),
                checkpoints: DaemonCheckpointer::new(start),
                store: state.as_ref().map_or_else(Store::nowhere, |state| state.store(shard)),
                at_end: options.at_end,
                patience: options.patience,
            });
        }
        for driver in drivers {
            let sender = sender.clone();
            spawn(&format!("shard {}", driver.shard), move || {
                let shard = driver.shard;
                let report = catch_unwind(AssertUnwindSafe(|| driver.run()));
                let _ = sender.send(News::Shard(shard, report));
            })?;
        }
        let (queues, source) = (run.queues.clone(), options.source.clone());
        let position = run.position.clone();
        spawn("input", move || {
            let result = distribute(input, shards, &resume.covered, &queues, &position);
            // Before the queues end, as then the shards do, and with the last of them the run.
            let _ = sender.send(News::Input(result.map_err(|error| bad_input(&source, error))));
            queues.iter().for_each(|queue| queue.end());
        })?;
        run._state = state;
        Ok(run)
    }

    /// Waits for every shard's end, passing on what one of them must know of the others.
    fn supervise(mut self) -> Result<Exit> {
        let (reporter, stats) = (self.reporter.clone(), self.stats.clone());
        let mut progress = Progress::new(reporter, stats, self.position.clone(), self.length);
        while self.reports.iter().any(Option::is_none) {
            match self.news.recv_timeout(TICK) {
                Ok(news) => self.hear(news),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // The thread that watches for signals holds a sender.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if let Some(step) = self.stopping.tick(Instant::now()) {
                self.stop(step);
            }
            progress.tick();
        }
        progress.end();
        self.close()
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Input(Ok(())) => {}
            News::Input(Err(error)) => {
                // What stands before the trouble is still delivered.
                self.failure.get_or_insert(error);
            }
            News::Shard(shard, Ok(report)) => {
                let index = shard as usize;
                self.reports[index] = Some(report);
                let report = self.reports[index].as_mut();
                if let Some(Report { outcome: Outcome::Failed(_, error), last_words, .. }) = report
                {
                    let error = std::mem::replace(error, Error::new(Exit::Bug, String::new()));
                    let last_words = std::mem::take(last_words);
                    self.fail(shard, error, &last_words);
                }
            }
            News::Shard(shard, Err(_)) => {
                // The panic has been printed, and its child killed when the driver was dropped.
                let error = Error::new(Exit::Bug, format!("shard {shard}: kcl-helper is at fault"));
                self.reports[shard as usize] = Some(Report::of_a_bug());
                self.fail(shard, error, &[]);
            }
            News::Stop(request) => {
                if let Some(step) = self.stopping.request(request) {
                    self.stop(step);
                }
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
        // First the deed, then the words.
        match step {
            Step::Ask(_) => self.control.stop(),
            Step::ForceAsAskedAgain(_) | Step::ForceAsGraceIsOver(_) => self.control.kill(),
        }
        match step {
            Step::Ask(cause) => {
                let busy = self.reports.iter().filter(|report| report.is_none()).count();
                let shards = if busy == 1 { "1 shard".into() } else { format!("{busy} shards") };
                self.reporter.result(&format!(
                    "{cause}: sending shutdownRequested and leaseLost to {shards}, for up to \
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

    /// The summary, and what it comes to.
    fn close(mut self) -> Result<Exit> {
        let took = self.started.elapsed();
        let how = match (&self.failure, self.stopping.cause()) {
            (Some(_), _) => "failed after",
            (None, Some(_)) => "stopped after",
            (None, None) => "done in",
        };
        self.reporter.say(&format!("{how} {:.1}s", took.as_secs_f64()));
        let rows = summary::rows(&self.reports, &self.stats, &self.skipped);
        self.reporter.print_lines(summary::table(&rows, took))?;
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        Ok(self.stopping.cause().map_or(Exit::Done, Cause::exit))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Whatever ends the run: the thread that reads the input must not wait for room for ever.
        self.queues.iter().for_each(|queue| queue.close());
    }
}

/// Reads the input and gives each record to its shard, unless that shard is behind it already.
fn distribute(
    input: Box<dyn Read + Send>,
    shards: Shards,
    covered: &[u64],
    queues: &[Arc<Queue>],
    position: &AtomicU64,
) -> Result<(), LinesError> {
    let behind = covered.iter().min().copied().unwrap_or(0).saturating_add(1);
    let mut lines = Lines::new(input);
    loop {
        // What one read gave is handed over before the next, which may have to wait.
        let now = SystemTime::now();
        let mut chunks: Vec<Chunk> = queues.iter().map(|queue| queue.chunk(now)).collect();
        let more = read_sorted(&mut lines, shards, behind..=u64::MAX, |record| {
            let shard = record.shard as usize;
            if record.line > covered[shard] {
                chunks[shard].push(record);
            }
        });
        position.store(lines.position(), Ordering::Relaxed);
        for (chunk, queue) in chunks.into_iter().zip(queues) {
            if !chunk.is_empty() && !queue.push(chunk) {
                return Ok(());
            }
        }
        if !more? {
            return Ok(());
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map(drop)
        .map_err(|error| Error::new(Exit::Surroundings, "cannot start a thread").because(error))
}

#[cfg(test)]
mod tests {
    use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
    use proptest::prelude::*;

    use super::shards::md5_hex;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What is left is what each shard's checkpoint does not cover, counted one by one; and it
        /// is what the run then delivers.
        #[test]
        fn what_is_left_is_counted_and_delivered(
            lines in 0..200u64,
            covered in prop::collection::vec(prop_oneof![0..220u64, Just(u64::MAX)], 1..5),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let input = folder.path().join("input");
            let text: String = (1..=lines).map(|line| format!("{}\n", line % 30)).collect();
            std::fs::write(&input, text).unwrap();
            let options = Options {
                program: Program::from(["true"].as_slice()),
                source: Source::File(input),
                shards: covered.len() as u32,
                state: folder.path().join("state"),
                reset: false,
                at_end: AtEnd::Shutdown,
                patience: Duration::from_secs(10),
                grace: Duration::from_secs(10),
                timeout: None,
            };
            let open = || State::open(&options.state, &options.source, options.shards, false).unwrap();
            let state = open();
            for (shard, line) in (0..).zip(&covered) {
                let mut number = String::from("SHARD_END");
                if *line < u64::MAX {
                    number.clear();
                    shards::push_sequence_number(*line, &mut number);
                }
                let number = SequenceNumber::new(&number).unwrap();
                let place = ExtendedSequenceNumber::new(number, 0);
                state.store(shard).put(&place.to_owned()).unwrap();
            }
            drop(state);
            let state = open();
            let shards = Shards::new(options.shards);
            let mut resume = Resume { covered: vec![0; covered.len()], skipped: vec![0; covered.len()], records: 0 };
            count(&options, &state, shards, &mut resume).unwrap();
            prop_assert_eq!(&resume.covered, &covered);
            prop_assert_eq!(resume.records, lines);

            let shard_of_line = |line: &u64| {
                let hash = md5_hex((line % 30).to_string().as_bytes());
                shards.of_hash(u128::from_str_radix(&hash, 16).unwrap()) as usize
            };
            let left: Vec<u64> =
                (1..=lines).filter(|line| *line > covered[shard_of_line(line)]).collect();
            prop_assert_eq!(resume.left(), left.len() as u64);

            let unlimited = BatchLimit { records: 1000, bytes: 100_000 };
            let queues: Vec<_> =
                covered.iter().map(|_| Arc::new(Queue::new(unlimited, true, Bell::new().unwrap()))).collect();
            let input = options.source.open().unwrap();
            distribute(input, shards, &covered, &queues, &AtomicU64::new(0)).unwrap();
            queues.iter().for_each(|queue| queue.end());
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
