//! The fast path: decodes batches that look byte for byte as daemons write them.
//!
//! ```json
//! {"action":"processRecords","records":[{"data":"…","partitionKey":"…","sequenceNumber":"…",
//! "approximateArrivalTimestamp":N,"subSequenceNumber":N,"action":"record"},…],"millisBehindLatest":N}
//! ```
//!
//! The first pass decodes each payload in place and notes where the parts of its record are; the
//! second makes the records, which borrow from the line. At anything else, be it an escape, another
//! order of fields or an error, the fast path encodes again what it has decoded and leaves the line
//! to the general path. So all errors come from the general path.

use alloc::vec::Vec;
use core::time::Duration;

use super::base64::{self, Scratch};
use super::json::must_be_escaped;
use crate::sequence::{are_digits, check_digits};
use crate::{ProcessRecordsInput, Record, SequenceNumber};

// The layout of a batch, for this decoder and for the encoder.
pub(super) const BATCH_START: &[u8; 38] = b"{\"action\":\"processRecords\",\"records\":[";
pub(super) const DATA: &[u8; 9] = b"{\"data\":\"";
const NULL_DATA: &[u8; 12] = b"{\"data\":null";
pub(super) const PARTITION_KEY: &[u8; 17] = b",\"partitionKey\":\"";
pub(super) const SEQUENCE_NUMBER: &[u8; 20] = b"\",\"sequenceNumber\":\"";
pub(super) const ARRIVAL: &[u8; 32] = b"\",\"approximateArrivalTimestamp\":";
pub(super) const SUB_SEQUENCE_NUMBER: &[u8; 21] = b",\"subSequenceNumber\":";
pub(super) const RECORD_END: &[u8; 19] = b",\"action\":\"record\"}";
pub(super) const MILLIS_BEHIND_LATEST: &[u8; 23] = b"],\"millisBehindLatest\":";

/// Every record is longer than this, so a line has room for at most its length divided by this.
const MIN_RECORD_LENGTH: usize = DATA.len()
    + PARTITION_KEY.len()
    + SEQUENCE_NUMBER.len()
    + ARRIVAL.len()
    + SUB_SEQUENCE_NUMBER.len()
    + RECORD_END.len();

/// Memory is reserved in advance for at most this many records. A daemon asks Kinesis for up to
/// 10,000; deaggregation can turn them into more.
const MAX_RESERVED_RECORDS: usize = 10_000;

/// The buffers that a session keeps from batch to batch, so that the next batch allocates nothing.
/// They take about 150 bytes for each record of the largest batch so far.
#[derive(Default)]
pub(crate) struct BatchBuffers {
    spans: Vec<RecordSpans>,
    /// Always empty: only its allocation is kept.
    records: Vec<Record<'static>>,
    pub(super) scratch: Scratch,
}

impl core::fmt::Debug for BatchBuffers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BatchBuffers").finish_non_exhaustive()
    }
}

impl BatchBuffers {
    /// Takes back the allocation of a batch that the caller is done with.
    pub(crate) fn recycle(&mut self, mut records: Vec<Record<'_>>) {
        records.clear();
        // In-place collect keeps the allocation; tests/allocations.rs checks it.
        self.records = records.into_iter().map_while(|_| None).collect();
    }
}

/// Where the parts of a record are in the line. Offsets of 32 bits halve the memory that they take;
/// longer lines go to the general path.
struct RecordSpans {
    payload_start: u32,
    encoded_length: u32,
    decoded_length: u32,
    key_start: u32,
    key_length: u32,
    /// After the key come [`SEQUENCE_NUMBER`] and the number.
    sequence_number_length: u8,
    sub_sequence_number: Option<u64>,
    arrival_millis: Option<u64>,
}

/// Decodes a batch in place, or returns the line unchanged if it is not exactly what a daemon
/// writes.
pub(super) fn decode<'a>(
    line: &'a mut [u8],
    buffers: &mut BatchBuffers,
) -> Result<ProcessRecordsInput<'a>, &'a mut [u8]> {
    let BatchBuffers { spans, records, scratch } = buffers;
    spans.clear();
    if line.first_chunk() != Some(BATCH_START) || u32::try_from(line.len()).is_err() {
        return Err(line);
    }
    spans.reserve((line.len() / MIN_RECORD_LENGTH).min(MAX_RESERVED_RECORDS));
    let mut cursor = Cursor { line, position: BATCH_START.len() };
    let Some(millis_behind_latest) = cursor.batch(spans, scratch) else {
        spans.iter().for_each(|record| record.restore(line, scratch));
        return Err(line);
    };
    let line = &*line;
    let mut records: Vec<Record<'a>> = core::mem::take(records);
    records.reserve_exact(spans.len());
    records.extend(spans.iter().map(|record| record.record(line)));
    Ok(ProcessRecordsInput { records, millis_behind_latest })
}

impl RecordSpans {
    #[inline]
    fn record<'a>(&self, line: &'a [u8]) -> Record<'a> {
        let (key, rest) = line[self.key_start as usize..].split_at(self.key_length as usize);
        let number = &rest[SEQUENCE_NUMBER.len()..][..usize::from(self.sequence_number_length)];
        Record {
            data: &line[self.payload_start as usize..][..self.decoded_length as usize],
            partition_key: core::str::from_utf8(key).expect("the first pass checked it"),
            sequence_number: SequenceNumber::from_digits(number),
            sub_sequence_number: self.sub_sequence_number,
            approximate_arrival: self.arrival_millis.map(Duration::from_millis),
        }
    }

    /// Encodes the payload again where it was.
    fn restore(&self, line: &mut [u8], scratch: &mut Scratch) {
        let text = &mut line[self.payload_start as usize..][..self.encoded_length as usize];
        base64::restore(text, self.decoded_length as usize, scratch);
    }
}

/// Reads the line from its start. Each method returns `None` at what daemons do not write.
struct Cursor<'l> {
    line: &'l mut [u8],
    position: usize,
}

impl Cursor<'_> {
    /// Returns `millisBehindLatest`.
    fn batch(
        &mut self,
        spans: &mut Vec<RecordSpans>,
        scratch: &mut Scratch,
    ) -> Option<Option<u64>> {
        if self.line.get(self.position)? != &b']' {
            loop {
                spans.push(self.record(scratch)?);
                if self.line.get(self.position)? != &b',' {
                    break;
                }
                self.position += 1;
            }
        }
        self.literal(MILLIS_BEHIND_LATEST)?;
        let millis_behind_latest = self.number_or_null()?;
        self.literal(b"}")?;
        (self.position == self.line.len()).then_some(millis_behind_latest)
    }

    /// Decodes the payload last, so that a record that is not accepted is unchanged.
    #[inline]
    fn record(&mut self, scratch: &mut Scratch) -> Option<RecordSpans> {
        let (payload_start, encoded_length) = self.payload()?;
        self.literal(PARTITION_KEY)?;
        let key_start = self.position;
        let key_length = unescaped_length(self.rest())?;
        self.position += key_length;
        self.literal(SEQUENCE_NUMBER)?;
        let sequence_number_length = sequence_number_length(self.rest())?;
        self.position += sequence_number_length;
        self.literal(ARRIVAL)?;
        let arrival_millis = self.number_or_null()?;
        self.literal(SUB_SEQUENCE_NUMBER)?;
        let sub_sequence_number = self.number_or_null()?;
        self.literal(RECORD_END)?;
        let text = &mut self.line[payload_start..payload_start + encoded_length];
        let decoded_length = base64::try_decode_in_place(text, scratch)?;
        Some(RecordSpans {
            payload_start: u32::try_from(payload_start).ok()?,
            encoded_length: u32::try_from(encoded_length).ok()?,
            decoded_length: u32::try_from(decoded_length).ok()?,
            key_start: u32::try_from(key_start).ok()?,
            key_length: u32::try_from(key_length).ok()?,
            sequence_number_length: u8::try_from(sequence_number_length).ok()?,
            sub_sequence_number,
            arrival_millis,
        })
    }

    /// Skips the payload, still encoded, and returns its start and length.
    #[inline]
    fn payload(&mut self) -> Option<(usize, usize)> {
        if self.literal(DATA).is_none() {
            self.literal(NULL_DATA)?;
            return Some((self.position, 0));
        }
        let (start, length) = (self.position, memchr::memchr(b'"', self.rest())?);
        self.position += length + 1;
        Some((start, length))
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        &self.line[self.position..]
    }

    #[inline]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let next = self.line.get(self.position..)?.first_chunk::<N>()?;
        (next == text).then(|| self.position += N)
    }

    #[inline]
    fn number_or_null(&mut self) -> Option<Option<u64>> {
        // Most sub-sequence numbers are 0, and a shard that is read to its end is 0 ms behind.
        match self.line.get(self.position..)? {
            [b'0', next, ..] if !next.is_ascii_digit() => {
                self.position += 1;
                Some(Some(0))
            }
            _ => self.other_number_or_null(),
        }
    }

    #[inline(never)]
    fn other_number_or_null(&mut self) -> Option<Option<u64>> {
        /// Any number of this many digits fits in 64 bits.
        const MAX_DIGITS: usize = 19;

        let text = self.rest();
        // JSON has no leading zeros.
        if !matches!(text.first(), Some(b'1'..=b'9')) {
            return self.literal(b"null").map(|()| None);
        }
        let (mut digits, mut number) = (0, 0_u64);
        for digit in text.iter().take_while(|byte| byte.is_ascii_digit()) {
            digits += 1;
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        }
        self.position += digits;
        (digits <= MAX_DIGITS).then_some(Some(number))
    }
}

/// Returns the length of the sequence number that begins here and ends with a quote. A sentinel is
/// not accepted, as no record has one.
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

    use super::super::daemon_to_child::decode_general;
    use super::*;
    use crate::{DaemonMessage, OwnedRecord};

    /// Returns whether the fast path accepts the line. Both paths must give the same message or the
    /// same error, and a rejected line must be unchanged.
    fn check(line: &[u8]) -> bool {
        let shown = |result: Result<DaemonMessage<'_>, crate::DecodeError>| match result {
            Ok(message) => {
                let mut payloads = vec![];
                if let DaemonMessage::ProcessRecords(input) = &message {
                    // `Debug` shows only their lengths.
                    payloads.extend(input.records.iter().map(|record| record.data.to_vec()));
                }
                format!("{message:?} {payloads:?}")
            }
            Err(error) => format!("{error:?} {error}"),
        };
        let general = shown(decode_general(&mut line.to_vec(), &mut Scratch::default()));
        assert_eq!(shown(DaemonMessage::decode(&mut line.to_vec())), general);
        match decode(&mut line.to_vec(), &mut BatchBuffers::default()) {
            Ok(input) => {
                assert_eq!(shown(Ok(DaemonMessage::ProcessRecords(input))), general);
                true
            }
            Err(unchanged) => {
                assert_eq!(unchanged, line, "the fast path must not change a line it rejects");
                false
            }
        }
    }

    fn record() -> impl Strategy<Value = OwnedRecord> {
        let number = prop::option::weighted(0.9, 0..10_000_000_000_000_000_000_u64);
        let data = prop_oneof![vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..9_000)];
        // Characters that Jackson does not escape.
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

    /// A batch as a daemon writes it, without the line end.
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

    /// Text that is likely to matter somewhere in a line.
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
        fn batches_as_daemons_write_them_are_accepted(line in line()) {
            prop_assert!(check(&line));
        }

        #[test]
        fn both_paths_agree_on_damaged_lines(
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

        /// Damages the short fields, which random damage to the whole line rarely hits.
        #[test]
        fn both_paths_agree_on_damaged_fields(
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
                &BATCH_START[..], sound, b",", &*damaged, b",", sound, MILLIS_BEHIND_LATEST, &*behind, b"}",
            ].concat();
            check(&line);
        }
    }

    #[test]
    fn both_paths_agree_on_fixtures_and_recorded_batches_are_accepted() {
        let mut accepted = vec![];
        for folder in [Folder::FromDaemon, Folder::InvalidFromDaemon] {
            for message in kcl_fixtures::messages(folder) {
                if check(&message.line) {
                    accepted.push(message.name);
                }
            }
        }
        for expected in ["java-1.15.3-records", "java-2.2.0-records", "java-2.5.4-records"] {
            assert!(
                accepted.iter().any(|name| name.starts_with(expected)),
                "{expected} is not among {accepted:?}"
            );
        }
    }

    #[test]
    fn a_rejected_line_is_unchanged_wherever_it_is_damaged() {
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
            if let Err(unchanged) = decode(&mut after, &mut BatchBuffers::default()) {
                assert!(unchanged == damaged, "damaged at {at}");
            }
        }
    }
}
