//! How much memory decoding allocates. A decoded batch is one vector whose records borrow from the
//! line, so the number of allocations does not depend on the number of records. A test program of
//! its own, since the counting allocator serves the whole program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, helpers too")]

use allocation_counter::{AllocationInfo, measure};
use kcl_protocol::{ChildSession, DaemonMessage, ProcessRecordsInput, Record, SequenceNumber};

/// A batch whose records differ in everything that may differ.
fn line(count: usize) -> Vec<u8> {
    let texts: Vec<_> = (0..count)
        .map(|index| ("é".repeat(index % 5), (index * index).to_string(), vec![7; index % 100]))
        .collect();
    let records = texts
        .iter()
        .map(|(key, number, data)| Record::new(key, SequenceNumber::new(number).unwrap(), data));
    let mut line = Vec::new();
    DaemonMessage::ProcessRecords(ProcessRecordsInput::new(records.collect())).encode(&mut line);
    line.pop();
    line
}

/// Decodes a line and returns what it allocated and how many records it has.
fn decode(mut line: Vec<u8>) -> (AllocationInfo, usize) {
    // The base64 library detects the processor's features once per process.
    DaemonMessage::decode(&mut self::line(1)).unwrap();
    let mut records = 0;
    let taken = measure(|| {
        if let Ok(DaemonMessage::ProcessRecords(input)) = DaemonMessage::decode(&mut line) {
            records = input.records.len();
        }
    });
    (taken, records)
}

#[test]
fn a_batch_of_any_size_makes_three_allocations() {
    for count in [1, 10, 1_000, 10_000] {
        let (taken, records) = decode(line(count));
        assert_eq!(records, count);
        // The spans, the records, and the scratch buffer.
        assert_eq!(taken.count_total, 3, "{count} records");
    }
}

#[test]
fn only_the_first_batch_of_a_session_allocates() {
    let mut session = ChildSession::new();
    let mut out = Vec::with_capacity(100);
    session.receive(&mut br#"{"action":"initialize","shardId":"0"}"#.to_vec()).unwrap();
    session.answer(&mut out).unwrap();
    let mut batch = |count| {
        let mut line = line(count);
        measure(|| {
            let Ok(DaemonMessage::ProcessRecords(input)) = session.receive(&mut line) else {
                panic!("the message is a batch");
            };
            assert_eq!(input.records.len(), count);
            session.recycle(input);
            out.clear();
            session.answer(&mut out).unwrap();
        })
    };
    batch(10_000);
    for count in [10_000, 1, 10, 0, 1_000, 10_000] {
        assert_eq!(batch(count).count_total, 0, "{count} records");
    }
}

#[test]
fn a_line_that_only_starts_like_a_batch_allocates_little() {
    // This is for the fast path; the general one, which returns the error, allocates next to
    // nothing.
    const MAX_BYTES: u64 = 1 << 20;

    for rest in [" ", "A", r#"{"data":"AAAA"},"#] {
        let line =
            [br#"{"action":"processRecords","records":["#, &*rest.as_bytes().repeat(8 << 20)];
        let (taken, records) = decode(line.concat());
        assert_eq!(records, 0);
        assert!(taken.bytes_max < MAX_BYTES, "{rest:?}: {taken:?}");
    }
}

#[test]
fn records_borrow_everything_from_the_line() {
    for count in [1, 100, 10_000] {
        let mut line = line(count);
        let range = line.as_ptr_range();
        let DaemonMessage::ProcessRecords(input) = DaemonMessage::decode(&mut line).unwrap() else {
            panic!("the message is a batch");
        };
        // One vector of exactly the right size.
        assert_eq!(input.records.capacity(), count);
        for record in &input.records {
            assert!(range.contains(&record.data.as_ptr()));
            assert!(range.contains(&record.partition_key.as_ptr()));
            assert!(range.contains(&record.sequence_number.as_str().as_ptr()));
        }
    }
}
