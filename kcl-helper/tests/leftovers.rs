//! No process of kcl-helper is left running, however kcl-helper ends and whatever its children do.
//!
//! All processes of a helper inherit an environment variable that names the test. So /proc shows them, even
//! if they have left their process group, session and parents.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kcl_fixtures::{Stage, awkward_child};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const HELPER: &str = env!("CARGO_BIN_EXE_kcl-helper");
/// Every process of the helper has this variable, with the name of the test.
const MARK: &str = "KCL_HELPER_TEST";
/// Far longer than anything here takes.
const TOO_LONG: Duration = Duration::from_secs(60);

/// Why a helper ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Its input ends.
    Plain,
    Term,
    Timeout,
    Kill,
    /// SIGKILL to its process group, as from `timeout -k`.
    KillGroup,
}

/// A stage whose helper has its own mark in the environment.
struct Marked {
    what: String,
    mark: String,
    stage: Stage,
}

impl Deref for Marked {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

struct Running<'a> {
    stage: &'a Marked,
    helper: Child,
    stdin: Option<ChildStdin>,
}

impl Marked {
    fn new(what: String) -> Marked {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{count}", std::process::id());
        Marked { what, mark, stage: Stage::new() }
    }

    fn start(&self, args: &str) -> Running<'_> {
        let mut command = self.helper(&[]);
        command.args(args.replace("AWKWARD", &awkward_child()).split(' '));
        command.env(MARK, &self.mark).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(fs::File::create(self.path("stderr")).unwrap());
        let mut helper = command.spawn().unwrap();
        let stdin = helper.stdin.take();
        Running { stage: self, helper, stdin }
    }

    /// Returns the running processes of this test with the mark.
    fn living(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.mark);
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let living = processes.filter_map(|entry| {
            let environment = fs::read(entry.path().join("environ")).ok()?;
            environment.split(|byte| *byte == 0).find(|it| *it == mark.as_bytes())?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // Zombies are not running.
            (!stat.contains(") Z ")).then_some(stat)
        });
        living.collect()
    }

    /// Returns the processes that its children have left behind.
    fn left(&self) -> Vec<String> {
        let mut living = self.living();
        living.retain(|stat| words(stat).get(1).is_some_and(|word| word.starts_with("leaves=")));
        living
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    fn eventually(&self, what: &str, is_true: impl Fn() -> bool) {
        let until = Instant::now() + TOO_LONG;
        while !is_true() {
            let (living, said) = (self.living(), self.stderr());
            assert!(Instant::now() < until, "{}: {what}\n{living:#?}\n{said}", self.what);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Returns the command line of a process from a line with its stat.
fn words(stat: &str) -> Vec<String> {
    let pid = stat.split(' ').next().unwrap();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split('\0').map(str::to_owned).collect()
}

impl Running<'_> {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.helper)
    }

    /// Waits until the log contains something and the leftovers of the child are running.
    fn wait_for_child(&self, child: &str, death: Death) {
        if death == Death::Timeout {
            // On a slow machine that may come first.
            return;
        }
        let has_log = || fs::metadata(self.stage.path("log")).is_ok_and(|it| it.len() > 0);
        self.stage.eventually("log", has_log);
        if child.starts_with("orphan") || child.starts_with("chain") {
            self.stage.eventually("what is left", || !self.stage.left().is_empty());
        }
    }

    fn begin_the_end(&mut self, death: Death) {
        match death {
            Death::Plain => drop(self.stdin.take()),
            Death::Term => kill_process(self.pid(), Signal::TERM).unwrap(),
            Death::Timeout => {}
            Death::Kill => kill_process(self.pid(), Signal::KILL).unwrap(),
            Death::KillGroup => kill_process_group(self.pid(), Signal::KILL).unwrap(),
        }
    }

    fn end(mut self) -> ExitStatus {
        let stage = self.stage;
        let mut status = None;
        let until = Instant::now() + TOO_LONG;
        while status.is_none() {
            assert!(Instant::now() < until, "{}: does not end\n{}", stage.what, stage.stderr());
            thread::sleep(Duration::from_millis(2));
            status = self.helper.try_wait().unwrap();
        }
        status.unwrap()
    }

    /// Ends it, and checks that no process is left: at once, unless it was killed.
    fn end_and_look(mut self, death: Death) -> ExitStatus {
        let stage = self.stage;
        self.begin_the_end(death);
        let status = self.end();
        if matches!(death, Death::Kill | Death::KillGroup) {
            assert_eq!(status.signal(), Some(9), "{}", stage.what);
        }
        if !matches!(death, Death::Plain | Death::Term) {
            // If the timeout ends it while it starts, the guardian stops the rest.
            stage.eventually("something lives", || stage.living().is_empty());
        } else {
            assert_eq!(stage.living(), [""; 0], "{}\n{}", stage.what, stage.stderr());
        }
        status
    }
}

const DEATHS: [Death; 5] =
    [Death::Plain, Death::Term, Death::Timeout, Death::Kill, Death::KillGroup];
const CHILDREN: [&str; 3] = ["freeze=processRecords", "ignore-eof ignore-term", "orphan"];

/// Plays all cases in parallel, because they mostly wait.
fn in_parallel(deaths: &[Death], play: impl Fn(&str, Death) + Sync) {
    let play = &play;
    thread::scope(|scope| {
        for child in CHILDREN {
            for death in deaths {
                scope.spawn(move || play(child, *death));
            }
        }
    });
}

#[test]
fn local() {
    in_parallel(&DEATHS, |child, death| {
        if death == Death::Plain && child.starts_with("freeze") {
            // The daemon waits for an answer.
            return;
        }
        let stage = Marked::new(format!("local, {child}, {death:?}"));
        let timeout = if death == Death::Timeout { "3s" } else { "1h" };
        let patience = if death == Death::Plain { "300ms" } else { "1h" };
        let mut running = stage.start(&format!(
            "local -i - --patience {patience} --grace 300ms --timeout {timeout} -- AWKWARD log=log {child}"
        ));
        running.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
        running.wait_for_child(child, death);
        let status = running.end_and_look(death);
        match death {
            Death::Term => assert_eq!(status.code(), Some(143), "{}", stage.what),
            Death::Timeout => assert_eq!(status.code(), Some(124), "{}", stage.what),
            _ => {}
        }
    });
}

#[test]
fn bench() {
    in_parallel(&DEATHS, |child, death| {
        if death == Death::Plain && child.starts_with("freeze") {
            return;
        }
        let stage = Marked::new(format!("bench, {child}, {death:?}"));
        let until = if death == Death::Plain { "--batches 2" } else { "--duration 1h" };
        let timeout = if death == Death::Timeout { "3s" } else { "1h" };
        let running = stage.start(&format!(
            "bench {until} --warmup 0s --turns 1 --patience 300ms --timeout {timeout} -- AWKWARD \
             log=log {child}"
        ));
        running.wait_for_child(child, death);
        running.end_and_look(death);
    });
}

/// The daemon can write to stdin until its end.
#[test]
fn record() {
    let deaths = [Death::Plain, Death::Term, Death::Kill, Death::KillGroup];
    in_parallel(&deaths, |child, death| {
        let hangs = child.starts_with("freeze") || child.starts_with("ignore");
        if death == Death::Plain && hangs {
            // The daemon waits for the program's end.
            return;
        }
        let stage = Marked::new(format!("record, {child}, {death:?}"));
        let mut running = stage
            .start(&format!("record --grace 700ms --to recordings -- AWKWARD log=log {child}"));
        let input = "{\"action\":\"initialize\",\"shardId\":\"s\",\"sequenceNumber\":\"1\",\
                     \"subSequenceNumber\":0}\n\
                     {\"action\":\"processRecords\",\"records\":[{\"data\":\"\",\"partitionKey\":\"\",\
                     \"sequenceNumber\":\"1\",\"subSequenceNumber\":0,\"approximateArrivalTimestamp\":1,\
                     \"action\":\"record\"}],\"millisBehindLatest\":0}\n";
        running.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
        running.wait_for_child(child, death);
        let leaves_some = child == "orphan" && matches!(death, Death::Plain | Death::Term);
        if !leaves_some {
            if death == Death::Term {
                running.begin_the_end(Death::Term);
                running.begin_the_end(Death::Plain);
            }
            let status = running.end_and_look(death);
            // `record` ends as its program does.
            assert_eq!(
                status.signal() == Some(9),
                hangs || death == Death::Kill || death == Death::KillGroup
            );
            return;
        }
        // A process that the program leaves behind keeps running, as it would without us.
        running.begin_the_end(death);
        running.begin_the_end(Death::Plain);
        running.end();
        let living = stage.living();
        assert_eq!(living.len(), 1, "{living:#?}");
        let orphan = living[0].split(' ').next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(orphan).unwrap(), Signal::KILL).unwrap();
    });
}

const JAVA: &str = "if [ \"$1\" = -version ]; then
  [ -e java ] && echo > log && exec sleep 60
  echo 'openjdk version \"17.0.9\" 2023-10-17' >&2; exit 0
fi
if [ \"$1\" = -Xshare:dump ]; then [ -e dump ] && echo > log && exec sleep 60; exit 1; fi
. ./play
";

const MAVEN: &str = "[ -e mvn ] && trap '' TERM && echo > log && { sleep 60 & wait; sleep 60; }
for word; do case $word in -DoutputDirectory=*) lib=${word#*=} ;; esac; done
mkdir -p $lib/g/alpha/1.0 && echo alpha > $lib/g/alpha/1.0/alpha-1.0.jar
";

/// A stage with a java, a jar and a properties file for `run`.
fn daemon_stage(what: String, play: &str) -> Marked {
    let stage = Marked::new(what);
    stage.fill_with_one_jar("3.0.9");
    stage.script("bin/java", JAVA);
    stage.script("bin/mvn", MAVEN);
    stage.write("play", play.replace("AWKWARD", &awkward_child()));
    let properties = "executableName = cat\nstreamName = s\napplicationName = App\n\
                      AwsCredentialsProvider = DefaultCredentialsProvider\nregionName = us-east-1\n\
                      initialPositionInStream = LATEST\nshutdownGraceMillis = 1\n";
    stage.write("app.properties", properties);
    stage
}

fn run_args(timeout: &str) -> String {
    format!(
        "run app.properties --kcl-version 3.0.9 --cache cache --set retrievalMode=POLLING --grace 300ms \
         --timeout {timeout}"
    )
}

/// Counts the folders of runs that still exist.
fn run_folders(stage: &Stage) -> usize {
    let places = fs::read_dir(stage.path("tmp")).unwrap().flatten();
    let places =
        places.filter(|it| it.file_name().to_string_lossy().starts_with("kcl-helper-run-"));
    places.map(|place| fs::read_dir(place.path()).unwrap().count()).sum()
}

#[test]
fn run() {
    let plays = [
        ("frozen", "echo > log; kill -STOP $$\n"),
        ("ignores SIGTERM", "trap '' TERM; echo > log; while :; do sleep 0.1; done\n"),
        ("orphan", "AWKWARD leaves=orphan & echo > log; [ -e plain ] && sleep 0.5 || sleep 60\n"),
    ];
    thread::scope(|scope| {
        for (name, play) in plays {
            for death in DEATHS {
                if death == Death::Plain && ["frozen", "ignores SIGTERM"].contains(&name) {
                    continue;
                }
                scope.spawn(move || {
                    let stage = daemon_stage(format!("run, {name}, {death:?}"), play);
                    if death == Death::Plain {
                        fs::write(stage.path("plain"), "").unwrap();
                    }
                    let timeout = if death == Death::Timeout { "3s" } else { "1h" };
                    let running = stage.start(&run_args(timeout));
                    running.wait_for_child(name, death);
                    let status = running.end_and_look(death);
                    stage.eventually("a folder is left", || run_folders(&stage) == 0);
                    if death == Death::Timeout {
                        assert_eq!(status.code(), Some(124), "{}", stage.what);
                    }
                });
            }
        }
    });
}

#[test]
fn leftovers_of_tools_before_the_daemon() {
    thread::scope(|scope| {
        for tool in ["java", "mvn", "dump", "download"] {
            for death in [Death::Term, Death::Timeout, Death::Kill] {
                scope.spawn(move || {
                    let stage = daemon_stage(format!("{tool}, {death:?}"), "exit 1\n");
                    fs::write(stage.path(tool), "").unwrap();
                    if tool != "java" {
                        fs::remove_file(stage.path("cache/jars/3.0.9/alpha-1.0.jar")).unwrap();
                    }
                    let timeout = if death == Death::Timeout { "3s" } else { "1h" };
                    let repository = TcpListener::bind("127.0.0.1:0").unwrap();
                    let mut args = run_args(timeout);
                    if tool == "download" {
                        let port = repository.local_addr().unwrap().port();
                        args += &format!(" --repository http://127.0.0.1:{port}");
                    }
                    let mut running = stage.start(&args);
                    if tool != "download" {
                        running.wait_for_child(tool, death);
                    } else if death != Death::Timeout {
                        // The repository sends half of the jar.
                        let mut download = repository.accept().unwrap().0;
                        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nalp";
                        download.write_all(head).unwrap();
                        let folder = stage.path("cache/jars/3.0.9");
                        let unfinished = || fs::read_dir(&folder).unwrap().count() > 1;
                        stage.eventually("an unfinished jar", unfinished);
                    }
                    running.begin_the_end(death);
                    running.end();
                    // They are stopped after our end.
                    stage.eventually("something lives", || stage.living().is_empty());
                    let jars = fs::read_dir(stage.path("cache/jars/3.0.9")).unwrap().flatten();
                    let jars: Vec<_> = jars.map(|it| it.file_name()).collect();
                    let is_unfinished = |it: &OsString| it.to_string_lossy().starts_with('.');
                    assert!(!jars.iter().any(is_unfinished), "{}: {jars:?}", stage.what);
                });
            }
        }
    });
}

/// Each of its processes runs for a millisecond or two, in its own session.
#[test]
fn chain_of_short_lived_processes_is_stopped() {
    for death in [Death::Plain, Death::Term, Death::Kill] {
        let stage = Marked::new(format!("chain, {death:?}"));
        let mut running = stage.start("local -i - --grace 300ms -- AWKWARD log=log chain");
        running.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
        running.wait_for_child("chain", death);
        running.end_and_look(death);
    }
}

fn guardian_of(running: &Running<'_>) -> Pid {
    let living = running.stage.living();
    let is_guardian = |stat: &&String| words(stat).get(1).is_some_and(|word| word == "guardian");
    let guardian = living.iter().find(is_guardian).expect("there is one");
    Pid::from_raw(guardian.split(' ').next().unwrap().parse().unwrap()).unwrap()
}

#[test]
fn helper_stops_everything_if_its_guardian_is_killed() {
    thread::scope(|scope| {
        for child in ["", "orphan"] {
            for death in [Death::Plain, Death::Term] {
                scope.spawn(move || {
                    let stage = Marked::new(format!("without a guardian, {child}, {death:?}"));
                    let args = format!("local -i - --grace 300ms -- AWKWARD log=log {child}");
                    let mut running = stage.start(args.trim());
                    running.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
                    running.wait_for_child(child, death);
                    kill_process(guardian_of(&running), Signal::KILL).unwrap();
                    running.stdin.as_mut().unwrap().write_all(b"two\n").unwrap();
                    let both = || fs::read_to_string(stage.path("log")).unwrap().contains(" two\n");
                    stage.eventually("the second record", both);
                    let status = running.end_and_look(death);
                    let expected = if death == Death::Plain { 0 } else { 143 };
                    assert_eq!(status.code(), Some(expected), "{}", stage.what);
                });
            }
        }
    });
}

/// A shell may `exec` kcl-helper, and then its jobs are our children.
#[test]
fn jobs_of_the_shell_are_not_harmed() {
    for kills_guardian in [false, true] {
        let stage = Marked::new(format!("a job of the shell, guardian killed: {kills_guardian}"));
        let script = "sleep 120 <&- & echo $! > job; exec \"$0\" local -i - --grace 100ms -- \
                      \"$1\" log=log";
        let mut shell = kcl_fixtures::command("sh");
        shell.args(["-c", script, HELPER, &awkward_child()]).env(MARK, &stage.mark);
        shell.current_dir(stage.root()).stdin(Stdio::piped()).stdout(Stdio::null());
        shell.stderr(fs::File::create(stage.path("stderr")).unwrap());
        let mut helper = shell.spawn().unwrap();
        let stdin = helper.stdin.take();
        let mut running = Running { stage: &stage, helper, stdin };
        running.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
        running.wait_for_child("", Death::Plain);
        if kills_guardian {
            kill_process(guardian_of(&running), Signal::KILL).unwrap();
        }
        running.begin_the_end(Death::Plain);
        running.end();
        let living = stage.living();
        let job = fs::read_to_string(stage.path("job")).unwrap();
        assert_eq!(living.len(), 1, "{living:#?}");
        assert!(living[0].starts_with(&format!("{} (sleep)", job.trim())), "{living:#?}");
        let job = Pid::from_raw(job.trim().parse().unwrap()).unwrap();
        kill_process(job, Signal::KILL).unwrap();
    }
}

#[test]
fn signals_to_the_guardian_are_ignored() {
    let stage = Marked::new("signals to the guardian".into());
    let mut running = stage.start("local -i - -- AWKWARD log=log");
    running.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    running.wait_for_child("", Death::Plain);
    let guardian = guardian_of(&running);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1] {
        kill_process(guardian, signal).unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(running.end_and_look(Death::Plain).code(), Some(0));
}
