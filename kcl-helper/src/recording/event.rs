//! One line of a recording after the first.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// A pipe of the recorded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What the daemon says.
    Stdin,
    /// What the child answers.
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const ALL: [Stream; 3] = [Stream::Stdin, Stream::Stdout, Stream::Stderr];

    /// Returns the kind of its events.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Stream::Stdin => "<",
            Stream::Stdout => ">",
            Stream::Stderr => "e",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The kind of the last event: how the program ended.
pub(crate) const EXIT: &str = "x";
/// The kind of the recorder's own notes.
pub(crate) const NOTE: &str = "!";
/// The fourth element of an event whose text is encoded.
pub(crate) const ENCODED: &str = "base64";

/// An event, and how long after the one before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) since: Duration,
    pub(super) what: What<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A line with its end, or a piece of a line.
    Piece(Stream, Cow<'a, [u8]>),
    End(Stream),
    /// How the program ended.
    Exit(Cow<'a, str>),
    /// The recorder's own note.
    Note(Cow<'a, str>),
}

impl<'a> Event<'a> {
    pub(super) fn parse(line: &'a [u8]) -> serde_json::Result<Event<'a>> {
        serde_json::from_slice(line)
    }
}

/// A string that is copied only if it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event<'de>, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of a time, a kind and a text")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Event<'de>, A::Error> {
                let missing = || A::Error::custom("a time, a kind and a text are expected");
                let micros: u64 = seq.next_element()?.ok_or_else(missing)?;
                let Text(kind) = seq.next_element()?.ok_or_else(missing)?;
                let text: Option<Text<'de>> = seq.next_element()?.ok_or_else(missing)?;
                let encoding: Option<Text<'de>> = seq.next_element()?;
                let since = Duration::from_micros(micros);
                let what = what(&kind, text.map(|Text(text)| text), encoding.map(|it| it.0));
                Ok(Event { since, what: what.map_err(A::Error::custom)? })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

fn what<'a>(
    kind: &str,
    text: Option<Cow<'a, str>>,
    encoding: Option<Cow<'_, str>>,
) -> Result<What<'a>, String> {
    let Some(stream) = Stream::ALL.into_iter().find(|stream| stream.letter() == kind) else {
        return match (kind, text) {
            (EXIT, Some(text)) => Ok(What::Exit(text)),
            (NOTE, Some(text)) => Ok(What::Note(text)),
            _ => Err(format!("kind `{kind}` is unknown, or has no text")),
        };
    };
    Ok(match (text, encoding.as_deref()) {
        (None, _) => What::End(stream),
        (Some(Cow::Borrowed(text)), None) => What::Piece(stream, Cow::Borrowed(text.as_bytes())),
        (Some(text), None) => What::Piece(stream, Cow::Owned(text.into_owned().into())),
        (Some(text), Some(ENCODED)) => {
            let bytes = BASE64.decode(text.as_bytes());
            What::Piece(stream, Cow::Owned(bytes.map_err(|_| "the base64 is invalid")?))
        }
        (_, Some(other)) => return Err(format!("encoding `{other}` is unknown")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read() {
        #[track_caller]
        fn check(line: &str, micros: u64, what: What<'_>) {
            let event = Event::parse(line.as_bytes()).unwrap();
            assert_eq!(event, Event { since: Duration::from_micros(micros), what });
        }
        check(r#"[0,"<","a\n"]"#, 0, What::Piece(Stream::Stdin, b"a\n".into()));
        check(r#"[7,">","wwo=","base64"]"#, 7, What::Piece(Stream::Stdout, b"\xc3\n".into()));
        check(r#"[9,"e",null]"#, 9, What::End(Stream::Stderr));
        check(r#"[1,"x","exit status 0"]"#, 1, What::Exit("exit status 0".into()));
        check(r#" [1 , "!","full"]"#, 1, What::Note("full".into()));
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in [
            "",
            "7",
            "{}",
            "[]",
            r#"[0,"<"]"#,
            r#"[-1,"<","a"]"#,
            r#"["0","<","a"]"#,
            r#"[0,"x",null]"#,
            r#"[0,"?","a"]"#,
            r#"[0,"<","!!","base64"]"#,
            r#"[0,"<","a","rot13"]"#,
            r#"[0,"<","a"] x"#,
            r#"[0,"<","\ud800"]"#,
            r#"[0,"<","a",null,1]"#,
        ] {
            assert!(Event::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
