//! If nobody reads our output, or slowly, a signal still stops us, and lost lines are counted.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kcl_fixtures::{awkward_child, eventually};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{helper, stage};

/// Far longer than any stop takes.
const TOO_LONG: Duration = Duration::from_secs(20);
const FLOOD: &str = "while :; do echo a line that nobody reads >&2; done";

/// A full pipe.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    fill(&writer);
    (reader, writer)
}

fn fill(mut writer: &PipeWriter) {
    let flags = fcntl_getfl(writer).unwrap();
    fcntl_setfl(writer, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b'.'; size]).is_ok() {}
    }
    fcntl_setfl(writer, flags).unwrap();
}

/// The two ends of a terminal.
fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_col: 80, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, vec![]).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(master), slave)
}

/// A run that is killed at the end of the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < TOO_LONG, "it is still there");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stdout(&mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the command has started and is blocked.
fn a_moment() {
    thread::sleep(Duration::from_millis(400));
}

// ---- stderr that nobody reads

#[test]
fn one_signal_stops_local_with_a_flooding_child() {
    let stage = stage();
    let (_reader, writer) = full_pipe();
    let arguments = ["local", "--shards", "2", "--grace", "300ms", "--", "sh", "-c", FLOOD];
    let mut command = helper(&stage, &arguments);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(writer));
    a_moment();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(143));
    assert!(running.stdout().contains("killed\n"));
}

#[test]
fn one_signal_stops_local_gracefully() {
    let stage = stage();
    let (_reader, writer) = full_pipe();
    let log = format!("log={}", stage.path("log").display());
    let mut command = helper(&stage, &["local", "-i", "-", "--", &awkward_child(), &log]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(writer);
    let mut running = Running::start(&mut command);
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    eventually("the record", || stage.path("log").exists());
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(130));
    assert!(running.stdout().contains("stopped\n"));
}

/// The output of a child could block it, but our own messages block nothing.
#[test]
fn local_ends_although_nobody_reads() {
    let stage = stage();
    let (_reader, writer) = full_pipe();
    let mut command = helper(&stage, &["local", "--", &awkward_child()]);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(writer));
    assert_eq!(running.end().code(), Some(0));
    assert!(running.stdout().contains("total"));
}

#[test]
fn one_signal_stops_the_daemon_gracefully() {
    let stage = stage();
    stage.write("home/play", "trap 'echo asked > $HOME/got; exit 143' TERM; echo > $HOME/ready; exec 2>/dev/null; while :; do sleep 0.1; done");
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = helper(&stage, &["run", "app.properties"]);
    command.stdout(Stdio::null()).stderr(writer.try_clone().unwrap());
    let mut running = Running::start(&mut command);
    eventually("the daemon's start", || stage.path("home/ready").exists());
    // Earlier messages would have blocked, as in any program.
    fill(&writer);
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(0));
    assert!(stage.path("home/got").exists());
}

/// Nobody could stop it with a signal.
#[cfg(target_os = "linux")]
#[test]
fn guardian_ends_although_nobody_reads() {
    let stage = stage();
    let (_reader, writer) = full_pipe();
    let script = "trap '' TERM; echo $PPID > $HOME/guardian; while :; do sleep 0.1; done";
    let mut command =
        helper(&stage, &["local", "-qq", "--grace", "300ms", "--", "sh", "-c", script]);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(writer));
    let guardian = || stage.read("home/guardian");
    eventually("the child's start", || guardian().ends_with('\n'));
    let guardian = format!("/proc/{}/cmdline", guardian().trim());
    let is_there = || std::fs::read(&guardian).is_ok_and(|line| !line.is_empty());
    assert!(is_there());
    running.signal(Signal::KILL);
    assert_eq!(running.end().signal(), Some(9));
    eventually("the guardian's end", || !is_there());
}

#[test]
fn one_signal_stops_bench() {
    let stage = stage();
    for child in [vec![awkward_child()], vec!["sh".into(), "-c".into(), FLOOD.into()]] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command =
            helper(&stage, &["bench", "-v", "--patience", "100ms", "--duration", "1h", "--"]);
        command.args(child).stdout(Stdio::piped()).stderr(writer);
        let mut running = Running::start(&mut command);
        a_moment();
        running.signal(Signal::TERM);
        assert_eq!(running.end().code(), Some(143));
        drop(reader);
    }
}

#[test]
fn one_signal_stops_record_and_its_program() {
    let stage = stage();
    let (_reader, writer) = full_pipe();
    let script = format!("echo $$ > $HOME/pid; {FLOOD}");
    let mut command = helper(&stage, &["record", "--to", "rec", "--", "sh", "-c", &script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(writer);
    let mut running = Running::start(&mut command);
    eventually("the program's start", || stage.path("home/pid").exists());
    a_moment();
    running.signal(Signal::TERM);
    assert_eq!(running.end().signal(), Some(15));
}

#[test]
fn one_signal_stops_local_on_a_stopped_terminal() {
    let stage = stage();
    let (mut keys, screen) = terminal();
    let arguments = ["local", "--grace", "300ms", "--", "sh", "-c", FLOOD];
    let mut command = helper(&stage, &arguments);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(screen));
    let mut some = [0; 4096];
    keys.read_exact(&mut some).unwrap();
    // Ctrl-S
    keys.write_all(b"\x13").unwrap();
    a_moment();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(143));
}

// ---- stdout that nobody reads

#[test]
fn signal_stops_a_command_that_waits_for_stdout() {
    let stage = stage();
    for arguments in [
        &["local", "--sample"][..],
        &["bench", "--sample", "--batches", "10", "--warmup", "0s"],
        &["check", "--explain", "streamName"],
    ] {
        let (_reader, writer) = full_pipe();
        let mut command = helper(&stage, arguments);
        let mut running = Running::start(command.stdout(writer).stderr(Stdio::null()));
        a_moment();
        assert_eq!(running.0.try_wait().unwrap(), None, "the data is waited for");
        running.signal(Signal::TERM);
        let status = running.end();
        assert!(status.code() == Some(143) || status.signal() == Some(15), "{status}");
    }
}

#[test]
fn one_signal_stops_local_whose_output_nobody_reads() {
    let stage = stage();
    let ((_reader, out), (_other, err)) = (full_pipe(), full_pipe());
    let arguments = ["local", "--grace", "300ms", "--", "sh", "-c", FLOOD];
    let mut command = helper(&stage, &arguments);
    let mut running = Running::start(command.stdout(out).stderr(err));
    a_moment();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(143));
}

// ---- a reader that is slow or late

fn slowly(mut from: impl Read) -> String {
    let mut text = Vec::new();
    let mut some = [0; 8192];
    loop {
        match from.read(&mut some).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            count => text.extend_from_slice(&some[..count]),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The child writes 10,000 lines.
#[test]
fn slow_reader_loses_nothing() {
    let stage = stage();
    let (reader, writer) = std::io::pipe().unwrap();
    let script = format!(
        "seq -f 'line %.0f of the child' 10000 >&2; exec {} last-words=end",
        awkward_child()
    );
    let mut command = helper(&stage, &["local", "--", "sh", "-c", &script]);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(writer));
    drop(command);
    let text = slowly(reader);
    assert_eq!(running.end().code(), Some(0));
    let mut expected = String::new();
    for number in 1..=10_000 {
        writeln!(expected, "shard 0 | line {number} of the child").unwrap();
    }
    expected.push_str("shard 0 | end\ndone in ");
    let at = text.find("shard 0 | ").unwrap();
    assert!(text[at..].starts_with(&expected), "{}", &text[text.len() - 300..]);
}

#[test]
fn dropped_lines_are_counted() {
    let stage = stage();
    let (reader, writer) = std::io::pipe().unwrap();
    // The child continues for a while after the stop.
    let arguments = ["local", "--grace", "2s", "--", "sh", "-c", FLOOD];
    let mut command = helper(&stage, &arguments);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(writer));
    drop(command);
    // Longer than a reader may pause.
    thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    let mut reader = reader;
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(running.end().code(), Some(143));
    let dropped = text.lines().filter(|line| {
        line.starts_with("… ") && line.ends_with(" dropped, because nobody read stderr")
    });
    assert!(dropped.count() > 0, "{}", &text[..3000]);
    assert!(text.contains("\nnot stopped within 2s: killing the children\n"));
    // Each line is complete.
    for line in text.lines().skip(1) {
        let known = [
            "shard 0 | a line that nobody reads",
            "… ",
            "SIGTERM: ",
            "not stopped",
            "stopped after ",
        ];
        assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
    }
}

// ---- a terminal

/// Returns the lines that are on the terminal at the end.
fn screen_of(bytes: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("\x1b[") {
            let (count, after) = after.split_once('A').unwrap();
            rest = after.strip_prefix("\r\x1b[J").unwrap();
            let kept = lines.len() - count.parse::<usize>().unwrap();
            lines.truncate(kept);
        } else {
            let (line, after) = rest.split_once('\n').unwrap();
            lines.push(line.trim_end_matches('\r').to_owned());
            rest = after;
        }
    }
    lines
}

#[test]
fn progress_is_shown_below_messages_and_removed() {
    let stage = stage();
    let (mut master, slave) = terminal();
    let mut command = helper(
        &stage,
        &["local", "-i", "-", "--shards", "2", "--", &awkward_child(), "last-words=end"],
    );
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(slave);
    let mut running = Running::start(&mut command);
    drop(command);
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\n").unwrap();
    let reading = thread::spawn(move || {
        let (mut bytes, mut some) = (vec![], [0; 4096]);
        // On Linux, reading at the end of a terminal is an error.
        while let Ok(count @ 1..) = master.read(&mut some) {
            bytes.extend_from_slice(&some[..count]);
        }
        String::from_utf8(bytes).unwrap()
    });
    // Progress is shown after half a second.
    thread::sleep(Duration::from_millis(1500));
    drop(stdin);
    assert_eq!(running.end().code(), Some(0));
    let text = reading.join().unwrap();
    assert!(text.contains("\nshard 0  "), "{text}");
    assert!(text.contains(" records  "), "{text}");
    let screen = screen_of(&text);
    let mut words: Vec<&str> = screen.iter().map(String::as_str).skip(1).collect();
    words[..2].sort_unstable();
    assert_eq!(words[..2], ["shard 0 | end", "shard 1 | end"], "{text}");
    assert!(words[2].starts_with("done in ") && words.len() == 3, "{text}");
}
