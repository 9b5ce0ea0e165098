//! The loop: one message after the other, and what becomes of each. All that an error, a panic or
//! the end of input leads to is decided here.

use std::io::{Read, Write};
use std::time::Duration;

use kcl_protocol::{
    CheckpointError, DEFAULT_LINE_LIMIT, DaemonMessage, ExtendedSequenceNumber, InitializeInput,
    Position, ProcessRecordsInput, Record, ShutdownReason, State,
};
use tracing::{debug, info, warn};

use crate::checkpointer::{Desk, Retries};
use crate::contain::contain;
use crate::link::Link;
use crate::{
    Backoff, Cadence, CheckpointFailed, Checkpointer, FailedRecords, Method, OnError,
    ProcessorError, RecordProcessor, RunError, ShardEndCheckpointer, Sleep, Timer, stdio,
};

/// How long records may be delivered without a checkpoint, by hand, before it is warned about.
const UNCHECKPOINTED_WARNING: Duration = Duration::from_secs(300);

/// To look at the clock after each batch takes a good part of what a small one takes. So while less
/// than this passes from one look to the next, so many batches go by without one.
const FAST: Duration = Duration::from_secs(1);
const BATCHES_WITHOUT_LOOK: u32 = 15;

/// Runs a processor over this process's stdin and stdout, with the default [`Runtime`].
///
/// # Errors
/// See [`RunError`], which also gives the process's exit code.
pub fn run(processor: impl RecordProcessor) -> Result<(), RunError> {
    Runtime::new().run(processor)
}

/// What the signals that stop a service do to this process: see [`Runtime::signals`].
///
/// ```
/// use kcl_runtime::{Runtime, Signals};
/// let runtime = Runtime::new().signals(Signals::Default);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Signals {
    /// SIGINT, SIGTERM and SIGHUP do nothing while the daemon holds our input open, so that it can
    /// still send `shutdownRequested`. The third of them within 5 s takes its default action, and so
    /// does the first when the daemon has gone, whatever the processor is busy with.
    #[default]
    UntilEndOfInput,
    /// Signals are left alone.
    Default,
}

/// The settings of a run.
///
/// ```no_run
/// use std::time::Duration;
/// use kcl_runtime::{Backoff, Cadence, OnError, Runtime};
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// # struct MyProcessor;
/// # impl RecordProcessor for MyProcessor {
/// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
/// #         Ok(())
/// #     }
/// # }
///
/// let result = Runtime::new()
///     .cadence(Cadence::AtMostEvery(Duration::from_secs(10)))
///     .on_error(OnError::retry(Backoff::up_to(Duration::from_secs(20))))
///     .run(MyProcessor);
/// ```
#[derive(Debug)]
#[must_use = "settings do nothing until `run`"]
pub struct Runtime {
    settings: Settings,
    on_error: OnError,
    signals: Signals,
    line_limit: usize,
    pipe_size: Option<usize>,
}

/// The pipe's size from the first long line on, unless set: see [`Runtime::pipe_size`].
const PIPE_SIZE: usize = 256 << 10;

#[derive(Debug)]
struct Settings {
    cadence: Cadence,
    checkpoint_retry: Backoff,
    shard_end_retry: Backoff,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime::new()
    }
}

impl Runtime {
    /// The defaults: checkpoints by hand, the first error ends the process.
    pub fn new() -> Runtime {
        Runtime {
            settings: Settings {
                cadence: Cadence::Manual,
                checkpoint_retry: Backoff::up_to(Duration::from_secs(30)),
                shard_end_retry: Backoff::up_to(Duration::from_secs(300)),
            },
            on_error: OnError::exit(),
            signals: Signals::default(),
            line_limit: DEFAULT_LINE_LIMIT,
            pipe_size: Some(PIPE_SIZE),
        }
    }

    /// When the runtime checkpoints by itself; by hand unless set.
    pub fn cadence(mut self, cadence: Cadence) -> Runtime {
        self.settings.cadence = cadence;
        self
    }

    /// What an error from `process_records` leads to; the end of the process unless set.
    pub fn on_error(mut self, on_error: OnError) -> Runtime {
        self.on_error = on_error;
        self
    }

    /// How long a checkpoint is tried again when its error may pass; up to 30 s unless set, and
    /// not at all with [`Backoff::none`].
    pub fn checkpoint_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.checkpoint_retry = backoff;
        self
    }

    /// How long `shard_ended`, and the checkpoint of the shard's end, is tried again; up to 5
    /// minutes in all unless set.
    ///
    /// While an error of `shard_ended` itself waits to be tried again, the daemon hears nothing: where
    /// its `timeoutInSeconds` is set, this total must stay well under it.
    pub fn shard_end_retry(mut self, backoff: Backoff) -> Runtime {
        self.settings.shard_end_retry = backoff;
        self
    }

    /// The longest line that is read, in bytes; 256 MiB unless set. A longer one ends the run.
    pub fn line_limit(mut self, bytes: usize) -> Runtime {
        self.line_limit = bytes;
        self
    }

    /// To how many bytes the pipe that is our stdin is enlarged, on Linux, after the first line over
    /// 64 KiB; 256 KiB unless set, and `None` leaves it as it is.
    ///
    /// A larger pipe means fewer turns between the daemon and us for a large batch. An unprivileged
    /// user has 64 MiB of pipes in all, after which each new pipe is of 8 KiB; so the pipe stays as
    /// it is where less than 1 MiB of them would be left. That it cannot be enlarged is no error.
    pub fn pipe_size(mut self, bytes: Option<usize>) -> Runtime {
        self.pipe_size = bytes;
        self
    }

    /// What signals do; see [`Signals`].
    pub fn signals(mut self, signals: Signals) -> Runtime {
        self.signals = signals;
        self
    }

    /// Runs a processor over this process's stdin and stdout, which belong to the protocol from now
    /// on, until the daemon closes our input.
    ///
    /// They belong to this one process: never `fork` without `exec` from here on, as the copy would
    /// speak to the daemon too. To start a program with `std::process::Command` is fine.
    ///
    /// An error has been written to stderr, as one line, when this returns it.
    ///
    /// # Errors
    /// See [`RunError`], which also gives the process's exit code.
    pub fn run(self, processor: impl RecordProcessor) -> Result<(), RunError> {
        let signals = self.signals;
        let result = match stdio::take(signals) {
            Ok(pipes) => {
                let enlarge = self.pipe_size.and_then(|bytes| pipes.enlarger(bytes));
                self.run_with(pipes.reader, pipes.writer, pipes.timer, processor, enlarge)
            }
            Err(error) => {
                // Why there was no run says more than how the processor ended without one.
                let _ = end(processor, self.on_error);
                Err(error)
            }
        };
        if let Err(error) = &result {
            stdio::say(&format!("error: {error}"));
        }
        result
    }

    /// Runs a processor over any reader and writer. Touches neither this process's descriptors nor
    /// its signals, and writes nothing to stderr but through `tracing`.
    ///
    /// ```
    /// use kcl_runtime::{Runtime, SystemTimer};
    /// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
    /// # struct MyProcessor;
    /// # impl RecordProcessor for MyProcessor {
    /// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
    /// #         Ok(())
    /// #     }
    /// # }
    ///
    /// let input = b"{\"action\":\"initialize\",\"shardId\":\"shardId-0\"}\n";
    /// let mut output = Vec::new();
    /// Runtime::new().run_over(&input[..], &mut output, SystemTimer::new(), MyProcessor)?;
    /// assert_eq!(output, b"{\"action\":\"status\",\"responseFor\":\"initialize\"}\n");
    /// # Ok::<(), kcl_runtime::RunError>(())
    /// ```
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_over(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        processor: impl RecordProcessor,
    ) -> Result<(), RunError> {
        self.run_with(reader, writer, timer, processor, None)
    }

    fn run_with(
        self,
        reader: impl Read,
        writer: impl Write,
        timer: impl Timer,
        mut processor: impl RecordProcessor,
        at_long_line: Option<Box<dyn FnOnce()>>,
    ) -> Result<(), RunError> {
        let Runtime { settings, mut on_error, line_limit, .. } = self;
        let shard_end_pauses = Box::new(settings.shard_end_retry.pauses());
        let mut shard = Shard {
            settings,
            shard_end_pauses,
            link: Link::new(reader, writer, line_limit, at_long_line),
            timer,
            shard_id: String::new(),
            ledger: Ledger::default(),
            broken: None,
            warned_of_no_checkpoint: false,
            looked_at_clock: None,
            batches_without_look: 0,
        };
        let lived = contain(|| shard.live(&mut processor, &mut on_error));
        let shard_id = std::mem::take(&mut shard.shard_id);
        let ended = end(processor, on_error);
        let closed = contain(|| drop(shard));
        let panicked =
            |method, message| RunError::Panicked { shard_id: shard_id.clone(), method, message };
        lived
            .unwrap_or_else(|message| Err(panicked(Method::Other, message)))
            .and_then(|()| ended.map_err(|message| panicked(Method::Drop, message)))
            .and_then(|()| closed.map_err(|message| panicked(Method::Other, message)))
    }
}

/// One shard's life in this process.
struct Shard<R, W, T> {
    settings: Settings,
    /// What is left of the pauses that the shard's end may take, in all.
    shard_end_pauses: Box<dyn Iterator<Item = Duration> + Send>,
    link: Link<R, W>,
    timer: T,
    shard_id: String,
    ledger: Ledger,
    /// Why the conversation cannot go on, found while the processor had the word.
    broken: Option<RunError>,
    warned_of_no_checkpoint: bool,
    /// When it was last looked whether that warning is due, and how many batches go by without a
    /// look from here on.
    looked_at_clock: Option<Duration>,
    batches_without_look: u32,
}

/// How far the shard was delivered, and how far it is checkpointed.
#[derive(Debug, Default)]
struct Ledger {
    /// The last record delivered by this process.
    delivered: Option<ExtendedSequenceNumber<'static>>,
    /// The last checkpoint stored by this process.
    stored: Option<ExtendedSequenceNumber<'static>>,
    /// Records delivered since a checkpoint covered all of them.
    uncovered: u64,
    /// When the first of them came, or the last checkpoint behind it was stored.
    uncovered_since: Option<Duration>,
    /// When the last checkpoint was stored, or the shard began.
    last_checkpoint: Duration,
    /// The daemon said that another worker has the lease.
    is_lease_gone: bool,
    /// What came of the last checkpoint of the shard's end.
    shard_end: Option<Result<(), CheckpointFailed>>,
}

impl Ledger {
    fn deliver(&mut self, records: &[Record<'_>], timer: &impl Timer) {
        if let Some(last) = records.last() {
            match &mut self.delivered {
                // In the memory of the one before.
                Some(delivered) => last.extended_sequence_number().clone_into(delivered),
                None => self.delivered = Some(last.extended_sequence_number().to_owned()),
            }
            self.uncovered += records.len() as u64;
            self.uncovered_since.get_or_insert_with(|| timer.now());
        }
    }

    fn store(&mut self, at: &Position<'_>, now: Duration) {
        match at.extended_sequence_number() {
            Some(place) => self.stored = Some(place.to_owned()),
            None => self.stored.clone_from(&self.delivered),
        }
        self.last_checkpoint = now;
        if self.covers_all() {
            self.uncovered = 0;
            self.uncovered_since = None;
        } else {
            self.uncovered_since = Some(now);
        }
    }

    /// Whether the last checkpoint covers the last delivered record. So it does where none was
    /// delivered: the daemon delivers from the last checkpoint on.
    fn covers_all(&self) -> bool {
        self.stored >= self.delivered
    }

    /// How many records at a batch's beginning the last checkpoint covers.
    fn count_covered(&self, records: &[Record<'_>]) -> usize {
        let Some(stored) = &self.stored else { return 0 };
        records.iter().take_while(|record| record.extended_sequence_number() <= *stored).count()
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
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(error) => f.write_str(&error.in_full()),
            Failure::Panic(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Calls a method of the processor, or the callback.
fn call(code: impl FnOnce() -> crate::Result) -> Result<(), Failure> {
    contain(code).map_err(Failure::Panic)?.map_err(Failure::Error)
}

/// Drops the user's code, which may have something to do at its end.
fn end(processor: impl RecordProcessor, on_error: OnError) -> Result<(), String> {
    // One after the other: a second panic while the first unwinds would abort the process.
    let processor = contain(|| drop(processor));
    processor.and(contain(|| drop(on_error)))
}

impl<R: Read, W: Write, T: Timer> Desk for Shard<R, W, T> {
    fn checkpoint(&mut self, at: &Position<'_>, retries: Retries) -> Result<(), CheckpointFailed> {
        let mut pauses = self.settings.checkpoint_retry.pauses();
        let mut tries: u32 = 0;
        loop {
            let Err(failed) = self.try_checkpoint(at, &mut tries) else { return Ok(()) };
            if !failed.is_retryable() {
                return Err(failed);
            }
            let pause = match retries {
                Retries::Checkpoint => pauses.next(),
                Retries::ShardEnd => self.shard_end_pauses.next(),
            };
            let Some(pause) = pause else { return Err(failed) };
            debug!("{}: {failed}; trying again in {pause:.1?}", self.shard_id);
            if self.timer.sleep(pause) == Sleep::HungUp {
                self.broken = Some(RunError::HungUp {
                    during: "while a checkpoint was to be tried again".to_owned(),
                    expected: "our input to stay open until the status",
                });
                return Err(CheckpointFailed::Broken);
            }
        }
    }
}

impl<R: Read, W: Write, T: Timer> Shard<R, W, T> {
    fn try_checkpoint(
        &mut self,
        at: &Position<'_>,
        tries: &mut u32,
    ) -> Result<(), CheckpointFailed> {
        if self.broken.is_some() {
            return Err(CheckpointFailed::Broken);
        }
        if self.ledger.is_lease_gone {
            return Err(CheckpointFailed::Refused { error: CheckpointError::Shutdown, tries: 0 });
        }
        *tries = tries.saturating_add(1);
        match self.link.checkpoint(at) {
            Ok(Ok(())) => {
                self.ledger.store(at, self.timer.now());
                Ok(())
            }
            Ok(Err(error)) => {
                if error.is_lease_lost() {
                    self.ledger.is_lease_gone = true;
                    warn!("{}: {error}; no more checkpoints are asked for", self.shard_id);
                }
                Err(CheckpointFailed::Refused { error, tries: *tries })
            }
            Err(error) => {
                self.broken = Some(error);
                Err(CheckpointFailed::Broken)
            }
        }
    }

    /// One message after the other, until the end of input.
    fn live(
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
                    self.lease_lost(processor)?;
                }
                DaemonMessage::ShardEnded | DaemonMessage::Shutdown(ShutdownReason::Terminate) => {
                    self.shard_ended(processor)?;
                }
                DaemonMessage::ShutdownRequested => self.shutdown_requested(processor)?,
                // The session takes an answer only while a checkpoint is asked for, and a kind of
                // message that is new to us is an error there.
                _ => return Err(kcl_protocol::Error::Failed.into()),
            }
            self.link.answer()?;
            self.link.recycle(line);
        }
        self.end_of_input()
    }

    /// Ends the run if the conversation broke while the processor had the word.
    fn check_link(&mut self) -> Result<(), RunError> {
        self.broken.take().map_or(Ok(()), Err)
    }

    fn initialize(
        &mut self,
        processor: &mut impl RecordProcessor,
        input: &InitializeInput<'_>,
    ) -> Result<(), RunError> {
        input.shard_id.clone_into(&mut self.shard_id);
        self.ledger.last_checkpoint = self.timer.now();
        match &input.sequence_number {
            Some(number) => info!("{}: initialize, records from {number} on", self.shard_id),
            None => info!("{}: initialize", self.shard_id),
        }
        call(|| processor.initialize(input))
            .map_err(|failure| failure.into_run_error(&self.shard_id, Method::Initialize, 1))
    }

    /// One batch: until all of its records are dealt with, or skipped, or the lease is gone.
    fn process_records(
        &mut self,
        processor: &mut impl RecordProcessor,
        on_error: &mut OnError,
        input: &mut ProcessRecordsInput<'_>,
    ) -> Result<(), RunError> {
        self.ledger.deliver(&input.records, &self.timer);
        let retry = on_error.retry.unwrap_or(Backoff::none());
        let mut pauses = None;
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let result = call(|| processor.process_records(input, &mut Checkpointer(&mut *self)));
            self.check_link()?;
            let Err(failure) = result else { break };
            if self.ledger.is_lease_gone {
                debug!("{}: process_records failed after the lease: {failure}", self.shard_id);
                break;
            }
            let pause = match &failure {
                Failure::Error(_) => pauses.get_or_insert_with(|| retry.pauses()).next(),
                Failure::Panic(_) => None,
            };
            match (pause, failure) {
                (Some(pause), Failure::Error(error)) => {
                    let (from, all) =
                        (self.first_to_retry(&error, &input.records), input.records.len());
                    if from == all && all > 0 {
                        warn!(
                            "{}: process_records failed after it had checkpointed the whole batch, \
                             so there is nothing to try again: {}",
                            self.shard_id,
                            error.in_full(),
                        );
                        break;
                    }
                    warn!(
                        "{}: process_records failed: {}; trying {} of {all} records again in \
                         {pause:.1?}",
                        self.shard_id,
                        error.in_full(),
                        all - from,
                    );
                    self.sleep_before_retry(Method::ProcessRecords, pause)?;
                    input.records.drain(..from);
                }
                (_, failure) => {
                    let end = self.skip(on_error, &input.records, failure, tries)?;
                    if end == input.records.len() {
                        break;
                    }
                    input.records.drain(..end);
                    tries = 0;
                }
            }
        }
        self.checkpoint_if_due()
    }

    /// Where a retry starts: at the record that the error names, even if a checkpoint covers it, as
    /// nothing else would ever deal with it; else behind what was checkpointed.
    fn first_to_retry(&self, error: &ProcessorError, records: &[Record<'_>]) -> usize {
        position_of(error, records).unwrap_or_else(|| self.ledger.count_covered(records))
    }

    /// Hands failed records to the callback, if there is one for them; gives how many records of
    /// the batch are dealt with then.
    fn skip(
        &self,
        on_error: &mut OnError,
        records: &[Record<'_>],
        failure: Failure,
        tries: u32,
    ) -> Result<usize, RunError> {
        let may_skip = matches!(failure, Failure::Error(_)) || on_error.skip_panics;
        let Some(keep) = on_error.skip.as_mut().filter(|_| may_skip) else {
            return Err(failure.into_run_error(&self.shard_id, Method::ProcessRecords, tries));
        };
        let error = match failure {
            Failure::Error(error) => error,
            Failure::Panic(message) => format!("panicked: {message}").into(),
        };
        let covered = self.ledger.count_covered(records);
        let failed = match position_of(&error, records) {
            Some(named) => named..named + 1,
            None => covered..records.len(),
        };
        let (shard_id, count) = (self.shard_id.as_str(), failed.len());
        let end = failed.end.max(covered);
        if count == 0 {
            warn!(
                "{shard_id}: process_records failed with no record left to skip: {}",
                error.in_full()
            );
            return Ok(end);
        }
        let records = &records[failed];
        let failed = FailedRecords { shard_id, records, error: &error, tries };
        call(|| keep(&failed))
            .map_err(|failure| failure.into_run_error(shard_id, Method::SkipCallback, 1))?;
        warn!("{shard_id}: skipped {count} records, which the callback kept: {}", error.in_full());
        Ok(end)
    }

    fn sleep_before_retry(&mut self, method: Method, pause: Duration) -> Result<(), RunError> {
        match self.timer.sleep(pause) {
            Sleep::Elapsed => Ok(()),
            Sleep::HungUp => Err(RunError::HungUp {
                during: format!("while {method} was to be tried again"),
                expected: "our input to stay open until the status",
            }),
        }
    }

    /// What follows a batch that is dealt with.
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

    /// Checkpoints all that was delivered, unless nothing is new. A failure is no more than a
    /// warning, as the next one covers the same records.
    fn checkpoint_by_cadence(&mut self) -> Result<(), RunError> {
        if self.ledger.covers_all() || self.ledger.is_lease_gone {
            return Ok(());
        }
        let result = self.checkpoint(&Position::AllDelivered, Retries::Checkpoint);
        self.check_link()?;
        if let Err(failed) = result
            && !failed.is_lease_lost()
        {
            warn!("{}: {failed}; the next checkpoint covers these records too", self.shard_id);
        }
        Ok(())
    }

    fn warn_of_no_checkpoint(&mut self) {
        if self.warned_of_no_checkpoint || self.ledger.is_lease_gone {
            return;
        }
        let Some(since) = self.ledger.uncovered_since else { return };
        if self.batches_without_look > 0 {
            self.batches_without_look -= 1;
            return;
        }
        let now = self.timer.now();
        let is_fast = |last| now.saturating_sub(last) < FAST;
        if self.looked_at_clock.replace(now).is_some_and(is_fast) {
            self.batches_without_look = BATCHES_WITHOUT_LOOK;
        }
        if now.saturating_sub(since) >= UNCHECKPOINTED_WARNING {
            self.warned_of_no_checkpoint = true;
            warn!(
                "{}: {} records in {} minutes without a checkpoint: all of them are delivered \
                 again after a restart; call checkpointer.checkpoint(), or choose a Cadence",
                self.shard_id,
                self.ledger.uncovered,
                UNCHECKPOINTED_WARNING.as_secs() / 60,
            );
        }
    }

    fn lease_lost(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: the lease is lost", self.shard_id);
        self.ledger.is_lease_gone = true;
        if let Err(failure) = call(|| processor.lease_lost()) {
            warn!("{}: lease_lost failed: {failure}", self.shard_id);
        }
        Ok(())
    }

    fn shutdown_requested(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: shutdown is requested", self.shard_id);
        let result = call(|| processor.shutdown_requested(&mut Checkpointer(&mut *self)));
        self.check_link()?;
        match result {
            Ok(()) if self.settings.cadence == Cadence::Manual => Ok(()),
            Ok(()) => self.checkpoint_by_cadence(),
            Err(failure) => {
                warn!(
                    "{}: shutdown_requested failed, records since the last checkpoint will be \
                     delivered again: {failure}",
                    self.shard_id
                );
                Ok(())
            }
        }
    }

    /// Returns only when the shard's end is checkpointed, or the lease is gone.
    fn shard_ended(&mut self, processor: &mut impl RecordProcessor) -> Result<(), RunError> {
        info!("{}: the shard has ended", self.shard_id);
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            // Once stored it stays so, whatever becomes of another try.
            self.ledger.shard_end = self.ledger.shard_end.take().filter(Result::is_ok);
            let result =
                call(|| processor.shard_ended(&mut ShardEndCheckpointer(&mut ShardEndDesk(self))));
            self.check_link()?;
            if self.ledger.is_lease_gone {
                return Ok(());
            }
            let failure = match result {
                Ok(()) => return self.finish_shard(),
                Err(failure) => failure,
            };
            // A refusal that does not pass would only be repeated; one that may has been retried
            // with what there was of pauses.
            if let Some(Err(failed)) = &self.ledger.shard_end {
                return Err(self.shard_end_refused(failed));
            }
            if let Failure::Panic(_) = failure {
                return Err(failure.into_run_error(&self.shard_id, Method::ShardEnded, tries));
            }
            let Some(pause) = self.shard_end_pauses.next() else {
                return Err(failure.into_run_error(&self.shard_id, Method::ShardEnded, tries));
            };
            warn!("{}: shard_ended failed: {failure}; trying again in {pause:.1?}", self.shard_id);
            self.sleep_before_retry(Method::ShardEnded, pause)?;
        }
    }

    /// Sees to the checkpoint of the shard's end, once the processor has dealt with it.
    fn finish_shard(&mut self) -> Result<(), RunError> {
        match self.ledger.shard_end.take() {
            Some(Ok(())) => Ok(()),
            Some(Err(failed)) => Err(self.shard_end_refused(&failed)),
            None if self.settings.cadence != Cadence::Manual || self.ledger.covers_all() => {
                let result = self.checkpoint(&Position::AllDelivered, Retries::ShardEnd);
                self.check_link()?;
                match result {
                    Err(failed) if !failed.is_lease_lost() => Err(self.shard_end_refused(&failed)),
                    _ => Ok(()),
                }
            }
            None => Err(RunError::ShardEnd {
                shard_id: self.shard_id.clone(),
                reason: "shard_ended made no checkpoint, and records after the processor's last \
                         checkpoint may not be dealt with (write `checkpointer.checkpoint()?` in \
                         shard_ended, when they are)"
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
            State::Start => info!("the input ended before any message: no shard to deal with"),
            _ => info!("{}: end of input", self.shard_id),
        }
        self.link.end_of_input()
    }
}

/// Takes note of what comes of the shard's end, also where the processor keeps it to itself.
struct ShardEndDesk<'s, R, W, T>(&'s mut Shard<R, W, T>);

impl<R: Read, W: Write, T: Timer> Desk for ShardEndDesk<'_, R, W, T> {
    fn checkpoint(&mut self, at: &Position<'_>, retries: Retries) -> Result<(), CheckpointFailed> {
        let result = self.0.checkpoint(at, retries);
        if let Some(Ok(())) = self.0.ledger.shard_end {
            // Once stored it stays so, whatever becomes of another try.
            return result;
        }
        self.0.ledger.shard_end = Some(match &result {
            Ok(()) => Ok(()),
            Err(CheckpointFailed::Refused { error, tries }) => {
                Err(CheckpointFailed::Refused { error: error.clone(), tries: *tries })
            }
            Err(CheckpointFailed::Broken) => Err(CheckpointFailed::Broken),
        });
        result
    }
}

/// Which record of the batch the error names.
fn position_of(error: &ProcessorError, records: &[Record<'_>]) -> Option<usize> {
    let named = error.record()?;
    records.iter().position(|record| record.extended_sequence_number() == *named)
}
