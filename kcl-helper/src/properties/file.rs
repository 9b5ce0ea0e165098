//! The format: text of a `.properties` file to entries and back, exactly as `java.util.Properties`.
//!
//! The JDK reads in two steps, and so does this: bytes become *logical lines* (comments and blank
//! lines dropped, continued lines joined), then each logical line is split into key and value and
//! both are unescaped. The order matters: an escape may stand on two lines, `\u00\⏎41` is `A`.
//! Bytes are ISO-8859-1, so every byte is a character and nothing but a bad `\u` can be wrong.
//!
//! Each character remembers which bytes it came from, so that a finding can underline any part of
//! a value, across escapes and continuations. `e2e/properties.sh` compares all this with the JDK.

use std::fmt;
use std::ops::Range;

/// What a file says, in its order, repeated keys included.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    entries: Vec<Entry>,
}

/// One logical line.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Text,
    pub(crate) value: Text,
    /// Where the key begins; counted from 1.
    pub(crate) position: Position,
}

/// Line and column, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The one thing that `java.util.Properties` refuses: a `\u` without four hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits")]
pub(crate) struct ParseError {
    /// The backslash, the `u` and the digits that are there.
    pub(crate) span: Range<usize>,
    pub(crate) position: Position,
}

impl File {
    /// Reads a whole file. Fails where `Properties.load` throws.
    pub(crate) fn parse(bytes: &[u8]) -> Result<File, ParseError> {
        let mut lines = LogicalLines { bytes, at: 0 };
        let places = Places::new(bytes);
        let mut entries = Vec::new();
        while let Some(line) = lines.next_line() {
            let (key, value) = split(&line);
            let unescaped = unescape(key).and_then(|key| Ok((key, unescape(value)?)));
            let (key, value) = unescaped
                .map_err(|span| ParseError { position: places.position(span.start), span })?;
            let position = places.position(key.span.start);
            entries.push(Entry { key, value, position });
        }
        Ok(File { entries })
    }

    /// All entries in file order; of a repeated key the last one counts.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to keep.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The value that counts, with its secrets.
    pub(crate) fn reveal(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    /// The entry that counts.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key.as_str() == key)
    }
}

/// A key or a value after unescaping, and where each character stood in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    /// A lone surrogate, which Java's strings can hold and Rust's cannot, is U+FFFD here.
    text: String,
    /// UTF-16 as Java holds it, where that is not `text`: where it has lone surrogates.
    units: Option<Box<[u16]>>,
    runs: Vec<Run>,
    span: Range<usize>,
}

/// Characters that follow each other in the text and in the file, all of one length in either. A
/// value without escapes is one run if it is ASCII.
#[derive(Debug, Clone)]
struct Run {
    /// Where the first one is in the text.
    start: usize,
    length: usize,
    /// Where the first one is in the file.
    source_start: usize,
    source_length: usize,
}

impl Run {
    /// The bytes in the file of the character that a byte of the text belongs to.
    fn source(&self, offset: usize) -> Range<usize> {
        let index = (offset - self.start) / self.length;
        let start = self.source_start + index * self.source_length;
        start..start + self.source_length
    }
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// UTF-16 as Java holds it.
    pub(crate) fn units(&self) -> Vec<u16> {
        match &self.units {
            Some(units) => units.to_vec(),
            None => self.text.encode_utf16().collect(),
        }
    }

    /// The bytes in the file; empty where an empty value would stand.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The bytes in the file that became `part` of `as_str()`.
    pub(crate) fn span_of(&self, part: Range<usize>) -> Range<usize> {
        let last = part.end.min(self.text.len()).saturating_sub(1);
        match (self.source(part.start), self.source(last)) {
            (Some(first), Some(last)) if part.start < part.end => first.start..last.end,
            _ if part.start == 0 => self.span.start..self.span.start,
            _ => self.span.end..self.span.end,
        }
    }

    /// The bytes in the file of the character that a byte of `text` belongs to.
    fn source(&self, offset: usize) -> Option<Range<usize>> {
        let behind = self.runs.partition_point(|run| run.start <= offset);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        (offset < self.text.len()).then(|| run.source(offset))
    }

    /// Appends a character that came from these bytes of the file.
    fn push(&mut self, char: char, source: Range<usize>) {
        let (start, length) = (self.text.len(), char.len_utf8());
        self.text.push(char);
        let continues = self.runs.last().is_some_and(|run| {
            run.length == length
                && run.source_length == source.len()
                && run.source(start).start == source.start
        });
        if !continues {
            let (source_start, source_length) = (source.start, source.len());
            self.runs.push(Run { start, length, source_start, source_length });
        }
    }
}

impl From<&str> for Text {
    /// Text that stands in no file, such as a value of `--set`.
    fn from(from: &str) -> Text {
        let mut text = Text { span: 0..from.len(), ..Text::default() };
        for (at, char) in from.char_indices() {
            text.push(char, at..at + char.len_utf8());
        }
        text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A line that reads back as this key and value. ASCII only, so that no editor spoils it.
pub(crate) fn line(key: &str, value: &str) -> String {
    let key = key.encode_utf16().collect::<Vec<_>>();
    let value = value.encode_utf16().collect::<Vec<_>>();
    line_of_units(&key, &value)
}

/// The same for text that Rust's strings cannot hold.
pub(crate) fn line_of_units(key: &[u16], value: &[u16]) -> String {
    let mut line = String::new();
    for &unit in key {
        escape(unit, true, &mut line);
    }
    line.push('=');
    escape_value(value, &mut line);
    line.push('\n');
    line
}

/// What reads back as this value behind the `=` of a line.
pub(crate) fn escaped_value(value: &str) -> String {
    let mut escaped = String::new();
    escape_value(&value.encode_utf16().collect::<Vec<_>>(), &mut escaped);
    escaped
}

fn escape_value(value: &[u16], line: &mut String) {
    let mut leading = true;
    for &unit in value {
        leading &= unit == u16::from(b' ');
        escape(unit, leading, line);
    }
}

/// Blanks end a key and are dropped before a value, so there they are escaped; `special` is set.
fn escape(unit: u16, special: bool, line: &mut String) {
    match u8::try_from(unit) {
        Ok(b'\t') => line.push_str("\\t"),
        Ok(b'\n') => line.push_str("\\n"),
        Ok(b'\r') => line.push_str("\\r"),
        Ok(0x0c) => line.push_str("\\f"),
        Ok(b'\\') => line.push_str("\\\\"),
        Ok(byte @ (b'=' | b':' | b'#' | b'!' | b' ')) if special => {
            line.push('\\');
            line.push(char::from(byte));
        }
        Ok(byte @ b' '..=b'~') => line.push(char::from(byte)),
        _ => line.push_str(&format!("\\u{unit:04X}")),
    }
}

/// A byte and where it stands.
type Place = (u8, usize);

/// A logical line: its bytes in order with their places, escapes still in it.
struct Line {
    bytes: Vec<Place>,
    /// Where a value at the very end would stand.
    end: usize,
}

struct LogicalLines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl LogicalLines<'_> {
    /// The next line that is neither blank nor a comment.
    fn next_line(&mut self) -> Option<Line> {
        let mut line = Vec::new();
        // Whether blanks are being skipped, and whether that is on a continuation line, on which an
        // end of line is not skipped as well.
        let mut skipping = true;
        let mut continued = false;
        // Whether an odd number of backslashes came just before.
        let mut escaped = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            let place = self.at;
            self.at += 1;
            let ends_line = matches!(byte, b'\r' | b'\n');
            if skipping {
                if is_blank(byte) || (!continued && ends_line) {
                    continue;
                }
                skipping = false;
                continued = false;
            }
            // Also after a first line of nothing but a backslash.
            if line.is_empty() && matches!(byte, b'#' | b'!') {
                self.skip_comment();
                skipping = true;
                continue;
            }
            if !ends_line {
                line.push((byte, place));
                escaped = byte == b'\\' && !escaped;
                continue;
            }
            if line.is_empty() {
                skipping = true;
                continue;
            }
            if !escaped {
                return Some(Line { bytes: line, end: place });
            }
            line.pop();
            if self.at == self.bytes.len() {
                return Some(Line { bytes: line, end: place });
            }
            skipping = true;
            continued = true;
            escaped = false;
            if byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
                self.at += 1;
            }
        }
        if line.is_empty() {
            return None;
        }
        if escaped {
            line.pop();
        }
        Some(Line { bytes: line, end: self.at })
    }

    fn skip_comment(&mut self) {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        self.at += length.map_or(rest.len(), |length| length + 1);
    }
}

/// Java's notion of white space in this format; no other character counts.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// The still escaped halves of a line, each with the place after its end.
fn split(line: &Line) -> (Part<'_>, Part<'_>) {
    let bytes = &line.bytes;
    let mut escaped = false;
    let key_length = bytes
        .iter()
        .position(|&(byte, _)| {
            let ends = !escaped && (is_blank(byte) || matches!(byte, b'=' | b':'));
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .unwrap_or(bytes.len());
    // Blanks, at most one separator, blanks.
    let mut separated = false;
    let between = bytes[key_length..]
        .iter()
        .take_while(|&&(byte, _)| {
            let separates = !separated && matches!(byte, b'=' | b':');
            separated |= separates;
            separates || is_blank(byte)
        })
        .count();
    let (key, rest) = bytes.split_at(key_length);
    let value = &rest[between..];
    let key_end = rest.first().map_or(line.end, |place| place.1);
    (Part { bytes: key, end: key_end }, Part { bytes: value, end: line.end })
}

struct Part<'a> {
    bytes: &'a [Place],
    end: usize,
}

/// Undoes the escapes; the error is where a bad one stands.
fn unescape(part: Part<'_>) -> Result<Text, Range<usize>> {
    let mut units: Vec<(u16, Range<usize>)> = Vec::with_capacity(part.bytes.len());
    let mut bytes = part.bytes.iter().copied();
    while let Some((byte, place)) = bytes.next() {
        if byte != b'\\' {
            units.push((u16::from(byte), place..place + 1));
            continue;
        }
        // No part ends in a backslash: joining lines took an unescaped one away. Should one be
        // there, it stands for itself, as in the JDK.
        let (escape, end) = bytes.next().unwrap_or((b'\\', place));
        let unit = match escape {
            b'u' => {
                let (unit, end) = hexadecimal(&mut bytes, place, end)?;
                units.push((unit, place..end + 1));
                continue;
            }
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'f' => 0x0c,
            other => other,
        };
        units.push((u16::from(unit), place..end + 1));
    }
    Ok(text_of(units, part.end))
}

/// Exactly four digits; `Ok` holds the place of the last one.
fn hexadecimal(
    bytes: &mut impl Iterator<Item = Place>,
    start: usize,
    mut end: usize,
) -> Result<(u16, usize), Range<usize>> {
    let mut unit = 0;
    for _ in 0..4 {
        let (byte, place) = bytes.next().ok_or(start..end + 1)?;
        let digit = char::from(byte).to_digit(16).ok_or(start..end + 1)?;
        // A digit is below 16, and four of them fill the unit.
        unit = unit << 4 | digit as u16;
        end = place;
    }
    Ok((unit, end))
}

fn text_of(units: Vec<(u16, Range<usize>)>, end: usize) -> Text {
    let span = match (units.first(), units.last()) {
        (Some(first), Some(last)) => first.1.start..last.1.end,
        _ => end..end,
    };
    let mut text = Text { span, ..Text::default() };
    let mut is_whole = true;
    let mut spans = units.iter().map(|unit| &unit.1);
    for char in char::decode_utf16(units.iter().map(|unit| unit.0)) {
        is_whole &= char.is_ok();
        let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
        // Each decoded character, a replacement too, stands for one or two units.
        let mut used = spans.by_ref().take(char.len_utf16());
        if let Some(first) = used.next() {
            let last = used.next().unwrap_or(first);
            text.push(char, first.start..last.end);
        }
    }
    text.units = (!is_whole).then(|| units.into_iter().map(|unit| unit.0).collect());
    text
}

/// Turns offsets into lines and columns, each in the same time wherever it is.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    bytes: &'a [u8],
    /// Where the lines begin.
    lines: Vec<usize>,
    /// How many characters begin before each block, and before the end. Empty where every byte is a
    /// character.
    characters: Vec<usize>,
}

/// The bytes of a block of `Places::characters`.
const BLOCK: usize = 256;

impl<'a> Places<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Places<'a> {
        let ends_line = |&at: &usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let after_ends = (0..bytes.len()).filter(ends_line).map(|end| end + 1);
        let lines = std::iter::once(0).chain(after_ends).collect();
        // Editors show UTF-8 as such where it is valid, though Java does not read it so.
        let is_utf8 = !bytes.is_ascii() && std::str::from_utf8(bytes).is_ok();
        let mut characters = Vec::new();
        if is_utf8 {
            let mut before = 0;
            for block in bytes.chunks(BLOCK) {
                characters.push(before);
                before += count_characters(block);
            }
            characters.push(before);
        }
        Places { bytes, lines, characters }
    }

    /// The place of a byte; an offset past the end counts as the end.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.bytes.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.line(line).start;
        let before = self.characters_before(offset) - self.characters_before(start);
        Position { line, column: before + 1 }
    }

    /// The bytes of a line, its end included; empty where there is no such line.
    pub(crate) fn line(&self, line: usize) -> Range<usize> {
        let start = |index: usize| self.lines.get(index).copied().unwrap_or(self.bytes.len());
        line.checked_sub(1).map_or(0..0, |index| start(index)..start(line))
    }

    pub(crate) fn count_lines(&self) -> usize {
        self.lines.len()
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        match self.characters.get(block) {
            Some(before) => before + count_characters(&self.bytes[block * BLOCK..offset]),
            None => offset,
        }
    }
}

/// How many characters of UTF-8 begin here.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !(0x80..0xc0).contains(*byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<(String, String)> {
        let file = File::parse(bytes).unwrap();
        file.entries().iter().map(|e| (e.key.to_string(), e.value.to_string())).collect()
    }

    #[track_caller]
    fn check(bytes: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(read(bytes.as_bytes()), expected);
    }

    #[test]
    fn separators_comments_and_continuations() {
        check(
            "a=1\nb : 2\r\nc 3\rd\\=e\\ f = = 4",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d=e f", "= 4")],
        );
        check("# no\n  ! no \\\na = 1 ", &[("a", "1 ")]);
        check("a = 1, \\\n    2, \\\r\n\t3\nb", &[("a", "1, 2, 3"), ("b", "")]);
        check("a\\\n\nb=\\\n# kept", &[("a", ""), ("b", "# kept")]);
        check("\\\n# a comment, as the line before it was empty\na=\\", &[("a", "")]);
    }

    #[test]
    fn escapes_may_stand_on_two_lines() {
        check("\\u00\\\n  41\\q\\\\=\\t\\uD83D\\uDE00", &[("Aq\\", "\t\u{1f600}")]);
        let error = File::parse(b"a=1\n b = x\\u12g4").unwrap_err();
        assert_eq!(error.span, 10..14);
        assert_eq!(error.position, Position { line: 2, column: 7 });
    }

    #[test]
    fn a_part_of_a_value_knows_its_bytes() {
        let file = File::parse(b"k = a\\u0062\\\n   c\\\\d").unwrap();
        let value = &file.entries()[0].value;
        assert_eq!(value.as_str(), "abc\\d");
        assert_eq!(value.span(), 4..20);
        assert_eq!(value.span_of(1..3), 5..17);
        assert_eq!(value.span_of(3..4), 17..19);
        assert_eq!(value.span_of(5..5), 20..20);
    }

    /// Bytes that mean something to the format, far more often than others.
    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let special = proptest::sample::select(b"\\\\\\u0041afF=: \t\x0c\r\n\r\n#!kv".to_vec());
        vec(prop_oneof![9 => special, 1 => any::<u8>()], 0..200)
    }

    /// UTF-16 that need not be text, with much that has to be escaped.
    fn units() -> impl Strategy<Value = Vec<u16>> {
        let special: Vec<u16> = "\\ u:=#!\t\n\r\u{c}a\u{e4}".encode_utf16().collect();
        let unit = prop_oneof![proptest::sample::select(special), any::<u16>()];
        vec(unit, 0..20)
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_spans_are_within(bytes in hostile_bytes()) {
            let file = match File::parse(&bytes) {
                Ok(file) => file,
                Err(error) => {
                    prop_assert!(!error.span.is_empty() && error.span.end <= bytes.len());
                    prop_assert_eq!(bytes[error.span.start], b'\\');
                    return Ok(());
                }
            };
            let mut at = 0;
            for entry in file.entries() {
                let (key, value) = (entry.key.span(), entry.value.span());
                prop_assert!(at <= key.start && key.start <= key.end);
                prop_assert!(key.end <= value.start && value.start <= value.end);
                prop_assert!(value.end <= bytes.len());
                at = value.end;
                for text in [&entry.key, &entry.value] {
                    let mut from = text.span().start;
                    for (index, char) in text.as_str().char_indices() {
                        let part = text.span_of(index..index + char.len_utf8());
                        prop_assert!(from <= part.start && part.start < part.end);
                        from = part.end;
                    }
                    prop_assert!(from <= text.span().end);
                    let whole = text.span_of(0..text.as_str().len());
                    prop_assert!(text.as_str().is_empty() || whole == text.span());
                }
                prop_assert!(entry.position.line >= 1 && entry.position.column >= 1);
            }
        }

        /// `Places` jumps; this walks.
        #[test]
        fn places_are_those_that_a_walk_finds(
            text in prop_oneof![
                "([a\u{e9}\u{1f600}]{0,200}[\r\n]{0,2}){0,8}".prop_map(String::into_bytes),
                vec(any::<u8>(), 0..600),
            ],
            at: prop::sample::Index,
        ) {
            let offset = at.index(text.len() + 1);
            let is_utf8 = std::str::from_utf8(&text).is_ok();
            let mut walked = Position { line: 1, column: 1 };
            for (at, byte) in text[..offset].iter().enumerate() {
                match byte {
                    b'\r' if text.get(at + 1) == Some(&b'\n') => walked.column += 1,
                    b'\r' | b'\n' => walked = Position { line: walked.line + 1, column: 1 },
                    0x80..0xc0 if is_utf8 => {}
                    _ => walked.column += 1,
                }
            }
            prop_assert_eq!(Places::new(&text).position(offset), walked);
        }

        /// However long a value is, its runs are few, so that a part of it is found at once.
        #[test]
        fn characters_of_one_length_are_one_run(length in 1..5_000usize) {
            let text = format!("k={}\\\n  {}", "a".repeat(length), "\\u0062".repeat(length));
            let file = File::parse(text.as_bytes()).unwrap();
            let value = &file.entries()[0].value;
            prop_assert_eq!(value.runs.len(), 2);
            let b = length..length + 1;
            prop_assert_eq!(value.span_of(b.clone()), 2 + length + 4..2 + length + 10);
            prop_assert_eq!(Text::from("a".repeat(length + 1).as_str()).span_of(b.clone()), b);
        }

        #[test]
        fn what_is_written_is_read_back(pairs in vec((units(), units()), 0..8)) {
            let text: String = pairs.iter().map(|(k, v)| line_of_units(k, v)).collect();
            prop_assert!(text.is_ascii());
            let file = File::parse(text.as_bytes()).unwrap();
            let read: Vec<_> = file
                .entries()
                .iter()
                .map(|entry| (entry.key.units(), entry.value.units()))
                .collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
