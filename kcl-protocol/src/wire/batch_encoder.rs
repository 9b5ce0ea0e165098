//! A batch, written record by record.

use alloc::vec::Vec;
use core::time::Duration;

use super::base64;
use super::json::{push_number_or_null, push_string};
use crate::Record;

/// Writes a `processRecords` line record by record, for a caller whose records do not stand side by
/// side as [`ProcessRecordsInput`](crate::ProcessRecordsInput) has them. The bytes are those of
/// [`DaemonMessage::encode`](crate::DaemonMessage::encode).
///
/// ```
/// use kcl_protocol::{BatchEncoder, DaemonMessage, ProcessRecordsInput, Record, SequenceNumber};
///
/// let record = Record::new("key", SequenceNumber::new("21")?, b"payload");
/// let mut line = Vec::new();
/// let mut batch = BatchEncoder::new(&mut line);
/// batch.push(&record);
/// batch.finish(None);
///
/// let mut whole = Vec::new();
/// DaemonMessage::ProcessRecords(ProcessRecordsInput::new(vec![record])).encode(&mut whole);
/// assert_eq!(line, whole);
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug)]
pub struct BatchEncoder<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    /// What stands behind the sequence number of the last record, and of what it was made: records
    /// that were fetched together often have the same.
    tail: Vec<u8>,
    tail_of: (Option<Duration>, Option<u64>),
}

impl<'o> BatchEncoder<'o> {
    /// Appends the beginning of a line to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> BatchEncoder<'o> {
        out.extend_from_slice(b"{\"action\":\"processRecords\",\"records\":[");
        BatchEncoder { out, is_first: true, tail: Vec::new(), tail_of: (None, None) }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) {
        let start: &[u8] = if self.is_first { b"{\"data\":\"" } else { b",{\"data\":\"" };
        self.is_first = false;
        self.out.extend_from_slice(start);
        base64::encode(record.data, self.out);
        self.out.extend_from_slice(b"\",\"partitionKey\":");
        push_string(self.out, record.partition_key);
        self.out.extend_from_slice(b",\"sequenceNumber\":\"");
        self.out.extend_from_slice(record.sequence_number.as_bytes());
        let tail_of = (record.approximate_arrival, record.sub_sequence_number);
        if self.tail.is_empty() || self.tail_of != tail_of {
            self.make_tail(tail_of);
        }
        self.out.extend_from_slice(&self.tail);
    }

    fn make_tail(&mut self, (arrival, sub_sequence_number): (Option<Duration>, Option<u64>)) {
        self.tail_of = (arrival, sub_sequence_number);
        let tail = &mut self.tail;
        tail.clear();
        tail.extend_from_slice(b"\",\"approximateArrivalTimestamp\":");
        let arrival = arrival.map(|it| u64::try_from(it.as_millis()));
        push_number_or_null(tail, arrival.map(|millis| millis.unwrap_or(u64::MAX)));
        tail.extend_from_slice(b",\"subSequenceNumber\":");
        push_number_or_null(tail, sub_sequence_number);
        tail.extend_from_slice(b",\"action\":\"record\"}");
    }

    /// Appends the line's end: how many milliseconds the batch is behind the stream's newest record.
    pub fn finish(self, millis_behind_latest: Option<u64>) {
        self.out.extend_from_slice(b"],\"millisBehindLatest\":");
        push_number_or_null(self.out, millis_behind_latest);
        self.out.extend_from_slice(b"}\n");
    }
}
