//! A batch of records as the line that the child gets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kcl_protocol::{BatchEncoder, Record, SequenceNumber};

use super::queue::Batch;
use crate::child::faults::Fault;
use crate::kinesis::{Place, push_sequence_number};

/// The bytes of a record on the wire beside its payload and its key.
const FRAME: usize = 240;

/// An encoded batch.
#[derive(Debug)]
pub(crate) struct EncodedBatch {
    pub(crate) line: Vec<u8>,
    /// The position of the last record.
    pub(crate) last: Place,
    pub(crate) lines: InputLines,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// The lines of the input that a batch was made of; others between them belong to other shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputLines {
    first: u64,
    last: u64,
}

impl std::fmt::Display for InputLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "line {}", self.first)
        } else {
            write!(f, "lines {} to {}", self.first, self.last)
        }
    }
}

impl EncodedBatch {
    /// Encodes a batch into the memory of this line.
    pub(crate) fn new(batch: &Batch, mut line: Vec<u8>) -> Result<EncodedBatch, Fault> {
        line.clear();
        line.reserve(batch.bytes / 3 * 4 + batch.keys + FRAME * (batch.records + 1));
        let mut encoder = BatchEncoder::new(&mut line);
        let mut number = String::with_capacity(56);
        let mut lines = None;
        let mut last_read = UNIX_EPOCH;
        for (read, records) in batch.parts() {
            let arrival = since_1970(read);
            for waiting in records {
                number.clear();
                push_sequence_number(waiting.line, &mut number);
                let number = SequenceNumber::new(&number).map_err(|error| Fault::bug(&error))?;
                let key = std::str::from_utf8(waiting.key).map_err(|error| Fault::bug(&error))?;
                let mut record = Record::new(key, number, waiting.data);
                record.sub_sequence_number = Some(0);
                record.approximate_arrival = Some(arrival);
                encoder.push(&record);
                let InputLines { first, .. } =
                    lines.unwrap_or(InputLines { first: waiting.line, last: waiting.line });
                lines = Some(InputLines { first, last: waiting.line });
            }
            last_read = read;
        }
        // How long the last record has waited since it was read.
        let waited = last_read.elapsed().unwrap_or_default();
        encoder.finish(Some(waited.as_millis() as u64));
        let number = SequenceNumber::new(&number).map_err(|error| Fault::bug(&error))?;
        let last = Place::new(number.to_owned(), 0);
        let lines = lines.ok_or_else(|| Fault::bug(&"a batch without records"))?;
        Ok(EncodedBatch { line, last, lines, records: batch.records, bytes: batch.bytes })
    }
}

/// In whole milliseconds, as on the wire.
fn since_1970(time: SystemTime) -> Duration {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(time.as_millis() as u64)
}
