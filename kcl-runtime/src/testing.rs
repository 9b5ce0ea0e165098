//! A daemon in the same process, for unit tests of processors.
//!
//! [`Daemon`] is a script of what the daemon does. [`run`](Daemon::run) plays it to a processor
//! through the very loop that runs in production, over pretend pipes and in virtual time, and
//! [`Report`] tells what came of it.
//!
//! An assertion that fails inside of the processor is a panic like any other: it is caught, and
//! lands in [`Report::outcome`]. So a test looks at the outcome, always.
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
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use kcl_protocol::{
    Action, CheckpointError, DaemonCheckpointer, DaemonMessage, DaemonSession,
    ExtendedSequenceNumber, InitializeInput, LineBuffer, OwnedRecord, ProcessRecordsInput,
    Received, Record, SequenceNumber, ShutdownReason, State,
};

use crate::{RecordProcessor, RunError, Runtime, Sleep, Timer};

/// A script of what the daemon does, step by step; then it closes the processor's input.
///
/// Records get the sequence numbers 1, 2, 3 … over all batches, the partition key `key`, and the
/// sub-sequence number 0, unless they are given whole ([`records`](Self::records)).
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
/// // The life of a shard that ends behind its second batch.
/// let report = Daemon::new().batch(["a", "b"]).batch(["c"]).shard_ended().run(MyProcessor);
/// report.outcome.unwrap();
/// assert_eq!(report.checkpoints, ["2/0", "3/0", "SHARD_END/0"]);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a script does nothing until `run` plays it"]
pub struct Daemon {
    shard_id: String,
    start: ExtendedSequenceNumber<'static>,
    steps: VecDeque<Step>,
    next_number: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<OwnedRecord>),
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
    Shutdown(ShutdownReason),
    /// The next checkpoint that is asked for is refused so.
    Refuse(CheckpointError),
    Wait(Duration),
    /// From the message before this step on, nothing is read and nothing is sent.
    Vanish,
}

/// What came of a script.
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
#[must_use = "a panic of the processor, an assertion's included, lands in its outcome"]
#[non_exhaustive]
pub struct Report {
    /// What [`Runtime::run`] would have returned.
    pub outcome: Result<(), RunError>,
    /// The checkpoints that were stored, as `sequence number/sub-sequence number`, in order. One
    /// that repeats the last is not stored again.
    pub checkpoints: Vec<String>,
    /// Why checkpoints were refused, in order.
    pub refused: Vec<CheckpointError>,
    /// The messages that were answered, in order.
    pub answered: Vec<Action>,
    /// The pauses before retries, in order.
    pub pauses: Vec<Duration>,
    /// The steps of the script that were not reached, as the run had ended.
    pub steps_left: usize,
}

impl Default for Daemon {
    fn default() -> Self {
        Daemon::new()
    }
}

impl Daemon {
    /// A daemon that initializes the shard `shardId-000000000000` at TRIM_HORIZON.
    pub fn new() -> Daemon {
        Daemon {
            shard_id: "shardId-000000000000".to_owned(),
            start: ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0),
            steps: VecDeque::new(),
            next_number: 1,
        }
    }

    /// Names the shard.
    pub fn shard_id(mut self, shard_id: &str) -> Daemon {
        shard_id.clone_into(&mut self.shard_id);
        self
    }

    /// Starts the shard from another place: the checkpoint of a life before.
    pub fn start_at(mut self, start: &ExtendedSequenceNumber<'_>) -> Daemon {
        self.start = start.to_owned();
        self
    }

    /// Delivers a batch of records with these payloads.
    pub fn batch<D: AsRef<[u8]>>(mut self, payloads: impl IntoIterator<Item = D>) -> Daemon {
        let mut records = Vec::new();
        for payload in payloads {
            let number = self.next_number.to_string();
            self.next_number += 1;
            let Ok(number) = SequenceNumber::try_from(number) else { continue };
            let mut record = Record::new("key", number, payload.as_ref()).to_owned();
            record.sub_sequence_number = Some(0);
            records.push(record);
        }
        self.records(records)
    }

    /// Delivers a batch of these records.
    pub fn records(self, records: impl IntoIterator<Item = OwnedRecord>) -> Daemon {
        self.step(Step::Batch(records.into_iter().collect()))
    }

    /// Refuses the next checkpoint that is asked for. Said twice, it refuses two.
    pub fn refuse_checkpoint(self, error: CheckpointError) -> Daemon {
        self.step(Step::Refuse(error))
    }

    /// Lets time pass before the next message.
    pub fn wait(self, time: Duration) -> Daemon {
        self.step(Step::Wait(time))
    }

    /// Says that the lease is lost.
    pub fn lease_lost(self) -> Daemon {
        self.step(Step::LeaseLost)
    }

    /// Says that the shard has ended.
    pub fn shard_ended(self) -> Daemon {
        self.step(Step::ShardEnded)
    }

    /// Requests the shutdown.
    pub fn shutdown_requested(self) -> Daemon {
        self.step(Step::ShutdownRequested)
    }

    /// Ends the shard in the words of a KCL 1.x daemon.
    pub fn shutdown(self, reason: ShutdownReason) -> Daemon {
        self.step(Step::Shutdown(reason))
    }

    /// The daemon dies as soon as it has sent the message before: it answers no checkpoint, reads
    /// no status, and closes the processor's input.
    pub fn vanish(self) -> Daemon {
        self.step(Step::Vanish)
    }

    fn step(mut self, step: Step) -> Daemon {
        self.steps.push_back(step);
        self
    }

    /// Plays the script to a processor, with the default [`Runtime`].
    pub fn run(self, processor: impl RecordProcessor) -> Report {
        self.run_with(Runtime::new(), processor)
    }

    /// Plays the script to a processor, with these settings.
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
        }
    }
}

/// The daemon at work. The runtime holds it by three handles: what it reads, writes and waits by.
struct Stage {
    script: Daemon,
    session: DaemonSession,
    checkpointer: DaemonCheckpointer,
    from_child: LineBuffer,
    to_child: VecDeque<u8>,
    refusals: VecDeque<CheckpointError>,
    has_vanished: bool,
    now: Duration,
    checkpoints: Vec<String>,
    refused: Vec<CheckpointError>,
    answered: Vec<Action>,
    pauses: Vec<Duration>,
}

impl Stage {
    fn new(script: Daemon) -> Stage {
        Stage {
            checkpointer: DaemonCheckpointer::new(script.start.clone()),
            script,
            session: DaemonSession::new(),
            from_child: LineBuffer::new(),
            to_child: VecDeque::new(),
            refusals: VecDeque::new(),
            has_vanished: false,
            now: Duration::ZERO,
            checkpoints: Vec::new(),
            refused: Vec::new(),
            answered: Vec::new(),
            pauses: Vec::new(),
        }
    }

    /// Goes on in the script until there is something to send, or nothing is left of it.
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
                Step::Batch(records) => {
                    let records: Vec<_> = records.iter().map(OwnedRecord::as_record).collect();
                    if let Some(last) = records.last() {
                        self.checkpointer.mark_delivered(&last.extended_sequence_number());
                    }
                    let mut input = ProcessRecordsInput::new(records);
                    input.millis_behind_latest = Some(0);
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
        }
        if let Some(Step::Vanish) = self.script.steps.front() {
            self.script.steps.pop_front();
            self.has_vanished = true;
        }
        Ok(())
    }

    /// Deals with what the child has written.
    fn listen(&mut self) -> io::Result<()> {
        while let Some(mut line) = self.from_child.next_line().map_err(io::Error::other)? {
            match self.session.receive(line.bytes_mut()).map_err(io::Error::other)? {
                Received::Status(action) => self.answered.push(action),
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
                            // Who has lost the lease gets it back no more.
                            if error.is_lease_lost() {
                                self.refusals.push_front(error.clone());
                            }
                            self.refused.push(error);
                        }
                    }
                }
                noise => {
                    return Err(io::Error::other(format!("unreadable to the daemon: {noise:?}")));
                }
            }
        }
        Ok(())
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

struct Handle(Rc<RefCell<Stage>>);

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stage = self.0.borrow_mut();
        if stage.to_child.is_empty() && !stage.has_vanished {
            stage.advance()?;
        }
        stage.to_child.read(buffer)
    }
}

impl Write for Handle {
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

impl Timer for Handle {
    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        let mut stage = self.0.borrow_mut();
        if stage.has_vanished {
            return Sleep::HungUp;
        }
        stage.pauses.push(pause);
        stage.now = stage.now.saturating_add(pause);
        Sleep::Elapsed
    }
}
