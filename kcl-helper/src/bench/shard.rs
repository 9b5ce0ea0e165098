//! One child and the thread that plays its daemon.
//!
//! The thread writes a ready line, reads the answer, and looks at the clock once. That a child is
//! silent is noticed by whoever looks at the [`Watch`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kcl_protocol::{
    Action, CheckpointError, DaemonMessage, DaemonSession, InitializeInput, Received,
};
use rustix::time::{ClockId, clock_gettime};

use super::cpus::Cpus;
use super::load::Load;
use crate::child::faults::{self, BETWEEN, MOMENT, Skipped};
use crate::child::{
    Broken, LastWords, Pipes, Process, Program, StdoutEnd, Wire, describe, pump_stderr,
};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};
use crate::local::shards::{shard_id, trim_horizon};
use crate::output::Reporter;

/// How a child's checkpoints are answered: all well, or every n-th with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers(pub(crate) Option<(CheckpointError, u64)>);

/// When a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Passed(Duration),
    Batches(u64),
}

/// What the thread is told to do next.
#[derive(Debug)]
pub(crate) enum Order {
    Turn(Turn),
    End,
}

/// Batches at a stretch; every shard of a command begins at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) until: Until,
    /// From one batch's moment to the next one's, where batches come at a fixed rate.
    pub(crate) interval: Option<Duration>,
    pub(crate) begin: Arc<Barrier>,
    /// Whether latencies are kept.
    pub(crate) is_measured: bool,
}

/// What came of a turn.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) batches: u64,
    /// Our own CPU time.
    pub(crate) our_cpu: Duration,
}

/// What came of a life.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) batches: u64,
    pub(crate) checkpoints: u64,
    pub(crate) latency: Histogram<u32>,
    /// The last line on stderr.
    pub(crate) last_words: Option<String>,
}

/// What the thread tells.
#[derive(Debug)]
pub(crate) enum Told {
    Started(Arc<Mutex<Process>>),
    /// The status of `initialize` has come, so long after the start.
    Ready(Duration),
    Done(Done),
    Ended(Box<Life>),
    /// With the last lines on stderr of a child that ended by itself.
    Failed(Error, Vec<String>),
}

/// What a child is at, for others to see.
#[derive(Debug)]
pub(crate) struct Watch {
    epoch: Instant,
    /// Nanoseconds since the epoch when the silence began; 0 while the child owes nothing.
    since: AtomicU64,
    action: AtomicUsize,
}

const ACTIONS: [Action; 4] =
    [Action::Initialize, Action::ProcessRecords, Action::ShutdownRequested, Action::LeaseLost];

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch { epoch: Instant::now(), since: AtomicU64::new(0), action: AtomicUsize::new(0) }
    }

    /// Since when the child owes an answer, and to what.
    pub(crate) fn owed(&self) -> Option<(Instant, Action)> {
        let since = self.since.load(Ordering::Relaxed);
        let action = ACTIONS[self.action.load(Ordering::Relaxed) % ACTIONS.len()];
        (since > 0).then(|| (self.epoch + Duration::from_nanos(since), action))
    }

    fn owes(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.since.store(nanos.max(1), Ordering::Relaxed);
    }

    fn is_at(&self, action: Action) {
        let index = ACTIONS.iter().position(|known| *known == action).unwrap_or(0);
        self.action.store(index, Ordering::Relaxed);
    }

    fn owes_nothing(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}

/// All that the thread needs.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) who: String,
    pub(crate) shard: u32,
    pub(crate) program: Program,
    pub(crate) load: Arc<Load>,
    pub(crate) answers: Answers,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) guardian: Guardian,
    pub(crate) patience: Duration,
    pub(crate) watch: Arc<Watch>,
    pub(crate) reporter: Reporter,
}

impl Driver {
    /// Leads the child's life, turn by turn as ordered, and tells how it goes. If the orders stop
    /// without an end, the child is killed.
    pub(crate) fn run(self, orders: &mpsc::Receiver<Order>, tell: impl Fn(Told)) {
        let mut last_words = LastWords::default();
        match self.live(orders, &tell, &mut last_words) {
            Ok(Some(life)) => tell(Told::Ended(Box::new(life))),
            Ok(None) => {}
            Err((error, is_gone)) => {
                tell(Told::Failed(error, if is_gone { last_words.get() } else { vec![] }));
            }
        }
    }

    fn live(
        &self,
        orders: &mpsc::Receiver<Order>,
        tell: &impl Fn(Told),
        last_words: &mut LastWords,
    ) -> Result<Option<Life>, (Error, bool)> {
        let plain = |error| (error, false);
        if let Some(cpus) = &self.cpus {
            cpus.move_here().map_err(plain)?;
        }
        let spawned = Instant::now();
        let cpu = self.cpus.as_ref().map(|cpus| cpus.of_child(self.shard));
        // A measurement that is cut short is of no use, so its children have no time to end.
        let how = How { group: None, cpu, grace: Duration::ZERO };
        let (process, pipes) = Process::spawn(&self.guardian, &self.program, how).map_err(plain)?;
        let process = Arc::new(Mutex::new(process));
        tell(Told::Started(process.clone()));
        let Pipes { stdin, stdout, stderr } = pipes;
        let (stderr_ends, stderr_end) = mpsc::channel::<()>();
        let (to, shard, reporter) = (last_words.clone(), self.shard, self.reporter.clone());
        start_thread("stderr", move || {
            pump_stderr(stderr, &to, |lines| {
                if reporter.is_verbose() {
                    reporter.child(shard, lines);
                }
            });
            drop(stderr_ends);
        })
        .map_err(plain)?;
        let wire = Wire::new(stdin, stdout).map_err(|error| {
            (Error::new(Exit::Environment, "cannot set up a pipe").because(error), false)
        })?;
        let mut talk = Talk {
            driver: self,
            process: &process,
            wire,
            session: DaemonSession::new(),
            out: Vec::new(),
            skipped: Skipped::default(),
            spoke: false,
            batches: 0,
            checkpoints: 0,
            latency: Histogram::new(3).map_err(|error| (bug(&error), false))?,
            is_gone: false,
        };
        match talk.talk(spawned, orders, tell) {
            Err(error) => {
                let is_gone = talk.is_gone;
                if is_gone {
                    // What it still had to say.
                    let _ = stderr_end.recv_timeout(MOMENT);
                }
                return Err((error, is_gone));
            }
            Ok(false) => return Ok(None),
            Ok(true) => {}
        }
        if let Some(text) = talk.skipped.rest() {
            self.reporter.result(&format!("{}: {text}", self.who));
        }
        let Talk { wire, batches, checkpoints, latency, .. } = talk;
        self.close(&process, wire).map_err(plain)?;
        let _ = stderr_end.recv_timeout(MOMENT);
        let last_words = last_words.get().pop();
        Ok(Some(Life { batches, checkpoints, latency, last_words }))
    }

    /// Closes the child's input and waits for its end.
    fn close(&self, process: &Mutex<Process>, wire: Wire) -> Result<()> {
        let mut stdout = wire.close();
        // So that it can say what it likes to its end.
        start_thread("drain", move || drop(std::io::copy(&mut stdout, &mut std::io::sink())))?;
        let waiter = lock(process).waiter();
        let until = Instant::now() + self.patience;
        while !waiter.has_exited() {
            if Instant::now() >= until {
                lock(process).kill();
                return Err(faults::did_not_exit(&self.who, self.patience));
            }
            thread::sleep(Duration::from_millis(1));
        }
        match lock(process).finish() {
            Some(status) if !status.success() => {
                self.reporter.result(&format!("{}: {}", self.who, faults::bad_status(status)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A conversation in progress.
struct Talk<'a> {
    driver: &'a Driver,
    process: &'a Mutex<Process>,
    wire: Wire,
    session: DaemonSession,
    out: Vec<u8>,
    skipped: Skipped,
    spoke: bool,
    batches: u64,
    checkpoints: u64,
    latency: Histogram<u32>,
    /// The child has ended by itself.
    is_gone: bool,
}

impl Talk<'_> {
    /// Until the status of leaseLost; `false` if the orders stopped before.
    fn talk(
        &mut self,
        spawned: Instant,
        orders: &mpsc::Receiver<Order>,
        tell: &impl Fn(Told),
    ) -> Result<bool> {
        let id = shard_id(self.driver.shard);
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(trim_horizon().sequence_number);
        input.sub_sequence_number = Some(0);
        self.ask(&DaemonMessage::Initialize(input))?;
        tell(Told::Ready(spawned.elapsed()));
        loop {
            match orders.recv() {
                Ok(Order::Turn(turn)) => {
                    let done = self.turn(&turn)?;
                    tell(Told::Done(done));
                }
                Ok(Order::End) => break,
                Err(_) => return Ok(false),
            }
        }
        self.ask(&DaemonMessage::ShutdownRequested)?;
        self.ask(&DaemonMessage::LeaseLost)?;
        self.session.close().map_err(|error| bug(&error))?;
        Ok(true)
    }

    fn turn(&mut self, turn: &Turn) -> Result<Done> {
        let load = self.driver.load.clone();
        self.driver.watch.is_at(Action::ProcessRecords);
        turn.begin.wait();
        let our_cpu = our_cpu();
        let start = Instant::now();
        let mut now = start;
        let mut batches = 0u64;
        let is_over = |now: Instant, batches| match turn.until {
            Until::Passed(time) => now - start >= time,
            Until::Batches(count) => batches >= count,
        };
        let moment = |batches| Some(start + turn.interval?.mul_f64(batches as f64));
        while !is_over(now, batches) {
            // A batch counts from the moment for which it was intended, unless it was we who slept
            // too long.
            let from = match moment(batches) {
                Some(moment) if moment > now => {
                    thread::sleep(moment - now);
                    Instant::now()
                }
                Some(moment) => moment,
                None => now,
            };
            self.session.mark_sent(Action::ProcessRecords).map_err(|error| bug(&error))?;
            self.driver.watch.owes(now);
            self.send(&load.line)?;
            self.await_status(Action::ProcessRecords)?;
            now = Instant::now();
            batches += 1;
            self.batches += 1;
            if turn.is_measured {
                // Counts that are full stay so.
                let _ = self.latency.record((now - from).as_nanos() as u64);
            }
        }
        self.driver.watch.owes_nothing();
        if let Some(moment) = moment(batches).filter(|moment| *moment > now) {
            thread::sleep(moment - now);
            now = Instant::now();
        }
        let our_cpu = self::our_cpu().saturating_sub(our_cpu);
        Ok(Done { start, end: now, batches, our_cpu })
    }

    /// Sends a message and deals with what the child says, until its status has come.
    fn ask(&mut self, message: &DaemonMessage<'_>) -> Result<()> {
        let action = message.action().unwrap_or(Action::Initialize);
        self.out.clear();
        self.session.send(message, &mut self.out).map_err(|error| bug(&error))?;
        self.driver.watch.is_at(action);
        self.driver.watch.owes(Instant::now());
        let line = std::mem::take(&mut self.out);
        self.send(&line)?;
        self.out = line;
        self.await_status(action)?;
        self.driver.watch.owes_nothing();
        Ok(())
    }

    fn send(&mut self, line: &[u8]) -> Result<()> {
        self.wire.send(line).map_err(|broken| self.broken(broken))
    }

    fn await_status(&mut self, during: Action) -> Result<()> {
        loop {
            let line = self.wire.next_line().map_err(|broken| self.broken(broken))?;
            if self.hear(line, during)? {
                return Ok(());
            }
        }
    }

    /// Whether it was the status.
    fn hear(&mut self, mut line: kcl_protocol::Line, during: Action) -> Result<bool> {
        let heard = faults::Heard::new(line.bytes());
        let is_checkpoint = match self.session.receive(line.bytes_mut()) {
            Ok(Received::Status(_)) => {
                self.spoke = true;
                self.wire.recycle(line);
                return Ok(true);
            }
            Ok(Received::Checkpoint(_)) => true,
            Ok(noise) => {
                if let Some(text) = self.skipped.line(&heard, &noise) {
                    self.driver.reporter.result(&format!("{}: {text}", self.driver.who));
                }
                false
            }
            Err(error) => {
                let what = self.what(during);
                return Err(faults::broke_the_protocol(&self.driver.who, &what, &error));
            }
        };
        self.wire.recycle(line);
        if is_checkpoint {
            self.spoke = true;
            self.answer_checkpoint()?;
        }
        Ok(false)
    }

    fn answer_checkpoint(&mut self) -> Result<()> {
        self.checkpoints += 1;
        let verdict = match &self.driver.answers.0 {
            Some((error, every)) if self.checkpoints.is_multiple_of(*every) => Err(error),
            _ => Ok(()),
        };
        self.out.clear();
        self.session.answer_checkpoint(verdict, &mut self.out).map_err(|error| bug(&error))?;
        let line = std::mem::take(&mut self.out);
        self.send(&line)?;
        self.out = line;
        Ok(())
    }

    /// The message that the child is at.
    fn what(&self, action: Action) -> String {
        match action {
            Action::ProcessRecords => format!("processRecords of batch {}", self.batches + 1),
            action => action.to_string(),
        }
    }

    /// Why the child cannot be talked to any more.
    fn broken(&mut self, broken: Broken) -> Error {
        let driver = self.driver;
        let at = match self.session.state() {
            kcl_protocol::State::Busy(action) | kcl_protocol::State::Checkpointing(action) => {
                Some(action)
            }
            _ => None,
        };
        let what = at.map_or(BETWEEN.into(), |action| self.what(action));
        let stdin_failed = broken == Broken::Stdin;
        match broken {
            Broken::Stdout(StdoutEnd::TooLong) => return faults::endless_line(&driver.who, &what),
            Broken::Stdout(StdoutEnd::Failed(why)) => {
                return faults::unreadable_stdout(&driver.who, &why);
            }
            Broken::Stdin | Broken::Stdout(StdoutEnd::Closed) => {}
        }
        let waiter = lock(self.process).waiter();
        let exited = waiter.has_exited_within(MOMENT);
        // A child that reads no more may have said why before.
        while let Some(action) = at.filter(|_| stdin_failed && self.wire.has_more()) {
            let Ok(line) = self.wire.next_line() else { break };
            if let Err(error) = self.hear_last(line, action) {
                return error;
            }
        }
        let how = match (exited, stdin_failed) {
            (true, _) => {
                self.is_gone = true;
                let status = lock(self.process).finish();
                format!("ended with {}", status.map_or("no status".into(), describe))
            }
            (false, true) => "closed its stdin".into(),
            (false, false) => "closed its stdout".into(),
        };
        let stranger = (!self.spoke).then(|| driver.program.name());
        faults::gone(&driver.who, &how, &what, stranger.as_deref())
    }

    /// Takes a line of a child that reads no more, so that nothing needs an answer.
    fn hear_last(&mut self, mut line: kcl_protocol::Line, during: Action) -> Result<()> {
        let heard = faults::Heard::new(line.bytes());
        match self.session.receive(line.bytes_mut()) {
            Ok(received) => {
                self.spoke |= !received.is_noise();
                if let Some(text) = self.skipped.line(&heard, &received) {
                    self.driver.reporter.result(&format!("{}: {text}", self.driver.who));
                }
                Ok(())
            }
            Err(error) => {
                let what = self.what(during);
                Err(faults::broke_the_protocol(&self.driver.who, &what, &error))
            }
        }
    }
}

pub(crate) fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small stacks, as there may be hundreds.
pub(crate) fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(256 << 10)
        .spawn(run)
        .map(drop)
        .map_err(|error| Error::new(Exit::Environment, "cannot start a thread").because(error))
}

fn our_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn bug(error: &dyn std::fmt::Display) -> Error {
    Error::new(Exit::Bug, format!("kcl-helper is at fault: {error}"))
}
