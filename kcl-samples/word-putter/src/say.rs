//! What the putter says: its progress on stdout, as kclpy's does, and what went wrong on stderr.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};

use crate::failure::Failure;

/// The exit status when Ctrl-C came before all words were put: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// One line of progress. That nobody reads it any more is no reason to stop.
pub(crate) fn progress(line: Arguments<'_>) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// One line on stderr, in one piece.
pub(crate) fn error(line: Arguments<'_>) {
    let _ = io::stderr().write_all(format!("error: {line}\n").as_bytes());
}

/// A failure, and what to do about it.
pub(crate) fn failure(failure: &Failure) {
    error(format_args!("{failure}"));
    if let Some(hint) = &failure.hint {
        let _ = io::stderr().write_all(format!("hint: {hint}\n").as_bytes());
    }
}

/// The word that could not be put, and why.
pub(crate) fn not_put(stream: &str, word: &str, why: impl Display) {
    error(format_args!("could not put word: {} into stream: {stream}: {why}", short(word)));
}

/// The last line.
pub(crate) fn put(stream: &str, count: u64) {
    let words = if count == 1 { "word" } else { "words" };
    progress(format_args!("Put {count} {words} into stream: {stream}"));
}

/// A word as it is shown: a long one by its beginning.
pub(crate) fn short(word: &str) -> String {
    const LONGEST: usize = 200;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &word[..end], word.len()),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_is_shown_by_its_beginning() {
        assert_eq!(short("ä"), "ä");
        let long = "ä".repeat(201);
        assert_eq!(short(&long), format!("{}… (402 bytes)", "ä".repeat(200)));
    }
}
