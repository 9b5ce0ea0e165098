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
use crate::sequence::MAX_SEQUENCE_NUMBER_DIGITS;
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

/// How many records ahead memory is asked for, and in what pieces it comes. A record's texts end
/// farther than one piece behind the line's beginning.
const AHEAD: usize = 8;
const CACHE_LINE: usize = 64;

/// A batch whose payloads are decoded in its line.
pub(super) struct Batch {
    found: Vec<Found>,
    millis_behind_latest: Option<u64>,
}

/// Where a record stands in the line.
struct Found {
    data: Payload,
    /// The key, [`SEQUENCE_NUMBER`], and the number.
    texts: u32,
    texts_length: u32,
    sequence_number_length: u32,
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
pub(super) fn read(line: &mut [u8]) -> Option<Batch> {
    if u32::try_from(line.len()).is_err() {
        return None;
    }
    let mut found = Vec::new();
    let mut cursor = Cursor { line, at: 0 };
    // The payload of a record that is given up is not among the found ones.
    let mut last = None;
    match cursor.records(&mut found, &mut last) {
        Some(millis_behind_latest) => Some(Batch { found, millis_behind_latest }),
        None => {
            for payload in found.iter().map(|found| found.data).chain(last) {
                let (start, letters) = (payload.start as usize, payload.letters as usize);
                base64::restore(&mut line[start..start + letters], payload.bytes as usize);
            }
            None
        }
    }
}

impl Batch {
    pub(super) fn input(self, line: &[u8]) -> ProcessRecordsInput<'_> {
        // The texts of a large batch have left the cache since they were checked. A look at those of
        // a later record has them fetched while earlier ones are dealt with.
        let mut looked_at = 0;
        let mut records = Vec::with_capacity(self.found.len());
        for (index, found) in self.found.iter().enumerate() {
            if let Some(later) = self.found.get(index + AHEAD) {
                let end = later.texts as usize + later.texts_length as usize;
                for offset in [later.texts as usize, end - CACHE_LINE, end - 1] {
                    looked_at ^= line[offset];
                }
            }
            records.push(found.record(line));
        }
        core::hint::black_box(looked_at);
        ProcessRecordsInput { records, millis_behind_latest: self.millis_behind_latest }
    }
}

impl Found {
    #[inline]
    fn record<'a>(&self, line: &'a [u8]) -> Record<'a> {
        let texts = &line[self.texts as usize..][..self.texts_length as usize];
        let texts = core::str::from_utf8(texts).expect("it was checked when it was found");
        let number = texts.len() - self.sequence_number_length as usize;
        Record {
            data: &line[self.data.start as usize..][..self.data.bytes as usize],
            partition_key: &texts[..number - SEQUENCE_NUMBER.len()],
            sequence_number: SequenceNumber::from_digits(&texts[number..]),
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
    ) -> Option<Option<u64>> {
        self.literal(BEGINNING)?;
        if self.line.get(self.at)? != &b']' {
            let mut scratch = Scratch::new();
            loop {
                let data = self.data(&mut scratch)?;
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
            letters = self.until_quote()?;
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
        let texts = self.at;
        let length = self.until_quote()?;
        if !is_plain(&self.line[texts..texts + length]) {
            return None;
        }
        self.at += length;
        self.literal(SEQUENCE_NUMBER)?;
        let length = self.until_quote()?;
        if !is_number(&self.line[self.at..self.at + length]) {
            return None;
        }
        self.at += length;
        let end = self.at;
        self.literal(ARRIVAL)?;
        let arrival_millis = self.number_or_null()?;
        self.literal(SUB_SEQUENCE_NUMBER)?;
        let sub_sequence_number = self.number_or_null()?;
        self.literal(RECORD_END)?;
        Some(Found {
            data,
            texts: u32::try_from(texts).ok()?,
            texts_length: u32::try_from(end - texts).ok()?,
            sequence_number_length: u32::try_from(length).ok()?,
            sub_sequence_number,
            arrival_millis,
        })
    }

    #[inline]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let next = self.line.get(self.at..)?.first_chunk::<N>()?;
        (next == text).then(|| self.at += N)
    }

    /// How far it is to the next quotation mark.
    #[inline]
    fn until_quote(&self) -> Option<usize> {
        memchr::memchr(b'"', self.line.get(self.at..)?)
    }

    #[inline]
    fn number_or_null(&mut self) -> Option<Option<u64>> {
        /// Any number of so many digits fits.
        const MOST: usize = 19;

        let start = self.at;
        let mut number = 0;
        while let Some(digit) = self.line.get(self.at).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            if self.at - start == MOST {
                return None;
            }
            number = number * 10 + u64::from(digit);
            self.at += 1;
        }
        match self.at - start {
            0 => self.literal(b"null").map(|()| None),
            1 => Some(Some(number)),
            // JSON has no leading zeros.
            _ => (self.line[start] != b'0').then_some(Some(number)),
        }
    }
}

/// Whether the inside of a string is UTF-8 that stands for itself, without escapes and without what
/// must be escaped.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let (mut is_plain, mut all) = (true, 0);
    for &byte in text {
        is_plain &= (byte >= b' ') & (byte != b'\\');
        all |= byte;
    }
    is_plain && (all.is_ascii() || core::str::from_utf8(text).is_ok())
}

/// Whether the text is a sequence number, not a sentinel, which no record has.
#[inline]
fn is_number(text: &[u8]) -> bool {
    (1..=MAX_SEQUENCE_NUMBER_DIGITS).contains(&text.len())
        && text.iter().fold(true, |all, byte| all & byte.is_ascii_digit())
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
        let plain = decode_plainly(&mut plain);
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
        let is_taken = match read(&mut ours) {
            Some(batch) => {
                let input = batch.input(&ours);
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
            if read(&mut after).is_none() {
                assert!(after == damaged, "refused at {at}");
            }
        }
    }
}
