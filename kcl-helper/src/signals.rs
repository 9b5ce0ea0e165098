//! Requests to stop a command, and the steps of stopping: the same rule for all commands.
//!
//! The first request asks processes to stop. Those that are still running after the grace period, or at a
//! second request, are killed.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::dispositions;
use crate::error::{Error, Exit, Result};
use crate::output::Reporter;
use crate::threads;

/// The signals that request a stop.
pub(crate) const STOP_SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGHUP];

/// Requests within this time of the first one count as the same request. coreutils' `timeout` sends a signal
/// to its child and milliseconds later to the group, and a parent may forward the Ctrl-C that the whole group
/// gets. A user who reads the first message takes longer to press Ctrl-C again, and a key that is held begins
/// to repeat about now.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// What requests a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Signal(i32),
    /// `--timeout`, with its duration.
    Timeout(Duration),
}

impl Cause {
    /// Returns the exit status of a command that it stopped.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Cause::Signal(SIGHUP) => Exit::HungUp,
            Cause::Signal(SIGTERM) => Exit::Terminated,
            Cause::Signal(_) => Exit::Interrupted,
            Cause::Timeout(_) => Exit::TimedOut,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Signal(signal) => match signal_hook::low_level::signal_name(*signal) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {signal}"),
            },
            Cause::Timeout(time) => write!(f, "--timeout {}", humantime::format_duration(*time)),
        }
    }
}

/// A request to stop, and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) cause: Cause,
    pub(crate) at: Instant,
}

/// The state of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Unasked,
    /// Processes were asked to stop.
    Asked(Request),
    /// The remaining processes are killed. The request is the first one.
    Forced(Request),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask processes to stop.
    Ask(Cause),
    /// Kill them, because of a second request.
    ForceAsAskedAgain(Cause),
    /// Kill them, because this grace period is over.
    ForceAsGraceIsOver(Duration),
}

/// Decides what to do at a request or after some time. It reads no clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping {
    stop: Stop,
    grace: Duration,
}

impl Stopping {
    pub(crate) fn new(grace: Duration) -> Stopping {
        Stopping { stop: Stop::Unasked, grace }
    }

    pub(crate) fn stop(&self) -> Stop {
        self.stop
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// Returns what requested the stop first.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self.stop {
            Stop::Unasked => None,
            Stop::Asked(first) | Stop::Forced(first) => Some(first.cause),
        }
    }

    /// Returns when [`tick`](Self::tick) must be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stop {
            Stop::Asked(first) => Some(first.at + self.grace),
            Stop::Unasked | Stop::Forced(_) => None,
        }
    }

    pub(crate) fn request(&mut self, request: Request) -> Option<Step> {
        match self.stop {
            Stop::Unasked => {
                self.stop = Stop::Asked(request);
                Some(Step::Ask(request.cause))
            }
            Stop::Asked(first) if request.at >= first.at + ONE_REQUEST => {
                self.stop = Stop::Forced(first);
                Some(Step::ForceAsAskedAgain(request.cause))
            }
            Stop::Asked(_) | Stop::Forced(_) => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Option<Step> {
        let Stop::Asked(first) = self.stop else { return None };
        if now < first.at + self.grace {
            return None;
        }
        self.stop = Stop::Forced(first);
        Some(Step::ForceAsGraceIsOver(self.grace))
    }
}

/// Starts a thread that calls this for each of these signals. Signals that our caller makes us ignore, as
/// `nohup` does with SIGHUP, stay ignored.
pub(crate) fn watch(
    signals: &[i32],
    mut receive: impl FnMut(i32) + Send + 'static,
) -> io::Result<()> {
    let ignored = dispositions::ignored(signals);
    let wanted = signals.iter().filter(|signal| !ignored.contains(signal));
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    threads::start("signals", move || signals.forever().for_each(&mut receive))
}

/// Receives requests to stop: SIGTERM, SIGINT, SIGHUP, and the end of `--timeout`.
#[derive(Clone)]
pub(crate) struct Requests {
    phase: Arc<Mutex<Phase>>,
    reporter: Reporter,
}

/// What a request leads to.
#[derive(Default)]
enum Phase {
    /// Nothing has been started, so it ends this process.
    #[default]
    Before,
    /// It is passed to this function. The cause is that of the first one.
    Working(Box<dyn FnMut(Request) + Send>, Option<Cause>),
    /// Only the result is left to be written, so it ends this process.
    Done,
}

impl Requests {
    /// Starts to watch. Until [`receive`](Self::receive) is called, a request ends this process at once.
    pub(crate) fn watch(timeout: Option<Duration>, reporter: &Reporter) -> Result<Requests> {
        let failed = |error: io::Error| {
            Error::new(Exit::Environment, "cannot watch for signals").because(error)
        };
        let requests = Requests { phase: Arc::default(), reporter: reporter.clone() };
        let to = requests.clone();
        watch(&STOP_SIGNALS, move |signal| to.request(Cause::Signal(signal))).map_err(failed)?;
        if let Some(timeout) = timeout {
            let to = requests.clone();
            threads::start("timeout", move || {
                thread::sleep(timeout);
                to.request(Cause::Timeout(timeout));
            })
            .map_err(failed)?;
        }
        Ok(requests)
    }

    /// Passes requests to this from now on, on other threads. Threads that supervise children no longer wait
    /// for a reader of our stderr.
    pub(crate) fn receive(&self, receive: impl FnMut(Request) + Send + 'static) {
        self.reporter.supervise();
        *self.phase() = Phase::Working(Box::new(receive), None);
    }

    /// Ends this process at the next request, because its work is done; or now, if a request came too late to
    /// have an effect.
    pub(crate) fn end_at_once(&self) {
        match std::mem::replace(&mut *self.phase(), Phase::Done) {
            Phase::Working(_, Some(cause)) => self.reporter.exit(cause.exit() as i32),
            Phase::Working(_, None) | Phase::Before | Phase::Done => {}
        }
    }

    fn request(&self, cause: Cause) {
        let at = Instant::now();
        self.reporter.stop();
        match &mut *self.phase() {
            Phase::Working(receive, first) => {
                first.get_or_insert(cause);
                receive(Request { cause, at });
            }
            Phase::Before => {
                self.reporter.result(&format!("{cause}: stopped before anything was started"));
                self.reporter.exit(cause.exit() as i32);
            }
            Phase::Done => self.reporter.exit(cause.exit() as i32),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERM: Cause = Cause::Signal(SIGTERM);

    #[test]
    fn signals_in_quick_succession_are_one_request() {
        let (start, grace) = (Instant::now(), Duration::from_secs(10));
        let mut stopping = Stopping::new(grace);
        let at = |millis| Request { cause: TERM, at: start + Duration::from_millis(millis) };
        assert_eq!(stopping.tick(start), None);
        assert_eq!(stopping.request(at(0)), Some(Step::Ask(TERM)));
        assert_eq!(stopping.request(at(0)), None);
        assert_eq!(stopping.request(at(499)), None);
        assert_eq!(stopping.deadline(), Some(start + grace));
        assert_eq!(stopping.request(at(500)), Some(Step::ForceAsAskedAgain(TERM)));
        assert_eq!(stopping.request(at(2000)), None);
        assert_eq!(stopping.deadline(), None);
        assert_eq!(stopping.tick(start + grace), None);
        assert_eq!(stopping.stop(), Stop::Forced(at(0)));
    }

    #[test]
    fn grace_period_follows_a_single_signal() {
        let (start, grace) = (Instant::now(), Duration::from_millis(100));
        let mut stopping = Stopping::new(grace);
        let hup = Cause::Signal(SIGHUP);
        assert_eq!(stopping.request(Request { cause: hup, at: start }), Some(Step::Ask(hup)));
        assert_eq!(stopping.tick(start + grace - Duration::from_nanos(1)), None);
        assert_eq!(stopping.tick(start + grace), Some(Step::ForceAsGraceIsOver(grace)));
        assert_eq!(stopping.cause(), Some(hup));
        assert_eq!(hup.exit(), Exit::HungUp);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Request(Cause),
        Tick,
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let cause = prop_oneof![
            Just(TERM),
            Just(Cause::Signal(SIGINT)),
            Just(Cause::Timeout(Duration::from_secs(1)))
        ];
        let event = prop_oneof![cause.prop_map(Event::Request), Just(Event::Tick)];
        // With the milliseconds since the event before.
        prop::collection::vec((prop_oneof![0..3u64, 0..1500u64], event), 0..12)
    }

    proptest! {
        /// Compares it with the rules for the whole history.
        #[test]
        fn stop_is_requested_once_and_forced_once(events in events(), grace in 0..2000u64) {
            let (start, grace) = (Instant::now(), Duration::from_millis(grace));
            let mut stopping = Stopping::new(grace);
            let (mut now, mut first, mut forced) = (start, None::<Instant>, false);
            for (pause, event) in events {
                now += Duration::from_millis(pause);
                let (step, requested) = match event {
                    Event::Request(cause) => (stopping.request(Request { cause, at: now }), true),
                    Event::Tick => (stopping.tick(now), false),
                };
                match first {
                    None if requested => {
                        prop_assert!(matches!(step, Some(Step::Ask(_))));
                        first = Some(now);
                    }
                    Some(asked) if !forced => {
                        let is_due = match requested {
                            true => now - asked >= ONE_REQUEST,
                            false => now - asked >= grace,
                        };
                        prop_assert_eq!(step.is_some(), is_due);
                        prop_assert!(!matches!(step, Some(Step::Ask(_))));
                        forced = is_due;
                    }
                    _ => prop_assert_eq!(step, None),
                }
                let asked = first.filter(|_| !forced);
                prop_assert_eq!(stopping.deadline(), asked.map(|asked| asked + grace));
                prop_assert_eq!(stopping.cause().is_some(), first.is_some());
                prop_assert_eq!(matches!(stopping.stop(), Stop::Forced(_)), forced);
            }
        }
    }
}
