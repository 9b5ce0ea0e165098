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
//! - A stop is between whoever starts us and the program: what it does with a signal is its business
//!   as long as somebody writes to its stdin. Once nobody does, it has the grace to end, and is killed.
//! - Output that cannot be passed on, for a full disk, ends with a warning, and our status is 3.
//! - A recording that cannot be written ends with a warning, and the program goes on.

mod pump;
mod redact;
mod tape;

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Stat, fstat, stat};
use rustix::process::{Resource, Rlimit, Signal, getpgrp, getpid, setpgid, setrlimit};
use rustix::stdio::stdin;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::child::{Pipes, Process, Program, describe};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};
use crate::output::{Reporter, stdout_of_another};
use crate::signals::{self, Cause, Request, STOP_SIGNALS, Stopping};
use crate::threads;
use pump::{End, Ours, pump};
use tape::{Kind, Recorder};

/// How long our stderr stays open for trouble with stdout, once the program has closed its own.
const STDERR_STAYS: Duration = Duration::from_secs(1);
/// How long what the program wrote may be left unread after a request to stop.
const UNREAD: Duration = Duration::from_secs(1);
/// After a request to stop: how often we look whether somebody still writes to stdin, or reads.
const TICK: Duration = Duration::from_millis(100);

/// What to run, and how to write it down.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) folder: PathBuf,
    pub(crate) redact: bool,
    /// In bytes, of one recording.
    pub(crate) max_size: u64,
    /// How long a program that was signalled may stay once nobody writes to its stdin.
    pub(crate) grace: Duration,
}

/// Runs the program to its end. If a signal ended it, this ends us by the same one.
pub(crate) fn run(options: &Options, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let failed = |error: io::Error| {
        Error::new(Exit::Environment, "the program cannot be recorded").because(error)
    };
    if is_null_device(stdout_of_another()) {
        reporter.warn(
            "stdout is closed, or the null device: nobody gets what the program writes there",
        );
    }
    let group = getpgrp();
    let leader = group == getpid();
    let signals = Signals::listen(leader).map_err(failed)?;
    pump::prepare().map_err(failed)?;
    guardian.start()?;
    // Whoever kills us means the program.
    let how = How { group: Some(group), cpu: None, grace: Duration::ZERO };
    let (process, pipes) = Process::spawn(guardian, &options.program, how)?;
    let Pipes { stdin, stdout, stderr } = pipes;
    let process = Arc::new(process);
    if !leader {
        // Without it both get what is sent to the group, and the program gets it twice.
        let _ = setpgid(None, None);
    }
    let recorder = Arc::new(Recorder::start(options, process.pid(), reporter));
    reporter.supervise();
    let (ends, ended) = mpsc::channel();
    let pieces = Arc::new(AtomicU64::new(0));
    let start = |kind: Kind, from: End, to: End, before_close: Box<dyn FnOnce() + Send>| {
        let (recorder, reporter) = (recorder.clone(), reporter.clone());
        let (pieces, ends) = (pieces.clone(), (kind != Kind::Stdin).then(|| ends.clone()));
        threads::start(kind.name(), move || {
            let passed_on = pump(&from, &to, |piece| {
                recorder.write(kind, piece);
                pieces.fetch_add(1, Ordering::Relaxed);
            });
            drop(from);
            if let Err(error) = &passed_on {
                let name = kind.name();
                reporter.warn(&format!(
                    "cannot write to {name}, so the program's {name} is closed: {error}"
                ));
            }
            // Behind this there may be no stderr any more.
            reporter.flush();
            before_close();
            drop(to);
            let _ = ends.map(|ends| ends.send(passed_on.is_ok()));
        })
    };
    // Trouble with stdout is told on stderr, which a program that ends closes at the same moment.
    let (stdout_ends, stdout_end) = mpsc::channel::<()>();
    let started = (|| {
        let stop = Stop { process: process.clone(), grace: options.grace, guardian, reporter };
        signals.pass_on(stop)?;
        start(Kind::Stdin, End::ours(Ours::Stdin), End::childs(stdin), Box::new(|| {}))?;
        let out = move || drop(stdout_ends);
        let err = move || {
            let _ = stdout_end.recv_timeout(STDERR_STAYS);
        };
        start(Kind::Stdout, End::childs(stdout), End::ours(Ours::Stdout), Box::new(out))?;
        start(Kind::Stderr, End::childs(stderr), End::ours(Ours::Stderr), Box::new(err))
    })();
    drop(ends);
    started.map_err(failed)?;
    // Its number stays its own until we end ourselves: signals are still passed on.
    let status = process.handle().status().map_err(failed)?;
    let passed_on = all_passed_on(&ended, &pieces, reporter);
    recorder.end(&describe(status));
    // What the program has left on purpose would be left without us as well.
    guardian.leave_the_rest();
    guardian.end();
    if !passed_on {
        return Ok(Exit::Environment.into());
    }
    reporter.flush();
    Ok(end_as(status))
}

/// Whether what is written there is lost, as where stdout was closed when we were started: the
/// program, which has a pipe, cannot see that.
fn is_null_device(stream: BorrowedFd<'_>) -> bool {
    let device = |stat: Stat| {
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        is_device.then_some(stat.st_rdev)
    };
    let null = stat("/dev/null").ok().and_then(device);
    null.is_some() && fstat(stream).ok().and_then(device) == null
}

/// Waits until all that the program wrote has been passed on; whether it could be. Once we are to
/// stop, that is no longer than somebody reads it.
fn all_passed_on(ended: &Receiver<bool>, pieces: &AtomicU64, reporter: &Reporter) -> bool {
    let mut all = true;
    let mut last = (0, Instant::now());
    loop {
        match ended.recv_timeout(TICK) {
            Ok(passed_on) => all &= passed_on,
            // A pump that panicked has ended as well.
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let pieces = pieces.load(Ordering::Relaxed);
        if pieces != last.0 || !reporter.is_stopping() {
            last = (pieces, Instant::now());
        } else if last.1.elapsed() >= UNREAD {
            return all;
        }
    }
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

/// What a request to stop leads to.
struct Stop<'a> {
    process: Arc<Process>,
    grace: Duration,
    guardian: &'a Guardian,
    reporter: &'a Reporter,
}

/// What somebody may send us and means for the program.
struct Signals {
    received: mpsc::Receiver<i32>,
    /// Those that reach the program without us.
    shared: &'static [i32],
}

impl Signals {
    fn listen(leader: bool) -> io::Result<Signals> {
        let (send, received) = mpsc::channel();
        let all = [SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGHUP];
        signals::watch(&all, move |signal| {
            // Nobody listens any more once the program has ended.
            let _ = send.send(signal);
        })?;
        // The terminal sends these to a whole group.
        let shared: &[i32] = if leader { &[SIGINT, SIGQUIT, SIGHUP] } else { &[] };
        Ok(Signals { received, shared })
    }

    /// Passes them on, and sees to our end after a request to stop.
    fn pass_on(self, stop: Stop<'_>) -> io::Result<()> {
        let Stop { process, grace, .. } = stop;
        let (guardian, reporter) = (stop.guardian.clone(), stop.reporter.clone());
        let run = move || {
            let (mut asked, mut stopping) = (None, Stopping::new(grace));
            loop {
                let received = match asked {
                    None => self.received.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                    Some(_) => self.received.recv_timeout(TICK),
                };
                // The program may have ended meanwhile, and then its number is still its own.
                match received {
                    Ok(signal) => {
                        if let Some(signal) = self.passed_on(signal) {
                            process.signal(signal);
                        }
                        if STOP_SIGNALS.contains(&signal) {
                            reporter.stop();
                            asked.get_or_insert(Cause::Signal(signal));
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                let now = Instant::now();
                if let (Some(cause), None) = (asked, stopping.cause())
                    && !somebody_writes_to_stdin()
                {
                    // The grace begins.
                    stopping.request(Request { cause, at: now });
                }
                if stopping.tick(now).is_some() {
                    let grace = humantime::format_duration(grace);
                    reporter.warn(&format!("not stopped within {grace}: killing the program"));
                    // Also what it has started, which may hold its pipes.
                    guardian.kill_all(&reporter);
                    if !process.handle().has_exited() {
                        // Which has been said.
                        reporter.exit(Exit::Environment as i32);
                    }
                }
            }
        };
        threads::start("signals of the program", run)
    }

    fn passed_on(&self, signal: i32) -> Option<Signal> {
        Signal::from_named_raw(signal).filter(|_| !self.shared.contains(&signal))
    }
}

/// Whether stdin is a pipe or a socket whose other end is open, as it is under a daemon.
fn somebody_writes_to_stdin() -> bool {
    let kind = fstat(stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if !matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
        return false;
    }
    // It is reported anyhow, but macOS leaves out an entry that asks for nothing.
    let mut end = [PollFd::from_borrowed_fd(stdin(), PollFlags::HUP)];
    // An error is no end.
    let _ = poll(&mut end, Some(&Timespec::default()));
    !end[0].revents().contains(PollFlags::HUP)
}
