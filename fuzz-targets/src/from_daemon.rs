//! Messages from the daemon, compared with a simple decoder over `serde_json::Value`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kcl_protocol::{DaemonMessage, DecodeError, DecodeErrorKind, Record, SequenceNumber};
use serde_json::Value;

/// A line that the decoder accepts is JSON, decodes to the same message as with the simple decoder,
/// and round-trips. It accepts every line that the simple decoder finds well formed.
pub(crate) fn decode(line: &[u8]) {
    both_paths_agree(line);
    let value = serde_json::from_slice::<Value>(line).ok();
    let mut copy = line.to_vec();
    if let Ok(message) = DaemonMessage::decode(&mut copy) {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
        assert!(is_json, "accepted, but not JSON: {}", line.escape_ascii());
        if let Some(value) = &value {
            assert_eq!(is_same_message(&message, value), Some(true), "{}", line.escape_ascii());
        }
        let mut written = Vec::new();
        message.encode(&mut written);
        written.pop();
        let shown = written.escape_ascii().to_string();
        let again = DaemonMessage::decode(&mut written);
        assert!(again.is_ok_and(|again| again == message), "does not round-trip: {shown}");
    }
    // Written by serde_json, the line has no duplicate fields.
    let Some(mut written) = value.as_ref().and_then(|value| serde_json::to_vec(value).ok()) else {
        return;
    };
    let value = value.unwrap_or_default();
    let shown = written.escape_ascii().to_string();
    match DaemonMessage::decode(&mut written) {
        Ok(message) => assert_eq!(is_same_message(&message, &value), Some(true), "{shown}"),
        Err(error) => assert!(!is_well_formed(&value), "{error}: {shown}"),
    }
}

/// A trailing blank sends any line to the general path and changes nothing else.
fn both_paths_agree(line: &[u8]) {
    let (mut copy, mut with_blank) = (line.to_vec(), [line, b" "].concat());
    let (fast, general) =
        (DaemonMessage::decode(&mut copy), DaemonMessage::decode(&mut with_blank));
    assert_eq!(fast.as_ref().ok(), general.as_ref().ok(), "{}", line.escape_ascii());
    if let (Err(fast), Err(general)) = (fast, general) {
        // The blank moves an early end of the line by one byte.
        let is_json = |error: &DecodeError| matches!(error.kind(), DecodeErrorKind::Json(_));
        let is_same = fast == general || is_json(&fast) && is_json(&general);
        assert!(is_same, "{fast}, {general}: {}", line.escape_ascii());
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str)
}

fn number(value: &Value, field: &str) -> Option<u64> {
    value.get(field).and_then(Value::as_u64)
}

fn is_number_or_absent(value: &Value, field: &str) -> bool {
    value.get(field).is_none_or(|number| number.is_null() || number.is_u64())
}

fn is_position_or_absent(value: &Value) -> bool {
    let number = value.get("sequenceNumber").filter(|number| !number.is_null());
    let is_valid = number.is_none_or(|number| number.as_str().is_some_and(is_sequence_number));
    is_valid && is_number_or_absent(value, "subSequenceNumber")
}

fn is_sequence_number(text: &str) -> bool {
    let is_digits = (1..=129).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    is_digits || ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"].contains(&text)
}

/// Whether the decoder must accept the message. `false` means that it may reject it.
fn is_well_formed(value: &Value) -> bool {
    match text(value, "action") {
        Some("initialize") => text(value, "shardId").is_some() && is_position_or_absent(value),
        Some("processRecords") => {
            let records = value.get("records").and_then(Value::as_array);
            records.is_some_and(|records| records.iter().all(is_well_formed_record))
                && is_number_or_absent(value, "millisBehindLatest")
        }
        Some("leaseLost" | "shardEnded" | "shutdownRequested") => true,
        Some("shutdown") => matches!(text(value, "reason"), Some("TERMINATE" | "ZOMBIE")),
        _ => false,
    }
}

fn is_well_formed_record(record: &Value) -> bool {
    let data = record.get("data").filter(|data| !data.is_null());
    text(record, "partitionKey").is_some()
        && text(record, "sequenceNumber").is_some_and(is_sequence_number)
        && data.is_none_or(|data| data.as_str().is_some_and(|data| STANDARD.decode(data).is_ok()))
        && is_number_or_absent(record, "subSequenceNumber")
        && is_number_or_absent(record, "approximateArrivalTimestamp")
}

/// Whether the message is the same as the JSON value, or `None` if the value is not a message.
fn is_same_message(message: &DaemonMessage<'_>, value: &Value) -> Option<bool> {
    let action = message.action().map_or("checkpoint", kcl_protocol::Action::name);
    let is_same_position = |number: Option<&str>, sub| {
        number == text(value, "sequenceNumber") && sub == self::number(value, "subSequenceNumber")
    };
    let is_same = match message {
        DaemonMessage::Initialize(input) => {
            let number = input.sequence_number.as_ref().map(SequenceNumber::as_str);
            input.shard_id == text(value, "shardId")?
                && is_same_position(number, input.sub_sequence_number)
        }
        DaemonMessage::ProcessRecords(input) => {
            let records = value.get("records")?.as_array()?;
            let behind = number(value, "millisBehindLatest");
            let is_behind = input.millis_behind_latest == behind
                || behind.is_none() && input.millis_behind_latest == Some(0);
            records.len() == input.records.len()
                && input.records.iter().zip(records).all(|(record, value)| is_record(record, value))
                && is_behind
        }
        DaemonMessage::Shutdown(reason) => reason.name() == text(value, "reason")?,
        DaemonMessage::Checkpoint(answer) => {
            is_same_position(answer.sequence_number, answer.sub_sequence_number)
                && answer.error == text(value, "error")
        }
        _ => true,
    };
    Some(is_same && text(value, "action")? == action)
}

fn is_record(record: &Record<'_>, value: &Value) -> bool {
    let data = text(value, "data").map_or(Ok(Vec::new()), |data| STANDARD.decode(data));
    let arrival = record.approximate_arrival.map(|arrival| arrival.as_millis());
    data.is_ok_and(|data| data == record.data)
        && Some(record.partition_key) == text(value, "partitionKey")
        && Some(record.sequence_number.as_str()) == text(value, "sequenceNumber")
        && record.sub_sequence_number == number(value, "subSequenceNumber")
        && arrival == number(value, "approximateArrivalTimestamp").map(u128::from)
}
