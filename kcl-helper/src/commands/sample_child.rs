//! `kcl-helper sample-child`, which help does not show: the sample processor that `local --sample`
//! starts.

use std::io::{self, Read, Write};

use kcl_protocol::{ChildSession, DaemonMessage, LineBuffer, Position};

use crate::error::{Error, Exit, Result};

/// Answers every message, and checkpoints what it has seen when it is told to stop.
pub(crate) fn run() -> Result<Exit> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Exit::Wanting, "the sample processor failed").because(error.to_string())
    };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut session = ChildSession::new();
    let mut lines = LineBuffer::new();
    let mut out = Vec::new();
    loop {
        out.clear();
        match lines.next_line().map_err(|error| failed(&error))? {
            Some(mut line) => {
                match session.receive(line.bytes_mut()).map_err(|error| failed(&error))? {
                    DaemonMessage::ShutdownRequested | DaemonMessage::ShardEnded => {
                        session
                            .checkpoint(&Position::AllDelivered, &mut out)
                            .map_err(|error| failed(&error))?;
                    }
                    _ => session.answer(&mut out).map_err(|error| failed(&error))?,
                }
            }
            None => {
                let count = stdin.read(lines.spare()).map_err(|error| failed(&error))?;
                if count == 0 {
                    session.end_of_input().map_err(|error| failed(&error))?;
                    return Ok(Exit::Done);
                }
                lines.advance(count);
            }
        }
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(|error| failed(&error))?;
    }
}
