//! Our end of a child's stdin and stdout, as cheap as it gets: a batch is one write and its answer
//! one read, on one thread, with no other to be woken.
//!
//! Where a line is longer than the pipe, the child may speak before it has read all of it, and then
//! both pipes are looked at. What it says meanwhile is kept up to a limit, and then in the pipe.

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use kcl_protocol::{Line, LineBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Bell, STDOUT_LINE_LIMIT};

/// How much of what a child says is taken while nobody wants to hear it.
const AHEAD: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Wire {
    /// `None` once it is closed.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    lines: LineBuffer,
    /// The first line that nobody has taken.
    next: Option<Line>,
    /// Bytes that were read behind it.
    ahead: usize,
    ended: Option<StdoutEnd>,
}

/// Why no more lines come from stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StdoutEnd {
    Closed,
    TooLong,
    Failed(String),
}

/// Why a conversation cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Stdin,
    Stdout(StdoutEnd),
}

impl Wire {
    pub(crate) fn new(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<Wire> {
        fcntl_setfl(&stdin, fcntl_getfl(&stdin)? | OFlags::NONBLOCK)?;
        let lines = LineBuffer::with_limit(STDOUT_LINE_LIMIT);
        Ok(Wire { stdin: Some(stdin), stdout, lines, next: None, ahead: 0, ended: None })
    }

    /// Writes what there is room for, and gives its length. It does not wait.
    ///
    /// # Errors
    /// Nobody reads the pipe any more.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else { return Ok(line.len()) };
        let mut written = 0;
        while written < line.len() {
            match stdin.write(&line[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Writes it all.
    pub(crate) fn send(&mut self, mut line: &[u8]) -> Result<(), Broken> {
        loop {
            line = &line[self.write(line).map_err(|_| Broken::Stdin)?..];
            if line.is_empty() {
                return Ok(());
            }
            self.wait(true, None, None);
        }
    }

    /// Waits until stdin has room, if there is something to write, or the child has said something
    /// and it is not yet too much, or the bell has been rung; at most until then. It may return for
    /// nothing. What the child has said is read.
    pub(crate) fn wait(&mut self, writes: bool, bell: Option<&Bell>, until: Option<Instant>) {
        let time = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let listens = self.ended.is_none() && self.ahead < AHEAD;
        let mut pipes = Vec::with_capacity(3);
        if listens {
            pipes.push(PollFd::new(&self.stdout, PollFlags::IN));
        }
        if let Some(bell) = bell {
            pipes.push(PollFd::new(bell, PollFlags::IN));
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| writes) {
            pipes.push(PollFd::new(stdin, PollFlags::OUT));
        }
        // An interrupted poll has found nothing: the caller looks once more.
        let _ = poll(&mut pipes, time.as_ref());
        let has = |index: usize| pipes.get(index).is_some_and(|pipe| !pipe.revents().is_empty());
        let (speaks, is_rung) = (listens && has(0), bell.is_some() && has(usize::from(listens)));
        if let Some(bell) = bell.filter(|_| is_rung) {
            bell.answer();
        }
        if speaks {
            self.read();
        }
    }

    /// The next line, waiting for it.
    pub(crate) fn next_line(&mut self) -> Result<Line, Broken> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            if let Some(end) = &self.ended {
                return Err(Broken::Stdout(end.clone()));
            }
            self.read();
        }
    }

    /// The next line of those that have been read.
    pub(crate) fn take_line(&mut self) -> Option<Line> {
        let line = self.next.take()?;
        self.find_line();
        Some(line)
    }

    /// Why no more lines come, once all that came have been taken.
    pub(crate) fn end(&self) -> Option<&StdoutEnd> {
        if self.next.is_none() { self.ended.as_ref() } else { None }
    }

    /// Whether stdout has come to its end, whatever is left to be taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the next line, or the end, is there already.
    pub(crate) fn has_more(&self) -> bool {
        let mut pipe = [PollFd::new(&self.stdout, PollFlags::IN)];
        self.next.is_some()
            || self.ended.is_some()
            || poll(&mut pipe, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    /// Gives a line's memory back.
    pub(crate) fn recycle(&mut self, line: Line) {
        self.lines.recycle(line);
    }

    /// Closes the child's stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes the child's stdin; what it still says is to be read by nobody.
    pub(crate) fn close(self) -> ChildStdout {
        self.stdout
    }

    /// Reads once, waiting for something to read.
    fn read(&mut self) {
        match self.stdout.read(self.lines.spare()) {
            Ok(0) => {
                // Java's reader takes what stands behind the last line's end as a line too.
                self.lines.push(b"\n");
                self.ended = Some(StdoutEnd::Closed);
            }
            Ok(count) => {
                self.lines.advance(count);
                self.ahead += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.ended = Some(StdoutEnd::Failed(error.to_string())),
        }
        self.find_line();
    }

    fn find_line(&mut self) {
        if self.next.is_none() {
            match self.lines.next_line() {
                Ok(line) => self.next = line,
                Err(_) => self.ended = Some(StdoutEnd::TooLong),
            }
            if self.next.is_none() {
                // What stands there is the beginning of a line, which has its own limit.
                self.ahead = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn start(script: &str) -> (std::process::Child, Wire) {
        let mut child = kcl_fixtures::command("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wire = Wire::new(child.stdin.take().unwrap(), child.stdout.take().unwrap()).unwrap();
        (child, wire)
    }

    #[test]
    fn a_child_that_echoes_a_line_longer_than_both_pipes_does_not_hang() {
        let (mut child, mut wire) = start("exec cat");
        for size in [1, 100, 300_000, 700_000] {
            let mut line = vec![b'x'; size];
            line.push(b'\n');
            wire.send(&line).unwrap();
            let back = wire.next_line().unwrap();
            assert_eq!(back.bytes().len(), size);
            wire.recycle(back);
        }
        drop(wire.close());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn an_unfinished_last_line_is_a_line_and_then_comes_the_end() {
        let (mut child, mut wire) = start("printf 'one\\ntwo'");
        assert_eq!(wire.next_line().unwrap().bytes(), b"one");
        assert_eq!(wire.next_line().unwrap().bytes(), b"two");
        assert!(wire.has_more());
        assert_eq!(wire.next_line().unwrap_err(), Broken::Stdout(StdoutEnd::Closed));
        child.wait().unwrap();
        assert_eq!(wire.send(b"three\n").unwrap_err(), Broken::Stdin);
    }
}
