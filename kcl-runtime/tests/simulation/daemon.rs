//! The daemon of one process: it reacts to the child and to the lease, over pipes that split lines
//! anywhere, and break.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use kcl_protocol::{
    Action, DaemonCheckpointer, DaemonMessage, DaemonSession, InitializeInput, LineBuffer,
    ProcessRecordsInput, Received, ShutdownReason, State,
};
use kcl_runtime::{CheckpointError, ExtendedSequenceNumber, Record, SequenceNumber, Sleep, Timer};

use crate::life::{Life, Row, Seat};
use crate::oracle::{Broken, Heard, Oracle, Place, Rules};
use crate::sights::Sight;

/// The daemon closes stdin after this many turns, more than a life needs.
const MOST_STEPS: u32 = 60;

/// One process and the daemon's ends of its pipes.
pub(crate) struct Process {
    pub(crate) oracle: Oracle,
    /// Nothing goes wrong in this process.
    pub(crate) is_calm: bool,
    session: DaemonSession,
    checkpointer: DaemonCheckpointer,
    from_child: LineBuffer,
    to_child: VecDeque<u8>,
    connection: Connection,
    /// The input ends inside a line.
    is_cut_inside_line: bool,
    /// How many of the next checkpoints are refused, and with which error.
    refusals: (u32, Option<CheckpointError>),
    pub(crate) now: Duration,
    steps: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Connection {
    Open,
    /// The child's stdin is closed; its stdout is read and ignored.
    Draining,
    /// The daemon is dead.
    Gone,
}

impl Row {
    fn as_record(&self) -> Record<'_> {
        let mut record = Record::new(self.key, number(self), &self.data);
        record.sub_sequence_number = Some(self.sub);
        record.approximate_arrival = Some(Duration::from_millis(self.arrival));
        record
    }
}

fn place(row: &Row) -> ExtendedSequenceNumber<'_> {
    ExtendedSequenceNumber::new(number(row), row.sub)
}

fn number(row: &Row) -> SequenceNumber<'_> {
    SequenceNumber::new(&row.number).unwrap_or(SequenceNumber::LATEST)
}

/// Returns the checkpoint in the lease table.
fn start(life: &Life) -> ExtendedSequenceNumber<'_> {
    match life.covered().checked_sub(1) {
        Some(last) => place(&life.rows[last]),
        None => ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0),
    }
}

impl Process {
    pub(crate) fn new(life: &Life, rules: Rules, is_calm: bool) -> Process {
        Process {
            oracle: Oracle::new(rules, life.covered(), life.rows.len()),
            is_calm,
            session: DaemonSession::new(),
            checkpointer: DaemonCheckpointer::new(start(life).to_owned()),
            from_child: LineBuffer::new(),
            to_child: VecDeque::new(),
            connection: Connection::Open,
            is_cut_inside_line: false,
            refusals: (0, None),
            now: Duration::ZERO,
            steps: 0,
        }
    }
}

impl Life {
    fn is_owner(&self, me: usize) -> bool {
        self.lease.owner == Some(me)
    }

    /// Decides whether another worker takes the lease now; never that of a shard that has ended.
    fn is_coveted(&mut self, me: usize, one_in: u32) -> bool {
        self.is_owner(me) && self.lease.checkpoint != Place::End && self.trouble(me, one_in)
    }

    /// Another worker takes the lease, and starts now or later.
    fn steal(&mut self, me: usize, sight: Sight) {
        self.lease.owner = None;
        self.see(sight);
        if self.processes.len() < 5 && self.chance(2) {
            self.is_next_waiting = true;
            self.see(Sight::TwoOwners);
        }
        self.tell(me, || "the lease is stolen".to_owned());
    }

    fn close(&mut self, me: usize) {
        let process = &mut self.processes[me];
        process.connection = Connection::Draining;
        if let Err(error) = process.session.close() {
            process.oracle.fault.get_or_insert(format!("the daemon must not close: {error}"));
        }
    }

    /// Sends a line, or a part of it, to the child. Returns whether it is complete.
    fn send(&mut self, me: usize, mut line: Vec<u8>) -> bool {
        if self.has_windows_lines {
            line.insert(line.len() - 1, b'\r');
        }
        self.tell(me, || format!("< {}", line.escape_ascii()));
        if self.trouble(me, 60) {
            let length = self.dice.usize(..line.len());
            line.truncate(length);
            self.processes[me].is_cut_inside_line = length > 0;
            if length > 0 {
                self.see(Sight::CutToChild);
            }
            let is_gone = self.dice.bool();
            self.processes[me].connection =
                if is_gone { Connection::Gone } else { Connection::Draining };
            self.tell(me, || format!("cut after {length} bytes"));
            self.processes[me].to_child.extend(line);
            return false;
        }
        self.processes[me].to_child.extend(line);
        true
    }

    /// Sends a message.
    fn say(&mut self, me: usize, message: Message) {
        let mut line = Vec::new();
        let life = &mut *self;
        let (rows, process) = (&life.rows, &mut life.processes[me]);
        let (action, until) = (message.name(), message.until(&process.oracle));
        if action == "processRecords" && until > process.oracle.delivered {
            process.checkpointer.mark_delivered(&place(&rows[until - 1]));
        }
        if message == Message::Ended || message == Message::OldEnded {
            process.checkpointer.mark_shard_ended();
            process.oracle.has_shard_ended = true;
        }
        let start = match life.lease.checkpoint {
            Place::Before(covered) if covered > 0 => place(&rows[covered - 1]),
            _ => ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0),
        };
        let records = &rows[process.oracle.delivered..until];
        let sent =
            with_message(message, records, &start, |wire| process.session.send(wire, &mut line));
        if let Err(error) = sent {
            process.oracle.fault.get_or_insert(format!("the daemon must not send that: {error}"));
            return;
        }
        if !self.send(me, line) {
            return;
        }
        let process = &mut self.processes[me];
        process.oracle.message(action, until, process.now);
        if message == Message::LeaseLost || message == Message::OldLeaseLost {
            process.oracle.lease_lost();
        }
        // The daemon dies, or closes stdin, during the message.
        if self.trouble(me, 40) {
            let is_gone = self.dice.bool();
            self.see(if is_gone { Sight::Vanished } else { Sight::InputClosed });
            self.tell(me, || format!("the daemon has gone: {is_gone}"));
            self.processes[me].connection =
                if is_gone { Connection::Gone } else { Connection::Draining };
        }
    }

    /// It is the daemon's turn: it sends a message or closes stdin.
    fn advance(&mut self, me: usize) {
        loop {
            self.processes[me].steps += 1;
            let is_late = self.processes[me].steps > MOST_STEPS;
            let state = self.processes[me].session.state();
            match state {
                State::Start if self.trouble(me, 30) => {
                    self.see(Sight::EndBeforeInitialize);
                    return self.close(me);
                }
                State::Start => return self.say(me, Message::Initialize),
                State::Idle if self.trouble(me, 25) || is_late => {
                    self.see(Sight::EndBetweenMessages);
                    return self.close(me);
                }
                State::Idle => {}
                State::Ended => return self.close(me),
                _ => {
                    let oracle = &mut self.processes[me].oracle;
                    oracle.fault.get_or_insert("the child reads when it should write".to_owned());
                    return;
                }
            }
            if let Some(message) = self.choose_message(me) {
                return self.say(me, message);
            }
        }
    }

    /// Chooses the next message; `None` if something else happened.
    fn choose_message(&mut self, me: usize) -> Option<Message> {
        let has_lease = self.is_owner(me);
        if self.is_coveted(me, 20) {
            self.steal(me, Sight::StolenBetweenMessages);
        }
        let delivered = self.processes[me].oracle.delivered;
        let left = self.rows.len() - delivered;
        let is_told = self.processes[me].oracle.is_lease_gone();
        // A daemon that knows of the loss reports it soon; another one continues for a while.
        if !has_lease && self.chance(if is_told { 2 } else { 3 }) {
            self.see(Sight::LeaseLost);
            let old = self.has_old_words;
            return Some(if old { Message::OldLeaseLost } else { Message::LeaseLost });
        }
        match self.dice.u8(..8) {
            0 => {
                let time = Duration::from_secs(self.dice.u64(..200));
                self.processes[me].now += time;
                None
            }
            1 if !self.processes[me].is_calm => {
                self.see(Sight::ShutdownRequested);
                Some(Message::ShutdownRequested)
            }
            2 => {
                self.see(Sight::EmptyBatch);
                Some(Message::Records(0))
            }
            _ if left > 0 => {
                if is_told {
                    self.see(Sight::BatchAfterLease);
                }
                Some(Message::Records(self.dice.usize(1..=left.min(6))))
            }
            3..=5 => {
                self.see(Sight::ShardEnded);
                Some(if self.has_old_words { Message::OldEnded } else { Message::Ended })
            }
            _ => None,
        }
    }

    /// Decides about a requested checkpoint.
    fn judge(
        &mut self,
        me: usize,
        number: Option<&str>,
        sub: Option<u64>,
    ) -> Result<Option<Place>, CheckpointError> {
        if self.is_coveted(me, 40) {
            self.steal(me, Sight::StolenAtCheckpoint);
        }
        if self.processes[me].refusals.0 == 0 && self.trouble(me, 8) {
            let (error, most) = match self.dice.u8(..8) {
                0..4 => (CheckpointError::Throttling, 20),
                4 | 5 => (CheckpointError::Dependency, 8),
                6 => (CheckpointError::InvalidState, 2),
                _ => (CheckpointError::Other("KaputtException".to_owned()), 2),
            };
            self.processes[me].refusals = (self.dice.u32(1..=most), Some(error));
        }
        let (left, error) = &mut self.processes[me].refusals;
        if let (Some(less), Some(error)) = (left.checked_sub(1), error) {
            *left = less;
            return Err(error.clone());
        }
        if !self.is_owner(me) {
            return Err(CheckpointError::Shutdown);
        }
        self.processes[me].oracle.would_store(number, sub, &self.rows)
    }

    /// Handles a complete line of the child.
    fn listen(&mut self, me: usize, heard: Heard) {
        let process = &mut self.processes[me];
        let during = match process.session.state() {
            State::Busy(action) => action,
            _ => Action::Initialize,
        };
        let line = process.from_child.next_line();
        let Ok(Some(mut line)) = line else {
            process.oracle.fault.get_or_insert(format!("the daemon did not read {heard:?}"));
            return;
        };
        let received = process.session.receive(line.bytes_mut());
        let request = match (&heard, received) {
            (Heard::Status(name), Ok(Received::Status(action))) if action.name() == *name => return,
            (Heard::Request { number, sub }, Ok(Received::Checkpoint(request)))
                if request.sequence_number == number.as_deref()
                    && request.sub_sequence_number == *sub =>
            {
                request
            }
            (heard, received) => {
                let fault = format!("the daemon read {received:?}, not {heard:?}");
                process.oracle.fault.get_or_insert(fault);
                return;
            }
        };
        let ours = process.checkpointer.check(&request, during);
        let (number, sub) = (request.sequence_number, request.sub_sequence_number);
        let result = self.judge(me, number, sub);
        self.note_answer(me, number, &result);
        let process = &mut self.processes[me];
        match &result {
            Ok(place_to_store) => {
                // The daemon's rules must agree with the oracle's.
                let expected = place_to_store.map(|to_store| match to_store {
                    Place::Before(covered) => place(&self.rows[covered - 1]).to_owned(),
                    Place::End => ExtendedSequenceNumber::new(SequenceNumber::SHARD_END, 0),
                });
                if ours.as_ref() != Ok(&expected) {
                    let fault = format!("DaemonCheckpointer says {ours:?}, not {expected:?}");
                    process.oracle.fault.get_or_insert(fault);
                }
                if let (Some(place), Some(expected)) = (place_to_store, expected) {
                    self.lease.checkpoint = *place;
                    process.checkpointer.mark_stored(expected);
                }
            }
            Err(CheckpointError::IllegalArgument) => {
                if ours != Err(CheckpointError::IllegalArgument) {
                    let fault = format!("DaemonCheckpointer says {ours:?}, which is illegal");
                    process.oracle.fault.get_or_insert(fault);
                }
            }
            Err(_) => {}
        }
        let mut out = Vec::new();
        let sent = process.session.answer_checkpoint(result.as_ref().map(|_| ()), &mut out);
        if let Err(error) = sent {
            process.oracle.fault.get_or_insert(format!("the daemon must not answer: {error}"));
            return;
        }
        let arrives = self.send(me, out);
        if !arrives && matches!(result, Ok(Some(_))) {
            self.see(Sight::AnswerLost);
        }
        let process = &mut self.processes[me];
        process.oracle.answered(&result, arrives, process.now);
    }

    fn note_answer(
        &mut self,
        me: usize,
        number: Option<&str>,
        result: &Result<Option<Place>, CheckpointError>,
    ) {
        self.tell(me, || format!("a checkpoint at {number:?}: {result:?}"));
        let is_below = number.is_some_and(|number| {
            self.rows.iter().take(self.covered()).any(|row| row.number == number)
        });
        let sight = match result {
            Ok(None) => Sight::StoredAlready,
            Ok(Some(Place::End)) => Sight::StoredShardEnd,
            Ok(Some(Place::Before(covered))) => {
                let next = self.rows.get(*covered).filter(|next| next.sub > 0);
                if next.is_some() && number.is_some() {
                    self.see(Sight::StoredInsideAggregate);
                }
                if *covered < self.processes[me].oracle.delivered {
                    self.see(Sight::StoredInsideBatch);
                }
                Sight::Stored
            }
            Err(CheckpointError::Throttling) => Sight::Throttling,
            Err(CheckpointError::Dependency) => Sight::Dependency,
            Err(CheckpointError::InvalidState) => Sight::InvalidState,
            Err(CheckpointError::IllegalArgument) if is_below => Sight::IllegalBelow,
            Err(CheckpointError::IllegalArgument) => Sight::IllegalAhead,
            Err(CheckpointError::Shutdown) => Sight::Shutdown,
            Err(_) => Sight::UnknownException,
        };
        self.see(sight);
    }

    fn read(&mut self, me: usize, buffer: &mut [u8]) -> io::Result<usize> {
        if self.trouble(me, 50) {
            self.see(Sight::Interrupted);
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.trouble(me, 500) {
            self.see(Sight::ReadFailed);
            self.processes[me].connection = Connection::Gone;
            self.processes[me].oracle.broke(Broken::Io);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.has_fault() {
            self.processes[me].connection = Connection::Gone;
            return Ok(0);
        }
        let process = &self.processes[me];
        if process.to_child.is_empty() && process.connection == Connection::Open {
            self.advance(me);
        }
        let process = &mut self.processes[me];
        if process.to_child.is_empty() {
            if process.is_cut_inside_line || process.oracle.owed.is_some() {
                process.oracle.broke(Broken::HungUp);
            }
            return Ok(0);
        }
        let most = process.to_child.len().min(buffer.len());
        let count = if self.dice.u8(..4) == 0 { self.dice.usize(1..=most) } else { most };
        if count < most {
            self.see(Sight::SplitToChild);
        }
        self.processes[me].to_child.read(&mut buffer[..count])
    }

    fn write(&mut self, me: usize, bytes: &[u8]) -> io::Result<usize> {
        if self.trouble(me, 50) {
            self.see(Sight::Interrupted);
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.has_fault() || self.processes[me].connection == Connection::Gone {
            self.processes[me].oracle.broke(Broken::HungUp);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.trouble(me, 300) {
            self.see(Sight::WriteFailed);
            self.processes[me].connection = Connection::Gone;
            let is_full = self.dice.bool();
            let how = if is_full { Broken::HungUp } else { Broken::Io };
            self.processes[me].oracle.broke(how);
            return if is_full { Ok(0) } else { Err(io::ErrorKind::StorageFull.into()) };
        }
        let mut count = bytes.len();
        if self.dice.u8(..8) == 0 {
            count = self.dice.usize(1..=bytes.len());
        }
        if self.trouble(me, 80) {
            // What does not fit in the pipe gets an error.
            self.processes[me].connection = Connection::Gone;
            if count < bytes.len() {
                self.see(Sight::CutToDaemon);
            }
        } else if count < bytes.len() {
            self.see(Sight::SplitToDaemon);
        }
        self.tell(me, || format!("> {}", bytes[..count].escape_ascii()));
        let life = &mut *self;
        let process = &mut life.processes[me];
        let heard = process.oracle.hear(&bytes[..count], process.now, &life.rows);
        let is_listening = process.connection == Connection::Open;
        if is_listening {
            process.from_child.push(&bytes[..count]);
        }
        for heard in heard.into_iter().filter(|_| is_listening) {
            self.listen(me, heard);
        }
        Ok(count)
    }

    fn sleep(&mut self, me: usize, pause: Duration) -> Sleep {
        self.processes[me].oracle.paused();
        if self.processes[me].connection == Connection::Open && self.trouble(me, 40) {
            self.processes[me].connection = Connection::Gone;
        }
        if self.processes[me].connection != Connection::Open || self.has_fault() {
            self.see(Sight::HungUpInPause);
            self.processes[me].oracle.broke(Broken::HungUp);
            return Sleep::HungUp;
        }
        if self.is_coveted(me, 40) {
            self.steal(me, Sight::StolenInPause);
        }
        self.processes[me].now += pause;
        self.tell(me, || format!("pauses {pause:?}"));
        Sleep::Elapsed
    }
}

/// A message of the daemon.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Message {
    Initialize,
    /// This many of the next records.
    Records(usize),
    LeaseLost,
    OldLeaseLost,
    Ended,
    OldEnded,
    ShutdownRequested,
}

impl Message {
    fn name(self) -> &'static str {
        match self {
            Message::Initialize => "initialize",
            Message::Records(_) => "processRecords",
            Message::LeaseLost => "leaseLost",
            Message::Ended => "shardEnded",
            Message::ShutdownRequested => "shutdownRequested",
            Message::OldLeaseLost | Message::OldEnded => "shutdown",
        }
    }

    /// Returns how many of the shard's records are delivered after it.
    fn until(self, oracle: &Oracle) -> usize {
        match self {
            Message::Records(count) => oracle.delivered + count,
            _ => oracle.delivered,
        }
    }
}

/// Calls `send` with the library's type of the message.
fn with_message<T>(
    message: Message,
    rows: &[Row],
    start: &ExtendedSequenceNumber<'_>,
    call: impl FnOnce(&DaemonMessage<'_>) -> T,
) -> T {
    call(&match message {
        Message::Initialize => {
            let mut input = InitializeInput::new("shardId-0");
            input.sequence_number = Some(start.sequence_number.borrowed());
            input.sub_sequence_number = Some(start.sub_sequence_number);
            DaemonMessage::Initialize(input)
        }
        Message::Records(_) => {
            let mut input = ProcessRecordsInput::new(rows.iter().map(Row::as_record).collect());
            input.millis_behind_latest = Some(0);
            DaemonMessage::ProcessRecords(input)
        }
        Message::LeaseLost => DaemonMessage::LeaseLost,
        Message::OldLeaseLost => DaemonMessage::Shutdown(ShutdownReason::Zombie),
        Message::Ended => DaemonMessage::ShardEnded,
        Message::OldEnded => DaemonMessage::Shutdown(ShutdownReason::Terminate),
        Message::ShutdownRequested => DaemonMessage::ShutdownRequested,
    })
}

impl Read for Seat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.lock().read(self.me, buffer);
        self.let_next_run();
        result
    }
}

impl Write for Seat {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.lock().write(self.me, bytes);
        self.let_next_run();
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Timer for Seat {
    fn now(&self) -> Duration {
        self.lock().processes[self.me].now
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        let sleep = self.lock().sleep(self.me, pause);
        self.let_next_run();
        sleep
    }
}
