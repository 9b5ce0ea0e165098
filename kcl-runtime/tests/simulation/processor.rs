//! A processor that does what processors do. It never lies: what it reports as processed is
//! processed.

use std::ops::Range;
use std::panic::resume_unwind;

use kcl_runtime::{
    CheckpointError, Checkpointer, DeadLetter, ExtendedSequenceNumber, InitializeInput,
    LeaseLostInput, Method, ProcessRecordsInput, ProcessorError, RecordProcessor, Result,
    SequenceNumber, ShardEndCheckpointer,
};

use crate::life::{Seat, note_failure};
use crate::oracle::{Next, Returned};
use crate::sights::Sight;

pub(crate) struct Worker {
    seat: Seat,
    holds_in_memory: bool,
    is_by_hand: bool,
    /// Records in memory, to be processed later.
    held: Vec<Range<usize>>,
}

/// Panics without the hook that prints, as there are many thousands of panics.
fn tear() -> ! {
    resume_unwind(Box::new("torn"))
}

/// Describes what the method is about to return.
fn returned(result: &Result, named: Option<usize>) -> Returned {
    match result {
        Ok(()) => Returned::Fine,
        Err(error) if error.is_permanent() == Some(true) => Returned::Permanent(named),
        Err(_) => Returned::Error(named),
    }
}

impl Worker {
    pub(crate) fn new(seat: Seat, holds_in_memory: bool, is_by_hand: bool) -> Worker {
        Worker { seat, holds_in_memory, is_by_hand, held: Vec::new() }
    }

    fn trouble(&self, one_in: u32) -> bool {
        self.seat.lock().trouble(self.seat.me, one_in)
    }

    fn take(&mut self, records: Range<usize>) {
        let mut life = self.seat.lock();
        life.processes[self.seat.me].oracle.count(records.clone());
        if self.holds_in_memory {
            life.processes[self.seat.me].oracle.take(records.clone());
            self.held.push(records);
        } else {
            life.deal_with(self.seat.me, records);
        }
    }

    fn write_out(&mut self) {
        let mut life = self.seat.lock();
        for records in self.held.drain(..) {
            life.deal_with(self.seat.me, records);
        }
    }

    /// Requests a checkpoint of all delivered records, or at these numbers.
    fn checkpoint(
        &self,
        at: Option<(String, Option<u64>)>,
        ask: impl FnOnce() -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let (number, sub) = at.map_or((None, None), |(number, sub)| (Some(number), sub));
        self.seat.lock().processes[self.seat.me].oracle.asks(number, sub);
        let result = ask();
        let mut life = self.seat.lock();
        let seen = life.processes[self.seat.me].oracle.asked(&result);
        if let Some(sight) = seen {
            life.see(sight);
        }
        result
    }

    fn checkpoint_all(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        self.write_out();
        Ok(self.checkpoint(None, || checkpointer.checkpoint())?)
    }

    /// Requests a checkpoint at a processed record, by both numbers or by one.
    fn checkpoint_at(
        &mut self,
        index: usize,
        input: &ProcessRecordsInput<'_>,
        start: usize,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        self.write_out();
        let record = &input.records[index - start];
        let number = record.sequence_number.as_str().to_owned();
        // The number alone means the first record of an aggregate.
        if record.sub_sequence_number == Some(0) && self.seat.lock().chance(4) {
            let at = Some((number, None));
            Ok(self.checkpoint(at, || checkpointer.checkpoint_at(&record.sequence_number))?)
        } else {
            let at = Some((number, record.sub_sequence_number));
            Ok(self.checkpoint(at, || checkpointer.checkpoint_at(record))?)
        }
    }

    /// Requests a checkpoint that the daemon rejects: before the last one, or ahead of the records.
    fn checkpoint_illegally(&self, checkpointer: &mut Checkpointer<'_>) {
        let (number, sub) = {
            let mut life = self.seat.lock();
            let index = if life.dice.bool() { 0 } else { life.rows.len().saturating_sub(1) };
            let oracle = &life.processes[self.seat.me].oracle;
            let is_legal = index < oracle.delivered && index + 1 >= oracle.stored;
            let Some(row) = life.rows.get(index).filter(|_| !is_legal) else { return };
            (row.number.clone(), row.sub)
        };
        let at = Some((number.clone(), Some(sub)));
        let Ok(number) = SequenceNumber::new(&number) else { return };
        let place = ExtendedSequenceNumber::new(number, sub);
        // It ignores the error.
        let _ = self.checkpoint(at, || checkpointer.checkpoint_at(place));
    }

    /// `process_records` is about to return this.
    fn come_back(&mut self, how: Returned) {
        let me = self.seat.me;
        let life = &mut *self.seat.lock();
        let oracle = &mut life.processes[me].oracle;
        let is_broken = oracle.broken.is_some();
        let is_inside = oracle.is_inside_batch();
        let named = match how {
            Returned::Error(named) | Returned::Permanent(named) => named,
            Returned::Fine | Returned::Panic => None,
        };
        if !matches!(how, Returned::Fine) {
            let from = oracle.roll_back(named);
            self.held.retain(|records| records.start < from);
            for records in &mut self.held {
                records.end = records.end.min(from);
            }
        }
        let next = oracle.returned(how);
        life.tell(me, || format!("process_records returns: {how:?}, so {next:?}"));
        if !is_broken && !matches!(how, Returned::Fine) {
            note_failure(life, next, named.is_some(), how, is_inside);
        }
        if next == Next::Exit && life.processes[me].oracle.has_retried() {
            life.see(Sight::RetriesUsedUp);
        }
    }

    /// Acts in one call of `process_records` with the records `range` of the shard. Also returns the
    /// record that the error names.
    fn act(
        &mut self,
        range: Range<usize>,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> (Result, Option<usize>) {
        let (deed, some, is_calm) = {
            let mut life = self.seat.lock();
            let time = std::time::Duration::from_secs(life.dice.u64(..40));
            life.processes[self.seat.me].now += time;
            let is_calm = life.processes[self.seat.me].is_calm;
            let some = if range.is_empty() { None } else { Some(life.dice.usize(range.clone())) };
            (life.dice.u8(..22), some, is_calm)
        };
        let start = range.start;
        match (deed, some) {
            (0 | 1, _) if !is_calm => {
                if let Some(some) = some {
                    self.take(start..some);
                }
                (Err("busy".into()), None)
            }
            (2 | 3, Some(some)) if !is_calm => {
                self.take(start..some);
                (Err(ProcessorError::at(&input.records[some - start], "poison")), Some(some))
            }
            (4 | 5, Some(some)) if !is_calm => {
                self.take(start..some + 1);
                let result = self.checkpoint_at(some, input, start, checkpointer);
                (result.and(Err("busy after a checkpoint".into())), None)
            }
            (6, Some(some)) if !is_calm => {
                // It names a record that a checkpoint covers.
                self.take(start..some + 1);
                let named = Err(ProcessorError::at(&input.records[some - start], "late poison"));
                match self.checkpoint_at(some, input, start, checkpointer) {
                    Ok(()) => (named, Some(some)),
                    refused => (refused, None),
                }
            }
            (20, Some(some)) if !is_calm => {
                self.take(start..some);
                let error = ProcessorError::permanent("no event");
                (Err(ProcessorError::at(&input.records[some - start], error)), Some(some))
            }
            (21, _) if !is_calm && self.trouble(4) => {
                (Err(ProcessorError::permanent("no batch")), None)
            }
            (7, _) if !is_calm && self.trouble(2) => {
                self.come_back(Returned::Panic);
                tear()
            }
            (8 | 9, _) => {
                self.take(range);
                (self.checkpoint_all(checkpointer), None)
            }
            (10 | 11, Some(some)) => {
                self.take(start..some + 1);
                let result = self.checkpoint_at(some, input, start, checkpointer);
                if result.is_err() && deed == 10 {
                    return (result, None);
                }
                self.take(some + 1..range.end);
                (Ok(()), None)
            }
            (12, _) if !is_calm => {
                self.checkpoint_illegally(checkpointer);
                self.take(range);
                (Ok(()), None)
            }
            (13, _) => {
                self.take(range);
                self.write_out();
                (Ok(()), None)
            }
            _ => {
                self.take(range);
                (Ok(()), None)
            }
        }
    }
}

impl RecordProcessor for Worker {
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        let result = if self.trouble(60) { Err("not today".into()) } else { Ok(()) };
        let mut life = self.seat.lock();
        let life = &mut *life;
        let process = &mut life.processes[self.seat.me];
        let row = process.oracle.stored.checked_sub(1).map(|last| &life.rows[last]);
        let (number, sub) = row.map_or(("TRIM_HORIZON", 0), |row| (row.number.as_str(), row.sub));
        let is_right = input.shard_id == "shardId-0"
            && input.sequence_number.as_ref().map(SequenceNumber::as_str) == Some(number)
            && input.sub_sequence_number == Some(sub);
        if !is_right {
            process.oracle.fault.get_or_insert(format!("initialize got {input:?}"));
        }
        process.oracle.method_returned(Method::Initialize, returned(&result, None));
        if result.is_err() {
            life.see(Sight::InitializeFailed);
        }
        result
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        let range = {
            let mut life = self.seat.lock();
            let life = &mut *life;
            let oracle = &mut life.processes[self.seat.me].oracle;
            let range = oracle.call(&input.records, &life.rows);
            life.note_delivered(range.clone());
            life.tell(self.seat.me, || format!("process_records of {range:?}"));
            range
        };
        if range.len() != input.records.len() {
            return Ok(());
        }
        let (result, named) = self.act(range, input, checkpointer);
        self.come_back(returned(&result, named));
        result
    }

    fn flush(&mut self) -> Result {
        let result = match (self.trouble(10), self.trouble(4)) {
            (true, true) => Err(ProcessorError::permanent("no table")),
            (true, false) => Err("the sink is busy".into()),
            (false, _) => Ok(()),
        };
        if result.is_ok() {
            self.write_out();
        }
        let mut life = self.seat.lock();
        let life = &mut *life;
        let process = &mut life.processes[self.seat.me];
        let next = process.oracle.flush(returned(&result, None), process.now);
        life.tell(self.seat.me, || format!("flush: {result:?}, so {next:?}"));
        match next {
            Next::Retry => life.see(Sight::FlushRetried),
            Next::Exit => life.see(Sight::FlushFailed),
            Next::Ignored => life.see(Sight::FlushIgnored),
            _ => {}
        }
        result
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        let result = match (self.trouble(12), self.trouble(4)) {
            (true, true) => Err(ProcessorError::permanent("no dead letters")),
            (true, false) => Err("the dead letters cannot be written".into()),
            (false, _) => Ok(()),
        };
        let mut life = self.seat.lock();
        let life = &mut *life;
        let how = returned(&result, None);
        let oracle = &mut life.processes[self.seat.me].oracle;
        let (index, next) = oracle.dead_letter(letter.record, letter.tries, &life.rows, how);
        life.tell(self.seat.me, || format!("dead letter {index}: {result:?}, so {next:?}"));
        match next {
            Next::Retry => life.see(Sight::LetterRetried),
            Next::Exit => life.see(Sight::LetterFailed),
            _ => life.deal_with(self.seat.me, index..index + 1),
        }
        result
    }

    fn lease_lost(&mut self, _: &LeaseLostInput<'_>) -> Result {
        let (fails, panics) = (self.trouble(10), self.trouble(10));
        let how = if panics {
            Returned::Panic
        } else if fails {
            Returned::Error(None)
        } else {
            Returned::Fine
        };
        let mut life = self.seat.lock();
        if fails || panics {
            life.see(Sight::LeaseLostFailed);
        }
        life.processes[self.seat.me].oracle.method_returned(Method::LeaseLost, how);
        drop(life);
        if panics {
            tear();
        }
        if fails { Err("cannot let go".into()) } else { Ok(()) }
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        let (deed, is_calm) = {
            let mut life = self.seat.lock();
            let life = &mut *life;
            let process = &mut life.processes[self.seat.me];
            process.oracle.shard_ended_called();
            (life.dice.u8(..12), process.is_calm)
        };
        let mut checkpoint = |worker: &mut Worker| -> Result {
            worker.write_out();
            Ok(worker.checkpoint(None, || checkpointer.checkpoint())?)
        };
        let (result, panics) = match deed {
            0 if !is_calm => (Err("cannot finish".into()), false),
            1 if !is_calm => (checkpoint(self).and(Err("finished, and failed".into())), false),
            2 if !is_calm && self.trouble(3) => (Ok(()), true),
            3 if !is_calm => {
                // It hides the error.
                let _ = checkpoint(self);
                (Ok(()), false)
            }
            // It forgets the checkpoint, which is an error unless the runtime can make it.
            4..7 if !is_calm || !self.is_by_hand => (Ok(()), false),
            7 => {
                let result = checkpoint(self);
                (if result.is_ok() { checkpoint(self) } else { result }, false)
            }
            _ => (checkpoint(self), false),
        };
        let mut life = self.seat.lock();
        let how = if panics { Returned::Panic } else { returned(&result, None) };
        let next = life.processes[self.seat.me].oracle.method_returned(Method::ShardEnded, how);
        life.tell(self.seat.me, || format!("shard_ended returns: {how:?}, so {next:?}"));
        match next {
            Next::Retry => life.see(Sight::ShardEndedRetried),
            Next::Exit => life.see(Sight::ShardEndedFailed),
            _ => {}
        }
        drop(life);
        if panics {
            tear();
        }
        result
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        let deed = self.seat.lock().dice.u8(..8);
        let (result, panics) = match deed {
            0 => (Err("cannot write out".into()), false),
            1 => (Ok(()), true),
            2..5 => (self.checkpoint_all(checkpointer), false),
            _ => (Ok(()), false),
        };
        let mut life = self.seat.lock();
        let how = if panics { Returned::Panic } else { returned(&result, None) };
        if panics || result.is_err() {
            life.see(Sight::ShutdownRequestedFailed);
        }
        life.processes[self.seat.me].oracle.method_returned(Method::ShutdownRequested, how);
        drop(life);
        if panics {
            tear();
        }
        result
    }
}
