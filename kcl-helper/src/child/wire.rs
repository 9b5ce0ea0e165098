//! Our end of a child's stdin and stdout, on one thread: a batch takes one write, and its answer one
//! read.
//!
//! If a line is longer than the pipe, the child may write before it has read all of it; then the
//! thread waits for both pipes. What the child writes meanwhile is read up to a limit, and the rest
//! stays in the pipe.

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use kcl_protocol::{Line, LineBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::bell::Bell;

/// The longest line of stdout that is accepted. The Java daemon has no limit. No message of a child
/// comes near this one, which keeps a child that never ends its line from filling our memory.
pub(crate) const STDOUT_LINE_LIMIT: usize = 16 << 20;

/// How much of a child's stdout is read before somebody takes it.
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

impl Wire {
    pub(crate) fn new(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<Wire> {
        fcntl_setfl(&stdin, fcntl_getfl(&stdin)? | OFlags::NONBLOCK)?;
        let lines = LineBuffer::with_limit(STDOUT_LINE_LIMIT);
        Ok(Wire { stdin: Some(stdin), stdout, lines, next: None, ahead: 0, ended: None })
    }

    /// Writes what fits into the pipe and returns its length. It does not wait.
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

    /// Waits until the child has written something, which is read, or until stdin takes more, if we
    /// have something to write, or until the bell rings; at most until then. It may return early.
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
        // An interrupted poll finds nothing, and the caller tries again.
        let _ = poll(&mut pipes, time.as_ref());
        let has = |index: usize| pipes.get(index).is_some_and(|pipe| !pipe.revents().is_empty());
        let (speaks, is_rung) = (listens && has(0), bell.is_some() && has(usize::from(listens)));
        if let Some(bell) = bell.filter(|_| is_rung) {
            bell.clear();
        }
        if speaks {
            self.read();
        }
    }

    /// Takes the next line that has been read.
    pub(crate) fn take_line(&mut self) -> Option<Line> {
        let line = self.next.take()?;
        self.find_line();
        Some(line)
    }

    /// Returns why no more lines come, once all that came have been taken.
    pub(crate) fn end(&self) -> Option<&StdoutEnd> {
        if self.next.is_none() { self.ended.as_ref() } else { None }
    }

    /// Whether stdout has ended, even if lines are left to be taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Gives a line's memory back.
    pub(crate) fn recycle(&mut self, line: Line) {
        self.lines.recycle(line);
    }

    /// Closes the child's stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Reads once, waiting for something to read.
    pub(crate) fn read(&mut self) {
        match self.stdout.read(self.lines.spare()) {
            Ok(0) => {
                // As for Java's reader, what follows the last line end is a line too.
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
                // What is left is the beginning of a line, which has a limit of its own.
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

    /// Writes it all, reading meanwhile.
    fn send(wire: &mut Wire, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            line = &line[wire.write(line)?..];
            if !line.is_empty() {
                wire.wait(true, None, None);
            }
        }
        Ok(())
    }

    /// Waits for the next line; `None` at the end.
    fn next_line(wire: &mut Wire) -> Option<Line> {
        loop {
            if let Some(line) = wire.take_line() {
                return Some(line);
            }
            if wire.has_ended() {
                return None;
            }
            wire.read();
        }
    }

    #[test]
    fn a_child_that_echoes_a_line_longer_than_both_pipes_does_not_hang() {
        let (mut child, mut wire) = start("exec cat");
        for size in [1, 100, 300_000, 700_000] {
            let mut line = vec![b'x'; size];
            line.push(b'\n');
            send(&mut wire, &line).unwrap();
            let back = next_line(&mut wire).unwrap();
            assert_eq!(back.bytes().len(), size);
            wire.recycle(back);
        }
        wire.close_stdin();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn an_unfinished_last_line_is_a_line_and_then_comes_the_end() {
        let (mut child, mut wire) = start("printf 'one\\ntwo'");
        assert_eq!(next_line(&mut wire).unwrap().bytes(), b"one");
        assert_eq!(next_line(&mut wire).unwrap().bytes(), b"two");
        assert!(next_line(&mut wire).is_none());
        assert_eq!(wire.end(), Some(&StdoutEnd::Closed));
        child.wait().unwrap();
        assert!(send(&mut wire, b"three\n").is_err());
    }
}
