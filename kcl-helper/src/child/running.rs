//! The child as it runs: its pipes, its end, and what it says last.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use kcl_protocol::Line;

use super::bell::Bell;
use super::outgoing::OutgoingLine;
use super::process::{Pipes, Process, ProcessHandle, Program};
use super::stderr::{self, LastWords};
use super::wire::{StdoutEnd, Wire};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};
use crate::threads;

/// A running child. Dropping it kills its process group.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    wire: Wire,
    /// Lines that are not written yet, and how much of the first one is.
    unwritten: VecDeque<OutgoingLine>,
    written: usize,
    /// Nobody reads the child's stdin any more.
    has_closed_stdin: bool,
    /// The memory of a line that was written.
    spare: Vec<u8>,
    /// The conversation is over: stdin is closed after what is still to be written, and what comes
    /// from stdout is thrown away.
    is_over: bool,
    news: Arc<News>,
    bell: Bell,
    last_words: LastWords,
}

/// What the threads of a child report about it.
#[derive(Debug, Default)]
struct News {
    stderr_bytes: AtomicU64,
    /// Lines of stderr are being written to ours.
    showing: AtomicBool,
    stderr_ended: AtomicBool,
    exited: AtomicBool,
}

impl Child {
    /// Starts the program. News about it rings the bell; whole lines of its stderr go to `show` as
    /// they come.
    pub(crate) fn spawn(
        guardian: &Guardian,
        program: &Program,
        how: How,
        bell: Bell,
        show: impl FnMut(&[String]) + Send + 'static,
    ) -> Result<Child> {
        let (process, Pipes { stdin, stdout, stderr }) = Process::spawn(guardian, program, how)?;
        let wire = Wire::new(stdin, stdout).map_err(|error| {
            Error::new(Exit::Environment, "cannot set up a pipe").because(error)
        })?;
        let child = Child {
            process,
            wire,
            unwritten: VecDeque::new(),
            written: 0,
            has_closed_stdin: false,
            spare: Vec::new(),
            is_over: false,
            news: Arc::default(),
            bell,
            last_words: LastWords::default(),
        };
        child.start_threads(stderr, show)?;
        Ok(child)
    }

    fn start_threads(
        &self,
        stderr: impl io::Read + Send + 'static,
        mut show: impl FnMut(&[String]) + Send + 'static,
    ) -> Result<()> {
        let (news, bell, last_words) =
            (self.news.clone(), self.bell.clone(), self.last_words.clone());
        threads::start("stderr", move || {
            let stderr = Counted { from: stderr, bytes: &news.stderr_bytes };
            stderr::pump(stderr, &last_words, |lines| {
                news.showing.store(true, Ordering::SeqCst);
                show(lines);
                news.showing.store(false, Ordering::SeqCst);
            });
            news.stderr_ended.store(true, Ordering::SeqCst);
            bell.ring();
        })
        .map_err(threads::failed)?;
        let (news, bell, process) = (self.news.clone(), self.bell.clone(), self.process());
        threads::start("exit", move || {
            process.wait();
            news.exited.store(true, Ordering::SeqCst);
            bell.ring();
        })
        .map_err(threads::failed)
    }

    /// Hands over a line to be written, and writes what fits into the pipe. The rest follows while
    /// somebody [waits](Self::wait).
    pub(crate) fn send(&mut self, line: OutgoingLine) {
        self.unwritten.push_back(line);
        self.write();
    }

    fn write(&mut self) {
        while let Some(line) = self.unwritten.front() {
            if !self.has_closed_stdin {
                match self.wire.write(&line[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(_) => self.has_closed_stdin = true,
                }
                if !self.has_closed_stdin && self.written < line.len() {
                    return;
                }
            }
            // It is written, or never will be.
            self.written = 0;
            if let Some(OutgoingLine::Owned(line)) = self.unwritten.pop_front()
                && line.capacity() > self.spare.capacity()
            {
                self.spare = line;
            }
        }
        if self.is_over {
            self.wire.close_stdin();
        }
    }

    /// The memory of a line that was written, for another one.
    pub(crate) fn spare(&mut self) -> &mut Vec<u8> {
        &mut self.spare
    }

    /// Waits for news of this child or for the bell, at most until then; reads and writes meanwhile.
    /// It may return early.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        self.wire.wait(!self.unwritten.is_empty(), Some(&self.bell), until);
        self.write();
        while self.is_over && self.next_line().is_some() {}
    }

    /// Waits for output alone, which takes one system call where [`wait`](Self::wait) takes two.
    pub(crate) fn wait_for_output(&mut self) {
        if self.unwritten.is_empty() && !self.wire.has_ended() {
            self.wire.read();
        } else {
            self.wait(None);
        }
    }

    /// Whether all lines are written, or never will be as stdin is closed.
    pub(crate) fn all_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Whether a line could not be written, as nobody reads the child's stdin.
    pub(crate) fn has_closed_stdin(&self) -> bool {
        self.has_closed_stdin
    }

    pub(crate) fn process(&self) -> ProcessHandle {
        self.process.handle()
    }

    /// Takes the next line that has come from stdout.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        self.wire.take_line()
    }

    /// Gives a line's memory back.
    pub(crate) fn recycle(&mut self, line: Line) {
        self.wire.recycle(line);
    }

    /// Returns why no more lines come, once all that came have been taken.
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

    pub(crate) fn stderr_bytes(&self) -> u64 {
        self.news.stderr_bytes.load(Ordering::SeqCst)
    }

    /// Whether lines of its stderr are being written to ours.
    pub(crate) fn is_showing(&self) -> bool {
        self.news.showing.load(Ordering::SeqCst)
    }

    /// Closes stdin after what is still to be written, and throws away what comes from stdout, while
    /// somebody [waits](Self::wait).
    pub(crate) fn close_input(&mut self) {
        self.is_over = true;
        self.write();
        while self.next_line().is_some() {}
    }

    /// Kills the child and every process that it left in its group.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Kills what is left of the child's group and returns its exit status, or `None` if it cannot be
    /// killed.
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
