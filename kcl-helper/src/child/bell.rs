//! What wakes a thread that waits for its child's pipes.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, BorrowedFd};

/// Wakes the thread of a conversation, which waits for the bell and for the child's pipes at the same
/// time. A ring while nobody waits is kept for the next wait.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// A byte is in the pipe, or is about to be written.
    rung: AtomicBool,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Bell {
    /// # Errors
    /// The pipe of the bell cannot be created.
    pub(crate) fn new() -> io::Result<Bell> {
        let (reader, writer) = io::pipe()?;
        Ok(Bell(Arc::new(Inner { rung: AtomicBool::new(false), reader, writer })))
    }

    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::SeqCst) {
            // Never fails: there are at most two bytes in the pipe, and both ends are open.
            let _ = (&self.0.writer).write_all(b"!");
        }
    }

    /// Clears a ring. Call it when [`as_fd`](AsFd::as_fd) can be read, and before looking for the
    /// reason.
    pub(crate) fn clear(&self) {
        // In this order, a ring in between writes a byte of its own, which stays.
        self.0.rung.store(false, Ordering::SeqCst);
        let _ = (&self.0.reader).read(&mut [0]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_rung(bell: &Bell) -> bool {
        let mut pipe = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut pipe, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn rings_are_one_until_cleared() {
        let bell = Bell::new().unwrap();
        assert!(!is_rung(&bell));
        for _ in 0..3 {
            (0..100_000).for_each(|_| bell.clone().ring());
            assert!(is_rung(&bell));
            bell.clear();
            assert!(!is_rung(&bell));
        }
    }

    #[test]
    fn no_ring_is_lost() {
        kcl_fixtures::fail_if_it_hangs();
        let (bell, news) = (Bell::new().unwrap(), std::sync::atomic::AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        news.fetch_add(1, Ordering::SeqCst);
                        bell.ring();
                    }
                });
            }
            while news.load(Ordering::SeqCst) < 60_000 {
                poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
                bell.clear();
            }
        });
    }
}
