//! The threads that pass on a program's stdin, stdout and stderr, and record them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::pump::{End, Ours, pump};
use super::recording::Recorder;
use crate::child::Pipes;
use crate::output::Reporter;
use crate::recording::Stream;
use crate::threads;

/// How long our stderr stays open for errors of stdout, once the program has closed its stderr.
const STDERR_STAYS: Duration = Duration::from_secs(1);
/// How long we wait for a reader of the output after a request to stop.
const UNREAD: Duration = Duration::from_secs(1);
/// How often we look for a request to stop.
const TICK: Duration = Duration::from_millis(100);

/// The running threads.
pub(super) struct Pumps {
    /// Gets a value for stdout and for stderr: whether all of it was passed on.
    ended: Receiver<bool>,
    pieces: Arc<AtomicU64>,
}

impl Pumps {
    pub(super) fn start(
        pipes: Pipes,
        recorder: &Arc<Recorder>,
        reporter: &Reporter,
    ) -> io::Result<Pumps> {
        let Pipes { stdin, stdout, stderr } = pipes;
        let (ends, ended) = mpsc::channel();
        // An error of stdout is reported on stderr, so stderr must be closed after stdout.
        let (stdout_open, stdout_closed) = mpsc::channel::<()>();
        let close_stdout = move || drop(stdout_open);
        let wait_for_stdout = move || {
            let _ = stdout_closed.recv_timeout(STDERR_STAYS);
        };

        let pieces = Arc::default();
        let pump = Pump { recorder, reporter, pieces: &pieces };
        let (stdin, stdout, stderr) =
            (End::childs(stdin), End::childs(stdout), End::childs(stderr));
        pump.start(Stream::Stdin, End::ours(Ours::Stdin), stdin, None, || {})?;
        let stdout_ends = Some(ends.clone());
        pump.start(Stream::Stdout, stdout, End::ours(Ours::Stdout), stdout_ends, close_stdout)?;
        pump.start(Stream::Stderr, stderr, End::ours(Ours::Stderr), Some(ends), wait_for_stdout)?;
        Ok(Pumps { ended, pieces })
    }

    /// Waits until all output has been passed on, and returns whether it could be. After a request to stop,
    /// it waits only as long as somebody reads.
    pub(super) fn wait(&self, reporter: &Reporter) -> bool {
        let mut is_all_passed_on = true;
        let mut last = (0, Instant::now());
        loop {
            match self.ended.recv_timeout(TICK) {
                Ok(is_passed_on) => is_all_passed_on &= is_passed_on,
                // Both have ended; one that panicked too.
                Err(RecvTimeoutError::Disconnected) => return is_all_passed_on,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let pieces = self.pieces.load(Ordering::Relaxed);
            if pieces != last.0 || !reporter.is_stopping() {
                last = (pieces, Instant::now());
            } else if last.1.elapsed() >= UNREAD {
                return is_all_passed_on;
            }
        }
    }
}

/// What the threads share.
struct Pump<'a> {
    recorder: &'a Arc<Recorder>,
    reporter: &'a Reporter,
    /// How many pieces were passed on.
    pieces: &'a Arc<AtomicU64>,
}

impl Pump<'_> {
    /// Starts a thread that calls `before_close` when the stream has ended, closes `to`, and then sends to
    /// `ends`.
    fn start(
        &self,
        stream: Stream,
        from: End,
        to: End,
        ends: Option<Sender<bool>>,
        before_close: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let recorder = self.recorder.clone();
        let (reporter, pieces) = (self.reporter.clone(), self.pieces.clone());
        let run = move || {
            let passed_on = pump(&from, &to, |piece| {
                recorder.write(stream, piece);
                pieces.fetch_add(1, Ordering::Relaxed);
            });
            drop(from);
            if let Err(error) = &passed_on {
                let name = stream.name();
                reporter.warn(&format!(
                    "cannot write to {name}, so the program's {name} is closed: {error}"
                ));
            }
            // Our stderr may be closed soon.
            reporter.flush();
            before_close();
            drop(to);
            if let Some(ends) = ends {
                // Nobody waits for it after a request to stop.
                let _ = ends.send(passed_on.is_ok());
            }
        };
        threads::start(stream.name(), run)
    }
}
