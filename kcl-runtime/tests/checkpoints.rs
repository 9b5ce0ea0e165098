//! Tests when checkpoints are requested, how they are retried, and how a shard ends.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::RefCell;
use std::time::Duration;

use kcl_protocol::{Action, Record, SequenceNumber, ShutdownReason};
use kcl_runtime::testing::Daemon;
use kcl_runtime::{
    Backoff, Cadence, CheckpointError, ExtendedSequenceNumber, RunError, Runtime, ShardEndError,
};
use support::{Scripted, processing, scripted, warnings};

const MINUTE: Duration = Duration::from_secs(60);

fn every(cadence: Cadence) -> Runtime {
    Runtime::new().cadence(cadence)
}

#[test]
fn checkpoint_at_a_record_sends_both_numbers_and_at_a_number_only_that() {
    let record = |sub| {
        let mut record = Record::new("k", SequenceNumber::new("21").unwrap(), b"x").to_owned();
        record.sub_sequence_number = Some(sub);
        record
    };
    let report = Daemon::new().records([record(0), record(1), record(2), record(3)]).run(
        processing(|input, checkpointer| {
            checkpointer.checkpoint_at(&input.records[0].sequence_number)?;
            checkpointer.checkpoint_at(&input.records[1])?;
            let number = input.records[0].sequence_number.borrowed();
            checkpointer.checkpoint_at(ExtendedSequenceNumber::new(number, 2))?;
            Ok(checkpointer.checkpoint()?)
        }),
    );
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["21/0", "21/1", "21/2", "21/3"]);
}

#[test]
fn error_that_may_pass_is_retried_within_the_backoff() {
    let runtime = Runtime::new().checkpoint_retry(
        Backoff::up_to(Duration::from_secs(3)).first(Duration::from_secs(1)).without_jitter(),
    );
    let report = Daemon::new()
        .refuse_checkpoint(CheckpointError::Throttling)
        .refuse_checkpoint(CheckpointError::Dependency)
        .batch(["a"])
        .run_with(runtime, processing(|_, checkpointer| Ok(checkpointer.checkpoint()?)));
    report.outcome.unwrap();
    assert_eq!(report.pauses, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!(report.checkpoints, ["1/0"]);
}

#[test]
fn only_a_wrong_position_and_a_lost_lease_are_errors_of_a_checkpoint() {
    let off = Runtime::new().checkpoint_retry(Backoff::none());
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .refuse_checkpoint(CheckpointError::Throttling)
            .refuse_checkpoint(CheckpointError::Other("OddException".into()))
            .batch(["a"])
            .run_with(
                off,
                processing(|_, checkpointer| {
                    checkpointer.checkpoint()?;
                    checkpointer.checkpoint()?;
                    assert_eq!(checkpointer.stored(), None);
                    let ahead = SequenceNumber::new("2").unwrap();
                    let error = checkpointer.checkpoint_at(&ahead).unwrap_err();
                    assert_eq!(error, CheckpointError::IllegalArgument);
                    checkpointer.checkpoint()?;
                    assert_eq!(checkpointer.stored().unwrap().to_string(), "1/0");
                    Ok(())
                }),
            )
    });
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["1/0"]);
    assert!(report.pauses.is_empty());
    assert_eq!(
        warnings,
        [
            "shardId-000000000000: checkpoint refused: ThrottlingException: try again later; the \
             next checkpoint will cover these records",
            "shardId-000000000000: checkpoint refused: OddException: see the daemon's log; the \
             next checkpoint will cover these records",
        ]
    );
}

#[test]
fn throttled_checkpoint_does_not_end_the_worker() {
    let throttled = (0..100)
        .fold(Daemon::new(), |daemon, _| daemon.refuse_checkpoint(CheckpointError::Throttling));
    let (report, warnings) = warnings(|| {
        throttled
            .batch(["a"])
            .batch(["b"])
            .run(processing(|_, checkpointer| Ok(checkpointer.checkpoint()?)))
    });
    report.outcome.unwrap();
    assert_eq!(report.answered.len(), 3);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn checkpoint_is_retried_for_thirty_seconds_by_default() {
    let throttled = (0..100)
        .fold(Daemon::new(), |daemon, _| daemon.refuse_checkpoint(CheckpointError::Throttling));
    let report = throttled.batch(["a"]).run(processing(|_, checkpointer| {
        checkpointer.checkpoint()?;
        assert_eq!(checkpointer.stored(), None);
        Ok(())
    }));
    report.outcome.unwrap();
    let total: Duration = report.pauses.iter().sum();
    assert!(total <= Duration::from_secs(30) && report.pauses.len() > 5, "{:?}", report.pauses);
}

#[test]
fn each_batch_is_checkpointed() {
    let report = Daemon::new()
        .batch(["a", "b"])
        .empty_batch()
        .batch(["c"])
        .shutdown_requested()
        .run_with(every(Cadence::each_batch()), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["2/0", "3/0"]);
}

#[test]
fn records_count_since_the_last_checkpoint() {
    let report = Daemon::new()
        .batch(["1", "2"])
        .batch(["3", "4"])
        .batch(["5"])
        .batch(["6", "7"])
        .batch(["8"])
        .run_with(every(Cadence::every_records(3)), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["4/0", "7/0"]);
}

#[test]
fn time_is_checked_after_a_batch() {
    let report = Daemon::new()
        .batch(["1"])
        .wait(MINUTE)
        .batch(["2"])
        .batch(["3"])
        .wait(MINUTE)
        .shutdown_requested()
        .run_with(every(Cadence::every(MINUTE)), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["2/0", "3/0"]);
}

#[test]
fn refused_checkpoint_of_a_cadence_is_a_warning_and_the_next_one_covers_it() {
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .refuse_checkpoint(CheckpointError::InvalidState)
            .batch(["a"])
            .empty_batch()
            .run_with(every(Cadence::each_batch()), scripted())
    });
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["1/0"]);
    assert_eq!(
        warnings,
        ["shardId-000000000000: checkpoint refused: InvalidStateException: the lease table \
             cannot be used, or no checkpoint is allowed now; the next checkpoint will cover \
             these records"]
    );
}

#[test]
fn failed_batch_is_not_checkpointed() {
    let report = Daemon::new()
        .batch(["a"])
        .run_with(every(Cadence::each_batch()), processing(|_, _| Err("no".into())));
    assert!(report.outcome.is_err() && report.checkpoints.is_empty());
}

#[test]
fn five_minutes_without_a_checkpoint_cause_one_warning() {
    let daemon = (0..20).fold(Daemon::new(), |daemon, _| daemon.batch(["a", "b"]).wait(MINUTE));
    let (report, warnings) = warnings(|| daemon.run(scripted()));
    report.outcome.unwrap();
    assert_eq!(
        warnings,
        ["shardId-000000000000: 12 records in 5 minutes without a checkpoint: a restart will \
             deliver all of them again; call checkpointer.checkpoint(), or set Runtime::cadence"]
    );
}

#[test]
fn processor_that_checkpoints_causes_no_warning() {
    let daemon = (0..20).fold(Daemon::new(), |daemon, _| daemon.batch(["a"]).wait(MINUTE));
    let mut batches = 0;
    let (report, warnings) = warnings(|| {
        daemon.run(processing(|_, checkpointer| {
            batches += 1;
            if batches % 3 == 0 {
                checkpointer.checkpoint()?;
            }
            Ok(())
        }))
    });
    report.outcome.unwrap();
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn manual_cadence_checkpoints_nothing_on_a_shutdown_request() {
    let report = Daemon::new().batch(["a"]).shutdown_requested().run(scripted());
    report.outcome.unwrap();
    assert!(report.checkpoints.is_empty() && report.refused.is_empty());
    assert_eq!(report.answered.last(), Some(&Action::ShutdownRequested));
}

#[test]
fn time_of_zero_means_after_each_batch() {
    let report = Daemon::new()
        .batch(["a"])
        .refuse_checkpoint(CheckpointError::InvalidState)
        .batch(["b"])
        .empty_batch()
        .run_with(every(Cadence::every(Duration::ZERO)), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["1/0", "2/0"]);
}

#[test]
fn cadence_requests_nothing_after_the_lease_is_lost() {
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .refuse_checkpoint(CheckpointError::Shutdown)
            .batch(["a"])
            .batch(["b"])
            .shutdown_requested()
            .shard_ended()
            .run_with(every(Cadence::each_batch()), scripted())
    });
    report.outcome.unwrap();
    assert_eq!(report.refused, [CheckpointError::Shutdown]);
    assert_eq!(report.answered.last(), Some(&Action::ShardEnded));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn foreign_line_instead_of_a_checkpoints_answer_is_shown() {
    let input = b"{\"action\":\"initialize\",\"shardId\":\"s\"}\n\
                  {\"action\":\"shutdownRequested\"}\nPicked up _JAVA_OPTIONS\n";
    let processor = Scripted {
        shutdown_requested: Box::new(|checkpointer| Ok(checkpointer.checkpoint()?)),
        ..scripted()
    };
    let error = Runtime::new().run_over(&input[..], Vec::new(), processor).unwrap_err();
    assert!(matches!(error, RunError::Foreign { .. }), "{error}");
    assert!(error.to_string().ends_with("; the line begins: Picked up _JAVA_OPTIONS"), "{error}");
}

#[test]
fn cadence_checkpoints_the_end_of_the_shard() {
    let report = Daemon::new()
        .batch(["a"])
        .shard_ended()
        .run_with(every(Cadence::every_records(100)), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
    assert_eq!(report.answered.last(), Some(&Action::ShardEnded));
}

#[test]
fn manual_cadence_checkpoints_the_end_only_if_the_last_record_is_covered() {
    let checkpoints_each =
        || processing(|input, checkpointer| Ok(checkpointer.checkpoint_at(&input.records[0])?));
    let report = Daemon::new().batch(["a"]).shard_ended().run(checkpoints_each());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["1/0", "SHARD_END/0"]);

    let report = Daemon::new().batch(["a", "b"]).shard_ended().run(checkpoints_each());
    let error = report.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "shardId-000000000000: shard_ended: no checkpoint was made, and the processor's last \
         checkpoint does not cover all records (write `checkpointer.checkpoint()?` in shard_ended \
         once they are processed); an answer now would leave the shard unfinished: its child \
         shards would not be read until another worker takes it over"
    );
    assert!(matches!(error, RunError::ShardEnd { cause: ShardEndError::NoCheckpoint, .. }));
    assert_eq!(report.answered.last(), Some(&Action::ProcessRecords));
}

#[test]
fn number_alone_does_not_cover_the_last_of_its_sub_sequences() {
    let record = |sub| {
        let mut record = Record::new("k", SequenceNumber::new("21").unwrap(), b"x").to_owned();
        record.sub_sequence_number = Some(sub);
        record
    };
    let by_number = processing(|input, checkpointer| {
        Ok(checkpointer.checkpoint_at(&input.records[0].sequence_number)?)
    });
    let report = Daemon::new().records([record(0), record(1)]).shard_ended().run(by_number);
    assert!(matches!(report.outcome, Err(RunError::ShardEnd { .. })), "{:?}", report.outcome);
    assert_eq!(report.checkpoints, ["21/0"]);
}

#[test]
fn error_after_the_end_was_stored_is_retried_and_the_end_stays_stored() {
    let calls = RefCell::new(0);
    let stores_then_fails = Scripted {
        shard_ended: Box::new(|checkpointer| {
            *calls.borrow_mut() += 1;
            checkpointer.checkpoint()?;
            if *calls.borrow() == 1 { Err("no goodbye".into()) } else { Ok(()) }
        }),
        ..scripted()
    };
    let report = Daemon::new().batch(["a"]).shard_ended().run(stores_then_fails);
    report.outcome.unwrap();
    assert_eq!(*calls.borrow(), 2);
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
}

#[test]
fn hang_up_before_a_checkpoint_is_retried_ends_the_run() {
    /// The daemon hangs up in the first pause.
    struct HangsUp;
    impl kcl_runtime::Timer for HangsUp {
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn sleep(&mut self, _: Duration) -> kcl_runtime::Sleep {
            kcl_runtime::Sleep::HungUp
        }
    }
    let input = b"{\"action\":\"initialize\",\"shardId\":\"s\"}\n{\"action\":\"shardEnded\"}\n\
                  {\"action\":\"checkpoint\",\"error\":\"ThrottlingException\"}\n";
    for processor in [scripted(), ends_by_itself()] {
        let mut output = Vec::new();
        let result = Runtime::new().run_over_with(&input[..], &mut output, HangsUp, processor);
        assert_eq!(
            result.unwrap_err().to_string(),
            "s: the daemon hung up before a checkpoint was retried; expected stdin to stay open until \
             the status"
        );
        assert!(!output.windows(10).any(|part| part == b"shardEnded"), "no status");
    }
}

#[test]
fn shard_that_ends_without_a_record_is_checkpointed() {
    let report = Daemon::new().shard_ended().run(scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
}

#[test]
fn messages_of_kcl_1_x_do_the_same() {
    let report = Daemon::new().shutdown(ShutdownReason::Terminate).run(scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
    assert_eq!(report.answered, [Action::Initialize, Action::Shutdown]);

    let lost = RefCell::new(0);
    let processor = Scripted {
        lease_lost: Box::new(|| {
            *lost.borrow_mut() += 1;
            Ok(())
        }),
        ..scripted()
    };
    let report = Daemon::new().batch(["a"]).shutdown(ShutdownReason::Zombie).run(processor);
    report.outcome.unwrap();
    assert!(report.checkpoints.is_empty());
    assert_eq!(*lost.borrow(), 1);
}

fn ends_by_itself<'f>() -> Scripted<'f> {
    Scripted { shard_ended: Box::new(|checkpointer| Ok(checkpointer.checkpoint()?)), ..scripted() }
}

#[test]
fn end_is_retried_for_five_minutes_and_never_answered_without_a_checkpoint() {
    let throttled = (0..1_000)
        .fold(Daemon::new(), |daemon, _| daemon.refuse_checkpoint(CheckpointError::Throttling));
    for processor in [scripted(), ends_by_itself()] {
        let report = throttled.clone().shard_ended().run(processor);
        let error = report.outcome.unwrap_err();
        let total: Duration = report.pauses.iter().sum();
        assert!(total <= 5 * MINUTE && total > 4 * MINUTE, "{total:?}");
        let tries = report.refused.len();
        assert_eq!(
            error.to_string(),
            format!(
                "shardId-000000000000: shard_ended: checkpoint refused after {tries} tries: \
                 ThrottlingException: try again later; an answer now would leave the shard \
                 unfinished: its child shards would not be read until another worker takes \
                 it over"
            )
        );
        assert_eq!(report.answered, [Action::Initialize]);
    }
}

#[test]
fn throttled_end_is_retried_until_it_succeeds() {
    let report = Daemon::new()
        .refuse_checkpoint(CheckpointError::Throttling)
        .refuse_checkpoint(CheckpointError::Throttling)
        .shard_ended()
        .run(ends_by_itself());
    report.outcome.unwrap();
    assert_eq!(report.pauses.len(), 2);
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
}

#[test]
fn other_refusal_of_the_end_ends_the_run_even_if_the_processor_hides_it() {
    let hides = Scripted {
        shard_ended: Box::new(|checkpointer| {
            let _ = checkpointer.checkpoint();
            Ok(())
        }),
        ..scripted()
    };
    for processor in [scripted(), ends_by_itself(), hides] {
        let report = Daemon::new()
            .refuse_checkpoint(CheckpointError::InvalidState)
            .shard_ended()
            .run(processor);
        assert!(matches!(report.outcome, Err(RunError::ShardEnd { .. })), "{:?}", report.outcome);
        assert!(report.pauses.is_empty());
        assert_eq!(report.answered, [Action::Initialize]);
    }
}

#[test]
fn stored_end_stays_stored_whatever_another_request_returns() {
    let asks_twice = Scripted {
        shard_ended: Box::new(|checkpointer| {
            checkpointer.checkpoint()?;
            assert!(checkpointer.checkpoint().is_err());
            Ok(())
        }),
        ..scripted()
    };
    let input = br#"{"action":"initialize","shardId":"s"}
{"action":"shardEnded"}
{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}
{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":"InvalidStateException"}
"#;
    let mut output = Vec::new();
    Runtime::new().run_over(&input[..], &mut output, asks_twice).unwrap();
    let status = b"{\"action\":\"status\",\"responseFor\":\"shardEnded\"}\n";
    assert!(output.ends_with(status));
}

#[test]
fn stored_end_stays_stored_in_a_second_call_of_shard_ended() {
    // Life 524 of the simulation: the process ended as if the shard's end were not stored.
    let calls = RefCell::new(0);
    let asks_again = Scripted {
        shard_ended: Box::new(|checkpointer| {
            *calls.borrow_mut() += 1;
            let result = checkpointer.checkpoint();
            if *calls.borrow() == 1 {
                return Err("no goodbye".into());
            }
            assert!(result.is_err());
            Ok(())
        }),
        ..scripted()
    };
    let input = br#"{"action":"initialize","shardId":"s"}
{"action":"shardEnded"}
{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}
{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":"InvalidStateException"}
"#;
    let mut output = Vec::new();
    let backoff = Backoff::up_to(Duration::from_millis(2)).first(Duration::from_millis(1));
    let runtime = Runtime::new().shard_end_retry(backoff);
    runtime.run_over(&input[..], &mut output, asks_again).unwrap();
    assert!(output.ends_with(b"{\"action\":\"status\",\"responseFor\":\"shardEnded\"}\n"));
}

#[test]
fn end_after_the_lease_is_lost_is_answered_whatever_the_processor_returns() {
    for processor in [scripted(), ends_by_itself()] {
        let report =
            Daemon::new().refuse_checkpoint(CheckpointError::Shutdown).shard_ended().run(processor);
        report.outcome.unwrap();
        assert_eq!(report.answered, [Action::Initialize, Action::ShardEnded]);
    }
}

#[test]
fn error_of_shard_ended_is_retried_then_ends_the_run() {
    let calls = RefCell::new(0);
    let flushes_at_last = Scripted {
        shard_ended: Box::new(|checkpointer| {
            *calls.borrow_mut() += 1;
            if *calls.borrow() < 3 {
                return Err("the sink is busy".into());
            }
            Ok(checkpointer.checkpoint()?)
        }),
        ..scripted()
    };
    let report = Daemon::new().batch(["a"]).shard_ended().run(flushes_at_last);
    report.outcome.unwrap();
    assert_eq!(report.pauses.len(), 2);

    let never =
        Scripted { shard_ended: Box::new(|_| Err("the sink is gone".into())), ..scripted() };
    let report = Daemon::new().shard_ended().run_with(
        Runtime::new().shard_end_retry(
            Backoff::up_to(Duration::from_secs(3)).first(Duration::from_secs(1)).without_jitter(),
        ),
        never,
    );
    assert_eq!(
        report.outcome.unwrap_err().to_string(),
        "shardId-000000000000: shard_ended failed after 3 tries: the sink is gone"
    );

    let panics = Scripted { shard_ended: Box::new(|_| panic!("torn")), ..scripted() };
    let report = Daemon::new().shard_ended().run(panics);
    assert!(matches!(report.outcome, Err(RunError::Panicked { .. })));
    assert!(report.pauses.is_empty());
}

#[test]
fn records_or_time_whichever_comes_first() {
    let report = Daemon::new()
        .batch(["1", "2", "3"])
        .batch(["4"])
        .wait(MINUTE)
        .empty_batch()
        .batch(["5"])
        .run_with(every(Cadence::every_records(3).or_every(MINUTE)), scripted());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["3/0", "4/0"]);
}

#[test]
fn flush_comes_before_each_checkpoint_of_the_runtime() {
    let held = RefCell::new(Vec::new());
    let written = RefCell::new(Vec::new());
    let processor = Scripted {
        flush: Box::new(|| {
            written.borrow_mut().push(std::mem::take(&mut *held.borrow_mut()).concat());
            Ok(())
        }),
        ..processing(|input, _| {
            held.borrow_mut().extend(input.records.iter().map(support::payload));
            Ok(())
        })
    };
    let report = Daemon::new()
        .batch(["a", "b"])
        .batch(["c"])
        .batch(["d"])
        .shutdown_requested()
        .batch(["e"])
        .shard_ended()
        .run_with(every(Cadence::every_records(3)), processor);
    report.outcome.unwrap();
    assert_eq!(*written.borrow(), ["abc", "d", "e"]);
    assert_eq!(report.checkpoints, ["3/0", "4/0", "SHARD_END/0"]);
}

#[test]
fn flush_is_not_called_without_a_checkpoint_of_the_runtime() {
    let processor = || Scripted {
        flush: Box::new(|| panic!("not now")),
        ..processing(|_, checkpointer| Ok(checkpointer.checkpoint()?))
    };
    let report = Daemon::new().batch(["a"]).shutdown_requested().lease_lost().run(processor());
    report.outcome.unwrap();
    let report = Daemon::new()
        .refuse_checkpoint(CheckpointError::Shutdown)
        .batch(["a"])
        .shutdown_requested()
        .shard_ended()
        .run_with(every(Cadence::each_batch()), processor());
    report.outcome.unwrap();
}

#[test]
fn silence_far_past_the_cadences_time_is_warned_about_once() {
    let (report, warnings) = warnings(|| {
        Daemon::new()
            .batch(["a"])
            .batch(["b"])
            .wait(5 * MINUTE)
            .batch(["c"])
            .wait(5 * MINUTE)
            .shutdown_requested()
            .run_with(every(Cadence::every_records(10).or_every(MINUTE)), scripted())
    });
    report.outcome.unwrap();
    assert_eq!(
        warnings,
        ["shardId-000000000000: 2 records waited 300s for a checkpoint that is due every 60s, as \
             no message came; set callProcessRecordsEvenForEmptyRecordList = true, so that the \
             daemon sends empty batches"]
    );
}

#[test]
fn silence_is_not_warned_about_while_empty_batches_come() {
    let daemon =
        (0..20).fold(Daemon::new().batch(["a"]), |daemon, _| daemon.wait(MINUTE / 2).empty_batch());
    let cadence = Cadence::every_records(10).or_every(MINUTE);
    let (report, warnings) = warnings(|| daemon.run_with(every(cadence), scripted()));
    report.outcome.unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(report.checkpoints, ["1/0"]);
}

#[test]
fn checkpointer_reads_the_runs_time() {
    let times = RefCell::new(Vec::new());
    let report =
        Daemon::new().batch(["a"]).wait(MINUTE).batch(["b"]).run(processing(|_, checkpointer| {
            times.borrow_mut().push(checkpointer.now());
            Ok(())
        }));
    report.outcome.unwrap();
    assert_eq!(*times.borrow(), [Duration::ZERO, MINUTE]);
}
