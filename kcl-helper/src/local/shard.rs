//! One shard's conversation with its child: initialize, batches, the end; checkpoints between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kcl_protocol::{Action, CheckpointRequest, DaemonCheckpointer, DaemonMessage, InitializeInput};

use super::AtEnd;
use super::batch::{EncodedBatch, InputLines};
use super::progress::ShardStats;
use super::queue::{Batch, Next, Queue};
use super::shards::{Covered, Place, shard_id};
use super::state::Store;
use crate::child::faults::Fault;
use crate::child::{Answer, Control, Conversation, Daemon, EndedEarly, OutgoingLine};

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

/// All that the thread of a shard needs.
#[derive(Debug)]
pub(crate) struct ShardRun {
    pub(crate) shard: u32,
    pub(crate) conversation: Conversation,
    pub(crate) source: BatchSource,
    pub(crate) control: Arc<Control>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) at_end: AtEnd,
}

/// Where a shard's batches come from.
#[derive(Debug)]
pub(crate) struct BatchSource {
    pub(crate) queue: Arc<Queue>,
    /// The next batch, encoded while the child worked on the one before.
    pub(crate) ahead: Option<EncodedBatch>,
}

/// The checkpoints of a shard.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub(crate) rules: DaemonCheckpointer,
    pub(crate) store: Store,
    pub(crate) stats: Arc<ShardStats>,
}

/// The daemon's side, while the child works on a message.
struct LocalDaemon<'a> {
    source: &'a mut BatchSource,
    checkpoints: &'a mut Checkpoints,
    /// What the current batch is made of.
    lines: Option<InputLines>,
}

impl Daemon for LocalDaemon<'_> {
    fn answer_checkpoint(
        &mut self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Answer, Fault> {
        self.checkpoints.answer(request, during)
    }

    fn message_name(&self, action: Action) -> String {
        self.lines.map_or_else(|| action.to_string(), |lines| format!("{action} of {lines}"))
    }

    fn while_child_works(&mut self, during: Action, spare: &mut Vec<u8>) -> Result<(), Fault> {
        if during == Action::ProcessRecords { self.source.look_ahead(spare) } else { Ok(()) }
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
            Err(_) if self.control.is_killed() => Outcome::Killed,
            Err(EndedEarly::CutOff) => Outcome::CutOff,
            Err(EndedEarly::Fault(fault)) => Outcome::Failed(failed.insert(fault).summary.clone()),
        };
        let checkpoint = self.checkpoints.rules.last_checkpoint().clone();
        (Report { outcome, checkpoint, took }, failed)
    }

    fn converse(&mut self) -> Result<Outcome, EndedEarly> {
        self.initialize()?;
        let is_finished = self.deliver()?;
        let outcome = match (is_finished, self.at_end) {
            (false, _) => Outcome::Stopped,
            (true, AtEnd::Shutdown) => Outcome::Ok,
            (true, AtEnd::ShardEnded) => Outcome::ShardEnded,
        };
        if let Outcome::ShardEnded = outcome {
            self.end_shard()?;
        } else {
            self.ask(&DaemonMessage::ShutdownRequested)?;
            self.ask(&DaemonMessage::LeaseLost)?;
        }
        self.conversation.close()?;
        Ok(outcome)
    }

    fn initialize(&mut self) -> Result<(), EndedEarly> {
        let id = shard_id(self.shard);
        let start = self.checkpoints.rules.last_checkpoint().clone();
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(start.sequence_number.borrowed());
        input.sub_sequence_number = Some(start.sub_sequence_number);
        self.ask(&DaemonMessage::Initialize(input))
    }

    /// Delivers batches until the run is stopped or the input has ended. Returns whether it has ended,
    /// and all of it could be read.
    fn deliver(&mut self) -> Result<bool, EndedEarly> {
        while !self.control.is_stopping() {
            if let Some(batch) = self.source.ahead.take() {
                self.process(batch)?;
                continue;
            }
            match self.source.queue.next() {
                Next::Batch(batch) => {
                    let batch = self.source.encode(batch, self.conversation.spare())?;
                    self.process(batch)?;
                }
                Next::End => return Ok(true),
                // A shard that was not read to its end has not ended.
                Next::Broken => return Ok(false),
                Next::Wait => self.conversation.idle()?,
            }
        }
        Ok(false)
    }

    fn process(&mut self, batch: EncodedBatch) -> Result<(), EndedEarly> {
        let EncodedBatch { line, last, lines, records, bytes } = batch;
        self.checkpoints.rules.mark_delivered(&last);
        let ShardRun { conversation, source, checkpoints, .. } = self;
        let mut daemon = LocalDaemon { source, checkpoints, lines: Some(lines) };
        let line = OutgoingLine::Owned(line);
        conversation.ask_encoded(Action::ProcessRecords, line, &mut daemon)?;
        self.checkpoints.stats.add_batch(records, bytes);
        Ok(())
    }

    fn end_shard(&mut self) -> Result<(), EndedEarly> {
        self.checkpoints.rules.mark_shard_ended();
        self.ask(&DaemonMessage::ShardEnded)?;
        if self.checkpoints.rules.is_shard_end_stored() {
            Ok(())
        } else {
            Err(Fault::no_shard_end(self.conversation.who()).into())
        }
    }

    fn ask(&mut self, message: &DaemonMessage<'_>) -> Result<(), EndedEarly> {
        let ShardRun { conversation, source, checkpoints, .. } = self;
        conversation.ask(message, &mut LocalDaemon { source, checkpoints, lines: None })
    }
}

impl BatchSource {
    /// Encodes the next batch, if there is one that more records would not make larger.
    fn look_ahead(&mut self, spare: &mut Vec<u8>) -> Result<(), Fault> {
        if self.ahead.is_none()
            && let Some(batch) = self.queue.next_full()
        {
            self.ahead = Some(self.encode(batch, spare)?);
        }
        Ok(())
    }

    fn encode(&self, batch: Batch, spare: &mut Vec<u8>) -> Result<EncodedBatch, Fault> {
        let encoded = EncodedBatch::new(&batch, std::mem::take(spare))?;
        self.queue.recycle(batch);
        Ok(encoded)
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
}
