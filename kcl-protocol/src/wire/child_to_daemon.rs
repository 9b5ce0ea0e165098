//! Messages from the child: encoded as the daemon expects them, decoded as the daemon's Jackson
//! does.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::daemon_to_child::push_sequence_numbers;
use super::json::{self, Pieces, Scan, Span, in_field, kind_of, not_json, push_string_or_null};
use super::{CHECKPOINT, STATUS};
use crate::{Action, CheckpointRequest, ChildMessage, DecodeError, DecodeErrorKind};

/// The messages that the daemon can decode, and the fields that it knows in each besides `action`.
/// Java has one set of classes for both directions, so the daemon's own messages are among them.
const KNOWN_MESSAGES: [(&str, &[&str]); 8] = [
    (CHECKPOINT, &["sequenceNumber", "subSequenceNumber", "error"]),
    (STATUS, &["responseFor"]),
    (Action::Initialize.name(), &["shardId", "sequenceNumber", "subSequenceNumber"]),
    (Action::ProcessRecords.name(), &["records", "millisBehindLatest"]),
    (Action::Shutdown.name(), &["reason"]),
    (Action::ShutdownRequested.name(), &[]),
    (Action::LeaseLost.name(), &[]),
    (Action::ShardEnded.name(), &[]),
];

/// When this many fields of a line are kept, further unknown fields are dropped, so that a line of many
/// unknown fields takes little memory. There are fewer known fields than this.
const MAX_KEPT_FIELDS: usize = 16;

/// Whether any message has a field of this name.
fn is_known_field(name: &str) -> bool {
    KNOWN_MESSAGES.iter().any(|(_, fields)| is_field_of(fields, name))
}

fn is_field_of(fields: &[&str], name: &str) -> bool {
    name == "action" || fields.contains(&name)
}

/// What a line from the child means to the daemon.
pub(crate) enum ChildLine<'a> {
    Message(ChildMessage<'a>),
    /// A message that only the daemon sends.
    FromDaemon {
        action: String,
    },
    Null,
}

enum Scanned {
    Checkpoint { sequence_number: Option<Span>, sub_sequence_number: Option<u64> },
    Status { response_for: Option<Span> },
    FromDaemon { action: String },
}

pub(super) fn decode(line: &mut [u8]) -> Result<ChildLine<'_>, DecodeError> {
    if is_null(line) {
        return Ok(ChildLine::Null);
    }
    let scanned = scan(line)?;
    let mut pieces = Pieces::new(line);
    let mut text = |span: Option<Span>| {
        let [piece] = pieces.take([span]);
        piece.map(json::text).transpose().map_err(DecodeError::new)
    };
    Ok(ChildLine::Message(match scanned {
        Scanned::Checkpoint { sequence_number, sub_sequence_number } => {
            let sequence_number = text(sequence_number)?;
            ChildMessage::Checkpoint(CheckpointRequest { sequence_number, sub_sequence_number })
        }
        Scanned::Status { response_for } => {
            ChildMessage::Status { response_for: text(response_for)? }
        }
        Scanned::FromDaemon { action } => return Ok(ChildLine::FromDaemon { action }),
    }))
}

/// Whether Jackson reads `null` here. It ignores the rest of the line, but `nullx` is another
/// token.
fn is_null(line: &[u8]) -> bool {
    let continues =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    match line.trim_ascii_start().strip_prefix(b"null") {
        Some(rest) => !rest.first().is_some_and(continues),
        None => false,
    }
}

fn scan(line: &[u8]) -> Result<Scanned, DecodeError> {
    let scan = Scan::new(line)?;
    // Not `from_str`, which rejects text after the object: Jackson does not look at it.
    let mut json = serde_json::Deserializer::from_str(scan.text());
    let fields =
        Fields::deserialize(&mut json).map_err(|error| DecodeError::new(not_json(&error)))?;
    let action = json::short_string("action", fields.get("action"))?;
    let Some((_, known)) = KNOWN_MESSAGES.iter().find(|(name, _)| *name == action) else {
        let kind = DecodeErrorKind::UnknownAction { name: action };
        return Err(DecodeError::new(kind).in_field("action"));
    };
    if let Some((name, _)) = fields.0.iter().find(|(name, _)| !is_field_of(known, name)) {
        let kind = DecodeErrorKind::UnknownField { name: name.to_string() };
        return Err(DecodeError::new(kind).in_action(&action));
    }

    match action.as_str() {
        CHECKPOINT => scan_checkpoint(scan, &fields),
        STATUS => scan_status(scan, &fields),
        _ => return Ok(Scanned::FromDaemon { action }),
    }
    .map_err(|error| error.in_action(&action))
}

fn scan_checkpoint(scan: Scan<'_>, fields: &Fields<'_>) -> Result<Scanned, DecodeError> {
    Ok(Scanned::Checkpoint {
        sequence_number: scalar(scan, fields.get("sequenceNumber"))
            .map_err(in_field("sequenceNumber"))?,
        sub_sequence_number: whole_number(fields.get("subSequenceNumber"))
            .map_err(in_field("subSequenceNumber"))?,
    })
}

fn scan_status(scan: Scan<'_>, fields: &Fields<'_>) -> Result<Scanned, DecodeError> {
    Ok(Scanned::Status {
        response_for: scalar(scan, fields.get("responseFor")).map_err(in_field("responseFor"))?,
    })
}

/// Finds a string. Jackson also converts numbers and booleans to strings.
fn scalar<'r>(
    scan: Scan<'r>,
    value: Option<&'r RawValue>,
) -> Result<Option<Span>, DecodeErrorKind> {
    match value.map(kind_of) {
        Some("a number" | "a boolean") => Ok(value.map(|value| scan.span(value))),
        _ => scan.string(value),
    }
}

/// Decodes a number that fits Java's `long`. Jackson also converts strings to numbers, reads an
/// empty string as null, and cuts off fractions.
fn whole_number(value: Option<&RawValue>) -> Result<Option<u64>, DecodeErrorKind> {
    let Some(value) = value else { return Ok(None) };
    let number = if kind_of(value) == "a string" {
        let text: String = serde_json::from_str(value.get()).map_err(|error| not_json(&error))?;
        match text.trim() {
            "" => None,
            number => Some(number.parse().map_err(|_| DecodeErrorKind::Number)?),
        }
    } else {
        match (json::number(Some(value)), value.get().parse::<f64>()) {
            // The cast cuts off the fraction and saturates.
            (Err(DecodeErrorKind::Number), Ok(fraction)) => Some(fraction as u64),
            (number, _) => number?,
        }
    };
    match number {
        Some(number) if i64::try_from(number).is_err() => Err(DecodeErrorKind::Number),
        number => Ok(number),
    }
}

/// The fields of an object in order, each name once with its last value, as Jackson takes them. At
/// most [`MAX_KEPT_FIELDS`] unknown ones are kept, since one is enough to reject the line.
struct Fields<'r>(Vec<(Cow<'r, str>, &'r RawValue)>);

impl<'r> Fields<'r> {
    /// Returns a field's value unless it is null.
    fn get(&self, name: &str) -> Option<&'r RawValue> {
        let (_, value) = self.0.iter().find(|(field, _)| field == name)?;
        Some(*value).filter(|value| kind_of(value) != "null")
    }
}

impl<'r> Deserialize<'r> for Fields<'r> {
    fn deserialize<D: serde::Deserializer<'r>>(json: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'r> serde::de::Visitor<'r> for Visitor {
            type Value = Fields<'r>;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Fields<'r>, A::Error> {
                let mut fields: Vec<(Cow<'r, str>, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'r, str>, _>()? {
                    if let Some((_, last)) = fields.iter_mut().find(|(field, _)| *field == name) {
                        *last = value;
                    } else if fields.len() < MAX_KEPT_FIELDS || is_known_field(&name) {
                        fields.push((name, value));
                    }
                }
                Ok(Fields(fields))
            }
        }

        json.deserialize_map(Visitor)
    }
}

const CHECKPOINT_START: &[u8] = b"{\"action\":\"checkpoint\"";
const STATUS_START: &[u8] = b"{\"action\":\"status\",\"responseFor\":";

pub(super) fn encode(message: &ChildMessage<'_>, out: &mut Vec<u8>) {
    match message {
        ChildMessage::Checkpoint(request) => {
            out.extend_from_slice(CHECKPOINT_START);
            push_sequence_numbers(out, request.sequence_number, request.sub_sequence_number);
        }
        ChildMessage::Status { response_for } => {
            out.extend_from_slice(STATUS_START);
            push_string_or_null(out, *response_for);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends what [`encode`] writes for an action's status, without looking for characters to escape.
pub(super) fn encode_status(action: Action, out: &mut Vec<u8>) {
    for piece in [STATUS_START, b"\"", action.name().as_bytes(), b"\"}\n"] {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;

    #[test]
    fn a_line_of_many_unknown_fields_keeps_few_and_is_rejected_for_the_first() {
        let names: BTreeSet<&str> =
            KNOWN_MESSAGES.iter().flat_map(|(_, known)| *known).copied().collect();
        assert!(names.len() + 1 < MAX_KEPT_FIELDS);
        let mut line = String::from("{\"sequenceNumber\":\"1\"");
        for n in 0..1_000 {
            line.push_str(&format!(",\"zq{n}\":1,\"sequenceNumber\":\"2\""));
        }
        line.push_str(",\"action\":\"checkpoint\",\"sequenceNumber\":\"3\"}");
        let Fields(fields) = serde_json::from_str(&line).unwrap();
        assert_eq!(fields.len(), MAX_KEPT_FIELDS + 1);
        assert_eq!((&*fields[0].0, fields[0].1.get()), ("sequenceNumber", "\"3\""));
        let mut bytes = line.into_bytes();
        let Err(error) = decode(&mut bytes) else { panic!("an unknown field is an error") };
        let expected = "checkpoint: unknown field `zq0`; the daemon skips the whole line";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn encode_status_writes_what_encode_writes() {
        for action in Action::ALL {
            let (mut status, mut message) = (Vec::new(), Vec::new());
            encode_status(action, &mut status);
            encode(&ChildMessage::status(action), &mut message);
            assert_eq!(status, message);
        }
    }
}
