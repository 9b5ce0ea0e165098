//! The steps that stop the remaining processes, and how long each may take.

use std::time::{Duration, Instant};

/// How long each step may take. Each ends early if no process is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For the processes that we started, after SIGTERM.
    pub(crate) ask: Duration,
    /// For all others to notice that those have ended: most see the end of their input.
    pub(crate) leave: Duration,
    /// For all others, after SIGTERM.
    pub(crate) stop: Duration,
}

impl Patience {
    pub(crate) const NONE: Patience =
        Patience { ask: Duration::ZERO, leave: Duration::ZERO, stop: Duration::ZERO };

    /// For all processes, with this grace period for those that we started.
    pub(crate) fn with_grace(grace: Duration) -> Patience {
        Patience { ask: grace, ..Patience::for_the_rest(grace) }
    }

    /// For the processes that outlive those that we started.
    pub(crate) fn for_the_rest(grace: Duration) -> Patience {
        let (leave, stop) = (grace.min(LEAVE), grace.min(STOP));
        Patience { ask: Duration::ZERO, leave, stop }
    }

    /// Returns the time after which all steps are over.
    pub(crate) fn longest(&self) -> Duration {
        self.ask + self.leave + self.stop + KILLED
    }
}

/// For cleaning up after the end of the input.
const LEAVE: Duration = Duration::from_secs(2);
const STOP: Duration = Duration::from_secs(1);
/// How long a process may take to die of SIGKILL. Only one that waits for a disk or file server takes
/// longer.
const KILLED: Duration = Duration::from_secs(5);

/// What to do to the remaining processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Wait,
    /// Send SIGTERM once to each that we started.
    AskStarted,
    /// Send SIGTERM once to each.
    AskAll,
    /// Send SIGKILL, as often as necessary.
    Kill,
    /// Nothing is left, or nothing helps.
    End,
}

/// Decides what to do next. It reads no clock.
#[derive(Debug, Clone)]
pub(crate) struct Clearing {
    /// The remaining steps in reverse order, each with its time limit.
    steps: Vec<(Action, Duration)>,
    /// When the current one began.
    since: Instant,
}

impl Clearing {
    pub(crate) fn new(patience: Patience, now: Instant) -> Clearing {
        let steps = vec![
            (Action::Kill, KILLED),
            (Action::AskAll, patience.stop),
            (Action::Wait, patience.leave),
            (Action::AskStarted, patience.ask),
        ];
        Clearing { steps, since: now }
    }

    /// Returns what to do while `all` processes are left, `started` of which we started.
    pub(crate) fn step(&mut self, started: usize, all: usize, now: Instant) -> Action {
        if all == 0 {
            return Action::End;
        }
        while let Some((action, time)) = self.steps.last().copied() {
            let is_for_nothing = action == Action::AskStarted && started == 0;
            if !is_for_nothing && now < self.since + time {
                return action;
            }
            self.steps.pop();
            self.since = now;
            if action == Action::AskStarted && !is_for_nothing && !time.is_zero() {
                // The grace period was for all of them.
                self.steps.truncate(1);
            }
        }
        Action::End
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn steps_follow_each_other() {
        let start = Instant::now();
        let mut clearing = Clearing::new(Patience::with_grace(seconds(10)), start);
        let mut at = |second, started, all| clearing.step(started, all, start + seconds(second));
        assert_eq!(at(0, 1, 3), Action::AskStarted);
        assert_eq!(at(8, 1, 3), Action::AskStarted);
        assert_eq!(at(9, 0, 2), Action::Wait);
        assert_eq!(at(11, 0, 2), Action::AskAll);
        assert_eq!(at(12, 0, 2), Action::Kill);
        assert_eq!(at(16, 0, 1), Action::Kill);
        assert_eq!(at(17, 0, 1), Action::End);
    }

    #[test]
    fn grace_period_is_for_all() {
        let start = Instant::now();
        let mut clearing = Clearing::new(Patience::with_grace(seconds(10)), start);
        let mut at = |second, started, all| clearing.step(started, all, start + seconds(second));
        assert_eq!(at(9, 1, 3), Action::AskStarted);
        assert_eq!(at(10, 1, 3), Action::Kill);
        assert_eq!(at(14, 0, 2), Action::Kill);
        assert_eq!(at(15, 0, 2), Action::End);
    }

    #[test]
    fn steps_without_processes_are_skipped() {
        let start = Instant::now();
        let clearing = |grace| Clearing::new(Patience::with_grace(seconds(grace)), start);
        assert_eq!(clearing(10).step(0, 0, start), Action::End);
        assert_eq!(clearing(10).step(0, 1, start), Action::Wait);
        assert_eq!(clearing(0).step(1, 1, start), Action::Kill);
        let mut rest = Clearing::new(Patience::for_the_rest(seconds(10)), start);
        assert_eq!(rest.step(1, 1, start), Action::Wait);
        assert_eq!(rest.step(1, 1, start + seconds(2)), Action::AskAll);
    }

    proptest! {
        #[test]
        fn it_ends_in_time_and_never_goes_back(
            times in prop::array::uniform3(0..5u64),
            steps in prop::collection::vec((0..2000u64, 0..3usize, 0..3usize), 1..60),
        ) {
            let [ask, leave, stop] = times.map(seconds);
            let patience = Patience { ask, leave, stop };
            let start = Instant::now();
            let mut clearing = Clearing::new(patience, start);
            let order = [Action::AskStarted, Action::Wait, Action::AskAll, Action::Kill, Action::End];
            let (mut now, mut furthest, mut pause) = (start, 0, Duration::ZERO);
            for (millis, started, others) in steps {
                pause = pause.max(Duration::from_millis(millis));
                now += Duration::from_millis(millis);
                let action = clearing.step(started, started + others, now);
                let index = order.iter().position(|known| *known == action).unwrap();
                if started + others == 0 {
                    prop_assert_eq!(action, Action::End);
                    continue;
                }
                prop_assert!(index >= furthest);
                furthest = index;
                // Each step may begin late by the longest pause.
                if now >= start + patience.longest() + 4 * pause {
                    prop_assert_eq!(action, Action::End);
                }
            }
        }
    }
}
