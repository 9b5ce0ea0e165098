//! Properties of the codec for all messages: encoding and decoding are inverse, every lenient way
//! of writing a message means the same, invalid lines are rejected, and no bytes cause a panic.

use kcl_protocol::{
    Action, CheckpointRequest, ChildMessage, ChildSession, DaemonMessage, DaemonSession,
    DecodeErrorKind, InitializeInput, Received,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::{
    Dice, Owned, OwnedRecord, config, long, message, record, records, text, written_freely,
};
use crate::strict::{Strict, decode_child_strictly, decode_strictly};

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn daemon_messages_round_trip(message in message()) {
        let mut line = message.encoded();
        let strict = decode_strictly(&line);
        prop_assert!(strict.is_ok(), "{strict:?}");
        line.pop();
        prop_assert_eq!(DaemonMessage::decode(&mut line).unwrap(), message.borrowed());
    }

    #[test]
    fn checkpoint_requests_round_trip(
        number in proptest::option::of(text()),
        sub in proptest::option::of(long()),
    ) {
        let request =
            CheckpointRequest { sequence_number: number.as_deref(), sub_sequence_number: sub };
        let mut line = Vec::new();
        ChildMessage::Checkpoint(request).encode(&mut line);
        let Ok(Strict::Checkpoint { sequence_number, sub_sequence_number, .. }) =
            decode_child_strictly(&line)
        else {
            panic!("{}", line.escape_ascii());
        };
        prop_assert_eq!(&sequence_number, &number);
        prop_assert_eq!(sub_sequence_number, sub.map(u64::cast_signed));
        let received = busy_daemon(Action::ProcessRecords).receive(&mut line).unwrap();
        prop_assert_eq!(received, Received::Checkpoint(request));
    }

    #[test]
    fn every_valid_way_of_writing_a_message_decodes_to_it(message in message(), seed in any::<u64>()) {
        let mut line = written_freely(&message, &mut Dice::new(seed), &mut |_, _| {});
        let shown = line.escape_ascii().to_string();
        match DaemonMessage::decode(&mut line) {
            Ok(decoded) => prop_assert_eq!(decoded, message.borrowed(), "{}", shown),
            Err(error) => prop_assert!(false, "{error}: {shown}"),
        }
    }

    #[test]
    fn a_known_field_that_occurs_twice_is_rejected(message in message(), seed in any::<u64>()) {
        let mut dice = Dice::new(seed);
        let mut choice = dice.clone();
        let at = pick_object(&message, &mut choice);
        let line = written_freely(&message, &mut dice, &mut |index, fields| {
            if index == at {
                let known = |(name, _): &&(String, String)| {
                    !(name.starts_with("unknown") || index.is_some() && name == "action")
                };
                let known: Vec<_> = fields.iter().filter(known).cloned().collect();
                fields.push(known[choice.roll(known.len())].clone());
            }
        });
        check_rejected(&line, "duplicate field")?;
    }

    #[test]
    fn a_cut_line_is_rejected(
        message in message(),
        seed in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let line = written_freely(&message, &mut Dice::new(seed), &mut |_, _| {});
        let line = line.trim_ascii();
        check_rejected(&line[..cut.index(line.len())], "")?;
    }

    #[test]
    fn a_damaged_payload_is_rejected_and_located(
        message in records(),
        victim in record(),
        seed in any::<u64>(),
        at in any::<prop::sample::Index>(),
        invalid in prop::sample::select(vec!['!', '-', '_', ' ', '\n', 'é', '\0', '%']),
    ) {
        let mut dice = Dice::new(seed);
        let Owned::Records { mut records, behind } = message else { panic!("{message:?}") };
        let damaged = dice.roll(records.len() + 1);
        let data = [b"x", &victim.data[..]].concat();
        records.insert(damaged, OwnedRecord { data, ..victim });
        let message = Owned::Records { records, behind };
        let mut line = written_freely(&message, &mut dice, &mut |index, fields| {
            if index == Some(damaged) {
                let data = fields.iter_mut().find(|(name, _)| name == "data").unwrap();
                let text: String = serde_json::from_str(&data.1).unwrap();
                let length = text.trim_end_matches('=').len();
                let mut chars: Vec<char> = text.chars().collect();
                chars[at.index(length)] = invalid;
                data.1 = serde_json::to_string(&String::from_iter(chars)).unwrap();
            }
        });
        let error = DaemonMessage::decode(&mut line).unwrap_err();
        prop_assert!(matches!(error.kind(), DecodeErrorKind::Base64(_)), "{error}");
        prop_assert_eq!((error.record_index(), error.field()), (Some(damaged), Some("data")));
        prop_assert_eq!(error.action(), Some("processRecords"));
    }

    #[test]
    fn invalid_json_in_an_ignored_field_is_rejected(
        message in message(),
        seed in any::<u64>(),
        broken in prop::sample::select(vec![
            "", "tru", "nul", "01", "+1", "1.", ".5", "-", "0x1", "NaN", "1e", "'a'", "\"", "[", "{",
            "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "\"\\q\"", "\"\\u12\"",
            "\"\u{1}\"", "\"\t\"", "[}", "1 1", "}",
        ]),
    ) {
        let mut dice = Dice::new(seed);
        let mut choice = dice.clone();
        let at = pick_object(&message, &mut choice);
        let line = written_freely(&message, &mut dice, &mut |index, fields| {
            if index == at {
                fields.push(("ignored".to_owned(), broken.to_owned()));
            }
        });
        check_rejected(&line, "")?;
    }

    #[test]
    fn invalid_utf8_is_rejected_with_a_hint(
        message in message(),
        seed in any::<u64>(),
        at in any::<prop::sample::Index>(),
        invalid in 0x80..=0xff_u8,
    ) {
        let mut line = written_freely(&message, &mut Dice::new(seed), &mut |_, _| {});
        let at = at.index(line.len());
        line.insert(at, invalid);
        prop_assume!(std::str::from_utf8(&line).is_err());
        let error = DaemonMessage::decode(&mut line).unwrap_err();
        prop_assert!(matches!(error.kind(), DecodeErrorKind::Utf8 { .. }), "{error}");
        prop_assert!(error.to_string().ends_with("with -Dfile.encoding=UTF-8"));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        check_no_panic(&bytes)?;
    }

    #[test]
    fn no_sequence_of_json_tokens_causes_a_panic(
        tokens in vec(prop::sample::select(TOKENS.to_vec()), 0..30),
    ) {
        check_no_panic(tokens.concat().as_bytes())?;
    }

    #[test]
    fn no_damaged_message_causes_a_panic(
        message in message(),
        seed in any::<u64>(),
        damages in vec((0..5_u8, any::<[prop::sample::Index; 3]>(), any::<u8>()), 1..5),
    ) {
        let mut line = written_freely(&message, &mut Dice::new(seed), &mut |_, _| {});
        for (kind, [first, second, third], byte) in damages {
            if line.is_empty() {
                break;
            }
            let (a, b) = (first.index(line.len()), second.index(line.len()));
            let (low, high) = (a.min(b), a.max(b));
            match kind {
                0 => line[a] ^= 1 << (byte % 8),
                1 => drop(line.drain(low..high)),
                2 => line.insert(a, byte),
                3 => line[low..high].rotate_left(third.index(high - low + 1)),
                _ => {
                    let copy = line[low..high].to_vec();
                    let at = third.index(line.len());
                    line.splice(at..at, copy);
                }
            }
        }
        check_no_panic(&line)?;
    }
}

const TOKENS: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "0",
    "-1",
    "1.5",
    "true",
    "\"\"",
    "\"x\"",
    " ",
    "\"",
    "\\",
    "\"action\":",
    "\"status\"",
    "\"checkpoint\"",
    "\"processRecords\"",
    "\"initialize\"",
    "\"records\":",
    "\"data\":",
    "\"aGk=\"",
    "\"partitionKey\":",
    "\"sequenceNumber\":",
    "\"21\"",
    "\"subSequenceNumber\":",
    "\"responseFor\":",
    "\"shardId\":",
    "{\"action\":\"leaseLost\"}",
    "\"\\ud83d\"",
    "\"reason\":",
    "\"ZOMBIE\"",
];

/// Picks one of the records, or the message itself (`None`).
fn pick_object(message: &Owned, dice: &mut Dice) -> Option<usize> {
    match message {
        Owned::Records { records, .. } if !records.is_empty() => {
            (dice.roll(3) > 0).then(|| dice.roll(records.len()))
        }
        _ => None,
    }
}

fn check_rejected(line: &[u8], expected: &str) -> Result<(), TestCaseError> {
    let shown = line.escape_ascii().to_string();
    match DaemonMessage::decode(&mut line.to_vec()) {
        Ok(decoded) => prop_assert!(false, "decoded as {decoded:?}: {shown}"),
        Err(error) => prop_assert!(error.to_string().contains(expected), "{error}: {shown}"),
    }
    Ok(())
}

/// A daemon session that waits for the status of this action.
fn busy_daemon(action: Action) -> DaemonSession {
    let mut session = DaemonSession::new();
    let mut out = Vec::new();
    session.send(&DaemonMessage::Initialize(InitializeInput::new("shardId-0")), &mut out).unwrap();
    if action == Action::ProcessRecords {
        session
            .receive(&mut b"{\"action\":\"status\",\"responseFor\":\"initialize\"}".to_vec())
            .unwrap();
        let records = kcl_protocol::ProcessRecordsInput::new(Vec::new());
        session.send(&DaemonMessage::ProcessRecords(records), &mut out).unwrap();
    }
    session
}

/// Gives a line to everything that decodes lines. What can be decoded must round-trip.
fn check_no_panic(line: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = DaemonMessage::decode(&mut line.to_vec()) {
        let mut written = Vec::new();
        message.encode(&mut written);
        written.pop();
        prop_assert_eq!(DaemonMessage::decode(&mut written).unwrap(), message);
    }
    let mut child = ChildSession::new();
    let first = child.receive(&mut line.to_vec()).is_ok();
    prop_assert_eq!(child.answer(&mut Vec::new()).is_ok(), first);
    for mut daemon in [DaemonSession::new(), busy_daemon(Action::ProcessRecords)] {
        let state = daemon.state();
        match daemon.receive(&mut line.to_vec()) {
            Ok(received) if received.is_noise() => prop_assert_eq!(daemon.state(), state),
            Ok(_) => prop_assert_ne!(daemon.state(), state),
            Err(_) => prop_assert_eq!(daemon.state(), kcl_protocol::State::Failed),
        }
    }
    Ok(())
}

/// Millions of invalid bytes in a row must not make the search for the field slow.
#[test]
fn a_long_line_of_invalid_utf8_is_rejected_quickly() {
    let key = vec![0xfc; 4 << 20];
    let mut line = b"{\"action\":\"initialize\",\"shardId\":\"".to_vec();
    line.extend_from_slice(&key);
    line.extend_from_slice(b"\"}");
    let error = DaemonMessage::decode(&mut line).unwrap_err();
    assert_eq!((error.action(), error.field()), (Some("initialize"), Some("shardId")));
    assert_eq!(*error.kind(), DecodeErrorKind::Utf8 { offset: 34 });
}
