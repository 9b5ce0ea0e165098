//! JSON for both directions: values as spans of the line, and encoded strings.
//!
//! A line is read twice. The first pass, by serde_json, checks that all of it is JSON and finds the
//! [`Span`]s of the values. The second takes those spans out of the line as exclusive slices, in
//! the order in which they occur, and decodes each in place.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{DecodeError, DecodeErrorKind};

/// A part of the line, as byte offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub(super) fn contains(self, offset: usize) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// Finds the spans of values that serde_json has borrowed from the line.
#[derive(Clone, Copy)]
pub(super) struct Scan<'r> {
    line: &'r str,
}

impl<'r> Scan<'r> {
    /// # Errors
    /// The line is not UTF-8.
    pub(super) fn new(line: &'r [u8]) -> Result<Scan<'r>, DecodeError> {
        match core::str::from_utf8(line) {
            Ok(line) => Ok(Scan { line }),
            Err(error) => {
                let offset = error.valid_up_to();
                Err(DecodeError::new(DecodeErrorKind::Utf8 { offset }))
            }
        }
    }

    pub(super) fn text(self) -> &'r str {
        self.line
    }

    /// Returns the span of a value that was read from this line.
    pub(super) fn span(self, value: &'r RawValue) -> Span {
        let start = value.get().as_ptr().addr() - self.line.as_ptr().addr();
        Span { start, end: start + value.get().len() }
    }

    /// Returns the span of a string without its quotes, or `None` if the value is null or absent.
    pub(super) fn string(
        self,
        value: Option<&'r RawValue>,
    ) -> Result<Option<Span>, DecodeErrorKind> {
        let Some(value) = value else { return Ok(None) };
        if !value.get().starts_with('"') {
            let got = kind_of(value);
            return Err(DecodeErrorKind::WrongType { expected: "a string", got });
        }
        let Span { start, end } = self.span(value);
        Ok(Some(Span { start: start + 1, end: end - 1 }))
    }
}

/// Decodes a whole number of 0 or more, or returns `None` if the value is null or absent.
pub(super) fn number(value: Option<&RawValue>) -> Result<Option<u64>, DecodeErrorKind> {
    let Some(value) = value else { return Ok(None) };
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'-') => Err(DecodeErrorKind::Negative),
        Some(b'0'..=b'9') => text.parse().map(Some).map_err(|_| DecodeErrorKind::Number),
        _ => Err(DecodeErrorKind::WrongType { expected: "a number", got: kind_of(value) }),
    }
}

/// Decodes a string that is compared and not kept, such as an action.
pub(super) fn short_string(
    field: &'static str,
    value: Option<&RawValue>,
) -> Result<String, DecodeError> {
    let value = required(field, Ok(value))?;
    serde_json::from_str(value.get()).map_err(|error| {
        in_field(field)(match kind_of(value) {
            "a string" => not_json(&error),
            got => DecodeErrorKind::WrongType { expected: "a string", got },
        })
    })
}

/// Returns the value of a field that must be there.
pub(super) fn required<T>(
    field: &'static str,
    value: Result<Option<T>, DecodeErrorKind>,
) -> Result<T, DecodeError> {
    value.and_then(|value| value.ok_or(DecodeErrorKind::Missing)).map_err(in_field(field))
}

/// Returns a function that turns what is wrong in a field into an error that names the field.
pub(super) fn in_field(field: &'static str) -> impl FnOnce(DecodeErrorKind) -> DecodeError {
    move |kind| DecodeError::new(kind).in_field(field)
}

/// Returns the type of a value, for errors.
pub(super) fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Translates an error of serde_json, which was given an object to read, and adds the offset of a
/// syntax error.
pub(super) fn not_json(error: &serde_json::Error) -> DecodeErrorKind {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    if let Some(unexpected) = text.strip_prefix("invalid type: ") {
        return DecodeErrorKind::WrongType { expected: "an object", got: type_name(unexpected) };
    }
    DecodeErrorKind::Json(if error.is_data() {
        text.to_string()
    } else {
        format!("{text} at byte {column}")
    })
}

/// Returns the JSON type of a value that serde calls, for example, `integer `1``.
fn type_name(unexpected: &str) -> &'static str {
    match unexpected.split([' ', ',']).next() {
        Some("sequence") => "an array",
        Some("string") => "a string",
        Some("boolean") => "a boolean",
        Some("null") => "null",
        _ => "a number",
    }
}

/// Decodes a struct from an object only. serde would accept an array of its fields as well.
pub(super) struct FromObject<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        T::deserialize(ObjectOnly(json)).map(FromObject)
    }
}

struct ObjectOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// Hands out exclusive slices of the line, from its start to its end.
pub(super) struct Pieces<'a> {
    rest: &'a mut [u8],
    /// The offset of `rest` in the line.
    position: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(line: &'a mut [u8]) -> Pieces<'a> {
        Pieces { rest: line, position: 0 }
    }

    /// Takes the slices at these spans, which may be in any order but after all earlier ones.
    pub(super) fn take<const N: usize>(
        &mut self,
        spans: [Option<Span>; N],
    ) -> [Option<&'a mut [u8]>; N] {
        let mut order: [usize; N] = core::array::from_fn(|index| index);
        order.sort_unstable_by_key(|&index| spans[index].map(|span| span.start));
        let mut pieces = [const { None }; N];
        for index in order {
            pieces[index] = spans[index].map(|span| self.take_one(span));
        }
        pieces
    }

    fn take_one(&mut self, span: Span) -> &'a mut [u8] {
        let rest = core::mem::take(&mut self.rest);
        let (_, rest) = rest.split_at_mut(span.start - self.position);
        let (piece, rest) = rest.split_at_mut(span.end - span.start);
        self.rest = rest;
        self.position = span.end;
        piece
    }
}

/// Decodes the escapes of a string in place.
pub(super) fn unescape(inside: &mut [u8]) -> Result<&mut [u8], DecodeErrorKind> {
    if memchr::memchr(b'\\', inside).is_none() {
        return Ok(inside);
    }
    // Escapes are rare, so it does not matter that the library allocates. The result is never
    // longer.
    let quoted = [b"\"", &*inside, b"\""].concat();
    // The first pass has checked everything but surrogate pairs.
    let text: String = serde_json::from_slice(&quoted)
        .map_err(|_| DecodeErrorKind::Json(String::from("an escape is a lone surrogate")))?;
    let unescaped = &mut inside[..text.len()];
    unescaped.copy_from_slice(text.as_bytes());
    Ok(unescaped)
}

/// Decodes the escapes of a string in place and returns it as text.
pub(super) fn text(inside: &mut [u8]) -> Result<&str, DecodeErrorKind> {
    let unescaped = unescape(inside)?;
    Ok(core::str::from_utf8(unescaped).expect("the line is UTF-8"))
}

/// Whether a byte must be escaped in a string.
pub(super) fn must_be_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Appends a string with its quotes.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends a string without its quotes, escaped byte for byte as Jackson does: short escapes where
/// JSON has them, other control characters in upper-case hex (serde_json's is lower-case), all else
/// as it is.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    // Without early exit, so that the compiler can check many bytes at once.
    if !text.bytes().fold(false, |any, byte| any | must_be_escaped(byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaping(out, text.as_bytes());
    }
}

#[cold]
fn push_escaping(out: &mut Vec<u8>, mut rest: &[u8]) {
    while let Some(length) = rest.iter().position(|byte| must_be_escaped(*byte)) {
        out.extend_from_slice(&rest[..length]);
        push_escape(out, rest[length]);
        rest = &rest[length + 1..];
    }
    out.extend_from_slice(rest);
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 0xf)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

pub(super) fn push_string_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

pub(super) fn push_number_or_null(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}
