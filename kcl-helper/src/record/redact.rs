//! Redacts a recording: keeps the messages, but not the data that producers and programs put into them.
//!
//! Only values that are known to be harmless are kept: in a line that is a JSON object, the fields of the
//! protocol whose values have the expected form. Everything else is replaced by its length and a
//! fingerprint: payloads, partition keys, unknown fields with their names, and lines that are not objects,
//! such as those of stderr. The replacement of a payload is base64 again, so the line can still be parsed as
//! a message.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kcl_protocol::{Action, CheckpointError, DEFAULT_LINE_LIMIT, SequenceNumber, ShutdownReason};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// Shows whether two texts of a recording are equal, and nothing else. Short texts such as partition keys
/// could be guessed from a plain hash, so it has a random key, which is never stored.
#[derive(Debug, Clone)]
pub(super) struct Fingerprints(Sha256);

impl Fingerprints {
    pub(super) fn new() -> io::Result<Fingerprints> {
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Fingerprints(Sha256::new_with_prefix(key)))
    }

    /// Returns the replacement of these bytes: `12 bytes, hash 0123456789abcdef`.
    pub(super) fn of(&self, bytes: &[u8]) -> String {
        let mut replaced = self.replaced();
        replaced.update(bytes);
        replaced.to_string()
    }

    fn replaced(&self) -> Replaced {
        Replaced { length: 0, hash: self.0.clone() }
    }
}

/// Bytes that are replaced.
#[derive(Debug, Clone)]
struct Replaced {
    length: u64,
    hash: Sha256,
}

impl Replaced {
    fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, hash ", self.length)?;
        // Only a part is shown: a whole hash could be extended without knowing the key.
        self.hash.clone().finalize()[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Redacts one stream, which arrives in pieces of any size.
#[derive(Debug)]
pub(super) struct Redactor {
    fingerprints: Fingerprints,
    line: Line,
}

/// An incomplete line.
#[derive(Debug)]
enum Line {
    /// It may be a message.
    Kept(Vec<u8>),
    /// It cannot be a message: it does not begin with `{`, or is too long.
    Replaced(Replaced),
}

impl Redactor {
    pub(super) fn new(fingerprints: Fingerprints) -> Redactor {
        Redactor { fingerprints, line: Line::Kept(Vec::new()) }
    }

    /// Appends the lines that end in this piece to `out`.
    pub(super) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                None => self.add(part),
                Some(end) => {
                    self.add(end);
                    self.finish(out);
                    out.push(b'\n');
                }
            }
        }
    }

    /// Appends the last line, if it has no line end.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.line, Line::Kept(Vec::new())) {
            Line::Kept(line) if line.is_empty() => {}
            Line::Kept(line) => out.extend_from_slice(self.redact(&line).as_bytes()),
            Line::Replaced(line) => out.extend_from_slice(line.to_string().as_bytes()),
        }
    }

    fn add(&mut self, part: &[u8]) {
        let line = match &mut self.line {
            // Leading white space is dropped.
            Line::Kept(line) if line.is_empty() => {
                line.extend_from_slice(part.trim_ascii_start());
                line
            }
            Line::Kept(line) => {
                line.extend_from_slice(part);
                line
            }
            Line::Replaced(line) => return line.update(part),
        };
        if line.first().is_some_and(|byte| *byte != b'{') || line.len() > DEFAULT_LINE_LIMIT {
            let mut replaced = self.fingerprints.replaced();
            replaced.update(line);
            self.line = Line::Replaced(replaced);
        }
    }

    fn redact(&self, line: &[u8]) -> String {
        let message = std::str::from_utf8(line).ok().and_then(|text| {
            let mut out = String::with_capacity(text.len() / 4);
            self.object(text, true, &mut out).ok()?;
            Some(out)
        });
        message.unwrap_or_else(|| self.fingerprints.of(line))
    }

    /// Appends a redacted object. Fields that occur twice stay, in their order.
    fn object(&self, json: &str, is_message: bool, out: &mut String) -> serde_json::Result<()> {
        let Fields(fields) = serde_json::from_str(json)?;
        out.push('{');
        for (index, (name, value)) in fields.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let form = Form::of(&name, is_message);
            match form {
                Form::Unknown => push_text(&self.fingerprints.of(name.as_bytes()), out),
                _ => push_text(&name, out),
            }
            out.push(':');
            self.value(form, value.get(), out)?;
        }
        out.push('}');
        Ok(())
    }

    fn value(&self, form: Form, json: &str, out: &mut String) -> serde_json::Result<()> {
        if json == "null" || form.fits(json) {
            out.push_str(json);
            return Ok(());
        }
        if form == Form::Records
            && let Ok(records) = serde_json::from_str::<Vec<&RawValue>>(json)
        {
            out.push('[');
            for (index, record) in records.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                match record.get().starts_with('{') {
                    true => self.object(record.get(), false, out)?,
                    false => push_text(&self.fingerprints.of(record.get().as_bytes()), out),
                }
            }
            out.push(']');
            return Ok(());
        }
        // Unescaped, so that equal texts have equal fingerprints.
        let text: Option<String> = serde_json::from_str(json).ok();
        let bytes = text.as_deref().unwrap_or(json).as_bytes();
        match form {
            Form::Data => {
                let decoded = BASE64.decode(bytes);
                let replacement = self.fingerprints.of(decoded.as_deref().unwrap_or(bytes));
                push_text(&BASE64.encode(replacement), out);
            }
            _ => push_text(&self.fingerprints.of(bytes), out),
        }
        Ok(())
    }
}

/// The form that a field's value must have to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Action,
    Shard,
    SequenceNumber,
    Number,
    Reason,
    Exception,
    Records,
    Data,
    Key,
    /// The protocol does not have this field.
    Unknown,
}

impl Form {
    fn of(name: &str, is_message: bool) -> Form {
        match (name, is_message) {
            ("action", _) | ("responseFor", true) => Form::Action,
            ("sequenceNumber", _) => Form::SequenceNumber,
            ("subSequenceNumber", _)
            | ("millisBehindLatest", true)
            | ("approximateArrivalTimestamp", false) => Form::Number,
            ("shardId", true) => Form::Shard,
            ("reason", true) => Form::Reason,
            ("error", true) => Form::Exception,
            ("records", true) => Form::Records,
            ("data", false) => Form::Data,
            ("partitionKey", false) => Form::Key,
            _ => Form::Unknown,
        }
    }

    /// Whether a value has this form. Such values never need escapes.
    fn fits(self, json: &str) -> bool {
        if self == Form::Number {
            return json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok();
        }
        let Some(text) = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            return false;
        };
        match self {
            Form::Action => {
                Action::from_name(text).is_some()
                    || ["checkpoint", "status", "record"].contains(&text)
            }
            Form::Shard => text.strip_prefix("shardId-").is_some_and(|number| {
                number.len() <= 64 && number.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            }),
            Form::SequenceNumber => SequenceNumber::new(text).is_ok(),
            Form::Reason => [ShutdownReason::Terminate, ShutdownReason::Zombie]
                .iter()
                .any(|reason| reason.name() == text),
            Form::Exception => {
                !matches!(CheckpointError::from_name(text), CheckpointError::Other(_))
            }
            Form::Number | Form::Records | Form::Data | Form::Key | Form::Unknown => false,
        }
    }
}

fn push_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The fields of an object, in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Fields<'de>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Uses a fixed key, so that results can be compared.
    fn fingerprints() -> Fingerprints {
        Fingerprints(Sha256::new_with_prefix([7; 32]))
    }

    fn redact(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut redactor, mut out) = (Redactor::new(fingerprints()), Vec::new());
        pieces.iter().for_each(|piece| redactor.feed(piece, &mut out));
        redactor.finish(&mut out);
        out
    }

    fn text(line: &str) -> String {
        String::from_utf8(redact(&[line.as_bytes()])).unwrap()
    }

    fn replacement(text: &str) -> String {
        fingerprints().of(text.as_bytes())
    }

    #[test]
    fn payloads_and_keys_are_replaced_and_the_rest_is_kept() {
        let data = BASE64.encode("3 bytes, hash 77525b4491b1cdd0");
        assert_eq!(
            text(
                r#"{"action":"processRecords","records":[{"data":"YWJj","partitionKey":"a\"b","sequenceNumber":"1","approximateArrivalTimestamp":1795401288895,"subSequenceNumber":0,"action":"record"}],"millisBehindLatest":-1}"#
            ),
            format!(
                r#"{{"action":"processRecords","records":[{{"data":"{data}","partitionKey":"3 bytes, hash 11716c822876c0ad","sequenceNumber":"1","approximateArrivalTimestamp":1795401288895,"subSequenceNumber":0,"action":"record"}}],"millisBehindLatest":-1}}"#
            )
        );
    }

    #[test]
    fn other_messages_of_the_protocol_are_kept_unchanged() {
        let page = include_str!("../../../kcl-protocol/PROTOCOL.md");
        let messages: Vec<&str> = page.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(messages.len(), 11);
        for message in messages.into_iter().filter(|message| !message.contains("\"data\"")) {
            assert_eq!(text(message), message);
        }
        assert_eq!(text("\n  \n\r\n"), "\n\n\n");
    }

    #[test]
    fn fingerprints_are_equal_only_within_a_recording() {
        let [first, second] = [(); 2].map(|()| Fingerprints::new().unwrap());
        assert_eq!(first.of(b"user-7"), first.of(b"user-7"));
        assert_ne!(first.of(b"user-7"), first.of(b"user-8"));
        assert_ne!(first.of(b"user-7"), second.of(b"user-7"));
        assert!(first.of(b"user-7").starts_with("6 bytes, hash "));
    }

    #[test]
    fn unknown_fields_and_values_are_replaced() {
        #[track_caller]
        fn check(line: &str, expected: &str) {
            assert_eq!(text(line), expected, "{line}");
        }
        let (secret, base64) = (replacement("secret"), BASE64.encode(replacement("secret")));
        // Names are compared after decoding, and values of any type are replaced.
        check(
            r#"{"records":[{"d\u0061ta" : "secret"}]}"#,
            &format!(r#"{{"records":[{{"data":"{base64}"}}]}}"#),
        );
        let list = BASE64.encode(replacement(r#"["secret"]"#));
        check(
            r#"{"records":[{"data":["secret"]}]}"#,
            &format!(r#"{{"records":[{{"data":"{list}"}}]}}"#),
        );
        check(
            r#"{"records":[{"partitionKey":"a","partitionKey":"secret","data":null}]}"#,
            &format!(
                r#"{{"records":[{{"partitionKey":"{}","partitionKey":"{secret}","data":null}}]}}"#,
                replacement("a")
            ),
        );
        // Unknown fields, also by their letter case or place, are replaced with their names.
        let name = replacement("Data");
        check(r#"{"Data":"secret"}"#, &format!(r#"{{"{name}":"{secret}"}}"#));
        let data = replacement("data");
        check(r#"{"data":"secret"}"#, &format!(r#"{{"{data}":"{secret}"}}"#));
        check(
            r#"{"secret":{"a":1}}"#,
            &format!(r#"{{"{secret}":"{}"}}"#, replacement(r#"{"a":1}"#)),
        );
        // Fields of the protocol with an invalid value.
        for name in [
            "action",
            "shardId",
            "sequenceNumber",
            "subSequenceNumber",
            "reason",
            "error",
            "records",
        ] {
            check(&format!(r#"{{"{name}":"secret"}}"#), &format!(r#"{{"{name}":"{secret}"}}"#));
        }
        check(
            r#"{"records":["secret",7]}"#,
            &format!(r#"{{"records":["{}","{}"]}}"#, replacement("\"secret\""), replacement("7")),
        );
        check(
            r#"{"millisBehindLatest":1.5}"#,
            &format!(r#"{{"millisBehindLatest":"{}"}}"#, replacement("1.5")),
        );
        // Lines that are not objects, or not JSON.
        for line in [
            "secret",
            "\"secret\"",
            "[\"secret\"]",
            "7",
            "{\"action\":\"secret\"",
            "\u{feff}{}",
            "{} secret",
            r#"{"secret":"\ud800"}"#.trim_end_matches('}'),
            r#"{"\ud800":1}"#,
        ] {
            check(line, &replacement(line));
        }
        let bytes = b"{\"action\":\"\xff\"}";
        assert_eq!(redact(&[bytes]), fingerprints().of(bytes).into_bytes());
    }

    #[test]
    fn line_over_the_limit_is_not_kept_in_memory() {
        let mut redactor = Redactor::new(fingerprints());
        let piece = vec![b'{'; 1 << 20];
        for _ in 0..=DEFAULT_LINE_LIMIT >> 20 {
            redactor.add(&piece);
        }
        assert!(matches!(redactor.line, Line::Replaced(_)));
        redactor.add(b"{}");
        let mut out = Vec::new();
        redactor.finish(&mut out);
        let length = DEFAULT_LINE_LIMIT + (1 << 20) + 2;
        assert!(out.starts_with(format!("{length} bytes, hash ").as_bytes()));
    }

    /// Values that contain a secret, in any form that JSON has for it.
    fn with_secret() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just("s3cr3t".to_owned()),
            Just("x s3cr3t y".to_owned()),
            Just("\\u0073\\u0033cr3t".to_owned()),
            Just(BASE64.encode("s3cr3t!!!")),
        ];
        let value = text.prop_map(|text| format!("\"{text}\""));
        value.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3)
                    .prop_map(|values| format!("[{}]", values.join(" , "))),
                (inner.clone(), inner).prop_map(|(name, value)| match name.starts_with('"') {
                    true => format!("{{{name}: {value}}}"),
                    false => format!("{{\"data\":{value},\"records\":{name}}}"),
                }),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "action",
                "responseFor",
                "shardId",
                "sequenceNumber",
                "subSequenceNumber",
                "records",
                "data",
                "partitionKey",
                "Data",
                "d\\u0061ta",
                "approximateArrivalTimestamp",
                "millisBehindLatest",
                "reason",
                "error",
                "s3cr3t",
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn line() -> impl Strategy<Value = String> {
        let field =
            (name(), with_secret()).prop_map(|(name, value)| format!("\"{name}\" : {value}"));
        let object = prop::collection::vec(field, 0..4)
            .prop_map(|fields| format!("{{{}}}", fields.join(",")))
            .boxed();
        let batch = prop::collection::vec(object.clone(), 0..3).prop_map(|records| {
            format!("{{\"action\":\"processRecords\",\"records\":[{}]}}", records.join(","))
        });
        let whole = prop_oneof![object, batch, with_secret(), Just("s3cr3t".to_owned())];
        // Some are cut off, or have something in front of them.
        (whole, any::<prop::sample::Index>(), 0..8u8).prop_map(|(line, at, how)| match how {
            0 => format!("junk \" {line}"),
            1 => line[..at.index(line.len())].to_owned(),
            2 => format!("{line}{line}"),
            _ => line,
        })
    }

    /// Returns everything that a reader of a recording can see.
    fn readable(json: &[u8]) -> String {
        let mut all = String::from_utf8(json.to_vec()).unwrap();
        for text in all.clone().split('"') {
            if let Ok(decoded) = BASE64.decode(text) {
                all.push_str(&String::from_utf8_lossy(&decoded));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_the_result(lines in prop::collection::vec(line(), 0..4), cut in 1..40usize) {
            let all = lines.join("\n");
            let pieces: Vec<&[u8]> = all.as_bytes().chunks(cut).collect();
            prop_assert_eq!(redact(&pieces), redact(&[all.as_bytes()]));
        }

        #[test]
        fn no_part_of_a_secret_is_left(lines in prop::collection::vec(line(), 0..4)) {
            let redacted = redact(&[lines.join("\n").as_bytes()]);
            let readable = readable(&redacted);
            prop_assert!(!readable.contains("s3cr3t") && !readable.contains("cr3t"), "{}", readable);
            prop_assert_eq!(readable.lines().count() >= 1, !redacted.is_empty());
        }

        #[test]
        fn any_bytes_are_redacted_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let redacted = redact(&[&bytes]);
            prop_assert!(String::from_utf8(redacted).is_ok());
        }

        #[test]
        fn redacted_message_can_be_parsed(data in prop::collection::vec(any::<u8>(), 0..60), key in "\\PC{1,40}") {
            let json = serde_json::json!({"action": "processRecords", "records": [{
                "data": BASE64.encode(&data), "partitionKey": key, "sequenceNumber": "1",
            }]});
            let mut redacted = text(&json.to_string()).into_bytes();
            let mut session = kcl_protocol::ChildSession::new();
            session.receive(&mut b"{\"action\":\"initialize\",\"shardId\":\"a\"}".to_vec()).unwrap();
            session.answer(&mut Vec::new()).unwrap();
            let message = session.receive(&mut redacted).unwrap();
            let kcl_protocol::DaemonMessage::ProcessRecords(batch) = message else { panic!() };
            let words = String::from_utf8(batch.records[0].data.to_vec()).unwrap();
            prop_assert_eq!(words, fingerprints().of(&data));
            prop_assert_eq!(&batch.records[0].partition_key, &fingerprints().of(key.as_bytes()));
        }
    }
}
