//! Looking after the JVM: one graceful stop, then a hard one, and nothing left behind.
//!
//! The JVM leads a process group of its own, so that a terminal's Ctrl-C reaches us alone and we
//! decide: the first signal goes to the JVM only, which lets it talk to its children; the hard stop
//! goes to the whole group. This loop is also all that PID 1 of a container has to do: it waits for
//! any child, so what is handed to it is reaped.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::command::JavaCommand;
use crate::child::{is_group_gone, signal_group};
use crate::dispositions;
use crate::error::{Error, Exit, Result};
use crate::output::Reporter;

/// How long what is left of the group may take to notice that the JVM is gone.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// How long it may then take to follow a SIGTERM.
const TOLD_TO_STOP: Duration = Duration::from_secs(1);

/// The signals that end a run, and SIGCHLD, one after the other.
#[derive(Debug)]
pub(crate) struct Signals {
    received: Receiver<i32>,
}

impl Signals {
    /// From now on these signals are ours to handle.
    pub(crate) fn listen() -> Result<Signals> {
        let mut wanted = vec![SIGTERM, SIGINT, SIGHUP];
        let ignored = dispositions::ignored(&wanted);
        // What the caller has made us ignore, as nohup does with SIGHUP, stays ignored.
        wanted.retain(|signal| !ignored.contains(signal));
        wanted.push(SIGCHLD);
        let mut signals = signal_hook::iterator::Signals::new(wanted).map_err(|error| {
            Error::new(Exit::Surroundings, "signals cannot be handled").because(error)
        })?;
        let (send, received) = mpsc::channel();
        thread::spawn(move || signals.forever().try_for_each(|signal| send.send(signal)));
        Ok(Signals { received })
    }

    /// The next one, unless time runs out before.
    fn next(&self, until: Option<Instant>) -> Option<i32> {
        let Some(until) = until else {
            // The thread at the other end lasts as long as the process.
            return self.received.recv().ok();
        };
        self.received.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits; the answer is whether a signal asked to stop meanwhile.
    pub(crate) fn asked_to_stop_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(signal) = self.next(Some(until)) {
            if signal != SIGCHLD {
                return true;
            }
        }
        false
    }
}

/// How a JVM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit status, or 128 and the signal that ended it.
    pub(crate) status: u8,
    pub(crate) stop: Stop,
}

/// Our part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// None: it ended by itself.
    Unasked,
    /// We passed a signal on.
    Asked,
    /// And then lost patience.
    Forced,
}

impl Ended {
    /// The status that ours shall be. A JVM reports a SIGTERM as 143, which is what we asked for.
    pub(crate) fn exit_status(self) -> u8 {
        match (self.stop, self.status) {
            (Stop::Asked, 143) => 0,
            (_, status) => status,
        }
    }
}

/// Runs a command until it has ended and its group is empty.
pub(crate) fn run(
    command: &JavaCommand,
    grace: Duration,
    signals: &Signals,
    reporter: &Reporter,
) -> Result<Ended> {
    let mut daemon = Daemon { pid: spawn(command)?, status: None, reporter };
    let mut stop = Stop::Unasked;
    let mut asked = None;
    while daemon.status.is_none() {
        let until = asked.map(|asked: Instant| asked + grace);
        match (signals.next(until.filter(|_| stop == Stop::Asked)), stop) {
            (Some(SIGCHLD), _) => daemon.reap(),
            (Some(signal), Stop::Unasked) => {
                (stop, asked) = (Stop::Asked, Some(Instant::now()));
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                reporter.say(&format!(
                    "{name}: the daemon is asked to stop, for up to {}; once more kills it",
                    humantime::format_duration(grace)
                ));
                daemon.ask_to_stop();
            }
            (Some(_), Stop::Asked) => {
                stop = Stop::Forced;
                reporter.warn("a second signal: the daemon and its processors are killed");
                daemon.kill_group();
            }
            (None, Stop::Asked) => {
                stop = Stop::Forced;
                let grace = humantime::format_duration(grace);
                reporter.warn(&format!("not stopped within {grace}: the daemon is killed"));
                daemon.kill_group();
            }
            (Some(_), Stop::Forced) => daemon.kill_group(),
            // Without a limit there is always a next signal.
            (None, Stop::Unasked | Stop::Forced) => daemon.reap(),
        }
    }
    let ended = Ended { status: daemon.status.unwrap_or(0), stop };
    if let (Some(asked), Stop::Asked) = (asked, stop) {
        reporter.say(&format!("stopped in {:.1}s", asked.elapsed().as_secs_f64()));
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
    let log = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
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
