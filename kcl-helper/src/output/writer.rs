//! The thread that writes to stderr, so that no other thread has to wait for its reader; and stdout, which
//! is written when the command is done.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::queue::{Chunk, Kind, PATIENCE, Phase, Put, Queue};
use crate::threads;

/// How often a thread that waits for stdout checks whether we are stopping.
const TICK: Duration = Duration::from_millis(50);

/// How long data waits for earlier messages while children are supervised. Both often go to one terminal.
const BEFORE_DATA: Duration = Duration::from_millis(200);

/// Writes to stderr and stdout. Clones share the streams.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write.
    work: Condvar,
    /// Notified when something was written or the phase has changed.
    change: Condvar,
    /// Locked while writing to stderr.
    screen: Mutex<Screen>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Whether the thread is running; `None` before the first text, which starts it.
    thread: Option<bool>,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer(Arc::new(Shared {
            state: Mutex::new(State { queue: Queue::new(), thread: None }),
            work: Condvar::new(),
            change: Condvar::new(),
            screen: Mutex::default(),
        }))
    }

    /// Queues whole lines for stderr, and waits for space if this kind may.
    pub(super) fn write(&self, kind: Kind, mut text: &str) {
        let mut state = self.0.state();
        loop {
            let put = state.queue.put(kind, &mut text, Instant::now());
            state = self.wake(state);
            match put {
                Put::Done => return,
                Put::Wait(until) => state = self.0.wait(state, until),
            }
        }
    }

    /// Shows these lines below all others, instead of the ones shown before.
    pub(super) fn show(&self, lines: Vec<String>) {
        let mut state = self.0.state();
        state.queue.show(lines, Instant::now());
        drop(self.wake(state));
    }

    pub(super) fn supervise(&self) {
        self.set_phase(Phase::Supervising);
    }

    pub(super) fn stop(&self) {
        self.set_phase(Phase::Stopping(Instant::now()));
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.0.state().queue.phase(), Phase::Stopping(_))
    }

    fn set_phase(&self, phase: Phase) {
        self.0.state().queue.set_phase(phase);
        self.0.change.notify_all();
    }

    /// Waits until everything is written, as long as the queue allows.
    pub(super) fn flush(&self) {
        let start = Instant::now();
        self.flush_until(|queue| queue.end_of_flush(start));
    }

    /// Waits until everything is written, but no longer than this.
    pub(super) fn flush_within(&self, time: Duration) {
        let end = Instant::now() + time;
        self.flush_until(|_| Some(end));
    }

    fn flush_until(&self, end: impl Fn(&Queue) -> Option<Instant>) {
        let mut state = self.0.state();
        while !state.queue.is_empty() {
            let end = end(&state.queue);
            if end.is_some_and(|end| Instant::now() >= end) {
                return;
            }
            state = self.0.wait(state, end);
        }
    }

    /// Writes data to stdout, after all earlier messages. A reader that has gone, such as `head`, is not an
    /// error, nor is one that does not read while we are stopping.
    pub(super) fn print(&self, data: Vec<u8>) -> io::Result<()> {
        let write = move || match write_all(rustix::stdio::stdout(), &data) {
            Err(Errno::PIPE) => Ok(()),
            written => Ok(written?),
        };
        if self.0.state().queue.phase() == Phase::Alone {
            self.flush();
            return write();
        }
        self.flush_within(BEFORE_DATA);
        let began = Instant::now();
        let (done, written) = mpsc::channel();
        threads::start("stdout", move || drop(done.send(write())))?;
        loop {
            match written.recv_timeout(TICK) {
                Ok(written) => return written,
                Err(_) => {
                    if let Phase::Stopping(stopped) = self.0.state().queue.phase()
                        && Instant::now() >= began.max(stopped) + PATIENCE
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Makes sure that the queue is written.
    fn wake<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let has_thread = *state.thread.get_or_insert_with(|| {
            let shared = self.0.clone();
            threads::start("output", move || shared.write_for_ever()).is_ok()
        });
        if has_thread {
            self.0.work.notify_one();
        } else {
            // Without a thread, at least write the error about that.
            while let Some(chunk) = state.queue.take() {
                self.0.write(chunk);
                state.queue.written(Instant::now());
            }
        }
        state
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let Some(until) = until else {
            return self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let time = until.saturating_duration_since(Instant::now());
        self.change.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn write_for_ever(&self) {
        let mut state = self.state();
        loop {
            let Some(chunk) = state.queue.take() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            self.write(chunk);
            state = self.state();
            state.queue.written(Instant::now());
            self.change.notify_all();
        }
    }

    fn write(&self, chunk: Chunk) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let text = screen.put(chunk, size_of_terminal);
        // A reader that has gone must not stop the daemon that we supervise. The exit status is enough.
        let _ = write_all(rustix::stdio::stderr(), text.as_bytes());
    }
}

/// How many lines of progress are on the terminal.
#[derive(Debug, Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    /// Returns what to write so that the text is above the progress.
    fn put(&mut self, chunk: Chunk, size: impl Fn() -> (usize, usize)) -> String {
        let mut text = String::new();
        if self.lines > 0 {
            // Move to the first of them and clear the screen below. Writing to a String cannot fail.
            let _ = write!(text, "\x1b[{}A\r\x1b[J", self.lines);
        }
        text.push_str(&chunk.text);
        let shown = chunk.shown.unwrap_or_default();
        self.lines = 0;
        if !shown.is_empty() {
            let (columns, rows) = size();
            // Lines that wrap or scroll cannot be cleared.
            for line in shown.iter().take(rows.saturating_sub(1)) {
                text.extend(line.chars().take(columns.saturating_sub(1)));
                text.push('\n');
                self.lines += 1;
            }
        }
        text
    }
}

/// Returns the columns and rows.
fn size_of_terminal() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Another process that shares it may have made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_above_the_progress() {
        let mut screen = Screen::default();
        let mut put = |text: &str, shown: Option<&[&str]>| {
            let shown = shown.map(|lines| lines.iter().map(|&line| line.into()).collect());
            screen.put(Chunk { text: text.into(), shown }, || (8, 4))
        };
        assert_eq!(put("a\n", None), "a\n");
        assert_eq!(put("b\n", Some(&[])), "b\n");
        assert_eq!(put("", Some(&["1%", "a longer line"])), "1%\na longe\n");
        assert_eq!(put("c\n", None), "\x1b[2A\r\x1b[Jc\n");
        assert_eq!(put("d\n", Some(&["1", "2", "3", "4"])), "d\n1\n2\n3\n");
        assert_eq!(put("", Some(&[])), "\x1b[3A\r\x1b[J");
        assert_eq!(put("e\n", Some(&[])), "e\n");
    }
}
