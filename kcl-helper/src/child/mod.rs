//! One child process: started in a process group of its own, its three pipes pumped by threads.
//!
//! Whoever drives a child must never wait for one pipe while the child waits for another. So
//! nothing here blocks the driver: a thread writes the child's stdin, one reads its stdout, one its
//! stderr, and one learns of its end; each rings the driver's [`Bell`], and the driver looks.
//!
//! Everything is bounded. Lines of stdout that the driver has not taken fill a small inbox and then
//! the pipe, so that a child that talks too much waits, as it would with the Java daemon. stderr is
//! shown as it comes and never waits for the driver.

mod bell;
pub(crate) mod faults;
mod process;
mod stderr;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use kcl_protocol::{Line, LineBuffer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

pub(crate) use bell::Bell;
pub(crate) use process::{Pipes, Process, Program, Waiter, cannot_start, describe};
pub(crate) use stderr::{LastWords, harmless, of_shard, pump as pump_stderr};

use crate::error::{Error, Exit, Result};

/// The longest line of stdout that is taken. The Java daemon has no limit, and no message of a
/// child comes near this one: it is there so that a child that never ends its line cannot fill our
/// memory.
pub(crate) const STDOUT_LINE_LIMIT: usize = 16 << 20;

/// How many lines, and how many bytes of lines, may wait for the driver.
const INBOX_LINES: usize = 256;
const INBOX_BYTES: usize = 1 << 20;

/// A running child. Dropping it kills its process group.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    /// What is written to without waiting, and the thread that waits.
    stdin: Option<(Arc<ChildStdin>, mpsc::Sender<Unwritten>)>,
    shared: Arc<Shared>,
    last_words: LastWords,
}

/// A line, and how much of it has gone through.
type Unwritten = (Vec<u8>, usize);

/// Why no more lines come from stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StdoutEnd {
    Closed,
    TooLong,
    Failed(String),
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Signalled when the inbox has room again.
    room: Condvar,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Inbox {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines are thrown away: the conversation is over.
    discard: bool,
    stdout_end: Option<StdoutEnd>,
    /// Lines of stderr are on their way to whoever reads ours.
    showing: bool,
    stderr_ended: bool,
    unwritten: usize,
    write_error: Option<String>,
    exited: bool,
}

impl Child {
    /// Starts the program. Every piece of news about it rings the bell; whole lines of its stderr,
    /// made harmless, go to `show` as they come.
    pub(crate) fn spawn(
        program: &Program,
        bell: Bell,
        mut show: impl FnMut(&[String]) + Send + 'static,
    ) -> Result<Child> {
        let (process, Pipes { stdin, stdout, stderr }) = Process::spawn(program)?;
        let waiter = process.waiter();
        let never_waits =
            fcntl_getfl(&stdin).and_then(|flags| fcntl_setfl(&stdin, flags | OFlags::NONBLOCK));
        never_waits.map_err(|error| {
            Error::new(Exit::Surroundings, "cannot set up a pipe").because(error)
        })?;
        let stdin = Arc::new(stdin);
        let shared =
            Arc::new(Shared { inbox: Mutex::default(), room: Condvar::new(), bell: bell.clone() });
        let (writes, to_write) = mpsc::channel();
        let child = Child {
            process,
            stdin: Some((stdin.clone(), writes)),
            shared: shared.clone(),
            last_words: LastWords::default(),
        };

        let words = child.last_words.clone();
        let threads = (|| {
            let at = shared.clone();
            start("stdin", move || write(&stdin, &to_write, &at))?;
            let at = shared.clone();
            start("stdout", move || read(stdout, &at))?;
            let at = shared.clone();
            start("stderr", move || {
                stderr::pump(stderr, &words, |lines| {
                    at.lock().showing = true;
                    show(lines);
                    at.lock().showing = false;
                });
                at.tell(|inbox| inbox.stderr_ended = true);
            })?;
            start("exit", move || {
                waiter.wait();
                shared.tell(|inbox| inbox.exited = true);
            })
        })();
        threads.map_err(|error| {
            child.kill();
            Error::new(Exit::Surroundings, "cannot start a thread").because(error)
        })?;
        Ok(child)
    }

    /// Hands over a line to be written; it is gone through when [`unwritten`](Self::unwritten) says
    /// 0 again.
    pub(crate) fn send(&mut self, line: Vec<u8>) {
        let Some((stdin, writes)) = &self.stdin else { return };
        let mut written = 0;
        if self.shared.lock().unwritten == 0 {
            // Nothing stands before it, so what the pipe has room for goes in at once: the child
            // starts to read before the thread has woken up, which most lines do not need.
            match (&**stdin).write(&line) {
                Ok(count) => written = count,
                Err(error) if is_only_full(&error) => {}
                Err(error) => {
                    self.shared.tell(|inbox| inbox.write_error = Some(error.to_string()));
                    return;
                }
            }
        }
        if written < line.len() {
            self.shared.tell(|inbox| inbox.unwritten += 1);
            // The thread is there until the channel is closed, which `close_input` alone does.
            let _ = writes.send((line, written));
        }
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.shared.lock().unwritten
    }

    /// Why the child's stdin takes no more.
    pub(crate) fn write_error(&self) -> Option<String> {
        self.shared.lock().write_error.clone()
    }

    /// The next line that has come from stdout.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        let mut inbox = self.shared.lock();
        let line = inbox.lines.pop_front()?;
        inbox.bytes -= line.bytes().len();
        self.shared.room.notify_one();
        Some(line)
    }

    /// Why no more lines come, once all that came have been taken.
    pub(crate) fn stdout_end(&self) -> Option<StdoutEnd> {
        let inbox = self.shared.lock();
        if inbox.lines.is_empty() { inbox.stdout_end.clone() } else { None }
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.shared.lock().exited
    }

    /// Whether the child's stdout and stderr have both been closed, by every process that had them.
    pub(crate) fn is_silent(&self) -> bool {
        let inbox = self.shared.lock();
        inbox.stdout_end.is_some() && inbox.stderr_ended
    }

    pub(crate) fn is_showing(&self) -> bool {
        self.shared.lock().showing
    }

    /// Closes stdin behind what is still to be written, and drains stdout from now on.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
        self.shared.tell(|inbox| {
            inbox.discard = true;
            inbox.lines.clear();
            inbox.bytes = 0;
        });
        self.shared.room.notify_all();
    }

    /// Kills the child and every process that it left in its group.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// How the child ended, after killing what is left of its group. `None` if it cannot be ended.
    pub(crate) fn finish(&mut self) -> Option<ExitStatus> {
        if self.process.status().is_none() {
            self.kill();
            self.close_input();
        }
        self.process.finish()
    }

    pub(crate) fn last_words(&self) -> Vec<String> {
        self.last_words.get()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // Nothing panics while it holds the lock, and each change is whole.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.lock());
        self.bell.ring();
    }

    /// Puts a line into the inbox, waiting for room.
    fn deliver(&self, line: Line) {
        let mut inbox = self.lock();
        while !inbox.discard
            && !inbox.lines.is_empty()
            && (inbox.lines.len() >= INBOX_LINES || inbox.bytes >= INBOX_BYTES)
        {
            inbox = self.room.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if !inbox.discard {
            inbox.bytes += line.bytes().len();
            inbox.lines.push_back(line);
            drop(inbox);
            self.bell.ring();
        }
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(run).map(drop)
}

fn write(stdin: &ChildStdin, to_write: &mpsc::Receiver<Unwritten>, shared: &Shared) {
    let mut failed = false;
    for (line, written) in to_write {
        let result = if failed { Ok(()) } else { write_all(stdin, &line[written..]) };
        shared.tell(|inbox| {
            inbox.unwritten -= 1;
            if let Err(error) = result {
                failed = true;
                inbox.write_error = Some(error.to_string());
            }
        });
    }
}

/// Waits for room as often as it takes.
fn write_all(mut stdin: &ChildStdin, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match stdin.write(line) {
            Ok(count) => line = &line[count..],
            Err(error) if is_only_full(&error) => {
                // An interrupted wait has seen nothing, and then the write says so once more.
                let _ = poll(&mut [PollFd::new(&stdin, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the write may succeed later.
pub(crate) fn is_only_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn read(mut stdout: ChildStdout, shared: &Shared) {
    let mut lines = LineBuffer::with_limit(STDOUT_LINE_LIMIT);
    let end = loop {
        match lines.next_line() {
            Ok(Some(line)) => {
                shared.deliver(line);
                continue;
            }
            Ok(None) => {}
            Err(_) => break StdoutEnd::TooLong,
        }
        match stdout.read(lines.spare()) {
            Ok(0) => break StdoutEnd::Closed,
            Ok(count) => lines.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break StdoutEnd::Failed(error.to_string()),
        }
    };
    if end == StdoutEnd::Closed {
        // Java's reader takes what stands behind the last line's end as a line too.
        lines.push(b"\n");
        if let Ok(Some(line)) = lines.next_line() {
            shared.deliver(line);
        }
    }
    shared.tell(|inbox| inbox.stdout_end = Some(end));
}
