//! What the reference children have in common: reading lines and answering them.
//!
//! The children are what `bench_processor` is measured beside, so that a figure means the same on
//! any machine: `pipe_limit` reads and answers, `simd_limit` decodes each payload by SIMD as well,
//! and `plain_serde` is what one writes with serde alone, with structs that own their texts. They
//! speak the protocol only as far as a benchmark needs it, and trust what they read.

pub mod bounds;
mod stdio;
pub mod workloads;

use std::fs::File;
use std::io::{self, Read, Write};

/// How much is read at once, at least.
const CHUNK: usize = 64 << 10;

/// A child's pipes, without std's buffers and locks.
#[derive(Debug)]
pub struct Child {
    input: File,
    output: File,
    /// `buffer[start..filled]` has been read and not been handed out; a line is read whole.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Child {
    /// The child of this process's stdin and stdout.
    ///
    /// # Errors
    /// One of the two is closed.
    pub fn new() -> io::Result<Child> {
        let (input, output) = stdio::pipes()?;
        Ok(Child { input, output, buffer: Vec::new(), start: 0, filled: 0 })
    }

    /// Answers line after line until the input ends; batches go to `records` first. At a shard's
    /// end the checkpoint comes first that the daemon waits for.
    ///
    /// # Errors
    /// Reading or writing fails.
    pub fn run(mut self, mut records: impl FnMut(&[u8])) -> io::Result<()> {
        let mut answer = Vec::new();
        while let Some(line) = self.next_line()? {
            let action = action_of(line);
            match action {
                b"processRecords" => records(line),
                b"checkpoint" => continue,
                _ => {}
            }
            answer.clear();
            if action == b"shardEnded" {
                answer.extend_from_slice(
                    b"{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n",
                );
                self.output.write_all(&answer)?;
                self.next_line()?;
                answer.clear();
                push_status(b"shardEnded", &mut answer);
            } else {
                push_status(action, &mut answer);
            }
            self.output.write_all(&answer)?;
        }
        Ok(())
    }

    /// The next line without its LF.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[searched..self.filled]) {
                let line = self.start..searched + length;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            // What has been read since the last line is the beginning of one: it moves to the front.
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.filled, 0);
                self.filled -= self.start;
                self.start = 0;
            }
            searched = self.filled;
            if self.buffer.len() < self.filled + CHUNK {
                self.buffer.resize(self.filled + self.filled / 8 + CHUNK, 0);
            }
            match self.input.read(&mut self.buffer[self.filled..])? {
                0 => return Ok(None),
                count => self.filled += count,
            }
        }
    }
}

/// The value of the first field, which is `action` in what daemons write.
fn action_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b'"').nth(3).unwrap_or_default()
}

fn push_status(action: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"action\":\"status\",\"responseFor\":\"");
    out.extend_from_slice(action);
    out.extend_from_slice(b"\"}\n");
}

/// The sums that `bench_processor` keeps, so that a driver can tell that all was decoded.
#[derive(Debug, Default)]
pub struct Sums {
    records: u64,
    bytes: u64,
    edge: u64,
}

impl Sums {
    /// Counts one record's payload.
    pub fn add(&mut self, data: &[u8]) {
        self.records += 1;
        self.bytes += data.len() as u64;
        if let (Some(first), Some(last)) = (data.first(), data.last()) {
            self.edge += u64::from(*first) + u64::from(*last);
        }
    }

    /// Writes the line that `bench_processor` ends with to stderr.
    pub fn say(&self) {
        let Sums { records, bytes, edge } = self;
        let line = format!("BENCH records={records} bytes={bytes} edge={edge}\n");
        // Without a reader there is nobody to tell.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
