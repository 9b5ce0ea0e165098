//! What other threads ask of conversations.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bell::Bell;

/// How the conversations of a run are to end. Each request rings the bell of every conversation.
#[derive(Debug)]
pub(crate) struct Control {
    stop: AtomicBool,
    cut_off: AtomicBool,
    kill: AtomicBool,
    bells: Vec<Bell>,
}

impl Control {
    pub(crate) fn new(bells: Vec<Bell>) -> Control {
        let [stop, cut_off, kill] = [(); 3].map(|()| AtomicBool::new(false));
        Control { stop, cut_off, kill, bells }
    }

    /// Asks for a proper end after the current message. It is up to the caller of a conversation to
    /// send no other messages than those of the end.
    pub(crate) fn stop(&self) {
        self.request(&self.stop);
    }

    /// Ends each conversation as a daemon's exit does: stdin closes, whatever the child is doing.
    pub(crate) fn cut_off(&self) {
        self.request(&self.cut_off);
    }

    /// Kills every child.
    pub(crate) fn kill(&self) {
        self.request(&self.kill);
        self.cut_off();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::SeqCst)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.kill.load(Ordering::SeqCst)
    }

    fn request(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(Bell::ring);
    }
}
