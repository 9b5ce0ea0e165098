//! Takes payloads and partition keys out of what a daemon says, in pieces of any size.
//!
//! A text stays a text, and base64 stays base64, so that what is left can be read as a message: in
//! its place stands `12 bytes, sha256 0123456789abcdef`, the beginning of the hash of the payload,
//! or of the key as it stood in the line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

/// The longest name that is compared, with its escapes.
const LONGEST_NAME: usize = 32;

/// Where we are in a line. What is not JSON has no names, and nothing in it is taken out.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    state: State,
    /// What stands in the text that began last, as far as it may be a name.
    name: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    /// Not in a text.
    #[default]
    Between,
    /// In a text that is kept; after a backslash?
    Text(bool),
    /// Behind a text, which is a name if a colon follows.
    Behind,
    /// Behind the name of a secret and its colon.
    Value(What),
    Secret(Secret),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Data,
    Key,
}

#[derive(Debug)]
struct Secret {
    what: What,
    escaped: bool,
    /// What has not been decoded yet: less than four letters of base64.
    rest: Vec<u8>,
    length: u64,
    hash: Sha256,
}

impl Redactor {
    /// Appends to `out` what may be kept of this piece.
    pub(super) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            self.step(byte, out);
        }
    }

    /// What a value that has no end leaves.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let State::Secret(secret) = std::mem::take(&mut self.state) {
            secret.replace(out);
            out.push(b'"');
        }
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\n' {
            self.finish(out);
        }
        let state = std::mem::take(&mut self.state);
        self.state = match (state, byte) {
            (State::Secret(secret), b'"') if !secret.escaped => {
                secret.replace(out);
                State::Between
            }
            (State::Secret(mut secret), byte) => {
                secret.take(byte);
                self.state = State::Secret(secret);
                return;
            }
            (State::Text(false), b'"') => State::Behind,
            (State::Text(escaped), byte) => {
                if self.name.len() <= LONGEST_NAME {
                    self.name.push(byte);
                }
                State::Text(!escaped && byte == b'\\')
            }
            (State::Behind, b' ' | b'\t' | b'\r') => State::Behind,
            (State::Behind, b':') => self.secret().map_or(State::Between, State::Value),
            (State::Value(what), b' ' | b'\t' | b'\r') => State::Value(what),
            (State::Value(what), b'"') => State::Secret(Secret::new(what)),
            (_, b'"') => {
                self.name.clear();
                State::Text(false)
            }
            _ => State::Between,
        };
        out.push(byte);
    }

    /// What the value behind this name is. A name with escapes might be any.
    fn secret(&self) -> Option<What> {
        match self.name.as_slice() {
            b"data" => Some(What::Data),
            b"partitionKey" => Some(What::Key),
            name if name.contains(&b'\\') => Some(What::Key),
            _ => None,
        }
    }
}

impl Secret {
    fn new(what: What) -> Secret {
        Secret { what, escaped: false, rest: Vec::new(), length: 0, hash: Sha256::new() }
    }

    fn take(&mut self, byte: u8) {
        self.escaped = !self.escaped && byte == b'\\';
        self.rest.push(byte);
        if self.what == What::Key || self.rest.len() == 4 {
            self.count();
        }
    }

    fn count(&mut self) {
        let decoded = match self.what {
            What::Data => BASE64.decode(&self.rest).ok(),
            What::Key => None,
        };
        let bytes = decoded.as_ref().unwrap_or(&self.rest);
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
        self.rest.clear();
    }

    /// Writes what stands for it.
    fn replace(mut self, out: &mut Vec<u8>) {
        self.count();
        let hash = self.hash.finalize();
        let mut text = format!("{} bytes, sha256 ", self.length);
        for byte in &hash[..8] {
            text.push_str(&format!("{byte:02x}"));
        }
        if self.what == What::Data {
            text = BASE64.encode(text);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redact(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut redactor, mut out) = (Redactor::default(), Vec::new());
        pieces.iter().for_each(|piece| redactor.feed(piece, &mut out));
        redactor.finish(&mut out);
        out
    }

    fn text(line: &str) -> String {
        String::from_utf8(redact(&[line.as_bytes()])).expect("it stays UTF-8")
    }

    #[test]
    fn payloads_and_keys_go_and_the_rest_stays() {
        let standing = BASE64.encode("3 bytes, sha256 ba7816bf8f01cfea");
        assert_eq!(
            text(
                r#"{"action":"processRecords","records":[{"data":"YWJj","partitionKey":"a\"b","sequenceNumber":"1"}]}"#
            ),
            format!(
                r#"{{"action":"processRecords","records":[{{"data":"{standing}","partitionKey":"4 bytes, sha256 e87f8dfc45aabab9","sequenceNumber":"1"}}]}}"#
            )
        );
    }

    #[test]
    fn what_is_no_text_stays() {
        for line in [
            r#"{"data":null,"partitionKey":12}"#,
            r#"{"other":"data","shardId":"partitionKey"}"#,
            "data: no JSON \"data\" at all\n",
        ] {
            assert_eq!(text(line), line);
        }
    }

    #[test]
    fn escaped_names_and_cut_values_go_too() {
        assert_eq!(
            text(r#"{"d\u0061ta" : "secret"}"#),
            r#"{"d\u0061ta" : "6 bytes, sha256 2bb80d537b1da3e3"}"#
        );
        let cut = text("{\"partitionKey\":\"secret\n{\"action\":\"x\"}\n");
        assert_eq!(
            cut,
            "{\"partitionKey\":\"6 bytes, sha256 2bb80d537b1da3e3\"\n{\"action\":\"x\"}\n"
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(line in r#"([{}:," \\\n]|data|"data":"|"partitionKey" :"|[a-zA-Z0-9+/=]{1,5}){0,40}"#, cut in 1..9usize) {
            let pieces: Vec<&[u8]> = line.as_bytes().chunks(cut).collect();
            prop_assert_eq!(redact(&pieces), redact(&[line.as_bytes()]));
        }

        #[test]
        fn no_payload_is_left(data in prop::collection::vec(any::<u8>(), 12..60), key in "[a-zé\"\\\\]{12,40}") {
            let json = serde_json::json!({"records": [{"data": BASE64.encode(&data), "partitionKey": key}]});
            let redacted = text(&json.to_string());
            let again: serde_json::Value = serde_json::from_str(&redacted).expect("it stays JSON");
            let record = &again["records"][0];
            let words = BASE64.decode(record["data"].as_str().expect("a text")).expect("base64");
            let words = String::from_utf8(words).expect("words");
            prop_assert!(words.starts_with(&format!("{} bytes, sha256 ", data.len())), "{}", words);
            prop_assert!(!redacted.contains(&key));
        }
    }
}
