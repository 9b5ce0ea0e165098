//! `jars fetch`, `list`, `verify` and `path`, with a fake repository and a fake Maven.
//!
//! The jars are small: the cache has a lock with three of them, as `--lock` would write it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use insta::assert_snapshot;

use crate::support::{Stage, under_umask};

const V: [&str; 2] = ["--kcl-version", "3.0.9"];
const LOCK: &str = "\
# a lock
g.one:alpha:1.0 alpha-1.0.jar 6 b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060
g.two:beta:2.0 beta-2.0-linux.jar 5 f2c82decdd7181cf98945929a62598db7e6b477e11f6e0eb0ae97020eff151ad
g.two:gamma:3.0 gamma-3.0.jar 6 ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2
";
const PATHS: [(&str, &str); 3] = [
    ("/m2/g/one/alpha/1.0/alpha-1.0.jar", "alpha\n"),
    ("/m2/g/two/beta/2.0/beta-2.0-linux.jar", "beta\n"),
    ("/m2/g/two/gamma/3.0/gamma-3.0.jar", "gamma\n"),
];

/// A stage whose cache has the lock but no jars.
fn locked_stage() -> Stage {
    let stage = Stage::new();
    stage.write("cache/jars/3.0.9/jars.lock", LOCK);
    stage
}

/// How the repository answers a request for a file. After the last one it serves the file.
#[derive(Debug, Clone, Copy)]
enum Trick {
    Status(&'static str),
    /// Announces the whole length and closes after half of it.
    Half,
    /// Announces and sends half of the file, as a proxy with an incomplete copy does.
    ShortWhole,
    Wrong,
}

/// A repository over HTTP on 127.0.0.1.
struct Repository {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Repository {
    fn new(tricks: &[(&str, &[Trick])]) -> Repository {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let tricks: HashMap<String, Vec<Trick>> =
            tricks.iter().map(|(name, tricks)| (name.to_string(), tricks.to_vec())).collect();
        let tricks = Arc::new(Mutex::new(tricks));
        let thread = thread::spawn({
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (requests, tricks) = (Arc::clone(&requests), Arc::clone(&tricks));
                    thread::spawn(move || serve(stream.unwrap(), &requests, &tricks));
                }
            }
        });
        Repository { port, requests, stop, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/m2", self.port)
    }

    /// Returns the requested paths, sorted.
    fn requests(&self) -> Vec<String> {
        let mut requests = self.requests.lock().unwrap().clone();
        requests.sort();
        requests
    }

    fn clean(&self, text: &str) -> String {
        text.replace(&format!("127.0.0.1:{}", self.port), "REPOSITORY")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}

fn serve(
    stream: TcpStream,
    requests: &Mutex<Vec<String>>,
    tricks: &Mutex<HashMap<String, Vec<Trick>>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    let mut path = request_path(&mut reader);
    if !path.starts_with('/') {
        // A client of a proxy asks for a tunnel to a host: pretend to be that host.
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        path = request_path(&mut reader);
    }
    requests.lock().unwrap().push(path.clone());
    let name = path.rsplit('/').next().unwrap();
    let trick = tricks.lock().unwrap().get_mut(name).filter(|t| !t.is_empty()).map(|t| t.remove(0));
    let body = PATHS.iter().find(|(known, _)| *known == path).map(|(_, body)| *body);
    let (status, length, body) = match (trick, body) {
        (Some(Trick::Status(status)), _) => (status, 0, ""),
        (_, None) => ("404 Not Found", 0, ""),
        (Some(Trick::Half), Some(body)) => ("200 OK", body.len(), &body[..2]),
        (Some(Trick::ShortWhole), Some(body)) => ("200 OK", 2, &body[..2]),
        (Some(Trick::Wrong), Some(body)) => ("200 OK", body.len(), &"XXXXXXXX"[..body.len()]),
        (None, Some(body)) => ("200 OK", body.len(), body),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn request_path(reader: &mut impl BufRead) -> String {
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap() == 0 || header == "\r\n" {
            break;
        }
    }
    request.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn files(stage: &Stage) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(stage.path("cache/jars/3.0.9"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
}

fn fetch(stage: &Stage, repository: &Repository, more: &[&str]) -> String {
    let url = repository.url();
    let arguments = [&["jars", "fetch", "--repository", &url][..], &V, more].concat();
    repository.clean(&stage.run(&arguments))
}

#[test]
fn missing_jars_are_downloaded_once() {
    let stage = locked_stage();
    let repository = Repository::new(&[]);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    3 jars, 17 bytes: 0 already present, 3 fetched in TIME
    ");
    assert_eq!(repository.requests(), PATHS.map(|(path, _)| path));
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    3 jars, 17 bytes: all already present
    ");
    assert_eq!(repository.requests().len(), 3);
    assert_eq!(
        files(&stage),
        ["alpha-1.0.jar", "beta-2.0-linux.jar", "gamma-3.0.jar", "jars.lock"]
    );
    assert_snapshot!(stage.run(&[&["jars", "verify"][..], &V].concat()), @"
    status 0
    --- stderr
    3 jars, 17 bytes: all match the lock
    ");
    assert_snapshot!(stage.run(&[&["jars", "fetch", "--offline"][..], &V].concat()), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    3 jars, 17 bytes: all already present
    ");
    assert_snapshot!(stage.run(&[&["print-classpath"][..], &V].concat()), @r"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9/alpha-1.0.jar:STAGE/cache/jars/3.0.9/beta-2.0-linux.jar:STAGE/cache/jars/3.0.9/gamma-3.0.jar
    ");
}

#[test]
fn repository_variable_may_end_with_a_slash() {
    for ending in ["", "/"] {
        let stage = locked_stage();
        let repository = Repository::new(&[]);
        let output = stage
            .helper(&[&["-q", "jars", "fetch"][..], &V].concat())
            .env("KCL_MVN_REPO_SEARCH_URL", repository.url() + ending)
            .output()
            .unwrap();
        assert!(output.status.success());
        assert_eq!(repository.requests(), PATHS.map(|(path, _)| path));
    }
}

#[test]
fn temporary_failures_are_retried() {
    let stage = locked_stage();
    let repository = Repository::new(&[
        ("alpha-1.0.jar", &[Trick::Status("429 Too Many Requests\r\nRetry-After: 0")]),
        ("beta-2.0-linux.jar", &[Trick::Half, Trick::Status("503 Service Unavailable")]),
        ("gamma-3.0.jar", &[Trick::ShortWhole]),
    ]);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    3 jars, 17 bytes: 0 already present, 3 fetched in TIME
    ");
    assert_eq!(repository.requests().len(), 7);
    assert!(stage.run(&[&["jars", "verify"][..], &V].concat()).starts_with("status 0"));
}

#[test]
fn permanent_failures_are_reported_for_each_jar() {
    let stage = locked_stage();
    let busy = Trick::Status("503 Service Unavailable\r\nRetry-After: 0");
    let repository = Repository::new(&[
        ("alpha-1.0.jar", &[busy; 9]),
        ("beta-2.0-linux.jar", &[Trick::Status("404 Not Found")]),
        ("gamma-3.0.jar", &[Trick::Wrong]),
    ]);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    error: cannot download 3 of 3 jars from http://REPOSITORY/m2: beta-2.0-linux.jar: 404 Not Found; alpha-1.0.jar: 503 Service Unavailable (6 tries); gamma-3.0.jar: has the SHA-256 5ad4c4b88687bdef514bf98c2ba3fdf59fd158be5c2d33aa009d9aaf605e37d8 (expected ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2)
    ");
    assert_eq!(files(&stage), ["jars.lock"]);
}

#[test]
fn repository_password_is_not_shown() {
    let stage = locked_stage();
    let busy = Trick::Status("503 Service Unavailable\r\nRetry-After: 1");
    let refused = Trick::Status("401 Unauthorized");
    let repository = Repository::new(&[
        ("alpha-1.0.jar", &[busy]),
        ("beta-2.0-linux.jar", &[refused]),
        ("gamma-3.0.jar", &[Trick::Half]),
    ]);
    let url = repository.url().replace("//", "//user:hunter2@");
    let arguments = [&["jars", "fetch", "-v", "--repository", &url][..], &V].concat();
    assert_snapshot!(repository.clean(&stage.run(&arguments)), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes from http://***@REPOSITORY/m2
    http://***@REPOSITORY/m2: 503 Service Unavailable; trying again
    error: cannot download 1 of 3 jars from http://***@REPOSITORY/m2: beta-2.0-linux.jar: 401 Unauthorized
    ");
}

#[test]
fn after_retries_failed_further_jars_are_skipped() {
    let stage = Stage::new();
    let sum = "0".repeat(64);
    let names: Vec<String> = (10..30).map(|n| format!("a-{n}.jar")).collect();
    let lock = names.iter().zip(10..).map(|(name, n)| format!("g:a:{n} {name} 6 {sum}\n"));
    stage.write("cache/jars/3.0.9/jars.lock", lock.collect::<String>());
    let busy = [Trick::Status("503 Service Unavailable\r\nRetry-After: 0"); 9];
    let tricks: Vec<_> = names.iter().map(|name| (name.as_str(), &busy[..])).collect();
    let repository = Repository::new(&tricks);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 3
    --- stderr
    fetching 20 jars, 120 bytes from http://REPOSITORY/m2
    error: cannot download 6 of 20 jars from http://REPOSITORY/m2 (14 not tried): a-10.jar, a-11.jar, a-12.jar and 3 more: 503 Service Unavailable (6 tries)
    ");
}

#[test]
fn long_retry_after_is_a_failure() {
    let stage = locked_stage();
    let busy = Trick::Status("503 Service Unavailable\r\nRetry-After: 3600");
    let repository = Repository::new(&[("alpha-1.0.jar", &[busy])]);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    error: cannot download 1 of 3 jars from http://REPOSITORY/m2: alpha-1.0.jar: 503 Service Unavailable
    ");
}

#[test]
fn corrupt_jars_are_reported_and_fetched_again() {
    let stage = locked_stage();
    stage.write("cache/jars/3.0.9/alpha-1.0.jar", "");
    stage.write("cache/jars/3.0.9/beta-2.0-linux.jar", "be");
    stage.write("cache/jars/3.0.9/gamma-3.0.jar", "gamm_\n");
    stage.write("cache/jars/3.0.9/other.jar", "");
    stage.write("cache/jars/3.0.9/.unfinished-x/lib/half.jar", "");
    stage.write("cache/jars/3.0.9/.unfinished-y", "");
    let verify = [&["jars", "verify"][..], &V].concat();
    assert_snapshot!(stage.run(&verify), @"
    status 1
    --- stdout
    alpha-1.0.jar is empty (expected 6 bytes)
    beta-2.0-linux.jar has 2 bytes (expected 5)
    gamma-3.0.jar has the SHA-256 4f807e808391e4ac8c01e8bd3bdfb9fad4396617ab3b4bf9a50fe0be45418168 (expected ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2)
    --- stderr
    warning: other.jar is not in the lock, so it is not on the class path
    error: 3 of 3 jars do not match the lock
    hint: run kcl-helper jars fetch --kcl-version 3.0.9
    ");
    let repository = Repository::new(&[]);
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    warning: alpha-1.0.jar is empty (expected 6 bytes): fetching it again
    warning: beta-2.0-linux.jar has 2 bytes (expected 5): fetching it again
    warning: gamma-3.0.jar has the SHA-256 4f807e808391e4ac8c01e8bd3bdfb9fad4396617ab3b4bf9a50fe0be45418168 (expected ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2): fetching it again
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    3 jars, 17 bytes: 0 already present, 3 fetched in TIME
    ");
    assert_snapshot!(stage.run(&verify), @"
    status 0
    --- stderr
    warning: other.jar is not in the lock, so it is not on the class path
    3 jars, 17 bytes: all match the lock
    ");
    assert!(!files(&stage).iter().any(|name| name.starts_with('.')));
}

#[test]
fn links_in_the_cache_are_not_followed() {
    use std::os::unix::fs::symlink;

    let stage = locked_stage();
    let repository = Repository::new(&[]);
    let victims = ["victim", "victim2"].map(|name| stage.write(name, "precious\n"));
    symlink(&victims[0], stage.path("cache/lock")).unwrap();
    symlink(&victims[1], stage.path("cache/jars/3.0.9/alpha-1.0.jar")).unwrap();
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 3
    --- stderr
    error: cannot write to STAGE/cache/lock: it is a symbolic link
    hint: choose another folder with --cache or KCL_HELPER_CACHE
    ");
    fs::remove_file(stage.path("cache/lock")).unwrap();
    assert_snapshot!(fetch(&stage, &repository, &[]), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    warning: cannot read alpha-1.0.jar: it is a symbolic link: fetching it again
    fetching 3 jars, 17 bytes from http://REPOSITORY/m2
    3 jars, 17 bytes: 0 already present, 3 fetched in TIME
    ");
    assert!(stage.path("cache/jars/3.0.9/alpha-1.0.jar").symlink_metadata().unwrap().is_file());
    for victim in victims {
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious\n");
    }
}

#[test]
fn other_users_can_read_the_cache_but_not_write_to_it() {
    let stage = stage_with_maven(Stage::new());
    for (umask, folder, file) in [("0", 0o755, 0o644), ("077", 0o700, 0o644)] {
        let arguments = [&["jars", "fetch", "--lock", "--cache", umask][..], &V].concat();
        let mut command = under_umask(umask, &stage.helper(&arguments));
        assert!(command.output().unwrap().status.success());
        let mode = |name: &str| {
            fs::metadata(stage.path(format!("{umask}{name}"))).unwrap().permissions().mode()
                & 0o7777
        };
        assert_eq!(["", "/jars", "/jars/3.0.9"].map(mode), [folder; 3]);
        assert_eq!(
            ["alpha-1.0.jar", "jars.lock"].map(|name| mode(&format!("/jars/3.0.9/{name}"))),
            [file; 2]
        );
        assert_eq!(mode("/lock"), 0o600);
    }
}

#[test]
fn offline_lists_missing_jars() {
    let stage = locked_stage();
    stage.write("cache/jars/3.0.9/alpha-1.0.jar", "alpha\n");
    assert_snapshot!(stage.run(&[&["jars", "fetch", "--offline"][..], &V].concat()), @"
    status 3
    --- stderr
    error: cannot download 2 of 3 jars: --offline is set: beta-2.0-linux.jar is missing; gamma-3.0.jar is missing
    ");
}

#[test]
fn proxy_variable_is_used_and_reported() {
    let stage = locked_stage();
    let proxy = Repository::new(&[("alpha-1.0.jar", &[Trick::Status("404 Not Found")])]);
    let arguments = [&["jars", "fetch", "--repository", "http://repository.invalid/m2"][..], &V];
    let output = stage
        .helper(&arguments.concat())
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", proxy.port))
        .output()
        .unwrap();
    assert_snapshot!(proxy.clean(&stage.outcome(&output)), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes from http://repository.invalid/m2
    error: cannot download 1 of 3 jars from http://repository.invalid/m2 (via the proxy REPOSITORY): alpha-1.0.jar: 404 Not Found
    ");
    assert_eq!(proxy.requests(), PATHS.map(|(path, _)| path));
}

/// A fake Maven that records its arguments and copies the test's repository.
const MAVEN: &str = r#"
for word; do
  case $word in
    -DoutputDirectory=*) lib=${word#*=} ;;
    *pom.xml) cp "$word" "$HOME/pom.xml" ;;
  esac
done
echo "$*" > "$HOME/words"
[ -f "$HOME/maven-fails" ] && { cat "$HOME/maven-fails"; exit 1; }
mkdir -p "$lib"
cp -r "$HOME/repository/." "$lib"
"#;

fn stage_with_maven(stage: Stage) -> Stage {
    stage.script("bin/mvn", MAVEN);
    for (path, text) in PATHS {
        stage.write(path.replace("/m2/", "home/repository/"), text);
    }
    stage.write("home/repository/g/one/alpha/maven-metadata-local.xml", "<x/>");
    stage
}

#[test]
fn maven_fetches_only_missing_jars() {
    let stage = stage_with_maven(locked_stage());
    stage.write("cache/jars/3.0.9/alpha-1.0.jar", "alpha\n");
    assert_snapshot!(stage.run(&[&["jars", "fetch"][..], &V].concat()), @"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    fetching 2 jars, 11 bytes with Maven
    3 jars, 17 bytes: 1 already present, 2 fetched in TIME
    ");
    let pom = fs::read_to_string(stage.path("home/pom.xml")).unwrap();
    assert!(!pom.contains("alpha"));
    assert!(pom.contains("<artifactId>beta</artifactId>\n      <version>2.0</version>\n      <classifier>linux</classifier>"));
    assert!(stage.run(&[&["jars", "verify"][..], &V].concat()).starts_with("status 0"));
    assert_eq!(
        files(&stage),
        ["alpha-1.0.jar", "beta-2.0-linux.jar", "gamma-3.0.jar", "jars.lock"]
    );
}

#[test]
fn jars_from_maven_are_verified() {
    let stage = stage_with_maven(locked_stage());
    stage.write("home/repository/g/two/gamma/3.0/gamma-3.0.jar", "gamm_\n");
    assert_snapshot!(stage.run(&[&["jars", "fetch"][..], &V].concat()), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes with Maven
    error: the jar from Maven does not match the lock: gamma-3.0.jar has the SHA-256 4f807e808391e4ac8c01e8bd3bdfb9fad4396617ab3b4bf9a50fe0be45418168 (expected ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2)
    hint: the copy in ~/.m2 may be corrupt; delete it
    ");
}

#[test]
fn failing_or_missing_maven_is_an_error() {
    let stage = locked_stage();
    stage.script("bin/mvn", "exit 9");
    assert_snapshot!(stage.run(&[&["jars", "fetch"][..], &V].concat()), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes with Maven
    error: cannot fetch the jars: Maven ended with exit status: 9: it wrote nothing
    hint: use -v to see all output of Maven
    ");
    let stage = stage_with_maven(stage);
    stage.write(
        "home/maven-fails",
        "[INFO] x\n[ERROR] Could not resolve g.two:beta\n[ERROR] more\n",
    );
    assert_snapshot!(stage.run(&[&["jars", "fetch"][..], &V].concat()), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes with Maven
    error: cannot fetch the jars: Maven ended with exit status: 1: Could not resolve g.two:beta
    hint: use -v to see all output of Maven
    ");
    let output = stage
        .helper(&[&["jars", "fetch"][..], &V].concat())
        .env("PATH", stage.path("home"))
        .output()
        .unwrap();
    assert_snapshot!(stage.outcome(&output), @"
    status 3
    --- stderr
    fetching 3 jars, 17 bytes with Maven
    error: cannot start Maven (mvn): No such file or directory (os error 2)
    hint: install it, or name a repository with --repository or KCL_MVN_REPO_SEARCH_URL
    ");
}

#[test]
fn lock_option_writes_a_lock_for_a_new_version() {
    let stage = stage_with_maven(Stage::new());
    for command in ["fetch", "list", "verify"] {
        let text = stage.run(&[&["jars", command][..], &V].concat());
        assert_eq!(
            text,
            "status 2\n--- stderr\nerror: cannot find the jars of 3.0.9: there is no lock for them\n\
             hint: run kcl-helper jars fetch --kcl-version 3.0.9 --lock\n"
        );
    }
    assert_snapshot!(stage.run(&[&["jars", "fetch", "--lock"][..], &V].concat()), @r"
    status 0
    --- stdout
    STAGE/cache/jars/3.0.9
    --- stderr
    resolving 3.0.9 with Maven
    3 jars, 17 bytes: fetched and locked in TIME
    lock: STAGE/cache/jars/3.0.9/jars.lock
    ");
    let pom = fs::read_to_string(stage.path("home/pom.xml")).unwrap();
    assert!(pom.contains("<artifactId>amazon-kinesis-client-multilang</artifactId>"));
    assert!(!pom.contains("exclusion"));
    assert_snapshot!(
        fs::read_to_string(stage.path("cache/jars/3.0.9/jars.lock")).unwrap(),
        @r"
    # software.amazon.kinesis:amazon-kinesis-client-multilang:3.0.9 and all it needs to run
    g.one:alpha:1.0 alpha-1.0.jar 6 b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060
    g.two:beta:2.0 beta-2.0-linux.jar 5 f2c82decdd7181cf98945929a62598db7e6b477e11f6e0eb0ae97020eff151ad
    g.two:gamma:3.0 gamma-3.0.jar 6 ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2
    "
    );
    assert!(stage.run(&[&["jars", "verify"][..], &V].concat()).starts_with("status 0"));
    assert_snapshot!(stage.run(&["jars", "fetch", "--lock"]), @r"
    status 2
    --- stderr
    error: cannot write a lock for 3.1.3: kcl-helper has one built in
    hint: omit --lock
    ");
}

#[test]
fn list_and_path_print_data() {
    let stage = locked_stage();
    assert_snapshot!(stage.run(&[&["jars", "list"][..], &V].concat()), @r"
    status 0
    --- stdout
    g.one:alpha:1.0 alpha-1.0.jar 6 b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060
    g.two:beta:2.0 beta-2.0-linux.jar 5 f2c82decdd7181cf98945929a62598db7e6b477e11f6e0eb0ae97020eff151ad
    g.two:gamma:3.0 gamma-3.0.jar 6 ae9a6306a205417afddd14316cc1d0d5e04a98f1be10865dce643925ee070ce2
    ");
    let json = stage.run(&[&["jars", "list", "--format", "json"][..], &V].concat());
    assert_snapshot!(json.split_inclusive("},").next().unwrap(), @r#"
    status 0
    --- stdout
    [
      {
        "file": "alpha-1.0.jar",
        "group": "g.one",
        "artifact": "alpha",
        "version": "1.0",
        "size": 6,
        "sha256": "b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060"
      },
    "#);
    assert_snapshot!(stage.run(&["jars", "path"]), @r"
    status 0
    --- stdout
    STAGE/cache/jars/3.1.3
    ");
    assert_snapshot!(stage.run(&["jars", "path", "--kcl-version", "1.x", "--cache", "other"]), @r"
    status 0
    --- stdout
    STAGE/other/jars/1.15.3
    ");
}

#[test]
fn invalid_lock_is_an_error() {
    let stage = Stage::new();
    stage.write("cache/jars/3.0.9/jars.lock", "g:a:1 a-1.jar 12\n");
    assert_snapshot!(stage.run(&[&["jars", "list"][..], &V].concat()), @"
    status 3
    --- stderr
    error: cannot read STAGE/cache/jars/3.0.9/jars.lock: line 1 is invalid: it is not `group:artifact:version file size sha256`
    hint: delete it and run kcl-helper jars fetch --lock
    ");
}

#[test]
fn concurrent_fetches_download_once() {
    let stage = locked_stage();
    let repository = Repository::new(&[]);
    let url = repository.url();
    let arguments = [&["jars", "fetch", "--repository", &url][..], &V].concat();
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = stage.helper(&arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stage.outcome(&output));
    }
    assert_eq!(repository.requests().len(), 3);
}
