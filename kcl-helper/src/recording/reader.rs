//! The events of a recording, one after the other.

use std::io::{self, Read};
use std::time::Duration;

use kcl_protocol::{Line, LineBuffer};

use super::event::{Event, What};
use super::header::{Header, Invalid};

/// Reads events, with their times counted from the start.
#[derive(Debug)]
pub(super) struct Reader<R> {
    lines: RawLines<R>,
    line: Option<Line>,
    at: Duration,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Event(What<'a>),
    /// A line that is no event: its number in the file, and why.
    Damaged(u64, String),
    /// The file ends inside a line.
    CutOff,
}

impl<R: Read> Reader<R> {
    pub(super) fn open(from: R) -> Result<(Header, Reader<R>), Invalid> {
        let mut lines = RawLines { from, buffer: LineBuffer::new(), number: 0, ended: false };
        let line = match lines.next()? {
            Raw::Line(line) => line,
            // A header that was cut off, or another file without a line end.
            Raw::TooLong(_) | Raw::CutOff => return Err(Invalid::NoHeader),
            Raw::End => return Err(Invalid::Empty),
        };
        let header = Header::parse(line.bytes())?;
        Ok((header, Reader { lines, line: Some(line), at: Duration::ZERO }))
    }

    /// Returns what comes next, with its time since the start; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(Duration, Next<'_>)>> {
        if let Some(line) = self.line.take() {
            self.lines.buffer.recycle(line);
        }
        let line = match self.lines.next()? {
            Raw::Line(line) => self.line.insert(line),
            Raw::TooLong(reason) => {
                return Ok(Some((self.at, Next::Damaged(self.lines.number, reason))));
            }
            Raw::CutOff => return Ok(Some((self.at, Next::CutOff))),
            Raw::End => return Ok(None),
        };
        let next = match Event::parse(line.bytes()) {
            Ok(event) => {
                self.at = self.at.saturating_add(event.since);
                Next::Event(event.what)
            }
            Err(error) => Next::Damaged(self.lines.number, error.to_string()),
        };
        Ok(Some((self.at, next)))
    }
}

/// The file's lines. Blank ones are skipped.
#[derive(Debug)]
struct RawLines<R> {
    from: R,
    buffer: LineBuffer,
    /// Of the line handed out last. Blank ones do not count: a recording has none.
    number: u64,
    ended: bool,
}

enum Raw {
    Line(Line),
    TooLong(String),
    CutOff,
    End,
}

impl<R: Read> RawLines<R> {
    fn next(&mut self) -> io::Result<Raw> {
        loop {
            match self.buffer.next_line() {
                Ok(Some(line)) => {
                    self.number += 1;
                    return Ok(Raw::Line(line));
                }
                Ok(None) if self.ended => return Ok(Raw::End),
                Ok(None) => {}
                Err(error) => {
                    self.number += 1;
                    return Ok(Raw::TooLong(error.to_string()));
                }
            }
            let count = match self.from.read(self.buffer.spare()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            self.buffer.advance(count);
            if count == 0 {
                self.ended = true;
                if self.buffer.end_of_input().is_err() {
                    return Ok(Raw::CutOff);
                }
            }
        }
    }
}
