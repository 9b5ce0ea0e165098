//! The examples' processors, played to by the daemon of `kcl_runtime::testing`. That they run under
//! `kcl-helper local` is shown by `e2e/samples.sh`.
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

use kcl_runtime::testing::Daemon;
use kcl_runtime::{OwnedRecord, Record, SequenceNumber};

#[test]
fn json_events_keep_what_is_none_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.jsonl");
    let mut purchases = json_events::Purchases::default();
    let report = Daemon::new()
        .batch([r#"{"user":"ann","cents":250}"#, "no event", r#"{"user":"b\u00e9","cents":50}"#])
        .shard_ended()
        .run_with(json_events::settings(file.clone()), &mut purchases);
    report.outcome.unwrap();
    assert_eq!(purchases.cents, 300);
    assert_eq!(report.checkpoints.last().unwrap(), "SHARD_END/0");
    let letters = std::fs::read_to_string(file).unwrap();
    let letter: serde_json::Value = serde_json::from_str(letters.trim_end()).unwrap();
    assert_eq!(letter["place"], "2/0");
    assert_eq!(letter["data"], "no event");
    assert!(letter["error"].as_str().unwrap().contains("line 1 column 2"), "{letter}");
}

#[test]
fn json_events_end_where_a_dead_letter_cannot_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json_events::settings(folder.path().to_owned());
    let report =
        Daemon::new().batch(["no event"]).run_with(settings, json_events::Purchases::default());
    report.outcome.unwrap_err();
    assert!(report.checkpoints.is_empty());
}

/// One Kinesis record of 150 user records, and one of 60: the second window ends within it.
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

#[test]
fn graceful_handoff_flushes_before_it_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let archive = || {
        let mut archive = graceful_handoff::Archive::default();
        archive.folder = folder.path().to_owned();
        archive
    };
    let report = Daemon::new().batch(["a", "b"]).shutdown_requested().lease_lost().run(archive());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["2/0"]);
    let report = Daemon::new().batch(["x"]).lease_lost().run(archive());
    report.outcome.unwrap();
    assert!(report.checkpoints.is_empty());
    let file = folder.path().join("shardId-000000000000.archive");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "a\nb\n");
}

#[test]
fn async_sink_has_sent_all_before_it_checkpoints() {
    let client = async_sink::Client::default();
    let sink = async_sink::Sink::new(client.clone()).unwrap();
    let report = Daemon::new().batch(["ab", "c"]).batch(["d"]).lease_lost().run(sink);
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["2/0", "3/0"]);
    assert_eq!(client.0.load(std::sync::atomic::Ordering::Relaxed), 4);
}

/// The daemon's part is written out, as this one is made of `kcl-protocol` alone.
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
