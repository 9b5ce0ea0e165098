//! Tests what `testing::Daemon` can show to a processor.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use kcl_runtime::testing::{Batch, Daemon};
use kcl_runtime::{Action, Backoff, Cadence, HungUp, Method, OnError, RunError, Runtime};
use support::{Scripted, payload, processing, scripted};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn batch_has_keys_arrival_times_sub_sequence_numbers_and_lag() {
    let seen = RefCell::new(Vec::new());
    let batch = Batch::new()
        .record("a")
        .key("ann")
        .arrived(SECOND)
        .packed(["b", "c"])
        .record("d")
        .millis_behind_latest(7);
    let report = Daemon::new().deliver(batch).empty_batch().run(processing(|input, _| {
        let lag = input.millis_behind_latest;
        seen.borrow_mut().push(format!("{lag:?}"));
        for record in &input.records {
            let number = record.extended_sequence_number();
            let (key, arrived) = (record.partition_key, record.approximate_arrival);
            seen.borrow_mut().push(format!("{number} {key} {arrived:?} {}", payload(record)));
        }
        Ok(())
    }));
    report.outcome.unwrap();
    assert_eq!(
        *seen.borrow(),
        [
            "Some(7)",
            "1/0 key None a",
            "2/0 ann Some(1s) b",
            "2/1 ann Some(1s) c",
            "3/0 ann Some(1s) d",
            "Some(0)",
        ]
    );
}

#[test]
fn code_runs_between_two_messages() {
    let (is_down, written) = (Cell::new(false), RefCell::new(Vec::new()));
    let processor = Scripted {
        flush: Box::new(|| if is_down.get() { Err("down".into()) } else { Ok(()) }),
        ..processing(|input, _| {
            written.borrow_mut().extend(input.records.iter().map(payload));
            Ok(())
        })
    };
    let report = Daemon::new()
        .batch(["a"])
        .then(|| assert_eq!(*written.borrow(), ["a"]))
        .then(|| is_down.set(true))
        .batch(["b"])
        .run_with(Runtime::new().cadence(Cadence::each_batch()), processor);
    assert_eq!(report.outcome.unwrap_err().to_string(), "shardId-000000000000: flush failed: down");
    assert_eq!(report.checkpoints, ["1/0"]);
}

#[test]
fn failed_assertion_between_two_messages_is_reported() {
    let report = Daemon::new().batch(["a"]).then(|| panic!("not written")).run(scripted());
    let Err(RunError::Panicked { message, .. }) = report.outcome else { panic!("{report:?}") };
    assert_eq!(message, "not written");
}

#[test]
fn retries_beyond_the_timeout_stop_the_daemon() {
    let retry = || OnError::retry(Backoff::up_to(7 * SECOND).first(SECOND).without_jitter());
    let play = |seconds: u32| {
        Daemon::new()
            .timeout(seconds * SECOND)
            .wait(100 * SECOND)
            .batch(["a"])
            .run_with(Runtime::new().on_error(retry()), processing(|_, _| Err("busy".into())))
    };
    let report = play(7);
    assert_eq!(report.timed_out, None);
    assert!(matches!(report.outcome, Err(RunError::Processor { tries: 4, .. })));
    let report = play(6);
    assert_eq!(report.timed_out, Some(Action::ProcessRecords));
    let Err(RunError::HungUp { during, .. }) = report.outcome else { panic!("{report:?}") };
    assert_eq!(during, HungUp::BeforeRetry(Method::ProcessRecords));
}

#[test]
fn checkpoint_retries_beyond_the_shutdown_grace_stop_the_daemon() {
    let daemon = (0..100).fold(Daemon::new(), |daemon, _| {
        daemon.refuse_checkpoint(kcl_runtime::CheckpointError::Throttling)
    });
    let report = daemon
        .shutdown_grace(5 * SECOND)
        .batch(["a"])
        .shutdown_requested()
        .run_with(Runtime::new().cadence(Cadence::every_records(10)), scripted());
    assert_eq!(report.timed_out, Some(Action::ShutdownRequested));
    assert_eq!(report.answered, [Action::Initialize, Action::ProcessRecords]);
}
