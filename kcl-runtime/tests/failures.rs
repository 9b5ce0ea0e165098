//! Tests what follows from an error or a panic, for each method and policy.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::RefCell;
use std::time::Duration;

use kcl_protocol::Action;
use kcl_runtime::testing::Daemon;
use kcl_runtime::{
    Backoff, Cadence, CheckpointError, Checkpointer, HungUp, OnError, ProcessRecordsInput,
    ProcessorError, RecordProcessor, RunError, Runtime, ShardEndCheckpointer, ShardEndError,
    for_each_record,
};
use support::{Scripted, payload, payloads, processing, scripted, warnings};

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

/// A processor with dead letters, which are kept as `tries: payload: error`.
fn keeping<'f>(kept: &'f RefCell<Vec<String>>, processor: Scripted<'f>) -> Scripted<'f> {
    let dead_letter = Box::new(|letter: &kcl_runtime::DeadLetter<'_>| {
        let text = String::from_utf8_lossy(letter.record.data);
        kept.borrow_mut().push(format!("{}: {text}: {}", letter.tries, letter.error));
        Ok(())
    });
    Scripted { dead_letter, ..processor }
}

/// A processor without a `dead_letter` method.
struct Plain<F>(F);

impl<F> RecordProcessor for Plain<F>
where
    F: FnMut(&ProcessRecordsInput<'_>, &mut Checkpointer<'_>) -> kcl_runtime::Result,
{
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> kcl_runtime::Result {
        (self.0)(input, checkpointer)
    }
}

#[test]
fn first_error_ends_the_run_without_a_status_by_default() {
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
fn error_with_its_causes_repeats_nothing() {
    for (input, text) in [
        (&b"{}\n"[..], "field `action`: missing or null"),
        (b"{\"action\":\"leaseLost\"}\n", "a line is longer than the limit of 4 bytes"),
    ] {
        let limit = if input.len() > 4 { 4 } else { 100 };
        let error = Runtime::new()
            .line_limit(limit)
            .run_over(input, Vec::new(), processing(|_, _| Ok(())))
            .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot go on with the daemon's messages: {text}"));
        assert!(std::error::Error::source(&error).is_none(), "{error:?}");
    }
}

#[test]
fn all_causes_are_in_one_line() {
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
fn error_of_initialize_ends_the_run() {
    let processor = Scripted { initialize: Box::new(|_| Err("no database".into())), ..scripted() };
    let report = Daemon::new().batch(["a"]).run(processor);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: initialize failed: no database"
    );
    assert!(report.answered.is_empty());
}

#[test]
fn errors_of_lease_lost_and_shutdown_requested_are_logged() {
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
fn panic_ends_the_run_and_is_never_retried() {
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
fn batch_is_retried_until_it_succeeds() {
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
            "shardId-000000000000: process_records failed: busy; retrying 2 records in 1.0s",
            "shardId-000000000000: process_records failed: busy; retrying 2 records in 2.0s",
        ]
    );
}

#[test]
fn retries_end() {
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
fn retry_starts_after_the_checkpoint() {
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
fn retry_resumes_at_the_named_record() {
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
fn batch_checkpointed_whole_is_not_retried() {
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
fn empty_batch_is_retried() {
    let mut calls = 0;
    let report = Daemon::new().empty_batch().run_with(
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
fn pause_ends_when_the_daemon_hangs_up() {
    let report = Daemon::new()
        .batch(["a"])
        .vanish()
        .run_with(with(OnError::retry(three_retries())), processing(|_, _| Err("busy".into())));
    let error = report.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "shardId-000000000000: the daemon hung up before process_records was retried; expected stdin to stay open until \
         the status"
    );
    let RunError::HungUp { during, .. } = error else { panic!("{error}") };
    assert_eq!(during, HungUp::BeforeRetry(kcl_runtime::Method::ProcessRecords));
}

#[test]
fn failed_records_become_dead_letters_and_the_shard_goes_on() {
    let kept = RefCell::new(Vec::new());
    let (report, warnings) = warnings(|| {
        let processor = processing(|input, _| match input.records.len() {
            2 => Err("poison".into()),
            _ => Ok(()),
        });
        Daemon::new()
            .batch(["bad", "worse"])
            .batch(["good"])
            .run_with(with(OnError::dead_letter()), keeping(&kept, processor))
    });
    report.outcome.unwrap();
    assert_eq!(*kept.borrow(), ["1: bad: poison", "1: worse: poison"]);
    assert_eq!(report.answered, [Initialize, ProcessRecords, ProcessRecords]);
    assert_eq!(warnings, ["shardId-000000000000: 2 records became dead letters: poison"]);
}

#[test]
fn named_record_alone_becomes_a_dead_letter() {
    let kept = RefCell::new(Vec::new());
    let seen = RefCell::new(Vec::new());
    let processor = processing(|input, _| {
        seen.borrow_mut().push(payloads(input));
        for record in &input.records {
            if matches!(record.data, b"bad" | b"worse") {
                return Err(ProcessorError::at(record, "poison"));
            }
        }
        Ok(())
    });
    let report = Daemon::new()
        .batch(["a", "bad", "c", "worse"])
        .run_with(with(OnError::dead_letter()), keeping(&kept, processor));
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["a bad c worse", "c worse"]);
    assert_eq!(*kept.borrow(), ["1: bad: poison", "1: worse: poison"]);
}

#[test]
fn permanent_error_is_never_retried_whatever_the_policy() {
    for policy in [OnError::exit(), OnError::retry(three_retries()), OnError::dead_letter()] {
        let kept = RefCell::new(Vec::new());
        let mut sum = 0;
        let processor = processing(|input, checkpointer| {
            for_each_record(input, |record| {
                let text = str::from_utf8(record.data)?;
                sum += text.parse::<u32>().map_err(ProcessorError::permanent)?;
                Ok(())
            })?;
            Ok(checkpointer.checkpoint()?)
        });
        let report = Daemon::new()
            .batch(["1", "x", "2", "y", "3"])
            .run_with(with(policy), keeping(&kept, processor));
        report.outcome.unwrap();
        assert_eq!(
            *kept.borrow(),
            ["1: x: invalid digit found in string", "1: y: invalid digit found in string"]
        );
        assert_eq!(report.checkpoints, ["5/0"]);
        assert!(report.pauses.is_empty());
        assert_eq!(sum, 6, "each record is counted once");
    }
}

#[test]
fn permanent_error_ends_the_run_if_there_is_no_dead_letter_method() {
    let report = Daemon::new().batch(["a", "b"]).run_with(
        with(OnError::retry(three_retries())),
        Plain(|input: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>| {
            for_each_record(input, |_| Err(ProcessorError::permanent("no JSON")))
        }),
    );
    let error = report.outcome.unwrap_err();
    assert_eq!(error.to_string(), "shardId-000000000000: process_records failed: no JSON");
    assert_eq!(error.shard_id(), Some("shardId-000000000000"));
    assert!(report.pauses.is_empty());
}

#[test]
fn classifier_decides_unless_the_error_says_itself() {
    let kept = RefCell::new(Vec::new());
    let (mut tries, invalid) = (0, vec![0xff]);
    let processor = processing(|input, _| {
        for_each_record(input, |record| match record.data {
            b"utf8" => str::from_utf8(&invalid).map(|_| ()).map_err(Into::into),
            b"busy" => {
                tries += 1;
                let error = str::from_utf8(&invalid).map(|_| ());
                if tries < 3 { error.map_err(ProcessorError::transient) } else { Ok(()) }
            }
            _ => Ok(()),
        })
    });
    let policy = OnError::retry(three_retries())
        .permanent_if(<dyn std::error::Error>::is::<std::str::Utf8Error>);
    let report = Daemon::new()
        .batch(["a", "utf8", "busy", "b"])
        .run_with(with(policy), keeping(&kept, processor));
    report.outcome.unwrap();
    assert_eq!(kept.borrow().len(), 1);
    assert!(kept.borrow()[0].starts_with("1: utf8: invalid utf-8"), "{kept:?}");
    assert_eq!(report.pauses, [seconds(1), seconds(2)]);
}

#[test]
fn retry_resumes_after_the_last_processed_record_so_that_nothing_counts_twice() {
    let counts = RefCell::new(std::collections::BTreeMap::new());
    let mut calls = 0;
    let processor = processing(|input, _| {
        for_each_record(input, |record| {
            calls += 1;
            if calls % 2 == 0 {
                return Err("the sink is busy".into());
            }
            *counts.borrow_mut().entry(payload(record)).or_insert(0) += 1;
            Ok(())
        })
    });
    let report = Daemon::new()
        .batch(["a", "a", "b", "a", "c"])
        .run_with(with(OnError::retry(three_retries())), processor);
    report.outcome.unwrap();
    let counts: Vec<_> = counts.into_inner().into_iter().collect();
    assert_eq!(counts, [("a".to_owned(), 3), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
    assert_eq!(report.pauses, [seconds(1); 4], "the backoff starts anew after progress");
}

#[test]
fn failing_dead_letter_is_retried_as_the_policy_says() {
    let mut calls = 0;
    let processor = Scripted {
        dead_letter: Box::new(|_| {
            calls += 1;
            if calls < 3 { Err("the dead letters' table is busy".into()) } else { Ok(()) }
        }),
        ..processing(|input, _| for_each_record(input, |_| Err(ProcessorError::permanent("bad"))))
    };
    let (report, warnings) = warnings(|| {
        let policy = OnError::retry(three_retries());
        Daemon::new().batch(["a"]).run_with(with(policy), processor)
    });
    report.outcome.unwrap();
    assert_eq!(report.pauses, [seconds(1), seconds(2)]);
    assert_eq!(
        warnings[0],
        "shardId-000000000000: dead_letter failed: the dead letters' table is busy; retrying in \
         1.0s"
    );
}

#[test]
fn checkpointed_records_do_not_become_dead_letters() {
    let kept = RefCell::new(Vec::new());
    let processor = processing(|input, checkpointer| {
        checkpointer.checkpoint_at(&input.records[1])?;
        Err("poison".into())
    });
    let report = Daemon::new()
        .batch(["a", "b", "c"])
        .run_with(with(OnError::dead_letter()), keeping(&kept, processor));
    report.outcome.unwrap();
    assert_eq!(*kept.borrow(), ["1: c: poison"]);
}

#[test]
fn retries_come_before_the_dead_letter_and_are_counted() {
    let kept = RefCell::new(Vec::new());
    let report = Daemon::new().batch(["a"]).run_with(
        with(OnError::retry(three_retries()).then_dead_letter()),
        keeping(&kept, processing(|_, _| Err("poison".into()))),
    );
    report.outcome.unwrap();
    assert_eq!(report.pauses.len(), 3);
    assert_eq!(*kept.borrow(), ["4: a: poison"]);
}

#[test]
fn each_record_has_its_own_retries() {
    let kept = RefCell::new(Vec::new());
    let seen = RefCell::new(Vec::new());
    let processor = processing(|input, _| {
        seen.borrow_mut().push(payloads(input));
        Err(ProcessorError::at(&input.records[0], "poison"))
    });
    let report = Daemon::new().batch(["bad", "worse"]).run_with(
        with(OnError::retry(three_retries()).then_dead_letter()),
        keeping(&kept, processor),
    );
    report.outcome.unwrap();
    assert_eq!(
        *seen.borrow(),
        ["bad worse", "bad worse", "bad worse", "bad worse", "worse", "worse", "worse", "worse",]
    );
    assert_eq!(*kept.borrow(), ["4: bad: poison", "4: worse: poison"]);
    assert_eq!(report.pauses, [1, 2, 4, 1, 2, 4].map(seconds));
}

#[test]
fn checkpoint_inside_the_batch_is_progress_too() {
    let mut calls = 0;
    let processor = processing(|input, checkpointer| {
        calls += 1;
        if calls == 3 {
            checkpointer.checkpoint_at(&input.records[0])?;
        }
        if calls < 6 { Err("busy".into()) } else { Ok(()) }
    });
    let report =
        Daemon::new().batch(["a", "b"]).run_with(with(OnError::retry(three_retries())), processor);
    report.outcome.unwrap();
    assert_eq!(report.pauses, [1, 2, 1, 2, 4].map(seconds));
}

#[test]
fn dead_letter_that_fails_ends_the_run() {
    let processor = Scripted {
        dead_letter: Box::new(|_| Err("the dead letters' file is full".into())),
        ..processing(|_, _| Err("poison".into()))
    };
    let report = Daemon::new().batch(["a"]).run_with(with(OnError::dead_letter()), processor);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: dead_letter failed: the dead letters' file is full"
    );
    assert_eq!(report.answered, [Initialize]);
}

#[test]
fn panic_becomes_a_dead_letter_only_if_set() {
    let process = || processing(|_, _| panic!("torn"));
    let report = Daemon::new().batch(["a"]).run_with(with(OnError::dead_letter()), process());
    assert!(matches!(report.outcome, Err(RunError::Panicked { .. })));

    for policy in [OnError::exit(), OnError::retry(three_retries())] {
        let kept = RefCell::new(Vec::new());
        let report = Daemon::new()
            .batch(["a"])
            .run_with(with(policy.dead_letter_panics()), keeping(&kept, process()));
        report.outcome.unwrap();
        assert_eq!(*kept.borrow(), ["1: a: panicked: torn"]);
    }
}

#[test]
fn message_is_answered_after_the_lease_is_lost_whatever_the_processor_returns() {
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
    assert_eq!(later.as_deref(), Some("ShutdownException: this worker no longer holds the lease"));
    assert_eq!(
        warnings,
        ["shardId-000000000000: ShutdownException: this worker no longer holds the lease; no \
             more checkpoints are requested"]
    );
}

#[test]
fn daemon_that_dies_during_a_checkpoint_ends_the_run_whatever_the_processor_returns() {
    let report = Daemon::new().batch(["a"]).vanish().run(processing(|_, checkpointer| {
        let failed = checkpointer.checkpoint().unwrap_err();
        assert_eq!(failed.to_string(), "ShutdownException: this worker no longer holds the lease");
        assert!(checkpointer.checkpoint().is_err());
        Ok(())
    }));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: the daemon hung up before it read a checkpoint request; expected stdout to stay open"
    );
}

#[test]
fn daemon_that_dies_before_the_status_ends_the_run() {
    let report = Daemon::new().batch(["a"]).vanish().run(scripted());
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: the daemon hung up before it read a status; expected stdout to stay open"
    );
}

/// As a panic's payload, it panics again when the caught panic is dropped.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[test]
fn panic_without_a_message_is_reported() {
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
fn error_whose_text_panics_is_reported() {
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

/// Between two tries, after the last one, after the lease is lost, and in every method.
#[test]
fn error_whose_destructor_panics_is_handled_as_any_error() {
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
        with(policy().then_dead_letter()),
        processing(move |_, _| Err(Undroppable.into())),
    );
    report.outcome.unwrap();
    let report = Daemon::new().batch(["a"]).run_with(
        with(OnError::dead_letter()),
        Scripted {
            dead_letter: Box::new(|_| Err(Undroppable.into())),
            ..processing(|_, _| Err(Undroppable.into()))
        },
    );
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: dead_letter failed: stuck"
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
    let Err(RunError::ShardEnd { cause, .. }) = report.outcome else { panic!("{report:?}") };
    assert!(matches!(cause, ShardEndError::Refused { tries: 1, .. }), "{cause}");
}

/// A destructor that panics during a panic aborts the process, unless the panic is caught.
#[test]
fn error_dropped_during_a_panic_may_panic() {
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
fn endless_chain_of_causes_is_cut() {
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

/// Code of the program that is not the processor.
#[test]
fn panic_of_a_reader_or_writer_is_an_error() {
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
    let outcome = Runtime::new().run_over(Torn, Vec::new(), PanicsAtItsEnd);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "a classifier, reader, writer, timer or log subscriber panicked: torn"
    );
}

#[test]
fn processor_and_classifier_may_both_panic_when_dropped() {
    let (of_processor, of_classifier) = (PanicsWhenDropped, PanicsWhenDropped);
    let policy = OnError::exit().permanent_if(move |_| {
        let _ = &of_classifier;
        true
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
fn panic_of_the_processors_destructor_is_an_error() {
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

    // The earlier failure is reported.
    let held = PanicsAtItsEnd;
    let processor = processing(move |_, _| {
        let _ = &held;
        Err("the sink is full".into())
    });
    let report = Daemon::new().batch(["a"]).run(processor);
    assert!(matches!(report.outcome, Err(RunError::Processor { .. })));
}

#[test]
fn panic_of_dead_letter_ends_the_run() {
    let processor = Scripted {
        dead_letter: Box::new(|_| panic!("torn")),
        ..processing(|_, _| Err("poison".into()))
    };
    let report = Daemon::new().batch(["a"]).run_with(with(OnError::dead_letter()), processor);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: dead_letter panicked: torn"
    );
    assert_eq!(report.answered, [Initialize]);
}

#[test]
fn named_record_is_retried_even_if_a_checkpoint_covers_it() {
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
fn error_that_names_a_record_of_another_batch_names_none() {
    let stranger = kcl_runtime::Record::new("k", "77".parse().unwrap(), b"x").to_owned();
    let kept = RefCell::new(Vec::new());
    let processor = processing(|input, checkpointer| {
        checkpointer.checkpoint_at(&input.records[0])?;
        Err(ProcessorError::at(&stranger.as_record(), "poison"))
    });
    let report = Daemon::new()
        .batch(["a", "b"])
        .run_with(with(OnError::dead_letter()), keeping(&kept, processor));
    report.outcome.unwrap();
    assert_eq!(*kept.borrow(), ["1: b: poison"], "all that no checkpoint covers");
}

#[test]
fn sub_sequences_are_retried_given_up_and_covered_one_by_one() {
    let record = |sub| {
        let payload = format!("{sub}");
        let mut record =
            kcl_runtime::Record::new("k", "21".parse().unwrap(), payload.as_bytes()).to_owned();
        record.sub_sequence_number = Some(sub);
        record
    };
    let seen = RefCell::new(Vec::new());
    let kept = RefCell::new(Vec::new());
    let processor = processing(|input, checkpointer| {
        seen.borrow_mut().push(payloads(input));
        match seen.borrow().len() {
            1 => {
                checkpointer.checkpoint_at(&input.records[0].sequence_number)?;
                Err(ProcessorError::at(&input.records[2], "poison"))
            }
            _ => Err("the rest".into()),
        }
    });
    let report = Daemon::new()
        .records([record(0), record(1), record(2), record(3)])
        .run_with(with(OnError::dead_letter()), keeping(&kept, processor));
    report.outcome.unwrap();
    assert_eq!(*seen.borrow(), ["0 1 2 3", "3"]);
    assert_eq!(*kept.borrow(), ["1: 2: poison", "1: 3: the rest"]);
}

#[test]
fn empty_batch_that_fails_ends_the_run_as_no_record_can_be_a_dead_letter() {
    for policy in [OnError::exit(), OnError::dead_letter()] {
        let report = Daemon::new()
            .empty_batch()
            .run_with(with(policy), processing(|_, _| Err("busy".into())));
        assert!(matches!(report.outcome, Err(RunError::Processor { .. })));
    }
}

#[test]
fn warnings_contain_the_causes() {
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
fn after_the_lease_is_lost_end_of_input_is_normal_and_a_panic_is_ignored() {
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
fn records_out_of_order_do_not_count_as_covered() {
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

#[test]
fn failing_flush_stops_the_checkpoint_and_is_retried() {
    let calls = RefCell::new(Vec::new());
    let processor = Scripted {
        flush: Box::new(|| {
            calls.borrow_mut().push("flush");
            if calls.borrow().len() < 3 { Err("the sink is busy".into()) } else { Ok(()) }
        }),
        ..scripted()
    };
    let runtime = || with(OnError::retry(three_retries())).cadence(Cadence::each_batch());
    let report = Daemon::new().batch(["a"]).run_with(runtime(), processor);
    report.outcome.unwrap();
    assert_eq!(calls.borrow().len(), 3);
    assert_eq!(report.pauses, [seconds(1), seconds(2)]);
    assert_eq!(report.checkpoints, ["1/0"]);

    let never = Scripted { flush: Box::new(|| Err("the sink is gone".into())), ..scripted() };
    let report = Daemon::new().batch(["a"]).run_with(runtime(), never);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: flush failed after 4 tries: the sink is gone"
    );
    assert!(report.checkpoints.is_empty());
    assert_eq!(report.answered, [Initialize]);

    let never =
        Scripted { flush: Box::new(|| Err(ProcessorError::permanent("no table"))), ..scripted() };
    let report = Daemon::new().batch(["a"]).run_with(runtime(), never);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: flush failed: no table"
    );
}

#[test]
fn failing_flush_after_a_shutdown_request_is_logged_and_nothing_is_checkpointed() {
    let processor = Scripted { flush: Box::new(|| Err("the sink is gone".into())), ..scripted() };
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .batch(["a"])
            .shutdown_requested()
            .run_with(Runtime::new().cadence(Cadence::every_records(10)), processor)
    });
    report.outcome.unwrap();
    assert!(report.checkpoints.is_empty());
    assert_eq!(
        warnings,
        ["shardId-000000000000: shutdown_requested failed; records since the last checkpoint \
             will be delivered again: the sink is gone"]
    );
}

#[test]
fn failing_flush_at_the_end_of_the_shard_is_retried_then_ends_the_run() {
    let runtime =
        || Runtime::new().cadence(Cadence::every_records(10)).shard_end_retry(three_retries());
    let mut calls = 0;
    let processor = Scripted {
        flush: Box::new(|| {
            calls += 1;
            if calls < 3 { Err("busy".into()) } else { Ok(()) }
        }),
        ..scripted()
    };
    let report = Daemon::new().batch(["a"]).shard_ended().run_with(runtime(), processor);
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
    assert_eq!(report.pauses, [seconds(1), seconds(2)]);

    let never = Scripted { flush: Box::new(|| Err("gone".into())), ..scripted() };
    let report = Daemon::new().batch(["a"]).shard_ended().run_with(runtime(), never);
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: flush failed after 4 tries: gone"
    );
    assert!(report.checkpoints.is_empty());
}

#[test]
fn boxed_and_created_processors_behave_as_the_processor_itself() {
    let kept = RefCell::new(Vec::new());
    let lost = RefCell::new(Vec::new());
    let create = |input: &kcl_runtime::InitializeInput<'_>| {
        let shard = input.shard_id.to_string();
        let lost = &lost;
        let processor = Scripted {
            lease_lost: Box::new(move || {
                lost.borrow_mut().push(shard.clone());
                Ok(())
            }),
            ..processing(|input, _| {
                for_each_record(input, |_| Err(ProcessorError::permanent("bad")))
            })
        };
        Ok(Box::new(keeping(&kept, processor)) as Box<dyn RecordProcessor>)
    };
    let report =
        Daemon::new().shard_id("s").batch(["a"]).lease_lost().run(kcl_runtime::per_shard(create));
    report.outcome.unwrap();
    assert_eq!(*kept.borrow(), ["1: a: bad"]);
    assert_eq!(*lost.borrow(), ["s"]);

    let failing = |_: &kcl_runtime::InitializeInput<'_>| -> kcl_runtime::Result<Scripted<'_>> {
        Err("no database".into())
    };
    let report = Daemon::new().batch(["a"]).run(kcl_runtime::per_shard(failing));
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: initialize failed: no database"
    );
}
