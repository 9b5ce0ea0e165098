//! From the second batch on, a batch allocates nothing, however many records it has. This is a program
//! of its own, as the counting allocator is one for the whole program.
#![allow(clippy::unwrap_used)] // a test may

mod support;

use std::io::{self, Read};

use kcl_protocol::{DaemonMessage, InitializeInput, ProcessRecordsInput, Record, SequenceNumber};
use kcl_runtime::Runtime;
use support::processing;

fn encoded(message: &DaemonMessage<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    message.encode(&mut line);
    line
}

fn batch(count: usize) -> Vec<u8> {
    let number = SequenceNumber::new("49590338271490256608559692538361571095921575989136588898");
    let record = Record::new("key", number.unwrap(), b"payload");
    encoded(&DaemonMessage::ProcessRecords(ProcessRecordsInput::new(vec![record; count])))
}

/// Returns a line only when the line before was handled, as a daemon does.
struct Lines<'a>(std::slice::Iter<'a, Vec<u8>>, &'a [u8]);

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.next().map_or(&[], Vec::as_slice);
        }
        self.1.read(buffer)
    }
}

/// Returns the number of allocations of a run with batches of these sizes.
fn count_allocations(counts: &[usize]) -> u64 {
    let mut lines = vec![encoded(&DaemonMessage::Initialize(InitializeInput::new("shardId-0")))];
    lines.extend(counts.iter().map(|count| batch(*count)));
    lines.push(encoded(&DaemonMessage::LeaseLost));
    let mut records = 0;
    let processor = processing(|input, _| {
        records += input.records.len();
        Ok(())
    });
    let taken = allocation_counter::measure(|| {
        let input = Lines(lines.iter(), &[]);
        Runtime::new().run_over(input, io::sink(), processor).unwrap();
    });
    assert_eq!(records, counts.iter().sum::<usize>());
    taken.count_total
}

#[test]
fn one_more_batch_allocates_nothing() {
    let _ = count_allocations(&[1]);
    let first = count_allocations(&[10_000]);
    for more in [10, 1_000, 10_000] {
        assert_eq!(
            count_allocations(&[10_000, more]),
            first,
            "for one more batch of {more} records"
        );
    }
    assert_eq!(count_allocations(&[10_000, 1, 10, 0, 1_000, 10_000, 7, 10_000]), first);
}

#[test]
fn small_batches_reuse_their_memory() {
    let _ = count_allocations(&[1]);
    assert_eq!(count_allocations(&[500; 100]), count_allocations(&[500]));
    assert_eq!(count_allocations(&[1; 1000]), count_allocations(&[1]));
}
