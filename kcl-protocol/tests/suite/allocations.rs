//! A decoded batch is one vector, whose records borrow all their texts and payloads from the line.

use kcl_protocol::{DaemonMessage, ProcessRecordsInput, Record, SequenceNumber};

#[test]
fn a_batch_costs_its_vectors_alone() {
    for count in [1, 100, 10_000] {
        let record = Record::new("key", SequenceNumber::new("12").unwrap(), b"payload");
        let mut line = Vec::new();
        DaemonMessage::ProcessRecords(ProcessRecordsInput::new(vec![record; count]))
            .encode(&mut line);
        line.pop();
        let range = line.as_ptr_range();
        let DaemonMessage::ProcessRecords(input) = DaemonMessage::decode(&mut line).unwrap() else {
            panic!("it is a batch");
        };
        // One vector, of the right size, whose records own nothing.
        assert_eq!(input.records.capacity(), count);
        for record in &input.records {
            assert!(range.contains(&record.data.as_ptr()));
            assert!(range.contains(&record.partition_key.as_ptr()));
            assert!(range.contains(&record.sequence_number.as_str().as_ptr()));
        }
    }
}
