//! Messages from the child, in our words, and read as Jackson reads them in the daemon.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::daemon_to_child::push_place;
use super::json::{self, Pieces, Scan, Span, kind_of, not_json, push_string_or_null};
use crate::{Action, CheckpointRequest, ChildMessage, DecodeError, DecodeErrorKind};

/// The messages that the daemon can read, and the fields that it knows of each: its own kinds are
/// among them, as both directions are one set of classes there.
const KNOWN: [(&str, &[&str]); 8] = [
    ("checkpoint", &["sequenceNumber", "subSequenceNumber", "error"]),
    ("status", &["responseFor"]),
    ("initialize", &["shardId", "sequenceNumber", "subSequenceNumber"]),
    ("processRecords", &["records", "millisBehindLatest"]),
    ("shutdown", &["reason"]),
    ("shutdownRequested", &[]),
    ("leaseLost", &[]),
    ("shardEnded", &[]),
];

/// More fields than there are names in all messages.
const MANY: usize = 16;

/// Whether any message has a field of this name.
fn is_anybodys(name: &str) -> bool {
    name == "action" || KNOWN.iter().any(|(_, known)| known.contains(&name))
}

/// How a status begins.
const STATUS: &[u8] = b"{\"action\":\"status\",\"responseFor\":";

enum Scanned {
    Checkpoint { sequence_number: Option<Span>, sub_sequence_number: Option<u64> },
    Status { response_for: Option<Span> },
    NotAChilds { action: String },
}

pub(super) fn decode<'a>(
    line: &'a mut [u8],
) -> Result<Result<ChildMessage<'a>, String>, DecodeError> {
    let scanned = scan(line)?;
    let mut pieces = Pieces::new(line);
    let text = |piece: Option<&'a mut [u8]>| -> Result<Option<&'a str>, DecodeError> {
        piece.map(|piece| json::text(piece).map_err(DecodeError::new)).transpose()
    };
    Ok(match scanned {
        Scanned::Checkpoint { sequence_number, sub_sequence_number } => {
            let [sequence_number] = pieces.take([sequence_number]);
            let sequence_number = text(sequence_number)?;
            Ok(ChildMessage::Checkpoint(CheckpointRequest { sequence_number, sub_sequence_number }))
        }
        Scanned::Status { response_for } => {
            let [response_for] = pieces.take([response_for]);
            Ok(ChildMessage::Status { response_for: text(response_for)? })
        }
        Scanned::NotAChilds { action } => Err(action),
    })
}

fn scan(line: &[u8]) -> Result<Scanned, DecodeError> {
    let scan = Scan::new(line)?;
    // Not `from_str`: Jackson does not look at what follows the object on its line.
    let mut json = serde_json::Deserializer::from_str(scan.text());
    let Object(fields) =
        Object::deserialize(&mut json).map_err(|error| DecodeError::new(not_json(&error)))?;
    let find = |name: &str| {
        let field = fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| *value).filter(|value| kind_of(value) != "null")
    };

    let Some(action) = find("action") else {
        return Err(DecodeError::new(DecodeErrorKind::Missing).in_field("action"));
    };
    let action: String = serde_json::from_str(action.get()).map_err(|_| {
        let kind = DecodeErrorKind::WrongType { expected: "a string", got: kind_of(action) };
        DecodeError::new(kind).in_field("action")
    })?;
    let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == action) else {
        let kind = DecodeErrorKind::UnknownAction { name: action };
        return Err(DecodeError::new(kind).in_field("action"));
    };
    let is_known = |name: &str| name == "action" || known.contains(&name);
    if let Some((name, _)) = fields.iter().find(|(name, _)| !is_known(name)) {
        let kind = DecodeErrorKind::UnknownField { name: name.to_string() };
        return Err(DecodeError::new(kind).in_action(&action));
    }

    let in_field = |field: &'static str| {
        let action = action.clone();
        move |kind| DecodeError::new(kind).in_action(&action).in_field(field)
    };
    match action.as_str() {
        "checkpoint" => Ok(Scanned::Checkpoint {
            sequence_number: scalar(scan, find("sequenceNumber"))
                .map_err(in_field("sequenceNumber"))?,
            sub_sequence_number: whole_number(find("subSequenceNumber"))
                .map_err(in_field("subSequenceNumber"))?,
        }),
        "status" => Ok(Scanned::Status {
            response_for: scalar(scan, find("responseFor")).map_err(in_field("responseFor"))?,
        }),
        _ => Ok(Scanned::NotAChilds { action }),
    }
}

/// A text, or a number or boolean that Jackson takes as its text.
fn scalar<'r>(
    scan: Scan<'r>,
    value: Option<&'r RawValue>,
) -> Result<Option<Span>, DecodeErrorKind> {
    match value.map(kind_of) {
        Some("a number" | "a boolean") => Ok(value.map(|value| scan.span(value))),
        _ => scan.string(value),
    }
}

/// A number that fits Java's long, or a text that Jackson takes as one; an empty text is null, and
/// of a fraction it drops what is behind the point.
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
            // The cast drops the fraction, and gives the largest number for all that is larger.
            (Err(DecodeErrorKind::Number), Ok(fraction)) => Some(fraction as u64),
            (number, _) => number?,
        }
    };
    match number {
        Some(number) if i64::try_from(number).is_err() => Err(DecodeErrorKind::Number),
        number => Ok(number),
    }
}

/// The fields of an object that say what it is, in order: each name once, with its last value. Of
/// names that no message has, only some of the first are kept, as one is enough to refuse the line.
struct Object<'r>(Vec<(Cow<'r, str>, &'r RawValue)>);

impl<'r> Deserialize<'r> for Object<'r> {
    fn deserialize<D: serde::Deserializer<'r>>(json: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'r> serde::de::Visitor<'r> for Visitor {
            type Value = Object<'r>;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Object<'r>, A::Error> {
                let mut fields: Vec<(Cow<'r, str>, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'r, str>, _>()? {
                    // Of a field that stands twice Jackson takes the last.
                    if let Some((_, last)) = fields.iter_mut().find(|(field, _)| *field == name) {
                        *last = value;
                    } else if fields.len() < MANY || is_anybodys(&name) {
                        fields.push((name, value));
                    }
                }
                Ok(Object(fields))
            }
        }

        json.deserialize_map(Visitor)
    }
}

pub(super) fn encode(message: &ChildMessage<'_>, out: &mut Vec<u8>) {
    match message {
        ChildMessage::Checkpoint(request) => {
            out.extend_from_slice(b"{\"action\":\"checkpoint\"");
            push_place(out, request.sequence_number, request.sub_sequence_number);
        }
        ChildMessage::Status { response_for } => {
            out.extend_from_slice(STATUS);
            push_string_or_null(out, *response_for);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Writes what `encode` writes of the status for an action, whose name has nothing to escape.
pub(super) fn encode_status(action: Action, out: &mut Vec<u8>) {
    for piece in [STATUS, b"\"", action.name().as_bytes(), b"\"}\n"] {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;

    #[test]
    fn a_line_of_many_fields_takes_little_memory_and_is_refused_for_its_first_stranger() {
        let names: BTreeSet<&str> = KNOWN.iter().flat_map(|(_, known)| *known).copied().collect();
        assert!(names.len() + 1 < MANY);
        let mut line = String::from("{\"sequenceNumber\":\"1\"");
        for n in 0..1_000 {
            line.push_str(&format!(",\"zq{n}\":1,\"sequenceNumber\":\"2\""));
        }
        line.push_str(",\"action\":\"checkpoint\",\"sequenceNumber\":\"3\"}");
        let Object(fields) = serde_json::from_str(&line).unwrap();
        assert_eq!(fields.len(), MANY + 1);
        assert_eq!((&*fields[0].0, fields[0].1.get()), ("sequenceNumber", "\"3\""));
        let mut bytes = line.into_bytes();
        let error = decode(&mut bytes).unwrap_err();
        let refused = "checkpoint: unknown field `zq0`; the daemon skips the whole line";
        assert_eq!(error.to_string(), refused);
    }

    #[test]
    fn a_status_is_what_its_message_is() {
        for action in Action::ALL {
            let (mut status, mut message) = (Vec::new(), Vec::new());
            encode_status(action, &mut status);
            encode(&ChildMessage::status(action), &mut message);
            assert_eq!(status, message);
        }
    }
}
