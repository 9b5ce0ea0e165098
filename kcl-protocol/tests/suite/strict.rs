//! A reader apart from the crate's own that refuses every field it does not know, as Jackson does.

use serde::{Deserialize, Deserializer};

/// What stands in a line that the daemon or its child wrote. All fields must be there.
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
        /// In an answer always, in a request never.
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

/// Null is allowed, absence is not: without it serde takes an absent option for null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(json)
}

/// Judges a line that we wrote for either end. It must be one line with one object on it.
pub(crate) fn judge(written: &[u8]) -> Result<Strict, String> {
    let text = std::str::from_utf8(written).map_err(|error| error.to_string())?;
    let line = text.strip_suffix('\n').ok_or("does not end with LF")?;
    if line.contains(['\n', '\r']) {
        return Err("more than one line".to_owned());
    }
    serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))
}

/// Judges a line that we wrote for the daemon.
pub(crate) fn judge_childs(written: &[u8]) -> Result<Strict, String> {
    match judge(written)? {
        judged @ (Strict::Checkpoint { error: None, .. } | Strict::Status { .. }) => Ok(judged),
        other => Err(format!("not for a child to say: {other:?}")),
    }
}

#[test]
fn the_judge_refuses_what_jackson_refuses() {
    for line in [
        "{\"action\":\"status\",\"responseFor\":\"initialize\",\"note\":1}\n",
        "{\"action\":\"status\",\"responseFor\":\"initialize\",\"sequenceNumber\":null}\n",
        "{\"action\":\"checkpoint\",\"sequenceNumber\":null}\n",
        "{\"action\":\"leaseLost\",\"x\":1}\n",
        "{\"action\":\"leaseLost\"}\n\n",
        "{\"action\":\"leaseLost\"}",
    ] {
        assert!(judge(line.as_bytes()).is_err(), "{line:?} passed");
    }
}
