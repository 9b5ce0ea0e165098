//! What the children get: one batch, encoded before any clock starts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kcl_protocol::{
    DEFAULT_LINE_LIMIT, DaemonMessage, ProcessRecordsInput, Record, SequenceNumber,
};

use crate::error::{Error, Exit, Result};
use crate::kinesis::push_sequence_number;

/// A batch as the line that a daemon writes. Every batch of a run is this one, shared by all shards,
/// so that memory grows neither with their number nor with the length of the run.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) line: Arc<Vec<u8>>,
    pub(crate) records: u64,
    /// The payloads' bytes, before base64.
    pub(crate) bytes: u64,
    /// The sum of the first and the last byte of every payload.
    edge: u64,
}

/// The length of what [`push_sequence_number`] appends.
const DIGITS: usize = 56;
/// The bytes of a record on the wire beside its payload and its key, rounded up.
const FRAME: usize = 240;

impl Load {
    /// Payloads are random bytes, the same in every run. Keys are short.
    pub(crate) fn new(records: u32, size: usize) -> Result<Load> {
        let count = records as usize;
        let length = count.saturating_mul((size / 3 + 1).saturating_mul(4).saturating_add(FRAME));
        if length > DEFAULT_LINE_LIMIT {
            let text = format!(
                "a batch of {records} records of {size} bytes is a line of about {} MiB",
                length >> 20
            );
            return Err(Error::new(Exit::Usage, text)
                .because(format!("children accept {} MiB at most", DEFAULT_LINE_LIMIT >> 20))
                .hint("lower --batch or --size"));
        }
        let mut random = fastrand::Rng::with_seed(7);
        let mut data = vec![0; count * size];
        random.fill(&mut data);
        let mut numbers = String::with_capacity(DIGITS * count);
        let mut keys = String::new();
        let mut key_ends = Vec::with_capacity(count);
        for index in 0..count {
            push_sequence_number(index as u64 + 1, &mut numbers);
            keys.push_str(&index.to_string());
            key_ends.push(keys.len());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut batch = Vec::with_capacity(count);
        let mut edge = 0;
        for index in 0..count {
            let data = &data[index * size..(index + 1) * size];
            if let (Some(first), Some(last)) = (data.first(), data.last()) {
                edge += u64::from(*first) + u64::from(*last);
            }
            let key_start = index.checked_sub(1).map_or(0, |before| key_ends[before]);
            let number = &numbers[index * DIGITS..(index + 1) * DIGITS];
            let number = SequenceNumber::new(number).map_err(|error| {
                Error::new(Exit::Bug, "kcl-helper is at fault").because(error.to_string())
            })?;
            let mut record = Record::new(&keys[key_start..key_ends[index]], number, data);
            record.sub_sequence_number = Some(0);
            record.approximate_arrival = Some(std::time::Duration::from_millis(
                u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            ));
            batch.push(record);
        }
        let mut input = ProcessRecordsInput::new(batch);
        input.millis_behind_latest = Some(0);
        let mut line = Vec::with_capacity(length);
        DaemonMessage::ProcessRecords(input).encode(&mut line);
        line.shrink_to_fit();
        Ok(Load { line: Arc::new(line), records: records.into(), bytes: data.len() as u64, edge })
    }

    /// Returns what a child that got so many batches writes at its end, if it sums them up.
    pub(crate) fn sums(&self, batches: u64) -> String {
        let Load { records, bytes, edge, .. } = self;
        let of = |one: &u64| u128::from(*one) * u128::from(batches);
        format!("BENCH records={} bytes={} edge={}", of(records), of(bytes), of(edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_line() {
        let load = Load::new(3, 100).unwrap();
        let mut line = load.line.to_vec();
        assert_eq!(line.pop(), Some(b'\n'));
        let DaemonMessage::ProcessRecords(input) = DaemonMessage::decode(&mut line).unwrap() else {
            unreachable!()
        };
        assert!(input.records.iter().all(|record| record.data.len() == 100));
        let edge: u64 = input
            .records
            .iter()
            .map(|record| u64::from(record.data[0]) + u64::from(record.data[99]))
            .sum();
        assert_eq!(load.sums(2), format!("BENCH records=6 bytes=600 edge={}", 2 * edge));
        let keys: Vec<_> = input.records.iter().map(|record| record.partition_key).collect();
        assert_eq!(keys, ["0", "1", "2"]);
    }

    #[test]
    fn empty_records_are_allowed_and_too_large_lines_are_refused() {
        assert_eq!(Load::new(2, 0).unwrap().sums(1), "BENCH records=2 bytes=0 edge=0");
        let error = Load::new(10_000, 1 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a batch of 10000 records of 1048576 bytes is a line of about 13335 MiB"
        );
        assert_eq!(error.exit(), Exit::Usage);
    }
}
