//! The stand-ins that all scenarios share: two for Kinesis, one for DynamoDB.
//!
//! Everything is bound to the life of the thread that started it: what the harness leaves, however
//! it ends, the kernel kills. The folder is removed by a guard that outlives the harness.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::aws::{Service, wait_for};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    pub helper: PathBuf,
    /// Has `bin/ferrokinesis`, `kinesis-local/node_modules`, and `dynamodb-local` with its jars.
    pub tools: PathBuf,
}

/// The running stand-ins.
#[derive(Debug)]
pub struct Stage {
    pub folder: PathBuf,
    pub tools: Tools,
    /// Fast: for volume.
    pub ferrokinesis: Service,
    /// Slow, but names child shards: for split and merge.
    pub kinesis_local: Service,
    pub dynamodb: Service,
    processes: Vec<Owned>,
    guard: Child,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command whose process gets this signal when the thread that spawns it ends.
pub fn bound(signal: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program).stdin(Stdio::null());
    // A terminal's Ctrl-C reaches the harness alone, and everything else through it.
    command.process_group(0);
    command
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Stage {
    /// Call it on a thread that lives as long as the stage shall.
    pub fn start(tools: Tools) -> Result<Stage> {
        let folder = tempfile::Builder::new().prefix("kcl-e2e-").tempdir()?.keep();
        let guard = start_guard(&folder)?;
        let mut processes = Vec::new();
        let mut ready = |name: &str, ping: &str, start: &dyn Fn(u16) -> Result<Command>| {
            // Somebody may take a port between our look and its use.
            for _ in 0..3 {
                let port = free_port()?;
                let log = folder.join(format!("{name}.log"));
                let mut command = start(port)?;
                command
                    .stdout(File::create(&log)?)
                    .stderr(File::options().append(true).open(&log)?);
                let mut process =
                    Owned(command.spawn().with_context(|| format!("{name} cannot be started"))?);
                let service = match name {
                    "dynamodb-local" => Service::dynamodb(port),
                    _ => Service::kinesis(port),
                };
                let up = wait_for(name, || match process.0.try_wait()? {
                    Some(status) => Ok(Some(Err(status))),
                    None => Ok(service.call(ping, &json!({})).ok().map(|_| Ok(()))),
                });
                match up.with_context(|| tail(&log, 20))? {
                    Ok(()) => {
                        processes.push(process);
                        return Ok(service);
                    }
                    Err(status) => eprintln!("{name} ended with {status}: {}", tail(&log, 5)),
                }
            }
            bail!("{name} does not start")
        };
        let dynamodb = ready("dynamodb-local", "ListTables", &|port| {
            let jars = tools.tools.join("dynamodb-local");
            let mut command = bound("KILL", Path::new("java"));
            command
                .args(["-Xmx512m", "-XX:+UseSerialGC"])
                .arg(format!("-Djava.library.path={}", jars.display()))
                .arg("-cp")
                .arg(jars.join("*"))
                .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner")
                .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()])
                .current_dir(&folder);
            Ok(command)
        })?;
        let ferrokinesis = ready("ferrokinesis", "ListStreams", &|port| {
            let mut command = bound("KILL", &tools.tools.join("bin/ferrokinesis"));
            command.args(["serve", "--port", &port.to_string(), "--create-stream-ms", "1"]);
            command.args(["--shard-limit", "1000", "--log-level", "warn"]);
            command.current_dir(&folder);
            Ok(command)
        })?;
        let kinesis_local = ready("kinesis-local", "ListStreams", &|port| {
            let package = tools.tools.join("kinesis-local/node_modules/kinesis-local");
            let mut command = bound("KILL", Path::new("node"));
            command
                .arg("main.js")
                .current_dir(package)
                .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
                .env("KINESIS_MOCK_TLS_PORT", free_port()?.to_string())
                .env("SHARD_LIMIT", "1000")
                .env("LOG_LEVEL", "WARN");
            for duration in ["CREATE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS"] {
                command.env(format!("{duration}_DURATION"), "10ms");
            }
            Ok(command)
        })?;
        Ok(Stage {
            folder: folder.clone(),
            tools,
            ferrokinesis,
            kinesis_local,
            dynamodb,
            processes,
            guard,
        })
    }
}

/// Removes the folder when our end of its pipe closes, which even a SIGKILL does.
fn start_guard(folder: &Path) -> Result<Child> {
    let guard = Command::new("sh")
        // Again, if somebody who is still stopping has made a file meanwhile.
        .args([
            "-c",
            "trap '' HUP INT TERM; cat; until rm -rf -- \"$1\"; do sleep 1; done",
            "guard",
        ])
        .arg(folder)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn();
    guard.context("the guard cannot be started")
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.processes.clear();
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
