//! Shared code of the reference children, and the workloads of the micro-benchmarks.
//!
//! `bench_processor` is compared with reference children, so that results mean the same on any
//! machine: `pipe_limit` reads and answers, `simd_limit` also decodes each payload by SIMD, and
//! `plain_serde` is a simple implementation with serde and owned strings. They implement only the
//! part of the protocol that benchmarks need, and trust their input.

pub mod bounds;
mod stdio;
pub mod workloads;

use std::fs::File;
use std::io::{self, Read, Write};

/// How many bytes are read at once, at least.
const CHUNK: usize = 64 << 10;

/// A child's pipes, without std's buffers and locks.
#[derive(Debug)]
pub struct Child {
    input: File,
    output: File,
    /// `buffer[start..filled]` was read but not handed out yet.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Child {
    /// Creates the child on stdin and stdout.
    ///
    /// # Errors
    /// One of them is closed.
    pub fn new() -> io::Result<Child> {
        let (input, output) = stdio::pipes()?;
        Ok(Child { input, output, buffer: Vec::new(), start: 0, filled: 0 })
    }

    /// Answers every line until the input ends. `records` gets each batch first. At the end of the
    /// shard it requests a checkpoint, which the daemon requires.
    ///
    /// # Errors
    /// Reading or writing failed.
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

    /// Returns the next line without its LF.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[searched..self.filled]) {
                let line = self.start..searched + length;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            // The start of the next line moves to the front.
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

/// Returns the value of the first field, which is `action` in lines from a daemon.
fn action_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b'"').nth(3).unwrap_or_default()
}

fn push_status(action: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"action\":\"status\",\"responseFor\":\"");
    out.extend_from_slice(action);
    out.extend_from_slice(b"\"}\n");
}

/// The same checksums as in `bench_processor`, by which the driver knows that everything was
/// decoded.
#[derive(Debug, Default)]
pub struct Sums {
    records: u64,
    bytes: u64,
    edge: u64,
}

impl Sums {
    /// Adds the payload of a record.
    pub fn add(&mut self, data: &[u8]) {
        self.records += 1;
        self.bytes += data.len() as u64;
        if let (Some(first), Some(last)) = (data.first(), data.last()) {
            self.edge += u64::from(*first) + u64::from(*last);
        }
    }

    /// Prints the line to stderr that `bench_processor` also ends with.
    pub fn print(&self) {
        let Sums { records, bytes, edge } = self;
        let line = format!("BENCH records={records} bytes={bytes} edge={edge}\n");
        // If stderr is closed, there is nothing to do.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
