//! Runs the samples as the daemon does, and checks stdout, stderr and the exit status.
#![allow(clippy::unwrap_used)] // a test may

use std::io::Write;
use std::process::{Output, Stdio};

const INITIALIZE: &str = r#"{"action":"initialize","shardId":"shardId-0"}"#;
const BATCH: &str = r#"{"action":"processRecords","records":[{"data":"AQI=","partitionKey":"k","sequenceNumber":"7","subSequenceNumber":2}]}"#;
const REFUSED: &str = r#"{"action":"checkpoint","error":"InvalidStateException"}"#;
const STORED: &str = r#"{"action":"checkpoint","error":null}"#;
const SHUTDOWN: &str = r#"{"action":"shutdownRequested"}"#;
const SHARD_ENDED: &str = r#"{"action":"shardEnded"}"#;
const LEASE_LOST: &str = r#"{"action":"leaseLost"}"#;

/// Sends all lines of a daemon at once. The program reads each of them in its turn.
fn play(program: &str, every: &str, lines: &[&str]) -> Output {
    let mut child = kcl_fixtures::command(program)
        .env("BENCH_CKPT_EVERY", every)
        .env("RUST_LOG", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // In some tests the program ends before it has read all of it.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn bench_processor_checkpoints_at_the_last_record_and_continues_after_a_refusal() {
    let lines = [INITIALIZE, BATCH, REFUSED, BATCH, STORED, SHARD_ENDED, STORED];
    let output = play(env!("CARGO_BIN_EXE_bench_processor"), "1", &lines);
    assert_eq!(text(output.stderr), "BENCH records=2 bytes=4 edge=6\n");
    assert_eq!(
        text(output.stdout),
        "{\"action\":\"status\",\"responseFor\":\"initialize\"}\n\
         {\"action\":\"checkpoint\",\"sequenceNumber\":\"7\",\"subSequenceNumber\":2}\n\
         {\"action\":\"status\",\"responseFor\":\"processRecords\"}\n\
         {\"action\":\"checkpoint\",\"sequenceNumber\":\"7\",\"subSequenceNumber\":2}\n\
         {\"action\":\"status\",\"responseFor\":\"processRecords\"}\n\
         {\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n\
         {\"action\":\"status\",\"responseFor\":\"shardEnded\"}\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn bench_processor_prints_its_sums_however_the_run_ends() {
    let program = env!("CARGO_BIN_EXE_bench_processor");
    let output = play(program, "0", &[INITIALIZE, BATCH, "no message"]);
    assert_eq!(output.status.code(), Some(5));
    let stderr = text(output.stderr);
    let (error, summary) = stderr.split_once('\n').unwrap();
    assert!(error.starts_with("error: cannot go on with the daemon's messages: "), "{error}");
    assert_eq!(summary, "BENCH records=1 bytes=2 edge=3\n");

    let output = play(program, "", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(output.stderr),
        "error: BENCH_CKPT_EVERY is invalid: \"\" is not a whole number\n"
    );
}

#[test]
fn sample_kcl_app_logs_each_method_to_stderr() {
    let lines = [INITIALIZE, BATCH, STORED, SHUTDOWN, STORED, LEASE_LOST];
    let output = play(env!("CARGO_BIN_EXE_sample_kcl_app"), "0", &lines);
    assert_eq!(
        text(output.stderr),
        "Initialized for shardId-0\n\
         Record (Partition Key: k, Sequence Number: 7, Subsequence Number: 2, Data Size: 2)\n\
         Shutdown has been requested, checkpointing\n\
         Lease has been lost\n"
    );
    assert_eq!(
        text(output.stdout),
        "{\"action\":\"status\",\"responseFor\":\"initialize\"}\n\
         {\"action\":\"checkpoint\",\"sequenceNumber\":\"7\",\"subSequenceNumber\":2}\n\
         {\"action\":\"status\",\"responseFor\":\"processRecords\"}\n\
         {\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n\
         {\"action\":\"status\",\"responseFor\":\"shutdownRequested\"}\n\
         {\"action\":\"status\",\"responseFor\":\"leaseLost\"}\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

/// Each datagram holds what one call of `write` wrote.
#[cfg(unix)]
#[test]
fn each_line_is_one_write_and_need_not_be_read() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    for reads in [true, false] {
        let (ours, stderr) = UnixDatagram::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let ours = Some(ours).filter(|_| reads);
        let mut child = kcl_fixtures::command(env!("CARGO_BIN_EXE_sample_kcl_app"))
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(OwnedFd::from(stderr))
            .spawn()
            .unwrap();
        let lines = format!("{INITIALIZE}\n{BATCH}\n{STORED}\n");
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
        for said in ["Initialized for shardId-0\n", "Record (Partition Key: k, "] {
            let Some(ours) = &ours else { continue };
            let mut piece = [0; 200];
            let length = ours.recv(&mut piece).unwrap();
            let piece = String::from_utf8_lossy(&piece[..length]);
            assert!(piece.starts_with(said) && piece.ends_with('\n'), "{piece}");
        }
    }
}
