//! Words for people, on stderr, in whole lines that neither tear each other nor the progress
//! display.

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::MultiProgress;

use crate::child::of_shard;

/// What is said on stderr, by however many threads. Clones speak to the same terminal.
#[derive(Debug, Clone)]
pub(crate) struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    quiet: u8,
    bars: MultiProgress,
}

impl Console {
    /// `quiet` is the count of `-q`.
    pub(crate) fn new(quiet: u8) -> Console {
        let bars = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        Console(Arc::new(Inner { quiet, bars }))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.0.quiet > 0
    }

    /// The progress display, hidden at first.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.0.bars
    }

    /// Something good to know.
    pub(crate) fn say(&self, line: &str) {
        if self.0.quiet == 0 {
            self.print(&format!("{line}\n"));
        }
    }

    /// Something that is probably not as it should be.
    pub(crate) fn warn(&self, line: &str) {
        if self.0.quiet < 2 {
            self.print(&format!("{line}\n"));
        }
    }

    /// What a child wrote to stderr.
    pub(crate) fn child(&self, shard: u32, lines: &[String]) {
        if self.0.quiet == 0 {
            self.print(&of_shard(shard, lines));
        }
    }

    fn print(&self, text: &str) {
        // Nobody is there to be told that stderr is closed.
        let write = || drop(io::stderr().lock().write_all(text.as_bytes()));
        if self.0.bars.is_hidden() { write() } else { self.0.bars.suspend(write) }
    }
}
