//! The runtime's only access to time.

use std::time::{Duration, Instant};

/// Reads the time and pauses. [`Runtime::run_over`](crate::Runtime::run_over) takes one, so that a test can
/// run hours of a shard's life in microseconds.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::{Sleep, Timer};
///
/// /// Time that passes only during pauses.
/// struct Virtual(Duration);
///
/// impl Timer for Virtual {
///     fn now(&self) -> Duration {
///         self.0
///     }
///     fn sleep(&mut self, pause: Duration) -> Sleep {
///         self.0 += pause;
///         Sleep::Elapsed
///     }
/// }
/// ```
pub trait Timer {
    /// Returns the time since some fixed moment. It never goes back.
    fn now(&self) -> Duration;

    /// Waits for this long, or until the daemon closes stdin.
    fn sleep(&mut self, pause: Duration) -> Sleep;
}

/// How a pause ended.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::{Sleep, SystemTimer, Timer};
/// assert_eq!(SystemTimer::new().sleep(Duration::from_millis(1)), Sleep::Elapsed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the pause may have ended because the daemon is gone"]
pub enum Sleep {
    /// The time has passed.
    Elapsed,
    /// The daemon closed stdin, so there is nothing left to wait for.
    HungUp,
}

/// The system's clock and sleep, for transports that cannot detect that the other end hung up.
///
/// ```
/// use kcl_runtime::{SystemTimer, Timer};
/// let timer = SystemTimer::new();
/// assert!(timer.now() <= timer.now());
/// ```
#[derive(Debug, Clone)]
pub struct SystemTimer {
    start: Instant,
}

impl SystemTimer {
    /// Creates a timer that starts now.
    pub fn new() -> SystemTimer {
        SystemTimer { start: Instant::now() }
    }
}

impl Default for SystemTimer {
    fn default() -> Self {
        SystemTimer::new()
    }
}

impl Timer for SystemTimer {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        std::thread::sleep(pause);
        Sleep::Elapsed
    }
}
