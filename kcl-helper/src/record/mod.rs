//! A program run as if we were not there, and all that goes through its three pipes written down.
//!
//! Whoever starts us must see what the program alone would show, and the program must see what it
//! would see of them:
//! - Each pipe has a thread that moves bytes as they come and keeps none back. An end on either
//!   side, of the writer or of the reader, is passed to the other side at once; that of stderr may
//!   wait a second for that of stdout.
//! - Our status is the program's, or its signal. As whoever starts a program also waits for the
//!   processes that hold its pipes, we end when they have let go.
//! - The program stays in the process group that we were started in, and we leave it: so what is
//!   sent to the group reaches the program once, and what is sent to us alone we pass on. A leader
//!   cannot leave its group; then both are in it, and what a terminal sends is not passed on.
//! - Output that cannot be passed on, for a full disk, ends with a warning, and our status is 3.
//! - A recording that cannot be written ends with a warning, and the program goes on.

mod pump;
mod redact;
mod tape;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpgrp, getpid, kill_process, setpgid, setrlimit,
};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::child::{Program, Waiter, cannot_start, describe};
use crate::dispositions;
use crate::error::{Error, Exit, Result};
use crate::output::Reporter;
use pump::{End, Ours, pump};
use tape::{Kind, Recorder};

/// How long our stderr stays open for trouble with stdout, once the program has closed its own.
const STDERR_STAYS: Duration = Duration::from_secs(1);

/// What to run, and how to write it down.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) folder: PathBuf,
    pub(crate) redact: bool,
    /// In bytes, of one recording.
    pub(crate) max_size: u64,
}

/// Runs the program to its end. If a signal ended it, this ends us by the same one.
pub(crate) fn run(options: &Options, reporter: &Reporter) -> Result<ExitCode> {
    let failed = |error: io::Error| {
        Error::new(Exit::Surroundings, "the program cannot be recorded").because(error)
    };
    let leader = getpgrp() == getpid();
    let signals = Signals::listen(leader).map_err(failed)?;
    pump::prepare().map_err(failed)?;
    let mut child = Command::new(&options.program.program)
        .args(&options.program.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&options.program, error))?;
    let pid = Pid::from_child(&child);
    if !leader {
        // Without it both get what is sent to the group, and the program gets it twice.
        let _ = setpgid(None, None);
    }
    let recorder = Arc::new(Recorder::start(options, pid, reporter));
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::new(Exit::Surroundings, "the program has no pipes"));
    };
    let start = |kind: Kind, from: End, to: End, before_close: Box<dyn FnOnce() + Send>| {
        let (recorder, reporter) = (recorder.clone(), reporter.clone());
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let passed_on = pump(&from, &to, |piece| recorder.write(kind, piece));
            drop(from);
            if let Err(error) = &passed_on {
                let name = kind.name();
                reporter.warn(&format!(
                    "{name} cannot be written, so the program's is closed: {error}"
                ));
            }
            before_close();
            drop(to);
            passed_on.is_ok()
        })
    };
    // Trouble with stdout is told on stderr, which a program that ends closes at the same moment.
    let (stdout_ends, stdout_end) = mpsc::channel::<()>();
    let started = (|| {
        signals.pass_on(pid)?;
        start(Kind::Stdin, End::ours(Ours::Stdin), End::childs(stdin), Box::new(|| {}))?;
        let out = move || drop(stdout_ends);
        let err = move || {
            let _ = stdout_end.recv_timeout(STDERR_STAYS);
        };
        Ok([
            start(Kind::Stdout, End::childs(stdout), End::ours(Ours::Stdout), Box::new(out))?,
            start(Kind::Stderr, End::childs(stderr), End::ours(Ours::Stderr), Box::new(err))?,
        ])
    })();
    let outputs = started.map_err(|error| {
        let _ = child.kill();
        failed(error)
    })?;
    // Its number stays its own until we end ourselves: signals are still passed on.
    let status = Waiter::of(&child).status().map_err(failed)?;
    // A pump does not panic; and if it did, the program has ended all the same.
    let passed_on = outputs.map(|output| output.join().unwrap_or(true));
    recorder.end(&describe(status));
    if passed_on.contains(&false) {
        return Ok(Exit::Surroundings.into());
    }
    Ok(end_as(status))
}

/// Ends this process by the signal that ended the program; else the program's status is ours.
fn end_as(status: ExitStatus) -> ExitCode {
    let Some(signal) = status.signal() else {
        return ExitCode::from(status.code().unwrap_or(0) as u8);
    };
    // The program has left its core already.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    ExitCode::from(128u8.saturating_add(signal as u8))
}

/// What somebody may send us and means for the program.
struct Signals {
    received: signal_hook::iterator::Signals,
    passed_on: Vec<i32>,
}

impl Signals {
    fn listen(leader: bool) -> io::Result<Signals> {
        let mut all = vec![SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGHUP];
        // What the caller has made us ignore, as nohup does with SIGHUP, the program ignores too.
        let ignored = dispositions::ignored(&all);
        all.retain(|signal| !ignored.contains(signal));
        let received = signal_hook::iterator::Signals::new(&all)?;
        // The terminal sends these to a whole group.
        all.retain(|signal| !(leader && [SIGINT, SIGQUIT, SIGHUP].contains(signal)));
        Ok(Signals { received, passed_on: all })
    }

    fn pass_on(mut self, pid: Pid) -> io::Result<()> {
        let pass = move || {
            for signal in self.received.forever() {
                if let (true, Some(signal)) =
                    (self.passed_on.contains(&signal), Signal::from_named_raw(signal))
                {
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, signal);
                }
            }
        };
        thread::Builder::new().stack_size(256 << 10).spawn(pass).map(drop)
    }
}
