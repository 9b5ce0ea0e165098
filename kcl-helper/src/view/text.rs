//! The picture as lines, for terminals and scripts.

use super::anomaly::Kind;
use super::lane::{Checkpoint, Lane, LeftOut, Message, Picture};
use super::units::{bytes, duration};
use crate::columns::{Side, pad};
use crate::output::count;

/// One line about all lanes.
pub(super) fn summary(picture: &Picture) -> String {
    let sum = |of: fn(&Lane) -> u64| picture.lanes.iter().map(of).sum::<u64>();
    let anomalies = sum(|lane| lane.totals.anomalies.values().sum());
    let anomalies = count(anomalies, "anomaly");
    format!(
        "{}, {}, {anomalies}",
        count(picture.lanes.len() as u64, "recording"),
        count(sum(|lane| lane.totals.messages), "message"),
    )
}

pub(super) fn lines(picture: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    for lane in &picture.lanes {
        push_lane(lane, &mut lines);
        lines.push(String::new());
    }
    let mut explained = false;
    for kind in Kind::ALL {
        if picture.lanes.iter().any(|lane| lane.totals.anomalies.contains_key(&kind)) {
            if !std::mem::replace(&mut explained, true) {
                lines.push("what is shown as an anomaly, and why".to_owned());
            }
            lines.push(format!("  {kind:<20} {}", kind.why()));
        }
    }
    lines.push(summary(picture));
    if picture.recordings_left_out > 0 {
        let older = count(picture.recordings_left_out, "older recording");
        lines.push(format!("left out: {older}"));
    }
    lines
}

fn push_lane(lane: &Lane, lines: &mut Vec<String>) {
    let totals = &lane.totals;
    lines.push(format!("{}  {}", lane.shard.as_deref().unwrap_or("no shard"), lane.file));
    let mut fact = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
    let redacted = if lane.redacted { " (redacted)" } else { "" };
    fact("command", format!("{}{redacted}", lane.command));
    let started = lane.started.and_then(|micros| {
        std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_micros(micros))
    });
    let started = started.map_or_else(
        || "at an unknown time".to_owned(),
        |time| humantime::format_rfc3339_micros(time).to_string(),
    );
    let end = lane.end.as_deref().unwrap_or("its end is not recorded");
    fact("started", format!("{started}, {} long, {end}", duration(lane.length)));
    let mut batches = count(totals.batches, "batch");
    if totals.batches > 0 {
        let records = count(totals.records, "record");
        batches.push_str(&format!(", {records} of {}", bytes(totals.payload_bytes)));
    }
    if let (Some(median), Some(p99), Some(max)) =
        (totals.batch_median, totals.batch_p99, totals.batch_max)
    {
        batches.push_str(&format!(
            "; median {}, 99 % {}, longest {}",
            duration(median),
            duration(p99),
            duration(max),
        ));
    }
    fact("batches", batches);
    let (accepted, refused) = (totals.accepted, totals.refused);
    fact("checkpoints", format!("{}: {accepted} accepted, {refused} refused", totals.checkpoints));
    if let (Some(last), Some(max)) = (totals.lag_last, totals.lag_max) {
        let lag = |millis: u64| duration(millis.saturating_mul(1000));
        fact("lag", format!("{} at the end, {} at most", lag(last), lag(max)));
    }
    let stderr = count(totals.stderr_lines, "line");
    let stray = count(totals.stray_lines, "stray line");
    fact("output", format!("{stderr} on stderr, {stray} on stdout"));
    if let Some(text) = left_out(&lane.left_out) {
        fact("left out", text);
    }
    if !lane.anomalies.is_empty() {
        lines.push("  anomalies".to_owned());
    }
    for anomaly in &lane.anomalies {
        let message = anomaly.message.map_or(String::new(), |it| format!("message {it}: "));
        let (time, kind) = (time(anomaly.at), anomaly.kind);
        lines.push(format!("  {time}  {kind:<20} {message}{}", anomaly.text));
    }
    lines.push("  conversation".to_owned());
    push_conversation(lane, lines);
}

fn push_conversation(lane: &Lane, lines: &mut Vec<String>) {
    let mut said: Vec<(u64, String)> = Vec::new();
    for (index, message) in lane.messages.iter().enumerate() {
        said.push((message.at, self::message(index, message)));
    }
    said.extend(lane.checkpoints.iter().map(|it| (it.at, checkpoint(it))));
    for output in &lane.output {
        let kind = if output.stray { '>' } else { 'e' };
        let more = if output.more > 0 {
            format!(" … {} more", bytes(output.more))
        } else {
            String::new()
        };
        let end = if output.unfinished { " (no line end)" } else { "" };
        said.push((output.at, format!("{kind} {}{more}{end}", output.text)));
    }
    said.extend(lane.notes.iter().map(|note| (note.at, format!("! {}", note.text))));
    if let Some(end) = &lane.end {
        said.push((lane.length, format!("x {end}")));
    }
    said.sort_by_key(|(at, _)| *at);
    lines.extend(said.into_iter().map(|(at, text)| format!("  {}  {text}", time(at))));
}

fn message(index: usize, message: &Message) -> String {
    let mut text = format!("< {index} {}", message.action);
    match message.action {
        "processRecords" => {
            let records = count(message.records, "record");
            text.push_str(&format!(", {records}, {}", bytes(message.bytes)));
            if let Some(lag) = message.lag {
                text.push_str(&format!(", lag {}", duration(lag.saturating_mul(1000))));
            }
        }
        _ => {
            let details = message.details.as_ref().and_then(|details| details.text.as_ref());
            text.extend(details.map(|details| format!(" {details}")));
        }
    }
    match message.took {
        Some(took) => text.push_str(&format!(", answered in {}", duration(took))),
        None if message.action == "unreadable" => {}
        None => text.push_str(", not answered"),
    }
    text
}

fn checkpoint(checkpoint: &Checkpoint) -> String {
    let position = checkpoint.position.as_deref().unwrap_or("all delivered");
    let outcome = match (&checkpoint.error, checkpoint.took) {
        (Some(error), _) => error,
        (None, Some(_)) => "accepted",
        (None, None) => "not answered",
    };
    let took = checkpoint.took.map_or(String::new(), |took| format!(", {}", duration(took)));
    format!("> checkpoint {position}: {outcome}{took}")
}

/// What is not in the lists, in words.
fn left_out(left_out: &LeftOut) -> Option<String> {
    let parts: Vec<String> = [
        (left_out.messages, "message"),
        (left_out.checkpoints, "checkpoint"),
        (left_out.output_lines, "line of output"),
        (left_out.details, "message's records"),
        (left_out.anomalies, "anomaly"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, noun)| match (number, noun) {
        (_, "line of output") => count(number, "line") + " of output",
        (_, "message's records") => "the records of ".to_owned() + &count(number, "message"),
        _ => count(number, noun),
    })
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// In seconds, with all digits that the recording has, in a column.
fn time(micros: u64) -> String {
    let time = format!("+{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    pad(&time, 13, Side::Right)
}
