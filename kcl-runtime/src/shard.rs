//! One shard's life in this process: one message after the other. Decides what follows from an
//! error, a panic or the end of input.

use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;

use kcl_protocol::{
    CheckpointError, DaemonMessage, InitializeInput, Position, ProcessRecordsInput, Record,
    ShutdownReason, State,
};
use tracing::{debug, info, warn};

use crate::checkpointer::{CheckpointSink, RetryBudget};
use crate::contain::contain;
use crate::ledger::{Ledger, ShardEnd};
use crate::link::Link;
use crate::runtime::Settings;
use crate::{
    Backoff, Cadence, CheckpointFailed, Checkpointer, FailedRecords, Method, OnError,
    ProcessorError, RecordProcessor, RunError, ShardEndCheckpointer, Sleep, Timer,
};

/// With [`Cadence::Manual`], the runtime warns when records wait this long for a checkpoint.
const UNCHECKPOINTED_WARNING: Duration = Duration::from_secs(300);

pub(crate) struct Shard<R, W, T> {
    settings: Settings,
    /// What is left of the pauses for the shard's end, over all retries.
    shard_end_pauses: Box<dyn Iterator<Item = Duration> + Send>,
    link: Link<R, W>,
    timer: T,
    shard_id: String,
    ledger: Ledger,
    /// The connection failed during a call of the processor. The run ends after the call.
    broken: Option<RunError>,
    has_warned_of_no_checkpoint: bool,
}

/// What follows a failed call of `process_records`.
enum Next {
    /// Call it again with the records from this one on.
    Continue { from: usize },
    /// Nothing is left of the batch.
    Done,
}

/// How a method of the processor failed.
enum Failure {
    Error(ProcessorError),
    Panic(String),
}

impl Failure {
    fn into_run_error(self, shard_id: &str, method: Method, tries: u32) -> RunError {
        let shard_id = shard_id.to_owned();
        match self {
            Failure::Error(error) => RunError::Processor { shard_id, method, tries, error },
            Failure::Panic(message) => RunError::Panicked { shard_id, method, message },
        }
    }

    fn into_error(self) -> ProcessorError {
        match self {
            Failure::Error(error) => error,
            Failure::Panic(message) => format!("panicked: {message}").into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(error) => f.write_str(&error.in_full()),
            Failure::Panic(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Calls the user's code.
fn call(code: impl FnOnce() -> crate::Result) -> Result<(), Failure> {
    contain(code).map_err(Failure::Panic)?.map_err(Failure::Error)
}

impl<R: Read, W: Write, T: Timer> CheckpointSink for Shard<R, W, T> {
    fn checkpoint(
        &mut self,
        position: &Position<'_>,
        budget: RetryBudget,
    ) -> Result<(), CheckpointFailed> {
        let result = self.checkpoint_with_retries(position, budget);
        if budget == RetryBudget::ShardEnd {
            self.ledger.note_shard_end(&result);
        }
        result
    }
}

impl<R: Read, W: Write, T: Timer> Shard<R, W, T> {
    pub(crate) fn new(settings: Settings, link: Link<R, W>, timer: T) -> Self {
        Shard {
            shard_end_pauses: Box::new(settings.shard_end_retry.pauses()),
            settings,
            link,
            timer,
            shard_id: String::new(),
            ledger: Ledger::default(),
            broken: None,
            has_warned_of_no_checkpoint: false,
        }
    }

    /// Returns the shard's name; empty before `initialize`.
    pub(crate) fn id(&self) -> &str {
        &self.shard_id
    }

    /// Deals with one message after the other, until the end of input.
    pub(crate) fn run(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &mut OnError,
    ) -> Result<(), RunError> {
        while let Some(mut line) = self.link.next_line()? {
            match self.link.receive(&mut line)? {
                DaemonMessage::Initialize(input) => self.initialize(processor, &input)?,
                DaemonMessage::ProcessRecords(mut input) => {
                    self.process_records(processor, on_error, &mut input)?;
                    self.link.recycle_batch(input);
                }
                DaemonMessage::LeaseLost | DaemonMessage::Shutdown(ShutdownReason::Zombie) => {
                    self.lease_lost(processor);
                }
                DaemonMessage::ShardEnded | DaemonMessage::Shutdown(ShutdownReason::Terminate) => {
                    self.shard_ended(processor)?;
                }
                DaemonMessage::ShutdownRequested => self.shutdown_requested(processor)?,
                // The session accepts a checkpoint's answer only while one is requested, and
                // rejects messages that this version does not know.
                _ => return Err(kcl_protocol::Error::Failed.into()),
            }
            self.link.answer()?;
            self.link.recycle(line);
        }
        self.end_of_input()
    }

    fn initialize(
        &mut self,
        processor: &mut impl RecordProcessor,
        input: &InitializeInput<'_>,
    ) -> Result<(), RunError> {
        input.shard_id.clone_into(&mut self.shard_id);
        self.ledger.last_checkpoint = self.timer.now();
        match &input.sequence_number {
            Some(number) => info!("{}: initialize, records after {number}", self.shard_id),
            None => info!("{}: initialize", self.shard_id),
        }
        call(|| processor.initialize(input))
            .map_err(|failure| failure.into_run_error(&self.shard_id, Method::Initialize, 1))
    }

    /// Returns when all records of the batch are processed or skipped, or the lease is lost.
    fn process_records(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &mut OnError,
        input: &mut ProcessRecordsInput<'_>,
    ) -> Result<(), RunError> {
        self.ledger.deliver(&input.records, &self.timer);
        let mut pauses = None;
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let result = call(|| processor.process_records(input, &mut Checkpointer(&mut *self)));
            self.check_link()?;
            let Err(failure) = result else { break };
            if self.ledger.is_lease_lost {
                debug!("{}: process_records failed after the lease: {failure}", self.shard_id);
                break;
            }
            let pauses =
                pauses.get_or_insert_with(|| on_error.retry.unwrap_or(Backoff::none()).pauses());
            let next = match failure {
                Failure::Error(error) => match pauses.next() {
                    Some(pause) => self.retry(&error, &input.records, pause)?,
                    None => {
                        let failure = Failure::Error(error);
                        self.skip(on_error, &input.records, failure, &mut tries)?
                    }
                },
                failure => self.skip(on_error, &input.records, failure, &mut tries)?,
            };
            match next {
                Next::Continue { from } => drop(input.records.drain(..from)),
                Next::Done => break,
            }
        }
        self.checkpoint_if_due()
    }

    /// Waits before another call of `process_records`. It starts at the record that the error
    /// names, even if a checkpoint covers it, as nothing else would process it; without such a
    /// record it starts after the last checkpoint.
    fn retry(
        &mut self,
        error: &ProcessorError,
        records: &[Record<'_>],
        pause: Duration,
    ) -> Result<Next, RunError> {
        let from = find_named(error, records).unwrap_or_else(|| self.ledger.count_covered(records));
        let (shard_id, all) = (&self.shard_id, records.len());
        if from == all && all > 0 {
            warn!(
                "{shard_id}: process_records failed after it checkpointed the whole batch; \
                 nothing is left to retry: {}",
                error.in_full(),
            );
            return Ok(Next::Done);
        }
        warn!(
            "{shard_id}: process_records failed: {}; retrying {} of {all} records in {pause:.1?}",
            error.in_full(),
            all - from,
        );
        self.sleep_before_retry(Method::ProcessRecords, pause)?;
        Ok(Next::Continue { from })
    }

    /// Hands failed records to the callback. Without a callback for them, the run ends.
    fn skip(
        &self,
        on_error: &mut OnError,
        records: &[Record<'_>],
        failure: Failure,
        tries: &mut u32,
    ) -> Result<Next, RunError> {
        let shard_id = self.shard_id.as_str();
        let may_skip = matches!(failure, Failure::Error(_)) || on_error.skip_panics;
        let Some(keep) = on_error.skip.as_mut().filter(|_| may_skip) else {
            return Err(failure.into_run_error(shard_id, Method::ProcessRecords, *tries));
        };
        let error = failure.into_error();
        let covered = self.ledger.count_covered(records);
        let failed = match find_named(&error, records) {
            Some(named) => named..named + 1,
            None => covered..records.len(),
        };
        let (count, from) = (failed.len(), failed.end.max(covered));
        if count == 0 {
            warn!(
                "{shard_id}: process_records failed; no record is left to skip: {}",
                error.in_full()
            );
        } else {
            let records = &records[failed];
            let failed = FailedRecords { shard_id, records, error: &error, tries: *tries };
            call(|| keep(&failed))
                .map_err(|failure| failure.into_run_error(shard_id, Method::SkipCallback, 1))?;
            warn!(
                "{shard_id}: skipped {count} records, saved by the callback: {}",
                error.in_full()
            );
        }
        *tries = 0;
        Ok(if from == records.len() { Next::Done } else { Next::Continue { from } })
    }

    fn lease_lost(&mut self, processor: &mut impl RecordProcessor) {
        info!("{}: lease lost", self.shard_id);
        self.ledger.is_lease_lost = true;
        if let Err(failure) = call(|| processor.lease_lost()) {
            warn!("{}: {} failed: {failure}", self.shard_id, Method::LeaseLost);
        }
    }

    fn shutdown_requested(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: shutdown requested", self.shard_id);
        let result = call(|| processor.shutdown_requested(&mut Checkpointer(&mut *self)));
        self.check_link()?;
        match result {
            Ok(()) if self.settings.cadence == Cadence::Manual => Ok(()),
            Ok(()) => self.checkpoint_by_cadence(),
            Err(failure) => {
                warn!(
                    "{}: {} failed; records since the last checkpoint will be delivered again: \
                     {failure}",
                    self.shard_id,
                    Method::ShutdownRequested,
                );
                Ok(())
            }
        }
    }

    /// Returns only when the shard's end is checkpointed, or the lease is lost.
    fn shard_ended(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: shard ended", self.shard_id);
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            self.ledger.forget_refused_shard_end();
            let result = call(|| processor.shard_ended(&mut ShardEndCheckpointer(&mut *self)));
            self.check_link()?;
            if self.ledger.is_lease_lost {
                return Ok(());
            }
            let Err(failure) = result else { return self.finish_shard() };
            // Refusals that may pass have already been retried.
            if let ShardEnd::Refused(failed) = &self.ledger.shard_end {
                return Err(self.shard_end_refused(failed));
            }
            let pause = match &failure {
                Failure::Error(_) => self.shard_end_pauses.next(),
                Failure::Panic(_) => None,
            };
            let Some(pause) = pause else {
                return Err(failure.into_run_error(&self.shard_id, Method::ShardEnded, tries));
            };
            warn!("{}: shard_ended failed: {failure}; retrying in {pause:.1?}", self.shard_id);
            self.sleep_before_retry(Method::ShardEnded, pause)?;
        }
    }

    /// Checkpoints the shard's end if `shard_ended` has not, where that is safe.
    fn finish_shard(&mut self) -> Result<(), RunError> {
        let may_checkpoint = self.settings.cadence != Cadence::Manual || self.ledger.covers_all();
        match &self.ledger.shard_end {
            ShardEnd::Stored => Ok(()),
            ShardEnd::Refused(failed) => Err(self.shard_end_refused(failed)),
            ShardEnd::NotRequested if may_checkpoint => {
                let result = self.checkpoint(&Position::AllDelivered, RetryBudget::ShardEnd);
                self.check_link()?;
                match result {
                    Err(failed) if !failed.is_lease_lost() => Err(self.shard_end_refused(&failed)),
                    _ => Ok(()),
                }
            }
            ShardEnd::NotRequested => Err(RunError::ShardEnd {
                shard_id: self.shard_id.clone(),
                reason: "shard_ended made no checkpoint, and the processor's last checkpoint does \
                         not cover all records (write `checkpointer.checkpoint()?` in shard_ended \
                         once they are processed)"
                    .to_owned(),
            }),
        }
    }

    fn shard_end_refused(&self, failed: &CheckpointFailed) -> RunError {
        let shard_id = self.shard_id.clone();
        RunError::ShardEnd { shard_id, reason: format!("shard_ended: {failed}") }
    }

    fn end_of_input(&mut self) -> Result<(), RunError> {
        match self.link.state() {
            State::Start => info!("end of input before any message: this process gets no shard"),
            _ => info!("{}: end of input", self.shard_id),
        }
        self.link.end_of_input()
    }
}

/// Checkpoints and pauses.
impl<R: Read, W: Write, T: Timer> Shard<R, W, T> {
    fn checkpoint_with_retries(
        &mut self,
        position: &Position<'_>,
        budget: RetryBudget,
    ) -> Result<(), CheckpointFailed> {
        let mut pauses = self.settings.checkpoint_retry.pauses();
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let Err(failed) = self.checkpoint_once(position, tries) else { return Ok(()) };
            if !failed.is_retryable() {
                return Err(failed);
            }
            let pause = match budget {
                RetryBudget::Checkpoint => pauses.next(),
                RetryBudget::ShardEnd => self.shard_end_pauses.next(),
            };
            let Some(pause) = pause else { return Err(failed) };
            debug!("{}: {failed}; retrying in {pause:.1?}", self.shard_id);
            if self.timer.sleep(pause) == Sleep::HungUp {
                self.broken = Some(RunError::HungUp {
                    during: "before a checkpoint was retried".to_owned(),
                    expected: "stdin to stay open until the status",
                });
                return Err(CheckpointFailed::Broken);
            }
        }
    }

    fn checkpoint_once(
        &mut self,
        position: &Position<'_>,
        tries: u32,
    ) -> Result<(), CheckpointFailed> {
        if self.broken.is_some() {
            return Err(CheckpointFailed::Broken);
        }
        if self.ledger.is_lease_lost {
            return Err(CheckpointFailed::Refused { error: CheckpointError::Shutdown, tries: 0 });
        }
        match self.link.checkpoint(position) {
            Ok(Ok(())) => {
                self.ledger.store(position, self.timer.now());
                Ok(())
            }
            Ok(Err(error)) => {
                if error.is_lease_lost() {
                    self.ledger.is_lease_lost = true;
                    warn!("{}: {error}; no more checkpoints are requested", self.shard_id);
                }
                Err(CheckpointFailed::Refused { error, tries })
            }
            Err(error) => {
                self.broken = Some(error);
                Err(CheckpointFailed::Broken)
            }
        }
    }

    /// Follows each batch.
    fn checkpoint_if_due(&mut self) -> Result<(), RunError> {
        let ledger = &self.ledger;
        let is_due = match self.settings.cadence {
            Cadence::Manual => {
                self.warn_of_no_checkpoint();
                false
            }
            Cadence::EachBatch => true,
            Cadence::EveryRecords(count) => ledger.uncovered >= count.get(),
            Cadence::AtMostEvery(time) => {
                self.timer.now().saturating_sub(ledger.last_checkpoint) >= time
            }
        };
        if is_due { self.checkpoint_by_cadence() } else { Ok(()) }
    }

    /// Checkpoints all delivered records, if some are not covered yet. A refusal is only a
    /// warning, as the next checkpoint covers the same records.
    fn checkpoint_by_cadence(&mut self) -> Result<(), RunError> {
        if self.ledger.covers_all() || self.ledger.is_lease_lost {
            return Ok(());
        }
        let result = self.checkpoint(&Position::AllDelivered, RetryBudget::Checkpoint);
        self.check_link()?;
        if let Err(failed) = result
            && !failed.is_lease_lost()
        {
            warn!("{}: {failed}; the next checkpoint will cover these records", self.shard_id);
        }
        Ok(())
    }

    fn warn_of_no_checkpoint(&mut self) {
        if self.has_warned_of_no_checkpoint || self.ledger.is_lease_lost {
            return;
        }
        let Some(since) = self.ledger.uncovered_since else { return };
        if self.timer.now().saturating_sub(since) >= UNCHECKPOINTED_WARNING {
            self.has_warned_of_no_checkpoint = true;
            warn!(
                "{}: {} records in {} minutes without a checkpoint: a restart will deliver all \
                 of them again; call checkpointer.checkpoint(), or set Runtime::cadence",
                self.shard_id,
                self.ledger.uncovered,
                UNCHECKPOINTED_WARNING.as_secs() / 60,
            );
        }
    }

    /// Ends the run if the connection failed during a call of the processor.
    fn check_link(&mut self) -> Result<(), RunError> {
        self.broken.take().map_or(Ok(()), Err)
    }

    fn sleep_before_retry(&mut self, method: Method, pause: Duration) -> Result<(), RunError> {
        match self.timer.sleep(pause) {
            Sleep::Elapsed => Ok(()),
            Sleep::HungUp => Err(RunError::HungUp {
                during: format!("before {method} was retried"),
                expected: "stdin to stay open until the status",
            }),
        }
    }
}

/// Finds the record of the batch that the error names.
fn find_named(error: &ProcessorError, records: &[Record<'_>]) -> Option<usize> {
    let named = error.record()?;
    records.iter().position(|record| record.extended_sequence_number() == *named)
}
