//! The stderr of a child, line by line; the last lines are kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Longer lines are shown in pieces of this many bytes.
const PIECE: usize = 16 << 10;
/// How many last lines are kept, and how much of each.
const KEPT_LINES: usize = 10;
const KEPT_CHARS: usize = 500;

/// The last lines of a child's stderr.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    pub(crate) fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, lines: &[String]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in &lines[lines.len().saturating_sub(KEPT_LINES)..] {
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line.chars().take(KEPT_CHARS).collect());
        }
    }
}

/// Reads to the end and shows whole lines as soon as they are complete.
pub(crate) fn pump(mut stderr: impl Read, last_words: &LastWords, mut show: impl FnMut(&[String])) {
    let mut give = |lines: Vec<String>| {
        if !lines.is_empty() {
            last_words.keep(&lines);
            show(&lines);
        }
    };
    let mut unfinished = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match stderr.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => give(split(&mut unfinished, &chunk[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if !unfinished.is_empty() {
        give(vec![clean(&unfinished)]);
    }
}

/// Returns the lines that are complete now; the rest stays in `unfinished`.
fn split(unfinished: &mut Vec<u8>, mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(lf) = memchr::memchr(b'\n', bytes) {
        unfinished.extend_from_slice(&bytes[..lf]);
        lines.extend(unfinished.chunks(PIECE).map(clean));
        if unfinished.is_empty() {
            lines.push(String::new());
        }
        unfinished.clear();
        bytes = &bytes[lf + 1..];
    }
    unfinished.extend_from_slice(bytes);
    if unfinished.len() > PIECE {
        let whole = unfinished.len() / PIECE * PIECE;
        lines.extend(unfinished[..whole].chunks(PIECE).map(clean));
        unfinished.drain(..whole);
    }
    lines
}

fn clean(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        struct Chunks<'a>(&'a [&'a [u8]]);
        impl Read for Chunks<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                while let Some((first, rest)) = self.0.split_first() {
                    if first.is_empty() {
                        self.0 = rest;
                        continue;
                    }
                    out[..first.len()].copy_from_slice(first);
                    self.0 = rest;
                    return Ok(first.len());
                }
                Ok(0)
            }
        }
        let mut lines = Vec::new();
        pump(Chunks(chunks), &LastWords::default(), |more| lines.extend_from_slice(more));
        lines
    }

    #[test]
    fn lines_are_shown_whole() {
        let text = b"one\r\n\n\x1b[2Jtwo\ttabs \xff\xfe\xe2\x80\xaex\nlast";
        assert_eq!(
            lines_of(&[text]),
            ["one", "", "\u{1b}[2Jtwo\ttabs \u{fffd}\u{fffd}\u{202e}x", "last"]
        );
    }

    #[test]
    fn endless_line_is_shown_in_pieces() {
        let text = vec![b'x'; 3 * PIECE + 5];
        let pieces: Vec<_> = text.chunks(60_000).collect();
        let lengths: Vec<_> = lines_of(&pieces).iter().map(String::len).collect();
        assert_eq!(lengths, [PIECE, PIECE, PIECE, 5]);
    }

    #[test]
    fn few_last_lines_are_kept() {
        let words = LastWords::default();
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        pump(text.as_bytes(), &words, |_| {});
        assert_eq!(words.get().len(), KEPT_LINES);
        assert_eq!(words.get()[9], "line 99");
        words.keep(&["y".repeat(10_000)]);
        assert_eq!(words.get()[9].len(), KEPT_CHARS);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            cut in 1..20usize,
        ) {
            let chunks: Vec<_> = bytes.chunks(cut).collect();
            prop_assert_eq!(lines_of(&chunks), lines_of(&[&bytes]));
        }
    }
}
