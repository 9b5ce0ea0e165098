//! Tests the span and the event of each batch. A program of its own, as its subscriber is one for the
//! whole program.
#![allow(clippy::unwrap_used)] // a test may

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_runtime::testing::{Batch, Daemon};
use kcl_runtime::{
    Backoff, Cadence, CheckpointError, OnError, ProcessorError, Runtime, for_each_record,
};
use support::processing;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_batch_has_a_span_and_an_event_with_fields() {
    let log = Shared::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let second = Duration::from_secs(1);
    let mut is_busy = true;
    let processor = processing(|input, _| {
        for_each_record(input, |record| match record.data {
            b"busy" if std::mem::take(&mut is_busy) => Err("busy".into()),
            b"bad" => Err(ProcessorError::permanent("bad")),
            _ => Ok(()),
        })
    });
    let policy = OnError::retry(Backoff::up_to(second).first(second).without_jitter());
    let report = Daemon::new()
        .shard_id("s")
        .batch(["a"])
        .wait(second * 5)
        .refuse_checkpoint(CheckpointError::InvalidState)
        .deliver(Batch::new().records(["b", "busy", "bad"]).millis_behind_latest(70))
        .run_with(Runtime::new().cadence(Cadence::each_batch()).on_error(policy), processor);
    report.outcome.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let batches: Vec<_> = log.lines().filter(|line| line.contains("batch processed")).collect();
    let span = r#"DEBUG message{shard="s" action="processRecords"}: batch processed shard="s""#;
    assert_eq!(
        batches,
        [
            format!(
                "{span} records=1 bytes=1 took_ms=0 millis_behind_latest=0 tries=1 dead_letters=0 \
                 checkpoint=1/0 checkpoint_age_ms=0 uncheckpointed=0"
            ),
            format!(
                "{span} records=3 bytes=8 took_ms=1000 millis_behind_latest=70 tries=2 \
                 dead_letters=1 checkpoint=1/0 checkpoint_age_ms=6000 uncheckpointed=3"
            ),
        ]
    );
}
