//! Knows what must be true of one process, in plain numbers: a record is its index in the shard, and
//! a position is the number of records before it. Nothing here uses the code under test, neither its
//! codec nor its rules.

use std::ops::Range;
use std::time::Duration;

use kcl_runtime::{CheckpointError, Method, Record, RunError};

use crate::life::Row;
use crate::sights::Sight;

/// The settings of a process.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The cadence: a number of records, a time, or both; neither is the manual one.
    pub(crate) every_records: Option<u64>,
    pub(crate) every: Option<Duration>,
    /// How often a failed call may be retried until there is progress.
    pub(crate) retries: usize,
    /// Whether errors that may pass, and panics, end in dead letters.
    pub(crate) dead_letters: bool,
    pub(crate) dead_letters_of_panics: bool,
    /// How often a checkpoint may be retried.
    pub(crate) checkpoint_retries: usize,
    /// How often the shard's end may be retried, in total.
    pub(crate) shard_end_retries: usize,
}

impl Rules {
    pub(crate) fn is_manual(&self) -> bool {
        self.every_records.is_none() && self.every.is_none()
    }
}

/// What a method of the processor returned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Returned {
    Fine,
    /// An error that may pass, and the record that it names.
    Error(Option<usize>),
    /// A permanent error, and the record that it names.
    Permanent(Option<usize>),
    Panic,
}

/// A line of the child.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Status(&'static str),
    Request { number: Option<String>, sub: Option<u64> },
}

/// What a checkpoint would store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Before(usize),
    End,
}

/// What follows an error of the processor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    Retry,
    /// Nothing is left of the batch.
    Done,
    Keep,
    Exit,
    /// Nothing: the method's errors are only logged, or the lease is lost.
    Ignored,
}

/// How the connection failed, as the runtime has seen it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Broken {
    HungUp,
    Io,
}

/// A checkpoint that may be requested, and retried while its refusals may pass.
#[derive(Debug, Default)]
struct Permit {
    number: Option<String>,
    sub: Option<u64>,
    tries: u32,
    /// The last answer that arrived.
    answer: Option<Result<(), CheckpointError>>,
    pauses: usize,
}

impl Permit {
    fn may_be_tried_again(&self) -> bool {
        let transient = [CheckpointError::Throttling, CheckpointError::Dependency];
        matches!(&self.answer, Some(Err(error)) if transient.contains(error))
    }
}

#[derive(Debug)]
pub(crate) struct Oracle {
    rules: Rules,
    /// The first fault.
    pub(crate) fault: Option<String>,

    /// The incomplete line.
    heard: Vec<u8>,
    has_begun: bool,
    is_over: bool,
    pub(crate) owed: Option<&'static str>,
    is_asked: bool,
    pub(crate) broken: Option<Broken>,
    /// The failure that must end the process: the method, whether it panicked, and its tries.
    fatal: Option<(Method, bool, u32)>,

    pub(crate) delivered: usize,
    pub(crate) has_shard_ended: bool,
    batch: Range<usize>,
    /// Whether the processor took each record, perhaps into memory, and whether it really processed
    /// it.
    taken: Vec<bool>,
    pub(crate) dealt_with: Vec<bool>,
    /// Where the next call of `process_records` must start.
    next_call: Option<usize>,
    /// The records that must become dead letters next.
    next_kept: Option<Range<usize>>,
    /// How often the next one of them was tried, and may be retried.
    letter_tries: u32,
    letter_retries_left: usize,
    /// How often this process counts each record in its own state.
    counts: Vec<u32>,
    /// Whether `flush` succeeded since the last call of another method, and its tries.
    is_flushed: bool,
    flush_tries: u32,
    flush_retries_left: usize,
    call_start: usize,
    tries: u32,
    retries_left: usize,
    awaits_pause: bool,

    /// The last checkpoint that this process knows of.
    pub(crate) stored: usize,
    is_end_stored: bool,
    is_lease_gone: bool,
    /// The checkpoint that the processor requests.
    permit: Option<Permit>,
    /// The runtime's own checkpoint: at most one per message.
    own: Option<Permit>,
    uncovered: u64,
    last_stored_at: Duration,
    has_method_failed: bool,
    was_end_refused: bool,
    shard_end_pauses: usize,
}

impl Oracle {
    /// Creates the oracle of a process that starts after a checkpoint of this many records.
    pub(crate) fn new(rules: Rules, covered: usize, all: usize) -> Oracle {
        Oracle {
            rules,
            fault: None,
            heard: Vec::new(),
            has_begun: false,
            is_over: false,
            owed: None,
            is_asked: false,
            broken: None,
            fatal: None,
            delivered: covered,
            has_shard_ended: false,
            batch: covered..covered,
            taken: vec![false; all],
            dealt_with: vec![false; all],
            next_call: None,
            next_kept: None,
            letter_tries: 0,
            letter_retries_left: 0,
            counts: vec![0; all],
            is_flushed: false,
            flush_tries: 0,
            flush_retries_left: 0,
            call_start: covered,
            tries: 0,
            retries_left: 0,
            awaits_pause: false,
            stored: covered,
            is_end_stored: false,
            is_lease_gone: false,
            permit: None,
            own: None,
            uncovered: 0,
            last_stored_at: Duration::ZERO,
            has_method_failed: false,
            was_end_refused: false,
            shard_end_pauses: 0,
        }
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.fault.get_or_insert(what.into());
    }

    fn must(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong(what);
        }
    }

    pub(crate) fn is_lease_gone(&self) -> bool {
        self.is_lease_gone
    }

    pub(crate) fn is_shard_end_owed(&self) -> bool {
        self.owed.is_some() && self.has_shard_ended
    }

    // ---- the daemon's side ----

    /// A message was sent completely.
    pub(crate) fn message(&mut self, action: &'static str, until: usize, now: Duration) {
        self.must(self.owed.is_none() && !self.is_over, "the daemon sends out of turn");
        self.owed = Some(action);
        self.own = None;
        self.has_method_failed = false;
        self.is_flushed = false;
        self.flush_tries = 0;
        self.flush_retries_left = self.rules.retries;
        if !self.has_begun {
            self.has_begun = true;
            self.last_stored_at = now;
        }
        if action == "processRecords" {
            self.batch = self.delivered..until;
            self.delivered = until;
            self.uncovered += self.batch.len() as u64;
            self.next_call = Some(self.batch.start);
            self.tries = 0;
            self.retries_left = self.rules.retries;
            self.letter_tries = 0;
            self.letter_retries_left = self.rules.retries;
        }
    }

    pub(crate) fn lease_lost(&mut self) {
        self.is_lease_gone = true;
    }

    /// Takes what the child writes, and returns the complete lines.
    pub(crate) fn hear(&mut self, bytes: &[u8], now: Duration, rows: &[Row]) -> Vec<Heard> {
        let mut lines = Vec::new();
        for byte in bytes {
            self.heard.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.heard);
                match read_strictly(&line) {
                    Some(heard) => {
                        match &heard {
                            Heard::Status(action) => self.status(action, now),
                            Heard::Request { number, sub } => {
                                self.request(number.as_deref(), *sub, now, rows);
                            }
                        }
                        lines.push(heard);
                    }
                    None => self.wrong(format!("a child must not write {}", line.escape_ascii())),
                }
            }
        }
        lines
    }

    fn status(&mut self, action: &'static str, now: Duration) {
        if self.owed != Some(action) || self.is_asked {
            return self.wrong(format!("a status for {action}, when {:?} is owed", self.owed));
        }
        if let Some((method, ..)) = self.fatal {
            self.wrong(format!("a status for {action} after {method} failed for good"));
        }
        self.own_has_ended();
        let is_free = !self.is_lease_gone && self.own.is_none() && self.uncovered > 0;
        match action {
            "processRecords" => {
                self.must(self.next_call.is_none(), "a batch answered that must be retried");
                self.must(
                    self.next_kept.is_none(),
                    "a batch answered whose records must become dead letters",
                );
                let all_taken = self.taken[self.batch.clone()].iter().all(|taken| *taken);
                self.must(all_taken || self.is_lease_gone, "a record is skipped silently");
                let is_due = is_free && self.is_due(now);
                self.must(!is_due, "a checkpoint was due by the cadence");
            }
            "shutdownRequested" => {
                let is_due = is_free && !self.rules.is_manual() && !self.has_method_failed;
                self.must(!is_due, "a checkpoint was due when the shutdown was requested");
            }
            _ if self.has_shard_ended => {
                let is_fine = self.is_end_stored || self.is_lease_gone;
                self.must(is_fine, "the shard's end is answered without its checkpoint");
                self.is_over = true;
            }
            "leaseLost" | "shutdown" => self.is_over = true,
            _ => {}
        }
        self.owed = None;
    }

    fn is_due(&self, now: Duration) -> bool {
        let time = now.saturating_sub(self.last_stored_at);
        self.rules.every_records.is_some_and(|count| self.uncovered >= count)
            || self.rules.every.is_some_and(|every| time >= every)
    }

    /// Whether the runtime may checkpoint by itself.
    fn may_checkpoint(&self, now: Duration) -> bool {
        match self.owed {
            Some("processRecords") => {
                let is_dealt_with = self.next_call.is_none() && self.next_kept.is_none();
                is_dealt_with && (self.own.is_some() || self.is_due(now))
            }
            Some("shutdownRequested") => !self.rules.is_manual() && !self.has_method_failed,
            _ => {
                let may_finish = !self.rules.is_manual() || self.uncovered == 0;
                self.has_shard_ended && !self.has_method_failed && may_finish
            }
        }
    }

    fn request(&mut self, number: Option<&str>, sub: Option<u64>, now: Duration, rows: &[Row]) {
        let Some(action) = self.owed.filter(|_| !self.is_asked) else {
            return self.wrong("a checkpoint requested out of turn");
        };
        self.is_asked = true;
        self.must(!self.is_lease_gone, "a checkpoint requested after the lease was lost");
        self.must(action != "initialize", "a checkpoint requested during initialize");
        if let Some((method, ..)) = self.fatal {
            self.wrong(format!("a checkpoint requested after {method} failed for good"));
        }
        if self.permit.is_none() {
            let may = self.may_checkpoint(now);
            self.must(may, "a checkpoint that nobody requested");
            self.must(self.is_flushed, "a checkpoint without a flush before it");
            let covers_new = self.uncovered > 0 || self.has_shard_ended;
            self.must(covers_new, "a checkpoint that covers nothing new");
        }
        let permit = match &mut self.permit {
            Some(permit) => permit,
            None => self.own.get_or_insert_default(),
        };
        let is_the_same = permit.number.as_deref() == number && permit.sub == sub;
        let may = permit.tries == 0 || permit.may_be_tried_again();
        let has_paused = permit.pauses == permit.tries as usize;
        permit.tries += 1;
        permit.answer = None;
        self.must(is_the_same, "another checkpoint than the requested one");
        self.must(may, "a checkpoint retried whose refusal does not pass");
        self.must(has_paused, "a checkpoint retried without a pause");
        if let Ok(Some(place)) = self.would_store(number, sub, rows) {
            let covered = match place {
                Place::Before(index) => index,
                Place::End => rows.len(),
            };
            let is_ahead = self.dealt_with[self.stored..covered].iter().any(|dealt| !dealt);
            self.must(!is_ahead, "a checkpoint of unprocessed records");
        }
    }

    /// Returns what the daemon should answer; `None` if exactly that is stored already.
    pub(crate) fn would_store(
        &self,
        number: Option<&str>,
        sub: Option<u64>,
        rows: &[Row],
    ) -> Result<Option<Place>, CheckpointError> {
        let Some(number) = number else {
            return Ok(match self.has_shard_ended {
                true => (!self.is_end_stored).then_some(Place::End),
                false => (self.delivered > self.stored).then_some(Place::Before(self.delivered)),
            });
        };
        let place = (number, sub.unwrap_or(0));
        let index = rows.iter().position(|row| (row.number.as_str(), row.sub) == place);
        match index.map(|index| index + 1) {
            Some(covered) if covered == self.stored => Ok(None),
            Some(covered) if covered > self.stored && covered <= self.delivered => {
                Ok(Some(Place::Before(covered)))
            }
            _ => Err(CheckpointError::IllegalArgument),
        }
    }

    /// A checkpoint is answered. `arrives` tells whether all of the answer will be read.
    pub(crate) fn answered(
        &mut self,
        result: &Result<Option<Place>, CheckpointError>,
        arrives: bool,
        now: Duration,
    ) {
        if !arrives {
            return;
        }
        self.is_asked = false;
        match result {
            Ok(Some(Place::Before(covered))) => self.stored = *covered,
            Ok(Some(Place::End)) => self.is_end_stored = true,
            Ok(None) => {}
            Err(error) => self.is_lease_gone |= *error == CheckpointError::Shutdown,
        }
        self.was_end_refused = self.has_shard_ended && result.is_err() && !self.is_end_stored;
        if result.is_ok() {
            self.last_stored_at = now;
            if self.stored == self.delivered || self.is_end_stored {
                self.uncovered = 0;
            }
        }
        let permit = self.permit.as_mut().or(self.own.as_mut());
        if let Some(permit) = permit {
            permit.answer = Some(result.as_ref().map(|_| ()).map_err(Clone::clone));
        }
    }

    // ---- the runtime's side ----

    /// The connection failed, and the runtime noticed.
    pub(crate) fn broke(&mut self, how: Broken) {
        self.broken.get_or_insert(how);
    }

    /// The runtime pauses.
    pub(crate) fn paused(&mut self) {
        self.must(!self.is_asked, "a pause while an answer is to be read");
        let permit = self.permit.as_mut().or(self.own.as_mut());
        match permit.filter(|permit| permit.may_be_tried_again()) {
            Some(permit) => permit.pauses += 1,
            None => {
                self.must(self.awaits_pause, "a pause for nothing");
                self.awaits_pause = false;
            }
        }
        if self.has_shard_ended {
            self.shard_end_pauses += 1;
        }
    }

    fn retries_are_used_up(&self, permit: &Permit) -> bool {
        match self.has_shard_ended {
            true => self.shard_end_pauses == self.rules.shard_end_retries,
            false => permit.pauses == self.rules.checkpoint_retries,
        }
    }

    fn own_has_ended(&mut self) {
        let Some(own) = &self.own else { return };
        let is_early = own.may_be_tried_again() && !self.retries_are_used_up(own);
        self.must(!is_early, "the runtime gave its own checkpoint up early");
    }

    // ---- the processor's side ----

    /// `process_records` is called. Returns its records.
    pub(crate) fn call(&mut self, records: &[Record<'_>], rows: &[Row]) -> Range<usize> {
        self.must(self.owed == Some("processRecords"), "records without a batch");
        self.must(!self.awaits_pause, "a retry without a pause");
        let Some(start) = self.next_call.take() else {
            self.wrong("process_records called too often");
            return self.batch.start..self.batch.start;
        };
        let range = start..self.batch.end;
        let wanted = &rows[range.clone()];
        let is_right = wanted.len() == records.len()
            && wanted.iter().zip(records).all(|(row, record)| row.is(record));
        self.must(is_right, "not the expected records of the batch");
        self.call_start = start;
        self.tries += 1;
        if is_right { range } else { start..start }
    }

    /// Whether the last checkpoint lies inside the records of the last call.
    pub(crate) fn is_inside_batch(&self) -> bool {
        self.stored > self.call_start
    }

    pub(crate) fn has_retried(&self) -> bool {
        self.retries_left < self.rules.retries
    }

    pub(crate) fn take(&mut self, records: Range<usize>) {
        self.taken[records].fill(true);
    }

    pub(crate) fn deal_with(&mut self, records: Range<usize>) {
        self.taken[records.clone()].fill(true);
        self.dealt_with[records].fill(true);
    }

    /// The processor adds records to its own state, which must count each of them once.
    pub(crate) fn count(&mut self, records: Range<usize>) {
        for index in records {
            self.counts[index] += 1;
            self.must(self.counts[index] == 1, "a record is counted twice");
        }
    }

    /// A failed call of `process_records` leaves no trace of the records that are delivered again.
    /// Returns where they start.
    pub(crate) fn roll_back(&mut self, named: Option<usize>) -> usize {
        let from = named.unwrap_or(self.call_start.max(self.stored)).min(self.batch.end);
        self.counts[from..self.batch.end].fill(0);
        from
    }

    /// `process_records` returns.
    pub(crate) fn returned(&mut self, how: Returned) -> Next {
        if self.broken.is_some() {
            return Next::Ignored;
        }
        let (named, is_panic, is_permanent) = match how {
            Returned::Fine => return Next::Done,
            _ if self.is_lease_gone => return Next::Ignored,
            Returned::Error(named) => (named, false, false),
            Returned::Permanent(named) => (named, false, true),
            Returned::Panic => (None, true, false),
        };
        let from = named.unwrap_or(self.call_start.max(self.stored).min(self.batch.end));
        if from > self.call_start {
            self.retries_left = self.rules.retries;
            self.tries = 1;
            if from == self.batch.end {
                return Next::Done;
            }
        }
        let becomes_letters = match how {
            Returned::Panic => self.rules.dead_letters_of_panics,
            _ => is_permanent || self.rules.dead_letters,
        };
        if !is_panic && !is_permanent && self.retries_left > 0 {
            self.retries_left -= 1;
            self.next_call = Some(from);
            self.awaits_pause = true;
            Next::Retry
        } else if becomes_letters && from < self.batch.end {
            self.next_kept = Some(from..named.map_or(self.batch.end, |named| named + 1));
            Next::Keep
        } else {
            self.fatal = Some((Method::ProcessRecords, is_panic, self.tries));
            Next::Exit
        }
    }

    /// `dead_letter` is called and returns this. Returns the record, and what must follow.
    pub(crate) fn dead_letter(
        &mut self,
        record: &Record<'_>,
        tries: u32,
        rows: &[Row],
        how: Returned,
    ) -> (usize, Next) {
        self.must(!self.awaits_pause, "a retry without a pause");
        let Some(range) = self.next_kept.take() else {
            self.wrong("a dead letter that must not be one");
            return (0, Next::Done);
        };
        let index = range.start;
        self.must(rows[index].is(record), "not the expected dead letter");
        self.must(tries == self.tries, "not the expected number of tries");
        self.must(self.counts[index] == 0, "a dead letter that is counted as well");
        self.letter_tries += 1;
        match how {
            Returned::Fine => {
                self.letter_tries = 0;
                self.letter_retries_left = self.rules.retries;
                self.deal_with(index..index + 1);
                if index + 1 < range.end {
                    self.next_kept = Some(index + 1..range.end);
                    return (index, Next::Keep);
                }
                let next = range.end.max(self.stored).min(self.batch.end);
                self.next_call = (next < self.batch.end).then_some(next);
                self.tries = 0;
                self.retries_left = self.rules.retries;
                (index, Next::Done)
            }
            Returned::Error(_) if self.letter_retries_left > 0 => {
                self.letter_retries_left -= 1;
                self.next_kept = Some(range);
                self.awaits_pause = true;
                (index, Next::Retry)
            }
            _ => {
                let is_panic = matches!(how, Returned::Panic);
                self.fatal = Some((Method::DeadLetter, is_panic, self.letter_tries));
                (index, Next::Exit)
            }
        }
    }

    /// `flush` is called and returns this. Returns what must follow.
    pub(crate) fn flush(&mut self, how: Returned, now: Duration) -> Next {
        self.must(!self.awaits_pause, "a retry without a pause");
        self.must(!self.is_lease_gone, "a flush after the lease was lost");
        let may = self.may_checkpoint(now);
        let covers_new = self.uncovered > 0 || self.has_shard_ended;
        self.must(may && covers_new && !self.is_flushed, "a flush for nothing");
        self.flush_tries += 1;
        let is_panic = matches!(how, Returned::Panic);
        match (how, self.owed) {
            (Returned::Fine, _) => {
                self.is_flushed = true;
                Next::Done
            }
            (Returned::Error(_), Some("processRecords")) if self.flush_retries_left > 0 => {
                self.flush_retries_left -= 1;
                self.awaits_pause = true;
                Next::Retry
            }
            (_, Some("processRecords")) => {
                self.fatal = Some((Method::Flush, is_panic, self.flush_tries));
                Next::Exit
            }
            (_, Some("shutdownRequested")) => {
                self.has_method_failed = true;
                Next::Ignored
            }
            _ => {
                self.has_method_failed = true;
                let has_retries = self.shard_end_pauses < self.rules.shard_end_retries;
                if has_retries && !is_panic {
                    self.awaits_pause = true;
                    return Next::Retry;
                }
                self.fatal = Some((Method::Flush, is_panic, self.tries));
                Next::Exit
            }
        }
    }

    /// Another method than `process_records` returns.
    pub(crate) fn method_returned(&mut self, method: Method, how: Returned) -> Next {
        let (failed, is_panic) = match how {
            Returned::Fine => (false, false),
            Returned::Error(_) | Returned::Permanent(_) => (true, false),
            Returned::Panic => (true, true),
        };
        self.has_method_failed = failed;
        if !failed || self.broken.is_some() {
            return Next::Done;
        }
        match method {
            Method::Initialize => self.fatal = Some((method, is_panic, 1)),
            Method::ShardEnded if self.is_lease_gone => return Next::Ignored,
            // Such a refusal cannot pass, or its retries are used up.
            Method::ShardEnded if self.was_end_refused => return Next::Exit,
            Method::ShardEnded => {
                let has_retries = self.shard_end_pauses < self.rules.shard_end_retries;
                if has_retries && !is_panic {
                    self.awaits_pause = true;
                    return Next::Retry;
                }
                self.fatal = Some((method, is_panic, self.tries));
            }
            _ => return Next::Ignored,
        }
        Next::Exit
    }

    /// `shard_ended` is called.
    pub(crate) fn shard_ended_called(&mut self) {
        self.must(self.is_shard_end_owed(), "shard_ended without its message");
        self.must(!self.awaits_pause, "a retry without a pause");
        self.tries = if self.has_method_failed { self.tries + 1 } else { 1 };
        self.has_method_failed = false;
        self.was_end_refused = false;
        self.is_flushed = false;
    }

    /// The processor requests a checkpoint.
    pub(crate) fn asks(&mut self, number: Option<String>, sub: Option<u64>) {
        self.permit = Some(Permit { number, sub, ..Permit::default() });
    }

    /// The processor is told the result. Returns what occurred.
    pub(crate) fn asked(&mut self, result: &Result<(), CheckpointError>) -> Option<Sight> {
        let permit = self.permit.take()?;
        let is_deferred = |error: &CheckpointError| {
            let errors = [CheckpointError::Shutdown, CheckpointError::IllegalArgument];
            !self.has_shard_ended && !errors.contains(error)
        };
        let is_true = match (result, &permit.answer) {
            (Ok(()), Some(Ok(()))) => true,
            (Ok(()), Some(Err(error))) => is_deferred(error),
            (Err(told), Some(Err(error))) if told == error => !is_deferred(error),
            (Err(told), _) => {
                let is_known = permit.tries == 0 && self.is_lease_gone;
                *told == CheckpointError::Shutdown && (is_known || self.broken.is_some())
            }
            (Ok(()), None) => false,
        };
        self.must(is_true, "the processor is not told the daemon's answer");
        let is_refused = permit.may_be_tried_again();
        let is_early = self.broken.is_none() && is_refused && !self.retries_are_used_up(&permit);
        self.must(!is_early, "a checkpoint given up early");
        match permit.answer {
            Some(Ok(())) if permit.tries > 1 => Some(Sight::CheckpointRetried),
            Some(Err(_)) if is_refused => Some(Sight::CheckpointGivenUp),
            Some(Err(_)) if result.is_ok() => Some(Sight::CheckpointDeferred),
            None if permit.tries == 0 && result.is_err() => Some(Sight::CheckpointAfterLease),
            _ => None,
        }
    }

    // ---- the end ----

    /// The process has ended.
    pub(crate) fn ended(&mut self, outcome: &Result<(), RunError>) {
        let is_right = match (self.broken, self.fatal, outcome) {
            (Some(Broken::HungUp), _, Err(RunError::HungUp { .. }))
            | (Some(Broken::Io), _, Err(RunError::Io { .. })) => true,
            (
                None,
                Some((method, false, tries)),
                Err(RunError::Processor { method: failed, tries: tried, .. }),
            ) => (method, tries) == (*failed, *tried),
            (None, Some((method, true, _)), Err(RunError::Panicked { method: failed, .. })) => {
                method == *failed
            }
            (None, None, Err(RunError::ShardEnd { .. })) => {
                self.own_has_ended();
                self.is_shard_end_owed() && !self.is_end_stored && !self.is_lease_gone
            }
            (None, None, Ok(())) => self.owed.is_none() && self.heard.is_empty(),
            _ => false,
        };
        if !is_right {
            let (broken, fatal) = (self.broken, self.fatal);
            self.wrong(format!(
                "ended with {outcome:?}; connection {broken:?}, processor {fatal:?}, owed {:?}",
                self.owed
            ));
        }
    }
}

/// Reads a line of the child, byte for byte: there is one way to write each.
fn read_strictly(line: &[u8]) -> Option<Heard> {
    const ACTIONS: [&str; 6] = [
        "initialize",
        "processRecords",
        "leaseLost",
        "shardEnded",
        "shutdownRequested",
        "shutdown",
    ];
    let line = std::str::from_utf8(line).ok()?.strip_suffix("}\n")?;
    if let Some(name) = line.strip_prefix("{\"action\":\"status\",\"responseFor\":") {
        let name = name.strip_prefix('"')?.strip_suffix('"')?;
        return ACTIONS.into_iter().find(|action| *action == name).map(Heard::Status);
    }
    let numbers = line.strip_prefix("{\"action\":\"checkpoint\",\"sequenceNumber\":")?;
    let (number, sub) = numbers.split_once(",\"subSequenceNumber\":")?;
    let digits = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.to_owned())
    };
    let number = match number {
        "null" => None,
        number => Some(digits(number.strip_prefix('"')?.strip_suffix('"')?)?),
    };
    let sub = match sub {
        "null" => None,
        sub => Some(digits(sub)?.parse().ok()?),
    };
    Some(Heard::Request { number, sub })
}
