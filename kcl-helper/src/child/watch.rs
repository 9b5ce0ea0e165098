//! What a child owes an answer to, for the thread that looks after it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kcl_protocol::Action;

/// Shared by the thread that talks to a child and the one that looks after it.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<Pending>>);

/// A message that has no status yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) action: Action,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// When the child last requested a checkpoint, or else when the message was sent.
    pub(crate) heard: Instant,
    pub(crate) checkpoints: u64,
}

impl Watch {
    pub(crate) fn pending(&self) -> Option<Pending> {
        *self.lock()
    }

    pub(super) fn sent(&self, action: Action) {
        let now = Instant::now();
        *self.lock() = Some(Pending { action, sent: now, heard: now, checkpoints: 0 });
    }

    pub(super) fn checkpoint_requested(&self) {
        if let Some(pending) = &mut *self.lock() {
            pending.heard = Instant::now();
            pending.checkpoints += 1;
        }
    }

    pub(super) fn answered(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
