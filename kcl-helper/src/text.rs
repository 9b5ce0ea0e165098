//! Untrusted text: files and their names, services, child processes, the command line.
//!
//! This is the one rule for what must not reach a terminal raw. `output` applies it to everything it
//! writes, so callers need it only for text that goes elsewhere, or whose width matters.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Serialize;

/// Displays a text on one line, with [harmful](is_harmful) characters escaped as in a Rust literal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Honours width and alignment.
        f.pad(&escape(self.0))
    }
}

/// Returns the text of [`Escaped`]; nearly always that is the text itself.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    push_escaped(&mut escaped, text);
    Cow::Owned(escaped)
}

/// Appends the text of [`Escaped`] to a string.
pub(crate) fn push_escaped(to: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(is_harmful) {
        let (before, after) = rest.split_at(at);
        to.push_str(before);
        let mut chars = after.chars();
        to.extend(chars.by_ref().take(1).flat_map(char::escape_default));
        rest = chars.as_str();
    }
    to.push_str(rest);
}

/// Whether a character can move a terminal's cursor or change its colours, start a new line, reorder
/// the text around it, or is invisible.
pub(crate) fn is_harmful(char: char) -> bool {
    match char {
        '\t' => false,
        // Zero-width joiners stay: some scripts and emoji need them.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' => true,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        char => char.is_control(),
    }
}

/// Encodes a value as JSON on one line, with [harmful](is_harmful) characters escaped.
pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escape_json)
}

/// Encodes it indented, over several lines.
pub(crate) fn json_pretty(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escape_json)
}

/// Only strings can have such characters, and serde_json has escaped those below DEL.
fn escape_json(json: String) -> String {
    let stays = |char: char| char == '\n' || !is_harmful(char);
    if json.bytes().all(|byte| byte < 0x7f) || json.chars().all(stays) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        if stays(char) {
            escaped.push(char);
            continue;
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts in which harmful characters are common.
    pub(crate) fn any_text() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            any::<char>(),
            prop::char::range('\0', '\u{a0}'),
            prop::char::range('\u{2000}', '\u{2070}'),
            prop::char::range('\u{e0000}', '\u{e0080}'),
        ];
        prop::collection::vec(char, 0..20).prop_map(String::from_iter)
    }

    #[test]
    fn harmful_characters_are_escaped() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(Escaped(text).to_string(), expected);
        }
        check(
            "plain\ttext, größer, 漢字, 👩‍👩‍👧 ✔️, می‌خواهم",
            "plain\ttext, größer, 漢字, 👩‍👩‍👧 ✔️, می‌خواهم",
        );
        check("\x1b]0;a\x07\0\x7f", r"\u{1b}]0;a\u{7}\u{0}\u{7f}");
        check("a\r\nerror: b", r"a\r\nerror: b");
        check("\u{80}\u{9b}31m\u{85}", r"\u{80}\u{9b}31m\u{85}");
        check(
            "\u{202e}\u{2067}\u{200f}\u{61c}\u{2028}",
            r"\u{202e}\u{2067}\u{200f}\u{61c}\u{2028}",
        );
        check("\u{feff}\u{200b}\u{ad}\u{e0041}", r"\u{feff}\u{200b}\u{ad}\u{e0041}");
        assert_eq!(format!("{:>8}|{:<8}|", Escaped("\0"), Escaped("a")), "   \\u{0}|a       |");
    }

    proptest! {
        #[test]
        fn escaped_text_is_harmless_and_not_escaped_again(text in any_text()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(is_harmful));
            prop_assert_eq!(escape(&escaped), escaped.as_ref());
            prop_assert_eq!(escaped == text, !text.contains(is_harmful));
        }

        #[test]
        fn escaped_json_keeps_its_value(texts in prop::collection::btree_map(any_text(), any_text(), 0..3)) {
            for json in [json(&texts).unwrap(), json_pretty(&texts).unwrap()] {
                prop_assert!(!json.contains(|char| char != '\n' && is_harmful(char)));
                let read: std::collections::BTreeMap<String, String> =
                    serde_json::from_str(&json).unwrap();
                prop_assert_eq!(&read, &texts);
            }
        }
    }
}
