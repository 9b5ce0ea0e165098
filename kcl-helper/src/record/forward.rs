//! Forwards signals to the program, and kills it if it does not stop.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::process::Signal;
use rustix::stdio::stdin;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::child::Process;
use crate::error::Exit;
use crate::guardian::Guardian;
use crate::output::Reporter;
use crate::signals::{self, Cause, Request, STOP_SIGNALS, Stopping};
use crate::threads;

/// After a request to stop, how often we check whether somebody can still write to stdin.
const TICK: Duration = Duration::from_millis(100);

/// The signals that we get and that are meant for the program.
pub(super) struct Signals {
    received: Receiver<i32>,
    /// Those that reach the program without us.
    shared: &'static [i32],
}

impl Signals {
    pub(super) fn listen(is_leader: bool) -> io::Result<Signals> {
        let (send, received) = mpsc::channel();
        let all = [SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGHUP];
        signals::watch(&all, move |signal| {
            // Nobody receives it after the program has ended.
            let _ = send.send(signal);
        })?;
        // A terminal sends these to the whole group.
        let shared: &[i32] = if is_leader { &[SIGINT, SIGQUIT, SIGHUP] } else { &[] };
        Ok(Signals { received, shared })
    }

    /// Starts the thread that forwards signals.
    pub(super) fn forward_to(
        self,
        process: Arc<Process>,
        grace: Duration,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> io::Result<()> {
        let (guardian, reporter) = (guardian.clone(), reporter.clone());
        let forwarder = Forwarder { signals: self, process, grace, guardian, reporter };
        threads::start("signals of the program", move || forwarder.run())
    }
}

struct Forwarder {
    signals: Signals,
    process: Arc<Process>,
    grace: Duration,
    guardian: Guardian,
    reporter: Reporter,
}

impl Forwarder {
    fn run(&self) {
        let (mut asked, mut stopping) = (None, Stopping::new(self.grace));
        loop {
            let received = match asked {
                None => self.signals.received.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.signals.received.recv_timeout(TICK),
            };
            match received {
                Ok(signal) => {
                    self.forward(signal);
                    if STOP_SIGNALS.contains(&signal) {
                        self.reporter.stop();
                        asked.get_or_insert(Cause::Signal(signal));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if let (Some(cause), None) = (asked, stopping.cause())
                && !can_stdin_be_written()
            {
                // The grace period begins.
                stopping.request(Request { cause, at: now });
            }
            if stopping.tick(now).is_some() {
                self.kill();
            }
        }
    }

    /// Sends a signal to the program. Even if that has ended, no other process can have its number yet.
    fn forward(&self, signal: i32) {
        let is_shared = self.signals.shared.contains(&signal);
        if let Some(signal) = Signal::from_named_raw(signal).filter(|_| !is_shared) {
            self.process.signal(signal);
        }
    }

    /// Kills the program and what it has started, which may hold its pipes.
    fn kill(&self) {
        let grace = humantime::format_duration(self.grace);
        self.reporter.warn(&format!("not stopped within {grace}: killing the program"));
        self.guardian.kill_all(&self.reporter);
        if !self.process.handle().has_exited() {
            // `kill_all` has reported that it is still there.
            self.reporter.exit(Exit::Environment as i32);
        }
    }
}

/// Whether stdin is a pipe or a socket whose other end is open, as it is under a daemon.
fn can_stdin_be_written() -> bool {
    let kind = fstat(stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if !matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
        return false;
    }
    // HUP is always reported, but macOS ignores an entry without any flag.
    let mut end = [PollFd::from_borrowed_fd(stdin(), PollFlags::HUP)];
    // After an error we assume that it is open.
    let _ = poll(&mut end, Some(&Timespec::default()));
    !end[0].revents().contains(PollFlags::HUP)
}
