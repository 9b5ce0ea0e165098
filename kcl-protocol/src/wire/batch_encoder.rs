//! A batch, written record by record.

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::base64;
use super::daemon_to_child::push_action;
use super::json::{push_number_or_null, push_string};
use crate::{Action, Record};

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
    /// Where what stands behind the sequence number of an earlier record was written, and of what it
    /// was made: records that were fetched together often have the same.
    tail: Range<usize>,
    tail_of: (Option<Duration>, Option<u64>),
}

impl<'o> BatchEncoder<'o> {
    /// Appends the beginning of a line to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> BatchEncoder<'o> {
        push_action(Action::ProcessRecords.name(), out);
        BatchEncoder::behind_action(out)
    }

    /// Appends the beginning of the fields behind `action`.
    pub(super) fn behind_action(out: &'o mut Vec<u8>) -> BatchEncoder<'o> {
        out.extend_from_slice(b",\"records\":[");
        BatchEncoder { out, is_first: true, tail: 0..0, tail_of: (None, None) }
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
            self.push_tail(tail_of);
        } else {
            self.out.extend_from_within(self.tail.clone());
        }
    }

    fn push_tail(&mut self, (arrival, sub_sequence_number): (Option<Duration>, Option<u64>)) {
        let start = self.out.len();
        self.out.extend_from_slice(b"\",\"approximateArrivalTimestamp\":");
        let millis = arrival.map(|it| u64::try_from(it.as_millis()));
        push_number_or_null(self.out, millis.map(|millis| millis.unwrap_or(u64::MAX)));
        self.out.extend_from_slice(b",\"subSequenceNumber\":");
        push_number_or_null(self.out, sub_sequence_number);
        self.out.extend_from_slice(b",\"action\":\"record\"}");
        self.tail = start..self.out.len();
        self.tail_of = (arrival, sub_sequence_number);
    }

    /// Appends the line's end: how many milliseconds the batch is behind the stream's newest record.
    pub fn finish(mut self, millis_behind_latest: Option<u64>) {
        self.end_fields(millis_behind_latest);
        self.out.extend_from_slice(b"}\n");
    }

    /// Appends the last of the fields.
    pub(super) fn end_fields(&mut self, millis_behind_latest: Option<u64>) {
        self.out.extend_from_slice(b"],\"millisBehindLatest\":");
        push_number_or_null(self.out, millis_behind_latest);
    }
}
