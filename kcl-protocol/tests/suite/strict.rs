//! An independent decoder that rejects every unknown field, as Jackson does.

use serde::{Deserialize, Deserializer};

/// A line that the daemon or its child wrote. All fields are required.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "action", deny_unknown_fields, rename_all = "camelCase")]
pub(crate) enum Strict {
    #[serde(rename_all = "camelCase")]
    Initialize {
        shard_id: String,
        #[serde(deserialize_with = "present")]
        sequence_number: Option<String>,
        #[serde(deserialize_with = "present")]
        sub_sequence_number: Option<i64>,
    },
    #[serde(rename_all = "camelCase")]
    ProcessRecords {
        records: Vec<StrictRecord>,
        #[serde(deserialize_with = "present")]
        millis_behind_latest: Option<i64>,
    },
    LeaseLost {},
    ShardEnded {},
    ShutdownRequested {},
    Shutdown {
        reason: String,
    },
    #[serde(rename_all = "camelCase")]
    Checkpoint {
        #[serde(deserialize_with = "present")]
        sequence_number: Option<String>,
        #[serde(deserialize_with = "present")]
        sub_sequence_number: Option<i64>,
        /// Present in every answer and in no request.
        error: Option<Option<String>>,
    },
    #[serde(rename_all = "camelCase")]
    Status {
        #[serde(deserialize_with = "present")]
        response_for: Option<String>,
    },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct StrictRecord {
    #[serde(deserialize_with = "present")]
    pub(crate) data: Option<String>,
    pub(crate) partition_key: String,
    pub(crate) sequence_number: String,
    #[serde(deserialize_with = "present")]
    pub(crate) approximate_arrival_timestamp: Option<i64>,
    #[serde(deserialize_with = "present")]
    pub(crate) sub_sequence_number: Option<i64>,
    pub(crate) action: String,
}

/// Allows null but not absence, which serde would otherwise treat as null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(json)
}

/// Decodes a line that we wrote. It must be one line with one object.
pub(crate) fn decode_strictly(written: &[u8]) -> Result<Strict, String> {
    let text = std::str::from_utf8(written).map_err(|error| error.to_string())?;
    let line = text.strip_suffix('\n').ok_or("no LF at the end")?;
    if line.contains(['\n', '\r']) {
        return Err("more than one line".to_owned());
    }
    serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))
}

/// Decodes a line that we wrote as the child.
pub(crate) fn decode_child_strictly(written: &[u8]) -> Result<Strict, String> {
    match decode_strictly(written)? {
        message @ (Strict::Checkpoint { error: None, .. } | Strict::Status { .. }) => Ok(message),
        other => Err(format!("a child must not send {other:?}")),
    }
}

#[test]
fn the_strict_decoder_rejects_what_jackson_rejects() {
    for line in [
        "{\"action\":\"status\",\"responseFor\":\"initialize\",\"note\":1}\n",
        "{\"action\":\"status\",\"responseFor\":\"initialize\",\"sequenceNumber\":null}\n",
        "{\"action\":\"checkpoint\",\"sequenceNumber\":null}\n",
        "{\"action\":\"leaseLost\",\"x\":1}\n",
        "{\"action\":\"leaseLost\"}\n\n",
        "{\"action\":\"leaseLost\"}",
    ] {
        assert!(decode_strictly(line.as_bytes()).is_err(), "{line:?} was accepted");
    }
}
