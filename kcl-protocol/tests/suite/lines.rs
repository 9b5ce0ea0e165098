//! Splitting bytes into lines: the lines do not depend on how the bytes arrive.

use std::sync::LazyLock;

use kcl_fixtures::Dialogue;
use kcl_protocol::{ChildSession, DaemonMessage, Line, LineBuffer, LineError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::{Dice, config, message};

/// The lines and the end of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    lines: Vec<Vec<u8>>,
    end: Result<(), LineError>,
}

/// Splits all bytes at once.
fn expected(bytes: &[u8], limit: usize) -> Outcome {
    let mut lines = Vec::new();
    let pieces: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let (last, whole) = pieces.split_last().unwrap();
    for piece in whole.iter().chain([last]) {
        let text = piece.strip_suffix(b"\r").unwrap_or(piece);
        if text.len() > limit {
            return Outcome { lines, end: Err(LineError::TooLong { limit }) };
        }
        if !std::ptr::eq(piece, last) && !text.trim_ascii().is_empty() {
            lines.push(text.to_vec());
        }
    }
    let end = match last.trim_ascii() {
        [] => Ok(()),
        _ => Err(LineError::EndInsideLine { length: last.len() }),
    };
    Outcome { lines, end }
}

/// Takes every complete line, and gives lines back at random times.
fn take(
    buffer: &mut LineBuffer,
    lines: &mut Vec<Vec<u8>>,
    unreturned: &mut Vec<Line>,
    dice: &mut Dice,
) -> Result<(), LineError> {
    while let Some(mut line) = buffer.next_line()? {
        assert_eq!(line.bytes().to_vec(), line.bytes_mut().to_vec());
        lines.push(line.bytes().to_vec());
        // Overwriting a line must not affect later ones.
        line.bytes_mut().fill(b'!');
        unreturned.push(line);
        give_back(buffer, unreturned, dice);
    }
    give_back(buffer, unreturned, dice);
    Ok(())
}

fn give_back(buffer: &mut LineBuffer, unreturned: &mut Vec<Line>, dice: &mut Dice) {
    while unreturned.len() > dice.roll(3) {
        let line = unreturned.swap_remove(dice.roll(unreturned.len()));
        buffer.recycle(line);
    }
}

/// Splits the bytes as they arrive in random pieces.
fn split(bytes: &[u8], limit: usize, by_spare: bool, dice: &mut Dice) -> Outcome {
    let mut buffer = LineBuffer::with_limit(limit);
    let (mut lines, mut unreturned) = (Vec::new(), Vec::new());
    let max_piece = [1, 7, 100, 5_000, 200_000][dice.roll(5)];
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rest.len().min(1 + dice.roll(max_piece));
        let count = if by_spare {
            let spare = buffer.spare();
            assert!(!spare.is_empty());
            let count = count.min(spare.len());
            spare[..count].copy_from_slice(&rest[..count]);
            buffer.advance(count);
            count
        } else {
            buffer.push(&rest[..count]);
            count
        };
        rest = &rest[count..];
        // Sometimes more bytes arrive before the next line is taken.
        if dice.roll(3) > 0
            && let Err(error) = take(&mut buffer, &mut lines, &mut unreturned, dice)
        {
            assert_eq!(buffer.next_line().unwrap_err(), error, "the error must persist");
            return Outcome { lines, end: Err(error) };
        }
    }
    let end =
        take(&mut buffer, &mut lines, &mut unreturned, dice).and_then(|()| buffer.end_of_input());
    Outcome { lines, end }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop::sample::select(vec!["\n", "\r\n", "\n\n", "\r", " ", "\r\r\n", "\n \t\n", ""]);
    prop_oneof![
        6 => vec(any::<u8>(), 0..40),
        8 => ends.prop_map(|it| it.as_bytes().to_vec()),
        4 => Just(b"{\"action\":\"leaseLost\"}\n".to_vec()),
        1 => (1..90_000_usize).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    #![proptest_config(config(700))]

    #[test]
    fn lines_do_not_depend_on_how_bytes_arrive(
        pieces in vec(piece(), 0..30),
        // `None` is no limit; otherwise the length of a line, one more or one less.
        limit in proptest::option::of((any::<prop::sample::Index>(), 0..3_usize)),
        by_spare in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let bytes = pieces.concat();
        let limit = limit.map_or(usize::MAX, |(line, more)| {
            let lengths: Vec<usize> = bytes.split(|it| *it == b'\n').map(<[u8]>::len).collect();
            (lengths[line.index(lengths.len())] + more).saturating_sub(1)
        });
        let expected = expected(&bytes, limit);
        let got = split(&bytes, limit, by_spare, &mut Dice::new(seed));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn messages_and_errors_do_not_depend_on_how_bytes_arrive(
        messages in vec(message(), 0..6),
        broken in proptest::option::of(prop::sample::select(vec!["hello", "{}", "{\"action\":1}"])),
        ending in prop::sample::select(vec!["\n", "\r\n", "\n\n"]),
        by_spare in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for message in &messages {
            let line = message.encoded();
            bytes.extend_from_slice(line.trim_ascii_end());
            bytes.extend_from_slice(ending.as_bytes());
            expected.push(Ok(format!("{:?}", message.borrowed())));
        }
        if let Some(broken) = broken {
            bytes.extend_from_slice(broken.as_bytes());
            bytes.extend_from_slice(ending.as_bytes());
            let error = DaemonMessage::decode(&mut broken.as_bytes().to_vec()).unwrap_err();
            expected.push(Err(error));
        }
        let outcome = split(&bytes, usize::MAX, by_spare, &mut Dice::new(seed));
        prop_assert_eq!(outcome.end, Ok(()));
        let mut got = Vec::new();
        for mut line in outcome.lines {
            got.push(DaemonMessage::decode(&mut line).map(|message| format!("{message:?}")));
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn sessions_do_not_depend_on_how_bytes_arrive(seed in any::<u64>(), by_spare in any::<bool>()) {
        let mut dice = Dice::new(seed);
        static DIALOGUES: LazyLock<Vec<Dialogue>> = LazyLock::new(kcl_fixtures::dialogues);
        let dialogue = &DIALOGUES[dice.roll(DIALOGUES.len())];
        let outcome = split(&dialogue.daemon_bytes(), usize::MAX, by_spare, &mut dice);
        prop_assert_eq!(outcome.end, Ok(()));
        let mut lines = outcome.lines.into_iter();
        let mut child = ChildSession::new();
        for turn in dialogue.turns() {
            prop_assert!(child.receive(&mut lines.next().unwrap()).is_ok());
            for checkpoint in &turn.checkpoints {
                let at = kcl_protocol::Position::AllDelivered;
                prop_assert!(child.checkpoint(&at, &mut Vec::new()).is_ok());
                if checkpoint.answer.is_some() {
                    prop_assert!(child.receive(&mut lines.next().unwrap()).is_ok());
                }
            }
            prop_assert!(child.answer(&mut Vec::new()).is_ok());
        }
        prop_assert!(child.end_of_input().is_ok());
        prop_assert_eq!(lines.next(), None);
    }
}
