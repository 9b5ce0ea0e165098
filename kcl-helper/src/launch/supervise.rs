//! Supervises the JVM: first a graceful stop, then a forced one, and no process is left behind.
//!
//! The JVM leads its own process group, so that Ctrl-C in a terminal reaches only us. The first request
//! to stop goes to the JVM alone, which then stops its children; a forced stop goes to all of them. As
//! PID 1 of a container we also reap orphans.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::consts::SIGCHLD;

use super::command::JavaCommand;
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guarded, Guardian, How, Patience};
use crate::output::{Reporter, stderr_of_another};
use crate::signals::{self, Cause, Request, Requests, Step, Stop, Stopping};
use crate::threads;

/// How long we wait for a JVM that was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Event {
    Stop(Request),
    /// The JVM has ended; an error if its status is unknown.
    Ended(io::Result<ExitStatus>),
}

/// A queue of the requests to stop, and of the ends of JVMs.
#[derive(Debug)]
pub(crate) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Events {
    /// Routes requests to this queue from now on.
    pub(crate) fn listen(requests: &Requests, guardian: &Guardian) -> Result<Events> {
        let (sender, receiver) = mpsc::channel();
        let send = sender.clone();
        requests.receive(move |request| drop(send.send(Event::Stop(request))));
        if rustix::process::getpid().is_init() {
            let guardian = guardian.clone();
            signals::watch(&[SIGCHLD], move |_| guardian.reap_orphans()).map_err(|error| {
                Error::new(Exit::Environment, "cannot watch for signals").because(error)
            })?;
        }
        Ok(Events { sender, receiver })
    }

    /// Waits for the next event, at most until then.
    fn next(&self, until: Option<Instant>) -> Option<Event> {
        let Some(until) = until else {
            // It cannot fail, because we hold a sender.
            return self.receiver.recv().ok();
        };
        self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits for a request to stop, at most for this time.
    pub(crate) fn request_within(&self, time: Duration) -> Option<Cause> {
        let until = Instant::now() + time;
        while let Some(event) = self.next(Some(until)) {
            if let Event::Stop(request) = event {
                return Some(request.cause);
            }
        }
        None
    }
}

/// How a JVM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit status, or 128 plus the signal that ended it.
    status: u8,
    stop: Stop,
}

impl Ended {
    /// Returns the exit status for this command. A JVM reports the SIGTERM that we sent as 143.
    pub(crate) fn exit_status(self) -> u8 {
        match (self.stop, self.status) {
            (Stop::Asked(Request { cause: cause @ Cause::Timeout(_), .. }), _)
            | (Stop::Forced(Request { cause: cause @ Cause::Timeout(_), .. }), _) => {
                cause.exit() as u8
            }
            (Stop::Asked(_), 143) => 0,
            (_, status) => status,
        }
    }

    /// Whether it ended by itself.
    pub(crate) fn was_unasked(self) -> bool {
        self.stop == Stop::Unasked
    }
}

/// Runs the daemon until it has ended and none of its processes is left. It inherits these files.
pub(crate) fn run(
    command: &JavaCommand,
    inherited: &[BorrowedFd<'_>],
    grace: Duration,
    guardian: &Guardian,
    events: &Events,
    reporter: &Reporter,
) -> Result<Ended> {
    reporter.settle();
    let daemon = spawn(command, inherited, grace, guardian, events)?;
    let mut stopping = Stopping::new(grace);
    let mut killed_at = None;
    let status = loop {
        let until = killed_at.map(|at: Instant| at + KILLED_WITHIN);
        let step = match events.next(stopping.deadline().or(until)) {
            Some(Event::Stop(request)) => stopping.request(request),
            Some(Event::Ended(status)) => break status.ok(),
            None if until.is_some_and(|until| Instant::now() >= until) => break None,
            None => None,
        };
        if let Some(step) = step.or_else(|| stopping.tick(Instant::now())) {
            if !matches!(step, Step::Ask(_)) {
                killed_at = Some(Instant::now());
            }
            if let Err(error) = stop(&daemon, &step, grace, reporter) {
                reporter.warn(&format!("cannot send a signal to the daemon: {error}"));
            }
        }
    };
    if let Stop::Asked(request) = stopping.stop() {
        reporter.say(&format!("stopped in {:.1}s", request.at.elapsed().as_secs_f64()));
    }
    if killed_at.is_some() {
        guardian.kill_all(reporter);
    } else {
        guardian.clear(Patience::for_the_rest(grace), "the daemon", reporter);
    }
    let status = status.ok_or_else(|| {
        Error::new(Exit::Environment, "cannot determine whether and how the daemon ended")
    })?;
    Ok(Ended { status: status_of(status), stop: stopping.stop() })
}

/// Takes the next step of a stop, and says so.
fn stop(daemon: &Guarded, step: &Step, grace: Duration, reporter: &Reporter) -> io::Result<()> {
    match step {
        Step::Ask(cause) => {
            let grace = humantime::format_duration(grace);
            reporter.say(&format!(
                "{cause}: asking the daemon to stop, for up to {grace}; signal again to kill it"
            ));
            reporter.settle();
            // Only the JVM: the daemon tells its children.
            daemon.signal(Signal::TERM)
        }
        Step::ForceAsAskedAgain(cause) => {
            reporter.warn(&format!("{cause} again: killing the daemon and its processors"));
            daemon.kill()
        }
        Step::ForceAsGraceIsOver(grace) => {
            let grace = humantime::format_duration(*grace);
            reporter.warn(&format!(
                "not stopped within {grace}: killing the daemon and its processors"
            ));
            daemon.kill()
        }
    }
}

fn spawn(
    command: &JavaCommand,
    inherited: &[BorrowedFd<'_>],
    grace: Duration,
    guardian: &Guardian,
    events: &Events,
) -> Result<Arc<Guarded>> {
    let failed = |error: io::Error| {
        let message = format!("cannot start {}", command.java.display());
        Error::new(Exit::Environment, message).because(error)
    };
    let streams = || {
        // Its stdout is a log too, and our stdout is for data.
        let log = || stderr_of_another().try_clone_to_owned();
        Ok([File::open("/dev/null")?.into(), log()?, log()?])
    };
    let how = How { group: None, cpu: None, grace };
    let daemon = streams()
        .and_then(|streams| guardian.spawn(command.argv(), how, streams, inherited))
        .map_err(failed)?;
    let daemon = Arc::new(daemon);
    let (waits, ends) = (daemon.clone(), events.sender.clone());
    threads::start("daemon", move || {
        let _ = ends.send(Event::Ended(waits.status()));
    })
    .map_err(failed)?;
    Ok(daemon)
}

fn status_of(status: ExitStatus) -> u8 {
    let status = status.code().or(status.signal().map(|signal| 128 + signal));
    // A process has one of them, and both are below 256.
    status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX)
}
