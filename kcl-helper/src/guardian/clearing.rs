//! In which order, and how long after each other, the ways to end what is left are tried.

use std::time::{Duration, Instant};

/// How long each way may take. Nobody waits where nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For those that we started, after SIGTERM.
    pub(crate) ask: Duration,
    /// For all others to see that those have gone: most read the end of their input.
    pub(crate) leave: Duration,
    /// For all others, after SIGTERM.
    pub(crate) stop: Duration,
}

impl Patience {
    pub(crate) const NONE: Patience =
        Patience { ask: Duration::ZERO, leave: Duration::ZERO, stop: Duration::ZERO };

    /// For all, when those that we started have this long.
    pub(crate) fn with_grace(grace: Duration) -> Patience {
        Patience { ask: grace, ..Patience::for_the_rest(grace) }
    }

    /// For what outlives those that we started.
    pub(crate) fn for_the_rest(grace: Duration) -> Patience {
        let (leave, stop) = (grace.min(LEAVE), grace.min(STOP));
        Patience { ask: Duration::ZERO, leave, stop }
    }

    /// When the last of it is over, whatever is left.
    pub(crate) fn longest(&self) -> Duration {
        self.ask + self.leave + self.stop + KILLED
    }
}

/// To see the end of its input takes no time, but what is to be done then may.
const LEAVE: Duration = Duration::from_secs(2);
const STOP: Duration = Duration::from_secs(1);
/// How long the kernel may take to end what was killed. Only what waits for a disk or a file server
/// takes longer.
const KILLED: Duration = Duration::from_secs(5);

/// What is to be done to what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Wait,
    /// SIGTERM, once, to each that we started.
    Ask,
    /// SIGTERM, once, to each.
    Tell,
    /// SIGKILL, as often as it takes.
    Kill,
    /// Nothing is left, or nothing helps.
    End,
}

/// Decides what is to be done. It reads no clock.
#[derive(Debug, Clone)]
pub(crate) struct Clearing {
    /// The ways that are left, the last first: what to do, and how long it may take.
    ways: Vec<(Action, Duration)>,
    /// Since when that one is tried.
    since: Instant,
}

impl Clearing {
    pub(crate) fn new(patience: Patience, now: Instant) -> Clearing {
        let ways = vec![
            (Action::Kill, KILLED),
            (Action::Tell, patience.stop),
            (Action::Wait, patience.leave),
            (Action::Ask, patience.ask),
        ];
        Clearing { ways, since: now }
    }

    /// `started` are those that we started, of all that are left.
    pub(crate) fn step(&mut self, started: usize, all: usize, now: Instant) -> Action {
        if all == 0 {
            return Action::End;
        }
        while let Some((action, time)) = self.ways.last().copied() {
            let is_for_nothing = action == Action::Ask && started == 0;
            if !is_for_nothing && now < self.since + time {
                return action;
            }
            self.ways.pop();
            self.since = now;
            if action == Action::Ask && !is_for_nothing && !time.is_zero() {
                // The grace is over for all.
                self.ways.truncate(1);
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
    fn one_way_comes_after_the_other() {
        let start = Instant::now();
        let mut clearing = Clearing::new(Patience::with_grace(seconds(10)), start);
        let mut at = |second, started, all| clearing.step(started, all, start + seconds(second));
        assert_eq!(at(0, 1, 3), Action::Ask);
        assert_eq!(at(8, 1, 3), Action::Ask);
        assert_eq!(at(9, 0, 2), Action::Wait);
        assert_eq!(at(11, 0, 2), Action::Tell);
        assert_eq!(at(12, 0, 2), Action::Kill);
        assert_eq!(at(16, 0, 1), Action::Kill);
        assert_eq!(at(17, 0, 1), Action::End);
    }

    #[test]
    fn the_grace_is_for_all() {
        let start = Instant::now();
        let mut clearing = Clearing::new(Patience::with_grace(seconds(10)), start);
        let mut at = |second, started, all| clearing.step(started, all, start + seconds(second));
        assert_eq!(at(9, 1, 3), Action::Ask);
        assert_eq!(at(10, 1, 3), Action::Kill);
        assert_eq!(at(14, 0, 2), Action::Kill);
        assert_eq!(at(15, 0, 2), Action::End);
    }

    #[test]
    fn nobody_waits_for_nothing() {
        let start = Instant::now();
        let clearing = |grace| Clearing::new(Patience::with_grace(seconds(grace)), start);
        assert_eq!(clearing(10).step(0, 0, start), Action::End);
        assert_eq!(clearing(10).step(0, 1, start), Action::Wait);
        assert_eq!(clearing(0).step(1, 1, start), Action::Kill);
        let mut rest = Clearing::new(Patience::for_the_rest(seconds(10)), start);
        assert_eq!(rest.step(1, 1, start), Action::Wait);
        assert_eq!(rest.step(1, 1, start + seconds(2)), Action::Tell);
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
            let order = [Action::Ask, Action::Wait, Action::Tell, Action::Kill, Action::End];
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
                // Each way may begin as late as the longest pause.
                if now >= start + patience.longest() + 4 * pause {
                    prop_assert_eq!(action, Action::End);
                }
            }
        }
    }
}
