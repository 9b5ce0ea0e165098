//! Workloads for the codec, each with the same input in every run.
//!
//! `benches/codec.rs` measures their time, `bin/instructions.rs` counts their instructions. To add
//! one, add it to `WORKLOADS`.

use std::cell::RefCell;
use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use kcl_protocol::{
    Action, CheckpointRequest, ChildMessage, ChildSession, DaemonMessage, ExtendedSequenceNumber,
    LineBuffer, Position, ProcessRecordsInput, Record, SequenceNumber,
};

type Prepare = fn() -> Workload;
type Run = Box<dyn Fn(&mut Vec<u8>)>;

/// All workloads with their names. The part of a name before the first `/` is its group.
#[rustfmt::skip]
const WORKLOADS: &[(&str, Prepare)] = &[
    ("decode/500x100B", || decode(SMALL_RECORDS, line)),
    ("decode/10000x1KiB", || decode(FULL_BATCH, line)),
    ("decode/10x1MiB", || decode(LARGE_RECORDS, line)),
    ("decode/1x100B", || decode(SINGLE_RECORD, line)),
    // An unknown field sends a line to the general path: at the start at once, at the end after the
    // fast path has decoded everything and has to restore it.
    ("decode-general/500x100B", || decode(SMALL_RECORDS, line_with_new_field_first)),
    ("decode-general/10000x1KiB", || decode(FULL_BATCH, line_with_new_field_first)),
    ("decode-general/10x1MiB", || decode(LARGE_RECORDS, line_with_new_field_first)),
    ("decode-general/1x100B", || decode(SINGLE_RECORD, line_with_new_field_first)),
    ("decode-fallback/500x100B", || decode(SMALL_RECORDS, line_with_new_field_last)),
    ("decode-fallback/10000x1KiB", || decode(FULL_BATCH, line_with_new_field_last)),
    ("decode-fallback/10x1MiB", || decode(LARGE_RECORDS, line_with_new_field_last)),
    ("decode-fallback/1x100B", || decode(SINGLE_RECORD, line_with_new_field_last)),
    ("encode/500x100B", || encode(SMALL_RECORDS)),
    ("encode/10000x1KiB", || encode(FULL_BATCH)),
    ("encode/10x1MiB", || encode(LARGE_RECORDS)),
    ("encode/1x100B", || encode(SINGLE_RECORD)),
    ("answer/status", || answer(ChildMessage::status(Action::ProcessRecords))),
    ("answer/checkpoint-at-record", || {
        let position = Box::leak(Box::new(Position::from(position(7))));
        answer(ChildMessage::Checkpoint(CheckpointRequest::from(&*position)))
    }),
    ("answer/checkpoint-at-all", || answer(ChildMessage::Checkpoint(CheckpointRequest::default()))),
    ("lines/short", || lines(b"{\"action\":\"status\",\"responseFor\":\"processRecords\"}\n".repeat(COUNT))),
    ("lines/15MB", || lines([&vec![b'x'; 15_000_000][..], b"\n"].concat())),
    ("sequence/56-digits", || compare(|index| position(index / 2))),
    ("sequence/sentinels", || compare(|index| {
        let sentinels = [SequenceNumber::TRIM_HORIZON, SequenceNumber::LATEST, SequenceNumber::SHARD_END];
        ExtendedSequenceNumber::new(sentinels[index % sentinels.len()].clone(), 0)
    })),
    ("sequence/sentinel-and-number", || compare(|index| match index % 2 {
        0 => position(index),
        _ => ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0),
    })),
    ("sequence/leading-zeros", || compare(|index| number(format!("{:0>100}", digits(index))))),
    ("sequence/lengths", || compare(|index| number(digits(index)[..1 + index % 56].to_owned()))),
    ("sequence/sub-sequence-numbers", || compare(|index| {
        ExtendedSequenceNumber::new(position(0).sequence_number, index as u64)
    })),
    ("sequence/read-56-digits", || read(digits)),
    ("sequence/read-129-digits", || read(|index| format!("{:9>129}", digits(index)))),
];

/// A full batch of small records.
pub const SMALL_RECORDS: Shape = Shape { records: 500, size: 100 };
/// The largest batch that a daemon requests by default.
pub const FULL_BATCH: Shape = Shape { records: 10_000, size: 1 << 10 };
/// Few records of the largest size that Kinesis accepts by default.
const LARGE_RECORDS: Shape = Shape { records: 10, size: 1 << 20 };
/// A typical batch of a quiet shard.
const SINGLE_RECORD: Shape = Shape { records: 1, size: 100 };

/// How many times a workload repeats something that is too short to measure once.
const COUNT: usize = 1000;

/// How many bytes arrive at once: the capacity of a pipe.
const PIECE: usize = 64 << 10;

/// A workload that is ready to run.
pub struct Workload {
    /// What [`items`](Self::items) counts.
    pub unit: &'static str,
    /// How many items one run processes.
    pub items: usize,
    /// How many bytes one run processes.
    pub bytes: usize,
    input: Vec<u8>,
    run: Run,
}

impl Workload {
    /// Returns the names of all workloads.
    pub fn names() -> impl Iterator<Item = &'static str> {
        WORKLOADS.iter().map(|(name, _)| *name)
    }

    /// Prepares the workload with this name.
    pub fn named(name: &str) -> Option<Workload> {
        WORKLOADS.iter().find(|(known, _)| *known == name).map(|(_, prepare)| prepare())
    }

    /// Returns the input of one [`run`](Self::run), which consumes it.
    pub fn input(&self) -> Vec<u8> {
        // A clone would lack the capacity that `encode` needs.
        let mut input = Vec::with_capacity(self.input.capacity());
        input.extend_from_slice(&self.input);
        input
    }

    /// Runs the workload once. It is never inlined, so that profilers can find it.
    #[inline(never)]
    pub fn run(&self, input: &mut Vec<u8>) {
        (self.run)(input);
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workload { unit, items, bytes, .. } = self;
        write!(f, "{items} times a {unit}, {bytes} bytes")
    }
}

/// The size of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The number of records.
    pub records: usize,
    /// The size of each payload, in bytes.
    pub size: usize,
}

/// Decodes a batch in a child session and answers it, like a processor that does nothing.
fn decode(shape: Shape, line: fn(Shape) -> Vec<u8>) -> Workload {
    let mut line = line(shape);
    line.pop();
    let (mut session, mut out) = (ChildSession::new(), Vec::new());
    let mut initialize = *b"{\"action\":\"initialize\",\"shardId\":\"shardId-000000000000\"}";
    session.receive(&mut initialize).expect("it is the first message");
    session.answer(&mut out).expect("the message is unanswered");
    let state = RefCell::new((session, out));
    Workload {
        unit: "record",
        items: shape.records,
        bytes: line.len(),
        input: line,
        run: Box::new(move |line| {
            let (session, out) = &mut *state.borrow_mut();
            let message = session.receive(line).expect("the line is a message");
            let DaemonMessage::ProcessRecords(input) = message else {
                unreachable!("the line is a batch")
            };
            assert_eq!(input.records.len(), shape.records);
            session.recycle(black_box(input));
            out.clear();
            session.answer(out).expect("the message is unanswered");
        }),
    }
}

fn encode(shape: Shape) -> Workload {
    let line = line(shape);
    let length = line.len();
    let message =
        DaemonMessage::decode(line[..length - 1].to_vec().leak()).expect("it was encoded above");
    Workload {
        unit: "record",
        items: shape.records,
        bytes: length,
        input: Vec::with_capacity(length),
        run: Box::new(move |out| {
            black_box(&message).encode(out);
            assert_eq!(out.len(), length);
        }),
    }
}

fn answer(message: ChildMessage<'static>) -> Workload {
    let mut line = Vec::new();
    message.encode(&mut line);
    Workload {
        unit: "message",
        items: COUNT,
        bytes: COUNT * line.len(),
        input: Vec::with_capacity(line.len()),
        run: Box::new(move |out| {
            for _ in 0..COUNT {
                out.clear();
                black_box(&message).encode(out);
                black_box(&*out);
            }
        }),
    }
}

/// The bytes arrive in pieces, and each line is given back before the next is taken, as in a child.
fn lines(bytes: Vec<u8>) -> Workload {
    let count = memchr::memchr_iter(b'\n', &bytes).count();
    let buffer = RefCell::new(LineBuffer::new());
    Workload {
        unit: "line",
        items: count,
        bytes: bytes.len(),
        input: bytes,
        run: Box::new(move |bytes| {
            let mut buffer = buffer.borrow_mut();
            let (mut rest, mut found) = (&**bytes, 0);
            while !rest.is_empty() {
                let spare = buffer.spare();
                let (piece, later) = rest.split_at(rest.len().min(spare.len()).min(PIECE));
                spare[..piece.len()].copy_from_slice(piece);
                buffer.advance(piece.len());
                rest = later;
                while let Some(line) = buffer.next_line().expect("the limit is not reached") {
                    found += 1;
                    buffer.recycle(black_box(line));
                }
            }
            assert_eq!(found, count);
        }),
    }
}

fn compare(position: impl Fn(usize) -> ExtendedSequenceNumber<'static>) -> Workload {
    let positions: Vec<_> = (0..=COUNT).map(position).collect();
    Workload {
        unit: "comparison",
        items: COUNT,
        bytes: positions[1..].iter().map(|position| position.sequence_number.as_str().len()).sum(),
        input: Vec::new(),
        run: Box::new(move |_| {
            for pair in positions.windows(2) {
                black_box(black_box(&pair[0]).cmp(black_box(&pair[1])));
            }
        }),
    }
}

fn read(digits: impl Fn(usize) -> String) -> Workload {
    let texts: Vec<_> = (0..COUNT).map(digits).collect();
    Workload {
        unit: "number",
        items: COUNT,
        bytes: texts.iter().map(String::len).sum(),
        input: Vec::new(),
        run: Box::new(move |_| {
            for text in &texts {
                black_box(SequenceNumber::new(black_box(text)).is_ok());
            }
        }),
    }
}

/// Encodes a batch as daemons do: random payloads, short keys, sequence numbers of 56 digits.
pub fn line(shape: Shape) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut data = vec![0; shape.records * shape.size];
    random.fill(&mut data);
    let keys: Vec<_> = (0..shape.records).map(|index| index.to_string()).collect();
    let records = data.chunks(shape.size).zip(&keys).enumerate().map(|(index, (data, key))| {
        let mut record = Record::new(key, position(index).sequence_number, data);
        record.sub_sequence_number = Some(0);
        record.approximate_arrival =
            Some(Duration::from_millis(1_783_814_400_000 + index as u64 / 4));
        record
    });
    let mut input = ProcessRecordsInput::new(records.collect());
    input.millis_behind_latest = Some(0);
    let mut line = Vec::new();
    DaemonMessage::ProcessRecords(input).encode(&mut line);
    line
}

fn line_with_new_field_first(shape: Shape) -> Vec<u8> {
    [b"{\"later\":1,", &line(shape)[1..]].concat()
}

fn line_with_new_field_last(shape: Shape) -> Vec<u8> {
    let mut line = line(shape);
    line.truncate(line.len() - 2);
    line.extend_from_slice(b",\"later\":1}\n");
    line
}

fn digits(index: usize) -> String {
    format!("49{index:054}")
}

fn number(digits: String) -> ExtendedSequenceNumber<'static> {
    let number = SequenceNumber::try_from(digits).expect("the digits are valid");
    ExtendedSequenceNumber::new(number, 0)
}

fn position(index: usize) -> ExtendedSequenceNumber<'static> {
    number(digits(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_unique_names_and_can_run_twice() {
        let mut names: Vec<_> = Workload::names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
        // The large ones differ only in size, and take seconds without optimization.
        let is_large = |name: &&str| ["10000x", "10x", "15MB"].iter().any(|it| name.contains(it));
        for name in names.into_iter().filter(|name| !is_large(name)) {
            let workload = Workload::named(name).unwrap();
            for _ in 0..2 {
                workload.run(&mut workload.input());
            }
            assert!(workload.items > 0 && workload.bytes > 0, "{name}: {workload:?}");
        }
        assert!(Workload::named("decode/nothing").is_none());
    }

    #[test]
    fn an_unknown_field_changes_nothing_else() {
        let of = |line: Vec<u8>| {
            let line = line[..line.len() - 1].to_vec().leak();
            format!("{:?}", DaemonMessage::decode(line).unwrap())
        };
        let shape = Shape { records: 3, size: 10 };
        assert_eq!(of(line_with_new_field_first(shape)), of(line(shape)));
        assert_eq!(of(line_with_new_field_last(shape)), of(line(shape)));
    }
}
