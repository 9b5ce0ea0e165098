//! Our end of a child's stdin and stdout, as cheap as it gets: a batch is one write and its answer
//! one read, on one thread, with no other to be woken.
//!
//! Where a line is longer than the pipe, the child may speak before it has read all of it, and then
//! both pipes are looked at. What it says meanwhile is kept up to a limit, and then in the pipe.

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout};

use kcl_protocol::{Line, LineBuffer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::child::{STDOUT_LINE_LIMIT, StdoutEnd};

/// How much of what a child says is taken while it has not read what it was given.
const AHEAD: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Wire {
    stdin: ChildStdin,
    stdout: ChildStdout,
    lines: LineBuffer,
    /// Bytes that were read while writing.
    ahead: usize,
    ended: Option<StdoutEnd>,
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
        Ok(Wire { stdin, stdout, lines, ahead: 0, ended: None })
    }

    /// Writes it all.
    pub(crate) fn send(&mut self, mut line: &[u8]) -> Result<(), Broken> {
        while !line.is_empty() {
            match self.stdin.write(line) {
                Ok(count) => line = &line[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room(),
                Err(_) => return Err(Broken::Stdin),
            }
        }
        self.ahead = 0;
        Ok(())
    }

    fn wait_for_room(&mut self) {
        let mut pipes =
            [PollFd::new(&self.stdin, PollFlags::OUT), PollFd::new(&self.stdout, PollFlags::IN)];
        let listens = self.ended.is_none() && self.ahead < AHEAD;
        let watched = if listens { &mut pipes[..] } else { &mut pipes[..1] };
        // An interrupted poll has found nothing: the caller tries once more.
        let _ = poll(watched, None);
        if !pipes[1].revents().is_empty() {
            self.ahead += self.read();
        }
    }

    /// The next line, waiting for it.
    pub(crate) fn next_line(&mut self) -> Result<Line, Broken> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(_) => return Err(Broken::Stdout(StdoutEnd::TooLong)),
            }
            if let Some(end) = &self.ended {
                return Err(Broken::Stdout(end.clone()));
            }
            self.read();
        }
    }

    /// Whether the next line, or the end, is there already.
    pub(crate) fn has_more(&self) -> bool {
        let mut pipe = [PollFd::new(&self.stdout, PollFlags::IN)];
        self.ended.is_some()
            || poll(&mut pipe, Some(&rustix::event::Timespec::default()))
                .is_ok_and(|count| count > 0)
    }

    /// Gives a line's memory back.
    pub(crate) fn recycle(&mut self, line: Line) {
        self.lines.recycle(line);
    }

    /// Closes the child's stdin; what it still says is to be read by nobody.
    pub(crate) fn close(self) -> ChildStdout {
        self.stdout
    }

    fn read(&mut self) -> usize {
        match self.stdout.read(self.lines.spare()) {
            Ok(0) => {
                // Java's reader takes what stands behind the last line's end as a line too.
                self.lines.push(b"\n");
                self.ended = Some(StdoutEnd::Closed);
            }
            Ok(count) => {
                self.lines.advance(count);
                return count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.ended = Some(StdoutEnd::Failed(error.to_string())),
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn start(script: &str) -> (std::process::Child, Wire) {
        let mut child = Command::new("sh")
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
