//! One child and the thread that plays its daemon.
//!
//! The thread writes a line that was encoded before, reads the answer, and looks at the clock. That a
//! child is silent is noticed by whoever looks at the [`Watch`].

use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kcl_protocol::{Action, CheckpointError, CheckpointRequest, DaemonMessage, InitializeInput};
use rustix::time::{ClockId, clock_gettime};

use super::cpus::Cpus;
use super::load::Load;
use crate::child::faults::Fault;
use crate::child::{
    Answer, Bell, Child, Conversation, Daemon, EndedEarly, OutgoingLine, ProcessHandle, Program,
    Protocol, Setup, Watch,
};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};
use crate::kinesis::{shard_id, trim_horizon};
use crate::output::Reporter;

/// How a child's checkpoints are answered: all accepted, or every n-th refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers(pub(crate) Option<(CheckpointError, u64)>);

/// When a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Passed(Duration),
    Batches(u64),
}

/// What the thread has to do next.
#[derive(Debug)]
pub(crate) enum Order {
    Turn(Turn),
    End,
}

/// A series of batches, which all shards of a command begin at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) until: Until,
    /// The time between two batches, if they come at a fixed rate.
    pub(crate) interval: Option<Duration>,
    pub(crate) begin: Arc<Barrier>,
    /// Whether latencies are recorded.
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

/// What came of a shard.
#[derive(Debug)]
pub(crate) struct ShardResult {
    pub(crate) batches: u64,
    pub(crate) checkpoints: u64,
    pub(crate) latency: Histogram<u32>,
    /// The last line on stderr.
    pub(crate) last_words: Option<String>,
    /// What went wrong after the last turn, which does not change what was measured.
    pub(crate) failed_end: Option<Fault>,
}

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum Told {
    Started(ProcessHandle),
    /// The status of `initialize` has come, so long after the start.
    Ready(Duration),
    Done(Done),
    Ended(Box<ShardResult>),
    Failed(Fault),
}

/// All that the thread needs.
#[derive(Debug)]
pub(crate) struct ShardBench {
    pub(crate) who: String,
    pub(crate) shard: u32,
    pub(crate) program: Program,
    pub(crate) load: Arc<Load>,
    pub(crate) answers: Answers,
    pub(crate) protocol: Protocol,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) guardian: Guardian,
    pub(crate) patience: Duration,
    pub(crate) watch: Arc<Watch>,
    pub(crate) reporter: Reporter,
}

impl ShardBench {
    /// Leads the child's conversation, turn by turn as ordered, and reports how it goes. If the orders
    /// stop without an end, the child is killed.
    pub(crate) fn run(self, orders: &mpsc::Receiver<Order>, tell: impl Fn(Told)) {
        match self.converse(orders, &tell) {
            Ok(Some(result)) => tell(Told::Ended(Box::new(result))),
            Ok(None)
            | Err(EndedEarly::CutOff | EndedEarly::ByDaemon | EndedEarly::WrongGoodbye(_)) => {}
            Err(EndedEarly::Fault(fault)) => tell(Told::Failed(fault)),
        }
    }

    fn converse(
        &self,
        orders: &mpsc::Receiver<Order>,
        tell: &impl Fn(Told),
    ) -> Result<Option<ShardResult>, EndedEarly> {
        let not_started = |error| Fault::new("not started", error);
        let latency = Histogram::new(3).map_err(|error| Fault::bug(&error))?;
        let spawned = Instant::now();
        let conversation = self.start_child().map_err(not_started)?;
        tell(Told::Started(conversation.process()));
        let daemon = BenchDaemon { answers: &self.answers, batches: 0, checkpoints: 0 };
        let mut measured = MeasuredShard { bench: self, conversation, daemon, latency };
        measured.initialize()?;
        tell(Told::Ready(spawned.elapsed()));
        loop {
            match orders.recv() {
                Ok(Order::Turn(turn)) => tell(Told::Done(measured.turn(&turn)?)),
                Ok(Order::End) => return measured.end().map(Some),
                Err(_) => return Ok(None),
            }
        }
    }

    fn start_child(&self) -> Result<Conversation> {
        if let Some(cpus) = &self.cpus {
            cpus.move_here()?;
        }
        let bell = Bell::new().map_err(|error| {
            Error::new(Exit::Environment, "cannot set up a pipe").because(error)
        })?;
        let cpu = self.cpus.as_ref().map(|cpus| cpus.of_child(self.shard));
        // A measurement that is cut short is of no use, so its children have no time to end.
        let how = How { group: None, cpu, grace: Duration::ZERO };
        let (shard, reporter) = (self.shard, self.reporter.clone());
        let show = move |lines: &[String]| {
            if reporter.is_verbose() {
                reporter.child(shard, lines);
            }
        };
        let child = Child::spawn(&self.guardian, &self.program, how, bell, show)?;
        let setup = Setup {
            who: self.who.clone(),
            program: self.program.name(),
            reporter: self.reporter.clone(),
            watch: self.watch.clone(),
            // Whoever ends a measurement kills the children.
            control: None,
            exit_patience: self.patience,
        };
        Ok(Conversation::new(child, setup))
    }
}

/// The daemon's side: it accepts any checkpoint, unless it is the turn of an error.
struct BenchDaemon<'a> {
    answers: &'a Answers,
    batches: u64,
    checkpoints: u64,
}

impl Daemon for BenchDaemon<'_> {
    fn answer_checkpoint(
        &mut self,
        _: &CheckpointRequest<'_>,
        _: Action,
    ) -> Result<Answer, EndedEarly> {
        self.checkpoints += 1;
        Ok(match &self.answers.0 {
            Some((error, every)) if self.checkpoints.is_multiple_of(*every) => {
                Answer::Refused(error.clone())
            }
            _ => Answer::Accepted,
        })
    }

    fn message_name(&self, action: Action) -> String {
        match action {
            Action::ProcessRecords => format!("processRecords of batch {}", self.batches + 1),
            action => action.to_string(),
        }
    }
}

/// A child that is being measured.
struct MeasuredShard<'a> {
    bench: &'a ShardBench,
    conversation: Conversation,
    daemon: BenchDaemon<'a>,
    latency: Histogram<u32>,
}

impl MeasuredShard<'_> {
    fn initialize(&mut self) -> Result<(), EndedEarly> {
        let id = shard_id(self.bench.shard);
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(trim_horizon().sequence_number);
        input.sub_sequence_number = Some(0);
        self.conversation.ask(&DaemonMessage::Initialize(input), &mut self.daemon)
    }

    fn turn(&mut self, turn: &Turn) -> Result<Done, EndedEarly> {
        turn.begin.wait();
        let our_cpu = our_cpu();
        let start = Instant::now();
        let mut now = start;
        let mut batches = 0u64;
        while !turn.until.is_over(now - start, batches) {
            // A batch counts from the moment for which it was intended, unless it was we who slept
            // too long.
            let from = match turn.intended(start, batches) {
                Some(intended) if intended > now => {
                    thread::sleep(intended - now);
                    Instant::now()
                }
                Some(intended) => intended,
                None => now,
            };
            let line = OutgoingLine::Shared(self.bench.load.line.clone());
            self.conversation.ask_encoded(Action::ProcessRecords, line, &mut self.daemon)?;
            now = Instant::now();
            batches += 1;
            self.daemon.batches += 1;
            if turn.is_measured {
                // A count that is full stays as it is.
                let _ = self.latency.record((now - from).as_nanos() as u64);
            }
        }
        if let Some(intended) = turn.intended(start, batches).filter(|intended| *intended > now) {
            thread::sleep(intended - now);
            now = Instant::now();
        }
        let our_cpu = self::our_cpu().saturating_sub(our_cpu);
        Ok(Done { start, end: now, batches, our_cpu })
    }

    fn end(mut self) -> Result<ShardResult, EndedEarly> {
        let failed_end = match self.say_goodbye() {
            Ok(()) => None,
            Err(EndedEarly::Fault(fault)) => {
                self.conversation.abandon();
                Some(fault)
            }
            Err(ended) => return Err(ended),
        };
        self.conversation.finish()?;
        let BenchDaemon { batches, checkpoints, .. } = self.daemon;
        let last_words = self.conversation.last_words().pop();
        let latency = self.latency;
        Ok(ShardResult { batches, checkpoints, latency, last_words, failed_end })
    }

    fn say_goodbye(&mut self) -> Result<(), EndedEarly> {
        if self.conversation.ask_shutdown(&mut self.daemon)? {
            let lease_lost = self.bench.protocol.lease_lost();
            self.conversation.ask(&lease_lost, &mut self.daemon)?;
            self.conversation.close()?;
        }
        Ok(())
    }
}

impl Turn {
    /// Returns the moment at which this batch, counted from 0, is to be sent.
    fn intended(&self, start: Instant, batch: u64) -> Option<Instant> {
        Some(start + self.interval?.mul_f64(batch as f64))
    }
}

impl Until {
    fn is_over(self, passed: Duration, batches: u64) -> bool {
        match self {
            Until::Passed(time) => passed >= time,
            Until::Batches(count) => batches >= count,
        }
    }
}

fn our_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
