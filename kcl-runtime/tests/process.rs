//! Tests the real process: its pipes, signals, exit codes and stderr.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const INITIALIZE: &str = r#"{"action":"initialize","shardId":"shardId-000000000000","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#;
const BATCH: &str = r#"{"action":"processRecords","records":[{"data":"dzA=","partitionKey":"k0","sequenceNumber":"1","approximateArrivalTimestamp":1795399083000,"subSequenceNumber":0,"action":"record"}],"millisBehindLatest":0}"#;
const CHECKPOINTED: &str =
    r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}"#;
const LEASE_LOST: &str = r#"{"action":"leaseLost"}"#;

const INITIALIZED: &str = r#"{"action":"status","responseFor":"initialize"}"#;
const CHECKPOINT: &str =
    r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null}"#;
const PROCESSED: &str = r#"{"action":"status","responseFor":"processRecords"}"#;

fn program() -> String {
    kcl_fixtures::example("awkward_processor")
}

/// The example `awkward_processor`, started as the daemon would, with a reader for each pipe.
struct Processor {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
}

/// Held while a process is started: between fork and exec it has copies of all descriptors, even
/// of those that another test is closing.
static STARTING: Mutex<()> = Mutex::new(());

fn start(command: &mut Command) -> Child {
    let _guard = STARTING.lock();
    if command.get_envs().all(|(name, _)| name != "RUST_LOG") {
        command.env_remove("RUST_LOG");
    }
    command.env("RUST_BACKTRACE", "0").spawn().unwrap()
}

/// What the process left behind.
struct End {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Processor {
    fn start(what: &str) -> Processor {
        Processor::start_with(what, &[])
    }

    fn start_with(what: &str, environment: &[(&str, &str)]) -> Processor {
        let mut command = kcl_fixtures::command(program());
        command.envs(environment.iter().copied());
        command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(&mut command);
        let mut stderr = child.stderr.take().unwrap();
        Processor {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            stderr: Some(std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stderr.read_to_end(&mut bytes).unwrap();
                String::from_utf8(bytes).unwrap()
            })),
            child,
        }
    }

    fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        let mut got = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut got).unwrap();
        assert_eq!(got.trim_end_matches('\n'), line);
    }

    #[track_caller]
    fn exchange(&mut self, line: &str, answer: &str) {
        self.send(line);
        self.expect(answer);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the process's stdin and waits for its end.
    fn close(mut self) -> End {
        drop(self.stdin.take());
        self.wait()
    }

    fn wait(mut self) -> End {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut stdout = String::new();
        if let Some(mut rest) = self.stdout.take() {
            rest.read_to_string(&mut stdout).unwrap();
        }
        let stderr = self.stderr.take().unwrap().join().unwrap();
        End { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // Leave no process behind if a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is left of this stderr if nothing prints the log.
fn expected(stderr: &str) -> String {
    let is_shown = |line: &&str| {
        cfg!(feature = "subscriber") || ![" INFO ", " WARN "].iter().any(|it| line.starts_with(it))
    };
    stderr.split_inclusive('\n').filter(is_shown).collect()
}

#[test]
fn normal_run_logs_each_step_and_exits_0() {
    let mut processor = Processor::start("plain");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.exchange(BATCH, CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    processor.exchange(LEASE_LOST, r#"{"action":"status","responseFor":"leaseLost"}"#);
    let end = processor.close();
    assert_eq!(end.status.code(), Some(0));
    assert_eq!(end.stdout, "");
    assert_eq!(
        end.stderr,
        expected(
            " INFO shardId-000000000000: initialize, records after TRIM_HORIZON\n\
             1 records\n \
             INFO shardId-000000000000: lease lost\n \
             INFO shardId-000000000000: end of input\n"
        )
    );
}

#[test]
fn prints_and_reads_of_the_program_do_not_touch_the_protocol() {
    let mut processor = Processor::start("prints");
    processor.exchange(INITIALIZE, INITIALIZED);
    // The batch is already in the pipe while the subprocess reads its stdin to the end.
    processor.send(BATCH);
    processor.expect(CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    let end = processor.close();
    assert_eq!(end.status.code(), Some(0));
    assert_eq!(end.stdout, "", "nothing but the protocol");
    assert_eq!(end.stderr.matches("responseFor").count(), 2_000);
    assert_eq!(end.stderr.matches("no line end from").count(), 2);
    assert!(end.stderr.contains("from a subprocess\nend of its stdin\n"));
    assert!(end.stderr.contains("by the descriptor's name\n"));
}

#[test]
fn subprocess_that_lives_on_keeps_no_pipe_open() {
    let mut processor = Processor::start("stays");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.exchange(BATCH, CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    drop(processor.stdin.take());
    let mut rest = String::new();
    processor.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "stdout ends although the subprocess lives");
    assert_eq!(processor.child.wait().unwrap().code(), Some(0));
}

#[test]
fn failure_prints_one_line_and_sends_no_status() {
    let mut processor = Processor::start("fails");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.send(BATCH);
    let end = processor.wait();
    assert_eq!(end.status.code(), Some(1));
    assert_eq!(end.stdout, "");
    assert_eq!(
        end.stderr,
        expected(
            " INFO shardId-000000000000: initialize, records after TRIM_HORIZON\n\
             error: shardId-000000000000: process_records failed: line one line two\n"
        )
    );
}

#[test]
fn panic_exits_101() {
    let mut processor = Processor::start("panics");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.send(BATCH);
    let end = processor.wait();
    assert_eq!(end.status.code(), Some(101));
    assert!(
        end.stderr.ends_with("error: shardId-000000000000: process_records panicked: torn\n"),
        "{}",
        end.stderr
    );
}

#[track_caller]
fn ends_with(send: &[&str], last: &[u8], code: i32, error: &str) {
    let mut processor = Processor::start("plain");
    for line in send {
        processor.send(line);
    }
    processor.send_bytes(last);
    let end = processor.close();
    let said = end.stderr.lines().last().unwrap_or_default();
    assert_eq!((end.status.code(), said), (Some(code), expected(error).as_str()));
}

#[test]
fn exit_code_tells_how_the_input_ended() {
    let no_message = " INFO end of input before any message: this process gets no shard";
    ends_with(&[], b"", 0, no_message);
    ends_with(&[], b"\r\n \n", 0, no_message);
    ends_with(&[INITIALIZE], b"", 0, " INFO shardId-000000000000: end of input");
    ends_with(
        &[INITIALIZE],
        b"{\"action\":\"processRec",
        4,
        "error: shardId-000000000000: the daemon hung up after 21 bytes of a line; expected the rest of the line",
    );
    ends_with(
        &[INITIALIZE, BATCH],
        b"",
        4,
        "error: shardId-000000000000: the daemon hung up before it answered a checkpoint request; expected the \
         answer",
    );
    ends_with(
        &[],
        b"hello from somebody else, who has more to say than will fit\x1b[1m into an error\n",
        5,
        "error: cannot go on with the daemon's messages: invalid JSON: expected value at byte 1; the \
         line begins: hello from somebody else, who has more to say than will \
         fit\\u{1b}…",
    );
    ends_with(
        &[INITIALIZE],
        b"{\"action\":\"initialize\",\"shardId\":\"s\"}\n",
        5,
        "error: cannot go on with the daemon's messages: got initialize between messages; expected \
         processRecords, leaseLost, shardEnded, shutdownRequested, shutdown or end of input",
    );
    ends_with(
        &[INITIALIZE],
        b"{\"action\":\"processRecords\",\"records\":[{\"data\":\"a!==\",\"partitionKey\":\"k\",\
          \"sequenceNumber\":\"7\"}]}\n",
        5,
        "error: cannot go on with the daemon's messages: processRecords, record 0 (sequence number \
         7), field `data`: cannot decode base64: invalid byte `!` at offset 1",
    );
}

#[test]
fn signals_are_ignored_while_the_daemon_runs() {
    let mut processor = Processor::start("plain");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.signal(Signal::INT);
    processor.signal(Signal::TERM);
    processor.exchange(BATCH, CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    assert_eq!(processor.close().status.code(), Some(0));
}

#[test]
fn third_signal_within_five_seconds_takes_its_default_action() {
    let mut processor = Processor::start("plain");
    processor.exchange(INITIALIZE, INITIALIZED);
    // Two pending signals of one kind are merged, so leave time between them.
    let end = Instant::now() + Duration::from_secs(60);
    while processor.child.try_wait().unwrap().is_none() && Instant::now() < end {
        processor.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(processor.wait().status.signal(), Some(Signal::HUP.as_raw()));
}

#[test]
fn signals_keep_their_default_action_if_set() {
    let mut processor = Processor::start("default-signals");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.signal(Signal::TERM);
    assert_eq!(processor.wait().status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn pause_before_a_retry_ends_when_stdin_closes() {
    let mut processor = Processor::start("retries");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.send(BATCH);
    // The first pause takes at least a minute.
    let begin = Instant::now();
    let end = processor.close();
    assert!(begin.elapsed() < Duration::from_secs(45));
    assert_eq!(end.status.code(), Some(4));
    assert!(
        end.stderr.ends_with(
            "error: shardId-000000000000: the daemon hung up before process_records was retried; expected stdin to \
             stay open until the status\n"
        ),
        "{}",
        end.stderr
    );
}

#[test]
fn closed_stdout_is_reported_as_a_hang_up() {
    let mut processor = Processor::start("plain");
    processor.exchange(INITIALIZE, INITIALIZED);
    // Stdin is still open.
    let guard = STARTING.lock();
    drop(processor.stdout.take());
    // `spawn` returns shortly before the system has closed the new process's copies.
    std::thread::sleep(Duration::from_millis(200));
    drop(guard);
    processor.send(BATCH);
    let end = processor.wait();
    assert_eq!(end.status.code(), Some(4));
    assert!(
        end.stderr.ends_with(
            "error: shardId-000000000000: the daemon hung up before it read a checkpoint request; expected stdout to \
             stay open\n"
        ),
        "{}",
        end.stderr
    );
}

/// Opens a terminal: the user's end and the program's.
fn open_terminal() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let stdin = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    (std::fs::File::from(terminal), stdin)
}

#[test]
fn terminal_gets_a_hint_how_to_start_the_program() {
    let (mut terminal, stdin) = open_terminal();
    let mut command = kcl_fixtures::command(program());
    let child = start(command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()));
    terminal.write_all(format!("{INITIALIZE}\n").as_bytes()).unwrap();
    // Ctrl-D at the beginning of a line ends a terminal's input.
    terminal.write_all(b"\x04").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{INITIALIZED}\n"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let program = program();
    assert_eq!(
        stderr.lines().take(2).collect::<Vec<_>>(),
        [
            "this program is a Kinesis record processor: the KCL's MultiLangDaemon starts it and \
             talks to it over stdin and stdout",
            &format!("hint: try it with: kcl-helper local -- {program}"),
        ]
    );
}

#[test]
fn signals_keep_their_default_action_in_a_terminal() {
    let (mut terminal, stdin) = open_terminal();
    let mut command = kcl_fixtures::command(program());
    let mut child = start(command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()));
    terminal.write_all(format!("{INITIALIZE}\n").as_bytes()).unwrap();
    // After its answer it would have installed its handlers.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), INITIALIZED);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}

/// A shell redirects stdin, stdout and stderr. Closed ones are the null device by the time `main`
/// runs.
#[test]
fn closed_stdin_or_stdout_ends_the_run_at_once() {
    const STDIN: &str = "error: cannot take stdin: it is closed or the null device, so no message \
        can arrive; start this program with `kcl-helper run` or `kcl-helper local`\n";
    const STDOUT: &str = "error: cannot take stdout: it is closed or the null device, so no answer \
        would reach the daemon; start this program with `kcl-helper run` or `kcl-helper local`\n";
    for (redirection, code, stdout, stderr) in [
        (">&-", 3, "", STDOUT),
        (">/dev/null", 3, "", STDOUT),
        ("1<>/dev/null", 3, "", STDOUT),
        ("<&-", 3, "", STDIN),
        ("</dev/null", 3, "", STDIN),
        ("<&- >&-", 3, "", STDIN),
        ("<&- >&- 2>&-", 3, "", ""),
        (">&- 2>/dev/null", 3, "", ""),
        ("2>&-", 0, INITIALIZED, ""),
        ("2>/dev/null", 0, INITIALIZED, ""),
    ] {
        let mut shell = kcl_fixtures::command("sh");
        shell.arg("-c").arg(format!("exec \"$0\" plain {redirection}")).arg(program());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(&mut shell);
        // The program may have ended without reading it.
        let _ = child.stdin.take().unwrap().write_all(format!("{INITIALIZE}\n").as_bytes());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{redirection}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), stdout, "{redirection}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), stderr, "{redirection}");
    }
}

#[test]
fn second_run_in_one_process_is_an_error() {
    let mut processor = Processor::start("runs-twice");
    processor.exchange(INITIALIZE, INITIALIZED);
    let end = processor.close();
    assert_eq!(end.status.code(), Some(3));
    assert!(
        end.stderr.ends_with(
            "the first run: Ok(())\nerror: cannot run a second time: the first run has taken \
             stdin and stdout\n"
        ),
        "{}",
        end.stderr
    );
}

#[test]
fn first_signal_ends_a_busy_processor_once_the_daemon_is_gone() {
    let mut processor = Processor::start("sleeps");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.signal(Signal::TERM);
    processor.send(BATCH);
    let guard = STARTING.lock();
    drop(processor.stdin.take());
    // `spawn` returns shortly before the system has closed the new process's copies. The signal
    // above may have arrived before the end of input; then this one must be enough.
    std::thread::sleep(Duration::from_millis(500));
    drop(guard);
    let begin = Instant::now();
    processor.signal(Signal::TERM);
    assert_eq!(processor.wait().status.signal(), Some(Signal::TERM.as_raw()));
    assert!(begin.elapsed() < Duration::from_secs(45));
}

#[test]
fn subprocesses_do_not_inherit_signal_handling() {
    let mut processor = Processor::start("kills-a-subprocess");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.exchange(BATCH, CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    let end = processor.close();
    assert_eq!(end.status.code(), Some(0));
    assert!(end.stderr.contains("the subprocess: signal: 15"), "{}", end.stderr);
}

#[test]
fn the_programs_own_subscriber_stays_and_cannot_reach_stdout() {
    let mut processor = Processor::start("own-subscriber");
    processor.exchange(INITIALIZE, INITIALIZED);
    let end = processor.close();
    assert_eq!(end.status.code(), Some(0));
    assert_eq!(end.stdout, "");
    assert_eq!(
        end.stderr,
        "shardId-000000000000: initialize, records after TRIM_HORIZON\n\
         shardId-000000000000: end of input\n"
    );
}

#[test]
#[cfg(feature = "subscriber")]
fn rust_log_sets_the_level_and_an_invalid_value_is_reported() {
    let said = |level: &str| {
        let mut processor = Processor::start_with("plain", &[("RUST_LOG", level)]);
        processor.exchange(INITIALIZE, INITIALIZED);
        processor.close().stderr
    };
    let usual = " INFO shardId-000000000000: initialize, records after TRIM_HORIZON\n \
                 INFO shardId-000000000000: end of input\n";
    assert_eq!(said("error"), "");
    assert_eq!(said(""), usual, "empty means not set");
    assert_eq!(
        said("a=b=c"),
        format!(
            " WARN RUST_LOG is invalid: \"a=b=c\" is neither a level such as `debug` nor a list such \
             as `info,my_crate=debug`; logging at `info`\n{usual}"
        )
    );
}

#[test]
#[cfg(feature = "subscriber")]
fn log_facade_is_printed_too() {
    let mut processor = Processor::start("logs");
    processor.exchange(INITIALIZE, INITIALIZED);
    processor.exchange(BATCH, CHECKPOINT);
    processor.exchange(CHECKPOINTED, PROCESSED);
    let stderr = processor.close().stderr;
    assert!(stderr.contains(" WARN through the log facade\n"), "{stderr}");
}

#[test]
fn non_blocking_socket_works_and_its_hang_up_is_noticed() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let (mut daemon, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut command = kcl_fixtures::command(program());
    command.arg("retries").stdin(OwnedFd::from(ours.try_clone().unwrap()));
    let child = start(command.stdout(OwnedFd::from(ours)).stderr(Stdio::piped()));
    drop(command);
    // The line arrives in pieces.
    let (begin, rest) = INITIALIZE.split_at(20);
    daemon.write_all(begin.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    daemon.write_all(format!("{rest}\n").as_bytes()).unwrap();
    let mut answers = BufReader::new(daemon.try_clone().unwrap());
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), INITIALIZED);
    daemon.write_all(format!("{BATCH}\n").as_bytes()).unwrap();
    daemon.shutdown(std::net::Shutdown::Write).unwrap();
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(45));
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn stdin_may_be_a_file_and_stderr_may_be_closed() {
    let path = std::env::temp_dir().join(format!("kcl-runtime-input-{}", std::process::id()));
    std::fs::write(&path, format!("{INITIALIZE}\n{LEASE_LOST}\n")).unwrap();
    let stdin = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = kcl_fixtures::command(program());
    let child = start(command.stdin(stdin).stdout(Stdio::piped()).stderr(stderr));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{INITIALIZED}\n{{\"action\":\"status\",\"responseFor\":\"leaseLost\"}}\n")
    );
}

/// Returns the size of stdin's pipe at first, and after a batch of each of these lengths.
#[cfg(target_os = "linux")]
fn pipe_sizes(what: &str, lengths: &[usize]) -> (usize, Vec<usize>) {
    use rustix::pipe::fcntl_getpipe_size;

    let mut processor = Processor::start(what);
    let size = |processor: &Processor| fcntl_getpipe_size(processor.stdin.as_ref().unwrap());
    let made = size(&processor).unwrap();
    processor.exchange(INITIALIZE, INITIALIZED);
    assert_eq!(size(&processor), Ok(made));
    let sizes = lengths.iter().map(|length| {
        let key = "k".repeat(length - (BATCH.len() - "k0".len()));
        let batch = BATCH.replace("k0", &key);
        assert_eq!(batch.len(), *length);
        processor.exchange(&batch, CHECKPOINT);
        processor.exchange(CHECKPOINTED, PROCESSED);
        size(&processor).unwrap()
    });
    let sizes = sizes.collect();
    assert_eq!(processor.close().status.code(), Some(0));
    (made, sizes)
}

#[test]
#[cfg(target_os = "linux")]
fn first_line_over_64_kib_enlarges_the_pipe() {
    const LONG: usize = (64 << 10) + 1;
    const ENLARGED: usize = 256 << 10;

    let (made, sizes) = pipe_sizes("", &[BATCH.len(), LONG - 1, LONG - 1, LONG, 1_000_000, 1_000]);
    assert_eq!(sizes, [made, made, made, ENLARGED, ENLARGED, ENLARGED]);
}

#[test]
#[cfg(target_os = "linux")]
fn pipe_size_can_be_set_or_left_alone() {
    let (_, sizes) = pipe_sizes("pipe-of-512-kib", &[100_000]);
    assert_eq!(sizes, [512 << 10]);
    let (made, sizes) = pipe_sizes("pipe-stays", &[100_000, 1_000_000]);
    assert_eq!(sizes, [made, made]);
}
