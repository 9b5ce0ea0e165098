//! `run` with a fake java that records its arguments and does what the test wants.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use insta::{allow_duplicates, assert_snapshot};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{GOOD, Stage, under_umask};

/// Answers `-version`, records its arguments and the properties file, then runs the script `$HOME/play`.
const JAVA: &str = r#"
if [ "$1" = -version ]; then echo 'openjdk version "17.0.9" 2023-10-17' >&2; exit 0; fi
if [ "$1" = -Xshare:dump ]; then
  [ -f "$HOME/no-dump" ] && { echo 'cannot dump' >&2; exit 1; }
  for word; do case $word in
    -XX:SharedArchiveFile=*) echo archive > "${word#*=}" ;;
    -XX:SharedClassListFile=*) grep -c MultiLangDaemon$ "${word#*=}" >> "$HOME/dumps" ;;
  esac; done
  exit 0
fi
for word; do echo "$word"; done | grep -v '^-X[Xms]' > "$HOME/words"
for word; do case $word in -*) ;; *.properties) cat "$word" > "$HOME/file" ;; esac; done
env > "$HOME/env"
cat > "$HOME/stdin"
echo $$ > "$HOME/pid"
. "$HOME/play"
"#;

/// A fake Maven with the one jar of the stage's lock.
const MAVEN: &str = r#"
for word; do case $word in -DoutputDirectory=*) lib=${word#*=} ;; esac; done
mkdir -p "$lib/g/alpha/1.0"
echo alpha > "$lib/g/alpha/1.0/alpha-1.0.jar"
"#;

/// `GOOD` with a credentials provider of 1.x.
fn good_for_1x() -> String {
    let old = GOOD.replace("Aws", "AWS").replace("DefaultCred", "DefaultAWSCred");
    old.replace("Provider\n", "ProviderChain\n")
}

/// The daemon has a child that a SIGTERM to the daemon alone does not stop.
const PLAY_UNTIL_SIGTERM: &str = r#"
sleep 60 & child=$!
trap 'sleep 0.2; echo "daemon: asked to stop"; kill -0 $child && echo "its child still lives"; kill $child; exit 143' TERM
echo "daemon: ready"
wait
"#;

/// After this long, a signal is a second request instead of a part of the first one.
const LATER: Duration = Duration::from_millis(600);

/// A stage with a java, all jars and a valid properties file.
fn stage(play: &str) -> Stage {
    let stage = Stage::new();
    stage.script("bin/java", JAVA);
    stage.write("home/play", play);
    stage.write("app.properties", GOOD);
    stage.fill_with_one_jar("3.0.9");
    stage
}

fn helper(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = stage.helper(&["run"]);
    command.args(arguments).env("KCL_HELPER_KCL_VERSION", "3.0.9");
    command
}

fn run(stage: &Stage, arguments: &[&str]) -> String {
    stage.outcome(&helper(stage, arguments).output().unwrap())
}

fn recorded(stage: &Stage, name: &str) -> String {
    let text = fs::read_to_string(stage.path(format!("home/{name}"))).unwrap();
    without_run_folder(&stage.without_folder(&text))
}

/// Replaces `/kcl-helper-run-0/Ab12Cd/`, which is different each time.
fn without_run_folder(text: &str) -> String {
    let mut parts = text.split("/kcl-helper-run-");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + "/RUN" + &part.split_once('/').unwrap().1[6..])
}

/// Counts the folders of runs that still exist.
fn run_folders(stage: &Stage) -> usize {
    let runs = fs::read_dir(stage.path("tmp")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(runs).unwrap().count()
}

/// A running helper, and its stderr so far.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running { child, stderr, said: String::new() }
    }

    /// Reads stderr until a line contains this.
    fn wait_for(&mut self, text: &str) -> &mut Running {
        loop {
            let before = self.said.len();
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert_ne!(read, 0, "it ended without `{text}`: {}", self.said);
            if self.said[before..].contains(text) {
                return self;
            }
        }
    }

    fn signal(&mut self, signal: Signal) -> &mut Running {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    fn end(mut self, stage: &Stage) -> String {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let mut stdout = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        stage.outcome(&Output { status, stdout, stderr: self.said.into_bytes() })
    }
}

fn pid_of_java(stage: &Stage) -> Pid {
    let text = fs::read_to_string(stage.path("home/pid")).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Waits until the process has ended.
#[track_caller]
fn assert_gone(pid: Pid) {
    let until = Instant::now() + Duration::from_secs(20);
    while is_alive(pid) {
        assert!(Instant::now() < until, "process {} lives", pid.as_raw_nonzero());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is running; a zombie is not.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && !stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn daemon_runs_and_exits_with_0() {
    let stage = stage("echo 'a log line'\n");
    stage.write("input", "not for the daemon\n");
    let mut command = helper(&stage, &["app.properties", "--jvm-arg", "-Da=b"]);
    command.stdin(fs::File::open(stage.path("input")).unwrap());
    assert_snapshot!(stage.outcome(&command.output().unwrap()), @r"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    a log line
    ");
    assert_snapshot!(recorded(&stage, "words"), @r"
    -Dfile.encoding=UTF-8
    -Da=b
    -cp
    STAGE/cache/jars/3.0.9/alpha-1.0.jar:STAGE
    software.amazon.kinesis.multilang.MultiLangDaemon
    --properties-file
    STAGE/app.properties
    ");
    assert_eq!(recorded(&stage, "stdin"), "");
    assert_eq!(recorded(&stage, "file"), GOOD);
    let names = recorded(&stage, "env");
    assert!(!names.contains("AWS_"), "credentials are never invented: {names}");
}

/// If `run` has no reason to copy the file.
#[test]
fn print_command_prints_what_run_starts() {
    let stage = stage("");
    stage.write("logback.xml", "<configuration/>");
    for (version, properties) in [("3.0.9", GOOD), ("1.14.0", &good_for_1x())] {
        stage.fill_with_one_jar(version);
        stage.write("app.properties", properties);
        let options = ["--kcl-version", version, "-c", "extra", "-l", "logback.xml"];
        let options = [&options[..], &["--jvm-arg=-Da=b", "--jvm-arg=-XX:+UseG1GC"]].concat();
        let text = run(&stage, &[&["app.properties"][..], &options].concat());
        assert!(text.starts_with("status 0\n"), "{text}");

        let print = ["print-command", "-j", "java", "-p", "app.properties", "--format", "json"];
        let output = stage.helper(&[&print[..], &options].concat()).output().unwrap();
        let argv: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
        // The fake java does not record these flags.
        let is_left_out = |word: &str| ["-XX", "-Xm", "-Xs"].iter().any(|x| word.starts_with(x));
        let words = argv[1..].iter().filter(|word| !is_left_out(word));
        let printed: String = words.map(|word| format!("{word}\n")).collect();
        assert_eq!(stage.without_folder(&printed), recorded(&stage, "words"));
    }
}

#[test]
fn exit_status_is_that_of_the_daemon() {
    let stage = stage("exit 7\n");
    assert!(run(&stage, &["app.properties"]).starts_with("status 7\n"));
    stage.write("home/play", "exit 143\n");
    assert!(run(&stage, &["app.properties"]).starts_with("status 143\n"), "not our signal");
    stage.write("home/play", "kill -9 $$\n");
    assert!(run(&stage, &["app.properties"]).starts_with("status 137\n"));
}

#[test]
fn first_signal_stops_the_jvm_gracefully() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let stage = stage(PLAY_UNTIL_SIGTERM);
        let mut running = Running::start(helper(&stage, &["app.properties"]));
        running.wait_for("daemon: ready").signal(signal);
        let text = running.end(&stage);
        let name = format!(
            "SIG{}",
            match signal {
                Signal::TERM => "TERM",
                Signal::INT => "INT",
                _ => "HUP",
            }
        );
        assert!(text.contains(&format!("\n{name}: ")), "{text}");
        allow_duplicates! {
            assert_snapshot!(text.replace(&name, "SIGNAL"), @r"
            status 0
            --- stderr
            java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
            daemon: ready
            SIGNAL: asking the daemon to stop, for up to 8s; signal again to kill it
            daemon: asked to stop
            its child still lives
            stopped in TIME
            ");
        }
    }
}

#[test]
fn second_signal_kills_the_process_group() {
    let stage = stage(
        "trap 'sleep 0.3; echo asked' TERM\n\
         sh -c 'trap \"\" TERM; echo $$ > $HOME/grandchild; echo ready; while :; do sleep 0.1; done' &\n\
         while :; do sleep 0.1; done\n",
    );
    let mut running = Running::start(helper(&stage, &["app.properties"]));
    running.wait_for("ready").signal(Signal::TERM).wait_for("asked");
    thread::sleep(LATER);
    running.signal(Signal::INT);
    assert_snapshot!(running.end(&stage), @r"
    status 137
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    ready
    SIGTERM: asking the daemon to stop, for up to 8s; signal again to kill it
    asked
    warning: SIGINT again: killing the daemon and its processors
    ");
    assert_gone(pid_of_java(&stage));
    let grandchild = recorded(&stage, "grandchild").trim().parse().unwrap();
    assert_gone(Pid::from_raw(grandchild).unwrap());
}

#[test]
fn daemon_is_killed_after_the_grace() {
    let stage = stage("trap '' TERM\necho ready\nwhile :; do sleep 0.1; done\n");
    let mut running = Running::start(helper(&stage, &["app.properties", "--grace", "300ms"]));
    running.wait_for("ready").signal(Signal::TERM);
    assert_snapshot!(running.end(&stage), @r"
    status 137
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    ready
    SIGTERM: asking the daemon to stop, for up to 300ms; signal again to kill it
    warning: not stopped within 300ms: killing the daemon and its processors
    ");
    assert_gone(pid_of_java(&stage));
}

#[test]
fn processes_that_outlive_the_daemon_are_stopped() {
    let stage = stage("sh -c 'echo $$ > $HOME/grandchild; exec sleep 60' &\nsleep 0.2\nexit 1\n");
    let text = run(&stage, &["app.properties"]);
    let grandchild = recorded(&stage, "grandchild");
    assert_snapshot!(text.replace(grandchild.trim(), "PID"), @"
    status 1
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    warning: sleep (PID) outlived the daemon: asking to stop
    ");
    assert_gone(Pid::from_raw(grandchild.trim().parse().unwrap()).unwrap());
}

#[test]
fn sigkill_of_the_helper_stops_the_jvm_gracefully() {
    let stage = stage(
        "trap 'echo asked > $HOME/asked; exit 143' TERM\necho ready\nwhile :; do sleep 0.1; done\n",
    );
    let mut running = Running::start(helper(&stage, &["app.properties"]));
    running.wait_for("ready").signal(Signal::KILL);
    assert_eq!(running.child.wait().unwrap().signal(), Some(9));
    assert_gone(pid_of_java(&stage));
    assert_eq!(recorded(&stage, "asked"), "asked\n");
}

#[test]
fn failing_daemon_is_restarted_up_to_the_limit() {
    let stage = stage("echo run >> $HOME/runs\nexit 1\n");
    let arguments = ["app.properties", "--restart", "on-failure", "--restart-limit", "2"];
    let text = run(&stage, &[&arguments[..], &["--restart-delay", "10ms"]].concat());
    assert_snapshot!(text, @"
    status 1
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    warning: the daemon ended with status 1: restarting it in TIME
    warning: the daemon ended with status 1: restarting it in TIME
    warning: the daemon ended with status 1: giving up after 2 restarts (--restart-limit)
    ");
    assert_eq!(recorded(&stage, "runs"), "run\nrun\nrun\n");
}

#[test]
fn recovered_or_stopped_daemon_is_not_restarted() {
    let stage = stage("[ -f $HOME/failed ] && exit 0\ntouch $HOME/failed\nexit 1\n");
    let arguments = ["app.properties", "--restart", "on-failure", "--restart-delay", "10ms"];
    assert!(run(&stage, &arguments).starts_with("status 0\n"));
    stage.write("home/play", PLAY_UNTIL_SIGTERM);
    let mut running = Running::start(helper(&stage, &arguments));
    running.wait_for("daemon: ready").signal(Signal::TERM);
    assert!(running.end(&stage).starts_with("status 0\n"));
    // A signal during the wait ends the run.
    stage.write("home/play", "exit 4\n");
    let arguments = ["app.properties", "--restart", "on-failure", "--restart-delay", "1h"];
    let mut running = Running::start(helper(&stage, &arguments));
    running.wait_for("restarting it in 1h").signal(Signal::TERM);
    let text = running.end(&stage);
    assert!(text.starts_with("status 4\n"), "{text}");
    assert!(text.ends_with("SIGTERM: not restarting the daemon\n"), "{text}");
    let text = run(&stage, &[&arguments[..], &["--timeout", "700ms"]].concat());
    assert!(text.starts_with("status 124\n"), "{text}");
    assert!(text.ends_with("--timeout 700ms: not restarting the daemon\n"), "{text}");
}

/// coreutils' `timeout` sends signals like this.
#[test]
fn signals_in_quick_succession_are_one_request() {
    let stage =
        stage("trap 'sleep 0.3; echo checkpointed; exit 143' TERM\necho ready\nsleep 60 & wait\n");
    let mut running = Running::start(helper(&stage, &["app.properties"]));
    running.wait_for("ready").signal(Signal::TERM).wait_for("asking").signal(Signal::TERM);
    let text = running.end(&stage);
    assert!(text.starts_with("status 0\n") && text.contains("\ncheckpointed\n"), "{text}");
}

#[test]
fn timeout_stops_the_run() {
    let stage = stage(PLAY_UNTIL_SIGTERM);
    assert_snapshot!(run(&stage, &["app.properties", "--timeout", "1s"]), @r"
    status 124
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    daemon: ready
    --timeout 1s: asking the daemon to stop, for up to 8s; signal again to kill it
    daemon: asked to stop
    its child still lives
    stopped in TIME
    ");
}

#[test]
fn signal_before_the_start_ends_the_run_at_once() {
    let stage = stage("");
    stage.script("bin/java", "touch $HOME/asked; exec sleep 60\n");
    let started = Instant::now();
    let text = run(&stage, &["app.properties", "--timeout", "500ms"]);
    assert_snapshot!(text, @r"
    status 124
    --- stderr
    --timeout 500ms: stopped before anything was started
    ");
    fs::remove_file(stage.path("home/asked")).unwrap();
    let mut running = Running::start(helper(&stage, &["app.properties"]));
    while !stage.path("home/asked").exists() {
        thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::TERM);
    assert_eq!(running.child.wait().unwrap().code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn set_and_endpoint_change_only_a_copy_of_the_file() {
    let stage = stage("");
    let text = run(
        &stage,
        &[
            "app.properties",
            "--set",
            "streamName=other-stream",
            "--set",
            "initialPositionInStream=LATEST",
            "--endpoint-url",
            "http://127.0.0.1:4566",
        ],
    );
    assert_snapshot!(without_run_folder(&text), @"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    kinesisEndpoint is set to http://127.0.0.1:4566 for this run
    dynamoDBEndpoint is set to http://127.0.0.1:4566 for this run
    -Daws.endpointUrl=http://127.0.0.1:4566 is passed to the JVM
    -Daws.cborEnabled=false is passed to the JVM
    metricsLevel is set to NONE for this run: emulators accept no metrics
    ");
    assert_snapshot!(recorded(&stage, "words"), @r"
    -Dfile.encoding=UTF-8
    -Daws.endpointUrl=http://127.0.0.1:4566
    -Daws.cborEnabled=false
    -cp
    STAGE/cache/jars/3.0.9/alpha-1.0.jar:STAGE
    software.amazon.kinesis.multilang.MultiLangDaemon
    --properties-file
    STAGE/tmp/RUN/daemon.properties
    ");
    assert_snapshot!(recorded(&stage, "file"), @"
    # app.properties with the changes of kcl-helper run
    executableName=cat
    applicationName=App
    AwsCredentialsProvider=DefaultCredentialsProvider
    regionName=us-east-1
    workerId=w
    shutdownGraceMillis=3000
    timeoutInSeconds=600
    retrievalMode=POLLING
    maxRecords=100
    streamName=other-stream
    initialPositionInStream=LATEST
    kinesisEndpoint=http://127.0.0.1:4566
    dynamoDBEndpoint=http://127.0.0.1:4566
    metricsLevel=NONE
    ");
    assert_eq!(fs::read_to_string(stage.path("app.properties")).unwrap(), GOOD);
    assert_eq!(run_folders(&stage), 0, "the copy is gone");
}

#[test]
fn daemon_1x_has_its_own_main_class_and_flags() {
    let stage = stage("cat \"$(sed -n 's/.*config.file=//p' $HOME/words)\"\n");
    stage.fill_with_one_jar("1.15.2");
    stage.write("app.properties", good_for_1x());
    let arguments = ["--kcl-version", "1.15.2", "app.properties", "--offline", "--quiet-daemon"];
    let text = run(&stage, &[&arguments[..], &["--endpoint-url", "http://127.0.0.1:1"]].concat());
    assert_snapshot!(text, @"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 1.15.2 · app.properties: no errors, 1 warning (kcl-helper check shows them)
    kinesisEndpoint is set to http://127.0.0.1:1 for this run
    dynamoDBEndpoint is set to http://127.0.0.1:1 for this run
    -Dcom.amazonaws.sdk.disableCbor=true is passed to the JVM
    metricsLevel is set to NONE for this run: emulators accept no metrics
    handlers=java.util.logging.ConsoleHandler
    .level=WARNING
    java.util.logging.ConsoleHandler.level=WARNING
    ");
    let words = recorded(&stage, "words");
    let words: Vec<&str> = words.lines().filter(|word| !word.contains(".jar:")).collect();
    assert_snapshot!(words.join("\n"), @r"
    -Dfile.encoding=UTF-8
    -Djava.util.logging.config.file=STAGE/tmp/RUN/logging.properties
    -Dcom.amazonaws.sdk.disableCbor=true
    -cp
    com.amazonaws.services.kinesis.multilang.MultiLangDaemon
    STAGE/tmp/RUN/daemon.properties
    ");
}

#[test]
fn missing_shutdown_grace_is_set_with_a_note() {
    let stage = stage("");
    stage.write("app.properties", GOOD.replace("shutdownGraceMillis = 3000\n", ""));
    assert_snapshot!(run(&stage, &["app.properties"]), @r"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    shutdownGraceMillis is 0: set to 20000 for this run
    ");
    assert!(recorded(&stage, "file").ends_with("shutdownGraceMillis=20000\n"));
}

#[test]
fn worker_id_is_reused_but_unique_among_running_workers() {
    let stage = stage("");
    stage.write("app.properties", GOOD.replace("workerId = w\n", ""));
    let name = || {
        let file = recorded(&stage, "file");
        file.lines().last().unwrap().strip_prefix("workerId=").unwrap().to_owned()
    };
    assert_snapshot!(run(&stage, &["app.properties"]), @r"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    ");
    let first = name();
    run(&stage, &["app.properties"]);
    assert_eq!(name(), first);
    let kept = fs::read_dir(stage.path("cache/workers")).unwrap().next().unwrap().unwrap();
    let lock = fs::File::open(kept.path()).unwrap();
    lock.lock().unwrap();
    run(&stage, &["app.properties"]);
    assert_ne!(name(), first);
    // Another application has its own names.
    drop(lock);
    run(&stage, &["app.properties", "--set", "applicationName=Other"]);
    assert_ne!(name(), first);
}

#[test]
fn daemon_that_outlives_its_helper_keeps_its_worker_id() {
    let stage = stage("trap '' TERM; echo ready; while :; do sleep 0.05; done\n");
    stage.write("app.properties", GOOD.replace("workerId = w\n", ""));
    let mut running = Running::start(helper(&stage, &["-q", "app.properties"]));
    running.wait_for("ready").signal(Signal::KILL);
    running.child.wait().unwrap();
    let java = pid_of_java(&stage);
    let kept = fs::read_dir(stage.path("cache/workers")).unwrap().next().unwrap().unwrap();
    let lock = fs::File::open(kept.path()).unwrap();
    assert!(matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)));
    let _ = kill_process(java, Signal::KILL);
    assert_gone(java);
}

#[test]
fn without_a_worker_folder_the_daemon_picks_its_name() {
    let stage = stage("");
    stage.write("app.properties", GOOD.replace("workerId = w\n", ""));
    stage.write("cache/workers", "");
    let text = run(&stage, &["app.properties", "-v"]);
    assert!(text.starts_with("status 0\n"), "{text}");
    assert!(text.contains("cannot keep a worker ID in STAGE/cache/workers: File exists"), "{text}");
    assert!(!recorded(&stage, "file").contains("workerId"));
}

#[test]
fn program_beside_the_file_or_with_a_space_is_found() {
    let stage = stage("");
    stage.script("conf/child.sh", "");
    stage.write("conf/app.properties", GOOD.replace("= cat", "= child.sh --fast x"));
    assert_snapshot!(without_run_folder(&run(&stage, &["conf/app.properties"])), @r"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · conf/app.properties: no errors, no warnings
    executableName is set to STAGE/conf/child.sh --fast x for this run
    ");
    assert!(recorded(&stage, "file").ends_with("executableName=STAGE/conf/child.sh --fast x\n"));
    stage.script("my apps/the child.sh", "");
    let with_blank = GOOD.replace("= cat", "= my apps/the child.sh --fast");
    stage.write("app.properties", &with_blank);
    stage.write("home/play", "ls -l $(sed -n 's/^executableName=\\([^ ]*\\).*/\\1/p' $HOME/file)");
    let text = without_run_folder(&run(&stage, &["app.properties"]));
    assert!(text.contains("the_child.sh -> STAGE/my apps/the child.sh\n"), "{text}");
    assert!(
        recorded(&stage, "file").ends_with("executableName=STAGE/tmp/RUN/the_child.sh --fast\n"),
        "{}",
        recorded(&stage, "file")
    );
}

#[test]
fn expand_env_expands_variables() {
    let stage = stage("");
    stage.write("app.properties", GOOD.replace("words", "${HOME_STREAM}-$SUFFIX"));
    let mut command = helper(&stage, &["-q", "app.properties", "--expand-env"]);
    command.env("HOME_STREAM", "a").env("SUFFIX", "b");
    assert_eq!(stage.outcome(&command.output().unwrap()), "status 0\n");
    assert!(recorded(&stage, "file").ends_with("streamName=a-b\n"));
    assert_snapshot!(run(&stage, &["app.properties", "--expand-env"]), @"
    status 2
    --- stderr
    error: cannot expand streamName = ${HOME_STREAM}-$SUFFIX: HOME_STREAM is not set
    hint: set HOME_STREAM, or write $$ for a dollar sign
    ");
}

#[test]
fn files_of_a_run_are_private_and_removed_after_sigkill() {
    let modes = "for word; do case $word in *.properties|*.xml) ls -ld $word; esac; done | cut -c-10\n\
                 cd $HOME/../tmp; find . -type d | sort | xargs ls -ld | cut -c-10\n";
    let stage = stage(modes);
    let arguments = ["-q", "app.properties", "--expand-env", "--set", "a=b", "--log-level", "warn"];
    for umask in ["022", "0", "077"] {
        let mut command = under_umask(umask, &helper(&stage, &arguments));
        let text = stage.outcome(&command.output().unwrap());
        assert_eq!(
            text,
            "status 0\n--- stderr\n-rw-------\n-rw-------\ndrwxr-xr-x\ndrwx------\ndrwx------\n"
        );
    }
    assert_eq!(run_folders(&stage), 0);

    stage.write("home/play", "echo ready\nexec sleep 60\n");
    let mut running = Running::start(helper(&stage, &arguments));
    running.wait_for("ready").signal(Signal::KILL);
    running.child.wait().unwrap();
    // The daemon outlives its helper here, and still needs its files.
    let _ = kill_process(pid_of_java(&stage), Signal::KILL);
    assert_gone(pid_of_java(&stage));
    stage.write("home/play", "true\n");
    run(&stage, &arguments);
    assert_eq!(run_folders(&stage), 0);
}

#[test]
fn invalid_properties_file_is_a_usage_error() {
    let stage = stage("");
    stage.write("app.properties", "streamName = words\n");
    let text = run(&stage, &["app.properties"]);
    assert!(text.starts_with("status 2\n"), "{text}");
    assert_snapshot!(text.lines().last().unwrap(), @"error: cannot start the daemon: app.properties: 3 errors, 3 warnings");
    assert!(!stage.path("home/words").exists());
    assert_snapshot!(run(&stage, &["nothing.properties"]), @r"
    status 2
    --- stderr
    error: cannot read nothing.properties: No such file or directory (os error 2)
    ");
}

#[test]
fn java_is_found_by_option_then_java_home_then_path() {
    let stage = stage("");
    let first_line = |command: &mut Command| {
        let text = stage.outcome(&command.output().unwrap());
        text.lines().take(4).collect::<Vec<_>>().join("\n")
    };
    let java = stage.path("bin/java");
    stage.script("jdk/bin/java", &JAVA.replace("17.0.9", "21.0.1"));
    let home = stage.path("jdk");
    let mut command = helper(&stage, &["app.properties"]);
    assert_snapshot!(first_line(command.env("JAVA_HOME", &home)), @r"
    status 0
    --- stderr
    java 21.0.1 (JAVA_HOME) · daemon 3.0.9 · app.properties: no errors, no warnings
    ");
    let mut command = helper(&stage, &["app.properties", "--java", java.to_str().unwrap()]);
    assert_snapshot!(first_line(command.env("JAVA_HOME", &home)), @r"
    status 0
    --- stderr
    java 17.0.9 (--java) · daemon 3.0.9 · app.properties: no errors, no warnings
    ");
    let mut command = helper(&stage, &["app.properties"]);
    assert_snapshot!(first_line(command.env("JAVA_HOME", stage.path("no"))), @"
    status 3
    --- stderr
    error: cannot use STAGE/no/bin/java (JAVA_HOME): No such file or directory (os error 2)
    hint: install a Java runtime, 17 or newer, or name one with --java or JAVA_HOME
    ");
    stage.script("bin/java", "echo 'java version \"1.7.0_80\"' >&2\n");
    assert_snapshot!(run(&stage, &["app.properties"]), @"
    status 3
    --- stderr
    error: cannot use java (PATH): it is Java 1.7.0_80, and the daemon needs Java 8
    hint: install a Java runtime, 17 or newer, or name one with --java or JAVA_HOME
    ");
    stage.script("bin/java", "echo broken >&2; exit 1\n");
    assert_snapshot!(run(&stage, &["app.properties"]), @"
    status 3
    --- stderr
    error: cannot use java (PATH): `java -version` ended with exit status: 1 and wrote: broken
    hint: install a Java runtime, 17 or newer, or name one with --java or JAVA_HOME
    ");
}

#[test]
fn missing_jars_are_fetched_or_an_error() {
    let stage = stage("");
    fs::remove_file(stage.path("cache/jars/3.0.9/alpha-1.0.jar")).unwrap();
    assert_snapshot!(run(&stage, &["app.properties", "--offline"]), @"
    status 3
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    error: cannot download 1 of 1 jars: --offline is set: alpha-1.0.jar is missing
    ");
    stage.script("bin/mvn", MAVEN);
    assert_snapshot!(run(&stage, &["app.properties"]), @"
    status 0
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    fetching 1 jar, 6 bytes with Maven
    1 jar, 6 bytes: 0 already present, 1 fetched in TIME
    creating a class-data archive for Java 17.0.9, once
    8 bytes created in TIME
    ");
}

#[test]
fn tampered_jar_is_never_run() {
    let stage = stage("");
    let jar = stage.write("cache/jars/3.0.9/alpha-1.0.jar", "EVIL!\n");
    assert_snapshot!(run(&stage, &["-q", "app.properties", "--offline"]), @"
    status 3
    --- stderr
    error: cannot download 1 of 1 jars: --offline is set: alpha-1.0.jar has the SHA-256 6b20f34a13a35b79dae5cc3da91cb20b9f8fa0f3c2e1172455dc98aac04f2607 (expected b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060)
    ");
    fs::rename(&jar, stage.path("elsewhere")).unwrap();
    stage.write("elsewhere", "alpha\n");
    std::os::unix::fs::symlink(stage.path("elsewhere"), &jar).unwrap();
    assert_snapshot!(run(&stage, &["-q", "app.properties", "--offline"]), @"
    status 3
    --- stderr
    error: cannot download 1 of 1 jars: --offline is set: cannot read alpha-1.0.jar: it is a symbolic link
    ");
    assert!(!stage.path("home/words").exists());
    stage.script("bin/mvn", MAVEN);
    assert_snapshot!(run(&stage, &["-q", "app.properties"]), @"
    status 0
    --- stderr
    warning: cannot read alpha-1.0.jar: it is a symbolic link: fetching it again
    1 jar, 6 bytes: 0 already present, 1 fetched in TIME
    ");
    assert!(jar.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(&jar).unwrap(), "alpha\n");
}

#[test]
fn lock_that_others_can_write_to_is_not_trusted() {
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let stage = stage("");
    for (name, mode) in [
        ("cache", 0o775),
        ("cache/jars", 0o757),
        ("cache/jars/3.0.9", 0o777),
        ("cache/jars/3.0.9/alpha-1.0.jar", 0o666),
        ("cache/jars/3.0.9/jars.lock", 0o664),
        ("", 0o757),
    ] {
        let path = stage.path(name);
        let before = fs::metadata(&path).unwrap().permissions();
        set(&path, mode).unwrap();
        let expected = format!(
            "status 3\n--- stderr\nerror: cannot trust STAGE/cache/jars/3.0.9/jars.lock: other \
             users can write to STAGE/{name}\n\
             hint: choose a folder of your own with --cache or KCL_HELPER_CACHE\n"
        );
        assert_eq!(
            run(&stage, &["-qq", "app.properties"]),
            expected.replace("STAGE/\n", "STAGE\n")
        );
        fs::set_permissions(&path, before).unwrap();
    }
    set(&stage.path(""), 0o1757).unwrap();
    assert_eq!(run(&stage, &["-q", "app.properties"]), "status 0\n");
    // Only root can change the owner of a file.
    let jar = stage.path("cache/jars/3.0.9/alpha-1.0.jar");
    if std::os::unix::fs::chown(&jar, Some(65534), None).is_ok() {
        let text = run(&stage, &["-q", "app.properties"]);
        assert!(text.contains("alpha-1.0.jar belongs to user 65534\n"), "{text}");
    }
}

#[test]
fn class_data_archive_is_created_once_and_used() {
    let stage = stage("");
    let fetch = |arguments: &[&str]| {
        let mut command = stage.helper(&["jars", "fetch", "--kcl-version", "3.0.9"]);
        command.args(arguments).env_remove("JAVA_HOME");
        stage.outcome(&command.output().unwrap())
    };
    let dumps = || fs::read_to_string(stage.path("home/dumps")).unwrap_or_default();
    assert_snapshot!(fetch(&["--no-archive"]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    1 jar, 6 bytes: all already present
    ");
    assert_eq!(dumps(), "");
    assert!(run(&stage, &["-v", "app.properties"]).contains("no class-data archive for this Java"));
    assert_snapshot!(fetch(&[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    1 jar, 6 bytes: all already present
    creating a class-data archive for Java 17.0.9, once
    8 bytes created in TIME
    ");
    assert_eq!(dumps(), "1\n", "the list names the daemon's main class");
    fetch(&[]);
    assert_eq!(dumps(), "1\n");
    let archive = "-XX:SharedArchiveFile=STAGE/cache/jars/3.0.9/java-17.0.9-";
    assert!(run(&stage, &["-v", "app.properties"]).contains(archive));
    let java = stage.path("bin/java");
    let arguments = ["print-command", "-p", "app.properties", "-j", java.to_str().unwrap()];
    let mut command = stage.helper(&arguments);
    command.env("KCL_HELPER_KCL_VERSION", "3.0.9");
    assert!(stage.outcome(&command.output().unwrap()).contains(archive));
    // Other jars need another archive.
    stage.write("cache/jars/3.0.9/alpha-1.0.jar", "");
    stage.script("bin/mvn", MAVEN);
    fetch(&[]);
    assert_eq!(dumps(), "1\n1\n");
    // So does another Java.
    stage.script("bin/java", &JAVA.replace("17.0.9", "21.0.1"));
    fetch(&[]);
    assert_eq!(dumps(), "1\n1\n1\n");
    stage.script("bin/java", &JAVA.replace("17.0.9", "11.0.1"));
    assert_snapshot!(fetch(&["-v"]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    1 jar, 6 bytes: all already present
    no class-data archive: it needs Java 17 and a daemon from 2.0
    ");
    stage.script("bin/java", &JAVA.replace("17.0.9", "22"));
    stage.write("home/no-dump", "");
    assert_snapshot!(fetch(&[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    1 jar, 6 bytes: all already present
    creating a class-data archive for Java 22, once
    warning: no class-data archive, so the daemon starts slower: java ended with exit status: 1 and wrote: cannot dump
    ");
}

#[test]
fn log_level_writes_a_log_configuration() {
    let stage = stage(
        "for word; do [ \"$log\" = next ] && cat $word && break; \
         [ $word = --log-configuration ] && log=next; done; true\n",
    );
    assert_snapshot!(run(&stage, &["-q", "app.properties", "--quiet-daemon"]), @r#"
    status 0
    --- stderr
    <configuration>
      <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
        <encoder>
          <pattern>%d [%thread] %-5level %logger{36} [%mdc{ShardId:-NONE}] - %msg %n</pattern>
        </encoder>
      </appender>
      <root level="WARN">
        <appender-ref ref="CONSOLE"/>
      </root>
    </configuration>
    "#);
    let debug = run(&stage, &["-q", "app.properties", "--log-level", "debug"]);
    assert!(debug.contains("<root level=\"DEBUG\">"), "{debug}");
    stage.write("my.xml", "<mine/>\n");
    let mine = run(&stage, &["-q", "app.properties", "-l", "my.xml"]);
    assert_eq!(mine, "status 0\n--- stderr\n<mine/>\n");
}

#[test]
fn verbose_shows_the_whole_command() {
    let stage = stage("");
    let text = run(&stage, &["-v", "app.properties", "--jvm-arg", "-Xmx1g"]);
    let line = text.lines().find(|line| line.starts_with("java -")).unwrap();
    assert_snapshot!(line, @r"java -XX:+UseSerialGC -XX:MetaspaceSize=96m -XX:Tier4InvocationThreshold=50000 -XX:Tier4CompileThreshold=150000 -Dfile.encoding=UTF-8 -Xmx1g -cp STAGE/cache/jars/3.0.9/alpha-1.0.jar:STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/app.properties");
}

#[test]
fn ignored_sigchld_does_not_lose_the_status() {
    let stage = stage("exit 7\n");
    let helper = helper(&stage, &["app.properties"]);
    // Some shells do not ignore it even if they are told to.
    let mut command = kcl_fixtures::command("bash");
    command
        .args(["-c", "trap '' CHLD; exec \"$0\" \"$@\""])
        .arg(helper.get_program())
        .args(helper.get_args())
        .env_clear()
        .envs(helper.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(helper.get_current_dir().unwrap());
    assert_snapshot!(stage.outcome(&command.output().unwrap()), @r"
    status 7
    --- stderr
    java 17.0.9 (PATH) · daemon 3.0.9 · app.properties: no errors, no warnings
    ");
}

#[test]
fn invalid_options_are_usage_errors() {
    let stage = stage("");
    for arguments in [
        ["app.properties", "--grace", "soon"],
        ["app.properties", "--grace", "18446744073709551615"],
        ["app.properties", "--restart", "always"],
        ["app.properties", "--log-level", "loud"],
    ] {
        let text = run(&stage, &arguments);
        assert!(text.starts_with("status 2\n--- stderr\nerror: invalid value"), "{text}");
    }
}
