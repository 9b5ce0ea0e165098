//! One shard's life in this process: one message after the other. Decides what follows from an
//! error, a panic or the end of input.

use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;

use kcl_protocol::{
    Action, CheckpointError, DaemonMessage, ExtendedSequenceNumber, InitializeInput, Position,
    ProcessRecordsInput, Record, ShutdownReason, State,
};
use tracing::{Level, debug, debug_span, enabled, info, warn};

use crate::checkpointer::{CheckpointSink, RetryBudget};
use crate::contain::contain;
use crate::error::{CheckpointFailed, NoDeadLetters};
use crate::ledger::{Ledger, ShardEnd};
use crate::link::Link;
use crate::policy::{Backoff, OnError, Verdict};
use crate::runtime::Settings;
use crate::{
    Checkpointer, DeadLetter, HungUp, LeaseLostInput, Method, ProcessorError, RecordProcessor,
    RunError, ShardEndCheckpointer, ShardEndError, Sleep, Timer,
};

/// With [`Cadence::manual`](crate::Cadence::manual), the runtime warns when records wait this long for a checkpoint.
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
    /// When the last batch was done; kept for a cadence with a time.
    last_batch: Duration,
    has_warned_of_silence: bool,
}

/// The tries of one call. They start anew after progress.
struct Tries {
    backoff: Backoff,
    pauses: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    count: u32,
}

impl Tries {
    fn new(backoff: Backoff) -> Tries {
        Tries { backoff, pauses: None, count: 0 }
    }

    /// Makes the last try the first one of a new budget.
    fn restart(&mut self) {
        *self = Tries { count: 1, ..Tries::new(self.backoff) };
    }

    fn next_pause(&mut self) -> Option<Duration> {
        self.pauses.get_or_insert_with(|| Box::new(self.backoff.pauses())).next()
    }
}

/// What the log tells of a batch.
struct Summary {
    records: usize,
    bytes: usize,
    millis_behind_latest: Option<u64>,
    started: Duration,
    tries: u32,
    dead_letters: usize,
}

impl Summary {
    fn new(input: &ProcessRecordsInput<'_>, started: Duration) -> Summary {
        Summary {
            records: input.records.len(),
            bytes: input.records.iter().map(|record| record.data.len()).sum(),
            millis_behind_latest: input.millis_behind_latest,
            started,
            tries: 0,
            dead_letters: 0,
        }
    }
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

    /// Returns whether the call may be retried.
    fn may_pass(&self, on_error: &OnError) -> bool {
        match self {
            Failure::Error(error) => !on_error.is_permanent(error),
            // The processor's state may be inconsistent.
            Failure::Panic(_) => false,
        }
    }

    fn verdict(&self, on_error: &OnError) -> Verdict {
        match self {
            Failure::Error(error) => on_error.verdict(error),
            Failure::Panic(_) if on_error.dead_letter_panics => Verdict::DeadLetter,
            Failure::Panic(_) => Verdict::Exit,
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
    ) -> Result<(), CheckpointError> {
        let result = self.checkpoint_with_retries(position, budget);
        match (budget, result) {
            (RetryBudget::ShardEnd, result) => {
                self.ledger.note_shard_end(&result);
                result.map_err(CheckpointFailed::into_error)
            }
            (RetryBudget::Checkpoint, Err(failed)) if failed.is_deferred() => {
                warn!("{}: {failed}; the next checkpoint will cover these records", self.shard_id);
                Ok(())
            }
            (RetryBudget::Checkpoint, result) => result.map_err(CheckpointFailed::into_error),
        }
    }

    fn stored(&self) -> Option<ExtendedSequenceNumber<'_>> {
        self.ledger.stored()
    }

    fn now(&self) -> Duration {
        self.timer.now()
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
            last_batch: Duration::ZERO,
            has_warned_of_silence: false,
        }
    }

    /// Returns the shard's name; empty before `initialize`.
    pub(crate) fn id(&self) -> &str {
        &self.shard_id
    }

    /// Handles one message after the other, until the end of input.
    pub(crate) fn run(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &OnError,
    ) -> Result<(), RunError> {
        let result = self.handle_messages(processor, on_error);
        result.map_err(|error| error.of_shard(&self.shard_id))
    }

    fn handle_messages(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &OnError,
    ) -> Result<(), RunError> {
        while let Some(mut line) = self.link.next_line()? {
            let message = self.link.receive(&mut line)?;
            let _span = debug_span!(
                "message",
                shard = self.shard_id.as_str(),
                action = message.action().map(Action::name),
            )
            .entered();
            match message {
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
                DaemonMessage::ShutdownRequested => {
                    self.warn_of_silence();
                    self.shutdown_requested(processor)?;
                }
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

    /// Returns when all records of the batch are processed or dead letters, or the lease is lost.
    fn process_records(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &OnError,
        input: &mut ProcessRecordsInput<'_>,
    ) -> Result<(), RunError> {
        self.warn_of_silence();
        self.ledger.deliver(&input.records, &self.timer);
        let mut summary = enabled!(Level::DEBUG).then(|| Summary::new(input, self.timer.now()));
        let mut tries = Tries::new(on_error.backoff());
        loop {
            if let Some(summary) = &mut summary {
                summary.tries += 1;
            }
            tries.count = tries.count.saturating_add(1);
            let result = call(|| processor.process_records(input, &mut Checkpointer(&mut *self)));
            self.check_link()?;
            let Err(failure) = result else { break };
            if self.ledger.is_lease_lost {
                debug!("{}: process_records failed after the lease: {failure}", self.shard_id);
                break;
            }
            // What remains starts at the failed record.
            let done = self.count_done(&failure, &input.records);
            input.records.drain(..done);
            if done > 0 {
                tries.restart();
                if input.records.is_empty() {
                    self.warn_of_nothing_to_retry(&failure);
                    break;
                }
            }
            let pause = if failure.may_pass(on_error) { tries.next_pause() } else { None };
            if let Some(pause) = pause {
                self.wait_to_retry(&failure, input.records.len(), pause)?;
                continue;
            }
            let (letters, done) =
                self.give_up(processor, on_error, &input.records, failure, tries.count)?;
            if let Some(summary) = &mut summary {
                summary.dead_letters += letters;
            }
            input.records.drain(..done);
            if input.records.is_empty() {
                break;
            }
            tries = Tries::new(on_error.backoff());
        }
        self.checkpoint_if_due(processor, on_error)?;
        if let Some(summary) = summary {
            self.log_batch(&summary);
        }
        Ok(())
    }

    fn log_batch(&self, summary: &Summary) {
        let now = self.timer.now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        debug!(
            shard = self.shard_id.as_str(),
            records = summary.records,
            bytes = summary.bytes,
            took_ms = millis(now.saturating_sub(summary.started)),
            millis_behind_latest = summary.millis_behind_latest,
            tries = summary.tries,
            dead_letters = summary.dead_letters,
            checkpoint = self.ledger.stored().map(tracing::field::display),
            checkpoint_age_ms = millis(now.saturating_sub(self.ledger.last_checkpoint)),
            uncheckpointed = self.ledger.uncovered,
            "batch processed"
        );
    }

    fn warn_of_nothing_to_retry(&self, failure: &Failure) {
        warn!(
            "{}: process_records failed after it checkpointed the whole batch; nothing is left to \
             retry: {failure}",
            self.shard_id,
        );
    }

    fn wait_to_retry(
        &mut self,
        failure: &Failure,
        left: usize,
        pause: Duration,
    ) -> Result<(), RunError> {
        let shard_id = &self.shard_id;
        warn!(
            "{shard_id}: process_records failed: {failure}; retrying {left} records in {pause:.1?}"
        );
        self.sleep_before_retry(Method::ProcessRecords, pause)
    }

    /// Returns how many records of a failed batch are done: those before the record that the error
    /// names, even if a checkpoint covers it, as nothing else would process it; without such a
    /// record, those that a checkpoint covers.
    fn count_done(&self, failure: &Failure, records: &[Record<'_>]) -> usize {
        let named = match failure {
            Failure::Error(error) => find_named(error, records),
            Failure::Panic(_) => None,
        };
        named.unwrap_or_else(|| self.ledger.count_covered(records))
    }

    /// Ends the run, or makes dead letters of the failed records, which start the batch. Returns how
    /// many dead letters there are, and how many records are done then.
    fn give_up(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &OnError,
        records: &[Record<'_>],
        failure: Failure,
        tries: u32,
    ) -> Result<(usize, usize), RunError> {
        let shard_id = self.shard_id.clone();
        let exit =
            |failure: Failure| failure.into_run_error(&shard_id, Method::ProcessRecords, tries);
        if records.is_empty() || failure.verdict(on_error) == Verdict::Exit {
            return Err(exit(failure));
        }
        let (error, failed) = match failure {
            Failure::Error(error) => {
                let is_named = find_named(&error, records).is_some();
                (error, if is_named { 1 } else { records.len() })
            }
            Failure::Panic(message) => (format!("panicked: {message}").into(), records.len()),
        };
        for record in &records[..failed] {
            let letter = DeadLetter { shard_id: &shard_id, record, error: &error, tries };
            match self
                .call_with_retries(on_error, Method::DeadLetter, || processor.dead_letter(&letter))
            {
                Ok(()) => {}
                Err(RunError::Processor { error: missing, .. })
                    if missing.get_ref().is::<NoDeadLetters>() =>
                {
                    return Err(exit(Failure::Error(error)));
                }
                Err(error) => return Err(error),
            }
        }
        warn!("{shard_id}: {failed} records became dead letters: {}", error.in_full());
        Ok((failed, failed.max(self.ledger.count_covered(records))))
    }

    /// Calls a method of the processor again as long as its error may pass and the backoff lasts.
    fn call_with_retries(
        &mut self,
        on_error: &OnError,
        method: Method,
        mut code: impl FnMut() -> crate::Result,
    ) -> Result<(), RunError> {
        let mut tries = Tries::new(on_error.backoff());
        loop {
            tries.count = tries.count.saturating_add(1);
            let Err(failure) = call(&mut code) else { return Ok(()) };
            let pause = if failure.may_pass(on_error) { tries.next_pause() } else { None };
            let Some(pause) = pause else {
                return Err(failure.into_run_error(&self.shard_id, method, tries.count));
            };
            warn!("{}: {method} failed: {failure}; retrying in {pause:.1?}", self.shard_id);
            self.sleep_before_retry(method, pause)?;
        }
    }

    fn lease_lost(&mut self, processor: &mut impl RecordProcessor) {
        info!("{}: lease lost", self.shard_id);
        self.ledger.is_lease_lost = true;
        if let Err(failure) =
            call(|| processor.lease_lost(&LeaseLostInput { shard_id: &self.shard_id }))
        {
            warn!("{}: {} failed: {failure}", self.shard_id, Method::LeaseLost);
        }
    }

    fn shutdown_requested(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: shutdown requested", self.shard_id);
        let result = call(|| processor.shutdown_requested(&mut Checkpointer(&mut *self)));
        self.check_link()?;
        let is_due = !self.settings.cadence.is_manual() && self.has_something_to_checkpoint();
        let result = result.and_then(|()| if is_due { call(|| processor.flush()) } else { Ok(()) });
        match result {
            Ok(()) if is_due => self.checkpoint_all(),
            Ok(()) => Ok(()),
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
            let is_ours = self.may_checkpoint_end();
            let (method, result) = match result {
                Ok(()) if is_ours => (Method::Flush, call(|| processor.flush())),
                result => (Method::ShardEnded, result),
            };
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
                return Err(failure.into_run_error(&self.shard_id, method, tries));
            };
            warn!("{}: {method} failed: {failure}; retrying in {pause:.1?}", self.shard_id);
            self.sleep_before_retry(method, pause)?;
        }
    }

    /// Returns whether the runtime checkpoints the shard's end, as `shard_ended` has not and it is
    /// safe.
    fn may_checkpoint_end(&self) -> bool {
        matches!(self.ledger.shard_end, ShardEnd::NotRequested)
            && (!self.settings.cadence.is_manual() || self.ledger.covers_all())
    }

    /// Ends the shard after `shard_ended` has returned `Ok`.
    fn finish_shard(&mut self) -> Result<(), RunError> {
        if self.may_checkpoint_end() {
            // The ledger notes the result.
            let _ = self.checkpoint(&Position::AllDelivered, RetryBudget::ShardEnd);
            self.check_link()?;
        }
        match &self.ledger.shard_end {
            ShardEnd::Stored => Ok(()),
            ShardEnd::Refused(_) if self.ledger.is_lease_lost => Ok(()),
            ShardEnd::Refused(failed) => Err(self.shard_end_refused(failed)),
            ShardEnd::NotRequested => Err(self.shard_end_error(ShardEndError::NoCheckpoint)),
        }
    }

    fn shard_end_refused(&self, failed: &CheckpointFailed) -> RunError {
        match failed.clone() {
            CheckpointFailed::Refused { error, tries } => {
                self.shard_end_error(ShardEndError::Refused { error, tries })
            }
            CheckpointFailed::Broken => RunError::hung_up(HungUp::BeforeCheckpointAnswer),
        }
    }

    fn shard_end_error(&self, cause: ShardEndError) -> RunError {
        RunError::ShardEnd { shard_id: self.shard_id.clone(), cause }
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
                self.broken = Some(RunError::hung_up(HungUp::BeforeCheckpointRetry));
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
    fn checkpoint_if_due(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &OnError,
    ) -> Result<(), RunError> {
        let cadence = self.settings.cadence;
        if cadence.is_manual() {
            self.warn_of_no_checkpoint();
        }
        let elapsed = || self.timer.now().saturating_sub(self.ledger.last_checkpoint);
        if cadence.is_due(self.ledger.uncovered, elapsed) && self.has_something_to_checkpoint() {
            self.call_with_retries(on_error, Method::Flush, || processor.flush())?;
            self.checkpoint_all()?;
        }
        if cadence.time().is_some() {
            self.last_batch = self.timer.now();
        }
        Ok(())
    }

    fn has_something_to_checkpoint(&self) -> bool {
        !self.ledger.covers_all() && !self.ledger.is_lease_lost
    }

    /// Checkpoints all delivered records. A refusal has been logged, and the next checkpoint covers
    /// the same records.
    fn checkpoint_all(&mut self) -> Result<(), RunError> {
        let _ = self.checkpoint(&Position::AllDelivered, RetryBudget::Checkpoint);
        self.check_link()
    }

    /// Warns once if records waited far too long for a checkpoint because no message came.
    fn warn_of_silence(&mut self) {
        let Some(time) = self.settings.cadence.time() else { return };
        if self.has_warned_of_silence || !self.has_something_to_checkpoint() {
            return;
        }
        let now = self.timer.now();
        let limit = time.max(Duration::from_secs(1));
        let waited = now.saturating_sub(self.ledger.last_checkpoint);
        if waited >= limit * 2 && now.saturating_sub(self.last_batch) >= limit {
            self.has_warned_of_silence = true;
            warn!(
                "{}: {} records waited {waited:.0?} for a checkpoint that is due every {time:.0?}, \
                 as no message came; set callProcessRecordsEvenForEmptyRecordList = true, so that \
                 the daemon sends empty batches",
                self.shard_id, self.ledger.uncovered,
            );
        }
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
            Sleep::HungUp => Err(RunError::hung_up(HungUp::BeforeRetry(method))),
        }
    }
}

/// Finds the record of the batch that the error names.
fn find_named(error: &ProcessorError, records: &[Record<'_>]) -> Option<usize> {
    let named = error.record()?;
    records.iter().position(|record| record.extended_sequence_number() == *named)
}
