//! The fast path: batches of records, byte for byte as daemons write them.
//!
//! ```json
//! {"action":"processRecords","records":[{"data":"…","partitionKey":"…","sequenceNumber":"…",
//! "approximateArrivalTimestamp":N,"subSequenceNumber":N,"action":"record"},…],"millisBehindLatest":N}
//! ```
//!
//! Each record is read and its payload decoded in place while it is in the processor's cache; the
//! references are made at the end, in a pass over the records alone. At anything else, be it an
//! escape, another order or an error, this path gives up: it makes the line what it was, by encoding
//! what it has decoded, and leaves it to the plain path, which is the judge. So errors have one
//! author.

use alloc::vec::Vec;
use core::time::Duration;

use super::base64::{self, Scratch};
use super::json::must_be_escaped;
use crate::sequence::{are_digits, check_digits};
use crate::{ProcessRecordsInput, Record, SequenceNumber};

const BEGINNING: &[u8; 38] = b"{\"action\":\"processRecords\",\"records\":[";
const DATA: &[u8; 9] = b"{\"data\":\"";
const NO_DATA: &[u8; 12] = b"{\"data\":null";
const PARTITION_KEY: &[u8; 17] = b",\"partitionKey\":\"";
const SEQUENCE_NUMBER: &[u8; 20] = b"\",\"sequenceNumber\":\"";
const ARRIVAL: &[u8; 32] = b"\",\"approximateArrivalTimestamp\":";
const SUB_SEQUENCE_NUMBER: &[u8; 21] = b",\"subSequenceNumber\":";
const RECORD_END: &[u8; 19] = b",\"action\":\"record\"}";
const BEHIND: &[u8; 23] = b"],\"millisBehindLatest\":";

/// Fewer bytes than the shortest record has: without payload and key, with numbers of one digit.
const LEAST_RECORD: usize = DATA.len()
    + PARTITION_KEY.len()
    + SEQUENCE_NUMBER.len()
    + ARRIVAL.len()
    + SUB_SEQUENCE_NUMBER.len()
    + RECORD_END.len();

/// For how many records memory is taken at once, at most: for a whole batch of a daemon, which asks
/// Kinesis for no more than 10,000. A batch that the daemon has deaggregated may have more.
const MOST_AT_ONCE: usize = 10_000;

/// What is kept from batch to batch, so that one more takes no memory: as much as the largest batch
/// needed, some 150 bytes a record.
#[derive(Default)]
pub(crate) struct Memory {
    found: Vec<Found>,
    /// Always empty.
    records: Vec<Record<'static>>,
    pub(super) scratch: Scratch,
}

impl core::fmt::Debug for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// Takes a batch's memory back.
    pub(crate) fn recycle(&mut self, mut records: Vec<Record<'_>>) {
        records.clear();
        // Of none of them others are made, which borrow from nothing: the library lets them have the
        // same memory. It need not, but a test counts that it does.
        self.records = records.into_iter().map_while(|_| None).collect();
    }
}

/// A batch whose payloads are decoded in its line.
pub(super) struct Batch {
    millis_behind_latest: Option<u64>,
}

/// Where a record stands in the line.
struct Found {
    data: Payload,
    /// Behind the key stand [`SEQUENCE_NUMBER`] and the number.
    key: u32,
    key_length: u32,
    number_length: u8,
    sub_sequence_number: Option<u64>,
    arrival_millis: Option<u64>,
}

/// Where a payload stands in the line. Offsets of 32 bits are enough for the lines that anybody
/// sends, and take half the memory.
#[derive(Clone, Copy)]
struct Payload {
    start: u32,
    /// As it came, and decoded.
    letters: u32,
    bytes: u32,
}

/// Reads a batch and decodes its payloads in place; `None`, with the line as it was, if it is not
/// exactly what a daemon writes.
pub(super) fn read(line: &mut [u8], memory: &mut Memory) -> Option<Batch> {
    if line.first_chunk() != Some(BEGINNING) || u32::try_from(line.len()).is_err() {
        return None;
    }
    let Memory { found, scratch, .. } = memory;
    found.clear();
    // A line that only looks like a batch costs no more than a batch.
    found.reserve((line.len() / LEAST_RECORD).min(MOST_AT_ONCE));
    let mut cursor = Cursor { line, at: BEGINNING.len() };
    // The payload of a record that is given up is not among the found ones.
    let mut last = None;
    match cursor.records(found, &mut last, scratch) {
        Some(millis_behind_latest) => Some(Batch { millis_behind_latest }),
        None => {
            for payload in found.iter().map(|found| found.data).chain(last) {
                let (start, letters) = (payload.start as usize, payload.letters as usize);
                let text = &mut line[start..start + letters];
                base64::restore(text, payload.bytes as usize, scratch);
            }
            None
        }
    }
}

impl Batch {
    /// The batch that was just read from this line, with this memory.
    pub(super) fn input<'a>(self, line: &'a [u8], memory: &mut Memory) -> ProcessRecordsInput<'a> {
        let found = &*memory.found;
        let mut records: Vec<Record<'a>> = core::mem::take(&mut memory.records);
        records.reserve_exact(found.len());
        records.extend(found.iter().map(|record| record.record(line)));
        ProcessRecordsInput { records, millis_behind_latest: self.millis_behind_latest }
    }
}

impl Found {
    #[inline]
    fn record<'a>(&self, line: &'a [u8]) -> Record<'a> {
        let (key, behind) = line[self.key as usize..].split_at(self.key_length as usize);
        let number = &behind[SEQUENCE_NUMBER.len()..][..usize::from(self.number_length)];
        Record {
            data: &line[self.data.start as usize..][..self.data.bytes as usize],
            partition_key: core::str::from_utf8(key).expect("it was checked when it was found"),
            sequence_number: SequenceNumber::from_digits(number),
            sub_sequence_number: self.sub_sequence_number,
            approximate_arrival: self.arrival_millis.map(Duration::from_millis),
        }
    }
}

/// The line, read from its beginning. Each method gives `None` at what daemons do not write.
struct Cursor<'l> {
    line: &'l mut [u8],
    at: usize,
}

impl Cursor<'_> {
    /// Gives `millisBehindLatest`.
    fn records(
        &mut self,
        found: &mut Vec<Found>,
        last: &mut Option<Payload>,
        scratch: &mut Scratch,
    ) -> Option<Option<u64>> {
        if self.line.get(self.at)? != &b']' {
            loop {
                let data = self.data(scratch)?;
                *last = Some(data);
                found.push(self.record(data)?);
                *last = None;
                if self.line.get(self.at)? != &b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.literal(BEHIND)?;
        let millis_behind_latest = self.number_or_null()?;
        self.literal(b"}")?;
        (self.at == self.line.len()).then_some(millis_behind_latest)
    }

    /// A record's first field, decoded.
    #[inline]
    fn data(&mut self, scratch: &mut Scratch) -> Option<Payload> {
        let (letters, bytes);
        if self.literal(DATA).is_some() {
            letters = memchr::memchr(b'"', self.line.get(self.at..)?)?;
            let text = &mut self.line[self.at..self.at + letters];
            bytes = base64::try_decode_in_place(text, scratch)?;
        } else {
            self.literal(NO_DATA)?;
            let start = u32::try_from(self.at).ok()?;
            return Some(Payload { start, letters: 0, bytes: 0 });
        }
        let start = u32::try_from(self.at).ok()?;
        self.at += letters + 1;
        Some(Payload {
            start,
            letters: u32::try_from(letters).ok()?,
            bytes: u32::try_from(bytes).ok()?,
        })
    }

    /// The fields behind the first.
    #[inline]
    fn record(&mut self, data: Payload) -> Option<Found> {
        self.literal(PARTITION_KEY)?;
        let key = self.at;
        let key_length = unescaped_length(&self.line[key..])?;
        self.at += key_length;
        self.literal(SEQUENCE_NUMBER)?;
        let number_length = sequence_number_length(&self.line[self.at..])?;
        self.at += number_length;
        self.literal(ARRIVAL)?;
        let arrival_millis = self.number_or_null()?;
        self.literal(SUB_SEQUENCE_NUMBER)?;
        let sub_sequence_number = self.number_or_null()?;
        self.literal(RECORD_END)?;
        Some(Found {
            data,
            key: u32::try_from(key).ok()?,
            key_length: u32::try_from(key_length).ok()?,
            number_length: u8::try_from(number_length).ok()?,
            sub_sequence_number,
            arrival_millis,
        })
    }

    #[inline]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let next = self.line.get(self.at..)?.first_chunk::<N>()?;
        (next == text).then(|| self.at += N)
    }

    #[inline]
    fn number_or_null(&mut self) -> Option<Option<u64>> {
        // Most sub-sequence numbers are 0, and a shard that is read to its end is 0 ms behind.
        match self.line.get(self.at..)? {
            [b'0', behind, ..] if !behind.is_ascii_digit() => {
                self.at += 1;
                Some(Some(0))
            }
            _ => self.other_number_or_null(),
        }
    }

    #[inline(never)]
    fn other_number_or_null(&mut self) -> Option<Option<u64>> {
        /// Any number of this many digits fits in 64 bits.
        const MAX_DIGITS: usize = 19;

        let text = self.line.get(self.at..)?;
        // JSON has no leading zeros.
        if !matches!(text.first(), Some(b'1'..=b'9')) {
            return self.literal(b"null").map(|()| None);
        }
        let (mut digits, mut number) = (0, 0_u64);
        for digit in text.iter().take_while(|byte| byte.is_ascii_digit()) {
            digits += 1;
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        }
        self.at += digits;
        (digits <= MAX_DIGITS).then_some(Some(number))
    }
}

/// Returns the length of the sequence number that begins here and ends with a quote. A sentinel is not
/// accepted, as no record has one.
#[inline]
fn sequence_number_length(text: &[u8]) -> Option<usize> {
    /// What Kinesis sends today. The fixed length lets the compiler check all digits at once.
    const USUAL: usize = 56;

    match text.split_first_chunk::<USUAL>() {
        Some((number, [b'"', ..])) if are_digits(number) => Some(USUAL),
        _ => {
            let length = memchr::memchr(b'"', text)?;
            check_digits(&text[..length]).ok().map(|()| length)
        }
    }
}

/// Returns the length of the string that begins here and ends with a quote, if it is UTF-8 without
/// escapes.
#[inline]
fn unescaped_length(text: &[u8]) -> Option<usize> {
    let is_plain = |byte: &u8| byte.is_ascii() & !must_be_escaped(*byte);
    // Without early exit inside a chunk, so that the compiler can check all of it at once.
    let is_plain_chunk =
        |chunk: &&[u8; 8]| chunk.iter().fold(true, |all, byte| all & is_plain(byte));
    let chunks = text.as_chunks().0.iter().take_while(is_plain_chunk).count();
    let (_, rest) = text.split_at(chunks * 8);
    let length = chunks * 8 + rest.iter().take_while(|byte| is_plain(byte)).count();
    match *text.get(length)? {
        b'"' => Some(length),
        0x80.. => unescaped_utf8_length(text),
        _ => None,
    }
}

#[inline(never)]
fn unescaped_utf8_length(text: &[u8]) -> Option<usize> {
    let length = memchr::memchr(b'"', text)?;
    let string = &text[..length];
    let has_escapes = string.iter().any(|byte| must_be_escaped(*byte));
    (!has_escapes && core::str::from_utf8(string).is_ok()).then_some(length)
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use kcl_fixtures::Folder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::daemon_to_child::decode_plainly;
    use super::*;
    use crate::{DaemonMessage, OwnedRecord};

    /// Whether the fast path took the line. Both paths must give the same, to the error's words, and
    /// what is refused must be as it was.
    fn check(line: &[u8]) -> bool {
        let (mut ours, mut plain) = (line.to_vec(), line.to_vec());
        let plain = decode_plainly(&mut plain, &mut Scratch::default());
        let told = |result: Result<DaemonMessage<'_>, crate::DecodeError>| match result {
            Ok(message) => {
                let mut payloads = vec![];
                if let DaemonMessage::ProcessRecords(input) = &message {
                    // `Debug` shows their lengths alone.
                    payloads.extend(input.records.iter().map(|record| record.data.to_vec()));
                }
                format!("{message:?} {payloads:?}")
            }
            Err(error) => format!("{error:?} {error}"),
        };
        let plain = told(plain);
        let mut memory = Memory::default();
        let is_taken = match read(&mut ours, &mut memory) {
            Some(batch) => {
                let input = batch.input(&ours, &mut memory);
                assert_eq!(told(Ok(DaemonMessage::ProcessRecords(input))), plain);
                true
            }
            None => {
                assert_eq!(ours, line, "a refused line is as it was");
                false
            }
        };
        assert_eq!(told(DaemonMessage::decode(&mut line.to_vec())), plain);
        is_taken
    }

    fn record() -> impl Strategy<Value = OwnedRecord> {
        let number = prop::option::weighted(0.9, 0..10_000_000_000_000_000_000_u64);
        let data = prop_oneof![vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..9_000)];
        // What Jackson does not escape.
        let key = "[ !#-\\[\\]-~\u{7f}-\u{ffff}]{0,40}";
        ("[0-9]{1,129}", key, data, number.clone(), number).prop_map(
            |(sequence_number, partition_key, data, sub_sequence_number, arrival)| OwnedRecord {
                data,
                partition_key,
                sequence_number: sequence_number.parse().unwrap(),
                sub_sequence_number,
                approximate_arrival: arrival.map(Duration::from_millis),
            },
        )
    }

    /// A batch as a daemon writes it, without the line's end.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        (vec(record(), 0..6), prop::option::of(0..10_000_000_000_000_000_000_u64)).prop_map(
            |(records, millis_behind_latest)| {
                let records = records.iter().map(OwnedRecord::as_record).collect();
                let mut line = Vec::new();
                DaemonMessage::ProcessRecords(ProcessRecordsInput {
                    records,
                    millis_behind_latest,
                })
                .encode(&mut line);
                line.pop();
                line
            },
        )
    }

    /// What is likely to make a difference somewhere in a line.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "\"",
            "\\",
            "\\\"",
            "\\u0041",
            "\\ud800",
            "\\/",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "0",
            "00",
            "-",
            "-1",
            "1.5",
            "1e3",
            "null",
            "true",
            "=",
            "==",
            "A",
            "99999999999999999999",
            "18446744073709551615",
            "\n",
            "\t",
            "\0",
            "é",
            "SHARD_END",
            "\"x\":1,",
            "\"data\":null,",
            "],\"millisBehindLatest\":1}",
            "{}",
        ];
        prop_oneof![
            prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_daemons_write_is_taken(line in line()) {
            prop_assert!(check(&line));
        }

        #[test]
        fn damaged_lines_are_judged_alike(
            mut line in line(),
            damage in vec((any::<prop::sample::Index>(), 0..3_usize, piece()), 1..4),
        ) {
            for (at, length, piece) in damage {
                let at = at.index(line.len());
                let end = line.len().min(at + length);
                line.splice(at..end, piece);
            }
            check(&line);
        }

        /// The same inside the short fields, where damage to the whole line seldom falls.
        #[test]
        fn damaged_fields_are_judged_alike(
            key in piece(), number in piece(), data in piece(), arrival in piece(), sub in piece(),
            behind in piece(), broken in 0..6_usize,
        ) {
            let fields = [
                (data, "YWJj"), (key, "k"), (number, "123"), (arrival, "1"), (sub, "0"), (behind, "7"),
            ];
            let [data, key, number, arrival, sub, behind]: [Vec<u8>; 6] =
                core::array::from_fn(|field| {
                    let (damaged, right) = &fields[field];
                    if field == broken { damaged.clone() } else { right.as_bytes().to_vec() }
                });
            let sound = br#"{"data":"YWI=","partitionKey":"k","sequenceNumber":"1","approximateArrivalTimestamp":1,"subSequenceNumber":0,"action":"record"}"#;
            let damaged = [
                b"{\"data\":\"", &*data, b"\",\"partitionKey\":\"", &*key,
                b"\",\"sequenceNumber\":\"", &*number, b"\",\"approximateArrivalTimestamp\":",
                &*arrival, b",\"subSequenceNumber\":", &*sub, b",\"action\":\"record\"}",
            ].concat();
            let line = [
                &BEGINNING[..], sound, b",", &*damaged, b",", sound, BEHIND, &*behind, b"}",
            ].concat();
            check(&line);
        }
    }

    #[test]
    fn every_fixture_is_judged_alike_and_those_of_daemons_are_taken() {
        let mut taken = vec![];
        for folder in [Folder::FromDaemon, Folder::InvalidFromDaemon] {
            for message in kcl_fixtures::messages(folder) {
                if check(&message.line) {
                    taken.push(message.name);
                }
            }
        }
        for expected in ["java-1.15.3-records", "java-2.2.0-records", "java-2.5.4-records"] {
            assert!(
                taken.iter().any(|name| name.starts_with(expected)),
                "{expected} is not among {taken:?}"
            );
        }
    }

    #[test]
    fn a_line_is_as_it_was_wherever_it_is_refused() {
        let data = [7; 3000];
        let record = Record::new("key", SequenceNumber::new("12").unwrap(), &data);
        let mut line = Vec::new();
        DaemonMessage::ProcessRecords(ProcessRecordsInput::new(vec![record; 3])).encode(&mut line);
        line.pop();
        assert!(check(&line));
        for at in 0..line.len() {
            let mut damaged = line.clone();
            damaged[at] = b'!';
            let mut after = damaged.clone();
            if read(&mut after, &mut Memory::default()).is_none() {
                assert!(after == damaged, "refused at {at}");
            }
        }
    }
}
