//! The thread that owns stderr, so that nobody else waits for whoever reads it; and stdout, for
//! which only the end of the work waits.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::queue::{Chunk, Kind, PATIENCE, Phase, Put, Queue};

/// How often somebody who waits for stdout looks whether he is to stop.
const TICK: Duration = Duration::from_millis(50);

/// Clones write to the same streams.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something is to be written.
    work: Condvar,
    /// Something has been written, or the phase is another.
    change: Condvar,
    /// Held while stderr is written.
    screen: Mutex<Screen>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Whether there is a thread that writes. It is started by the first text.
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

    /// Takes whole lines for stderr, and waits for room if this kind waits.
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

    /// Shows these lines below all others, instead of those that were shown before.
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

    /// Waits until all is written, or until it may wait no longer.
    pub(super) fn flush(&self) {
        let start = Instant::now();
        self.flush_until(|queue| queue.end_of_flush(start));
    }

    /// Waits until all is written, but no longer than this.
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

    /// Writes data to stdout, behind all that was said before. A reader that has gone away, such as
    /// `head`, is no failure, and neither is one that reads nothing once we are to stop.
    pub(super) fn print(&self, data: Vec<u8>) -> io::Result<()> {
        let write = move || match write_all(rustix::stdio::stdout(), &data) {
            Err(Errno::PIPE) => Ok(()),
            written => Ok(written?),
        };
        self.flush();
        if self.0.state().queue.phase() == Phase::Alone {
            return write();
        }
        let began = Instant::now();
        let (done, written) = mpsc::channel();
        start("stdout", move || drop(done.send(write())))?;
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

    /// Sees to it that what is in the queue gets written.
    fn wake<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let has_thread = *state.thread.get_or_insert_with(|| {
            let shared = self.0.clone();
            start("output", move || shared.write_for_ever()).is_ok()
        });
        if has_thread {
            self.0.work.notify_one();
        } else {
            // Where no thread can be had, that must be said all the same.
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
        // A reader that has gone away must not end a daemon that is being looked after, and the
        // exit status says the rest.
        let _ = write_all(rustix::stdio::stderr(), text.as_bytes());
    }
}

/// What stands on the terminal below all lines.
#[derive(Debug, Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    /// What is to be written so that the text stands above what is shown.
    fn put(&mut self, chunk: Chunk, size: impl Fn() -> (usize, usize)) -> String {
        let mut text = String::new();
        if self.lines > 0 {
            // To the first of its lines, and all from there away. Writing to a String cannot fail.
            let _ = write!(text, "\x1b[{}A\r\x1b[J", self.lines);
        }
        text.push_str(&chunk.text);
        let shown = chunk.shown.unwrap_or_default();
        self.lines = 0;
        if !shown.is_empty() {
            let (columns, rows) = size();
            // What does not fit would scroll away what cannot be taken back.
            for line in shown.iter().take(rows.saturating_sub(1)) {
                text.extend(line.chars().take(columns.saturating_sub(1)));
                text.push('\n');
                self.lines += 1;
            }
        }
        text
    }
}

/// Columns and rows.
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
            // Whoever shares it with us may have made it so.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_above_what_is_shown() {
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
