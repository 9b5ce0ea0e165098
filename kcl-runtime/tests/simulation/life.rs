//! The life of a shard: its records, its row of the lease table, and the processes that have the lease
//! one after the other, until the shard's end is stored.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use kcl_runtime::{Backoff, Cadence, OnError, Record, Runtime};

use crate::daemon::Process;
use crate::oracle::{Next, Place, Returned, Rules};
use crate::processor::Worker;
use crate::sights::{Seen, Sight};

/// A record of the shard.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: String,
    pub(crate) sub: u64,
    pub(crate) key: &'static str,
    pub(crate) data: Vec<u8>,
    pub(crate) arrival: u64,
}

impl Row {
    pub(crate) fn is(&self, record: &Record<'_>) -> bool {
        self.number == record.sequence_number.as_str()
            && Some(self.sub) == record.sub_sequence_number
            && self.key == record.partition_key
            && self.data == record.data
            && Some(Duration::from_millis(self.arrival)) == record.approximate_arrival
    }
}

/// The shard's row of the lease table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lease {
    pub(crate) checkpoint: Place,
    /// The process that has the lease; none after it was stolen, until the next process starts.
    pub(crate) owner: Option<usize>,
}

/// The whole simulated world. Its dice decide everything, so a seed determines a life.
pub(crate) struct Life {
    pub(crate) dice: Rng,
    pub(crate) rows: Vec<Row>,
    pub(crate) lease: Lease,
    pub(crate) processes: Vec<Process>,
    /// Whether each record was processed, by any process.
    dealt_with: Vec<bool>,
    pub(crate) seen: Seen,
    pub(crate) has_old_words: bool,
    pub(crate) has_windows_lines: bool,
    /// Another worker stole the lease and starts at once, while the last owner still runs.
    pub(crate) is_next_waiting: bool,
    is_told: bool,
}

/// The result of a life.
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) fault: Option<String>,
}

/// At most this many processes meet trouble. The one after them meets none, and must reach the end
/// of the shard.
const STORMY: usize = 5;

/// Runs one life, and describes it on stderr if `is_told`.
pub(crate) fn live(seed: u64, is_told: bool) -> Outcome {
    let mut dice = Rng::with_seed(seed);
    let rows = rows(&mut dice);
    let mut seen = Seen::default();
    if rows.iter().any(|row| row.sub > 0) {
        seen.note(Sight::Aggregates);
    }
    let stormy = dice.usize(..STORMY);
    let life = Arc::new(Mutex::new(Life {
        lease: Lease { checkpoint: Place::Before(0), owner: None },
        processes: Vec::new(),
        dealt_with: vec![false; rows.len()],
        rows,
        seen,
        has_old_words: dice.u8(..5) == 0,
        has_windows_lines: dice.u8(..5) == 0,
        is_next_waiting: false,
        is_told,
        dice,
    }));
    loop {
        let seat = Seat { life: Arc::clone(&life), me: 0 };
        let count = {
            let life = seat.lock();
            if life.has_fault() || life.lease.checkpoint == Place::End {
                break;
            }
            life.processes.len()
        };
        seat.run_next(count >= stormy);
        if count > 2 * STORMY {
            seat.lock().processes[0].oracle.fault = Some("the shard never ends".to_owned());
        }
    }
    let mut life = life.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = life.dealt_with.iter().position(|dealt| !dealt);
    let mut faults = life.processes.iter_mut().filter_map(|process| process.oracle.fault.take());
    let fault = faults.next().or(lost.map(|index| format!("record {index} was lost")));
    Outcome { seen: life.seen, fault }
}

/// Creates records whose sequence numbers grow, sometimes by a digit. Some share a number, as the
/// records of an aggregate do.
fn rows(dice: &mut Rng) -> Vec<Row> {
    const LONG: &str = "4968047710631254423770934388279273584357966650925488";
    let prefix = if dice.bool() { LONG } else { "" };
    let mut number = if prefix.is_empty() { dice.u64(1..120) } else { dice.u64(1000..9000) };
    let aggregates = dice.u8(..3) == 0;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..dice.usize(..16) {
        let last = rows.last().filter(|_| aggregates && dice.u8(..3) > 0);
        let sub = last.map_or(0, |last| last.sub + 1);
        if sub == 0 {
            number += dice.u64(1..4);
        }
        rows.push(Row {
            number: format!("{prefix}{number}"),
            sub,
            key: ["k", "user-7", "\u{fc}ber \"\u{1f41d}\"\\\n"][dice.usize(..3)],
            data: (0..dice.usize(..12)).map(|_| dice.u8(..)).collect(),
            arrival: dice.u64(..2_000_000_000_000),
        });
    }
    rows
}

impl Life {
    pub(crate) fn has_fault(&self) -> bool {
        self.processes.iter().any(|process| process.oracle.fault.is_some())
    }

    pub(crate) fn chance(&mut self, one_in: u32) -> bool {
        self.dice.u32(..one_in) == 0
    }

    /// Decides about trouble, which a calm process never meets.
    pub(crate) fn trouble(&mut self, me: usize, one_in: u32) -> bool {
        !self.processes[me].is_calm && self.chance(one_in)
    }

    pub(crate) fn see(&mut self, sight: Sight) {
        self.seen.note(sight);
    }

    pub(crate) fn tell(&self, me: usize, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("process {me}: {}", what());
        }
    }

    pub(crate) fn covered(&self) -> usize {
        match self.lease.checkpoint {
            Place::Before(index) => index,
            Place::End => self.rows.len(),
        }
    }

    pub(crate) fn deal_with(&mut self, me: usize, records: std::ops::Range<usize>) {
        self.dealt_with[records.clone()].fill(true);
        self.processes[me].oracle.deal_with(records);
    }

    /// Notes records that are delivered again although some process has processed them.
    pub(crate) fn note_delivered(&mut self, records: std::ops::Range<usize>) {
        if self.dealt_with[records].iter().any(|dealt| *dealt) {
            self.see(Sight::DeliveredAgain);
        }
    }
}

/// One process in the world. The runtime uses it as reader, writer and timer, the processor has a
/// copy.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) life: Arc<Mutex<Life>>,
    pub(crate) me: usize,
}

impl Seat {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the next process, and runs it to its end.
    pub(crate) fn run_next(&self, is_calm: bool) {
        let mut life = self.lock();
        let me = life.processes.len();
        let (rules, runtime, holds_in_memory) = choose(&mut life);
        let covered = life.covered();
        if me > 0 {
            life.see(if covered > 0 { Sight::Restarted } else { Sight::RestartedAtStart });
        }
        life.tell(me, || format!("starts behind {covered} records, {rules:?}, calm: {is_calm}"));
        life.lease.owner = Some(me);
        let process = Process::new(&life, rules.clone(), is_calm);
        life.processes.push(process);
        drop(life);

        let seat = || Seat { life: Arc::clone(&self.life), me };
        let worker = Worker::new(seat(), holds_in_memory, rules.is_manual());
        let outcome = runtime.run_over_with(seat(), seat(), seat(), worker);

        let mut life = self.lock();
        life.tell(me, || format!("has ended: {outcome:?}"));
        let was_faultless = !life.has_fault();
        life.processes[me].oracle.ended(&outcome);
        if matches!(outcome, Err(kcl_runtime::RunError::ShardEnd { .. })) {
            life.see(Sight::ShardEndRefused);
        }
        // The lease is free then, whatever ended the process.
        if life.lease.owner == Some(me) {
            life.lease.owner = None;
        }
        if is_calm && was_faultless && life.lease.checkpoint != Place::End {
            let oracle = &mut life.processes[me].oracle;
            oracle.fault.get_or_insert("a calm process did not end the shard".to_owned());
        }
    }

    /// Runs the next owner of the lease if it starts while this one still runs.
    pub(crate) fn let_next_run(&self) {
        let is_waiting = std::mem::take(&mut self.lock().is_next_waiting);
        if is_waiting {
            self.run_next(false);
        }
    }
}

/// Chooses the settings of a process, for the runtime and for the oracle, and whether the processor
/// holds records in memory.
fn choose(life: &mut Life) -> (Rules, Runtime, bool) {
    let holds_in_memory = life.chance(3);
    let records = life.dice.u64(1..10);
    let every = Duration::from_secs(life.dice.u64(..300));
    let (cadence, every_records, every, sight) = match life.dice.u8(..6) {
        0 | 1 => (Cadence::manual(), None, None, Sight::Manual),
        2 => (Cadence::each_batch(), Some(1), None, Sight::EachBatch),
        3 => (Cadence::every_records(records), Some(records), None, Sight::EveryRecords),
        4 => (Cadence::every(every), None, Some(every), Sight::AtMostEvery),
        _ => {
            let cadence = Cadence::every_records(records).or_every(every);
            (cadence, Some(records), Some(every), Sight::RecordsOrTime)
        }
    };
    life.see(sight);
    if holds_in_memory {
        life.see(if sight == Sight::Manual { Sight::InMemory } else { Sight::Buffered });
    }
    let mut pauses = || {
        let total = [0, 700, 3_500, 30_000][life.dice.usize(..4)];
        (Backoff::up_to(Duration::from_millis(total)).without_jitter(), count_pauses(total))
    };
    let (retry, retries) = pauses();
    let (checkpoint_retry, checkpoint_retries) = pauses();
    let (shard_end_retry, shard_end_retries) = pauses();
    let (on_error, retries, dead_letters, dead_letters_of_panics, sight) = match life.dice.u8(..5) {
        0 => (OnError::exit(), 0, false, false, Sight::PolicyExit),
        1 => (OnError::retry(retry), retries, false, false, Sight::PolicyRetry),
        2 => {
            let policy = OnError::retry(retry).then_dead_letter();
            (policy, retries, true, false, Sight::PolicyRetryThenDeadLetter)
        }
        3 => (OnError::dead_letter(), 0, true, false, Sight::PolicyDeadLetter),
        _ => (OnError::exit().dead_letter_panics(), 0, false, true, Sight::PolicyPanics),
    };
    life.see(sight);
    if life.has_old_words {
        life.see(Sight::OldWords);
    }
    if life.has_windows_lines {
        life.see(Sight::WindowsLines);
    }
    let runtime = Runtime::new()
        .cadence(cadence)
        .on_error(on_error)
        .checkpoint_retry(checkpoint_retry)
        .shard_end_retry(shard_end_retry);
    let rules = Rules {
        every_records,
        every,
        retries,
        dead_letters,
        dead_letters_of_panics,
        checkpoint_retries,
        shard_end_retries,
    };
    (rules, runtime, holds_in_memory)
}

/// Returns how many pauses, from 200 ms doubling up to 5 s, fit in this many ms.
fn count_pauses(total: u64) -> usize {
    let (mut count, mut pause, mut sum) = (0, 200, 0);
    while sum + pause <= total {
        sum += pause;
        count += 1;
        pause = (pause * 2).min(5_000);
    }
    count
}

/// Notes what an error of the processor led to.
pub(crate) fn note_failure(life: &mut Life, next: Next, named: bool, how: Returned, inside: bool) {
    let is_panic = matches!(how, Returned::Panic);
    let is_permanent = matches!(how, Returned::Permanent(_));
    life.see(match next {
        Next::Retry if named => Sight::RetriedFromNamed,
        Next::Retry if inside => Sight::RetriedBehindCheckpoint,
        Next::Retry => Sight::RetriedWhole,
        Next::Done => Sight::NothingToRetry,
        Next::Keep if is_panic => Sight::KeptPanic,
        Next::Keep if is_permanent => Sight::KeptPermanent,
        Next::Keep if named => Sight::KeptNamed,
        Next::Keep => Sight::KeptRest,
        Next::Exit if is_panic => Sight::Panicked,
        Next::Exit => Sight::Exited,
        Next::Ignored => Sight::FailedAfterLease,
    });
}
