//! The one place where a driver waits.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Rung by whoever has news; a driver that waits for several things waits for their bell and then
/// looks at each of them. A ring while nobody waits is kept for the next wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    pub(crate) fn ring(&self) {
        let (rung, news) = &*self.0;
        *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        news.notify_one();
    }

    /// Waits for a ring since the last wait, at most until then.
    pub(crate) fn wait(&self, until: Option<Instant>) {
        let (rung, news) = &*self.0;
        let mut rung = rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = match until {
                None => news.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    news.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *rung = false;
    }
}
