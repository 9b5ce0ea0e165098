//! Encodes a batch record by record.

use alloc::vec::Vec;

use super::base64;
use super::batch::{
    ARRIVAL, BATCH_START, DATA, MILLIS_BEHIND_LATEST, PARTITION_KEY, RECORD_END, SEQUENCE_NUMBER,
    SUB_SEQUENCE_NUMBER,
};
use super::json::{push_escaped, push_number_or_null};
use crate::Record;

/// Encodes a `processRecords` line record by record, for callers that have no slice of records. The
/// bytes are the same as those of [`DaemonMessage::encode`](crate::DaemonMessage::encode).
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
}

impl<'o> BatchEncoder<'o> {
    /// Appends the start of the line to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> BatchEncoder<'o> {
        out.extend_from_slice(BATCH_START);
        BatchEncoder { out, is_first: true }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        self.out.extend_from_slice(DATA);
        base64::encode(record.data, self.out);
        self.out.push(b'"');
        self.out.extend_from_slice(PARTITION_KEY);
        push_escaped(self.out, record.partition_key);
        self.out.extend_from_slice(SEQUENCE_NUMBER);
        self.out.extend_from_slice(record.sequence_number.as_bytes());
        self.out.extend_from_slice(ARRIVAL);
        let millis =
            record.approximate_arrival.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        push_number_or_null(self.out, millis);
        self.out.extend_from_slice(SUB_SEQUENCE_NUMBER);
        push_number_or_null(self.out, record.sub_sequence_number);
        self.out.extend_from_slice(RECORD_END);
    }

    /// Appends the end of the line: how many milliseconds the batch is behind the newest record of
    /// the stream.
    pub fn finish(self, millis_behind_latest: Option<u64>) {
        self.out.extend_from_slice(MILLIS_BEHIND_LATEST);
        push_number_or_null(self.out, millis_behind_latest);
        self.out.extend_from_slice(b"}\n");
    }
}
