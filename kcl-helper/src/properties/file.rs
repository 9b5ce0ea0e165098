//! Reads and writes the `.properties` format exactly as `java.util.Properties` does.
//!
//! Like the JDK, this reads in two steps: it turns bytes into *logical lines* (drops comments and
//! blank lines, joins continued lines), then splits each logical line into key and value and
//! unescapes both. The order matters: an escape may span two lines, `\u00\⏎41` is `A`.
//! Bytes are ISO-8859-1, so every byte is a character and only a bad `\u` is an error.
//!
//! Each character remembers which bytes it came from, so that a finding can underline any part of
//! a value, across escapes and continuations. `e2e/properties.sh` compares this with the JDK.

use std::fmt;
use std::ops::Range;

/// The entries of a file in file order, repeated keys included.
#[derive(Debug, Clone, Default)]
pub struct File {
    entries: Vec<Entry>,
}

/// One logical line.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As Java reads it, with escapes decoded.
    pub key: Text,
    /// As Java reads it, with escapes decoded.
    pub value: Text,
    /// Where the key starts.
    pub position: Position,
}

/// Line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The first is 1.
    pub line: usize,
    /// The first is 1.
    pub column: usize,
}

/// The only error of the format: a `\u` without four hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits")]
pub struct ParseError {
    /// The backslash, the `u` and any digits after it.
    pub span: Range<usize>,
    /// Where the backslash is.
    pub position: Position,
}

impl File {
    /// Parses a file. Fails where `Properties.load` throws.
    pub fn parse(bytes: &[u8]) -> Result<File, ParseError> {
        let mut lines = LogicalLines { bytes, at: 0 };
        let index = LineIndex::new(bytes);
        let mut entries = Vec::new();
        while let Some(line) = lines.next_line() {
            let (key, value) = split(&line);
            let unescaped = unescape(key).and_then(|key| Ok((key, unescape(value)?)));
            let (key, value) = unescaped
                .map_err(|span| ParseError { position: index.position(span.start), span })?;
            let position = index.position(key.span.start);
            entries.push(Entry { key, value, position });
        }
        Ok(File { entries })
    }

    /// All entries in file order; the last one of a repeated key wins.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All entries in file order, by value.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The value that wins, unmasked.
    pub fn reveal(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    /// The entry that wins.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key.as_str() == key)
    }
}

/// A key or a value after unescaping, which knows where each character was in the file.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// A lone surrogate, which a Java string can hold and a Rust string cannot, is U+FFFD here.
    text: String,
    /// The UTF-16 that Java would hold, if it has lone surrogates.
    units: Option<Box<[u16]>>,
    runs: Vec<Run>,
    span: Range<usize>,
}

/// Characters that are adjacent in the text and in the file, all of the same length in each. An
/// ASCII value without escapes is one run.
#[derive(Debug, Clone)]
struct Run {
    /// Offset of the first one in the text.
    start: usize,
    length: usize,
    /// Offset of the first one in the file.
    source_start: usize,
    source_length: usize,
}

impl Run {
    /// The bytes in the file of the character at an offset of the text.
    fn source(&self, offset: usize) -> Range<usize> {
        let index = (offset - self.start) / self.length;
        let start = self.source_start + index * self.source_length;
        start..start + self.source_length
    }
}

impl Text {
    /// The text; a lone surrogate is U+FFFD.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The UTF-16 that Java would hold.
    pub fn units(&self) -> Vec<u16> {
        match &self.units {
            Some(units) => units.to_vec(),
            None => self.text.encode_utf16().collect(),
        }
    }

    /// The bytes in the file; an empty range where an empty value would be.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The bytes in the file that became `part` of `as_str()`.
    pub fn span_of(&self, part: Range<usize>) -> Range<usize> {
        let last = part.end.min(self.text.len()).saturating_sub(1);
        match (self.source(part.start), self.source(last)) {
            (Some(first), Some(last)) if part.start < part.end => first.start..last.end,
            _ if part.start == 0 => self.span.start..self.span.start,
            _ => self.span.end..self.span.end,
        }
    }

    /// The bytes in the file of the character at an offset of `text`.
    fn source(&self, offset: usize) -> Option<Range<usize>> {
        let after = self.runs.partition_point(|run| run.start <= offset);
        let run = self.runs.get(after.checked_sub(1)?)?;
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
    /// Text that is not from a file, such as a value of `--set`.
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

/// A line that reads back as this key and value. ASCII only, so that any editor preserves it.
pub(crate) fn line(key: &str, value: &str) -> String {
    let key = key.encode_utf16().collect::<Vec<_>>();
    let value = value.encode_utf16().collect::<Vec<_>>();
    line_of_units(&key, &value)
}

/// [`line`] for text that a Rust string cannot hold.
pub fn line_of_units(key: &[u16], value: &[u16]) -> String {
    let mut line = String::new();
    for &unit in key {
        escape(unit, true, &mut line);
    }
    line.push('=');
    escape_value(value, &mut line);
    line.push('\n');
    line
}

/// Text that reads back as this value after the `=` of a line.
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

/// `special` is set where separators and blanks need an escape: in a key, and at a value's start.
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

/// A byte of the file and its offset.
type SourceByte = (u8, usize);

/// A logical line, escapes still in it.
#[derive(Default)]
struct Line {
    bytes: Vec<SourceByte>,
    /// Where a value at the very end would start.
    end: usize,
}

struct LogicalLines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl LogicalLines<'_> {
    /// The next line that is neither blank nor a comment, joined with the lines that continue it.
    fn next_line(&mut self) -> Option<Line> {
        let mut line = Line::default();
        while let Some(natural) = self.natural_line() {
            let text = &self.bytes[natural.clone()];
            // Comments are recognised after a line of nothing but a backslash too.
            let is_comment = matches!(text.first(), Some(b'#' | b'!'));
            if line.bytes.is_empty() && (text.is_empty() || is_comment) {
                continue;
            }
            let continues = ends_in_escape(text);
            let kept = natural.start..natural.end - usize::from(continues);
            line.bytes.extend(kept.map(|at| (self.bytes[at], at)));
            line.end = natural.end;
            // A backslash at the very end is an empty entry, unless CR LF follows it.
            let is_last = natural.end + 1 >= self.bytes.len();
            if !continues || is_last {
                return Some(line);
            }
        }
        (!line.bytes.is_empty()).then_some(line)
    }

    /// The next line of the file, without blanks at its start and without its line end.
    fn natural_line(&mut self) -> Option<Range<usize>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        let blanks = rest[..length].iter().take_while(|byte| is_blank(**byte)).count();
        let line = self.at + blanks..self.at + length;
        self.at = match rest[length..] {
            [b'\r', b'\n', ..] => line.end + 2,
            [_, ..] => line.end + 1,
            [] => line.end,
        };
        Some(line)
    }
}

/// Whether the last backslash is not escaped itself, so that the next line continues this one.
fn ends_in_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The only characters that this format treats as white space.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// The two halves of a line, still escaped.
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
    let key_end = rest.first().map_or(line.end, |byte| byte.1);
    (Part { bytes: key, end: key_end }, Part { bytes: value, end: line.end })
}

struct Part<'a> {
    bytes: &'a [SourceByte],
    end: usize,
}

/// Undoes the escapes. The error is the span of a bad one.
fn unescape(part: Part<'_>) -> Result<Text, Range<usize>> {
    let mut units: Vec<(u16, Range<usize>)> = Vec::with_capacity(part.bytes.len());
    let mut bytes = part.bytes.iter().copied();
    while let Some((byte, at)) = bytes.next() {
        if byte != b'\\' {
            units.push((u16::from(byte), at..at + 1));
            continue;
        }
        // A part cannot end in an unescaped backslash, since joining lines removes it.
        let (escape, end) = bytes.next().unwrap_or((b'\\', at));
        let unit = match escape {
            b'u' => {
                let (unit, end) = hexadecimal(&mut bytes, at, end)?;
                units.push((unit, at..end + 1));
                continue;
            }
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'f' => 0x0c,
            other => other,
        };
        units.push((u16::from(unit), at..end + 1));
    }
    Ok(text_of(units, part.end))
}

/// Reads exactly four digits. Returns the unit and the offset of the last digit.
fn hexadecimal(
    bytes: &mut impl Iterator<Item = SourceByte>,
    start: usize,
    mut end: usize,
) -> Result<(u16, usize), Range<usize>> {
    let mut unit = 0;
    for _ in 0..4 {
        let (byte, at) = bytes.next().ok_or(start..end + 1)?;
        let digit = char::from(byte).to_digit(16).ok_or(start..end + 1)?;
        // A digit is below 16, so four of them fit.
        unit = unit << 4 | digit as u16;
        end = at;
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
        // Each decoded character, replacements included, came from one or two units.
        let mut used = spans.by_ref().take(char.len_utf16());
        if let Some(first) = used.next() {
            let last = used.next().unwrap_or(first);
            text.push(char, first.start..last.end);
        }
    }
    text.units = (!is_whole).then(|| units.into_iter().map(|unit| unit.0).collect());
    text
}

/// Turns offsets into lines and columns, in the same time wherever they are in the file.
#[derive(Debug)]
pub(crate) struct LineIndex<'a> {
    bytes: &'a [u8],
    /// Where the lines start.
    lines: Vec<usize>,
    /// How many characters start before each block, and before the end. Empty if every byte is a
    /// character.
    characters: Vec<usize>,
}

/// Size in bytes of a block of `LineIndex::characters`.
const BLOCK: usize = 256;

impl<'a> LineIndex<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> LineIndex<'a> {
        let ends_line = |&at: &usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let after_ends = (0..bytes.len()).filter(ends_line).map(|end| end + 1);
        let lines = std::iter::once(0).chain(after_ends).collect();
        // Editors show valid UTF-8 as UTF-8, though Java does not read it that way.
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
        LineIndex { bytes, lines, characters }
    }

    /// The position of a byte; an offset past the end counts as the end.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.bytes.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.line(line).start;
        let before = self.characters_before(offset) - self.characters_before(start);
        Position { line, column: before + 1 }
    }

    /// The bytes of a line, with its line end; empty if there is no such line.
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

/// How many characters of UTF-8 start in these bytes.
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
        check("\\", &[("", "")]);
        check("\\\r", &[("", "")]);
        check("\\\r\n", &[]);
        check("a\\\r\n", &[("a", "")]);
    }

    #[test]
    fn escapes_may_span_two_lines() {
        check("\\u00\\\n  41\\q\\\\=\\t\\uD83D\\uDE00", &[("Aq\\", "\t\u{1f600}")]);
        let error = File::parse(b"a=1\n b = x\\u12g4").unwrap_err();
        assert_eq!(error.span, 10..14);
        assert_eq!(error.position, Position { line: 2, column: 7 });
    }

    #[test]
    fn part_of_a_value_maps_to_its_bytes() {
        let file = File::parse(b"k = a\\u0062\\\n   c\\\\d").unwrap();
        let value = &file.entries()[0].value;
        assert_eq!(value.as_str(), "abc\\d");
        assert_eq!(value.span(), 4..20);
        assert_eq!(value.span_of(1..3), 5..17);
        assert_eq!(value.span_of(3..4), 17..19);
        assert_eq!(value.span_of(5..5), 20..20);
    }

    /// Mostly bytes that mean something to the format.
    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let special = proptest::sample::select(b"\\\\\\u0041afF=: \t\x0c\r\n\r\n#!kv".to_vec());
        vec(prop_oneof![9 => special, 1 => any::<u8>()], 0..200)
    }

    /// UTF-16, not always valid, with many units that need an escape.
    fn units() -> impl Strategy<Value = Vec<u16>> {
        let special: Vec<u16> = "\\ u:=#!\t\n\r\u{c}a\u{e4}".encode_utf16().collect();
        let unit = prop_oneof![proptest::sample::select(special), any::<u16>()];
        vec(unit, 0..20)
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_with_spans_inside_the_file(bytes in hostile_bytes()) {
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

        #[test]
        fn position_equals_a_count_from_the_start(
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
            prop_assert_eq!(LineIndex::new(&text).position(offset), walked);
        }

        /// So that finding a part takes the same time however long the value is.
        #[test]
        fn characters_of_the_same_length_are_one_run(length in 1..5_000usize) {
            let text = format!("k={}\\\n  {}", "a".repeat(length), "\\u0062".repeat(length));
            let file = File::parse(text.as_bytes()).unwrap();
            let value = &file.entries()[0].value;
            prop_assert_eq!(value.runs.len(), 2);
            let b = length..length + 1;
            prop_assert_eq!(value.span_of(b.clone()), 2 + length + 4..2 + length + 10);
            prop_assert_eq!(Text::from("a".repeat(length + 1).as_str()).span_of(b.clone()), b);
        }

        #[test]
        fn written_lines_read_back(pairs in vec((units(), units()), 0..8)) {
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
