//! Random lives of a shard: whatever the processor does, under every policy, by hand and by
//! cadence, no record is passed over and no checkpoint runs ahead.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_protocol::Action;
use kcl_runtime::testing::{Daemon, Report};
use kcl_runtime::{
    Backoff, Cadence, CheckpointError, Checkpointer, OnError, ProcessRecordsInput, Record, Result,
    RunError, Runtime, at,
};
use proptest::prelude::*;
use support::{Scripted, scripted};

/// What has become of the records 1 to n; `true` where one was dealt with or kept.
type Fates = Arc<Mutex<Vec<bool>>>;

fn number_of(record: &Record<'_>) -> usize {
    record.sequence_number.as_str().parse().unwrap()
}

fn settle(fates: &Fates, records: &[Record<'_>]) {
    let mut fates = fates.lock().unwrap();
    for record in records {
        fates[number_of(record)] = true;
    }
}

/// One call of `process_records`, which does one of the things that processors do.
fn act(
    random: &mut fastrand::Rng,
    fates: &Fates,
    input: &ProcessRecordsInput<'_>,
    checkpointer: &mut Checkpointer<'_>,
) -> Result {
    let records = &input.records;
    let some = if records.is_empty() { None } else { Some(random.usize(..records.len())) };
    match (random.u8(..10), some) {
        (0, _) => Err("busy".into()),
        (1, Some(some)) => {
            settle(fates, &records[..some]);
            Err(at(&records[some], "poison"))
        }
        (2, Some(some)) => {
            settle(fates, &records[..=some]);
            checkpointer.checkpoint_at(&records[some])?;
            Err("busy after a checkpoint".into())
        }
        (3, _) if random.u8(..4) == 0 => panic!("torn"),
        (4, _) => {
            settle(fates, records);
            Ok(checkpointer.checkpoint()?)
        }
        _ => {
            settle(fates, records);
            Ok(())
        }
    }
}

struct Life {
    report: Report,
    fates: Vec<bool>,
    delivered: usize,
    lease_was_lost: bool,
    messages: Vec<Action>,
}

fn live(seed: u64) -> Life {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut daemon = Daemon::new();
    let mut messages = vec![Action::Initialize];
    let (mut records, mut lease_was_lost) = (0, false);
    for _ in 0..random.usize(..12) {
        daemon = match random.u8(..8) {
            0 => daemon.refuse_checkpoint(CheckpointError::Throttling),
            1 => daemon.refuse_checkpoint(CheckpointError::Other("Odd".into())),
            2 if random.u8(..6) == 0 => {
                lease_was_lost = true;
                daemon.refuse_checkpoint(CheckpointError::Shutdown)
            }
            3 => {
                messages.push(Action::ShutdownRequested);
                daemon.shutdown_requested()
            }
            4 => daemon.wait(Duration::from_secs(random.u64(..400))),
            _ => {
                let count = random.usize(..6);
                records += count;
                messages.push(Action::ProcessRecords);
                daemon.batch(vec!["x"; count])
            }
        };
    }
    daemon = match random.u8(..4) {
        0 => {
            messages.push(Action::LeaseLost);
            daemon.lease_lost()
        }
        1 => {
            messages.push(Action::ShardEnded);
            daemon.shard_ended()
        }
        2 => daemon.vanish(),
        _ => daemon,
    };

    let fates: Fates = Arc::new(Mutex::new(vec![false; records + 1]));
    let keeper = Arc::clone(&fates);
    let keep = move |failed: &kcl_runtime::FailedRecords<'_, '_>| {
        settle(&keeper, failed.records);
        Ok(())
    };
    let backoff = Backoff::up_to(Duration::from_secs(3)).without_jitter();
    let on_error = match random.u8(..5) {
        0 => OnError::exit(),
        1 => OnError::retry(backoff),
        2 => OnError::retry(backoff).then_skip(keep),
        3 => OnError::skip(keep),
        _ => OnError::skip(keep).panics_too(),
    };
    let cadence = match random.u8(..4) {
        0 => Cadence::ByHand,
        1 => Cadence::EachBatch,
        2 => Cadence::every_records(random.u64(1..10)),
        _ => Cadence::AtMostEvery(Duration::from_secs(random.u64(..300))),
    };
    let runtime = Runtime::new().on_error(on_error).checkpoint(cadence);

    let delivered = Rc::new(Cell::new(0));
    let random = RefCell::new(random);
    let processor = Scripted {
        process_records: Box::new(|input, checkpointer| {
            if let Some(last) = input.records.last() {
                delivered.set(delivered.get().max(number_of(last)));
            }
            act(&mut random.borrow_mut(), &fates, input, checkpointer)
        }),
        ..scripted()
    };
    let report = daemon.run_with(runtime, processor);
    let fates = fates.lock().unwrap().clone();
    Life { report, fates, delivered: delivered.get(), lease_was_lost, messages }
}

/// The processor's panics are part of the plan; thousands of traces would take most of the time.
fn keep_quiet_about_torn() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref() != Some(&"torn") {
                usual(info);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_record_is_passed_over_and_no_checkpoint_runs_ahead(seed in any::<u64>()) {
        keep_quiet_about_torn();
        let life = live(seed);
        let report = &life.report;

        // Each message is answered at most once, in order; all of them where the run ended well.
        prop_assert!(life.messages.starts_with(&report.answered));
        if report.outcome.is_ok() {
            prop_assert_eq!(&report.answered, &life.messages);
        }

        // A run that goes on past a record has dealt with it, unless the lease was gone.
        if report.outcome.is_ok() && !life.lease_was_lost {
            let passed_over = (1..=life.delivered).find(|number| !life.fates[*number]);
            prop_assert_eq!(passed_over, None);
        }

        // What is checkpointed has been dealt with.
        let dealt_with = (1..life.fates.len()).take_while(|number| life.fates[*number]).count();
        if let Some(last) = report.checkpoints.last() {
            let (number, _) = last.split_once('/').unwrap();
            let number = number.parse().unwrap_or(life.fates.len() - 1);
            prop_assert!(number <= dealt_with, "{last} is ahead of {dealt_with}");
        }

        // A shard's end is answered only with its checkpoint, or after the lease.
        if report.answered.last() == Some(&Action::ShardEnded) {
            let is_stored = report.checkpoints.last().is_some_and(|last| last == "SHARD_END/0");
            prop_assert!(is_stored || life.lease_was_lost);
        }
        let is_known = matches!(
            report.outcome,
            Ok(()) | Err(RunError::Processor { .. } | RunError::Panicked { .. }
                | RunError::HungUp { .. } | RunError::ShardEnd { .. })
        );
        prop_assert!(is_known, "{:?}", report.outcome);
    }
}
