//! Runs the protocol's session over a reader and a writer.

use std::io::{self, Read, Write};

use kcl_protocol::{
    CheckpointError, ChildSession, DaemonMessage, Line, LineBuffer, LineError, Position,
    ProcessRecordsInput, State,
};

use crate::{HungUp, RunError};

pub(crate) struct Link<R, W> {
    reader: R,
    writer: W,
    lines: LineBuffer,
    session: ChildSession,
    /// The bytes to send; kept to reuse its memory.
    out: Vec<u8>,
    /// Called once, after the first line that exceeds a default pipe.
    at_long_line: Option<Box<dyn FnOnce()>>,
}

/// The default size of a pipe on Linux.
const DEFAULT_PIPE: usize = 64 << 10;

impl<R: Read, W: Write> Link<R, W> {
    pub(crate) fn new(
        reader: R,
        writer: W,
        line_limit: usize,
        at_long_line: Option<Box<dyn FnOnce()>>,
    ) -> Self {
        Link {
            reader,
            writer,
            lines: LineBuffer::with_limit(line_limit),
            session: ChildSession::new(),
            out: Vec::new(),
            at_long_line,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.session.state()
    }

    /// Returns the next line, or `None` at the end of input, which must be between two lines.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>, RunError> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                if line.bytes().len() > DEFAULT_PIPE
                    && let Some(act) = self.at_long_line.take()
                {
                    act();
                }
                return Ok(Some(line));
            }
            match self.reader.read(self.lines.spare()) {
                Ok(0) => {
                    return match self.lines.end_of_input() {
                        Ok(()) => Ok(None),
                        Err(LineError::EndInsideLine { length }) => {
                            Err(RunError::hung_up(HungUp::InsideLine(length)))
                        }
                        Err(error) => Err(error.into()),
                    };
                }
                Ok(count) => self.lines.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RunError::Io { doing: "read from the daemon", error }),
            }
        }
    }

    pub(crate) fn receive<'l>(
        &mut self,
        line: &'l mut Line,
    ) -> Result<DaemonMessage<'l>, RunError> {
        // The start of the line shows who else writes to stdin.
        let is_strange = !line.bytes().trim_ascii_start().starts_with(b"{");
        let beginning = is_strange.then(|| beginning(line.bytes()));
        self.session.receive(line.bytes_mut()).map_err(|error| match (error, beginning) {
            (kcl_protocol::Error::Decode(error), Some(beginning)) => {
                RunError::Foreign { error, beginning }
            }
            (error, _) => error.into(),
        })
    }

    pub(crate) fn recycle(&mut self, line: Line) {
        self.lines.recycle(line);
    }

    pub(crate) fn recycle_batch(&mut self, input: ProcessRecordsInput<'_>) {
        self.session.recycle(input);
    }

    /// Checks that the input may end here.
    pub(crate) fn end_of_input(&mut self) -> Result<(), RunError> {
        Ok(self.session.end_of_input()?)
    }

    /// Requests a checkpoint and waits for the answer.
    pub(crate) fn checkpoint(
        &mut self,
        at: &Position<'_>,
    ) -> Result<Result<(), CheckpointError>, RunError> {
        self.out.clear();
        self.session.checkpoint(at, &mut self.out)?;
        self.send(HungUp::BeforeCheckpoint)?;
        let Some(mut line) = self.next_line()? else {
            return Err(RunError::hung_up(HungUp::BeforeCheckpointAnswer));
        };
        let DaemonMessage::Checkpoint(answer) = self.receive(&mut line)? else {
            // The session accepts nothing else now.
            return Err(kcl_protocol::Error::Failed.into());
        };
        let result = answer.result();
        self.recycle(line);
        Ok(result)
    }

    /// Sends the status for the current message.
    pub(crate) fn answer(&mut self) -> Result<(), RunError> {
        self.out.clear();
        self.session.answer(&mut self.out)?;
        self.send(HungUp::BeforeStatus)
    }

    fn send(&mut self, during: HungUp) -> Result<(), RunError> {
        let sent = self.writer.write_all(&self.out).and_then(|()| self.writer.flush());
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => RunError::hung_up(during),
            _ => RunError::Io { doing: "write to the daemon", error },
        })
    }
}

/// Returns enough of a line to recognise it.
fn beginning(line: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(&line[..line.len().min(MOST)]);
    let ellipsis = if line.len() > MOST { "…" } else { "" };
    format!("{}{ellipsis}", text.escape_debug())
}
