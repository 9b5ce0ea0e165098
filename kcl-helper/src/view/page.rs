//! The page: templates that never change, and the picture as JSON between them.
//!
//! What programs and producers wrote stands in the JSON alone, in which no `<` is left, so that nothing
//! can end its element. The script shows it as text. The browser runs this one script, which it knows
//! by its hash, and loads nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::anomaly::Kind;
use super::lane::{Details, Lane, LeftOut, Picture, Totals};

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn write(picture: &Picture, mut out: &mut dyn Write) -> io::Result<()> {
    for part in FRAME.split_inclusive("}}") {
        let (text, name) = part.rsplit_once("{{").unwrap_or((part, ""));
        out.write_all(text.as_bytes())?;
        match name {
            "" => {}
            "style-hash}}" => out.write_all(hash(STYLE).as_bytes())?,
            "script-hash}}" => out.write_all(hash(SCRIPT).as_bytes())?,
            "version}}" => out.write_all(env!("CARGO_PKG_VERSION").as_bytes())?,
            "style}}" => out.write_all(STYLE.as_bytes())?,
            "script}}" => out.write_all(SCRIPT.as_bytes())?,
            "data}}" => serde_json::to_writer(NoTags(&mut out), &Shown::of(picture))?,
            other => return Err(io::Error::other(format!("page.html has a field {other}"))),
        }
    }
    Ok(())
}

/// As a Content-Security-Policy names a script or a style.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(Sha256::digest(text)))
}

/// Passes JSON on with what could be markup escaped. In JSON it can occur in strings only.
struct NoTags<W>(W);

impl<W: Write> Write for NoTags<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut from = 0;
        for (at, byte) in
            bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'<' | b'>' | b'&'))
        {
            self.0.write_all(&bytes[from..at])?;
            write!(self.0, "\\u{byte:04x}")?;
            from = at + 1;
        }
        self.0.write_all(&bytes[from..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The picture with rows in place of objects, as there may be many.
#[derive(Serialize)]
struct Shown<'a> {
    lanes: Vec<ShownLane<'a>>,
    left_out: u64,
    /// Why each kind of anomaly is shown.
    why: BTreeMap<Kind, &'static str>,
}

/// Action, time, how long, records, bytes, lag.
type MessageRow<'a> = (&'a str, u64, Option<u64>, u64, u64, Option<u64>);
/// Time, how long, position, error, message.
type CheckpointRow<'a> = (u64, Option<u64>, Option<&'a str>, Option<&'a str>, Option<usize>);
/// Time, stray, text, bytes more, unfinished.
type OutputRow<'a> = (u64, bool, &'a str, u64, bool);
/// Time, kind, message, text, how long.
type AnomalyRow<'a> = (u64, Kind, Option<usize>, &'a str, Option<u64>);

#[derive(Serialize)]
struct ShownLane<'a> {
    file: &'a str,
    shard: Option<&'a str>,
    command: &'a str,
    recorder: &'a str,
    started: Option<u64>,
    redacted: bool,
    length: u64,
    end: Option<&'a str>,
    messages: Vec<MessageRow<'a>>,
    /// By the index of the message.
    details: Vec<(usize, &'a Details)>,
    checkpoints: Vec<CheckpointRow<'a>>,
    output: Vec<OutputRow<'a>>,
    notes: Vec<(u64, &'a str)>,
    anomalies: Vec<AnomalyRow<'a>>,
    totals: &'a Totals,
    left_out: &'a LeftOut,
}

impl<'a> Shown<'a> {
    fn of(picture: &'a Picture) -> Shown<'a> {
        Shown {
            lanes: picture.lanes.iter().map(ShownLane::of).collect(),
            left_out: picture.recordings_left_out,
            why: Kind::ALL.into_iter().map(|kind| (kind, kind.why())).collect(),
        }
    }
}

impl<'a> ShownLane<'a> {
    fn of(lane: &'a Lane) -> ShownLane<'a> {
        let messages = lane.messages.iter();
        let details = messages.clone().enumerate();
        let details = details.filter_map(|(index, it)| Some((index, it.details.as_ref()?)));
        let checkpoints = lane.checkpoints.iter();
        ShownLane {
            file: &lane.file,
            shard: lane.shard.as_deref(),
            command: &lane.command,
            recorder: &lane.kcl_helper,
            started: lane.started,
            redacted: lane.redacted,
            length: lane.length,
            end: lane.end.as_deref(),
            messages: messages
                .map(|it| (it.action, it.at, it.took, it.records, it.bytes, it.lag))
                .collect(),
            details: details.collect(),
            checkpoints: checkpoints
                .map(|it| (it.at, it.took, it.position.as_deref(), it.error.as_deref(), it.message))
                .collect(),
            output: lane
                .output
                .iter()
                .map(|it| (it.at, it.stray, it.text.as_str(), it.more, it.unfinished))
                .collect(),
            notes: lane.notes.iter().map(|it| (it.at, it.text.as_str())).collect(),
            anomalies: lane
                .anomalies
                .iter()
                .map(|it| (it.at, it.kind, it.message, it.text.as_str(), it.took))
                .collect(),
            totals: &lane.totals,
            left_out: &lane.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_script_and_the_style_cannot_end_their_elements() {
        for text in [STYLE, SCRIPT] {
            let text = text.to_lowercase();
            assert!(!text.contains("</script") && !text.contains("</style"));
            assert!(!text.contains("<!--") && !text.contains('\r'));
        }
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "http"]
        {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }

    proptest! {
        #[test]
        fn json_keeps_its_value_and_has_no_markup(
            text in prop::collection::vec(prop_oneof![Just("</script>".to_owned()), "\\PC{0,9}"], 0..5),
        ) {
            let mut out = Vec::new();
            serde_json::to_writer(NoTags(&mut out), &text).unwrap();
            prop_assert!(!out.iter().any(|byte| b"<>&".contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<Vec<String>>(&out).unwrap(), text);
        }
    }
}
