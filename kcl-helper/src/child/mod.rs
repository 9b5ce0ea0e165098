//! One child process: started in a process group of its own, and talked to over its pipes.
//!
//! Whoever drives a child must never wait for one pipe while the child waits for another. So stdin
//! and stdout are a [`Wire`], which waits for both at a time, and for the driver's [`Bell`]; that
//! is rung by a thread that reads stderr and by one that learns of the child's end.
//!
//! Everything is bounded. What stands on stdout and the driver has not taken fills a small buffer
//! and then the pipe, so that a child that talks too much waits, as it would with the Java daemon.
//! stderr is shown as it comes and never waits for the driver.

mod bell;
pub(crate) mod faults;
mod process;
mod stderr;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use kcl_protocol::Line;

pub(crate) use bell::Bell;
pub(crate) use process::{Pipes, Process, Program, allow_files, describe};
pub(crate) use stderr::{LastWords, pump as pump_stderr};
pub(crate) use wire::{Broken, StdoutEnd, Wire};

use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};

/// The longest line of stdout that is taken. The Java daemon has no limit, and no message of a
/// child comes near this one: it is there so that a child that never ends its line cannot fill our
/// memory.
pub(crate) const STDOUT_LINE_LIMIT: usize = 16 << 20;

/// A running child. Dropping it kills its process group.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    wire: Wire,
    /// Lines that have not gone through, and how much of the first has.
    unwritten: VecDeque<Vec<u8>>,
    written: usize,
    write_error: Option<String>,
    /// The memory of a line that has gone through.
    spare: Vec<u8>,
    /// The conversation is over: stdin is closed behind what is still to be written, and what comes
    /// from stdout is thrown away.
    is_over: bool,
    news: Arc<News>,
    bell: Bell,
    last_words: LastWords,
}

/// What threads tell of a child.
#[derive(Debug, Default)]
struct News {
    /// How much of stderr has come.
    stderr_bytes: AtomicU64,
    /// Lines of stderr are on their way to whoever reads ours.
    showing: AtomicBool,
    stderr_ended: AtomicBool,
    exited: AtomicBool,
}

impl Child {
    /// Starts the program. Every piece of news about it rings the bell; whole lines of its stderr
    /// go to `show` as they come.
    pub(crate) fn spawn(
        guardian: &Guardian,
        program: &Program,
        how: How,
        bell: Bell,
        mut show: impl FnMut(&[String]) + Send + 'static,
    ) -> Result<Child> {
        let (process, Pipes { stdin, stdout, stderr }) = Process::spawn(guardian, program, how)?;
        let waiter = process.waiter();
        let wire = Wire::new(stdin, stdout).map_err(|error| {
            Error::new(Exit::Environment, "cannot set up a pipe").because(error)
        })?;
        let child = Child {
            process,
            wire,
            unwritten: VecDeque::new(),
            written: 0,
            write_error: None,
            spare: Vec::new(),
            is_over: false,
            news: Arc::default(),
            bell: bell.clone(),
            last_words: LastWords::default(),
        };

        let words = child.last_words.clone();
        let threads = (|| {
            let (news, rung) = (child.news.clone(), bell.clone());
            start("stderr", move || {
                let stderr = Counted { from: stderr, bytes: &news.stderr_bytes };
                stderr::pump(stderr, &words, |lines| {
                    news.showing.store(true, Ordering::SeqCst);
                    show(lines);
                    news.showing.store(false, Ordering::SeqCst);
                });
                news.stderr_ended.store(true, Ordering::SeqCst);
                rung.ring();
            })?;
            let news = child.news.clone();
            start("exit", move || {
                waiter.wait();
                news.exited.store(true, Ordering::SeqCst);
                bell.ring();
            })
        })();
        threads.map_err(|error| {
            child.kill();
            Error::new(Exit::Environment, "cannot start a thread").because(error)
        })?;
        Ok(child)
    }

    /// Hands over a line to be written, and writes what there is room for. All has gone through
    /// when [`unwritten`](Self::unwritten) says 0 again.
    pub(crate) fn send(&mut self, line: Vec<u8>) {
        self.unwritten.push_back(line);
        self.write();
    }

    fn write(&mut self) {
        while let Some(line) = self.unwritten.front() {
            if self.write_error.is_none() {
                match self.wire.write(&line[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) => self.write_error = Some(error.to_string()),
                }
                if self.write_error.is_none() && self.written < line.len() {
                    return;
                }
            }
            // It has gone through, or never will.
            self.written = 0;
            let line = self.unwritten.pop_front().unwrap_or_default();
            if line.capacity() > self.spare.capacity() {
                self.spare = line;
            }
        }
        if self.is_over {
            self.wire.close_stdin();
        }
    }

    /// The memory of a line that has gone through, for another one.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Waits for news of this child or a ring of the bell, at most until then; reads and writes
    /// meanwhile. It may return for nothing.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        self.wire.wait(!self.unwritten.is_empty(), Some(&self.bell), until);
        self.write();
        while self.is_over && self.next_line().is_some() {}
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Why the child's stdin takes no more.
    pub(crate) fn write_error(&self) -> Option<&str> {
        self.write_error.as_deref()
    }

    /// The next line that has come from stdout.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        self.wire.take_line()
    }

    /// Gives a line's memory back.
    pub(crate) fn recycle(&mut self, line: Line) {
        self.wire.recycle(line);
    }

    /// Why no more lines come, once all that came have been taken.
    pub(crate) fn stdout_end(&self) -> Option<StdoutEnd> {
        self.wire.end().cloned()
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.news.exited.load(Ordering::SeqCst)
    }

    /// Whether the child's stdout and stderr have both been closed, by every process that had them.
    pub(crate) fn is_silent(&self) -> bool {
        self.wire.has_ended() && self.news.stderr_ended.load(Ordering::SeqCst)
    }

    /// How much of its stderr has come.
    pub(crate) fn stderr_bytes(&self) -> u64 {
        self.news.stderr_bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn is_showing(&self) -> bool {
        self.news.showing.load(Ordering::SeqCst)
    }

    /// Closes stdin behind what is still to be written, and drains stdout, while somebody
    /// [waits](Self::wait).
    pub(crate) fn close_input(&mut self) {
        self.is_over = true;
        self.write();
        while self.next_line().is_some() {}
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

/// Counts what is read.
struct Counted<'a, R> {
    from: R,
    bytes: &'a AtomicU64,
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(out)?;
        self.bytes.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(run).map(drop)
}
