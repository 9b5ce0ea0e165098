//! What a message says, as far as it is shown.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kcl_protocol::{DaemonMessage, ProcessRecordsInput, Record};

use super::lane::{Data, Details, RecordShown};
use super::limits::{NAME, PAYLOAD, RECORDS};

/// Returns the beginning of a text, of at most as many bytes.
pub(super) fn beginning(text: &str, most: usize) -> &str {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Returns the beginning of bytes that should be text, and how many more there are.
pub(super) fn beginning_of_bytes(bytes: &[u8], most: usize) -> (String, u64) {
    let shown = &bytes[..bytes.len().min(most)];
    let more = (bytes.len() - shown.len()) as u64;
    (String::from_utf8_lossy(shown).into_owned(), more)
}

pub(super) fn of(message: &DaemonMessage<'_>) -> Details {
    let text = match message {
        DaemonMessage::ProcessRecords(input) => return of_batch(input),
        DaemonMessage::Initialize(input) => {
            let from = input.sequence_number.as_ref().map_or("null", |number| number.as_str());
            let sub = input.sub_sequence_number.map_or(String::new(), |sub| format!("/{sub}"));
            format!("{} from {from}{sub}", beginning(input.shard_id, NAME))
        }
        DaemonMessage::Shutdown(reason) => format!("reason {}", reason.name()),
        _ => return Details::default(),
    };
    Details { text: Some(text), ..Details::default() }
}

fn of_batch(input: &ProcessRecordsInput<'_>) -> Details {
    let records = input.records.iter().take(RECORDS).map(record).collect();
    Details { text: None, records }
}

fn record(record: &Record<'_>) -> RecordShown {
    let bytes = record.data.len() as u64;
    let shown = &record.data[..record.data.len().min(PAYLOAD)];
    let data = match std::str::from_utf8(shown) {
        Ok(text) => Data::Text(text.to_owned()),
        // The last letter is cut in two, and all before it is text.
        Err(error) if error.error_len().is_none() && shown.len() < record.data.len() => {
            Data::Text(String::from_utf8_lossy(&shown[..error.valid_up_to()]).into_owned())
        }
        Err(_) => Data::Base64(BASE64.encode(shown)),
    };
    RecordShown {
        key: beginning(record.partition_key, NAME).to_owned(),
        position: record.extended_sequence_number().to_string(),
        arrival: record.approximate_arrival.map(|it: Duration| it.as_millis() as u64),
        bytes,
        data,
    }
}

/// Returns about how many bytes the details take on the page.
pub(super) fn size(details: &Details) -> usize {
    let data = |data: &Data| match data {
        Data::Text(text) | Data::Base64(text) => text.len(),
    };
    let record = |it: &RecordShown| 40 + it.key.len() + it.position.len() + data(&it.data);
    details.records.iter().map(record).sum::<usize>() + details.text.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use kcl_protocol::SequenceNumber;

    use super::*;

    #[test]
    fn payloads_are_text_or_base64_and_cut_at_a_letter() {
        let shown =
            |data: &[u8]| record(&Record::new("key", SequenceNumber::new("21").unwrap(), data));
        assert_eq!(shown(b"hi").data, Data::Text("hi".into()));
        assert_eq!(shown(b"h\xff").data, Data::Base64("aP8=".into()));
        assert_eq!(shown(b"h\xc3").data, Data::Base64("aMM=".into()));
        let long = format!("{}ü", "x".repeat(PAYLOAD - 1));
        let shown = shown(long.as_bytes());
        assert_eq!(shown.data, Data::Text("x".repeat(PAYLOAD - 1)));
        assert_eq!((shown.bytes, shown.position.as_str()), (PAYLOAD as u64 + 1, "21/0"));
    }
}
