//! Prints progress to stdout, as kclpy's word putter does, and errors to stderr.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};

use crate::failure::Failure;

/// The exit status if Ctrl-C came before all words were put: 128 plus the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// Prints one line of progress. A closed stdout is not an error.
pub(crate) fn progress(line: Arguments<'_>) {
    write_line(io::stdout(), "", line);
}

/// Prints one line to stderr in one call.
pub(crate) fn error(line: Arguments<'_>) {
    write_line(io::stderr(), "error: ", line);
}

/// All output goes through here, so that text from the service, a file or the command line can
/// neither end the line nor control the terminal.
fn write_line(mut to: impl Write, before: &str, line: Arguments<'_>) {
    let _ = to.write_all(format!("{before}{}\n", escaped(&line.to_string())).as_bytes());
}

/// Escapes invisible and control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => escaped.push(char),
            char => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}

/// Prints a failure and its hint.
pub(crate) fn failure(failure: &Failure) {
    error(format_args!("{failure}"));
    if let Some(hint) = &failure.hint {
        write_line(io::stderr(), "hint: ", format_args!("{hint}"));
    }
}

/// Prints a word that could not be put, and why.
pub(crate) fn not_put(stream: &str, word: &str, why: impl Display) {
    error(format_args!("could not put word: {} into stream: {stream}: {why}", short(word)));
}

/// Prints the last line.
pub(crate) fn put(stream: &str, count: u64) {
    let words = if count == 1 { "word" } else { "words" };
    progress(format_args!("Put {count} {words} into stream: {stream}"));
}

/// Shortens a long text.
pub(crate) fn short(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use super::*;

    #[test]
    fn a_long_word_is_shown_by_its_beginning() {
        assert_eq!(short("ä"), "ä");
        let long = "ä".repeat(201);
        assert_eq!(short(&long), format!("{}… (402 bytes)", "ä".repeat(200)));
    }

    #[test]
    fn a_line_is_one_line_of_letters() {
        let said = |text: &str| {
            let mut line = Vec::new();
            write_line(&mut line, "error: ", format_args!("{text}"));
            String::from_utf8(line).unwrap()
        };
        assert_eq!(said("größer, 漢字, \"a\" 'b' c:\\d"), "error: größer, 漢字, \"a\" 'b' c:\\d\n");
        assert_eq!(said("a\r\nerror: \x1b]0;b\x07"), "error: a\\r\\nerror: \\u{1b}]0;b\\u{7}\n");
        assert_eq!(
            said("\u{9b}\u{202e}\u{2066}\u{feff}"),
            "error: \\u{9b}\\u{202e}\\u{2066}\\u{feff}\n"
        );
    }
}
