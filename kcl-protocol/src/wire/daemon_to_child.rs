//! Messages from the daemon.

use alloc::vec::Vec;
use core::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::base64::{self, Scratch};
use super::batch::{self, BatchBuffers};
use super::json::{
    self, FromObject, Pieces, Scan, Span, in_field, kind_of, not_json, push_number_or_null,
    push_string, push_string_or_null, required, short_string,
};
use super::{BatchEncoder, CHECKPOINT};
use crate::{
    Action, CheckpointAnswer, DaemonMessage, DecodeError, DecodeErrorKind, InitializeInput,
    ProcessRecordsInput, Record, SequenceNumber, ShutdownReason,
};

/// The fields of all messages. Any other field is ignored if it is valid JSON. A known field that
/// occurs twice is an error, since one of the two values would be lost.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Fields<'r> {
    #[serde(borrow)]
    action: Option<&'r RawValue>,
    #[serde(borrow)]
    shard_id: Option<&'r RawValue>,
    #[serde(borrow)]
    sequence_number: Option<&'r RawValue>,
    #[serde(borrow)]
    sub_sequence_number: Option<&'r RawValue>,
    #[serde(borrow)]
    records: Option<&'r RawValue>,
    #[serde(borrow)]
    millis_behind_latest: Option<&'r RawValue>,
    #[serde(borrow)]
    error: Option<&'r RawValue>,
    #[serde(borrow)]
    reason: Option<&'r RawValue>,
}

/// The fields of a record. Others are ignored, as in [`Fields`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RecordFields<'r> {
    #[serde(borrow)]
    data: Option<&'r RawValue>,
    #[serde(borrow)]
    partition_key: Option<&'r RawValue>,
    #[serde(borrow)]
    sequence_number: Option<&'r RawValue>,
    #[serde(borrow)]
    sub_sequence_number: Option<&'r RawValue>,
    #[serde(borrow)]
    approximate_arrival_timestamp: Option<&'r RawValue>,
}

/// A message whose strings are still spans of the line.
enum Scanned {
    Initialize {
        shard_id: Span,
        sequence_number: Option<Span>,
        sub_sequence_number: Option<u64>,
    },
    ProcessRecords {
        records: Vec<ScannedRecord>,
        millis_behind_latest: Option<u64>,
    },
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
    Shutdown(ShutdownReason),
    Checkpoint {
        sequence_number: Option<Span>,
        sub_sequence_number: Option<u64>,
        error: Option<Span>,
    },
}

struct ScannedRecord {
    data: Option<Span>,
    partition_key: Span,
    sequence_number: Span,
    sub_sequence_number: Option<u64>,
    arrival_millis: Option<u64>,
}

pub(super) fn decode<'a>(
    line: &'a mut [u8],
    buffers: &mut BatchBuffers,
) -> Result<DaemonMessage<'a>, DecodeError> {
    match batch::decode(line, buffers) {
        Ok(input) => Ok(DaemonMessage::ProcessRecords(input)),
        Err(line) => decode_general(line, &mut buffers.scratch),
    }
}

/// The general path: decodes any message, with its fields in any order, and says what is wrong.
pub(super) fn decode_general<'a>(
    line: &'a mut [u8],
    scratch: &mut Scratch,
) -> Result<DaemonMessage<'a>, DecodeError> {
    let scanned = scan(line).map_err(|error| match error.kind() {
        DecodeErrorKind::Utf8 { offset } => locate(line, *offset),
        _ => error,
    })?;
    build(scanned, line, scratch)
}

/// The first pass: checks whatever can be checked without changing the line.
fn scan(line: &[u8]) -> Result<Scanned, DecodeError> {
    let scan = Scan::new(line)?;
    let FromObject(fields) = serde_json::from_str::<FromObject<Fields<'_>>>(scan.text())
        .map_err(|error| DecodeError::new(not_json(&error)))?;
    let name = short_string("action", fields.action)?;
    scan_message(scan, &name, &fields).map_err(|error| match error.kind() {
        // This kind of error names the action itself.
        DecodeErrorKind::UnknownAction { .. } => error,
        _ => error.in_action(&name),
    })
}

fn scan_message(scan: Scan<'_>, action: &str, fields: &Fields<'_>) -> Result<Scanned, DecodeError> {
    let sequence_number =
        || scan.string(fields.sequence_number).map_err(in_field("sequenceNumber"));
    let sub_sequence_number =
        || json::number(fields.sub_sequence_number).map_err(in_field("subSequenceNumber"));
    match Action::from_name(action) {
        Some(Action::Initialize) => Ok(Scanned::Initialize {
            shard_id: required("shardId", scan.string(fields.shard_id))?,
            sequence_number: sequence_number()?,
            sub_sequence_number: sub_sequence_number()?,
        }),
        Some(Action::ProcessRecords) => Ok(Scanned::ProcessRecords {
            records: scan_records(scan, fields.records)?,
            millis_behind_latest: match json::number(fields.millis_behind_latest) {
                Err(DecodeErrorKind::Negative) => Some(0),
                other => other.map_err(in_field("millisBehindLatest"))?,
            },
        }),
        Some(Action::LeaseLost) => Ok(Scanned::LeaseLost),
        Some(Action::ShardEnded) => Ok(Scanned::ShardEnded),
        Some(Action::ShutdownRequested) => Ok(Scanned::ShutdownRequested),
        Some(Action::Shutdown) => shutdown_reason(fields.reason).map(Scanned::Shutdown),
        None if action == CHECKPOINT => Ok(Scanned::Checkpoint {
            sequence_number: sequence_number()?,
            sub_sequence_number: sub_sequence_number()?,
            error: scan.string(fields.error).map_err(in_field("error"))?,
        }),
        None => {
            let kind = DecodeErrorKind::UnknownAction { name: action.into() };
            Err(DecodeError::new(kind).in_field("action"))
        }
    }
}

fn scan_records(
    scan: Scan<'_>,
    value: Option<&RawValue>,
) -> Result<Vec<ScannedRecord>, DecodeError> {
    let value = required("records", Ok(value))?;
    if !value.get().starts_with('[') {
        let kind = DecodeErrorKind::WrongType { expected: "an array", got: kind_of(value) };
        return Err(in_field("records")(kind));
    }
    let mut records = Records { scan, found: Vec::new(), error: None };
    let mut json = serde_json::Deserializer::from_str(value.get());
    let result = serde::de::DeserializeSeed::deserialize(&mut records, &mut json);
    match (records.error, result) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => {
            Err(DecodeError::new(not_json(&error)).in_record(records.found.len(), None))
        }
        (None, Ok(())) => Ok(records.found),
    }
}

/// Decodes the array record by record, so that the fields of only one are in memory.
struct Records<'r> {
    scan: Scan<'r>,
    found: Vec<ScannedRecord>,
    /// The error, which does not fit in the deserializer's error type.
    error: Option<DecodeError>,
}

impl<'r> serde::de::DeserializeSeed<'r> for &mut Records<'r> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'r>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'r> serde::de::Visitor<'r> for &mut Records<'r> {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: serde::de::SeqAccess<'r>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(FromObject(fields)) = array.next_element::<FromObject<RecordFields<'r>>>()? {
            match scan_record(self.scan, &fields) {
                Ok(record) => self.found.push(record),
                Err(error) => {
                    let number = short_string("sequenceNumber", fields.sequence_number).ok();
                    self.error = Some(error.in_record(self.found.len(), number.as_deref()));
                    return Err(serde::de::Error::custom("see Records::error"));
                }
            }
        }
        Ok(())
    }
}

fn scan_record(scan: Scan<'_>, fields: &RecordFields<'_>) -> Result<ScannedRecord, DecodeError> {
    Ok(ScannedRecord {
        data: scan.string(fields.data).map_err(in_field("data"))?,
        partition_key: required("partitionKey", scan.string(fields.partition_key))?,
        sequence_number: required("sequenceNumber", scan.string(fields.sequence_number))?,
        sub_sequence_number: json::number(fields.sub_sequence_number)
            .map_err(in_field("subSequenceNumber"))?,
        arrival_millis: json::number(fields.approximate_arrival_timestamp)
            .map_err(in_field("approximateArrivalTimestamp"))?,
    })
}

fn shutdown_reason(value: Option<&RawValue>) -> Result<ShutdownReason, DecodeError> {
    let name = short_string("reason", value)?;
    [ShutdownReason::Terminate, ShutdownReason::Zombie]
        .into_iter()
        .find(|reason| reason.name() == name)
        .ok_or_else(|| in_field("reason")(DecodeErrorKind::UnknownReason { name }))
}

/// The second pass: takes the spans out of the line and decodes them in place.
fn build<'a>(
    scanned: Scanned,
    line: &'a mut [u8],
    scratch: &mut Scratch,
) -> Result<DaemonMessage<'a>, DecodeError> {
    let mut pieces = Pieces::new(line);
    match scanned {
        Scanned::Initialize { shard_id, sequence_number, sub_sequence_number } => {
            build_initialize(pieces.take([Some(shard_id), sequence_number]), sub_sequence_number)
                .map_err(|error| error.in_action(Action::Initialize.name()))
        }
        Scanned::ProcessRecords { records, millis_behind_latest } => {
            let records = records
                .into_iter()
                .enumerate()
                .map(|(index, record)| build_record(&mut pieces, scratch, index, record))
                .collect::<Result<_, _>>()
                .map_err(|error| error.in_action(Action::ProcessRecords.name()))?;
            Ok(DaemonMessage::ProcessRecords(ProcessRecordsInput { records, millis_behind_latest }))
        }
        Scanned::LeaseLost => Ok(DaemonMessage::LeaseLost),
        Scanned::ShardEnded => Ok(DaemonMessage::ShardEnded),
        Scanned::ShutdownRequested => Ok(DaemonMessage::ShutdownRequested),
        Scanned::Shutdown(reason) => Ok(DaemonMessage::Shutdown(reason)),
        Scanned::Checkpoint { sequence_number, sub_sequence_number, error } => {
            let [sequence_number, error] = pieces.take([sequence_number, error]);
            let answer = CheckpointAnswer {
                sequence_number: optional_text("sequenceNumber", sequence_number)
                    .map_err(|error| error.in_action(CHECKPOINT))?,
                sub_sequence_number,
                error: optional_text("error", error)
                    .map_err(|error| error.in_action(CHECKPOINT))?,
            };
            Ok(DaemonMessage::Checkpoint(answer))
        }
    }
}

fn build_initialize<'a>(
    [shard_id, sequence_number]: [Option<&'a mut [u8]>; 2],
    sub_sequence_number: Option<u64>,
) -> Result<DaemonMessage<'a>, DecodeError> {
    let sequence_number = match optional_text("sequenceNumber", sequence_number)? {
        Some(text) => Some(decode_sequence_number(text)?),
        None => None,
    };
    Ok(DaemonMessage::Initialize(InitializeInput {
        shard_id: optional_text("shardId", shard_id)?.unwrap_or_default(),
        sequence_number,
        sub_sequence_number,
    }))
}

fn build_record<'a>(
    pieces: &mut Pieces<'a>,
    scratch: &mut Scratch,
    index: usize,
    record: ScannedRecord,
) -> Result<Record<'a>, DecodeError> {
    let spans = [record.data, Some(record.partition_key), Some(record.sequence_number)];
    let [data, partition_key, sequence_number] = pieces.take(spans);
    let number = optional_text("sequenceNumber", sequence_number)
        .map_err(|error| error.in_record(index, None))?
        .unwrap_or_default();
    let data = data.map_or(Ok(&[][..]), |data| {
        let data = json::unescape(data)?;
        base64::decode_in_place(data, scratch).map(|data| &*data)
    });
    let record = || -> Result<Record<'a>, DecodeError> {
        Ok(Record {
            data: data.map_err(in_field("data"))?,
            partition_key: optional_text("partitionKey", partition_key)?.unwrap_or_default(),
            sequence_number: decode_sequence_number(number)?,
            sub_sequence_number: record.sub_sequence_number,
            approximate_arrival: record.arrival_millis.map(Duration::from_millis),
        })
    };
    record().map_err(|error| error.in_record(index, Some(number)))
}

fn optional_text<'a>(
    field: &'static str,
    piece: Option<&'a mut [u8]>,
) -> Result<Option<&'a str>, DecodeError> {
    piece.map(json::text).transpose().map_err(in_field(field))
}

fn decode_sequence_number(text: &str) -> Result<SequenceNumber<'_>, DecodeError> {
    SequenceNumber::new(text)
        .map_err(|error| in_field("sequenceNumber")(DecodeErrorKind::SequenceNumber(error)))
}

/// Finds the message, record and field of a byte that is not UTF-8, by decoding a copy of the line
/// in which all such bytes are question marks.
fn locate(line: &[u8], offset: usize) -> DecodeError {
    // In one pass, since a line in another charset may have invalid bytes in every record.
    let mut readable = Vec::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        readable.extend_from_slice(chunk.valid().as_bytes());
        readable.resize(readable.len() + chunk.invalid().len(), b'?');
    }
    let error = DecodeError::new(DecodeErrorKind::Utf8 { offset })
        .with_hint("start a daemon on Java 17 or older with -Dfile.encoding=UTF-8");
    let Ok(scan) = Scan::new(&readable) else { return error };
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(scan.text()) else { return error };
    let holds = |value: Option<&RawValue>| value.is_some_and(|it| scan.span(it).contains(offset));
    let error = match short_string("action", fields.action) {
        Ok(action) => error.in_action(&action),
        Err(_) => error,
    };
    if holds(fields.shard_id) {
        return error.in_field("shardId");
    }
    let Some(records) = fields.records.filter(|records| holds(Some(records))) else { return error };
    let Ok(records) = serde_json::from_str::<Vec<&RawValue>>(records.get()) else { return error };
    let Some(index) = records.iter().position(|record| holds(Some(record))) else { return error };
    let Ok(record) = serde_json::from_str::<RecordFields<'_>>(records[index].get()) else {
        return error.in_record(index, None);
    };
    let error = error
        .in_record(index, short_string("sequenceNumber", record.sequence_number).ok().as_deref());
    if holds(record.partition_key) {
        error.in_field("partitionKey")
    } else if holds(record.data) {
        error.in_field("data")
    } else {
        error
    }
}

/// Writes what the daemon writes: `action` comes first in a message and last in a record.
pub(super) fn encode(message: &DaemonMessage<'_>, out: &mut Vec<u8>) {
    if let DaemonMessage::ProcessRecords(input) = message {
        let mut batch = BatchEncoder::new(out);
        input.records.iter().for_each(|record| batch.push(record));
        return batch.finish(input.millis_behind_latest);
    }
    push_action(message.action().map_or(CHECKPOINT, Action::name), out);
    match message {
        DaemonMessage::Initialize(input) => {
            out.extend_from_slice(b",\"shardId\":");
            push_string(out, input.shard_id);
            let number = input.sequence_number.as_ref().map(SequenceNumber::as_str);
            push_sequence_numbers(out, number, input.sub_sequence_number);
        }
        DaemonMessage::Shutdown(reason) => {
            out.extend_from_slice(b",\"reason\":");
            push_string(out, reason.name());
        }
        DaemonMessage::Checkpoint(answer) => {
            push_sequence_numbers(out, answer.sequence_number, answer.sub_sequence_number);
            out.extend_from_slice(b",\"error\":");
            push_string_or_null(out, answer.error);
        }
        _ => {}
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the start of a message.
pub(super) fn push_action(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"action\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

/// Appends the two numbers of checkpoints and of `initialize`, which are never the first fields.
pub(super) fn push_sequence_numbers(
    out: &mut Vec<u8>,
    sequence_number: Option<&str>,
    sub_sequence_number: Option<u64>,
) {
    out.extend_from_slice(b",\"sequenceNumber\":");
    push_string_or_null(out, sequence_number);
    out.extend_from_slice(b",\"subSequenceNumber\":");
    push_number_or_null(out, sub_sequence_number);
}
