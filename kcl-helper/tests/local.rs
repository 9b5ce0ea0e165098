//! `kcl-helper local` as its users see it: its output on both streams and its exit status, with children
//! that behave and children that do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use insta::assert_snapshot;
use kcl_fixtures::{Stage, awkward_child, eventually};
use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

const HELPER: &str = env!("CARGO_BIN_EXE_kcl-helper");
/// After this time a signal is a second request and not part of the first one.
const LATER: Duration = Duration::from_millis(600);

/// A stage with an input and the state of runs.
struct Place(Stage);

impl Deref for Place {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.0
    }
}

/// The exit status and the output of a run, as text.
struct Outcome {
    status: String,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        Place(Stage::new())
    }

    /// With an input of so many lines: `1`, `2`, …
    fn with_lines(count: u64) -> Place {
        let place = Place::new();
        place.write("input", (1..=count).map(|line| format!("{line}\n")).collect::<String>());
        place
    }

    /// `kcl-helper local`, in this folder, with arguments as they would be typed.
    fn command(&self, args: &str) -> Command {
        let mut command = self.helper(&["local"]);
        for arg in args.split_whitespace() {
            if arg == "AWKWARD" {
                command.arg(awkward_child());
            } else {
                command.arg(arg);
            }
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Checks that this number of children ran with `pids=pids`, and that all have ended.
    fn check_all_ended(&self, count: usize) {
        let pids = self.read("pids");
        assert_eq!(pids.lines().count(), count);
        for line in pids.lines() {
            eventually("the child's end", || !runs(line.strip_suffix(" starts").unwrap()));
        }
    }

    /// Runs it over the folder's input.
    fn local(&self, args: &str) -> Outcome {
        self.run(&format!("-i input {args}"))
    }

    fn run(&self, args: &str) -> Outcome {
        Running::start(self.command(args)).end(self)
    }

    /// Replaces what differs between machines and runs.
    fn clean(&self, text: &str) -> String {
        let mut text = text
            .replace(&*self.root().to_string_lossy(), "[folder]")
            .replace(&awkward_child(), "[awkward_child]")
            .replace(&*Path::new(HELPER).to_string_lossy(), "[kcl-helper]");
        text = text.replace(concat!("local ", env!("CARGO_PKG_VERSION")), "local [version]");
        let mut clean = String::new();
        for line in text.lines() {
            let timed = ["done in ", "failed after ", "stopped after "];
            match timed.iter().find(|start| line.starts_with(**start)) {
                Some(start) => writeln!(clean, "{start}[time]").unwrap(),
                // A temporary file's name ends at random.
                None => match line.split_once("/.new-") {
                    Some((start, _)) => writeln!(clean, "{start}/.new-[random]").unwrap(),
                    None => writeln!(clean, "{line}").unwrap(),
                },
            }
        }
        clean
    }
}

/// Rewrites the table with single bars between its columns, and without the rates.
fn table(text: &str) -> String {
    let mut clean = String::new();
    for line in text.lines() {
        let mut cells: Vec<_> =
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        if let Some(rate) = cells.get_mut(5).filter(|cell| **cell != "records/s") {
            *rate = "[rate]";
        }
        writeln!(clean, "{}", cells.join(" | ")).unwrap();
    }
    clean
}

/// A run in progress. Both of its streams are being read.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let mut out = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let (sender, lines) = mpsc::channel();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            loop {
                let start = bytes.len();
                if err.read_until(b'\n', &mut bytes).unwrap() == 0 {
                    return bytes;
                }
                let _ = sender.send(String::from_utf8_lossy(&bytes[start..]).trim_end().to_owned());
            }
        });
        Running { child, stdin, stdout, stderr, lines }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// Asks for a stop, and then kills the children by the same signal.
    fn stop_and_kill(&self, signal: Signal) {
        self.signal(signal);
        self.wait_for("signal again to kill");
        thread::sleep(LATER);
        self.signal(signal);
    }

    /// Waits for a line on stderr that contains this.
    fn wait_for(&self, text: &str) {
        while !self.lines.recv().unwrap().contains(text) {}
    }

    fn end(mut self, place: &Place) -> Outcome {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        let stdout = String::from_utf8(self.stdout.join().unwrap()).unwrap();
        let stderr = String::from_utf8(self.stderr.join().unwrap()).unwrap();
        Outcome {
            status: status.to_string(),
            stdout: place.clean(&table(&stdout)),
            stderr: place.clean(&stderr),
        }
    }
}

/// Returns the records in a log of [`awkward_child`].
fn records(log: &str) -> Vec<String> {
    let records = log.lines().filter(|line| line.contains(" shardId-"));
    records.filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Whether this process runs. A zombie does not.
fn runs(id: &str) -> bool {
    let ps = kcl_fixtures::command("ps").args(["-o", "stat=", "-p", id]).output().unwrap();
    let state = String::from_utf8(ps.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { status, stdout, stderr } = self;
        write!(f, "{status}\n---- stdout\n{stdout}---- stderr\n{stderr}")
    }
}

// ---- The command line

#[test]
fn missing_command_is_an_error() {
    assert_snapshot!(Place::new().run(""));
}

#[test]
fn help_fits_a_screen() {
    let outcome = Place::new().run("--help");
    assert!(outcome.stdout.lines().count() <= 40, "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("patience"));
    assert_eq!(outcome.status, "exit status: 0");
}

#[test]
fn invalid_arguments_are_refused() {
    for (args, problem) in [
        ("--sample -- AWKWARD", "cannot be used with"),
        ("--sample --shards 0", "0 is not in 1..=1000"),
        ("--sample --patience soon", "write a duration such as 10s, 500ms or 1m 30s"),
        ("--sample --at-end never", "[possible values: shutdown, shard-ended]"),
        (
            "--sample --fault throttle",
            "faults are throttled, dependency, invalid-state, shutdown, ",
        ),
        ("--sample --fault killed@0", "write NAME, NAME@N or NAME@SHARD:N, with xCOUNT to repeat"),
    ] {
        let outcome = Place::new().run(args);
        assert_eq!(outcome.status, "exit status: 2", "{args}");
        assert!(outcome.stderr.contains(problem), "{args}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn missing_input_is_an_error() {
    assert_snapshot!(Place::new().run("-i missing --sample"));
}

#[test]
fn folder_as_input_is_an_error() {
    assert_snapshot!(Place::new().run("-i . --sample"));
}

#[test]
fn program_that_is_not_in_path_is_an_error() {
    assert_snapshot!(Place::with_lines(1).local("-- no-such-program"));
}

#[test]
fn missing_program_is_an_error() {
    assert_snapshot!(Place::with_lines(1).local("-- ./no-such-program"));
}

#[test]
fn program_in_this_folder_needs_a_slash() {
    assert_snapshot!(Place::with_lines(1).local("-- input"));
}

#[test]
fn program_that_is_not_executable_is_an_error() {
    assert_snapshot!(Place::with_lines(1).local("-- ./input"));
}

#[test]
fn folder_as_program_is_an_error() {
    let outcome = Place::with_lines(1).local("-- ./");
    assert!(
        outcome.stderr.ends_with(
            "error: cannot start `./`: Permission denied (os error 13)\nhint: write the path of a program: this is a folder\n"
        ),
        "{outcome}"
    );
}

#[test]
fn missing_interpreter_is_an_error() {
    let place = Place::with_lines(1);
    place.write("script", "#!/no/such/interpreter\n");
    let script = place.path("script");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_snapshot!(place.local("-- ./script"));
}

#[test]
fn program_that_cannot_start_is_an_error_even_if_no_records_are_left() {
    let place = Place::with_lines(3);
    place.write("script", "#!/no/such/interpreter\n");
    fs::set_permissions(place.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    place.local("-- AWKWARD");
    for program in ["./no-such-program", "no-such-program", "./input", "./", "./script"] {
        let outcome = place.local(&format!("-- {program}"));
        assert_eq!(outcome.status, "exit status: 3", "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("error: cannot start `{program}`: ")));
    }
    // The state is neither read nor created.
    let outcome = place.local("--reset --state other -- ./no-such-program");
    assert_eq!(outcome.status, "exit status: 3");
    assert!(!place.path("other").exists());
    assert!(place.local("-- AWKWARD").stderr.starts_with("0 of 3 left"));
}

#[test]
fn program_that_is_not_a_processor_gets_a_hint() {
    assert_snapshot!(Place::with_lines(1).local("-- echo hello"));
}

#[test]
fn program_that_echoes_its_stdin_is_named() {
    assert_snapshot!(Place::with_lines(1).local("-- head -n 1"));
}

// ---- Runs that go well

#[test]
fn sample_runs_without_state() {
    let place = Place::new();
    let first = place.run("--sample --shards 2");
    assert_eq!(first.status, "exit status: 0");
    assert!(first.stderr.contains(" · state: none, as each run starts over · "));
    // It starts over each time, and leaves nothing behind.
    assert_eq!(place.run("--sample --shards 2").stdout, first.stdout);
    assert!(!place.path(".kcl-local").exists());
}

#[test]
fn next_run_resumes_at_the_checkpoints() {
    let place = Place::with_lines(2500);
    assert_snapshot!("first_run", place.local("--shards 2 -- AWKWARD"));
    assert_snapshot!("second_run", place.local("--shards 2 -- AWKWARD"));
    assert_snapshot!("reset_run", place.local("--shards 2 --reset -- AWKWARD"));
    // The input has grown since.
    place.write("input", place.read("input") + "2501\n2502\n2503\n2504\n");
    assert_snapshot!("grown_run", place.local("--shards 2 -- AWKWARD"));
}

#[test]
fn checkpoint_files_have_their_format_and_mode() {
    let place = Place::with_lines(7);
    place.local("-- AWKWARD");
    let run: serde_json::Value = serde_json::from_str(&place.read(".kcl-local/run.json")).unwrap();
    let name = run["run"].as_str().unwrap();
    assert_eq!(run, serde_json::json!({ "format": 3, "run": name, "shards": 1 }));
    assert_eq!(
        place.read(".kcl-local/shardId-000000000000.json"),
        format!(
            "{{\"run\":\"{name}\",\
             \"sequenceNumber\":\"49000000000000000000000000000000000000000000000000000007\",\
             \"subSequenceNumber\":0,\"lines\":7,\"bytes\":14,\"digest\":\"{}\"}}\n",
            "0490849148ad5c9906bd4360e99782ec44ee6e97e3df3c08462f70c88657c360"
        )
    );
    let mut names: Vec<_> = fs::read_dir(place.path(".kcl-local"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["lock", "run.json", "shardId-000000000000.json"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path(".kcl-local")), 0o700);
    for name in names {
        assert_eq!(mode(&place.path(".kcl-local").join(&name)), 0o600, "{name}");
    }
}

#[test]
fn state_is_private_whatever_the_umask() {
    let place = Place::with_lines(7);
    let mut command = kcl_fixtures::command("sh");
    let local = "umask 0; exec \"$0\" local -i input -- \"$1\"";
    command.current_dir(place.root()).args(["-c", local, HELPER]).arg(awkward_child());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(Running::start(command).end(&place).status, "exit status: 0");
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".kcl-local"), 0o700);
    for name in ["lock", "run.json", "shardId-000000000000.json"] {
        assert_eq!(mode(&format!(".kcl-local/{name}")), 0o600, "{name}");
    }
}

#[test]
fn any_bytes_of_a_line_are_a_record() {
    let place = Place::new();
    place.write("input", b"one\r\n\n\xff\xfe\nlast");
    assert_eq!(place.local("-- AWKWARD log=log").status, "exit status: 0");
    assert_eq!(records(&place.read("log")), ["one", "", "\u{fffd}\u{fffd}", "last"]);
}

#[test]
fn empty_input_ends_properly() {
    let place = Place::new();
    place.write("input", "");
    assert_snapshot!(place.local("--shards 2 -- AWKWARD"));
}

#[test]
fn shard_end_is_stored() {
    let place = Place::with_lines(3);
    let command = "--at-end shard-ended --shards 2 -- AWKWARD";
    assert_snapshot!("shard_end", place.local(command));
    assert_snapshot!("after_shard_end", place.local(command));
}

#[test]
fn shard_end_without_its_checkpoint_fails() {
    let place = Place::with_lines(3);
    assert_snapshot!(place.local("--at-end shard-ended -- AWKWARD checkpoint=never"));
    // Repeating the number that is stored does not store the end either.
    let repeated = place.local("--at-end shard-ended -- AWKWARD checkpoint=batch");
    assert_eq!(repeated.status, "exit status: 1");
}

#[test]
fn stdin_has_no_state() {
    let place = Place::new();
    let mut command = place.command("-i - -- AWKWARD log=log");
    let mut running = Running::start(std::mem::replace(
        command.stdin(Stdio::piped()),
        kcl_fixtures::command("true"),
    ));
    let mut stdin = running.stdin.take().unwrap();
    // Each line is delivered when it comes, and not when there are enough for a batch.
    for line in 1..=3 {
        writeln!(stdin, "line {line}").unwrap();
        eventually("the line", || place.read("log").contains(&format!("line {line}\n")));
    }
    drop(stdin);
    assert_snapshot!(running.end(&place));
    assert!(!place.path(".kcl-local").exists());
}

#[test]
fn named_pipe_has_no_state() {
    let place = Place::new();
    assert!(kcl_fixtures::command("mkfifo").arg(place.path("input")).status().unwrap().success());
    for _ in 0..2 {
        let running = Running::start(place.command("-i input -- AWKWARD"));
        place.write("input", "one\ntwo");
        let outcome = running.end(&place);
        assert_eq!(outcome.status, "exit status: 0");
        assert!(outcome.stdout.contains("\ntotal | 2 | 0 | "), "{outcome}");
        assert!(!outcome.stderr.contains("unfinished"), "{outcome}");
        assert!(!place.path(".kcl-local").exists());
    }
}

#[test]
fn q_hides_the_banner_and_stderr_of_children() {
    let place = Place::with_lines(3);
    let command = "-- AWKWARD checkpoint-at=x noise=1";
    assert_snapshot!("quiet", place.local(&format!("-q {command}")));
    place.local("--reset -- AWKWARD die-at=1");
    assert_snapshot!("quieter", place.local(&format!("-qq {command}")));
}

#[test]
fn v_shows_the_conversation() {
    let place = Place::with_lines(2);
    let text = place.local("-v --state one -- AWKWARD checkpoint=batch").stderr;
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("shard 0 ")).collect();
    let batch = "shard 0 → {\"action\":\"processRecords\",\"";
    assert!(lines[2].starts_with(batch) && lines[2].contains("… ("), "{text}");
    let without_batch = [&lines[..2], &lines[3..]].concat().join("\n");
    assert_snapshot!(without_batch);
    // All of it, in one line.
    let text = place.local("-vv --state two -- AWKWARD checkpoint=batch").stderr;
    let line = text.lines().find(|line| line.starts_with(batch)).unwrap();
    assert!(line.ends_with('}'), "{text}");
    assert_eq!(line.matches("\"sequenceNumber\"").count(), 2);
}

// ---- State that does not match

#[test]
fn state_that_does_not_match_is_refused() {
    let place = Place::with_lines(3);
    place.local("-- AWKWARD");
    assert_snapshot!("other_shards", place.local("--shards 2 -- AWKWARD"));
    assert_snapshot!("other_input", place.run("-- AWKWARD"));
    place.write("input", "1\n2\nthree\n");
    assert_snapshot!("changed_input", place.local("-- AWKWARD"));
    place.write("input", "1\n2\n");
    assert_snapshot!("shorter_input", place.local("-- AWKWARD"));
    // The content decides, not the file name.
    place.write("copy", "1\n2\n3\n4\n");
    assert!(place.run("-i copy -- AWKWARD").stderr.contains("state .kcl-local (1 of 4 left; "));
}

/// An earlier version compared only as much as the input had at its first run.
#[test]
fn short_first_input_is_compared_whole() {
    for first in ["", "id,name\n"] {
        let place = Place::new();
        place.write("input", first);
        assert_eq!(place.local("-- AWKWARD").status, "exit status: 0");
        place.write("input", format!("{first}one\ntwo\n"));
        assert_eq!(place.local("-- AWKWARD").status, "exit status: 0");
        place.write("input", format!("{first}other\nlines\n"));
        let outcome = place.local("-- AWKWARD");
        assert_eq!(outcome.status, "exit status: 2", "{outcome}");
    }
}

#[test]
fn edits_after_the_checkpoint_are_accepted() {
    let place = Place::with_lines(10);
    place.local("-- AWKWARD checkpoint=every die-at=6");
    place.write("input", "1\n2\n3\n4\n5\nsix\nseven and more\n");
    let outcome = place.local("-- AWKWARD log=log");
    assert!(outcome.stderr.contains("state .kcl-local (2 of 7 left; "), "{outcome}");
    assert_eq!(records(&place.read("log")), ["six", "seven and more"]);
    assert_eq!(place.local("-- AWKWARD").stderr, "0 of 7 left; --reset starts over\n");
}

/// The number of a record depends on all lines before it.
#[test]
fn everything_before_the_furthest_checkpoint_is_compared() {
    let place = Place::with_lines(20);
    place.local("--shards 2 -- AWKWARD");
    let checkpoint = |shard| format!(".kcl-local/shardId-00000000000{shard}.json");
    let furthest = [0, 1].map(|shard| place.read(checkpoint(shard)).contains("\"lines\":20,"));
    let other = usize::from(furthest[0]);
    assert!(furthest[1 - other]);
    fs::remove_file(place.path(checkpoint(other))).unwrap();
    place.write("input", place.read("input").replacen("7\n", "seven\n", 1));
    let outcome = place.local("--shards 2 -- AWKWARD");
    assert_eq!(outcome.status, "exit status: 2", "{outcome}");
}

#[test]
fn unfinished_line_is_delivered_again() {
    let place = Place::new();
    place.write("input", "one\ntransfer 10");
    assert_snapshot!("unfinished", place.local("-- AWKWARD checkpoint=every log=log"));
    place.write("input", "one\ntransfer 1000 to bob\nthree\n");
    assert_snapshot!("finished", place.local("-- AWKWARD checkpoint=every log=log"));
    let log = place.read("log");
    assert_eq!(records(&log), ["one", "transfer 10", "transfer 1000 to bob", "three"]);

    // Without any complete line, nothing is covered.
    place.write("input", "on");
    for _ in 0..2 {
        let outcome = place.local("--state other -- AWKWARD");
        assert!(outcome.stdout.contains("\n0 | 1 | 0 | 1 | "), "{outcome}");
        assert!(!place.path("other/shardId-000000000000.json").exists());
    }
}

#[test]
fn shard_does_not_end_before_its_last_line() {
    let place = Place::with_lines(30);
    let lines = place.read("input");
    let command = "--at-end shard-ended --shards 3 -- AWKWARD log=log";
    for _ in 0..2 {
        place.write("input", format!("{lines}unfinished"));
        let outcome = place.local(command);
        assert_eq!(outcome.status, "exit status: 0", "{outcome}");
        let warning = "\nline 31 of input is unfinished: the next run delivers it again\n";
        assert!(outcome.stderr.contains(warning), "{outcome}");
    }
    // It may belong to another shard now.
    place.write("input", format!("{lines}unfinished no more\nlast\n"));
    place.write("log", "");
    assert_eq!(place.local(command).status, "exit status: 0");
    let mut delivered = records(&place.read("log"));
    delivered.sort_unstable();
    assert_eq!(delivered, ["last", "unfinished no more"]);
    assert_eq!(place.local(command).stderr, "0 of 32 left; --reset starts over\n");
}

#[test]
fn shard_does_not_end_if_the_input_cannot_be_read() {
    let place = Place::new();
    place.write("input", [b"one\n".as_slice(), &vec![b'x'; (10 << 20) + 1], b"\n"].concat());
    let command = "--at-end shard-ended -- AWKWARD log=log";
    let outcome = place.local(command);
    assert_eq!(outcome.status, "exit status: 2", "{outcome}");
    assert!(outcome.stdout.contains(" | line 1 | stopped\n"), "{outcome}");
    place.write("input", "one\ntwo\n");
    assert_eq!(place.local(command).status, "exit status: 0");
    assert_eq!(records(&place.read("log")), ["one", "two"]);
}

#[test]
fn input_that_grows_after_the_shard_end_is_refused() {
    let place = Place::with_lines(3);
    let command = "--at-end shard-ended --shards 2 -- AWKWARD";
    assert_eq!(place.local(command).status, "exit status: 0");
    place.write("input", place.read("input") + "4\n");
    assert_snapshot!(place.local(command));
    assert_eq!(place.local("--shards 2 -- AWKWARD").status, "exit status: 2");
}

#[test]
fn damaged_state_is_refused() {
    let place = Place::with_lines(3);
    place.local("-- AWKWARD");
    place.write(".kcl-local/shardId-000000000000.json", "{\"sequenceNumber\":");
    assert_snapshot!(place.local("-- AWKWARD"));
    assert_eq!(place.local("--reset -- AWKWARD").status, "exit status: 0");
}

#[test]
fn state_in_use_is_refused() {
    let place = Place::with_lines(3);
    let running = Running::start(place.command("-i input -- AWKWARD hang=processRecords log=log"));
    eventually("the first record", || !place.read("log").is_empty());
    assert_snapshot!(place.local("-- AWKWARD"));
    running.stop_and_kill(Signal::INT);
    running.end(&place);
}

#[test]
fn state_folder_that_cannot_be_created_is_an_error() {
    assert_snapshot!(Place::with_lines(1).local("--state input/state -- AWKWARD"));
}

// ---- Checkpoints

#[test]
fn checkpoint_that_is_not_a_number_is_refused() {
    assert_snapshot!(Place::with_lines(2).local("-- AWKWARD checkpoint-at=12x"));
}

#[test]
fn checkpoint_after_the_last_record_is_refused() {
    let number = format!("49{:054}", 3);
    let place = Place::with_lines(2);
    assert_snapshot!(place.local(&format!("-- AWKWARD checkpoint-at={number}")));
}

#[test]
fn checkpoints_are_refused_in_initialize_and_lease_lost() {
    for action in ["initialize", "leaseLost"] {
        let outcome = Place::with_lines(1).local(&format!("-- AWKWARD checkpoint-in={action}"));
        assert_eq!(outcome.status, "exit status: 0");
        let line = format!("shard 0 | checkpoint in {action}: all: InvalidStateException\n");
        assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);
    }
    for action in ["processRecords", "shutdownRequested"] {
        let outcome = Place::with_lines(1).local(&format!("-- AWKWARD checkpoint-in={action}"));
        assert!(outcome.stderr.contains(&format!("shard 0 | checkpoint in {action}: all: ok\n")));
    }
}

#[test]
fn checkpoint_for_every_record_is_accepted() {
    let place = Place::with_lines(300);
    let outcome = place.local("--shards 3 -- AWKWARD checkpoint=every log=log");
    assert_eq!(outcome.status, "exit status: 0");
    assert_eq!(place.read("log").lines().count(), 303);
}

#[test]
fn removed_state_folder_is_an_error() {
    let place = Place::with_lines(3000);
    let running =
        Running::start(place.command("-i input -- AWKWARD slow=300 checkpoint=end log=log"));
    eventually("the first record", || !place.read("log").is_empty());
    fs::remove_dir_all(place.path(".kcl-local")).unwrap();
    assert_snapshot!(running.end(&place));
}

#[test]
fn checkpoints_are_not_written_to_the_folder_of_another_run() {
    for name in [".kcl-local", ".kcl-local/lock"] {
        let place = Place::with_lines(3000);
        let args = "-i input -- AWKWARD checkpoint=batch log=log wait-at=1 wait-for=go";
        let running = Running::start(place.command(args));
        eventually("the first record", || place.read("log").contains(" waits"));
        if name == ".kcl-local" {
            fs::remove_dir_all(place.path(name)).unwrap();
        } else {
            for name in ["lock", "run.json"] {
                fs::remove_file(place.path(".kcl-local").join(name)).unwrap();
            }
        }
        // Another run creates it again, and ends before its first checkpoint.
        let other = place.local("-- AWKWARD checkpoint=never die-at=1");
        assert!(other.stderr.contains(" · state .kcl-local (new) · "), "{other}");
        place.write("go", "");
        let first = running.end(&place);
        assert_eq!(first.status, "exit status: 3", "{first}");
        assert!(
            first.stderr.contains(
                "error: cannot write to the state folder .kcl-local: it was removed or emptied \
                 during the run\n"
            ),
            "{first}"
        );
        let last = place.local("-- AWKWARD");
        assert!(last.stdout.contains("\n0 | 3,000 | 0 | "), "{last}");
    }
}

#[test]
fn moved_state_folder_is_still_used() {
    let place = Place::with_lines(3000);
    let args = "-i input -- AWKWARD checkpoint=batch log=log wait-at=1 wait-for=go";
    let running = Running::start(place.command(args));
    eventually("the first record", || place.read("log").contains(" waits"));
    fs::rename(place.path(".kcl-local"), place.path("moved")).unwrap();
    fs::create_dir(place.path("trap")).unwrap();
    std::os::unix::fs::symlink("trap", place.path(".kcl-local")).unwrap();
    place.write("go", "");
    let outcome = running.end(&place);
    assert_eq!(outcome.status, "exit status: 0", "{outcome}");
    assert_eq!(fs::read_dir(place.path("trap")).unwrap().count(), 0);
    let outcome = place.local("--state moved -- AWKWARD");
    assert_eq!(outcome.stderr, "0 of 3,000 left; --reset starts over\n");
}

/// Between its fork and its exec, a child has all files of its parent, and with them a lock by flock(2).
#[test]
fn run_right_after_a_kill_is_accepted() {
    let place = Place::with_lines(3);
    let start = || {
        // A long search for the program keeps the child a copy of its parent for a moment.
        let mut command = place.command("-i input --shards 2 -- awkward_child");
        let examples = Path::new(HELPER).with_file_name("examples").display().to_string();
        command.env("PATH", format!("{}{examples}", "/no-such-folder:".repeat(8000)));
        Running::start(command)
    };
    let running = start();
    running.wait_for("state .kcl-local");
    running.signal(Signal::KILL);
    running.end(&place);
    let outcome = place.local("-- AWKWARD");
    assert_eq!(outcome.status, "exit status: 0", "{outcome}");
}

// ---- Children that misbehave

#[test]
fn child_that_exits_in_a_batch_fails_the_run() {
    let place = Place::with_lines(2500);
    assert_snapshot!("dies", place.local("-- AWKWARD checkpoint=batch die-at=1500"));
    // The next run resumes after the first batch.
    assert_snapshot!("after_death", place.local("-- AWKWARD"));
}

#[test]
fn child_that_is_ended_by_a_signal_fails_the_run() {
    let outcome = Place::with_lines(3).local("-- AWKWARD abort-at=2");
    assert_eq!(outcome.status, "exit status: 1");
    let line =
        "shard 0: the child ended with signal 6, SIGABRT during processRecords of lines 1 to 3; ";
    assert!(outcome.stderr.contains(line), "{}", outcome.stderr);
}

#[test]
fn child_that_exits_at_once_fails_the_run() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD die-at-start=7"));
}

#[test]
fn child_that_exits_between_messages_fails_the_run() {
    let place = Place::new();
    let mut command = place.command("-i - --shards 2 -- AWKWARD die-after=initialize");
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let stdin = running.stdin.take();
    let outcome = running.end(&place);
    drop(stdin);
    assert_eq!(outcome.status, "exit status: 1");
    assert!(outcome.stderr.contains("the child ended with exit status 4 between messages; "));
}

#[test]
fn end_of_one_child_ends_all() {
    // All three lines belong to shard 1, so shard 0 is asked for shutdown at once.
    let place = Place::with_lines(3);
    // It makes no checkpoint, which might be interrupted.
    let child = "AWKWARD pids=pids die-at=3 hang=shutdownRequested checkpoint=never";
    let outcome = place.local(&format!("--shards 2 -- {child}"));
    assert_snapshot!(outcome);
    place.check_all_ended(2);
}

#[test]
fn second_status_breaks_the_protocol() {
    let place = Place::with_lines(1500);
    let status = r#"status={"action":"status","responseFor":"processRecords"}"#;
    assert_snapshot!(place.local(&format!("-- AWKWARD {status}")));
}

#[test]
fn status_for_another_message_breaks_the_protocol() {
    let status = r#"status={"action":"status","responseFor":"initialize"}"#;
    assert_snapshot!(Place::with_lines(3).local(&format!("-- AWKWARD {status}")));
}

#[test]
fn null_breaks_the_protocol() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD status=null"));
}

#[test]
fn unknown_field_is_skipped_with_a_warning() {
    let status = r#"status={"action":"status","responseFor":"processRecords","ok":true}"#;
    assert_snapshot!(Place::with_lines(3).local(&format!("-- AWKWARD {status}")));
}

#[test]
fn noise_on_stdout_is_skipped_with_a_warning() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD noise=5"));
}

#[test]
fn last_status_needs_no_line_end() {
    let outcome = Place::with_lines(3).local("-- AWKWARD unfinished");
    assert_eq!(outcome.status, "exit status: 0", "{outcome}");
}

#[test]
fn silent_child_is_named_and_killed_on_request() {
    let place = Place::with_lines(3);
    let args = "-i input --patience 100ms -- AWKWARD pids=pids hang=processRecords";
    let running = Running::start(place.command(args));
    for time in ["100ms", "200ms", "400ms"] {
        running.wait_for(&format!(
            "shard 0: no answer to processRecords for {time}; the real daemon would wait forever \
             (timeoutInSeconds is unset)"
        ));
    }
    running.signal(Signal::INT);
    running.wait_for(
        "SIGINT: sending shutdownRequested and leaseLost to 1 shard, for up to 10s; signal again to \
         kill",
    );
    thread::sleep(LATER);
    running.signal(Signal::INT);
    running.wait_for("SIGINT again: killing the children");
    let outcome = running.end(&place);
    assert_eq!(outcome.status, "exit status: 130");
    assert!(outcome.stdout.contains("| none | killed\n"), "{outcome}");
    place.check_all_ended(1);
}

#[test]
fn child_that_never_reads_is_named() {
    let place = Place::with_lines(3);
    let running =
        Running::start(place.command("-i input --patience 100ms -- AWKWARD pids=pids deaf"));
    running.wait_for("shard 0: no answer to initialize for 200ms");
    eventually("the child's start", || !place.read("pids").is_empty());
    running.stop_and_kill(Signal::TERM);
    assert_eq!(running.end(&place).status, "exit status: 143");
    place.check_all_ended(1);
}

#[test]
fn child_that_reads_no_answers_is_named() {
    let place = Place::with_lines(3);
    let running = Running::start(place.command("-i input --patience 100ms -- AWKWARD beggar"));
    running.wait_for("shard 0: no answer to processRecords for 400ms");
    running.stop_and_kill(Signal::HUP);
    assert_eq!(running.end(&place).status, "exit status: 129");
}

#[test]
fn status_after_text_without_a_line_end_is_named() {
    let place = Place::with_lines(3);
    let running = Running::start(place.command("-i input --patience 100ms -- AWKWARD words=ready"));
    running.wait_for(
        "shard 0: skipped a line on stdout that is not a message: \
         ready{\"action\":\"status\",\"responseFor\":\"initialize\"} (the message is lost because text \
         without a line end precedes it; write text for people to stderr)",
    );
    running.wait_for("shard 0: no answer to initialize for ");
    running.stop_and_kill(Signal::INT);
    assert_eq!(running.end(&place).status, "exit status: 130");
}

#[test]
fn endless_checkpoints_are_named() {
    let place = Place::with_lines(3);
    let running = Running::start(place.command("-i input --patience 100ms -- AWKWARD insistent"));
    for _ in 0..2 {
        running.wait_for(" checkpoint requests; the real daemon would answer them forever");
    }
    running.stop_and_kill(Signal::INT);
    assert_eq!(running.end(&place).status, "exit status: 130");
}

#[test]
fn flood_of_stderr_is_shown() {
    let outcome = Place::with_lines(3).local("-- AWKWARD flood-stderr=100000000");
    assert_eq!(outcome.status, "exit status: 0");
    assert_eq!(
        outcome.stderr.lines().filter(|line| line.starts_with("shard 0 | fff")).count(),
        1_000_000
    );
}

#[test]
fn flood_of_stdout_is_counted() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD flood-stdout=10000000"));
}

#[test]
fn endless_line_is_an_error() {
    let place = Place::with_lines(3);
    assert_snapshot!(place.local("-- AWKWARD pids=pids endless-line"));
    place.check_all_ended(1);
}

#[test]
fn closed_stdout_is_an_error() {
    let outcome = Place::with_lines(3).local("-- AWKWARD close=stdout");
    assert_eq!(outcome.status, "exit status: 1");
    assert!(outcome.stderr.contains("shard 0: the child closed its stdout during processRecords"));
}

#[test]
fn closed_stdin_is_an_error() {
    // Its own reader then sees the end of input; the daemon's next write fails.
    let outcome = Place::with_lines(3000).local("-- AWKWARD close=stdin ignore-eof");
    assert_eq!(outcome.status, "exit status: 1", "{outcome}");
    assert!(
        outcome.stderr.contains("shard 0: the child closed its stdin during processRecords"),
        "{outcome}"
    );
}

#[test]
fn child_that_does_not_exit_is_an_error() {
    let place = Place::with_lines(3);
    assert_snapshot!(place.local("--patience 300ms -- AWKWARD pids=pids ignore-eof"));
    place.check_all_ended(1);
}

#[test]
fn library_for_the_other_protocol_is_recognised() {
    let place = Place::with_lines(3);
    assert_snapshot!("knows_1", place.local("--state 1 -- AWKWARD knows=1"));
    assert_snapshot!(
        "knows_1_shard_end",
        place.local("--state 2 --at-end shard-ended -- AWKWARD knows=1")
    );
    assert_snapshot!("knows_2", place.local("--state 3 --protocol 1 -- AWKWARD knows=2"));
    let hangs =
        place.local("--state 4 --patience 300ms --timeout 1s --grace 0s -- AWKWARD hang=leaseLost");
    let hint =
        "if the processor's library is for KCL 1.x, which has no leaseLost, add --protocol 1";
    assert!(hangs.stderr.contains(hint), "{}", hangs.stderr);
}

#[test]
fn protocol_1_ends_a_shard_with_shutdown() {
    let place = Place::with_lines(3);
    let stopped = place.local("--protocol 1 -vv --state 1 -- AWKWARD knows=1 checkpoint=never");
    assert!(
        stopped.stderr.contains("{\"action\":\"shutdown\",\"reason\":\"ZOMBIE\"}"),
        "{}",
        stopped.stderr
    );
    assert_eq!(stopped.status, "exit status: 0", "{}", stopped.stderr);
    let ended = place.local(
        "--protocol 1 --at-end shard-ended -vv --state 2 -- AWKWARD knows=1 checkpoint-in=shutdown",
    );
    assert!(
        ended.stderr.contains("{\"action\":\"shutdown\",\"reason\":\"TERMINATE\"}"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.status, "exit status: 0", "{}", ended.stderr);
    let handed_over = place.local("--protocol 1 --fault handoff@2 --state 3 -- AWKWARD knows=1");
    assert_eq!(handed_over.status, "exit status: 0", "{}", handed_over.stderr);
    let place = Place::with_lines(3);
    let outcome = place.local("--protocol 1 --at-end shard-ended -- AWKWARD checkpoint=never");
    let error = "answered shutdown without a checkpoint at the end of the shard";
    assert!(outcome.stderr.contains(error), "{}", outcome.stderr);
    let hint = "hint: checkpoint without numbers in shutdown, before its status";
    assert!(outcome.stderr.contains(hint), "{}", outcome.stderr);
    let hangs = "--protocol 1 --state 4 --timeout 500ms --grace 0s -- AWKWARD hang=processRecords";
    let outcome = place.local(hangs);
    let sent = "--timeout 500ms: sending shutdownRequested and shutdown to 1 shard, for up to 0s";
    assert!(outcome.stderr.contains(sent), "{}", outcome.stderr);
}

#[test]
fn wrong_status_for_shutdown_requested_is_a_warning() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD answer-for=shutdownRequested"));
}

#[test]
fn exit_status_after_a_proper_end_is_a_warning() {
    assert_snapshot!(Place::with_lines(3).local("-- AWKWARD exit=9"));
}

#[test]
fn grandchild_that_holds_the_pipes_is_killed() {
    let place = Place::with_lines(3);
    assert_snapshot!(place.local("-- AWKWARD grandchild=100 log=log"));
    let log = place.read("log");
    let grandchild = log.lines().find_map(|line| line.strip_suffix(" grandchild")).unwrap();
    eventually("the grandchild's end", || !runs(grandchild));
}

#[test]
fn line_that_is_too_long_for_a_record_is_an_error() {
    let place = Place::new();
    place.write("input", [b"one\ntwo\n".as_slice(), &vec![b'x'; (10 << 20) + 1], b"\n"].concat());
    assert_snapshot!(place.local("-- AWKWARD log=log"));
    assert!(place.read("log").contains(" two\n"));
}

// ---- Injected faults

#[test]
fn checkpoint_faults_are_answered_and_counted() {
    let place = Place::with_lines(6);
    // Its answers are told on stderr, in shutdownRequested.
    for (fault, answer) in [
        ("throttled", "ThrottlingException"),
        ("dependency", "KinesisClientLibDependencyException"),
        ("shutdown", "ShutdownException"),
        ("invalid-state", "InvalidStateException"),
        ("illegal-argument", "IllegalArgumentException"),
    ] {
        let child = "AWKWARD checkpoint=batch log=log log-checkpoints";
        place.write("log", "");
        let outcome = place.local(&format!("--reset --fault {fault} -- {child}"));
        assert_eq!(outcome.status, "exit status: 0", "{outcome}");
        assert!(outcome.stdout.contains(" | none | ok\n"), "{outcome}");
        assert!(place.read("log").contains(&format!(" hears all: {answer}\n")));
    }
    let child = "AWKWARD checkpoint=every log=log log-checkpoints";
    place.write("log", "");
    let outcome = place.local(&format!("--reset --fault throttled@0:2x3 -- {child}"));
    let log = place.read("log");
    let answers: Vec<_> = log.lines().filter(|line| line.contains(" hears ")).collect();
    let refused: Vec<_> =
        answers.iter().map(|line| line.ends_with(": ThrottlingException")).collect();
    assert_eq!(refused, [false, true, true, true, false, false], "{outcome}");
}

#[test]
fn unanswered_checkpoint_waits_for_the_timeout() {
    let place = Place::with_lines(3);
    let args = "--fault unanswered --patience 100ms --timeout 700ms --grace 100ms";
    let outcome = place.local(&format!("{args} -- AWKWARD checkpoint=batch"));
    assert_eq!(outcome.status, "exit status: 124", "{outcome}");
    assert!(outcome.stdout.contains(" | none | killed\n"), "{outcome}");
    // It is the child that waits.
    assert!(!outcome.stderr.contains("no answer"), "{outcome}");
}

#[test]
fn killed_child_is_replaced_at_the_checkpoint() {
    let place = Place::with_lines(2500);
    let child = "AWKWARD checkpoint=batch log=log";
    assert_snapshot!(place.local(&format!("--fault killed@1500 -- {child}")));
    let records = records(&place.read("log"));
    assert_eq!(records.len(), 3500);
    let lines: Vec<_> = (1..=2000).chain(1001..=2500).map(|line| line.to_string()).collect();
    assert_eq!(records, lines);
}

#[test]
fn lost_lease_is_taken_by_another_child() {
    let place = Place::with_lines(2500);
    // It is not asked for a checkpoint, so that the new child gets all again.
    let outcome = place.local("--fault lease-lost@0:1001 -- AWKWARD log=log");
    assert_snapshot!(outcome);
    let lines: Vec<_> = (1..=2000).chain(1..=2500).map(|line| line.to_string()).collect();
    assert_eq!(records(&place.read("log")), lines);
    assert_eq!(place.read("log").matches("end of input").count(), 2);
}

#[test]
fn handoff_delivers_every_record_once() {
    let place = Place::with_lines(2500);
    let outcome = place.local("--fault handoff@700x3 -- AWKWARD log=log");
    assert_snapshot!(outcome);
    let lines: Vec<_> = (1..=2500).map(|line| line.to_string()).collect();
    assert_eq!(records(&place.read("log")), lines);
    assert_eq!(place.read("log").matches("end of input").count(), 4);
}

#[test]
fn faults_that_did_not_happen_are_named() {
    let place = Place::with_lines(3);
    let outcome = place.local("--fault killed@4 --fault throttled@1x2 -- AWKWARD");
    assert_snapshot!(outcome);
}

#[test]
fn fault_of_a_missing_shard_is_refused() {
    assert_snapshot!(Place::with_lines(3).local("--shards 2 --fault killed@2:1 -- AWKWARD"));
}

// ---- Signals

#[test]
fn one_signal_ends_a_run_properly() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let place = Place::new();
        let mut command = place.command("-i - --shards 2 -- AWKWARD log=log");
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let mut stdin = running.stdin.take().unwrap();
        writeln!(stdin, "one\ntwo\nthree").unwrap();
        eventually("the records", || place.read("log").lines().count() == 3);
        running.signal(signal);
        // stdin is still open, and the run does not wait for it.
        let outcome = running.end(&place);
        drop(stdin);
        assert_eq!(outcome.status, format!("exit status: {status}"));
        assert_eq!(place.read("log").matches("end of input").count(), 2);
        if status == 130 {
            assert_snapshot!("interrupted", outcome);
        }
    }
}

#[test]
fn one_signal_ends_a_run_over_a_child_that_hangs() {
    for (hangs, at) in [
        ("deaf", "no answer to initialize"),
        ("freeze=initialize", "no answer to initialize"),
        ("hang=processRecords", "no answer to processRecords"),
        ("freeze=processRecords", "no answer to processRecords"),
        ("insistent", "checkpoint requests"),
    ] {
        let place = Place::with_lines(3);
        let args = "-i input --patience 100ms --grace 300ms -- AWKWARD pids=pids";
        let running = Running::start(place.command(&format!("{args} {hangs}")));
        running.wait_for(at);
        eventually("the child's start", || !place.read("pids").is_empty());
        running.signal(Signal::TERM);
        running.wait_for("not stopped within 300ms: killing the children");
        let outcome = running.end(&place);
        assert_eq!(outcome.status, "exit status: 143", "{hangs}: {outcome}");
        assert!(outcome.stdout.contains("killed\n"), "{hangs}: {outcome}");
        place.check_all_ended(1);
    }
}

#[test]
fn one_signal_ends_a_run_whose_child_hangs_at_the_stop() {
    for hangs in ["hang=shutdownRequested", "freeze=leaseLost", "ignore-eof ignore-term"] {
        let place = Place::new();
        let args = "-i - --grace 300ms -- AWKWARD log=log pids=pids";
        let mut command = place.command(&format!("{args} {hangs}"));
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let mut stdin = running.stdin.take().unwrap();
        writeln!(stdin, "one").unwrap();
        eventually("the record", || !place.read("log").is_empty());
        running.signal(Signal::INT);
        running.wait_for("not stopped within 300ms: killing the children");
        assert_eq!(running.end(&place).status, "exit status: 130", "{hangs}");
        drop(stdin);
        place.check_all_ended(1);
    }
}

/// As coreutils' `timeout` does.
#[test]
fn signals_within_half_a_second_are_one_request() {
    let place = Place::new();
    let mut command = place.command("-i - -- AWKWARD log=log slow=700");
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    writeln!(stdin, "one").unwrap();
    eventually("the record", || !place.read("log").is_empty());
    running.signal(Signal::INT);
    running.wait_for("sending shutdownRequested");
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    let outcome = running.end(&place);
    drop(stdin);
    assert_eq!(outcome.status, "exit status: 130");
    assert!(!outcome.stderr.contains("again: "), "{outcome}");
    assert!(place.read("log").contains("end of input"), "{outcome}");
}

#[test]
fn timeout_stops_a_run() {
    let place = Place::new();
    let mut command = place.command("-i - --timeout 700ms -- AWKWARD log=log");
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    writeln!(stdin, "one").unwrap();
    let outcome = running.end(&place);
    drop(stdin);
    assert_eq!(outcome.status, "exit status: 124");
    assert!(place.read("log").contains("end of input"), "{outcome}");
    assert_snapshot!(outcome.stderr.lines().nth(1).unwrap(), @"--timeout 700ms: sending shutdownRequested and leaseLost to 1 shard, for up to 10s; signal again to kill");
}

/// Before the first child starts there is nothing to stop, for example while a pipe has no writer.
#[test]
fn signal_or_timeout_ends_a_run_that_cannot_begin() {
    let place = Place::new();
    assert!(kcl_fixtures::command("mkfifo").arg(place.path("input")).status().unwrap().success());
    let running = Running::start(place.command("-i input -- AWKWARD"));
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::TERM);
    assert_eq!(running.end(&place).status, "exit status: 143");
    let outcome = place.local("--timeout 200ms -- AWKWARD");
    assert_eq!(outcome.status, "exit status: 124");
    assert_eq!(outcome.stderr, "--timeout 200ms: stopped before anything was started\n");
}

#[test]
fn children_end_when_kcl_helper_is_killed() {
    let place = Place::new();
    let mut command = place.command("-i - --shards 2 -- AWKWARD log=log pids=pids");
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    writeln!(stdin, "one").unwrap();
    let pids = || place.read("pids");
    eventually("both children", || pids().lines().count() == 2 && !place.read("log").is_empty());
    running.signal(Signal::KILL);
    running.end(&place);
    place.check_all_ended(2);
}

// ---- At least once, and in order

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However often children die, and wherever: runs deliver every record at least once, and each
    /// child gets the records of its shard in order, without a gap after what was delivered before.
    #[test]
    fn every_record_is_delivered(
        lines in 1..3000u64,
        shards in 1..4u32,
        cadence in prop::sample::select(vec!["every", "batch", "end"]),
        deaths in prop::collection::vec(1..2500u64, 0..4),
    ) {
        // A checkpoint is a write to the disk; a few hundred of them are enough.
        let lines = if cadence == "every" { 1 + lines % 200 } else { lines };
        let place = Place::with_lines(lines);
        let args = |more: &str| {
            format!("-q --shards {shards} -- AWKWARD log=log checkpoint={cadence} {more}")
        };
        for death in &deaths {
            let death = if cadence == "every" { 1 + death % 100 } else { *death };
            let status = place.local(&args(&format!("die-at={death}"))).status;
            prop_assert!(["exit status: 0", "exit status: 1"].contains(&status.as_str()));
        }
        prop_assert_eq!(place.local(&args("")).status, "exit status: 0");
        check_deliveries(&place.read("log"), lines)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever faults happen, and wherever, a single run delivers every record in the same way.
    #[test]
    fn every_record_is_delivered_despite_faults(
        lines in 1..3000u64,
        shards in 1..4u32,
        cadence in prop::sample::select(vec!["every", "batch", "end", "never"]),
        faults in prop::collection::vec(
            (prop::sample::select(vec!["killed", "lease-lost", "handoff", "dependency"]), 1..2500u64, 1..4u32),
            1..4,
        ),
    ) {
        let lines = if cadence == "every" { 1 + lines % 200 } else { lines };
        let place = Place::with_lines(lines);
        let faults: String =
            faults.iter().map(|(name, at, count)| format!(" --fault {name}@{at}x{count}")).collect();
        let args = format!("-q --shards {shards}{faults} -- AWKWARD log=log checkpoint={cadence}");
        prop_assert_eq!(place.local(&args).status, "exit status: 0");
        let log = place.read("log");
        check_deliveries(&log, lines)?;
        if cadence == "never" {
            // Every child of a shard begins with the same record.
            let mut firsts = std::collections::BTreeMap::new();
            let mut lives = std::collections::BTreeSet::new();
            for line in log.lines().filter(|line| !line.contains("end of input")) {
                let words: Vec<_> = line.split(' ').collect();
                if lives.insert((words[0], words[1])) {
                    prop_assert_eq!(*firsts.entry(words[1]).or_insert(words[3]), words[3]);
                }
            }
        }
    }
}

/// Lives follow each other in the log, those of different shards mixed.
fn check_deliveries(log: &str, lines: u64) -> Result<(), TestCaseError> {
    // All records of each shard that were ever delivered, in order: that is all of the shard, if
    // together these are all records.
    let mut lives: Vec<(String, String, Vec<u64>)> = Vec::new();
    for line in log.lines().filter(|line| !line.contains("end of input")) {
        let words: Vec<_> = line.split(' ').collect();
        let [process, shard, number, data] = words[..] else { panic!("{line}") };
        prop_assert_eq!(&number[36..], format!("{data:0>20}"));
        let life = lives.iter_mut().find(|life| life.0 == process && life.1 == shard);
        let record = data.parse().unwrap();
        match life {
            Some(life) => life.2.push(record),
            None => lives.push((process.into(), shard.into(), vec![record])),
        }
    }
    let mut all: Vec<u64> = lives.iter().flat_map(|life| life.2.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    prop_assert_eq!(all, (1..=lines).collect::<Vec<_>>());

    let shards: std::collections::BTreeSet<_> = lives.iter().map(|life| life.1.clone()).collect();
    for shard in shards {
        let lives: Vec<_> =
            lives.iter().filter(|life| life.1 == shard).map(|life| &life.2).collect();
        let mut records: Vec<u64> = lives.iter().flat_map(|life| life.iter().copied()).collect();
        records.sort_unstable();
        records.dedup();
        let mut reached = 0;
        for life in lives {
            let first = records.binary_search(&life[0]).unwrap();
            prop_assert!(first <= reached, "a gap before {}", life[0]);
            prop_assert_eq!(life, &records[first..first + life.len()]);
            reached = reached.max(first + life.len());
        }
    }
    Ok(())
}
