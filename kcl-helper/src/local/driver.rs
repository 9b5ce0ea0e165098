//! One shard's life, as the daemon leads it: initialize, batches, the end; checkpoints between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kcl_protocol::{
    Action, DaemonCheckpointer, DaemonMessage, DaemonSession, ExtendedSequenceNumber,
    InitializeInput, Line, ProcessRecordsInput, Received, Record, SequenceNumber,
};

use super::AtEnd;
use super::console::{Console, with_commas};
use super::progress::ShardStats;
use super::queue::{Batch, Next, Queue};
use super::shards::{Place, covered, push_sequence_number, shard_id};
use super::state::Store;
use crate::child::{Bell, Child, STDOUT_LINE_LIMIT, StdoutEnd, describe, harmless};
use crate::error::{Error, Exit};

/// How long to wait for what follows at once where nothing is wrong: the exit status of a child
/// whose pipes have closed, or the end of pipes whose child has exited.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a slow reader of our stderr may hold up a child's end.
const LONG_SHOW: Duration = Duration::from_secs(10);
/// How long a child has to end by itself when its run was cut off.
const CUT_OFF_GRACE: Duration = Duration::from_secs(2);
/// How many lines of stdout that are no messages are shown, and how much of each.
const SHOWN_LINES: u64 = 10;
const SHOWN_BYTES: usize = 200;

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
    pub(crate) bell: Bell,
    pub(crate) queue: Arc<Queue>,
    pub(crate) control: Arc<Control>,
    pub(crate) console: Console,
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
            skipped: 0,
            answering: false,
            spoke: false,
            last_words: vec![],
            driver: self,
        };
        let result = life.live();
        let took = start.elapsed();
        life.driver.queue.close();
        let outcome = result.unwrap_or_else(|cut| life.cut_short(cut));
        if life.skipped > SHOWN_LINES {
            let more = with_commas(life.skipped - SHOWN_LINES);
            life.warn(&format!("skipped {more} more lines on stdout that are no messages"));
        }
        let Driver { child, checkpoints, .. } = &mut life.driver;
        child.finish();
        Report {
            outcome,
            checkpoint: checkpoints.last().clone(),
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
    /// How many lines of stdout were no messages.
    skipped: u64,
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
        let start = self.driver.checkpoints.last().clone();
        let mut input = InitializeInput::new(&id);
        input.sequence_number = Some(start.sequence_number.borrowed());
        input.sub_sequence_number = Some(start.sub_sequence_number);
        self.ask(&DaemonMessage::Initialize(input), "initialize")?;

        let stopped = loop {
            if Control::is(&self.driver.control.stop) {
                break true;
            }
            match self.driver.queue.next() {
                Next::Batch(batch) => self.process(&batch)?,
                Next::End => break false,
                Next::Wait => {
                    self.check_idle()?;
                    self.driver.bell.wait(None);
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

    fn process(&mut self, batch: &Batch) -> Result<(), Cut> {
        let mut numbers = String::with_capacity(56 * batch.records);
        let mut lines = (u64::MAX, 0);
        let mut oldest_wait = Duration::ZERO;
        for (arrival, record) in batch.iter() {
            push_sequence_number(record.line, &mut numbers);
            lines = (lines.0.min(record.line), record.line);
            // Of the last record: how long it has waited since it was read.
            oldest_wait = arrival.elapsed().unwrap_or_default();
        }
        let mut rest = numbers.as_str();
        let mut records = Vec::with_capacity(batch.records);
        for (arrival, waiting) in batch.iter() {
            let (number, later) = rest.split_at(56);
            rest = later;
            let number = SequenceNumber::new(number).map_err(|error| bug(&error))?;
            let key = match waiting.key {
                Some(key) => key,
                None => std::str::from_utf8(waiting.data).map_err(|error| bug(&error))?,
            };
            let mut record = Record::new(key, number, waiting.data);
            record.sub_sequence_number = Some(0);
            record.approximate_arrival = Some(since_1970(arrival));
            records.push(record);
        }
        if let Some(last) = records.last() {
            self.driver.checkpoints.deliver(&last.place());
        }
        let mut input = ProcessRecordsInput::new(records);
        input.millis_behind_latest = Some(oldest_wait.as_millis() as u64);
        let what = match lines {
            (first, last) if first == last => format!("processRecords of line {first}"),
            (first, last) => format!("processRecords of lines {first} to {last}"),
        };
        self.ask(&DaemonMessage::ProcessRecords(input), &what)?;
        self.driver.stats.add_batch(batch.records, batch.bytes);
        Ok(())
    }

    fn end_shard(&mut self) -> Result<(), Cut> {
        self.driver.checkpoints.end_shard();
        self.ask(&DaemonMessage::ShardEnded, "shardEnded")?;
        if self.driver.checkpoints.is_shard_end_stored() {
            return Ok(());
        }
        Err(Cut::Failed(
            "no shard end".into(),
            self.error(
                Exit::Wanting,
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
            let after = in_seconds(self.driver.patience);
            let text = format!(
                "still ran {after} after its stdin was closed, and was killed; the real daemon would \
                 wait for ever"
            );
            return Err(Cut::Failed(
                "did not exit".into(),
                self.error(Exit::Wanting, &text).hint("the end of stdin must end the program"),
            ));
        }
        self.wait_for_pipes();
        match self.driver.child.finish() {
            Some(status) if !status.success() => self.warn(&format!(
                "the child ended with {} after a proper end, which the real daemon would only log",
                describe(status)
            )),
            _ => {}
        }
        Ok(())
    }

    /// Sends a message and deals with what the child says, until its status has come.
    fn ask(&mut self, message: &DaemonMessage<'_>, what: &str) -> Result<(), Cut> {
        let action = message.action().unwrap_or(Action::ProcessRecords);
        let mut out = Vec::new();
        self.session.send(message, &mut out).map_err(|error| bug(&error))?;
        self.driver.child.send(out);
        let mut silence = Silence::new(self.driver.patience);
        let mut trouble_since = None;
        let mut has_status = false;
        loop {
            if Control::is(&self.driver.control.cut_off) {
                return Err(Cut::CutOff);
            }
            if let Some(silent) = silence.news() {
                self.warn(&format!(
                    "no answer to {action} for {silent}; the real daemon would wait for ever \
                     (timeoutInSeconds is unset)"
                ));
            }
            let unwritten = self.driver.child.unwritten();
            self.answering &= unwritten > 0;
            let write_error = self.driver.child.write_error();
            if has_status {
                // The daemon takes a status as good only when all it wrote has been read.
                if unwritten == 0 && write_error.is_none() {
                    return Ok(());
                }
            } else if !self.answering
                && let Some(line) = self.driver.child.next_line()
            {
                match self.hear(line, action, what)? {
                    Heard::Status => has_status = true,
                    Heard::Checkpoint => silence.end(),
                    Heard::Noise => {}
                }
                continue;
            } else if let Some(end) = self.driver.child.stdout_end() {
                return Err(self.stdout_ended(end, what));
            }
            let has_exited = self.driver.child.has_exited();
            let mut until = silence.next;
            if has_exited || write_error.is_some() {
                let since = *trouble_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= MOMENT {
                    return Err(self.gone(what, write_error.is_some()));
                }
                until = until.min(since + MOMENT);
            }
            self.driver.bell.wait(Some(until));
        }
    }

    fn hear(&mut self, mut line: Line, during: Action, what: &str) -> Result<Heard, Cut> {
        let bytes = line.bytes_mut();
        let shown = bytes[..bytes.len().min(SHOWN_BYTES)].to_vec();
        let length = bytes.len();
        let request = match self.session.receive(bytes) {
            Ok(Received::Status(_)) => {
                self.spoke = true;
                return Ok(Heard::Status);
            }
            Ok(Received::Checkpoint(request)) => request,
            Ok(Received::Skipped(error)) => {
                let is_object = shown.trim_ascii_start().starts_with(b"{");
                let reason = if is_object { error.to_string() } else { NO_OBJECT.into() };
                self.skip(&shown, length, &reason);
                return Ok(Heard::Noise);
            }
            Ok(Received::Ignored { action }) => {
                let reason = format!("{action} is for the daemon to say; does it echo its stdin?");
                self.skip(&shown, length, &reason);
                return Ok(Heard::Noise);
            }
            Ok(_) => return Ok(Heard::Noise),
            Err(error) => {
                let text = format!(
                    "broke the protocol at {what}: {}; the real daemon would stop all shards of \
                     its worker and exit 1",
                    harmless(&error.to_string())
                );
                let hint =
                    "each message is answered once, by a status whose responseFor is its action";
                let error = self.error(Exit::Protocol, &text).hint(hint);
                return Err(Cut::Failed("broke the protocol".into(), error));
            }
        };
        self.spoke = true;
        let mut verdict = self.driver.checkpoints.judge(&request, during);
        if let Ok(Some(place)) = &mut verdict {
            self.driver
                .store
                .put(place)
                .map_err(|error| Cut::Failed("no checkpoint stored".into(), error))?;
            self.driver.stats.set_checkpoint(covered(place));
            self.driver.checkpoints.stored(place.clone());
        }
        let mut out = Vec::new();
        self.session
            .answer_checkpoint(verdict.as_ref().map(drop), &mut out)
            .map_err(|error| bug(&error))?;
        self.answering = true;
        self.driver.child.send(out);
        Ok(Heard::Checkpoint)
    }

    fn skip(&mut self, shown: &[u8], length: usize, reason: &str) {
        self.skipped += 1;
        if self.skipped <= SHOWN_LINES {
            let more = if length > shown.len() { "…" } else { "" };
            self.warn(&format!(
                "skipped a line on stdout that is no message: {}{more} ({})",
                harmless(&String::from_utf8_lossy(shown)),
                harmless(reason)
            ));
        }
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
                let text = format!(
                    "wrote more than {} MiB to stdout without ending the line, at {what}; the real \
                     daemon has no limit and would fill its memory",
                    STDOUT_LINE_LIMIT >> 20
                );
                Cut::Failed("endless line".into(), self.error(Exit::Protocol, &text))
            }
            StdoutEnd::Failed(error) => {
                let text = format!("its stdout cannot be read: {error}");
                Cut::Failed("unreadable".into(), self.error(Exit::Surroundings, &text))
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
        let at = if what == BETWEEN { what.to_owned() } else { format!("at {what}") };
        let text =
            format!("{how} {at}; the real daemon would stop all shards of its worker and exit 1");
        let mut error = self.error(Exit::Wanting, &text);
        if !self.spoke {
            error = error.hint(format!(
                "is `{}` a record processor? It must read messages on stdin and answer each on \
                 stdout, until stdin ends",
                self.driver.program
            ));
        }
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
        let start = Instant::now();
        while !self.wait_for(MOMENT, Child::is_silent) {
            // What is still being shown is not held by anybody, unless it has no end.
            if self.driver.child.is_showing() && start.elapsed() < LONG_SHOW {
                continue;
            }
            self.warn(
                "the child has ended, but a process that it started still holds its stdout or stderr, for \
                 which the real daemon would wait; its process group is killed",
            );
            self.driver.child.kill();
            self.wait_for(MOMENT, Child::is_silent);
            break;
        }
    }

    /// Whether it comes true before the time is over. A cut-off run waits no longer than its grace.
    fn wait_for(&self, time: Duration, is_true: impl Fn(&Child) -> bool) -> bool {
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
            self.driver.bell.wait(Some(until));
        }
    }

    fn warn(&self, text: &str) {
        self.driver.console.warn(&format!("shard {}: {text}", self.driver.shard));
    }

    fn error(&self, exit: Exit, text: &str) -> Error {
        Error::new(exit, format!("shard {}: the child {text}", self.driver.shard))
    }
}

const NO_OBJECT: &str = "not a JSON object; words for people belong on stderr";
const BETWEEN: &str = "between messages";

/// Says when a child has been silent for the patience, twice that, four times, …
struct Silence {
    since: Instant,
    patience: Duration,
    said: Duration,
    next: Instant,
}

impl Silence {
    fn new(patience: Duration) -> Silence {
        let since = Instant::now();
        Silence { since, patience, said: patience, next: since + patience }
    }

    /// The time to be said now.
    fn news(&mut self) -> Option<String> {
        if Instant::now() < self.next {
            return None;
        }
        let silent = in_seconds(self.said);
        self.said *= 2;
        self.next = self.since + self.said;
        Some(silent)
    }

    /// The child has said something.
    fn end(&mut self) {
        *self = Silence::new(self.patience);
    }
}

fn in_seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// In whole milliseconds, as the wire has it.
fn since_1970(time: SystemTime) -> Duration {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(time.as_millis() as u64)
}

fn bug(error: &dyn std::fmt::Display) -> Cut {
    let error = Error::new(Exit::Bug, format!("kcl-helper is at fault: {error}"));
    Cut::Failed("our bug".into(), error)
}

/// Where a shard without a checkpoint starts.
pub(crate) fn trim_horizon() -> Place {
    ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0)
}
