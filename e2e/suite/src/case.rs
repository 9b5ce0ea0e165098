//! One scenario on one version: its folder, its workers, its ledger.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::aws::{Service, Stream, wait_at_most, wait_for};
use crate::ledger::{Ledger, Put, Verdict, judge};
use crate::processor::{FILE, Processor};
use crate::stage::{Owned, Stage, bound, tail};

/// A daemon's version.
pub type Version = &'static str;

pub const V1: Version = "1.15.3";
pub const V2_2: Version = "2.2.0";
pub const V2_5: Version = "2.5.4";
pub const V3: Version = "3.1.3";
/// The quickest first.
pub const ALL: &[Version] = &[V1, V2_2, V2_5, V3];

/// How a scenario is written, and found.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// In CI.
    pub ci: &'static [Version],
    /// With `--all`.
    pub all: &'static [Version],
    /// Whether a record may come twice.
    pub duplicates: Duplicates,
    pub run: fn(&mut Case<'_>) -> Result<()>,
}

impl Scenario {
    /// What its stream, application and folder are called.
    pub fn case_name(&self, version: Version) -> String {
        format!("{}-{}", self.name, version.replace('.', "-"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The scenario has no fault.
    Never,
    AfterAFault,
}

/// What a scenario works with.
#[derive(Debug)]
pub struct Case<'a> {
    pub stage: &'a Stage,
    pub version: Version,
    /// The names of its stream and of its application.
    pub name: String,
    pub folder: PathBuf,
    /// What was put so far: the ledger is judged against it.
    pub put: Put,
    /// What shall stand in the table besides the counts.
    pub notes: Vec<String>,
    /// Properties of its workers that differ from the stage's.
    pub properties: BTreeMap<&'static str, String>,
    pub processor: Processor,
    workers: usize,
}

impl<'a> Case<'a> {
    pub fn new(stage: &'a Stage, scenario: &Scenario, version: Version) -> Result<Case<'a>> {
        let name = scenario.case_name(version);
        let folder = stage.folder.join(&name);
        fs::create_dir(&folder)?;
        Ok(Case {
            stage,
            version,
            name,
            folder,
            put: Put::default(),
            notes: Vec::new(),
            properties: BTreeMap::new(),
            processor: Processor::default(),
            workers: 0,
        })
    }

    /// Creates the case's stream.
    pub fn stream(&self, kinesis: &Service, shards: usize) -> Result<Stream> {
        Stream::create(kinesis, &self.name, shards)
    }

    pub fn is_1(&self) -> bool {
        self.version.starts_with('1')
    }

    fn write_properties(&self, worker: &str, stream: &Stream) -> Result<PathBuf> {
        let processor = std::env::current_exe()?.with_file_name("ledger_processor");
        let (provider, credentials) = match self.version.as_bytes()[0] {
            b'1' | b'2' => ("AWSCredentialsProvider", "DefaultAWSCredentialsProviderChain"),
            _ => ("AwsCredentialsProvider", "DefaultCredentialsProvider"),
        };
        let executable = format!("{} {} {worker}", processor.display(), self.folder.display());
        let mut all: BTreeMap<&str, String> = BTreeMap::from([
            ("executableName", executable),
            ("streamName", stream.name.clone()),
            ("applicationName", self.name.clone()),
            (provider, credentials.to_owned()),
            ("regionName", "us-east-1".to_owned()),
            ("initialPositionInStream", "TRIM_HORIZON".to_owned()),
            ("kinesisEndpoint", stream.kinesis.url.clone()),
            ("dynamoDBEndpoint", self.stage.dynamodb.url.clone()),
            ("metricsLevel", "NONE".to_owned()),
            // Long enough that a busy machine does not lose leases.
            ("failoverTimeMillis", "5000".to_owned()),
            ("shardSyncIntervalMillis", "1000".to_owned()),
            ("parentShardPollIntervalMillis", "1000".to_owned()),
            ("idleTimeBetweenReadsInMillis", "200".to_owned()),
            ("shutdownGraceMillis", "20000".to_owned()),
        ]);
        if self.version.starts_with('3') {
            all.insert("leaseAssignmentIntervalMillis", "1000".to_owned());
        }
        for (key, value) in &self.properties {
            // Nothing stands for the daemon's own default.
            match value.is_empty() {
                true => all.remove(key),
                false => all.insert(key, value.clone()),
            };
        }
        let text: String = all.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let path = self.folder.join(format!("{worker}.properties"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts `kcl-helper run` with these further arguments.
    pub fn start(&mut self, stream: &Stream, arguments: &[&str]) -> Result<Worker> {
        self.workers += 1;
        let name = format!("worker{}", self.workers);
        fs::write(self.folder.join(FILE), serde_json::to_vec(&self.processor)?)?;
        let properties = self.write_properties(&name, stream)?;
        let log = self.folder.join(format!("{name}.log"));
        // On the harness's end the helper stops its daemon, as on any SIGTERM.
        let mut command = bound("TERM", &self.stage.tools.helper);
        let cbor_off = match self.is_1() {
            true => "--jvm-arg=-Dcom.amazonaws.sdk.disableCbor=true",
            false => "--jvm-arg=-Daws.cborEnabled=false",
        };
        command
            .arg("run")
            .arg(&properties)
            .args(["--offline", "--kcl-version", self.version, cbor_off])
            // As many as four at a time.
            .arg("--jvm-arg=-Xmx1g")
            .args(arguments)
            .envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "x")])
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("TMPDIR", &self.folder)
            .current_dir(&self.folder)
            .stdout(File::create(self.folder.join(format!("{name}.out")))?)
            .stderr(File::create(&log)?);
        let process = Owned(command.spawn().context("kcl-helper cannot be started")?);
        Ok(Worker { process, name, log, started: Instant::now() })
    }

    pub fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.folder)
    }

    pub fn verdict(&self) -> Result<Verdict> {
        Ok(judge(&self.put, &self.ledger()?))
    }

    /// Waits until the ledger shows what is wanted, and the worker has not ended before.
    pub fn wait_until(
        &self,
        worker: &mut Worker,
        what: &str,
        mut wanted: impl FnMut(&Ledger) -> bool,
    ) -> Result<Ledger> {
        wait_for(what, || {
            let ended = worker.process.0.try_wait()?;
            let ledger = self.ledger()?;
            if wanted(&ledger) {
                return Ok(Some(ledger));
            }
            ensure!(ended.is_none(), "{} ended ({ended:?}) before: {what}", worker.name);
            Ok(None)
        })
    }

    /// Waits until all that was put is delivered.
    pub fn wait_for_all(&self, worker: &mut Worker) -> Result<Ledger> {
        self.wait_until(worker, "all to be delivered", |ledger| {
            let verdict = judge(&self.put, ledger);
            verdict.lost == 0 || !verdict.wrong.is_empty()
        })
    }

    /// The rows of the application's lease table, by shard.
    pub fn leases(&self) -> Result<BTreeMap<String, Value>> {
        let answer = self.stage.dynamodb.call("Scan", &json!({"TableName": self.name}))?;
        let rows = answer["Items"].as_array().context("no Items")?;
        let key = |row: &Value| row["leaseKey"]["S"].as_str().unwrap_or_default().to_owned();
        Ok(rows.iter().map(|row| (key(row), row.clone())).collect())
    }

    /// The stored checkpoint of a shard.
    pub fn checkpoint(&self, shard: &str) -> Result<Option<String>> {
        let leases = self.leases()?;
        Ok(leases.get(shard).and_then(|row| row["checkpoint"]["S"].as_str()).map(str::to_owned))
    }

    /// Every shard's last record is what is stored.
    pub fn all_is_checkpointed(&self) -> Result<()> {
        for (shard, records) in &self.put.shards {
            let last = records.keys().next_back().map(|(number, _)| number.0.clone());
            let stored = self.checkpoint(shard)?;
            ensure!(stored == last, "{shard}: {stored:?} is stored, not {last:?}");
        }
        Ok(())
    }

    /// Waits until none of these processes is left.
    pub fn all_gone(&self, pids: impl IntoIterator<Item = i32>) -> Result<()> {
        for pid in pids {
            wait_at_most(Duration::from_secs(60), &format!("process {pid} to be gone"), || {
                Ok((!is_alive(pid)).then_some(()))
            })?;
        }
        Ok(())
    }
}

/// Whether a process lives; one that only waits to be reaped does not.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A running `kcl-helper run`.
#[derive(Debug)]
pub struct Worker {
    pub process: Owned,
    /// As in the names of its processes' ledgers.
    pub name: String,
    pub log: PathBuf,
    pub started: Instant,
}

impl Worker {
    pub fn pid(&self) -> i32 {
        self.process.0.id() as i32
    }

    /// The daemon, which the helper's guardian has started.
    pub fn jvm(&self) -> Result<i32> {
        let is_java = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("java"))
        };
        let mut all = children(self.pid()).into_iter().flat_map(children);
        all.find(is_java).context("the helper has no JVM")
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal)
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let process = &mut self.process.0;
        wait_for("kcl-helper run to end", || Ok(process.try_wait()?))
    }

    /// The graceful stop: SIGTERM, and status 0.
    pub fn stop(&mut self) -> Result<()> {
        self.stop_by(Signal::TERM)
    }

    pub fn stop_by(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let status = self.wait()?;
        if !status.success() {
            bail!("{}: {status} after {signal:?}\n{}", self.name, tail(&self.log, 20));
        }
        Ok(())
    }

    pub fn log_has(&self, text: &str) -> Result<bool> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).contains(text))
    }
}

pub fn send(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("no process")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}
