//! A daemon in the same process, for unit tests of processors.
//!
//! [`Daemon`] is a script of what the daemon does. [`run`](Daemon::run) plays it to a processor with
//! the same code as in production, over simulated pipes and in virtual time, and returns a
//! [`Report`].
//!
//! A failed assertion inside the processor is a panic like any other: it is caught and reported in
//! [`Report::outcome`]. So every test must look at the outcome.
//!
//! Virtual time passes during pauses before retries and by [`Daemon::wait`]. The processor reads it
//! with [`Checkpointer::now`](crate::Checkpointer::now).
//!
//! ```
//! use kcl_runtime::testing::Daemon;
//! use kcl_runtime::{CheckpointError, Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
//!
//! #[derive(Default)]
//! struct Sum(u64);
//!
//! impl RecordProcessor for Sum {
//!     fn process_records(
//!         &mut self,
//!         input: &ProcessRecordsInput<'_>,
//!         checkpointer: &mut Checkpointer<'_>,
//!     ) -> Result {
//!         for record in &input.records {
//!             self.0 += str::from_utf8(record.data)?.parse::<u64>()?;
//!         }
//!         Ok(checkpointer.checkpoint()?)
//!     }
//! }
//!
//! let mut sum = Sum::default();
//! let report = Daemon::new()
//!     .batch(["1", "2"])
//!     .refuse_checkpoint(CheckpointError::Throttling)
//!     .batch(["3"])
//!     .shutdown_requested()
//!     .lease_lost()
//!     .run(&mut sum);
//! report.outcome.unwrap();
//! assert_eq!(sum.0, 6);
//! assert_eq!(report.checkpoints, ["2/0", "3/0"]);
//! assert_eq!(report.refused, [CheckpointError::Throttling]);
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use kcl_protocol::{
    Action, CheckpointError, DaemonCheckpointer, DaemonMessage, DaemonSession,
    ExtendedSequenceNumber, InitializeInput, LineBuffer, OwnedRecord, ProcessRecordsInput,
    Received, Record, SequenceNumber, ShutdownReason, State,
};

use crate::{RecordProcessor, RunError, Runtime, Sleep, Timer};

/// A script of what the daemon does, step by step. At its end the daemon closes the processor's
/// input.
///
/// Records get the sequence numbers 1, 2, 3 … over all batches, unless they are given whole
/// ([`records`](Self::records)).
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// # struct MyProcessor;
/// # impl RecordProcessor for MyProcessor {
/// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, c: &mut Checkpointer<'_>) -> Result {
/// #         Ok(c.checkpoint()?)
/// #     }
/// # }
///
/// // A shard that ends after its second batch.
/// let report = Daemon::new().batch(["a", "b"]).batch(["c"]).shard_ended().run(MyProcessor);
/// report.outcome.unwrap();
/// assert_eq!(report.checkpoints, ["2/0", "3/0", "SHARD_END/0"]);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a script does nothing until `run` plays it"]
pub struct Daemon<'f> {
    shard_id: String,
    start: ExtendedSequenceNumber<'static>,
    steps: VecDeque<Step<'f>>,
    next_number: u64,
    timeout: Option<Duration>,
    shutdown_grace: Option<Duration>,
}

/// Records for [`Daemon::deliver`], and what else a batch has.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::testing::{Batch, Daemon};
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// # struct MyProcessor;
/// # impl RecordProcessor for MyProcessor {
/// #     fn process_records(&mut self, input: &ProcessRecordsInput<'_>, c: &mut Checkpointer<'_>) -> Result {
/// #         assert_eq!(input.millis_behind_latest, Some(5_000));
/// #         let keys: Vec<_> = input.records.iter().map(|record| record.partition_key).collect();
/// #         assert_eq!(keys, ["ann", "ann", "bob", "bob"]);
/// #         Ok(c.checkpoint()?)
/// #     }
/// # }
///
/// let batch = Batch::new()
///     .arrived(Duration::from_millis(1_795_399_083_000))
///     .key("ann")
///     .records(["a", "b"])
///     .key("bob")
///     .packed(["c", "d"])
///     .millis_behind_latest(5_000);
/// let report = Daemon::new().deliver(batch).run(MyProcessor);
/// report.outcome.unwrap();
/// assert_eq!(report.checkpoints, ["3/1"]);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a batch does nothing until `Daemon::deliver` has it"]
pub struct Batch {
    key: String,
    arrived: Option<Duration>,
    /// Kinesis records, each of one or several user records that share its sequence number.
    records: Vec<Vec<Payload>>,
    millis_behind_latest: u64,
}

#[derive(Debug, Clone)]
struct Payload {
    key: String,
    arrived: Option<Duration>,
    data: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// Creates an empty batch. Its records will have the partition key `key` and no arrival time.
    pub fn new() -> Batch {
        Batch { key: "key".to_owned(), arrived: None, records: Vec::new(), millis_behind_latest: 0 }
    }

    /// Sets the partition key of the records that follow.
    pub fn key(mut self, key: &str) -> Batch {
        key.clone_into(&mut self.key);
        self
    }

    /// Sets the arrival time of the records that follow, since the Unix epoch.
    pub fn arrived(mut self, time: Duration) -> Batch {
        self.arrived = Some(time);
        self
    }

    /// Adds a record.
    pub fn record(self, payload: impl AsRef<[u8]>) -> Batch {
        self.packed([payload])
    }

    /// Adds a record for each payload.
    pub fn records<D: AsRef<[u8]>>(self, payloads: impl IntoIterator<Item = D>) -> Batch {
        payloads.into_iter().fold(self, Batch::record)
    }

    /// Adds user records that a producer packed into one Kinesis record (KPL aggregation): they share
    /// a sequence number, and have the sub-sequence numbers 0, 1, 2 …
    pub fn packed<D: AsRef<[u8]>>(mut self, payloads: impl IntoIterator<Item = D>) -> Batch {
        let payload = |data: D| Payload {
            key: self.key.clone(),
            arrived: self.arrived,
            data: data.as_ref().to_vec(),
        };
        let packed = payloads.into_iter().map(payload).collect();
        self.records.push(packed);
        self
    }

    /// Sets how far the batch is behind the end of the shard: 0 by default.
    pub fn millis_behind_latest(mut self, millis: u64) -> Batch {
        self.millis_behind_latest = millis;
        self
    }
}

#[derive(Clone)]
enum Step<'f> {
    Batch {
        records: Vec<OwnedRecord>,
        millis_behind_latest: u64,
    },
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
    Shutdown(ShutdownReason),
    /// Refuses the next checkpoint.
    Refuse(CheckpointError),
    Wait(Duration),
    Then(Rc<RefCell<dyn FnMut() + 'f>>),
    /// After the message before this step, nothing is read and nothing is sent.
    Vanish,
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Batch { records, .. } => write!(f, "Batch of {}", records.len()),
            Step::LeaseLost => f.write_str("LeaseLost"),
            Step::ShardEnded => f.write_str("ShardEnded"),
            Step::ShutdownRequested => f.write_str("ShutdownRequested"),
            Step::Shutdown(reason) => write!(f, "Shutdown({reason:?})"),
            Step::Refuse(error) => write!(f, "Refuse({error:?})"),
            Step::Wait(time) => write!(f, "Wait({time:?})"),
            Step::Then(_) => f.write_str("Then"),
            Step::Vanish => f.write_str("Vanish"),
        }
    }
}

/// The result of a script.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
/// # struct Broken;
/// # impl RecordProcessor for Broken {
/// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
/// #         Err("the sink is full".into())
/// #     }
/// # }
///
/// let report = Daemon::new().batch(["a"]).batch(["b"]).run(Broken);
/// assert!(report.outcome.is_err() && report.checkpoints.is_empty());
/// assert_eq!(report.steps_left, 1);
/// ```
#[derive(Debug)]
#[must_use = "the outcome reports panics of the processor, such as failed assertions"]
#[non_exhaustive]
pub struct Report {
    /// What [`Runtime::run`] would have returned.
    pub outcome: Result<(), RunError>,
    /// The stored checkpoints, as `sequence number/sub-sequence number`, in order, without
    /// repetitions.
    pub checkpoints: Vec<String>,
    /// The refusals of checkpoints, in order.
    pub refused: Vec<CheckpointError>,
    /// The answered messages, in order.
    pub answered: Vec<Action>,
    /// The pauses before retries, in order.
    pub pauses: Vec<Duration>,
    /// The number of steps that were not reached because the run ended.
    pub steps_left: usize,
    /// The message whose answer took longer than [`Daemon::timeout`] or
    /// [`Daemon::shutdown_grace`] allow.
    pub timed_out: Option<Action>,
}

impl Default for Daemon<'_> {
    fn default() -> Self {
        Daemon::new()
    }
}

impl<'f> Daemon<'f> {
    /// Creates a daemon that initializes the shard `shardId-000000000000` at TRIM_HORIZON.
    pub fn new() -> Daemon<'f> {
        Daemon {
            shard_id: "shardId-000000000000".to_owned(),
            start: ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0),
            steps: VecDeque::new(),
            next_number: 1,
            timeout: None,
            shutdown_grace: None,
        }
    }

    /// Sets the shard's name.
    pub fn shard_id(mut self, shard_id: &str) -> Daemon<'f> {
        shard_id.clone_into(&mut self.shard_id);
        self
    }

    /// Sets where the shard starts: the checkpoint of an earlier run. Records then get the numbers
    /// after it.
    pub fn start_at(mut self, start: &ExtendedSequenceNumber<'_>) -> Daemon<'f> {
        self.start = start.to_owned();
        if let Ok(number) = start.sequence_number.as_str().parse::<u64>() {
            self.next_number = number.saturating_add(1);
        }
        self
    }

    /// Sets the daemon's `timeoutInSeconds`: if the answer to a message takes longer, the daemon
    /// stops. See [`Report::timed_out`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use kcl_runtime::testing::Daemon;
    /// use kcl_runtime::{Action, Backoff, OnError, Runtime};
    /// # use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
    /// # struct AlwaysBusy;
    /// # impl RecordProcessor for AlwaysBusy {
    /// #     fn process_records(&mut self, _: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
    /// #         Err("the sink is busy".into())
    /// #     }
    /// # }
    ///
    /// let retry = OnError::retry(Backoff::up_to(Duration::from_secs(60)));
    /// let report = Daemon::new()
    ///     .timeout(Duration::from_secs(30))
    ///     .batch(["a"])
    ///     .run_with(Runtime::new().on_error(retry), AlwaysBusy);
    /// assert_eq!(report.timed_out, Some(Action::ProcessRecords));
    /// ```
    pub fn timeout(mut self, time: Duration) -> Daemon<'f> {
        self.timeout = Some(time);
        self
    }

    /// Sets the daemon's `shutdownGraceMillis`: if the answer to `shutdownRequested` takes longer,
    /// the daemon stops.
    pub fn shutdown_grace(mut self, time: Duration) -> Daemon<'f> {
        self.shutdown_grace = Some(time);
        self
    }

    /// Delivers a batch of records with these payloads.
    pub fn batch<D: AsRef<[u8]>>(self, payloads: impl IntoIterator<Item = D>) -> Daemon<'f> {
        self.deliver(Batch::new().records(payloads))
    }

    /// Delivers a batch without records, as daemons do with
    /// `callProcessRecordsEvenForEmptyRecordList = true`.
    pub fn empty_batch(self) -> Daemon<'f> {
        self.deliver(Batch::new())
    }

    /// Delivers a batch.
    pub fn deliver(mut self, batch: Batch) -> Daemon<'f> {
        let mut records = Vec::new();
        for packed in batch.records {
            let number = self.next_number.to_string();
            self.next_number += 1;
            for (payload, sub) in packed.iter().zip(0..) {
                let Ok(number) = SequenceNumber::try_from(number.clone()) else { continue };
                let mut record = Record::new(&payload.key, number, &payload.data).to_owned();
                record.sub_sequence_number = Some(sub);
                record.approximate_arrival = payload.arrived;
                records.push(record);
            }
        }
        let millis_behind_latest = batch.millis_behind_latest;
        self.step(Step::Batch { records, millis_behind_latest })
    }

    /// Delivers a batch of these records.
    pub fn records(self, records: impl IntoIterator<Item = OwnedRecord>) -> Daemon<'f> {
        let records = records.into_iter().collect();
        self.step(Step::Batch { records, millis_behind_latest: 0 })
    }

    /// Runs code before the next message, for example to look at the sink or to let it fail. A panic
    /// in it is reported in [`Report::outcome`].
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use kcl_runtime::testing::Daemon;
    /// # use kcl_runtime::{Cadence, Checkpointer, ProcessRecordsInput, RecordProcessor, Result, Runtime};
    /// # struct Archive<'a>(&'a RefCell<Vec<u8>>, Vec<u8>);
    /// # impl RecordProcessor for Archive<'_> {
    /// #     fn process_records(&mut self, input: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
    /// #         self.1.extend(input.records.iter().flat_map(|record| record.data));
    /// #         Ok(())
    /// #     }
    /// #     fn flush(&mut self) -> Result {
    /// #         self.0.borrow_mut().append(&mut self.1);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let runtime = Runtime::new().cadence(Cadence::every_records(2));
    /// let sink = RefCell::new(Vec::new());
    /// # let archive = Archive(&sink, Vec::new());
    /// let report = Daemon::new()
    ///     .batch(["a"])
    ///     .then(|| assert!(sink.borrow().is_empty()))
    ///     .batch(["b"])
    ///     .then(|| assert_eq!(*sink.borrow(), b"ab"))
    ///     .run_with(runtime, archive);
    /// report.outcome.unwrap();
    /// ```
    pub fn then(self, code: impl FnMut() + 'f) -> Daemon<'f> {
        self.step(Step::Then(Rc::new(RefCell::new(code))))
    }

    /// Refuses the next requested checkpoint. Two calls refuse two.
    pub fn refuse_checkpoint(self, error: CheckpointError) -> Daemon<'f> {
        self.step(Step::Refuse(error))
    }

    /// Lets time pass before the next message.
    pub fn wait(self, time: Duration) -> Daemon<'f> {
        self.step(Step::Wait(time))
    }

    /// Sends `leaseLost`.
    pub fn lease_lost(self) -> Daemon<'f> {
        self.step(Step::LeaseLost)
    }

    /// Sends `shardEnded`.
    pub fn shard_ended(self) -> Daemon<'f> {
        self.step(Step::ShardEnded)
    }

    /// Sends `shutdownRequested`.
    pub fn shutdown_requested(self) -> Daemon<'f> {
        self.step(Step::ShutdownRequested)
    }

    /// Sends the `shutdown` of a KCL 1.x daemon.
    pub fn shutdown(self, reason: ShutdownReason) -> Daemon<'f> {
        self.step(Step::Shutdown(reason))
    }

    /// Kills the daemon after the message before: it answers no checkpoint, reads no status, and closes
    /// the processor's input.
    pub fn vanish(self) -> Daemon<'f> {
        self.step(Step::Vanish)
    }

    fn step(mut self, step: Step<'f>) -> Daemon<'f> {
        self.steps.push_back(step);
        self
    }

    /// Plays the script to a processor with the default [`Runtime`].
    pub fn run(self, processor: impl RecordProcessor) -> Report {
        self.run_with(Runtime::new(), processor)
    }

    /// Plays the script to a processor with these settings.
    pub fn run_with(self, runtime: Runtime, processor: impl RecordProcessor) -> Report {
        let stage = Rc::new(RefCell::new(Stage::new(self)));
        let handle = || Handle(Rc::clone(&stage));
        let outcome = runtime.run_over_with(handle(), handle(), handle(), processor);
        let mut stage = stage.borrow_mut();
        Report {
            outcome,
            checkpoints: std::mem::take(&mut stage.checkpoints),
            refused: std::mem::take(&mut stage.refused),
            answered: std::mem::take(&mut stage.answered),
            pauses: std::mem::take(&mut stage.pauses),
            steps_left: stage.script.steps.len(),
            timed_out: stage.timed_out,
        }
    }
}

/// The running daemon. The runtime gets three handles of it: reader, writer and timer.
struct Stage<'f> {
    script: Daemon<'f>,
    session: DaemonSession,
    checkpointer: DaemonCheckpointer,
    from_child: LineBuffer,
    to_child: VecDeque<u8>,
    refusals: VecDeque<CheckpointError>,
    has_vanished: bool,
    now: Duration,
    /// The message that waits for its status, and since when.
    open: Option<(Action, Duration)>,
    timed_out: Option<Action>,
    checkpoints: Vec<String>,
    refused: Vec<CheckpointError>,
    answered: Vec<Action>,
    pauses: Vec<Duration>,
}

impl<'f> Stage<'f> {
    fn new(script: Daemon<'f>) -> Stage<'f> {
        Stage {
            checkpointer: DaemonCheckpointer::new(script.start.clone()),
            script,
            session: DaemonSession::new(),
            from_child: LineBuffer::new(),
            to_child: VecDeque::new(),
            refusals: VecDeque::new(),
            has_vanished: false,
            now: Duration::ZERO,
            open: None,
            timed_out: None,
            checkpoints: Vec::new(),
            refused: Vec::new(),
            answered: Vec::new(),
            pauses: Vec::new(),
        }
    }

    /// Continues the script until there is something to send, or nothing is left.
    fn advance(&mut self) -> io::Result<()> {
        if self.session.state() == State::Start {
            let script = &self.script;
            let mut input = InitializeInput::new(&script.shard_id);
            input.sequence_number = Some(script.start.sequence_number.borrowed());
            input.sub_sequence_number = Some(script.start.sub_sequence_number);
            send(&mut self.session, &DaemonMessage::Initialize(input), &mut self.to_child)?;
        }
        while self.session.state() == State::Idle && self.to_child.is_empty() {
            let Some(step) = self.script.steps.pop_front() else { return Ok(()) };
            let message = match &step {
                Step::Batch { records, millis_behind_latest } => {
                    let records: Vec<_> = records.iter().map(OwnedRecord::as_record).collect();
                    if let Some(last) = records.last() {
                        self.checkpointer.mark_delivered(&last.extended_sequence_number());
                    }
                    let mut input = ProcessRecordsInput::new(records);
                    input.millis_behind_latest = Some(*millis_behind_latest);
                    DaemonMessage::ProcessRecords(input)
                }
                Step::LeaseLost => DaemonMessage::LeaseLost,
                Step::ShardEnded => DaemonMessage::ShardEnded,
                Step::ShutdownRequested => DaemonMessage::ShutdownRequested,
                Step::Shutdown(reason) => DaemonMessage::Shutdown(*reason),
                Step::Refuse(error) => {
                    self.refusals.push_back(error.clone());
                    continue;
                }
                Step::Wait(time) => {
                    self.now = self.now.saturating_add(*time);
                    continue;
                }
                Step::Then(code) => {
                    (code.borrow_mut())();
                    continue;
                }
                Step::Vanish => {
                    self.has_vanished = true;
                    return Ok(());
                }
            };
            if matches!(
                message,
                DaemonMessage::ShardEnded | DaemonMessage::Shutdown(ShutdownReason::Terminate)
            ) {
                self.checkpointer.mark_shard_ended();
            }
            send(&mut self.session, &message, &mut self.to_child)?;
            if let State::Busy(action) = self.session.state() {
                self.open = Some((action, self.now));
            }
        }
        if let Some(Step::Vanish) = self.script.steps.front() {
            self.script.steps.pop_front();
            self.has_vanished = true;
        }
        Ok(())
    }

    /// Handles what the child has written.
    fn listen(&mut self) -> io::Result<()> {
        while let Some(mut line) = self.from_child.next_line().map_err(io::Error::other)? {
            match self.session.receive(line.bytes_mut()).map_err(io::Error::other)? {
                Received::Status(action) => {
                    self.answered.push(action);
                    self.open = None;
                }
                Received::Checkpoint(request) => {
                    let during = match self.session.state() {
                        State::Checkpointing(action) => action,
                        _ => Action::Initialize,
                    };
                    let result = match self.refusals.pop_front() {
                        Some(error) => Err(error),
                        None => self.checkpointer.check(&request, during),
                    };
                    let mut out = Vec::new();
                    let answered =
                        self.session.answer_checkpoint(result.as_ref().map(|_| ()), &mut out);
                    answered.map_err(io::Error::other)?;
                    self.to_child.extend(out);
                    match result {
                        Ok(Some(place)) => {
                            self.checkpoints.push(place.to_string());
                            self.checkpointer.mark_stored(place);
                        }
                        Ok(None) => {}
                        Err(error) => {
                            // A lost lease does not come back.
                            if error.is_lease_lost() {
                                self.refusals.push_front(error.clone());
                            }
                            self.refused.push(error);
                        }
                    }
                }
                noise => {
                    return Err(io::Error::other(format!("the daemon cannot read {noise:?}")));
                }
            }
        }
        Ok(())
    }
}

impl Stage<'_> {
    /// Returns how long the open message may still take.
    fn time_left(&self) -> Option<(Action, Duration)> {
        let (action, since) = self.open?;
        let is_shutdown = action == Action::ShutdownRequested;
        let grace = self.script.shutdown_grace.filter(|_| is_shutdown);
        let limit = [self.script.timeout, grace].into_iter().flatten().min()?;
        Some((action, (since + limit).saturating_sub(self.now)))
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        if self.has_vanished {
            return Sleep::HungUp;
        }
        self.pauses.push(pause);
        if let Some((action, left)) = self.time_left()
            && left < pause
        {
            self.now = self.now.saturating_add(left);
            self.timed_out = Some(action);
            self.has_vanished = true;
            return Sleep::HungUp;
        }
        self.now = self.now.saturating_add(pause);
        Sleep::Elapsed
    }
}

fn send(
    session: &mut DaemonSession,
    message: &DaemonMessage<'_>,
    to_child: &mut VecDeque<u8>,
) -> io::Result<()> {
    let mut out = Vec::new();
    session.send(message, &mut out).map_err(io::Error::other)?;
    to_child.extend(out);
    Ok(())
}

struct Handle<'f>(Rc<RefCell<Stage<'f>>>);

impl Read for Handle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stage = self.0.borrow_mut();
        if stage.to_child.is_empty() && !stage.has_vanished {
            stage.advance()?;
        }
        stage.to_child.read(buffer)
    }
}

impl Write for Handle<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stage = self.0.borrow_mut();
        if stage.has_vanished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        stage.from_child.push(bytes);
        stage.listen()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Timer for Handle<'_> {
    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        self.0.borrow_mut().sleep(pause)
    }
}
