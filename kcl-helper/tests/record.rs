//! `kcl-helper record` between a test that acts as the daemon and a program that misbehaves: both must see
//! what they would see without it, and the recording must be complete.

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
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn rec(&self) -> PathBuf {
        self.0.path().join("rec")
    }

    /// Returns `kcl-helper record OPTIONS -- COMMAND`, with three pipes.
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

    /// Returns the events of the only recording, without their times.
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

    /// Returns everything that was recorded of one stream.
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
fn ignored_sigchld_does_not_lose_the_status() {
    let folder = Folder::new();
    let words = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", HELPER, "record", "--to"];
    // Some shells do not ignore it even if they are told to.
    let mut command = kcl_fixtures::command("bash");
    command.args(words).arg(folder.rec()).args(["--", "sh", "-c", "exit 7"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(folder.events().last(), Some(&json!(["x", "exit status 7"])));
}

#[test]
fn conversation_is_recorded_in_order() {
    let folder = Folder::new();
    let log = folder.0.path().join("log");
    let log = format!("log={}", log.display());
    let mut child = folder.start(&[&awkward_child(), "checkpoint=batch", &log]);
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
    let mut events = folder.events();
    // Two streams end at the same time, so their order varies.
    events[9..11].sort_by_key(|event| event[0].to_string());
    expected.extend([json!(["<", null]), json!([">", null]), json!(["e", null])]);
    events[8..11].sort_by_key(|event| event[0].to_string());
    expected[8..11].sort_by_key(|event| event[0].to_string());
    expected.push(json!(["x", "exit status 0"]));
    assert_eq!(events, expected);
    let header = &folder.lines()[0];
    assert_eq!(header["command"], json!([awkward_child(), "checkpoint=batch", log]));
    assert_eq!(header["kcl_helper"], env!("CARGO_PKG_VERSION"));
    assert!(header["started"].as_str().unwrap().ends_with('Z'));
    let keys: Vec<_> = header.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
}

#[test]
fn partial_lines_and_invalid_utf8_pass_at_once() {
    let folder = Folder::new();
    let mut child = folder.start(&["cat"]);
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
    let said: Vec<Value> = folder.events().into_iter().filter(|event| event[0] == ">").collect();
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
fn line_of_14_megabytes_needs_little_memory() {
    let folder = Folder::new();
    let mut child = folder.start(&["cat"]);
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
    #[cfg(target_os = "linux")] // other systems do not show another process's peak memory
    {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 40 << 10, "{kib} KiB");
    }
    drop(writer.join().unwrap());
    assert!(child.wait().unwrap().success());
    assert!(folder.recorded("<").as_bytes() == line && folder.recorded(">").as_bytes() == line);
}

#[test]
fn stderr_passes_at_once() {
    let folder = Folder::new();
    let mut child = folder.shell("printf 'no end' >&2; cat");
    let mut got = [0; 6];
    child.stderr.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"no end");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.recorded("e"), "no end");
}

#[test]
fn exit_status_or_signal_is_that_of_the_program() {
    let folder = Folder::new();
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 3", Some(3), None),
        ("exit 143", Some(143), None),
        ("kill -KILL $$", None, Some(9)),
        ("kill -TERM $$", None, Some(15)),
        ("kill -ABRT $$", None, Some(6)),
        ("kill -PIPE $$", None, Some(13)),
    ] {
        let status = folder.shell(script).wait().unwrap();
        assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
    }
    let mut ends: Vec<String> = fs::read_dir(folder.rec())
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
fn output_before_the_end_arrives() {
    let folder = Folder::new();
    let Output { status, stdout, stderr } = folder
        .shell("i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; exit 7")
        .wait_with_output()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    let lines = |start: &str| (0..500).map(|n| format!("{start}{n}\n")).collect::<String>();
    assert_eq!(String::from_utf8(stdout).unwrap(), lines("out"));
    assert_eq!(String::from_utf8(stderr).unwrap(), lines("err"));
    assert_eq!((folder.recorded(">"), folder.recorded("e")), (lines("out"), lines("err")));
}

#[test]
fn open_stdin_does_not_delay_the_end() {
    let folder = Folder::new();
    let mut child = folder.shell("exit 5");
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    drop(stdin);
}

#[test]
fn closed_stdin_and_stdout_are_passed_on_to_the_daemon() {
    let folder = Folder::new();
    let mut child = folder.shell("exec <&-; echo closed; exec >&-; exec sleep 60");
    let (mut stdin, mut stdout) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "closed\n");
    // Without a write, and while the program is running.
    let mut entry = [PollFd::new(&stdin, PollFlags::HUP)];
    let time = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut entry, Some(&time)), Ok(1));
    assert_eq!(stdin.write_all(b"anybody?\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

/// Some systems cannot poll a device.
#[test]
fn output_to_a_device_is_passed_on() {
    let folder = Folder::new();
    let script = "echo one; read wait; trap '' PIPE; echo two || exit 9; exit 5";
    let mut command = folder.command(&[], &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let said = folder.events();
    let said: Vec<_> = said.iter().filter(|event| event[0] == ">").collect();
    assert_eq!(said, [&json!([">", "one\n"]), &json!([">", "two\n"]), &json!([">", null])]);
}

#[test]
fn lost_stdout_is_a_warning() {
    for (redirection, is_lost) in [(">&-", true), (">/dev/null", true), ("", false)] {
        let folder = Folder::new();
        let mut command = kcl_fixtures::command("sh");
        command.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirection}")).arg(HELPER);
        command.args(["record", "--to"]).arg(folder.rec()).args(["--", "echo", "one"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let warning =
            "warning: stdout is closed or /dev/null: what the program writes there is lost\n";
        let expected = if is_lost { warning } else { "" };
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(folder.recorded(">"), "one\n");
    }
}

#[test]
fn stdout_closed_by_the_daemon_is_a_broken_pipe_for_the_program() {
    let folder = Folder::new();
    let mut child = folder.start(&["yes"]);
    drop(child.stdout.take());
    // `yes` dies of SIGPIPE, or exits with 1 if that is ignored.
    let status = child.wait().unwrap();
    assert!(status.signal() == Some(13) || status.code() == Some(1), "{status}");
}

#[test]
fn process_that_holds_stdout_delays_the_end() {
    let folder = Folder::new();
    let mut child = folder.shell("{ read go; echo late; } <&0 & exit 3");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    // Some shells give a background process no stdin. It does not delay the end.
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "late\n");
}

/// Reports each SIGTERM, continues after the first one, and ends at the end of its input.
const TELLS: &str = "trap 'echo term; told=1' TERM; echo ready; \
                     while [ -z \"$told\" ]; do sleep 0.05; done; cat; exit 4";

#[test]
fn signal_to_the_helper_reaches_the_program_once() {
    let folder = Folder::new();
    let mut child = folder.start(&["bash", "-c", TELLS]);
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
fn program_may_ignore_a_signal_while_its_stdin_is_open() {
    let folder = Folder::new();
    let script = "trap 'echo term' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = folder.command(&["--grace", "700ms"], &["bash", "-c", script]).spawn().unwrap();
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
    assert_eq!(folder.events().last(), Some(&json!(["x", "signal 9, SIGKILL"])));
}

/// As under a daemon, another process leads the group.
#[test]
fn signal_to_the_group_reaches_the_program_once() {
    let folder = Folder::new();
    let helper = folder.command(&[], &["bash", "-c", TELLS]);
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
fn each_process_has_its_own_file() {
    let folder = Folder::new();
    let children: Vec<_> = (0..8).map(|_| folder.shell("echo x")).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(fs::read_dir(folder.rec()).unwrap().count(), 8);
}

#[test]
fn program_runs_even_if_it_cannot_be_recorded() {
    let folder = Folder::new();
    fs::write(folder.rec(), "a file").unwrap();
    let output = folder.shell("echo out; exit 6").wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(6), b"out\n".as_slice()));
    let said = String::from_utf8(output.stderr).unwrap();
    let said = said.replace(folder.0.path().to_str().unwrap(), "[folder]");
    assert_snapshot!(said, @"warning: cannot record to [folder]/rec: File exists (os error 17)");
}

#[test]
fn failed_write_of_output_is_a_failure() {
    let folder = Folder::new();
    let mut command = folder.command(&[], &["sh", "-c", "echo out; echo err >&2"]);
    // Read-only, which fails like a full disk; not every system has /dev/full.
    let path = folder.0.path().join("for-reading");
    fs::write(&path, "").unwrap();
    command.stdout(fs::File::open(path).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    // The program writes at the same time.
    let (err, warnings): (Vec<_>, Vec<_>) = said.lines().partition(|line| *line == "err");
    assert_eq!(err, ["err"]);
    assert_snapshot!(warnings.join("\n"), @"warning: cannot write to stdout, so the program's stdout is closed: Bad file descriptor (os error 9)");
    assert_eq!(folder.recorded(">"), "out\n");
    assert_eq!(folder.events().last(), Some(&json!(["x", "exit status 0"])));
}

#[test]
fn full_recording_does_not_stop_the_program() {
    let folder = Folder::new();
    let mut command = folder.command(&["--max-size", "4KiB"], &["sh", "-c", "seq 100000; exit 2"]);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 100_001);
    let events = folder.events();
    let end =
        [json!(["!", "the recording is full, see --max-size"]), json!(["x", "exit status 2"])];
    assert_eq!(events[events.len() - 2..], end);
}

/// Replaces hashes, which differ in each recording, by `HASH`, even within base64.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split(", hash ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + ", hash HASH" + &part[16..])
}

#[test]
fn redacted_recording_has_no_payloads() {
    let folder = Folder::new();
    let line = "{\"records\":[{\"data\":null,\"partitionKey\":\"SECRET\"}]}\n";
    let script = "tee /dev/stderr; printf 'SECRET: no such key\\nSECRET' >&2";
    let mut child = folder.command(&["--redact"], &["sh", "-c", script, "SECRET"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{line}SECRET\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, format!("{line}SECRET\n").as_bytes());
    assert_eq!(output.stderr, format!("{line}SECRET\nSECRET: no such key\nSECRET").as_bytes(),);
    let said = ["<", ">", "e"].map(|kind| without_hashes(&folder.recorded(kind))).join("");
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
    // Within a recording, equal texts have equal hashes.
    let keys = folder.recorded("<") + &folder.recorded(">");
    let hashes: Vec<&str> = keys.split(", hash ").skip(1).map(|part| &part[..16]).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let header = &folder.lines()[0];
    assert_eq!(header["redacted"], true);
    let command = without_hashes(&header["command"].to_string());
    assert_snapshot!(command, @r#"["sh","2 bytes, hash HASH","57 bytes, hash HASH","6 bytes, hash HASH"]"#);
    let file = fs::read_dir(folder.rec()).unwrap().next().unwrap().unwrap().path();
    assert!(!fs::read_to_string(file).unwrap().contains("SECRET"));
}

#[test]
fn recordings_are_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (umask, there_before) in [("022", false), ("0", false), ("0", true), ("077", false)] {
        let folder = Folder::new();
        if there_before {
            fs::create_dir(folder.rec()).unwrap();
            fs::set_permissions(folder.rec(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = format!("umask {umask}; exec \"$0\" record --to \"$1\" -- true");
        let mut command = kcl_fixtures::command("sh");
        let status = command.args(["-c", &script, HELPER]).arg(folder.rec()).status().unwrap();
        assert!(status.success());
        assert_eq!(mode(&folder.rec()), if there_before { 0o755 } else { 0o700 });
        let file = fs::read_dir(folder.rec()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(mode(&file), 0o600, "{umask}");
    }
}

#[test]
fn program_that_cannot_start_is_an_error() {
    let folder = Folder::new();
    let say = |options: &[&str], command: &[&str]| {
        let output = folder.command(options, command).output().unwrap();
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
    error: invalid value '100' for '--max-size <SIZE>': the unit is missing: write 100B or 100KiB

    For more information, try '--help'.
    ");
    assert!(!folder.rec().exists());
}
