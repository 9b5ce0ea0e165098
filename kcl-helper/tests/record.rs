//! `kcl-helper record` between a test that plays the daemon and a program that misbehaves: both must
//! see what they would see of each other without it, and the recording must have it all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use insta::assert_snapshot;
use kcl_fixtures::awkward_child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

const HELPER: &str = env!("CARGO_BIN_EXE_kcl-helper");

/// A folder for recordings.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn rec(&self) -> PathBuf {
        self.0.path().join("rec")
    }

    /// `kcl-helper record OPTIONS -- COMMAND`, with all three pipes in our hands.
    fn command(&self, options: &[&str], command: &[&str]) -> Command {
        let mut helper = kcl_fixtures::command(HELPER);
        helper.arg("record").arg("--to").arg(self.rec()).args(options).arg("--").args(command);
        helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        helper.env_remove("RUST_BACKTRACE");
        helper
    }

    fn start(&self, command: &[&str]) -> Child {
        self.command(&[], command).spawn().unwrap()
    }

    fn shell(&self, script: &str) -> Child {
        self.start(&["sh", "-c", script])
    }

    /// The events of the only recording, without their times.
    fn events(&self) -> Vec<Value> {
        let mut events = self.lines();
        let header = events.remove(0);
        assert_eq!(header["version"], 1);
        events.iter_mut().for_each(|event| {
            assert!(event[0].is_u64(), "{event}");
            event.as_array_mut().unwrap().remove(0);
        });
        events
    }

    fn lines(&self) -> Vec<Value> {
        let files: Vec<_> =
            fs::read_dir(self.rec()).unwrap().map(|it| it.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        assert_eq!(file.extension().unwrap(), "jsonl");
        let text = fs::read_to_string(file).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All that was recorded of one stream.
    fn recorded(&self, kind: &str) -> String {
        let events = self.events();
        let events = events.iter().filter(|event| event[0] == kind);
        events.filter_map(|event| event[1].as_str()).collect()
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn read_line(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_caller_that_ignores_the_ends_of_children_takes_no_status_away() {
    let place = Place::new();
    let words = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", HELPER, "record", "--to"];
    // Some shells do not ignore it when they are told to.
    let mut command = kcl_fixtures::command("bash");
    command.args(words).arg(place.rec()).args(["--", "sh", "-c", "exit 7"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.events().last(), Some(&json!(["x", "exit status 7"])));
}

#[test]
fn a_life_is_recorded_as_it_was_said() {
    let place = Place::new();
    let log = place.0.path().join("log");
    let log = format!("log={}", log.display());
    let mut child = place.start(&[&awkward_child(), "checkpoint=batch", &log]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let records = r#"{"action":"processRecords","records":[{"data":"ww==","partitionKey":"ключ","sequenceNumber":"1","approximateArrivalTimestamp":1,"subSequenceNumber":0,"action":"record"}],"millisBehindLatest":0}"#;
    let answer =
        r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}"#;
    let ask = "{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n";
    let status = |action: &str| format!("{{\"action\":\"status\",\"responseFor\":\"{action}\"}}\n");
    let script = [
        (
            r#"{"action":"initialize","shardId":"shardId-0","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#,
            status("initialize"),
        ),
        (records, ask.to_owned()),
        (answer, status("processRecords")),
        (r#"{"action":"leaseLost"}"#, status("leaseLost")),
    ];
    let mut expected = Vec::new();
    for (says, hears) in &script {
        let line = format!("{says}\n");
        stdin.write_all(line.as_bytes()).unwrap();
        assert_eq!(read_line(&mut stdout), *hears);
        expected.extend([json!(["<", line]), json!([">", hears])]);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let mut events = place.events();
    // Two streams end at the same time, in any order.
    events[9..11].sort_by_key(|event| event[0].to_string());
    expected.extend([json!(["<", null]), json!([">", null]), json!(["e", null])]);
    events[8..11].sort_by_key(|event| event[0].to_string());
    expected[8..11].sort_by_key(|event| event[0].to_string());
    expected.push(json!(["x", "exit status 0"]));
    assert_eq!(events, expected);
    let header = &place.lines()[0];
    assert_eq!(header["command"], json!([awkward_child(), "checkpoint=batch", log]));
    assert_eq!(header["kcl_helper"], env!("CARGO_PKG_VERSION"));
    assert!(header["started"].as_str().unwrap().ends_with('Z'));
    let keys: Vec<_> = header.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
}

#[test]
fn pieces_that_are_no_lines_and_no_text_pass_at_once() {
    let place = Place::new();
    let mut child = place.start(&["cat"]);
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for piece in [b"{\"act".as_slice(), b"\xff\xfe", b"\n\n", b"no end"] {
        stdin.write_all(piece).unwrap();
        let mut got = vec![0; piece.len()];
        stdout.read_exact(&mut got).unwrap();
        assert_eq!(got, piece);
    }
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert!(child.wait().unwrap().success());
    let said: Vec<Value> = place.events().into_iter().filter(|event| event[0] == ">").collect();
    assert_eq!(
        Value::from(said),
        json!([
            [">", "{\"act"],
            [">", "//4=", "base64"],
            [">", "\n"],
            [">", "\n"],
            [">", "no end"],
            [">", null]
        ])
    );
}

#[test]
fn a_line_of_14_megabytes_passes_in_little_memory() {
    let place = Place::new();
    let mut child = place.start(&["cat"]);
    let line = [vec![b'x'; 14 << 20], b"\n".to_vec()].concat();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent = line.clone();
    let writer = thread::spawn(move || {
        stdin.write_all(&sent).unwrap();
        stdin
    });
    let mut got = vec![0; line.len()];
    stdout.read_exact(&mut got).unwrap();
    assert!(got == line);
    #[cfg(target_os = "linux")] // others tell nobody what a process's peak was
    {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 40 << 10, "{kib} KiB");
    }
    drop(writer.join().unwrap());
    assert!(child.wait().unwrap().success());
    assert!(place.recorded("<").as_bytes() == line && place.recorded(">").as_bytes() == line);
}

#[test]
fn stderr_passes_at_once_too() {
    let place = Place::new();
    let mut child = place.shell("printf 'no end' >&2; cat");
    let mut got = [0; 6];
    child.stderr.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"no end");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(place.recorded("e"), "no end");
}

#[test]
fn the_programs_end_is_ours() {
    let place = Place::new();
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 3", Some(3), None),
        ("exit 143", Some(143), None),
        ("kill -KILL $$", None, Some(9)),
        ("kill -TERM $$", None, Some(15)),
        ("kill -ABRT $$", None, Some(6)),
        ("kill -PIPE $$", None, Some(13)),
    ] {
        let status = place.shell(script).wait().unwrap();
        assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
    }
    let mut ends: Vec<String> = fs::read_dir(place.rec())
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .map(|text| text.lines().last().unwrap().split_once(',').unwrap().1.to_owned())
        .collect();
    ends.sort();
    assert_eq!(
        ends,
        [
            r#""x","exit status 0"]"#,
            r#""x","exit status 143"]"#,
            r#""x","exit status 3"]"#,
            r#""x","signal 13, SIGPIPE"]"#,
            r#""x","signal 15, SIGTERM"]"#,
            r#""x","signal 6, SIGABRT"]"#,
            r#""x","signal 9, SIGKILL"]"#,
        ]
    );
}

#[test]
fn all_that_was_said_before_the_end_arrives() {
    let place = Place::new();
    let Output { status, stdout, stderr } = place
        .shell("i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; exit 7")
        .wait_with_output()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    let lines = |start: &str| (0..500).map(|n| format!("{start}{n}\n")).collect::<String>();
    assert_eq!(String::from_utf8(stdout).unwrap(), lines("out"));
    assert_eq!(String::from_utf8(stderr).unwrap(), lines("err"));
    assert_eq!((place.recorded(">"), place.recorded("e")), (lines("out"), lines("err")));
}

#[test]
fn a_program_that_ends_while_stdin_is_open_is_not_waited_for() {
    let place = Place::new();
    let mut child = place.shell("exit 5");
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    drop(stdin);
}

#[test]
fn a_closed_stdin_breaks_the_daemons_pipe_and_a_closed_stdout_ends_it() {
    let place = Place::new();
    let mut child = place.shell("exec <&-; echo closed; exec >&-; exec sleep 60");
    let (mut stdin, mut stdout) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "closed\n");
    // Without a write, and while the program lives.
    let mut entry = [PollFd::new(&stdin, PollFlags::HUP)];
    let time = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut entry, Some(&time)), Ok(1));
    assert_eq!(stdin.write_all(b"anybody?\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

/// Some systems cannot wait for a device, and call it invalid.
#[test]
fn a_device_takes_what_the_program_writes() {
    let place = Place::new();
    let script = "echo one; read wait; trap '' PIPE; echo two || exit 9; exit 5";
    let mut command = place.command(&[], &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let said = place.events();
    let said: Vec<_> = said.iter().filter(|event| event[0] == ">").collect();
    assert_eq!(said, [&json!([">", "one\n"]), &json!([">", "two\n"]), &json!([">", null])]);
}

#[test]
fn a_stdout_that_is_lost_is_told() {
    for (redirection, is_told) in [(">&-", true), (">/dev/null", true), ("", false)] {
        let place = Place::new();
        let mut command = kcl_fixtures::command("sh");
        command.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirection}")).arg(HELPER);
        command.args(["record", "--to"]).arg(place.rec()).args(["--", "echo", "one"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let warning = "warning: stdout is closed, or the null device: nobody gets what the program \
                       writes there\n";
        let expected = if is_told { warning } else { "" };
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(place.recorded(">"), "one\n");
    }
}

#[test]
fn a_daemon_that_closes_stdout_is_a_broken_pipe_to_the_program() {
    let place = Place::new();
    let mut child = place.start(&["yes"]);
    drop(child.stdout.take());
    // `yes` dies of SIGPIPE, or says so and exits 1 where that is ignored.
    let status = child.wait().unwrap();
    assert!(status.signal() == Some(13) || status.code() == Some(1), "{status}");
}

#[test]
fn whoever_holds_stdout_is_waited_for_as_by_the_daemon() {
    let place = Place::new();
    let mut child = place.shell("{ read go; echo late; } <&0 & exit 3");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    // Some shells give what runs behind `&` no stdin, and then it is not waited for any longer.
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "late\n");
}

/// Tells each SIGTERM, goes on after the first one, and ends at the end of its input.
const TELLS: &str = "trap 'echo term; told=1' TERM; echo ready; \
                     while [ -z \"$told\" ]; do sleep 0.05; done; cat; exit 4";

#[test]
fn a_signal_to_us_reaches_the_program_once() {
    let place = Place::new();
    let mut child = place.start(&["bash", "-c", TELLS]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(read_line(&mut stdout), "ready\n");
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(read_line(&mut stdout), "term\n");
    drop(child.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn a_program_that_ignores_a_signal_goes_on_while_somebody_writes_to_it() {
    let place = Place::new();
    let script = "trap 'echo term' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = place.command(&["--grace", "700ms"], &["bash", "-c", script]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(read_line(&mut stdout), "ready\n");
    for _ in 0..2 {
        kill_process(pid(&child), Signal::TERM).unwrap();
        assert_eq!(read_line(&mut stdout), "term\n");
        thread::sleep(Duration::from_millis(800));
        assert!(child.try_wait().unwrap().is_none());
    }
    // The daemon has gone.
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_snapshot!(said, @"warning: not stopped within 700ms: killing the program");
    assert_eq!(place.events().last(), Some(&json!(["x", "signal 9, SIGKILL"])));
}

/// As under a daemon: somebody else leads the group.
#[test]
fn a_signal_to_the_group_reaches_the_program_once() {
    let place = Place::new();
    let helper = place.command(&[], &["bash", "-c", TELLS]);
    let words: Vec<_> = std::iter::once(helper.get_program()).chain(helper.get_args()).collect();
    let mut leader = kcl_fixtures::command("bash");
    leader.args(["-c", "trap '' TERM; (trap - TERM; exec \"$@\"); echo status $?", "leader"]);
    leader.args(words).process_group(0);
    leader.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut leader = leader.spawn().unwrap();
    let mut stdout = BufReader::new(leader.stdout.take().unwrap());
    assert_eq!(read_line(&mut stdout), "ready\n");
    kill_process_group(pid(&leader), Signal::TERM).unwrap();
    assert_eq!(read_line(&mut stdout), "term\n");
    drop(leader.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "status 4\n");
    assert!(leader.wait().unwrap().success());
}

#[test]
fn each_process_has_a_file_and_none_is_overwritten() {
    let place = Place::new();
    let children: Vec<_> = (0..8).map(|_| place.shell("echo x")).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(fs::read_dir(place.rec()).unwrap().count(), 8);
}

#[test]
fn what_cannot_be_recorded_runs_all_the_same() {
    let place = Place::new();
    fs::write(place.rec(), "a file").unwrap();
    let output = place.shell("echo out; exit 6").wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(6), b"out\n".as_slice()));
    let said = String::from_utf8(output.stderr).unwrap();
    let said = said.replace(place.0.path().to_str().unwrap(), "[folder]");
    assert_snapshot!(said, @"warning: nothing is recorded in [folder]/rec: File exists (os error 17)");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    let mut command = place.command(&[], &["sh", "-c", "echo out; echo err >&2"]);
    // Open for reading alone. A full disk is the same to us, and /dev/full is not everywhere.
    let path = place.0.path().join("for-reading");
    fs::write(&path, "").unwrap();
    command.stdout(fs::File::open(path).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    // The program writes at the same time.
    let (err, warnings): (Vec<_>, Vec<_>) = said.lines().partition(|line| *line == "err");
    assert_eq!(err, ["err"]);
    assert_snapshot!(warnings.join("\n"), @"warning: cannot write to stdout, so the program's stdout is closed: Bad file descriptor (os error 9)");
    assert_eq!(place.recorded(">"), "out\n");
    assert_eq!(place.events().last(), Some(&json!(["x", "exit status 0"])));
}

#[test]
fn a_full_recording_ends_and_the_program_goes_on() {
    let place = Place::new();
    let mut command = place.command(&["--max-size", "4KiB"], &["sh", "-c", "seq 100000; exit 2"]);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 100_001);
    let events = place.events();
    let end =
        [json!(["!", "the recording is full, see --max-size"]), json!(["x", "exit status 2"])];
    assert_eq!(events[events.len() - 2..], end);
}

/// What is different in each recording is `HASH`, also within base64.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split(", hash ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + ", hash HASH" + &part[16..])
}

#[test]
fn a_redacted_recording_has_no_payload_and_the_program_has_it_all() {
    let place = Place::new();
    let line = "{\"records\":[{\"data\":null,\"partitionKey\":\"SECRET\"}]}\n";
    let script = "tee /dev/stderr; printf 'SECRET: no such key\\nSECRET' >&2";
    let mut child = place.command(&["--redact"], &["sh", "-c", script, "SECRET"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{line}SECRET\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, format!("{line}SECRET\n").as_bytes());
    assert_eq!(output.stderr, format!("{line}SECRET\nSECRET: no such key\nSECRET").as_bytes(),);
    let said = ["<", ">", "e"].map(|kind| without_hashes(&place.recorded(kind))).join("");
    assert_snapshot!(said, @r#"
    {"records":[{"data":null,"partitionKey":"6 bytes, hash HASH"}]}
    6 bytes, hash HASH
    {"records":[{"data":null,"partitionKey":"6 bytes, hash HASH"}]}
    6 bytes, hash HASH
    {"records":[{"data":null,"partitionKey":"6 bytes, hash HASH"}]}
    6 bytes, hash HASH
    19 bytes, hash HASH
    6 bytes, hash HASH
    "#);
    // In one recording one text has one hash.
    let keys = place.recorded("<") + &place.recorded(">");
    let hashes: Vec<&str> = keys.split(", hash ").skip(1).map(|part| &part[..16]).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let header = &place.lines()[0];
    assert_eq!(header["redacted"], true);
    let command = without_hashes(&header["command"].to_string());
    assert_snapshot!(command, @r#"["sh","2 bytes, hash HASH","57 bytes, hash HASH","6 bytes, hash HASH"]"#);
    let file = fs::read_dir(place.rec()).unwrap().next().unwrap().unwrap().path();
    assert!(!fs::read_to_string(file).unwrap().contains("SECRET"));
}

#[test]
fn only_the_owner_can_read_a_recording() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (umask, there_before) in [("022", false), ("0", false), ("0", true), ("077", false)] {
        let place = Place::new();
        if there_before {
            fs::create_dir(place.rec()).unwrap();
            fs::set_permissions(place.rec(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = format!("umask {umask}; exec \"$0\" record --to \"$1\" -- true");
        let mut command = kcl_fixtures::command("sh");
        let status = command.args(["-c", &script, HELPER]).arg(place.rec()).status().unwrap();
        assert!(status.success());
        assert_eq!(mode(&place.rec()), if there_before { 0o755 } else { 0o700 });
        let file = fs::read_dir(place.rec()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(mode(&file), 0o600, "{umask}");
    }
}

#[test]
fn what_cannot_be_run_is_said() {
    let place = Place::new();
    let say = |options: &[&str], command: &[&str]| {
        let output = place.command(options, command).output().unwrap();
        format!("{}\n{}", output.status, String::from_utf8(output.stderr).unwrap())
    };
    let here = std::env::current_dir().unwrap();
    let said = say(&[], &["./no-such-program"]).replace(here.to_str().unwrap(), "[here]");
    assert_snapshot!(said, @r"
    exit status: 3
    error: cannot start `./no-such-program`: No such file or directory (os error 2)
    hint: write a path that is relative to the working folder, [here]
    ");
    assert_snapshot!(say(&["--max-size", "100"], &["true"]), @r"
    exit status: 2
    error: invalid value '100' for '--max-size <SIZE>': 100 of what? write 100B or 100KiB

    For more information, try '--help'.
    ");
    assert!(!place.rec().exists());
}
