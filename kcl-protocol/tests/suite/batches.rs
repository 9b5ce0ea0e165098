//! Batches on both paths of the decoder, from what daemons write to what differs slightly. Together
//! they reach every branch of the fast path, with payloads of all lengths that it treats
//! differently.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kcl_protocol::{
    ChildSession, DaemonMessage, DecodeError, DecodeErrorKind, Error, ProcessRecordsInput,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::generate::{Dice, config};

/// A record's values as JSON, strings with their quotes.
#[derive(Debug, Clone)]
struct Written {
    data: String,
    key: String,
    number: String,
    arrival: String,
    sub: String,
    /// The last two numbers change places, which only the general path accepts.
    is_swapped: bool,
}

fn written(records: &[Written], behind: &str) -> String {
    let records = records.iter().map(|record| {
        let Written { data, key, number, arrival, sub, is_swapped } = record;
        let mut numbers = [("approximateArrivalTimestamp", arrival), ("subSequenceNumber", sub)];
        if *is_swapped {
            numbers.reverse();
        }
        let [(first, one), (second, other)] = numbers;
        format!(
            r#"{{"data":{data},"partitionKey":{key},"sequenceNumber":{number},"{first}":{one},"{second}":{other},"action":"record"}}"#
        )
    });
    let records = records.collect::<Vec<_>>().join(",");
    format!(r#"{{"action":"processRecords","records":[{records}]{behind}}}"#)
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn data() -> impl Strategy<Value = String> {
    // The base64 decoder works in chunks of 2,048 characters, which are 1,536 bytes.
    let length = prop_oneof![8 => 0..100_usize, 3 => 1_530..1_545_usize, 1 => 1_545..9_000_usize];
    let sound = (length, any::<u64>()).prop_map(|(length, seed)| {
        let mut dice = Dice::new(seed);
        let data: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
        STANDARD.encode(data)
    });
    let broken = (sound.clone(), any::<Index>(), select(vec!["!", "=", "\\", "é", "\t", "A", ""]))
        .prop_map(|(mut text, at, piece)| {
            let at = at.index(text.len() + 1);
            text.replace_range(at..text.len().min(at + 1), piece);
            quoted(&text)
        });
    // Escapes are valid JSON, so the general path decodes them.
    let escaped = sound.clone().prop_map(|text| quoted(&text.replace('/', "\\/")));
    prop_oneof![
        20 => sound.prop_map(|text| quoted(&text)),
        3 => Just("null".to_owned()),
        1 => escaped,
        1 => broken,
        1 => select(vec!["1", "{}", "[]", "nul", "\"", "", "true"]).prop_map(str::to_owned),
    ]
}

fn key() -> impl Strategy<Value = String> {
    // The fast path reads keys in chunks of eight bytes. Jackson does not escape these characters.
    let plain = "[ !#-\\[\\]-~\u{7f}]{0,26}";
    let any_plain = "[ !#-\\[\\]-~\u{7f}-\u{ffff}]{0,12}";
    let odd =
        (plain, select(vec!["\\\"", "\\\\", "\\u00e9", "\\ud800", "\\x", "\t", "\u{1f}", "\""]))
            .prop_map(|(text, piece)| text + piece);
    let inside = prop_oneof![12 => plain, 6 => any_plain, 1 => odd.clone()];
    // After a non-ASCII character the fast path takes another branch.
    let after_non_ascii = odd.prop_map(|text| format!("é{text}é"));
    prop_oneof![18 => inside, 1 => after_non_ascii].prop_map(|inside| quoted(&inside))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => "[0-9]{1,30}",
        9 => "49[0-9]{54}",
        3 => "[0-9]{125,129}",
        1 => select(vec![String::new(), "LATEST".to_owned(), "12a".to_owned(), "1".repeat(130), "1".repeat(256), "\\u0031".to_owned()]),
    ]
    .prop_map(|text| quoted(&text))
}

/// A JSON number of up to 20 digits, null, or something invalid.
fn count() -> impl Strategy<Value = String> {
    let any_length =
        (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| (number >> shift).to_string());
    let odd = select(vec![
        "00",
        "01",
        "007",
        "-1",
        "-0",
        "1.5",
        "1e3",
        "",
        "-",
        "nul",
        "nulll",
        "true",
        "\"1\"",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
    ]);
    prop_oneof![
        6 => "[0-9]",
        12 => any_length,
        3 => Just("null".to_owned()),
        1 => odd.prop_map(str::to_owned),
    ]
}

fn record() -> impl Strategy<Value = Written> {
    let is_swapped = prop::bool::weighted(0.02);
    (data(), key(), number(), count(), count(), is_swapped).prop_map(
        |(data, key, number, arrival, sub, is_swapped)| Written {
            data,
            key,
            number,
            arrival,
            sub,
            is_swapped,
        },
    )
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let behind = prop_oneof![
        12 => count().prop_map(|count| format!(",\"millisBehindLatest\":{count}")),
        // As some 1.x daemons do, and as later daemons may.
        2 => Just(String::new()),
        1 => Just(",\"millisBehindLatest\":1,\"later\":[{}]".to_owned()),
    ];
    let tail = prop_oneof![12 => Just(""), 1 => select(vec![" ", "\r", "x", "}", ",", "{}", "\0"])];
    let cut = prop::option::weighted(0.15, any::<Index>());
    // An invalid UTF-8 byte: in a non-ASCII string, or anywhere.
    let invalid_byte = prop::option::weighted(0.05, any::<Index>());
    (vec(record(), 0..4), behind, tail, cut, invalid_byte).prop_map(
        |(records, behind, tail, cut, invalid_byte)| {
            let mut line = (written(&records, &behind) + tail).into_bytes();
            if let Some(invalid_byte) = invalid_byte {
                let texts: Vec<_> = (0..line.len()).filter(|at| !line[*at].is_ascii()).collect();
                let at = texts.get(invalid_byte.index(texts.len() + 1)).copied();
                let at = at.unwrap_or_else(|| invalid_byte.index(line.len()));
                line[at] = 0xff;
            }
            if let Some(cut) = cut {
                line.truncate(cut.index(line.len()));
            }
            line
        },
    )
}

/// Calls `look` with what both paths make of a line. A trailing blank sends any line to the general
/// path.
fn by_both_paths<T>(
    line: &[u8],
    look: impl FnOnce(
        Result<DaemonMessage<'_>, DecodeError>,
        Result<DaemonMessage<'_>, DecodeError>,
    ) -> T,
) -> T {
    let (mut line, mut with_blank) = (line.to_vec(), [line, b" "].concat());
    look(DaemonMessage::decode(&mut line), DaemonMessage::decode(&mut with_blank))
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn both_paths_agree(line in line()) {
        by_both_paths(&line, |fast, general| {
            prop_assert_eq!(fast.as_ref().ok(), general.as_ref().ok(), "{}", line.escape_ascii());
            if let (Err(fast), Err(general)) = (fast, general) {
                // The blank moves an early end of the line by one byte.
                let is_json = |error: &DecodeError| matches!(error.kind(), DecodeErrorKind::Json(_));
                let is_same = fast == general || is_json(&fast) && is_json(&general);
                prop_assert!(is_same, "{fast}, {general}: {}", line.escape_ascii());
            }
            Ok(())
        })?;
    }

}

proptest! {
    #![proptest_config(config(200))]

    /// A session reuses its buffers, but no line affects the next one.
    #[test]
    fn a_session_decodes_each_line_as_if_it_were_the_first(lines in vec(line(), 1..6)) {
        let mut session = ChildSession::new();
        let mut out = Vec::new();
        session.receive(&mut br#"{"action":"initialize","shardId":"s"}"#.to_vec()).unwrap();
        session.answer(&mut out).unwrap();
        for line in lines {
            let (mut line, mut copy) = (line.clone(), line);
            let alone = DaemonMessage::decode(&mut copy).map_err(Error::Decode);
            let message = session.receive(&mut line);
            prop_assert_eq!(&message, &alone);
            if message.is_err() {
                // The session has failed.
                break;
            }
            session.answer(&mut out).unwrap();
        }
    }
}

#[test]
fn a_line_cut_anywhere_is_rejected() {
    let record = |data: &str, sub: &str| Written {
        data: data.to_owned(),
        key: quoted("kéy"),
        number: quoted("4968"),
        arrival: "1783814400000".to_owned(),
        sub: sub.to_owned(),
        is_swapped: false,
    };
    let records = [record("null", "null"), record(&quoted("YWJj"), "0"), record("\"\"", "12")];
    let line = written(&records, ",\"millisBehindLatest\":7");
    assert!(DaemonMessage::decode(&mut line.clone().into_bytes()).is_ok());
    for end in 0..line.len() {
        let error = DaemonMessage::decode(&mut line.as_bytes()[..end].to_vec()).unwrap_err();
        let is_cut =
            matches!(error.kind(), DecodeErrorKind::Json(_) | DecodeErrorKind::Utf8 { .. });
        assert!(is_cut, "cut at {end}: {error}");
    }
}

/// Among them is a batch of more records than a daemon asks for, as deaggregation produces.
#[test]
fn large_batches_are_decoded_completely() {
    for (count, size) in [(1_000, 300), (12_000, 10), (9, 40_000), (3, 0)] {
        let data: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let records: Vec<_> = (0..count)
            .map(|index| Written {
                data: quoted(&STANDARD.encode(&data)),
                key: quoted(&format!("kéy {index}")),
                number: quoted(&(1_000_000 + index / 3).to_string()),
                arrival: "1783814400000".to_owned(),
                sub: (index % 3).to_string(),
                is_swapped: false,
            })
            .collect();
        let line = written(&records, ",\"millisBehindLatest\":null");
        by_both_paths(line.as_bytes(), |fast, general| {
            assert!(fast == general && fast.is_ok(), "{count} records of {size} bytes");
        });
        let mut line = line.into_bytes();
        let DaemonMessage::ProcessRecords(input) = DaemonMessage::decode(&mut line).unwrap() else {
            panic!("a batch");
        };
        let ProcessRecordsInput { records, millis_behind_latest: None, .. } = input else {
            panic!("{input:?}");
        };
        assert_eq!(records.len(), count);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.data, data);
            assert_eq!(record.partition_key, format!("kéy {index}"));
            assert_eq!(
                record.extended_sequence_number().to_string(),
                format!("{}/{}", 1_000_000 + index / 3, index % 3)
            );
        }
    }
}
