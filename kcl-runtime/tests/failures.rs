//! What an error or a panic leads to, method by method and policy by policy.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_protocol::Action;
use kcl_runtime::testing::Daemon;
use kcl_runtime::{
    Backoff, CheckpointError, Checkpointer, OnError, ProcessRecordsInput, ProcessorError,
    RecordProcessor, RunError, Runtime, ShardEndCheckpointer, SystemTimer,
};
use support::{Scripted, payloads, processing, scripted, warnings};

use Action::{Initialize, LeaseLost, ProcessRecords, ShutdownRequested};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Pauses of 1 s, 2 s, 4 s.
fn three_retries() -> Backoff {
    Backoff::up_to(seconds(7)).first(seconds(1)).without_jitter()
}

fn with(on_error: OnError) -> Runtime {
    Runtime::new().on_error(on_error)
}

/// A callback that keeps what is skipped, as `tries: payloads: error`.
fn dead_letters() -> (Arc<Mutex<Vec<String>>>, OnError) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = Arc::clone(&kept);
    let policy = OnError::skip(move |failed| {
        let texts: Vec<_> =
            failed.records.iter().map(|record| String::from_utf8_lossy(record.data)).collect();
        let line = format!("{}: {}: {}", failed.tries, texts.join(" "), failed.error);
        keeper.lock().unwrap().push(line);
        Ok(())
    });
    (kept, policy)
}

#[test]
fn by_default_the_first_error_ends_the_run_without_a_status() {
    let report = Daemon::new()
        .batch(["a"])
        .batch(["b"])
        .run(processing(|_, _| Err("the sink is full".into())));
    let error = report.outcome.unwrap_err();
    assert_eq!(error.to_string(), "shardId-000000000000: process_records failed: the sink is full");
    assert!(matches!(error, RunError::Processor { tries: 1, .. }));
    assert_eq!(report.answered, [Initialize]);
    assert_eq!(report.steps_left, 1);
}

#[test]
fn an_error_that_is_printed_with_its_causes_says_nothing_twice() {
    for (input, text) in [
        (&b"{}\n"[..], "field `action`: missing or null"),
        (b"{\"action\":\"leaseLost\"}\n", "a line is longer than the limit of 4 bytes"),
    ] {
        let limit = if input.len() > 4 { 4 } else { 100 };
        let error = Runtime::new()
            .line_limit(limit)
            .run_over(input, Vec::new(), SystemTimer::new(), processing(|_, _| Ok(())))
            .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot go on with the daemon's messages: {text}"));
        assert!(std::error::Error::source(&error).is_none(), "{error:?}");
    }
}

#[test]
fn the_whole_chain_of_causes_is_in_the_one_line() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot store the batch")]
    struct Outer(#[source] std::num::ParseIntError);

    let report = Daemon::new().batch(["a"]).run(processing(|_, _| {
        "x".parse::<u8>().map_err(Outer)?;
        Ok(())
    }));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records failed: cannot store the batch: invalid digit found \
         in string"
    );
}

#[test]
fn an_error_of_initialize_ends_the_run() {
    let processor = Scripted { initialize: Box::new(|_| Err("no database".into())), ..scripted() };
    let report = Daemon::new().batch(["a"]).run(processor);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: initialize failed: no database"
    );
    assert!(report.answered.is_empty());
}

#[test]
fn errors_of_lease_lost_and_shutdown_requested_are_logged_and_answered() {
    let processor = Scripted {
        lease_lost: Box::new(|| Err("no flush".into())),
        shutdown_requested: Box::new(|_| panic!("no time")),
        ..scripted()
    };
    let (report, warnings) =
        warnings(|| Daemon::new().shutdown_requested().lease_lost().run(processor));
    report.outcome.unwrap();
    assert_eq!(report.answered, [Initialize, ShutdownRequested, LeaseLost]);
    assert_eq!(
        warnings,
        [
            "shardId-000000000000: shutdown_requested failed; records since the last checkpoint \
             will be delivered again: panicked: no time",
            "shardId-000000000000: lease_lost failed: no flush",
        ]
    );
}

#[test]
fn a_panic_ends_the_run_and_is_never_retried() {
    let mut calls = 0;
    let report = Daemon::new().batch(["a"]).run_with(
        with(OnError::retry(three_retries())),
        processing(|_, _| {
            calls += 1;
            panic!("index out of {}", "range")
        }),
    );
    let error = report.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "shardId-000000000000: process_records panicked: index out of range"
    );
    assert_eq!(calls, 1);
    assert_eq!(report.answered, [Initialize]);
}

#[test]
fn a_retry_delivers_the_batch_again_until_it_succeeds() {
    let seen = RefCell::new(Vec::new());
    let (report, warnings) = warnings(|| {
        Daemon::new().batch(["a", "b"]).run_with(
            with(OnError::retry(three_retries())),
            processing(|input, _| {
                seen.borrow_mut().push(payloads(input));
                if seen.borrow().len() < 3 { Err("busy".into()) } else { Ok(()) }
            }),
        )
    });
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a b", "a b", "a b"]);
    assert_eq!(report.pauses, [seconds(1), seconds(2)]);
    assert_eq!(report.answered, [Initialize, ProcessRecords]);
    assert_eq!(
        warnings,
        [
            "shardId-000000000000: process_records failed: busy; retrying 2 of 2 records in 1.0s",
            "shardId-000000000000: process_records failed: busy; retrying 2 of 2 records in 2.0s",
        ]
    );
}

#[test]
fn retries_have_an_end() {
    let report = Daemon::new()
        .batch(["a"])
        .run_with(with(OnError::retry(three_retries())), processing(|_, _| Err("busy".into())));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records failed after 4 tries: busy"
    );
    assert_eq!(report.pauses, [seconds(1), seconds(2), seconds(4)]);
}

#[test]
fn a_retry_starts_behind_what_was_checkpointed() {
    let seen = RefCell::new(Vec::new());
    let report = Daemon::new().batch(["a", "b", "c"]).run_with(
        with(OnError::retry(three_retries())),
        processing(|input, checkpointer| {
            seen.borrow_mut().push(payloads(input));
            if seen.borrow().len() == 1 {
                checkpointer.checkpoint_at(&input.records[0])?;
                return Err("busy".into());
            }
            Ok(())
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a b c", "b c"]);
}

#[test]
fn a_retry_resumes_at_the_record_that_the_error_names() {
    let seen = RefCell::new(Vec::new());
    let report = Daemon::new().batch(["a", "b", "c"]).run_with(
        with(OnError::retry(three_retries())),
        processing(|input, _| {
            seen.borrow_mut().push(payloads(input));
            match seen.borrow().len() {
                1 => Err(ProcessorError::at(&input.records[1], "busy")),
                2 => Err(ProcessorError::at(&input.records[0], "still busy")),
                _ => Ok(()),
            }
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a b c", "b c", "b c"]);
}

#[test]
fn a_batch_checkpointed_whole_is_not_tried_again() {
    let (report, warnings) = warnings(|| {
        Daemon::new().batch(["a", "b"]).run_with(
            with(OnError::retry(three_retries())),
            processing(|_, checkpointer| {
                checkpointer.checkpoint()?;
                Err("late".into())
            }),
        )
    });
    report.outcome.unwrap();
    assert!(report.pauses.is_empty());
    assert_eq!(
        warnings,
        ["shardId-000000000000: process_records failed after it checkpointed the whole batch; \
             nothing is left to retry: late"]
    );
}

#[test]
fn an_empty_batch_may_be_tried_again_too() {
    let mut calls = 0;
    let report = Daemon::new().batch([""; 0]).run_with(
        with(OnError::retry(three_retries())),
        processing(|_, _| {
            calls += 1;
            if calls == 1 { Err("busy".into()) } else { Ok(()) }
        }),
    );
    report.outcome.unwrap();
    assert_eq!(calls, 2);
}

#[test]
fn pauses_end_when_the_daemon_hangs_up() {
    let report = Daemon::new()
        .batch(["a"])
        .vanish()
        .run_with(with(OnError::retry(three_retries())), processing(|_, _| Err("busy".into())));
    let error = report.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon hung up before process_records was retried; expected stdin to stay open until \
         the status"
    );
    assert!(matches!(error, RunError::HungUp { .. }));
}

#[test]
fn skipped_records_go_to_the_callback_and_the_shard_goes_on() {
    let (kept, policy) = dead_letters();
    let (report, warnings) = warnings(|| {
        Daemon::new().batch(["bad", "worse"]).batch(["good"]).run_with(
            with(policy),
            processing(|input, _| match input.records.len() {
                2 => Err("poison".into()),
                _ => Ok(()),
            }),
        )
    });
    report.outcome.unwrap();
    assert_eq!(*kept.lock().unwrap(), ["1: bad worse: poison"]);
    assert_eq!(report.answered, [Initialize, ProcessRecords, ProcessRecords]);
    assert_eq!(
        warnings,
        ["shardId-000000000000: skipped 2 records, saved by the callback: poison"]
    );
}

#[test]
fn a_named_record_is_skipped_alone() {
    let (kept, policy) = dead_letters();
    let seen = RefCell::new(Vec::new());
    let report = Daemon::new().batch(["a", "bad", "c", "worse"]).run_with(
        with(policy),
        processing(|input, _| {
            seen.borrow_mut().push(payloads(input));
            for record in &input.records {
                if matches!(record.data, b"bad" | b"worse") {
                    return Err(ProcessorError::at(record, "poison"));
                }
            }
            Ok(())
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a bad c worse", "c worse"]);
    assert_eq!(*kept.lock().unwrap(), ["1: bad: poison", "1: worse: poison"]);
}

#[test]
fn what_was_checkpointed_is_not_skipped() {
    let (kept, policy) = dead_letters();
    let report = Daemon::new().batch(["a", "b", "c"]).run_with(
        with(policy),
        processing(|input, checkpointer| {
            checkpointer.checkpoint_at(&input.records[1])?;
            Err("poison".into())
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*kept.lock().unwrap(), ["1: c: poison"]);
}

#[test]
fn retries_come_before_the_skip_and_are_counted() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = Arc::clone(&kept);
    let runtime = with(OnError::retry(three_retries()).then_skip(move |failed| {
        keeper.lock().unwrap().push(format!("{} tries", failed.tries));
        Ok(())
    }));
    let report =
        Daemon::new().batch(["a"]).run_with(runtime, processing(|_, _| Err("poison".into())));
    report.outcome.unwrap();
    assert_eq!(report.pauses.len(), 3);
    assert_eq!(*kept.lock().unwrap(), ["4 tries"]);
}

#[test]
fn all_retries_of_a_batch_share_its_pauses() {
    let seen = RefCell::new(Vec::new());
    let runtime = with(OnError::retry(three_retries()).then_skip(|_| Ok(())));
    let report = Daemon::new().batch(["bad", "worse"]).run_with(
        runtime,
        processing(|input, _| {
            seen.borrow_mut().push(payloads(input));
            Err(ProcessorError::at(&input.records[0], "poison"))
        }),
    );
    report.outcome.unwrap();
    assert_eq!(
        *seen.borrow(),
        ["bad worse", "bad worse", "bad worse", "bad worse", "worse"],
        "the second record finds no pauses left"
    );
    assert_eq!(report.pauses.len(), 3);
}

#[test]
fn a_callback_that_fails_ends_the_run() {
    let report = Daemon::new().batch(["a"]).run_with(
        with(OnError::skip(|_| Err("the dead letters' file is full".into()))),
        processing(|_, _| Err("poison".into())),
    );
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: the callback for skipped records failed: the dead letters' file is \
         full"
    );
    assert_eq!(report.answered, [Initialize]);
}

#[test]
fn a_panic_is_skipped_only_if_asked() {
    let process = || processing(|_, _| panic!("torn"));
    let report = Daemon::new().batch(["a"]).run_with(with(OnError::skip(|_| Ok(()))), process());
    assert!(matches!(report.outcome, Err(RunError::Panicked { .. })));

    let (kept, policy) = dead_letters();
    let report = Daemon::new().batch(["a"]).run_with(with(policy.skip_panics()), process());
    report.outcome.unwrap();
    assert_eq!(*kept.lock().unwrap(), ["1: a: panicked: torn"]);
}

#[test]
fn when_the_lease_is_gone_whatever_the_processor_returns_is_answered() {
    let mut later = None;
    let processor = Scripted {
        shutdown_requested: Box::new(|checkpointer| {
            later = Some(checkpointer.checkpoint().unwrap_err().to_string());
            Ok(())
        }),
        ..processing(|_, checkpointer| Ok(checkpointer.checkpoint()?))
    };
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .refuse_checkpoint(CheckpointError::Shutdown)
            .batch(["a"])
            .batch(["b"])
            .shutdown_requested()
            .lease_lost()
            .run(processor)
    });
    report.outcome.unwrap();
    assert_eq!(
        report.answered,
        [Initialize, ProcessRecords, ProcessRecords, ShutdownRequested, LeaseLost]
    );
    assert_eq!(report.refused, [CheckpointError::Shutdown], "no second checkpoint is asked for");
    assert_eq!(
        later.as_deref(),
        Some("checkpoint refused: ShutdownException: this worker no longer holds the lease")
    );
    assert_eq!(
        warnings,
        ["shardId-000000000000: ShutdownException: this worker no longer holds the lease; no \
             more checkpoints are requested"]
    );
}

#[test]
fn a_daemon_that_dies_under_a_checkpoint_ends_the_run_whatever_the_processor_returns() {
    let report = Daemon::new().batch(["a"]).vanish().run(processing(|_, checkpointer| {
        let failed = checkpointer.checkpoint().unwrap_err();
        assert_eq!(
            failed.to_string(),
            "checkpoint not possible: the conversation with the daemon is broken"
        );
        assert!(checkpointer.checkpoint().is_err());
        Ok(())
    }));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "the daemon hung up before it read a checkpoint request; expected stdout to stay open"
    );
}

#[test]
fn a_daemon_that_dies_before_the_status_ends_the_run() {
    let report = Daemon::new().batch(["a"]).vanish().run(scripted());
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "the daemon hung up before it read a status; expected stdout to stay open"
    );
}

/// As a panic's payload it panics when the panic has been caught.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[test]
fn a_panic_without_a_text_is_an_error_like_any_other() {
    let report =
        Daemon::new().batch(["a"]).run(processing(|_, _| std::panic::panic_any(PanicsWhenDropped)));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records panicked: (no message)"
    );
}

/// An error that cannot even be printed.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Unprintable {}

#[test]
fn an_error_whose_text_panics_ends_the_run_in_the_usual_way() {
    let runtime = with(OnError::retry(three_retries()));
    let report =
        Daemon::new().batch(["a"]).run_with(runtime, processing(|_, _| Err(Unprintable.into())));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records failed after 4 tries: an error whose own text panics"
    );
    let processor = Scripted { lease_lost: Box::new(|| Err(Unprintable.into())), ..scripted() };
    let (report, warnings) = warnings(|| Daemon::new().lease_lost().run(processor));
    report.outcome.unwrap();
    assert_eq!(
        warnings,
        ["shardId-000000000000: lease_lost failed: an error whose own text panics"]
    );
}

/// An error whose destructor panics.
#[derive(Debug)]
struct Undroppable;

impl std::fmt::Display for Undroppable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stuck")
    }
}

impl std::error::Error for Undroppable {}

impl Drop for Undroppable {
    fn drop(&mut self) {
        std::panic::panic_any(PanicsWhenDropped);
    }
}

/// Between two tries, after the last one, behind the lease, in an answer to any message.
#[test]
fn an_error_whose_destructor_panics_is_an_error_like_any_other() {
    let stuck = || Err(Undroppable.into());
    let policy = || OnError::retry(three_retries());
    let report = Daemon::new()
        .batch(["a"])
        .run_with(with(policy()), processing(move |_, _| Err(Undroppable.into())));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records failed after 4 tries: stuck"
    );

    let mut tries = 0;
    let succeeds_later = processing(move |_, _| {
        tries += 1;
        if tries < 3 { Err(Undroppable.into()) } else { Ok(()) }
    });
    let report = Daemon::new().batch(["a"]).lease_lost().run_with(with(policy()), succeeds_later);
    report.outcome.unwrap();
    assert_eq!(report.answered, [Initialize, ProcessRecords, LeaseLost]);

    let report = Daemon::new().batch(["a"]).lease_lost().run_with(
        with(policy().then_skip(move |_| Ok(()))),
        processing(move |_, _| Err(Undroppable.into())),
    );
    report.outcome.unwrap();
    let report = Daemon::new().batch(["a"]).run_with(
        with(OnError::skip(move |_| Err(Undroppable.into()))),
        processing(|_, _| Err(Undroppable.into())),
    );
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: the callback for skipped records failed: stuck"
    );

    let processor = Scripted {
        lease_lost: Box::new(stuck),
        shutdown_requested: Box::new(move |_| stuck()),
        ..scripted()
    };
    let report = Daemon::new().shutdown_requested().lease_lost().run(processor);
    report.outcome.unwrap();
    assert_eq!(report.answered, [Initialize, ShutdownRequested, LeaseLost]);

    let mut tries = 0;
    let shard_ended = Box::new(move |checkpointer: &mut ShardEndCheckpointer<'_>| {
        tries += 1;
        if tries < 3 { stuck() } else { Ok(checkpointer.checkpoint()?) }
    });
    let report = Daemon::new().shard_ended().run(Scripted { shard_ended, ..scripted() });
    report.outcome.unwrap();
    let after_refusal = Box::new(move |checkpointer: &mut ShardEndCheckpointer<'_>| {
        let _ = checkpointer.checkpoint();
        stuck()
    });
    let report = Daemon::new()
        .refuse_checkpoint(CheckpointError::InvalidState)
        .shard_ended()
        .run(Scripted { shard_ended: after_refusal, ..scripted() });
    assert!(matches!(report.outcome, Err(RunError::ShardEnd { .. })));
}

/// A destructor that runs while another panic unwinds may not panic itself, unless it is ours.
#[test]
fn an_error_that_is_dropped_by_a_panic_may_panic_too() {
    let report = Daemon::new().batch(["a"]).run(processing(|_, _| {
        let _error = ProcessorError::from(Undroppable);
        panic!("torn")
    }));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: process_records panicked: torn"
    );
}

#[test]
fn an_error_that_is_its_own_cause_is_told_in_part() {
    #[derive(Debug)]
    struct Endless(u32);
    impl std::fmt::Display for Endless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "turn {}", self.0)
        }
    }
    static TURNS: [Endless; 2] = [Endless(0), Endless(1)];
    impl std::error::Error for Endless {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&TURNS[1 - self.0 as usize])
        }
    }
    let report = Daemon::new().batch(["a"]).run(processing(|_, _| Err(Endless(0).into())));
    let text = report.outcome.unwrap_err().to_string();
    assert_eq!(text.matches("turn").count(), 101);
}

/// Everything that is not the processor, and is not ours either.
#[test]
fn a_panic_of_a_reader_or_writer_is_an_error() {
    struct Torn;
    impl std::io::Read for Torn {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("torn")
        }
    }
    impl Drop for Torn {
        fn drop(&mut self) {
            panic!("and once more")
        }
    }
    struct PanicsAtItsEnd;
    impl RecordProcessor for PanicsAtItsEnd {
        fn process_records(
            &mut self,
            _: &ProcessRecordsInput<'_>,
            _: &mut Checkpointer<'_>,
        ) -> kcl_runtime::Result {
            Ok(())
        }
    }
    impl Drop for PanicsAtItsEnd {
        fn drop(&mut self) {
            panic!("no flush")
        }
    }
    let outcome = Runtime::new().run_over(Torn, Vec::new(), SystemTimer::new(), PanicsAtItsEnd);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "a reader, writer, timer or log subscriber panicked: torn"
    );
}

#[test]
fn a_processor_and_a_callback_may_both_panic_at_their_end() {
    let (of_processor, of_callback) = (PanicsWhenDropped, PanicsWhenDropped);
    let policy = OnError::skip(move |_| {
        let _ = &of_callback;
        Ok(())
    });
    let processor = processing(move |_, _| {
        let _ = &of_processor;
        Ok(())
    });
    let report = Daemon::new().batch(["a"]).lease_lost().run_with(with(policy), processor);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: drop panicked: and once more"
    );
}

#[test]
fn a_panic_of_the_processors_destructor_is_an_error() {
    struct PanicsAtItsEnd;
    impl Drop for PanicsAtItsEnd {
        fn drop(&mut self) {
            panic!("no flush");
        }
    }
    let held = PanicsAtItsEnd;
    let processor = processing(move |_, _| {
        let _ = &held;
        Ok(())
    });
    let report = Daemon::new().batch(["a"]).lease_lost().run(processor);
    let error = report.outcome.unwrap_err();
    assert_eq!(error.to_string(), "shardId-000000000000: drop panicked: no flush");
    assert_eq!(report.answered, [Initialize, ProcessRecords, LeaseLost]);

    // What went wrong before is the better reason.
    let held = PanicsAtItsEnd;
    let processor = processing(move |_, _| {
        let _ = &held;
        Err("the sink is full".into())
    });
    let report = Daemon::new().batch(["a"]).run(processor);
    assert!(matches!(report.outcome, Err(RunError::Processor { .. })));
}

#[test]
fn a_panic_of_the_callback_ends_the_run() {
    let report = Daemon::new()
        .batch(["a"])
        .run_with(with(OnError::skip(|_| panic!("torn"))), processing(|_, _| Err("poison".into())));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: the callback for skipped records panicked: torn"
    );
    assert_eq!(report.answered, [Initialize]);
}

#[test]
fn a_record_that_an_error_names_is_tried_again_even_if_a_checkpoint_covers_it() {
    let seen = RefCell::new(Vec::new());
    let runtime = with(OnError::retry(three_retries()));
    let report = Daemon::new().batch(["a", "b", "c"]).run_with(
        runtime,
        processing(|input, checkpointer| {
            seen.borrow_mut().push(payloads(input));
            if seen.borrow().len() == 1 {
                checkpointer.checkpoint()?;
                return Err(ProcessorError::at(&input.records[1], "busy"));
            }
            Ok(())
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a b c", "b c"]);
}

#[test]
fn a_record_that_is_not_of_the_batch_names_none() {
    let stranger = kcl_runtime::Record::new("k", "77".parse().unwrap(), b"x").to_owned();
    let (kept, policy) = dead_letters();
    let report = Daemon::new().batch(["a", "b"]).run_with(
        with(policy),
        processing(|input, checkpointer| {
            checkpointer.checkpoint_at(&input.records[0])?;
            Err(ProcessorError::at(&stranger.as_record(), "poison"))
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*kept.lock().unwrap(), ["1: b: poison"], "all that no checkpoint covers");
}

#[test]
fn sub_sequences_are_retried_skipped_and_covered_one_by_one() {
    let record = |sub| {
        let payload = format!("{sub}");
        let mut record =
            kcl_runtime::Record::new("k", "21".parse().unwrap(), payload.as_bytes()).to_owned();
        record.sub_sequence_number = Some(sub);
        record
    };
    let seen = RefCell::new(Vec::new());
    let (kept, policy) = dead_letters();
    let report = Daemon::new().records([record(0), record(1), record(2), record(3)]).run_with(
        with(policy),
        processing(|input, checkpointer| {
            seen.borrow_mut().push(payloads(input));
            match seen.borrow().len() {
                1 => {
                    checkpointer.checkpoint_at(&input.records[0].sequence_number)?;
                    Err(ProcessorError::at(&input.records[2], "poison"))
                }
                _ => Err("the rest".into()),
            }
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["0 1 2 3", "3"]);
    assert_eq!(*kept.lock().unwrap(), ["1: 2: poison", "1: 3: the rest"]);
}

#[test]
fn an_empty_batch_that_fails_leaves_nothing_to_skip() {
    let (kept, policy) = dead_letters();
    let fails = || processing(|_, _| Err("busy".into()));
    let report = Daemon::new().batch([""; 0]).run_with(with(policy), fails());
    report.outcome.unwrap();
    assert!(kept.lock().unwrap().is_empty());
    let report = Daemon::new().batch([""; 0]).run(fails());
    assert!(matches!(report.outcome, Err(RunError::Processor { .. })));
}

#[test]
fn warnings_tell_the_causes_too() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot flush")]
    struct Outer(#[source] std::num::ParseIntError);

    let processor = Scripted {
        lease_lost: Box::new(|| {
            "x".parse::<u8>().map_err(Outer)?;
            Ok(())
        }),
        ..scripted()
    };
    let (_, warnings) = warnings(|| Daemon::new().lease_lost().run(processor));
    assert_eq!(
        warnings,
        ["shardId-000000000000: lease_lost failed: cannot flush: invalid digit found in string"]
    );
}

#[test]
fn after_the_lease_is_gone_eof_is_a_normal_end_and_a_panic_is_answered_too() {
    let processor = processing(|_, checkpointer| {
        assert!(checkpointer.checkpoint().unwrap_err().is_lease_lost());
        panic!("torn");
    });
    let report =
        Daemon::new().refuse_checkpoint(CheckpointError::Shutdown).batch(["a"]).run(processor);
    report.outcome.unwrap();
    assert_eq!(report.answered, [Initialize, ProcessRecords]);
}

#[test]
fn records_out_of_order_are_not_taken_for_covered() {
    let record =
        |number: &str| kcl_runtime::Record::new("k", number.parse().unwrap(), b"").to_owned();
    let lengths = RefCell::new(Vec::new());
    let report = Daemon::new().records(["7", "3", "4", "5", "9"].map(record)).run_with(
        with(OnError::retry(three_retries())),
        processing(|input, checkpointer| {
            lengths.borrow_mut().push(input.records.len());
            if lengths.borrow().len() > 1 {
                return Ok(());
            }
            checkpointer.checkpoint_at(&input.records[3])?;
            Err("busy".into())
        }),
    );
    report.outcome.unwrap();
    assert_eq!(*lengths.borrow(), [5, 5], "the first one is behind the checkpoint at 5");
}
