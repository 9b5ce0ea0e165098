//! Tests the processor without a process and without a daemon.

use std::path::Path;
use std::time::Duration;

use kcl_clicks::{Clicks, runtime};
use kcl_runtime::testing::Daemon;
use kcl_runtime::{ExtendedSequenceNumber, SequenceNumber};
use rusqlite::Connection;

fn click(user: &str, time: u64) -> String {
    format!(r#"{{"user":"{user}","time":{time}}}"#)
}

/// Returns the counts as `user minute count`.
fn counts(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut query = db.prepare("SELECT user, minute, count FROM clicks ORDER BY 1, 2").unwrap();
    let rows = query.query_map([], |row| {
        let (user, minute, count): (String, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{user} {minute} {count}"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn clicks_count_per_user_and_minute_and_bad_records_become_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let report = Daemon::new()
        .batch([click("ann", 0), "no click".to_owned(), click("ann", 59)])
        .batch([click("ann", 60), click("b\\u00e9", 60)])
        .shard_ended()
        .run_with(runtime(), Clicks::open(&path, "s").unwrap());
    report.outcome.unwrap();
    assert_eq!(counts(&path), ["ann 0 2", "ann 1 1", "bé 1 1"]);
    assert_eq!(report.checkpoints, ["SHARD_END/0"]);
    assert!(report.pauses.is_empty(), "bad data is not retried");
    let db = Connection::open(&path).unwrap();
    let letter: (String, Vec<u8>) = db
        .query_row("SELECT position, data FROM dead_letters", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(letter, ("2/0".to_owned(), b"no click".to_vec()));
}

#[test]
fn clicks_are_written_after_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let report = Daemon::new()
        .batch([click("ann", 0)])
        .then(|| assert!(counts(&path).is_empty()))
        .wait(Duration::from_secs(10))
        .empty_batch()
        .then(|| assert_eq!(counts(&path), ["ann 0 1"]))
        .run_with(runtime(), Clicks::open(&path, "s").unwrap());
    report.outcome.unwrap();
    assert_eq!(report.checkpoints, ["1/0"]);
}

#[test]
fn broken_database_is_retried_and_then_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let report = Daemon::new()
        .batch([click("ann", 0)])
        .then(|| Connection::open(&path).unwrap().execute_batch("DROP TABLE clicks").unwrap())
        .shutdown_requested()
        .batch((0..1_000).map(|time| click("ann", time)))
        .run_with(runtime(), Clicks::open(&path, "s").unwrap());
    let error = report.outcome.unwrap_err().to_string();
    assert!(error.contains("flush failed after"), "{error}");
    assert!(error.contains("no such table: clicks"), "{error}");
    assert!(report.checkpoints.is_empty() && report.pauses.len() > 3);
}

#[test]
fn worker_that_lost_its_shard_unknowingly_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let stale = Clicks::open(&path, "s").unwrap();
    let play = |clicks: Clicks| {
        Daemon::new().batch([click("ann", 0)]).shard_ended().run_with(runtime(), clicks)
    };
    play(Clicks::open(&path, "s").unwrap()).outcome.unwrap();
    let error = play(stale).outcome.unwrap_err().to_string();
    assert!(error.contains("another worker has written this shard"), "{error}");
    assert_eq!(counts(&path), ["ann 0 1"]);
}

/// The daemon dies when the processor requests a checkpoint, right after its commit, 200 times: ten
/// times for the same records, as if another worker had then stored the checkpoint.
#[test]
fn crash_between_commit_and_checkpoint_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let batch = || (0..1_000).map(|number| click(&format!("user {}", number % 3), 0));
    for number in 0..200 {
        let start = SequenceNumber::try_from((number / 10 * 1_000).to_string()).unwrap();
        let daemon =
            Daemon::new().start_at(&ExtendedSequenceNumber::new(start, 0)).batch(batch()).vanish();
        let report = daemon.run_with(runtime(), Clicks::open(&path, "s").unwrap());
        assert!(report.outcome.is_err() && report.checkpoints.is_empty());
    }
    assert_eq!(counts(&path), ["user 0 0 6680", "user 1 0 6660", "user 2 0 6660"]);
}
