//! Tests the examples' processors with `kcl_runtime::testing`. `e2e/samples.sh` runs them under
//! `kcl-helper local`.
#![allow(clippy::unwrap_used, dead_code)] // a test may; each `main` is unused here

#[path = "../examples/aggregation.rs"]
mod aggregation;
#[path = "../examples/async_sink.rs"]
mod async_sink;
#[path = "../examples/graceful_handoff.rs"]
mod graceful_handoff;
#[path = "../examples/json_events.rs"]
mod json_events;
#[cfg(unix)]
#[path = "../examples/unix_socket.rs"]
mod unix_socket;

use std::time::Duration;

use kcl_runtime::testing::Daemon;
use kcl_runtime::{Backoff, Cadence, OnError, OwnedRecord, Record, Runtime, SequenceNumber};

/// Every policy for errors. A sample must be right under each of them.
fn policies() -> [OnError; 5] {
    let retry = || OnError::retry(Backoff::up_to(Duration::from_secs(20)));
    [
        OnError::exit(),
        retry(),
        OnError::dead_letter(),
        retry().then_dead_letter(),
        retry().then_dead_letter().dead_letter_panics(),
    ]
}

#[test]
fn json_events_keep_bad_records_and_go_on_under_every_policy() {
    for policy in policies() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dead.jsonl");
        let mut purchases = json_events::Purchases::open(&file).unwrap();
        let events =
            [r#"{"user":"ann","cents":250}"#, "no event", r#"{"user":"b\u00e9","cents":50}"#];
        let runtime = Runtime::new().on_error(policy).cadence(Cadence::each_batch());
        let report = Daemon::new().batch(events).shard_ended().run_with(runtime, &mut purchases);
        report.outcome.unwrap();
        assert_eq!(purchases.cents, 300);
        assert!(report.pauses.is_empty());
        assert_eq!(report.checkpoints, ["3/0", "SHARD_END/0"]);
        let letters = std::fs::read_to_string(file).unwrap();
        let letter: serde_json::Value = serde_json::from_str(letters.trim_end()).unwrap();
        assert_eq!(letter["position"], "2/0");
        assert_eq!(letter["data"], "no event");
        assert!(letter["error"].as_str().unwrap().contains("line 1 column 2"), "{letter}");
    }
}

#[test]
fn json_events_end_if_a_dead_letter_cannot_be_written() {
    if std::path::Path::new("/dev/full").exists() {
        let purchases = json_events::Purchases::open("/dev/full".as_ref()).unwrap();
        let report = Daemon::new().batch(["no event"]).run(purchases);
        assert!(
            report.outcome.unwrap_err().to_string().contains("dead_letter failed: No space left"),
        );
        assert!(report.checkpoints.is_empty());
    }
}

/// One Kinesis record of 150 user records and one of 60: the second window ends inside the latter.
#[test]
fn aggregation_checkpoints_within_a_packed_record() {
    let packed = |number: &str, count: u64| {
        let number = SequenceNumber::try_from(number.to_owned()).unwrap();
        let pack = move |sub| {
            let mut record: OwnedRecord = Record::new("key", number.clone(), b"a b").to_owned();
            record.sub_sequence_number = Some(sub);
            record
        };
        (0..count).map(pack).collect::<Vec<_>>()
    };
    let mut counts = aggregation::Counts::default();
    let report = Daemon::new()
        .records(packed("7", 150))
        .records(packed("8", 60))
        .shutdown_requested()
        .lease_lost()
        .run(&mut counts);
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["7/99", "8/49"]);
    assert_eq!(counts.windows, 2);
}

/// The second record is bad in the middle of a window.
#[test]
fn aggregation_counts_nothing_twice_under_every_policy() {
    for policy in policies() {
        let mut counts = aggregation::Counts::default();
        let runtime = Runtime::new().on_error(policy);
        let batch: [&[u8]; 3] = [b"a b", b"\xff", b"a"];
        let report = Daemon::new().batch(batch).run_with(runtime, &mut counts);
        report.outcome.unwrap_err();
        let counted: Vec<_> = counts.words.into_iter().collect();
        assert_eq!(counted, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert!(report.checkpoints.is_empty());
    }
}

#[test]
fn graceful_handoff_flushes_before_it_checkpoints_under_every_policy() {
    for policy in policies() {
        let folder = tempfile::tempdir().unwrap();
        let archive = || graceful_handoff::Archive::open(folder.path(), "s").unwrap();
        let report = Daemon::new()
            .batch(["a", "b"])
            .wait(Duration::from_secs(10))
            .empty_batch()
            .batch(["c"])
            .shutdown_requested()
            .lease_lost()
            .run_with(graceful_handoff::runtime().on_error(policy), archive());
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["2/0", "3/0"]);
        let report = Daemon::new()
            .batch(["x"])
            .lease_lost()
            .run_with(graceful_handoff::runtime(), archive());
        report.outcome.unwrap();
        assert!(report.checkpoints.is_empty());
        let file = folder.path().join("s.archive");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "a\nb\nc\n");
    }
}

#[test]
fn async_sink_has_sent_everything_before_it_checkpoints() {
    for policy in policies() {
        let client = async_sink::Client::default();
        let sink = async_sink::Sink::new(client.clone()).unwrap();
        let report = Daemon::new()
            .batch(["ab", "c"])
            .batch(["d"])
            .lease_lost()
            .run_with(Runtime::new().on_error(policy), sink);
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["2/0", "3/0"]);
        assert_eq!(client.0.load(std::sync::atomic::Ordering::Relaxed), 4);
    }
}

/// The daemon's lines are written out, as this sample uses `kcl-protocol` only.
#[cfg(unix)]
#[test]
fn unix_socket_answers_each_message_once() {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    kcl_fixtures::fail_if_it_hangs();
    let (mut daemon, socket) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(|| unix_socket::serve(socket).unwrap());
    let lines = [
        r#"{"action":"initialize","shardId":"shardId-0","sequenceNumber":"LATEST","subSequenceNumber":0}"#,
        r#"{"action":"processRecords","records":[{"data":"AQI=","partitionKey":"k","sequenceNumber":"7","subSequenceNumber":2}],"millisBehindLatest":0}"#,
        r#"{"action":"checkpoint","error":null}"#,
        r#"{"action":"shardEnded"}"#,
        r#"{"action":"checkpoint","error":null}"#,
    ];
    daemon.write_all(lines.map(|line| format!("{line}\n")).concat().as_bytes()).unwrap();
    daemon.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    daemon.read_to_string(&mut said).unwrap();
    let checkpoint =
        "{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n";
    let status = |action| format!("{{\"action\":\"status\",\"responseFor\":\"{action}\"}}\n");
    let (records, ended) = (status("processRecords"), status("shardEnded"));
    assert_eq!(said, [&status("initialize"), checkpoint, &records, checkpoint, &ended].concat());
    assert_eq!(server.join().unwrap(), 1);
}
