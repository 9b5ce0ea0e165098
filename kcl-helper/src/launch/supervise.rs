//! Looking after the JVM: one graceful stop, then a hard one, and nothing left behind.
//!
//! The JVM leads a process group of its own, so that a terminal's Ctrl-C reaches us alone and we
//! decide: the first signal goes to the JVM only, which lets it talk to its children; the hard stop
//! goes to the whole group. This loop is also all that PID 1 of a container has to do: it waits for
//! any child, so what is handed to it is reaped.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::SIGCHLD;

use super::command::JavaCommand;
use crate::child::{is_group_gone, signal_group};
use crate::error::{Error, Exit, Result};
use crate::output::{Reporter, stderr_of_another};
use crate::signals::{self, Cause, Request, Requests, Step, Stop, Stopping};

/// How long what is left of the group may take to notice that the JVM is gone.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// How long it may then take to follow a SIGTERM.
const TOLD_TO_STOP: Duration = Duration::from_secs(1);

/// What a run waits for.
#[derive(Debug)]
enum Event {
    Stop(Request),
    /// A child has ended.
    Child,
}

/// Requests to stop, and ends of children, one after the other.
#[derive(Debug)]
pub(crate) struct Events(Receiver<Event>);

impl Events {
    /// From now on requests come here.
    pub(crate) fn listen(requests: &Requests) -> Result<Events> {
        let (send, received) = mpsc::channel();
        let children = send.clone();
        signals::watch(&[SIGCHLD], move |_| drop(children.send(Event::Child))).map_err(
            |error| Error::new(Exit::Surroundings, "cannot watch for signals").because(error),
        )?;
        requests.receive(move |request| drop(send.send(Event::Stop(request))));
        Ok(Events(received))
    }

    /// The next one, unless time runs out before.
    fn next(&self, until: Option<Instant>) -> Option<Event> {
        let Some(until) = until else {
            // The thread at the other end lasts as long as the process.
            return self.0.recv().ok();
        };
        self.0.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits for a request to stop, at most so long.
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
    /// Its exit status, or 128 and the signal that ended it.
    status: u8,
    stop: Stop,
}

impl Ended {
    /// The status that ours shall be. A JVM reports a SIGTERM as 143, which is what we asked for.
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

/// Runs a command until it has ended and its group is empty.
pub(crate) fn run(
    command: &JavaCommand,
    grace: Duration,
    events: &Events,
    reporter: &Reporter,
) -> Result<Ended> {
    reporter.settle();
    let mut daemon = Daemon { pid: spawn(command)?, status: None, reporter };
    let mut stopping = Stopping::new(grace);
    while daemon.status.is_none() {
        let step = match events.next(stopping.deadline()) {
            Some(Event::Stop(request)) => stopping.request(request),
            Some(Event::Child) => {
                daemon.reap();
                None
            }
            None => None,
        };
        match step.or_else(|| stopping.tick(Instant::now())) {
            None => {}
            Some(Step::Ask(cause)) => {
                let grace = humantime::format_duration(grace);
                reporter.say(&format!(
                    "{cause}: asking the daemon to stop, for up to {grace}; signal again to kill it"
                ));
                reporter.settle();
                daemon.ask_to_stop();
            }
            Some(Step::ForceAsAskedAgain(cause)) => {
                reporter.warn(&format!("{cause} again: killing the daemon and its processors"));
                daemon.kill_group();
            }
            Some(Step::ForceAsGraceIsOver(grace)) => {
                let grace = humantime::format_duration(grace);
                reporter.warn(&format!(
                    "not stopped within {grace}: killing the daemon and its processors"
                ));
                daemon.kill_group();
            }
        }
    }
    let ended = Ended { status: daemon.status.unwrap_or(0), stop: stopping.stop() };
    if let Stop::Asked(request) = ended.stop {
        reporter.say(&format!("stopped in {:.1}s", request.at.elapsed().as_secs_f64()));
    }
    daemon.clear_group();
    Ok(ended)
}

/// Starts the JVM through a copy of ourselves, which first binds its life to ours.
fn spawn(command: &JavaCommand) -> Result<Pid> {
    let failed = |error: io::Error| {
        let message = format!("{} cannot be started", command.java.display());
        Error::new(Exit::Surroundings, message).because(error)
    };
    // stdout is data, and a log is not.
    let log = stderr_of_another().try_clone_to_owned().map_err(failed)?;
    let mut words = command.words().into_iter();
    let mut starter = if cfg!(target_os = "linux") {
        // Also right when the file has been replaced since we started.
        let mut starter = Command::new("/proc/self/exe");
        starter.arg(crate::commands::exec::NAME).arg(std::process::id().to_string()).args(words);
        starter
    } else {
        // The first word is always java.
        let mut starter = Command::new(words.next().unwrap_or_default());
        starter.args(words);
        starter
    };
    // The kernel takes the end of the thread that spawned for the parent's death. This is the main
    // thread, which ends with the process.
    let child =
        starter.stdin(Stdio::null()).stdout(log).process_group(0).spawn().map_err(failed)?;
    // A child's id is a positive number.
    Ok(Pid::from_child(&child))
}

/// The JVM, which leads a group of the same number.
struct Daemon<'a> {
    pid: Pid,
    status: Option<u8>,
    reporter: &'a Reporter,
}

impl Daemon<'_> {
    /// Takes the status of every child that has ended; PID 1 gets those of others, too.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                self.status = status_of(status).or(self.status);
            }
        }
    }

    /// The JVM alone: its children learn of it from the daemon.
    fn ask_to_stop(&self) {
        match rustix::process::kill_process(self.pid, Signal::TERM) {
            // It has just ended by itself.
            Err(rustix::io::Errno::SRCH) => {}
            sent => self.report(sent),
        }
    }

    fn kill_group(&self) {
        self.report(signal_group(self.pid, Signal::KILL));
    }

    fn report(&self, sent: rustix::io::Result<()>) {
        if let Err(error) = sent {
            self.reporter.warn(&format!("the daemon cannot be signalled: {error}"));
        }
    }

    /// Ends what the JVM has left in its group. Most of it reads the end of its input and goes.
    fn clear_group(&mut self) {
        if self.group_ends_within(LEFT_ALONE) {
            return;
        }
        self.reporter.warn("processors outlive the daemon: they are told to stop");
        self.report(signal_group(self.pid, Signal::TERM));
        if !self.group_ends_within(TOLD_TO_STOP) {
            self.kill_group();
            self.group_ends_within(TOLD_TO_STOP);
        }
    }

    /// While any of the group lives, no other group can get its number.
    fn group_ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            self.reap();
            if is_group_gone(self.pid) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn status_of(status: WaitStatus) -> Option<u8> {
    let status = match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => status,
        (None, Some(signal)) => 128 + signal,
        // Stopped or continued: not ended.
        (None, None) => return None,
    };
    // Both are below 256.
    u8::try_from(status).ok()
}
