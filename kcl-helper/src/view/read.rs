//! One pass over a recording, which becomes a lane.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use kcl_protocol::{
    Action, CheckpointAnswer, Conversation, DaemonMessage, DaemonSession, Error, Event,
    ExtendedSequenceNumber, ProcessRecordsInput, Received, SequenceNumber, State,
};

use super::anomaly::{Anomaly, Kind, SLOW, is_silence, is_slow};
use super::details::{self, beginning, beginning_of_bytes};
use super::lane::{Checkpoint, Details, Lane, LeftOut, Message, Note, Output, Totals};
use super::limits::{Budget, CANDIDATES, NAME, PENDING, TEXT, spend};
use super::units::duration;
use crate::output::count;
use crate::recording::{Entry, Header, Line, LineEnd, Lines, Stream, Timed};
use crate::shell::shell_line;

/// The largest time that JavaScript keeps exactly.
const LATEST: u128 = (1 << 53) - 1;

/// Reads a recording to its end. What is kept is taken from the budget.
pub(super) fn lane<R: Read>(
    file: String,
    header: Header,
    mut lines: Lines<R>,
    budget: &mut Budget,
) -> io::Result<Lane> {
    let mut reading = Reading::new(file, header, budget);
    while let Some(Timed { at, entry }) = lines.next()? {
        reading.entry(micros(at), entry);
    }
    Ok(reading.finish())
}

fn micros(time: Duration) -> u64 {
    time.as_micros().min(LATEST) as u64
}

struct Reading<'a> {
    lane: Lane,
    budget: &'a mut Budget,
    /// `None` once it was broken.
    conversation: Option<Conversation>,
    open: Option<OpenMessage>,
    asked: Option<OpenCheckpoint>,
    /// Delivered, and not covered by an accepted checkpoint.
    pending: VecDeque<Pending>,
    last_delivered: Option<ExtendedSequenceNumber<'static>>,
    /// Since when the daemon has sent nothing, while no message is open.
    idle_since: Option<u64>,
    batch_times: Histogram<u64>,
    /// Candidates, as the median is known at the end.
    slow: Vec<Anomaly>,
    damaged: u64,
    first_damage: Option<(u64, String)>,
    is_cut_off: bool,
}

/// A message that waits for its status.
struct OpenMessage {
    action: Action,
    at: u64,
    records: u64,
    /// If it is shown.
    index: Option<usize>,
    /// If they do not fit in the budget: kept for the case that something is wrong with the message.
    details: Option<Details>,
    /// A checkpoint was accepted.
    is_checkpointed: bool,
}

struct OpenCheckpoint {
    at: u64,
    index: Option<usize>,
    /// The invalid ones are refused.
    position: Option<ExtendedSequenceNumber<'static>>,
}

struct Pending {
    last: ExtendedSequenceNumber<'static>,
    batches: u64,
    records: u64,
    message: Option<usize>,
}

impl<'a> Reading<'a> {
    fn new(file: String, header: Header, budget: &'a mut Budget) -> Reading<'a> {
        let started = header.started.and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok());
        let words: Vec<OsString> = header.command.iter().map(OsString::from).collect();
        let lane = Lane {
            file,
            shard: None,
            command: shell_line(&words).text,
            kcl_helper: beginning(&header.kcl_helper, NAME).to_owned(),
            started: started.map(micros),
            redacted: header.redacted,
            length: 0,
            end: None,
            messages: Vec::new(),
            checkpoints: Vec::new(),
            output: Vec::new(),
            notes: Vec::new(),
            anomalies: Vec::new(),
            totals: Totals::default(),
            left_out: LeftOut::default(),
        };
        Reading {
            lane,
            budget,
            conversation: Some(Conversation::new()),
            open: None,
            asked: None,
            pending: VecDeque::new(),
            last_delivered: None,
            idle_since: None,
            // Three digits are what is shown.
            batch_times: Histogram::new_with_max(LATEST as u64, 3)
                .expect("3 is a possible precision, and the maximum is above it"),
            slow: Vec::new(),
            damaged: 0,
            first_damage: None,
            is_cut_off: false,
        }
    }

    fn entry(&mut self, at: u64, entry: Entry) {
        self.lane.length = at;
        match entry {
            Entry::Line(line) if line.bytes.trim_ascii().is_empty() && line.dropped == 0 => {}
            Entry::Line(line) => match line.stream {
                Stream::Stdin => self.daemon_says(at, line),
                Stream::Stdout => self.child_says(at, line),
                Stream::Stderr => self.output(false, &line),
            },
            Entry::StreamEnded(stream) => {
                // At any time, as the daemon also closes stdin when the child has ended.
                if stream == Stream::Stdin {
                    self.silence_until(at);
                }
                self.note(at, format!("{} ended", stream.name()));
            }
            Entry::Exited(how) => {
                self.silence_until(at);
                let how = beginning(&how, NAME).to_owned();
                if how != "exit status 0" {
                    self.anomaly(at, Kind::Exit, None, format!("the program ended: {how}"));
                }
                self.lane.end = Some(how);
            }
            Entry::Note(note) => {
                let note = beginning(&note, NAME);
                self.anomaly(at, Kind::RecordingFull, None, note.to_owned());
                self.note(at, note.to_owned());
            }
            Entry::Damaged(number, why) => {
                self.damaged += 1;
                let why = beginning(&why, NAME);
                self.first_damage.get_or_insert_with(|| (at, format!("line {number}: {why}")));
            }
            Entry::CutOff => self.is_cut_off = true,
        }
    }

    fn daemon_says(&mut self, at: u64, mut line: Line) {
        let length = line.bytes.len() as u64 + line.dropped;
        if line.end != LineEnd::LineFeed || line.dropped > 0 {
            let why = match line.dropped {
                0 => format!("a line of {} without an end", count(length, "byte")),
                _ => format!("a line of {}, which is too long", count(length, "byte")),
            };
            return self.unreadable(at, length, &why, &line.bytes);
        }
        // Decoding overwrites it.
        let (text, _) = beginning_of_bytes(&line.bytes, TEXT);
        match DaemonMessage::decode(&mut line.bytes) {
            Ok(DaemonMessage::Checkpoint(answer)) => self.answered_checkpoint(at, &answer),
            Ok(message) => match message.action() {
                Some(action) => self.message(at, micros(line.begun), action, &message, length),
                // A message that this version does not know.
                None => self.unreadable(at, length, "an unknown message", text.as_bytes()),
            },
            Err(error) => self.unreadable(at, length, &error.to_string(), text.as_bytes()),
        }
    }

    fn message(
        &mut self,
        at: u64,
        begun: u64,
        action: Action,
        message: &DaemonMessage<'_>,
        bytes: u64,
    ) {
        self.silence_until(begun);
        self.idle_since = None;
        self.happens(at, Event::Message(action));
        if self.open.is_some() {
            self.close(None, false);
        }
        if let DaemonMessage::Initialize(input) = message {
            self.lane.shard.get_or_insert_with(|| beginning(input.shard_id, NAME).to_owned());
        }
        let batch = match message {
            DaemonMessage::ProcessRecords(batch) => Some(batch),
            _ => None,
        };
        let records = batch.map_or(0, |batch| batch.records.len() as u64);
        let lag =
            batch.and_then(|batch| batch.millis_behind_latest).map(|it| it.min(LATEST as u64));
        let shown =
            Message { action: action.name(), at, took: None, records, bytes, lag, details: None };
        let index = self.push_message(shown);
        let mut found = None;
        if let Some(index) = index {
            let details = details::of(message);
            if spend(&mut self.budget.record_bytes, details::size(&details)) {
                self.lane.messages[index].details = Some(details);
            } else {
                found = Some(details);
            }
        }
        self.open = Some(OpenMessage {
            action,
            at,
            records,
            index,
            details: found,
            is_checkpointed: false,
        });
        if let Some(batch) = batch {
            self.batch(at, batch, index, lag);
        }
    }

    fn batch(
        &mut self,
        at: u64,
        batch: &ProcessRecordsInput<'_>,
        index: Option<usize>,
        lag: Option<u64>,
    ) {
        let totals = &mut self.lane.totals;
        totals.batches += 1;
        totals.records += batch.records.len() as u64;
        totals.payload_bytes += batch.records.iter().map(|it| it.data.len() as u64).sum::<u64>();
        totals.lag_last = lag.or(totals.lag_last);
        totals.lag_max = totals.lag_max.max(lag);
        let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else {
            return;
        };
        let (first, last) = (first.extended_sequence_number(), last.extended_sequence_number());
        if let Some(before) = &self.last_delivered
            && first <= *before
        {
            let text = format!("begins at {first}, though {before} was delivered before");
            self.anomaly(at, Kind::Repeated, index, text);
        }
        match &mut self.last_delivered {
            Some(position) => last.clone_into(position),
            none => *none = Some(last.to_owned()),
        }
        if self.pending.len() == PENDING
            && let Some(oldest) = self.pending.pop_front()
            && let Some(next) = self.pending.front_mut()
        {
            next.batches += oldest.batches;
            next.records += oldest.records;
            next.message = oldest.message;
        }
        let records = batch.records.len() as u64;
        self.pending.push_back(Pending {
            last: last.to_owned(),
            batches: 1,
            records,
            message: index,
        });
    }

    fn unreadable(&mut self, at: u64, bytes: u64, why: &str, text: &[u8]) {
        self.silence_until(at);
        self.idle_since = Some(at);
        let (text, _) = beginning_of_bytes(text, TEXT);
        let mut message = Message {
            action: "unreadable",
            at,
            took: None,
            records: 0,
            bytes,
            lag: None,
            details: None,
        };
        if spend(&mut self.budget.reserve_bytes, text.len()) {
            message.details = Some(Details { text: Some(text), records: Vec::new() });
        } else {
            self.lane.left_out.details += 1;
        }
        let index = self.push_message(message);
        self.anomaly(at, Kind::UnreadableMessage, index, beginning(why, NAME).to_owned());
    }

    fn push_message(&mut self, message: Message) -> Option<usize> {
        self.lane.totals.messages += 1;
        if !spend(&mut self.budget.messages, 1) {
            self.lane.left_out.messages += 1;
            self.lane.left_out.from.get_or_insert(message.at);
            return None;
        }
        self.lane.messages.push(message);
        Some(self.lane.messages.len() - 1)
    }

    /// The daemon answers a checkpoint.
    fn answered_checkpoint(&mut self, at: u64, answer: &CheckpointAnswer<'_>) {
        self.happens(at, Event::CheckpointAnswer);
        let Some(asked) = self.asked.take() else { return };
        let took = at.saturating_sub(asked.at);
        let error = answer.error.map(|error| beginning(error, NAME).to_owned());
        let message = self.open.as_ref().and_then(|open| open.index);
        if let Some(index) = asked.index {
            let checkpoint = &mut self.lane.checkpoints[index];
            checkpoint.took = Some(took);
            checkpoint.error.clone_from(&error);
        }
        let Some(error) = error else {
            self.lane.totals.accepted += 1;
            self.covered(asked.position);
            return;
        };
        self.lane.totals.refused += 1;
        self.keep_details();
        let position = match &asked.position {
            Some(position) => beginning(&position.to_string(), NAME).to_owned(),
            None => "all delivered".to_owned(),
        };
        let text = format!("{error} for {position}, after {}", duration(took));
        self.anomaly(at, Kind::RefusedCheckpoint, message, text);
    }

    /// A checkpoint was accepted; `None` covers all that was delivered.
    fn covered(&mut self, position: Option<ExtendedSequenceNumber<'static>>) {
        let is_end =
            position.as_ref().is_none_or(|it| it.sequence_number == SequenceNumber::SHARD_END);
        if let Some(open) = &mut self.open {
            open.is_checkpointed = true;
        }
        match position {
            Some(position) if !is_end => {
                while self.pending.front().is_some_and(|it| it.last <= position) {
                    self.pending.pop_front();
                }
            }
            _ => self.pending.clear(),
        }
    }

    fn child_says(&mut self, at: u64, mut line: Line) {
        let copy = beginning_of_bytes(&line.bytes, TEXT);
        // A session that waits for a status decodes as the daemon does. The order is looked at by the
        // conversation, as a session ends at the first line that is out of turn.
        let mut decoder = DaemonSession::new();
        let waits = decoder.mark_sent(Action::Initialize);
        debug_assert!(waits.is_ok());
        match decoder.receive(&mut line.bytes) {
            Ok(Received::Status(action)) => self.status(at, action.name()),
            Err(Error::WrongStatus { got, .. }) => self.status(at, &got),
            Ok(Received::Checkpoint(request)) => {
                let sub = request.sub_sequence_number;
                let position = request.sequence_number.map(|number| {
                    let number = beginning(number, NAME);
                    sub.map_or_else(|| number.to_owned(), |sub| format!("{number}/{sub}"))
                });
                let parsed = request.sequence_number.and_then(|it| SequenceNumber::new(it).ok());
                let parsed = parsed.map(|it| ExtendedSequenceNumber::new(it, sub.unwrap_or(0)));
                let parsed = parsed.map(|it| it.to_owned());
                self.checkpoint(at, position, parsed);
            }
            _ => {
                let (text, more) = copy;
                let shown = beginning(&text, 120);
                let dots = if shown.len() < text.len() || more > 0 { "…" } else { "" };
                let message = self.open.as_ref().and_then(|open| open.index);
                self.anomaly(at, Kind::StrayOutput, message, format!("`{shown}{dots}`"));
                self.push_output(Output {
                    at,
                    stray: true,
                    text,
                    more: more + line.dropped,
                    unfinished: line.end != LineEnd::LineFeed,
                });
            }
        }
    }

    fn checkpoint(
        &mut self,
        at: u64,
        position: Option<String>,
        parsed: Option<ExtendedSequenceNumber<'static>>,
    ) {
        self.happens(at, Event::CheckpointRequest);
        self.lane.totals.checkpoints += 1;
        let message = self.open.as_ref().and_then(|open| open.index);
        let checkpoint = Checkpoint { at, took: None, position, error: None, message };
        let index = if spend(&mut self.budget.checkpoints, 1) {
            self.lane.checkpoints.push(checkpoint);
            Some(self.lane.checkpoints.len() - 1)
        } else {
            self.lane.left_out.checkpoints += 1;
            None
        };
        self.asked = Some(OpenCheckpoint { at, index, position: parsed });
    }

    fn status(&mut self, at: u64, response_for: &str) {
        let Some(open) = self.open.as_ref().filter(|open| open.action.name() == response_for)
        else {
            let waits = match &self.open {
                Some(open) => format!("while the daemon waits for {}", open.action),
                None => "while no message waits for one".to_owned(),
            };
            let response_for = beginning(response_for, NAME);
            return self.out_of_turn(at, format!("a status for {response_for} {waits}"));
        };
        let event = Event::Status(open.action);
        self.happens(at, event);
        self.close(Some(at), false);
        self.idle_since = Some(at);
    }

    /// The open message has got its status, or never will.
    fn close(&mut self, answered: Option<u64>, is_last: bool) {
        let Some(open) = self.open.take() else { return };
        let name = open.action.name();
        let Some(at) = answered else {
            let text = match self.lane.end {
                None if is_last => format!("{name} has no status where the recording ends"),
                _ => format!("{name} got no status"),
            };
            self.anomaly(open.at, Kind::Unanswered, open.index, text);
            self.open = Some(open);
            self.keep_details();
            self.open = None;
            return;
        };
        let took = at.saturating_sub(open.at);
        if let Some(index) = open.index {
            self.lane.messages[index].took = Some(took);
        }
        if open.action == Action::ProcessRecords {
            self.batch_times.saturating_record(took);
            let longest = &mut self.lane.totals.batch_max;
            *longest = (*longest).max(Some(took));
            if took >= SLOW && self.slow.len() < CANDIDATES {
                let records = count(open.records, "record");
                let text = format!("{records} took {}", duration(took));
                let message = open.index;
                let (at, took, kind) = (open.at, Some(took), Kind::SlowBatch);
                self.slow.push(Anomaly { at, took, kind, message, text });
            }
        }
        let is_end = open.action == Action::ShardEnded;
        if is_end && !open.is_checkpointed {
            let text =
                "shardEnded was answered without an accepted checkpoint: the shard never completes";
            self.anomaly(at, Kind::NotCheckpointed, open.index, text.to_owned());
        }
        let is_slow = took >= SLOW;
        self.open = Some(open);
        if is_slow {
            self.keep_details();
        }
        if let Some(open) = self.open.take()
            && open.details.is_some()
        {
            self.lane.left_out.details += 1;
        }
    }

    /// Keeps what the open message says though the budget is used up, as something is wrong with it.
    fn keep_details(&mut self) {
        let Some(open) = &mut self.open else { return };
        let (Some(index), Some(details)) = (open.index, open.details.take()) else { return };
        if spend(&mut self.budget.reserve_bytes, details::size(&details)) {
            self.lane.messages[index].details = Some(details);
        } else {
            self.lane.left_out.details += 1;
        }
    }

    fn output(&mut self, stray: bool, line: &Line) {
        let (text, more) = beginning_of_bytes(&line.bytes, TEXT);
        let unfinished = line.end != LineEnd::LineFeed;
        let at = micros(line.begun);
        self.push_output(Output { at, stray, text, more: more + line.dropped, unfinished });
    }

    fn push_output(&mut self, output: Output) {
        let totals = &mut self.lane.totals;
        let lines = if output.stray { &mut totals.stray_lines } else { &mut totals.stderr_lines };
        *lines += 1;
        let budget = &mut *self.budget;
        if budget.output_lines > 0 && spend(&mut budget.output_bytes, output.text.len()) {
            budget.output_lines -= 1;
            self.lane.output.push(output);
        } else {
            self.lane.left_out.output_lines += 1;
        }
    }

    fn happens(&mut self, at: u64, event: Event) {
        let violation = self.conversation.as_mut().and_then(|it| it.apply(event).err());
        if let Some(violation) = violation {
            let said = violation.event;
            let state = match violation.state {
                State::Idle => "while no message waits for a status".to_owned(),
                state => state.to_string(),
            };
            self.out_of_turn(at, format!("{said} {state}"));
        }
    }

    /// Only the first one counts.
    fn out_of_turn(&mut self, at: u64, text: String) {
        if self.conversation.take().is_some() {
            let message = self.open.as_ref().and_then(|open| open.index);
            self.anomaly(at, Kind::OutOfTurn, message, text);
        }
    }

    /// Something has come, or nothing will.
    fn silence_until(&mut self, at: u64) {
        let Some(since) = self.idle_since.take() else { return };
        let lag = self.lane.totals.lag_last;
        let silent = at.saturating_sub(since);
        if is_silence(silent, lag) {
            let behind = match lag {
                Some(lag) if lag > 0 => {
                    format!(", though the shard was {} behind", duration(lag.saturating_mul(1000)))
                }
                _ => String::new(),
            };
            let text = format!("the daemon sent nothing for {}{behind}", duration(silent));
            let (took, kind) = (Some(silent), Kind::Silence);
            self.push_anomaly(Anomaly { at: since, took, kind, message: None, text });
        }
    }

    fn note(&mut self, at: u64, text: String) {
        // A recorder writes few, each with a line of the file.
        if self.lane.notes.len() < 100 {
            self.lane.notes.push(Note { at, text });
        }
    }

    fn anomaly(&mut self, at: u64, kind: Kind, message: Option<usize>, text: String) {
        self.push_anomaly(Anomaly { at, took: None, kind, message, text });
    }

    fn push_anomaly(&mut self, anomaly: Anomaly) {
        let kind = anomaly.kind;
        *self.lane.totals.anomalies.entry(kind).or_default() += 1;
        if spend(&mut self.budget.anomalies, 1) {
            self.lane.anomalies.push(anomaly);
        } else {
            self.lane.left_out.anomalies += 1;
        }
    }

    fn finish(mut self) -> Lane {
        let end = self.lane.length;
        self.close(None, true);
        if self.asked.is_some() {
            let text = "a checkpoint got no answer".to_owned();
            self.anomaly(end, Kind::Unanswered, None, text);
        }
        self.not_checkpointed(end);
        self.slow_batches();
        if let Some((at, first)) = self.first_damage.take() {
            let text = format!("{}, the first is {first}", count(self.damaged, "line"));
            self.anomaly(at, Kind::Damaged, None, text);
        }
        if self.lane.end.is_none() {
            let how = if self.is_cut_off { "ends inside a line" } else { "has no end" };
            self.anomaly(end, Kind::CutOff, None, format!("the recording {how}"));
        }
        self.lane.anomalies.sort_by_key(|anomaly| (anomaly.at, anomaly.kind));
        self.lane
    }

    fn not_checkpointed(&mut self, end: u64) {
        let Some(first) = self.pending.front() else { return };
        let (message, mut batches, mut records) = (first.message, 0, 0);
        for pending in &self.pending {
            batches += pending.batches;
            records += pending.records;
        }
        let text = format!(
            "up to {} in {} after the last accepted checkpoint",
            count(records, "record"),
            count(batches, "batch"),
        );
        self.anomaly(end, Kind::NotCheckpointed, message, text);
    }

    fn slow_batches(&mut self) {
        if self.batch_times.is_empty() {
            return;
        }
        let median = self.batch_times.value_at_quantile(0.5);
        let totals = &mut self.lane.totals;
        totals.batch_median = Some(median);
        totals.batch_p99 = Some(self.batch_times.value_at_quantile(0.99));
        for mut anomaly in std::mem::take(&mut self.slow) {
            if anomaly.took.is_some_and(|took| is_slow(took, median)) {
                anomaly.text.push_str(&format!(" (the median is {})", duration(median)));
                self.push_anomaly(anomaly);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = r#"{"version":1,"command":["./app"],"started":"2026-11-25T10:00:00Z"}"#;

    fn read(recording: &str, budget: &mut Budget) -> Lane {
        let (header, lines) = Lines::open(recording.as_bytes()).expect("it has a header");
        lane("rec".into(), header, lines, budget).expect("memory can be read")
    }

    fn batch(number: u64) -> String {
        serde_json::json!({"action": "processRecords", "millisBehindLatest": 0, "records": [
            {"data": "aGk=", "partitionKey": "key", "sequenceNumber": number.to_string()},
        ]})
        .to_string()
    }

    /// Batches that are answered, some of them after a checkpoint.
    fn batches(count: u64, checkpoint: impl Fn(u64) -> Option<(Option<u64>, bool)>) -> String {
        let mut text = format!("{HEADER}\n");
        let mut say = |kind: &str, line: String| {
            text.push_str(&serde_json::json!([1000, kind, line + "\n"]).to_string());
            text.push('\n');
        };
        say(
            "<",
            r#"{"action":"initialize","shardId":"shardId-0","sequenceNumber":"LATEST"}"#.into(),
        );
        say(">", r#"{"action":"status","responseFor":"initialize"}"#.into());
        for number in 1..=count {
            say("<", batch(number));
            if let Some((position, is_accepted)) = checkpoint(number) {
                let position = position.map(|it| it.to_string());
                let ask = serde_json::json!({"action": "checkpoint", "sequenceNumber": position});
                say(">", ask.to_string());
                let error = (!is_accepted).then_some("ThrottlingException");
                let answer = serde_json::json!({"action": "checkpoint", "error": error});
                say("<", answer.to_string());
            }
            say(">", r#"{"action":"status","responseFor":"processRecords"}"#.into());
        }
        text.push_str("[1,\"x\",\"exit status 0\"]\n");
        text
    }

    fn texts(lane: &Lane) -> Vec<String> {
        lane.anomalies.iter().map(|it| format!("{}: {}", it.kind, it.text)).collect()
    }

    #[test]
    fn batches_after_the_last_accepted_checkpoint_are_counted() {
        let at = |number: u64| Some((Some(number), true));
        let mut budget = Budget::PAGE;
        assert!(texts(&read(&batches(5, |_| Some((None, true))), &mut budget)).is_empty());
        assert!(texts(&read(&batches(5, at), &mut budget)).is_empty());
        let behind =
            "not-checkpointed: up to 2 records in 2 batches after the last accepted checkpoint";
        for checkpoint in [
            (|number| (number == 3).then_some((None, true))) as fn(u64) -> _,
            |number| (number == 5).then_some((Some(3), true)),
            |number| (number == 3).then_some((Some(3), true)),
        ] {
            assert_eq!(texts(&read(&batches(5, checkpoint), &mut budget)), [behind]);
        }
        let refused = read(&batches(1, |_| Some((None, false))), &mut budget);
        assert_eq!(
            texts(&refused),
            [
                "refused-checkpoint: ThrottlingException for all delivered, after 1.0 ms",
                "not-checkpointed: up to 1 record in 1 batch after the last accepted checkpoint",
            ]
        );
        // More than are remembered one by one.
        let many = PENDING as u64 + 10;
        let lane = read(
            &batches(many, |number| (number == many).then_some((Some(many), true))),
            &mut budget,
        );
        assert!(texts(&lane).is_empty());
    }

    #[test]
    fn a_small_budget_keeps_totals_and_counts_what_is_left_out() {
        let mut budget = Budget {
            messages: 4,
            checkpoints: 2,
            output_lines: 0,
            output_bytes: 0,
            record_bytes: 100,
            reserve_bytes: 0,
            anomalies: 1,
        };
        let lane = read(&batches(10, |_| Some((None, false))), &mut budget);
        let totals = &lane.totals;
        assert_eq!((totals.messages, totals.batches, totals.records), (11, 10, 10));
        assert_eq!((lane.messages.len(), lane.checkpoints.len(), lane.anomalies.len()), (4, 2, 1));
        let expected = LeftOut {
            from: Some(15_000),
            messages: 7,
            checkpoints: 8,
            output_lines: 0,
            details: 2,
            anomalies: 10,
        };
        // One initialize and one batch fit in 100 bytes.
        assert_eq!(lane.left_out, expected);
    }

    proptest! {
        #[test]
        fn any_conversation_is_read_within_the_budget(
            events in prop::collection::vec(
                (
                    0..400_000_000u64,
                    prop::sample::select(vec!["<", ">", "e"]),
                    prop_oneof![
                        (0..20u64).prop_map(|number| batch(number) + "\n"),
                        prop::sample::select(vec![
                            "{\"action\":\"initialize\",\"shardId\":\"a\",\"sequenceNumber\":\"LATEST\"}\n",
                            "{\"action\":\"shardEnded\"}\n",
                            "{\"action\":\"checkpoint\",\"sequenceNumber\":\"7\",\"error\":null}\n",
                            "{\"action\":\"checkpoint\",\"sequenceNumber\":\"x\"}\n",
                            "{\"action\":\"status\",\"responseFor\":\"processRecords\"}\n",
                            "{\"action\":\"status\",\"responseFor\":null}\n",
                            "null\n",
                            "\n",
                            "half",
                        ]).prop_map(str::to_owned),
                        "\\PC{0,20}",
                    ],
                ),
                0..40,
            ),
            most in 0..6usize,
        ) {
            let mut text = format!("{HEADER}\n");
            for event in &events {
                text.push_str(&format!("{}\n", serde_json::json!(event)));
            }
            let mut budget = Budget {
                messages: most,
                checkpoints: most,
                output_lines: most,
                output_bytes: most * 10,
                record_bytes: most * 100,
                reserve_bytes: most * 100,
                anomalies: most,
            };
            let lane = read(&text, &mut budget);
            let lists = [lane.messages.len(), lane.checkpoints.len(), lane.output.len(), lane.anomalies.len()];
            prop_assert!(lists.iter().all(|list| *list <= most));
            let (totals, left) = (&lane.totals, &lane.left_out);
            prop_assert_eq!(lane.messages.len() as u64 + left.messages, totals.messages);
            prop_assert_eq!(lane.checkpoints.len() as u64 + left.checkpoints, totals.checkpoints);
            prop_assert_eq!(
                lane.anomalies.len() as u64 + left.anomalies,
                totals.anomalies.values().sum::<u64>()
            );
            prop_assert_eq!(
                lane.output.len() as u64 + left.output_lines,
                totals.stderr_lines + totals.stray_lines
            );
            let shown = |index: Option<usize>| index.is_none_or(|index| index < lane.messages.len());
            prop_assert!(lane.anomalies.iter().all(|it| shown(it.message)));
            prop_assert!(lane.checkpoints.iter().all(|it| shown(it.message)));
        }
    }
}
