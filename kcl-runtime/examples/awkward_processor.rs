//! A processor that misbehaves, for `tests/process.rs`. Its first argument selects how.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

use kcl_runtime::{
    Backoff, Checkpointer, OnError, ProcessRecordsInput, RecordProcessor, Result, Runtime, Signals,
};

struct Awkward(String);

#[allow(clippy::panic)] // it panics on purpose
impl RecordProcessor for Awkward {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        match self.0.as_str() {
            "prints" => print_in_every_way(),
            "logs" => log::warn!("through the log facade"),
            "fails" => return Err("line one\nline two".into()),
            "panics" => panic!("torn"),
            "sleeps" => {
                eprintln!("asleep");
                std::thread::sleep(Duration::from_secs(60));
            }
            "kills-a-subprocess" => {
                let status = Command::new("sh").args(["-c", "kill -TERM $$; sleep 60"]).status()?;
                eprintln!("the subprocess: {status}");
            }
            "stays" => {
                // A subprocess that keeps everything it inherited open for a while.
                Command::new("sleep").arg("5").spawn()?;
            }
            _ => eprintln!("{} records", input.records.len()),
        }
        Ok(checkpointer.checkpoint()?)
    }
}

/// Prints from two threads, from a subprocess that also reads stdin, and to `/dev/stdout`.
#[allow(clippy::print_stdout)]
fn print_in_every_way() {
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            scope.spawn(move || {
                for count in 0..1_000 {
                    println!("{{\"action\":\"status\",\"responseFor\":\"{name} {count}\"}}");
                }
                print!("no line end from {name}");
            });
        }
    });
    let script = "cat; echo from a subprocess; echo end of its stdin";
    let status = Command::new("sh").args(["-c", script]).status();
    assert!(status.is_ok_and(|status| status.success()));
    let _ = std::fs::OpenOptions::new()
        .append(true)
        .open("/dev/stdout")
        .and_then(|mut stdout| stdout.write_all(b"by the descriptor's name\n"));
}

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let runtime = match what.as_str() {
        "retries" => {
            let backoff = Backoff::up_to(Duration::from_secs(600)).first(Duration::from_secs(60));
            Runtime::new().on_error(OnError::retry(backoff.longest(Duration::from_secs(60))))
        }
        "pipe-of-512-kib" => Runtime::new().pipe_size(Some(512 << 10)),
        "pipe-stays" => Runtime::new().pipe_size(None),
        "default-signals" => Runtime::new().signals(Signals::Unchanged),
        _ => Runtime::new(),
    };
    if what == "own-subscriber" {
        // Writes to stdout, tracing-subscriber's default.
        let lines = tracing_subscriber::fmt().with_ansi(false).with_target(false).without_time();
        lines.with_level(false).init();
    }
    if what == "runs-twice" {
        let first = kcl_runtime::run(Awkward(String::new()));
        eprintln!("the first run: {first:?}");
    }
    let mode = if what == "retries" { "fails".to_owned() } else { what };
    match runtime.run(Awkward(mode)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.exit_code(),
    }
}
