//! One shard's life, as the daemon leads it: initialize, batches, the end; checkpoints between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kcl_protocol::{
    Action, BatchEncoder, DaemonCheckpointer, DaemonMessage, DaemonSession, InitializeInput, Line,
    Received, Record, SequenceNumber,
};

use super::AtEnd;
use super::progress::ShardStats;
use super::queue::{Batch, Next, Queue};
use super::shards::{Place, covered, push_sequence_number, shard_id};
use super::state::Store;
use crate::child::faults::{self, BETWEEN, MOMENT, Silence, Skipped};
use crate::child::{Bell, Child, StdoutEnd, describe};
use crate::error::{Error, Exit};
use crate::output::Reporter;

/// As much as a pipe holds, if nobody has more rights than others.
const PIPE: u64 = 1 << 20;
/// How long a child has to end by itself when its run was cut off.
const CUT_OFF_GRACE: Duration = Duration::from_secs(2);
/// What the whole run is told to do. Whoever sets one of these rings every shard's bell.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stop: AtomicBool,
    cut_off: AtomicBool,
    kill: AtomicBool,
    bells: Vec<Bell>,
}

impl Control {
    pub(crate) fn new(bells: Vec<Bell>) -> Control {
        Control { bells, ..Control::default() }
    }

    /// Ends each shard properly, behind the message that it is at.
    pub(crate) fn stop(&self) {
        self.set(&self.stop);
    }

    /// Ends each shard as a daemon's exit does: its input closes, whatever it is at.
    pub(crate) fn cut_off(&self) {
        self.set(&self.cut_off);
    }

    /// Kills every child.
    pub(crate) fn kill(&self) {
        self.set(&self.kill);
        self.cut_off();
    }

    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(Bell::ring);
    }

    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }
}

/// How a shard's life ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ok,
    ShardEnded,
    /// Ended properly before the input's end.
    Stopped,
    /// Its input was closed because the run failed elsewhere.
    CutOff,
    Killed,
    /// What went wrong, in a few words and as the error to end with.
    Failed(String, Error),
}

/// What came of a shard.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) checkpoint: Place,
    /// The last lines on stderr of a child that ended by itself.
    pub(crate) last_words: Vec<String>,
    /// From its first message to its last answer.
    pub(crate) took: Duration,
}

/// All that a shard's life needs.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) shard: u32,
    pub(crate) program: String,
    pub(crate) child: Child,
    pub(crate) queue: Arc<Queue>,
    pub(crate) control: Arc<Control>,
    pub(crate) reporter: Reporter,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) checkpoints: DaemonCheckpointer,
    pub(crate) store: Store,
    pub(crate) at_end: AtEnd,
    /// How long a child may be silent before that is said.
    pub(crate) patience: Duration,
}

/// Why a life ends before its time.
#[derive(Debug)]
enum Cut {
    CutOff,
    Failed(String, Error),
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Status,
    Checkpoint,
    Noise,
}

impl Driver {
    /// Leads the shard's life to its end; no process of it is left behind.
    pub(crate) fn run(self) -> Report {
        let start = Instant::now();
        let mut life = Life {
            session: DaemonSession::new(),
            ahead: None,
            skipped: Skipped::default(),
            answering: false,
            spoke: false,
            last_words: vec![],
            driver: self,
        };
        let result = life.live();
        let took = start.elapsed();
        life.driver.queue.close();
        let mut outcome = result.unwrap_or_else(|cut| life.cut_short(cut));
        if let Some(text) = life.skipped.rest() {
            life.warn(&text);
        }
        if life.driver.child.finish().is_none() && !life.driver.child.has_exited() {
            let error = faults::cannot_be_killed(&life.who());
            outcome = Outcome::Failed("cannot be killed".into(), error);
        }
        let Driver { checkpoints, .. } = &life.driver;
        Report {
            outcome,
            checkpoint: checkpoints.last_checkpoint().clone(),
            last_words: life.last_words,
            took,
        }
    }
}

/// A driver at work.
#[derive(Debug)]
struct Life {
    driver: Driver,
    session: DaemonSession,
    /// The batch to be sent next.
    ahead: Option<Ready>,
    skipped: Skipped,
    /// A checkpoint's answer may still be on its way. As in the daemon, nothing more is read until
    /// it is written, so that a child that only asks and never reads cannot fill our memory.
    answering: bool,
    /// The child has said something that is a message.
    spoke: bool,
    last_words: Vec<String>,
}

impl Life {
    fn live(&mut self) -> Result<Outcome, Cut> {
        let id = shard_id(self.driver.shard);
        let start = self.driver.checkpoints.last_checkpoint().clone();
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(start.sequence_number.borrowed());
        input.sub_sequence_number = Some(start.sub_sequence_number);
        self.ask(&DaemonMessage::Initialize(input), "initialize")?;

        let stopped = loop {
            if Control::is(&self.driver.control.stop) {
                break true;
            }
            if let Some(ready) = self.ahead.take() {
                self.process(ready)?;
                continue;
            }
            match self.driver.queue.next() {
                Next::Batch(batch) => {
                    let ready = self.make_ready(batch)?;
                    self.process(ready)?;
                }
                Next::End => break false,
                // A shard that has not been read to its end has not ended.
                Next::Broken => break true,
                Next::Wait => {
                    self.check_idle()?;
                    self.driver.child.wait(None);
                }
            }
        };
        let outcome = if stopped {
            Outcome::Stopped
        } else if self.driver.at_end == AtEnd::ShardEnded {
            Outcome::ShardEnded
        } else {
            Outcome::Ok
        };
        if let Outcome::ShardEnded = outcome {
            self.end_shard()?;
        } else {
            self.ask(&DaemonMessage::ShutdownRequested, "shutdownRequested")?;
            self.ask(&DaemonMessage::LeaseLost, "leaseLost")?;
        }
        self.close()?;
        Ok(outcome)
    }

    fn process(&mut self, ready: Ready) -> Result<(), Cut> {
        let Ready { line, last, what, records, bytes } = ready;
        self.driver.checkpoints.mark_delivered(&last);
        self.session.mark_sent(Action::ProcessRecords).map_err(|error| bug(&error))?;
        self.converse(line, Action::ProcessRecords, &what)?;
        self.driver.stats.add_batch(records, bytes);
        Ok(())
    }

    /// While the child works: makes the next batch ready, if there is one that will not grow.
    fn look_ahead(&mut self) -> Result<(), Cut> {
        if self.ahead.is_none()
            && let Some(batch) = self.driver.queue.next_full()
        {
            self.ahead = Some(self.make_ready(batch)?);
        }
        Ok(())
    }

    fn make_ready(&mut self, batch: Batch) -> Result<Ready, Cut> {
        let ready = Ready::new(&batch, self.driver.child.spare())?;
        self.driver.queue.recycle(batch);
        Ok(ready)
    }

    fn end_shard(&mut self) -> Result<(), Cut> {
        self.driver.checkpoints.mark_shard_ended();
        self.ask(&DaemonMessage::ShardEnded, "shardEnded")?;
        if self.driver.checkpoints.is_shard_end_stored() {
            return Ok(());
        }
        Err(Cut::Failed(
            "no shard end".into(),
            self.error(
                Exit::Failed,
                "answered shardEnded without a checkpoint at the shard's end; with the real daemon \
                 the child shards would not start",
            )
            .hint("checkpoint without numbers in shardEnded, before its status"),
        ))
    }

    /// Closes the child's input and waits for its end.
    fn close(&mut self) -> Result<(), Cut> {
        self.session.close().map_err(|error| bug(&error))?;
        self.driver.child.close_input();
        if !self.wait_for(self.driver.patience, Child::has_exited) {
            if Control::is(&self.driver.control.cut_off) {
                return Err(Cut::CutOff);
            }
            self.driver.child.kill();
            let error = faults::did_not_exit(&self.who(), self.driver.patience);
            return Err(Cut::Failed("did not exit".into(), error));
        }
        self.wait_for_pipes();
        match self.driver.child.finish() {
            Some(status) if !status.success() => self.warn(&faults::bad_status(status)),
            _ => {}
        }
        Ok(())
    }

    /// Sends a message and deals with what the child says, until its status has come.
    fn ask(&mut self, message: &DaemonMessage<'_>, what: &str) -> Result<(), Cut> {
        let action = message.action().unwrap_or(Action::ProcessRecords);
        let mut out = Vec::new();
        self.session.send(message, &mut out).map_err(|error| bug(&error))?;
        self.converse(out, action, what)
    }

    /// Writes the line of a message, which the session knows to be sent, and hears its answer.
    fn converse(&mut self, line: Vec<u8>, action: Action, what: &str) -> Result<(), Cut> {
        self.driver.child.send(line);
        let start = Instant::now();
        let mut silence = Silence::since(start, self.driver.patience);
        // Who asks for checkpoints is not silent, but may do so for ever.
        let (mut unanswered, mut checkpoints) = (Silence::since(start, self.driver.patience), 0);
        let mut trouble_since = None;
        let mut has_status = false;
        loop {
            if Control::is(&self.driver.control.cut_off) {
                return Err(Cut::CutOff);
            }
            if let Some(silent) = silence.news() {
                self.warn(&faults::silent(action, &silent));
            }
            if let Some(time) = unanswered.news()
                && checkpoints > 0
            {
                self.warn(&faults::only_checkpoints(action, &time, checkpoints));
            }
            let unwritten = self.driver.child.unwritten();
            self.answering &= unwritten > 0;
            let stdin_failed = self.driver.child.write_error().is_some();
            if has_status {
                // The daemon takes a status as good only when all it wrote has been read.
                if unwritten == 0 && !stdin_failed {
                    return Ok(());
                }
            } else if !self.answering
                && let Some(mut line) = self.driver.child.next_line()
            {
                let heard = self.hear(&mut line, action, what)?;
                self.driver.child.recycle(line);
                match heard {
                    Heard::Status => has_status = true,
                    Heard::Checkpoint => {
                        silence.end();
                        checkpoints += 1;
                    }
                    Heard::Noise => {}
                }
                continue;
            } else if let Some(end) = self.driver.child.stdout_end() {
                return Err(self.stdout_ended(end, what));
            }
            let has_exited = self.driver.child.has_exited();
            let mut until = silence.next;
            if has_exited || stdin_failed {
                let since = *trouble_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= MOMENT {
                    return Err(self.gone(what, stdin_failed));
                }
                until = until.min(since + MOMENT);
            }
            // First the child gets all that it waits for.
            if action == Action::ProcessRecords && unwritten == 0 {
                self.look_ahead()?;
            }
            self.driver.child.wait(Some(until));
        }
    }

    fn hear(&mut self, line: &mut Line, during: Action, what: &str) -> Result<Heard, Cut> {
        let bytes = line.bytes_mut();
        let heard = faults::Heard::new(bytes);
        let request = match self.session.receive(bytes) {
            Ok(Received::Status(_)) => {
                self.spoke = true;
                return Ok(Heard::Status);
            }
            Ok(Received::Checkpoint(request)) => request,
            Ok(noise) => {
                if let Some(text) = self.skipped.line(&heard, &noise) {
                    self.warn(&text);
                }
                return Ok(Heard::Noise);
            }
            Err(error) => {
                let error = faults::broke_the_protocol(&self.who(), what, &error);
                return Err(Cut::Failed("broke the protocol".into(), error));
            }
        };
        self.spoke = true;
        let mut verdict = self.driver.checkpoints.check(&request, during);
        if let Ok(Some(place)) = &mut verdict {
            self.driver
                .store
                .put(place)
                .map_err(|error| Cut::Failed("no checkpoint stored".into(), error))?;
            self.driver.stats.set_checkpoint(covered(place));
            self.driver.checkpoints.mark_stored(place.clone());
        }
        let mut out = Vec::new();
        self.session
            .answer_checkpoint(verdict.as_ref().map(drop), &mut out)
            .map_err(|error| bug(&error))?;
        self.answering = true;
        self.driver.child.send(out);
        Ok(Heard::Checkpoint)
    }

    /// Looks after the child while there is nothing to say to it.
    fn check_idle(&mut self) -> Result<(), Cut> {
        if Control::is(&self.driver.control.cut_off) {
            return Err(Cut::CutOff);
        }
        if let Some(end) = self.driver.child.stdout_end() {
            return Err(self.stdout_ended(end, BETWEEN));
        }
        if self.driver.child.has_exited() {
            return Err(self.gone(BETWEEN, false));
        }
        Ok(())
    }

    fn stdout_ended(&mut self, end: StdoutEnd, what: &str) -> Cut {
        match end {
            StdoutEnd::Closed => self.gone(what, false),
            StdoutEnd::TooLong => {
                Cut::Failed("endless line".into(), faults::endless_line(&self.who(), what))
            }
            StdoutEnd::Failed(error) => {
                Cut::Failed("unreadable".into(), faults::unreadable_stdout(&self.who(), &error))
            }
        }
    }

    /// The child has ended, or has closed a pipe.
    fn gone(&mut self, what: &str, stdin_failed: bool) -> Cut {
        let exited = self.wait_for(MOMENT, Child::has_exited);
        if exited {
            self.wait_for_pipes();
        }
        self.last_words = self.driver.child.last_words();
        let how = match (exited, stdin_failed) {
            (true, _) => {
                let status = self.driver.child.finish();
                format!("ended with {}", status.map_or("no status".into(), describe))
            }
            (false, true) => "closed its stdin".into(),
            (false, false) => "closed its stdout".into(),
        };
        let stranger = (!self.spoke).then_some(self.driver.program.as_str());
        let error = faults::gone(&self.who(), &how, what, stranger);
        Cut::Failed(how, error)
    }

    /// The end of a life that did not end well: what is left of the child goes.
    fn cut_short(&mut self, cut: Cut) -> Outcome {
        self.driver.child.close_input();
        if !self.wait_for(CUT_OFF_GRACE, Child::has_exited) {
            self.driver.child.kill();
        }
        // What it still had to say is shown before the summary.
        self.wait_for(MOMENT, |child| child.has_exited() && child.is_silent());
        match cut {
            _ if Control::is(&self.driver.control.kill) => Outcome::Killed,
            Cut::CutOff => Outcome::CutOff,
            Cut::Failed(short, error) => Outcome::Failed(short, error),
        }
    }

    /// Waits for processes that the child started and left behind with its pipes.
    fn wait_for_pipes(&mut self) {
        let at_end = self.driver.child.stderr_bytes();
        while !self.wait_for(MOMENT, Child::is_silent) {
            // What the child has left in its pipe waits for whoever reads our stderr.
            let child = &self.driver.child;
            if child.is_showing() && child.stderr_bytes() - at_end <= PIPE {
                continue;
            }
            self.warn(
                "the child has ended, but a process that it started still holds its stdout or stderr, for \
                 which the real daemon would wait; killing its process group",
            );
            self.driver.child.kill();
            self.wait_for(MOMENT, Child::is_silent);
            break;
        }
    }

    /// Whether it comes true before the time is over. A cut-off run waits no longer than its grace.
    fn wait_for(&mut self, time: Duration, is_true: impl Fn(&Child) -> bool) -> bool {
        let mut until = Instant::now() + time;
        loop {
            if is_true(&self.driver.child) {
                return true;
            }
            if Control::is(&self.driver.control.kill) {
                self.driver.child.kill();
                until = until.min(Instant::now() + MOMENT);
            } else if Control::is(&self.driver.control.cut_off) {
                until = until.min(Instant::now() + CUT_OFF_GRACE);
            }
            if Instant::now() >= until {
                return false;
            }
            self.driver.child.wait(Some(until));
        }
    }

    fn warn(&self, text: &str) {
        self.driver.reporter.result(&format!("{}: {text}", self.who()));
    }

    fn error(&self, exit: Exit, text: &str) -> Error {
        faults::error(&self.who(), exit, text)
    }

    fn who(&self) -> String {
        format!("shard {}", self.driver.shard)
    }
}

/// A batch as its line.
#[derive(Debug)]
struct Ready {
    line: Vec<u8>,
    /// Of the last record.
    last: Place,
    /// Its name for people.
    what: String,
    records: usize,
    bytes: usize,
}

impl Ready {
    /// Writes the batch into this line's memory.
    fn new(batch: &Batch, mut line: Vec<u8>) -> Result<Ready, Cut> {
        line.clear();
        line.reserve(batch.bytes / 3 * 4 + batch.keys + FRAME * (batch.records + 1));
        let mut encoder = BatchEncoder::new(&mut line);
        let mut number = String::with_capacity(56);
        let mut lines = (u64::MAX, 0);
        let mut last_read = UNIX_EPOCH;
        for (read, records) in batch.parts() {
            let arrival = since_1970(read);
            for waiting in records {
                number.clear();
                push_sequence_number(waiting.line, &mut number);
                let number = SequenceNumber::new(&number).map_err(|error| bug(&error))?;
                let key = std::str::from_utf8(waiting.key).map_err(|error| bug(&error))?;
                let mut record = Record::new(key, number, waiting.data);
                record.sub_sequence_number = Some(0);
                record.approximate_arrival = Some(arrival);
                encoder.push(&record);
                lines = (lines.0.min(waiting.line), waiting.line);
            }
            last_read = read;
        }
        // Of the last record: how long it has waited since it was read.
        let waited = last_read.elapsed().unwrap_or_default();
        encoder.finish(Some(waited.as_millis() as u64));
        let number = SequenceNumber::new(&number).map_err(|error| bug(&error))?;
        let last = Place::new(number.to_owned(), 0);
        let what = match lines {
            (first, last) if first == last => format!("processRecords of line {first}"),
            (first, last) => format!("processRecords of lines {first} to {last}"),
        };
        Ok(Ready { line, last, what, records: batch.records, bytes: batch.bytes })
    }
}

/// What a record has around its payload and its key.
const FRAME: usize = 240;

/// In whole milliseconds, as the wire has it.
fn since_1970(time: SystemTime) -> Duration {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(time.as_millis() as u64)
}

fn bug(error: &dyn std::fmt::Display) -> Cut {
    let error = Error::new(Exit::Bug, format!("kcl-helper is at fault: {error}"));
    Cut::Failed("our bug".into(), error)
}
