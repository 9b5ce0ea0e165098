//! One shard's conversation with its child: initialize, batches, the end; checkpoints between. Injected
//! faults replace the child by a new one, which resumes at the checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kcl_protocol::{Action, CheckpointRequest, DaemonCheckpointer, DaemonMessage, InitializeInput};

use super::batch::{EncodedBatch, InputLines};
use super::injected::{CheckpointFault, FaultPlan, RecordFault};
use super::options::AtEnd;
use super::progress::ShardStats;
use super::queue::{Batch, Next, Queue};
use super::state::Store;
use crate::child::faults::Fault;
use crate::child::{
    Answer, Bell, Child, Control, Conversation, Daemon, EndedEarly, OutgoingLine, Program,
    Protocol, Setup, Speaker, Watch,
};
use crate::error::Result;
use crate::guardian::{Guardian, How};
use crate::kinesis::{Covered, Place, shard_id};
use crate::output::{Reporter, with_commas};

/// How much of a line `-v` shows, in characters.
const SHOWN_CHARS: usize = 120;

/// How the run of a shard ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ok,
    ShardEnded,
    /// Properly, before the end of the input.
    Stopped,
    /// Its stdin was closed because the run failed elsewhere.
    CutOff,
    Killed,
    /// With a few words for the table.
    Failed(String),
}

/// What came of a shard.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) checkpoint: Place,
    /// From the first message to the last answer.
    pub(crate) took: Duration,
}

/// How the children of a shard are started.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) shard: u32,
    pub(crate) guardian: Guardian,
    pub(crate) program: Program,
    pub(crate) grace: Duration,
    pub(crate) patience: Duration,
    pub(crate) bell: Bell,
    pub(crate) watch: Arc<Watch>,
    pub(crate) control: Arc<Control>,
    pub(crate) reporter: Reporter,
}

/// All that the thread of a shard needs.
#[derive(Debug)]
pub(crate) struct ShardRun {
    pub(crate) starter: Starter,
    pub(crate) conversation: Conversation,
    pub(crate) source: BatchSource,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) faults: FaultPlan,
    pub(crate) at_end: AtEnd,
    pub(crate) protocol: Protocol,
}

/// Where a shard's batches come from.
#[derive(Debug)]
pub(crate) struct BatchSource {
    queue: Arc<Queue>,
    /// The next batch, encoded while the child worked on the one before.
    ahead: Option<EncodedBatch>,
    /// Batches that were encoded and are not covered by a checkpoint, if a fault may replace the child.
    uncovered: VecDeque<Batch>,
    keeps_uncovered: bool,
    /// What a new child gets again.
    again: VecDeque<Batch>,
}

/// The checkpoints of a shard.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub(crate) rules: DaemonCheckpointer,
    pub(crate) store: Store,
    pub(crate) stats: Arc<ShardStats>,
}

/// What delivering batches came to.
enum Delivered {
    /// All of the input.
    All,
    /// The run was stopped, or the input has more that cannot be read.
    Stopped,
    /// A fault, as it was typed, is to happen now.
    Fault(RecordFault, String),
}

/// The daemon's side, while the child works on a message.
struct LocalDaemon<'a> {
    source: &'a mut BatchSource,
    checkpoints: &'a mut Checkpoints,
    faults: &'a mut FaultPlan,
    /// What the current batch is made of.
    lines: Option<InputLines>,
    /// The child is to be killed at its next request.
    kills: bool,
    starter: &'a Starter,
}

impl Daemon for LocalDaemon<'_> {
    fn answer_checkpoint(
        &mut self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Answer, EndedEarly> {
        if self.kills {
            return Err(EndedEarly::ByDaemon);
        }
        match self.faults.checkpoint_requested() {
            Some(CheckpointFault::Refused(error)) => return Ok(Answer::Refused(error)),
            Some(CheckpointFault::Unanswered) => return Ok(Answer::Never),
            None => {}
        }
        let answer = self.checkpoints.answer(request, during)?;
        self.source.drop_covered(self.checkpoints.covered());
        Ok(answer)
    }

    fn message_name(&self, action: Action) -> String {
        self.lines.map_or_else(|| action.to_string(), |lines| format!("{action} of {lines}"))
    }

    fn while_child_works(&mut self, during: Action, spare: &mut Vec<u8>) -> Result<(), Fault> {
        if during == Action::ProcessRecords { self.source.look_ahead(spare) } else { Ok(()) }
    }

    fn observe(&mut self, from: Speaker, line: &[u8]) {
        let Starter { shard, reporter, .. } = self.starter;
        if reporter.is_verbose() {
            let arrow = if from == Speaker::Daemon { "→" } else { "←" };
            let line =
                shown(line, if reporter.shows_everything() { None } else { Some(SHOWN_CHARS) });
            reporter.detail(&format!("shard {shard} {arrow} {line}"));
        }
    }
}

/// Returns a line without its end, and no more of it than so many characters.
fn shown(line: &[u8], limit: Option<usize>) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let Some(limit) = limit else { return String::from_utf8_lossy(line).into_owned() };
    // No character has more than four bytes.
    let start = String::from_utf8_lossy(&line[..line.len().min(4 * limit)]);
    match start.char_indices().nth(limit) {
        None => start.into_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &start[..end], with_commas(line.len() as u64)),
    }
}

impl Starter {
    pub(crate) fn start(&self) -> Result<Conversation> {
        let how = How { group: None, cpu: None, grace: self.grace };
        let (shard, reporter) = (self.shard, self.reporter.clone());
        let show = move |lines: &[String]| {
            if !reporter.is_quiet() {
                reporter.child(shard, lines);
            }
        };
        let child = Child::spawn(&self.guardian, &self.program, how, self.bell.clone(), show)?;
        let setup = Setup {
            who: format!("shard {shard}"),
            program: self.program.name(),
            reporter: self.reporter.clone(),
            watch: self.watch.clone(),
            control: Some(self.control.clone()),
            exit_patience: self.patience,
        };
        Ok(Conversation::new(child, setup))
    }
}

impl ShardRun {
    /// Leads the conversation to its end; a fault ends it early. No process of the child is left
    /// behind.
    pub(crate) fn run(mut self) -> (Report, Option<Fault>) {
        let start = Instant::now();
        let result = self.converse();
        let took = start.elapsed();
        self.source.queue.close();
        let mut result = result.inspect_err(|_| self.conversation.abandon());
        if let Err(fault) = self.conversation.finish() {
            result = Err(fault.into());
        }
        let mut failed = None;
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(_) if self.starter.control.is_killed() => Outcome::Killed,
            Err(EndedEarly::CutOff | EndedEarly::ByDaemon | EndedEarly::WrongGoodbye(_)) => {
                Outcome::CutOff
            }
            Err(EndedEarly::Fault(fault)) => Outcome::Failed(failed.insert(fault).summary.clone()),
        };
        if let Outcome::Ok | Outcome::ShardEnded = outcome {
            self.faults.unmet().iter().for_each(|unmet| self.report(unmet));
        }
        let checkpoint = self.checkpoints.rules.last_checkpoint().clone();
        (Report { outcome, checkpoint, took }, failed)
    }

    fn converse(&mut self) -> Result<Outcome, EndedEarly> {
        let outcome = loop {
            self.initialize()?;
            match (self.deliver()?, self.at_end) {
                (Delivered::Fault(fault, typed), _) => self.replace_child(fault, &typed)?,
                (Delivered::Stopped, _) => break Outcome::Stopped,
                (Delivered::All, AtEnd::Shutdown) => break Outcome::Ok,
                (Delivered::All, AtEnd::ShardEnded) => break Outcome::ShardEnded,
            }
        };
        if let Outcome::ShardEnded = outcome {
            self.end_shard()?;
        } else {
            if !self.hand_over()? {
                return Ok(outcome);
            }
        }
        self.conversation.close()?;
        Ok(outcome)
    }

    fn initialize(&mut self) -> Result<(), EndedEarly> {
        let id = shard_id(self.starter.shard);
        let start = self.checkpoints.rules.last_checkpoint().clone();
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(start.sequence_number.borrowed());
        input.sub_sequence_number = Some(start.sub_sequence_number);
        self.ask(&DaemonMessage::Initialize(input))
    }

    fn deliver(&mut self) -> Result<Delivered, EndedEarly> {
        while !self.starter.control.is_stopping() {
            let batch = match self.source.next(self.conversation.spare())? {
                NextBatch::Encoded(batch) => batch,
                NextBatch::End => return Ok(Delivered::All),
                // A shard that was not read to its end has not ended.
                NextBatch::Broken => return Ok(Delivered::Stopped),
                NextBatch::Wait => {
                    self.conversation.idle()?;
                    continue;
                }
            };
            if let Some((fault, typed)) = self.process(batch)? {
                return Ok(Delivered::Fault(fault, typed));
            }
        }
        Ok(Delivered::Stopped)
    }

    /// Delivers a batch. Returns the fault that is to happen after it.
    fn process(
        &mut self,
        batch: EncodedBatch,
    ) -> Result<Option<(RecordFault, String)>, EndedEarly> {
        let EncodedBatch { line, last, lines, records, bytes } = batch;
        self.checkpoints.rules.mark_delivered(&last);
        let fault = self.faults.records_delivered(records as u64);
        let kills = matches!(fault, Some((RecordFault::Killed, _)));
        let ShardRun { starter, conversation, source, checkpoints, faults, .. } = self;
        let lines = Some(lines);
        let mut daemon = LocalDaemon { source, checkpoints, faults, lines, kills, starter };
        let line = OutgoingLine::Owned(line);
        match conversation.ask_encoded(Action::ProcessRecords, line, &mut daemon) {
            Err(EndedEarly::ByDaemon) => {}
            asked => {
                asked?;
                self.checkpoints.stats.add_batch(records, bytes);
            }
        }
        Ok(fault)
    }

    /// Ends the child as the fault says, and starts another one, which resumes at the checkpoint.
    fn replace_child(&mut self, fault: RecordFault, typed: &str) -> Result<(), EndedEarly> {
        match fault {
            RecordFault::Killed => self.conversation.kill(),
            RecordFault::LeaseLost => {
                self.ask(&self.protocol.lease_lost())?;
                self.conversation.close()?;
            }
            RecordFault::Handoff => {
                if self.hand_over()? {
                    self.conversation.close()?;
                }
            }
        }
        self.conversation.finish()?;
        let covered = self.checkpoints.covered();
        let place = match covered {
            Covered::Nothing => "from the start".into(),
            Covered::Line(line) => format!("after line {}", with_commas(line)),
            Covered::ShardEnd => "at the end".into(),
        };
        self.report(&format!("{typed}: another child resumes {place}"));
        self.source.rewind(covered, self.faults.may_replace_child());
        let last = self.checkpoints.rules.last_checkpoint().clone();
        self.checkpoints.rules = DaemonCheckpointer::new(last);
        self.conversation =
            self.starter.start().map_err(|error| Fault::new("not started again", error))?;
        Ok(())
    }

    fn end_shard(&mut self) -> Result<(), EndedEarly> {
        self.checkpoints.rules.mark_shard_ended();
        self.ask(&self.protocol.shard_ended())?;
        if self.checkpoints.rules.is_shard_end_stored() {
            Ok(())
        } else {
            Err(Fault::no_shard_end(self.conversation.who(), self.protocol.shard_ended_action())
                .into())
        }
    }

    /// Ends the lease as a daemon does that stops. Returns whether the conversation can go on.
    fn hand_over(&mut self) -> Result<bool, EndedEarly> {
        let (conversation, mut daemon) = self.between_batches();
        if !conversation.ask_shutdown(&mut daemon)? {
            return Ok(false);
        }
        self.ask(&self.protocol.lease_lost())?;
        Ok(true)
    }

    fn ask(&mut self, message: &DaemonMessage<'_>) -> Result<(), EndedEarly> {
        let (conversation, mut daemon) = self.between_batches();
        conversation.ask(message, &mut daemon)
    }

    fn between_batches(&mut self) -> (&mut Conversation, LocalDaemon<'_>) {
        let ShardRun { starter, conversation, source, checkpoints, faults, .. } = self;
        let (lines, kills) = (None, false);
        (conversation, LocalDaemon { source, checkpoints, faults, lines, kills, starter })
    }

    fn report(&self, text: &str) {
        self.starter.reporter.result(&format!("{}: {text}", self.conversation.who()));
    }
}

/// What a source has next.
enum NextBatch {
    Encoded(EncodedBatch),
    /// Nothing yet; the bell rings when that changes.
    Wait,
    End,
    /// The input has more, which cannot be read.
    Broken,
}

impl BatchSource {
    pub(crate) fn new(queue: Arc<Queue>, keeps_uncovered: bool) -> BatchSource {
        let (uncovered, again) = (VecDeque::new(), VecDeque::new());
        BatchSource { queue, ahead: None, uncovered, keeps_uncovered, again }
    }

    fn next(&mut self, spare: &mut Vec<u8>) -> Result<NextBatch, Fault> {
        if let Some(batch) = self.ahead.take() {
            return Ok(NextBatch::Encoded(batch));
        }
        let batch = match self.again.pop_front() {
            Some(batch) => batch,
            None => match self.queue.next() {
                Next::Batch(batch) => batch,
                Next::Wait => return Ok(NextBatch::Wait),
                Next::End => return Ok(NextBatch::End),
                Next::Broken => return Ok(NextBatch::Broken),
            },
        };
        self.encode(batch, spare).map(NextBatch::Encoded)
    }

    /// Encodes the next batch, if there is one that more records would not make larger.
    fn look_ahead(&mut self, spare: &mut Vec<u8>) -> Result<(), Fault> {
        if self.ahead.is_none()
            && let Some(batch) = self.again.pop_front().or_else(|| self.queue.next_full())
        {
            self.ahead = Some(self.encode(batch, spare)?);
        }
        Ok(())
    }

    fn encode(&mut self, batch: Batch, spare: &mut Vec<u8>) -> Result<EncodedBatch, Fault> {
        let encoded = EncodedBatch::new(&batch, std::mem::take(spare))?;
        if self.keeps_uncovered {
            self.uncovered.push_back(batch);
        } else {
            self.queue.recycle(batch);
        }
        Ok(encoded)
    }

    /// Drops the batches that a checkpoint covers.
    fn drop_covered(&mut self, covered: Covered) {
        let is_covered =
            |batch: &Batch| batch.last_line().is_some_and(|line| covered.includes(line));
        while self.uncovered.front().is_some_and(is_covered) {
            if let Some(batch) = self.uncovered.pop_front() {
                self.queue.recycle(batch);
            }
        }
    }

    /// Goes back to where this is covered.
    fn rewind(&mut self, covered: Covered, keeps_uncovered: bool) {
        self.ahead = None;
        self.keeps_uncovered = keeps_uncovered;
        let uncovered = std::mem::take(&mut self.uncovered).into_iter();
        let again = std::mem::take(&mut self.again).into_iter();
        self.again = uncovered.chain(again).filter_map(|batch| batch.after(covered)).collect();
    }
}

impl Checkpoints {
    /// Answers as the real daemon would, after it has stored what it accepts.
    fn answer(&mut self, request: &CheckpointRequest<'_>, during: Action) -> Result<Answer, Fault> {
        match self.rules.check(request, during) {
            Err(error) => Ok(Answer::Refused(error)),
            Ok(None) => Ok(Answer::Accepted),
            Ok(Some(place)) => {
                let stored = self.store.put(&place);
                stored.map_err(|error| Fault::new("no checkpoint stored", error))?;
                self.stats.set_checkpoint(Covered::by(&place));
                self.rules.mark_stored(place);
                Ok(Answer::Accepted)
            }
        }
    }

    fn covered(&self) -> Covered {
        Covered::by(self.rules.last_checkpoint())
    }
}
