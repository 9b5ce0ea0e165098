//! Every fixture compared with its snapshot: decoded messages, errors, and whole dialogues at both
//! ends.

use std::fmt::Write as _;
use std::path::Path;

use kcl_fixtures::{Dialogue, Folder, Message, Step};
use kcl_protocol::{
    CheckpointAnswer, ChildMessage, ChildSession, DaemonMessage, DaemonSession, Error,
    InitializeInput, LineBuffer, Position, Received, Record, SequenceNumber, State,
};

use crate::strict::{decode_child_strictly, decode_strictly};

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../fixtures/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap()
}

fn snapshot(name: &str, message: &Message, outcome: &str) {
    let text = format!("{}\n{}\n\n{outcome}", message.origin, visible(&message.line));
    settings().bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn messages_from_the_daemon_are_decoded() {
    insta::glob!("../../../fixtures/messages/from-daemon", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::FromDaemon, stem(path));
        let mut line = message.line.clone();
        let decoded = DaemonMessage::decode(&mut line).unwrap();
        let mut written = Vec::new();
        decoded.encode(&mut written);
        decode_strictly(&written).unwrap();
        if message.is_from_java() {
            assert_eq!(visible(&written), visible(&as_java_wrote(&message.line)));
        }
        snapshot("from-daemon", &message, &describe_message(&decoded));
    });
}

/// The line as we would write it: a null payload is decoded to no bytes, which are encoded as `""`.
fn as_java_wrote(line: &[u8]) -> Vec<u8> {
    let line = std::str::from_utf8(line).unwrap();
    format!("{}\n", line.trim_end_matches('\r').replace("\"data\":null", "\"data\":\"\"")).into()
}

#[test]
fn invalid_messages_from_the_daemon_are_rejected() {
    insta::glob!("../../../fixtures/messages/invalid/from-daemon", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::InvalidFromDaemon, stem(path));
        let error = DaemonMessage::decode(&mut message.line.clone()).unwrap_err();
        snapshot("invalid-from-daemon", &message, &error.to_string());
    });
}

/// A session that waits for the status of `initialize`.
fn daemon_at_initialize() -> DaemonSession {
    let mut session = DaemonSession::new();
    let message = DaemonMessage::Initialize(InitializeInput::new("shardId-0"));
    session.send(&message, &mut Vec::new()).unwrap();
    session
}

#[test]
fn messages_from_the_child_are_decoded_as_java_does() {
    insta::glob!("../../../fixtures/messages/from-child", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::FromChild, stem(path));
        check_child_line("from-child", &message);
    });
}

#[test]
fn invalid_messages_from_the_child_are_handled_as_java_does() {
    insta::glob!("../../../fixtures/messages/invalid/from-child", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::InvalidFromChild, stem(path));
        check_child_line("invalid-from-child", &message);
    });
}

/// Lines that our daemon deliberately handles differently from Java.
const DIFFERENT_FROM_JAVA: [(&str, &str); 2] = [
    // Jackson also accepts an array of a type name and its fields; no child writes that.
    ("array-as-jackson", "skipped"),
    // Java tries the checkpoint and fails; we do not decode negative sub-sequence numbers.
    ("sub-negative", "skipped"),
];

fn check_child_line(name: &str, message: &Message) {
    let outcome = describe_received(&daemon_at_initialize().receive(&mut message.line.clone()));
    if let Some(java) = kcl_fixtures::java_verdict(message) {
        let known = DIFFERENT_FROM_JAVA.iter().find(|(name, _)| *name == message.name);
        let expected = known.map_or(java.as_str(), |(_, ours)| ours);
        assert_eq!(verdict(message), expected, "{}: Java handles it differently", message.name);
    }
    snapshot(name, message, &outcome);
}

/// What the session makes of a line, in the format of `verdicts.tsv`.
fn verdict(message: &Message) -> String {
    let null_or = |text: Option<&str>| text.unwrap_or("null").to_owned();
    match daemon_at_initialize().receive(&mut message.line.clone()) {
        Ok(Received::Status(action)) => format!("status {action}"),
        Ok(Received::Checkpoint(request)) => {
            let sub = request.sub_sequence_number.map(|sub| sub.to_string());
            format!("checkpoint {} {}", null_or(request.sequence_number), null_or(sub.as_deref()))
        }
        Ok(Received::Skipped(_)) => "skipped".to_owned(),
        Ok(Received::Ignored { action }) => {
            let (first, rest) = action.split_at(1);
            format!("ignored {}{rest}Message", first.to_uppercase())
        }
        Err(Error::WrongStatus { got, .. }) => format!("status {got}"),
        Err(Error::NullLine) => "null: the worker stops".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn valid_dialogues_succeed_at_both_ends() {
    insta::glob!("../../../fixtures/dialogues", "*.txt", |path| {
        let dialogue = kcl_fixtures::dialogue(stem(path));
        let playback = Playback::of(&dialogue);
        if dialogue.breaks_off() {
            assert!(
                playback.failed && playback.description.contains("during shutdown\n"),
                "{}",
                playback.description
            );
        } else {
            assert!(!playback.failed, "{}:\n{}", dialogue.name, playback.description);
            assert_eq!(
                (playback.child.state(), playback.daemon.state()),
                (State::Closed, State::Closed)
            );
        }
        settings().bind(|| insta::assert_snapshot!("dialogue", playback.description));
    });
}

#[test]
fn violations_are_reported_by_the_receiving_end() {
    insta::glob!("../../../fixtures/dialogues/violations", "*.txt", |path| {
        let dialogue = kcl_fixtures::dialogue(&format!("violations/{}", stem(path)));
        let playback = Playback::of(&dialogue);
        assert!(playback.failed, "{}:\n{}", dialogue.name, playback.description);
        settings().bind(|| insta::assert_snapshot!("violation", playback.description));
    });
}

/// Decodes the recordings as they went over the pipes, including blank lines.
#[test]
fn recordings_round_trip_byte_for_byte() {
    for dialogue in kcl_fixtures::dialogues().iter().filter(|it| it.is_recorded()) {
        let mut lines = LineBuffer::new();
        lines.push(&dialogue.daemon_bytes());
        let mut written = Vec::new();
        while let Some(mut line) = lines.next_line().unwrap() {
            DaemonMessage::decode(line.bytes_mut()).unwrap().encode(&mut written);
        }
        lines.end_of_input().unwrap();
        assert_eq!(written, dialogue.daemon_bytes(), "{}", dialogue.name);
    }
}

/// Plays a dialogue through both sessions and describes what happens.
struct Playback<'d> {
    dialogue: &'d Dialogue,
    child: ChildSession,
    daemon: DaemonSession,
    description: String,
    failed: bool,
}

impl<'d> Playback<'d> {
    fn of(dialogue: &'d Dialogue) -> Self {
        let (child, daemon) = (ChildSession::new(), DaemonSession::new());
        let description = format!("{}\n\n", dialogue.origin);
        let mut playback = Playback { dialogue, child, daemon, description, failed: false };
        for step in &dialogue.steps {
            match step {
                Step::FromDaemon(line) => playback.daemon_says(line),
                Step::FromChild(line) => playback.child_says(line),
            }
        }
        let child = playback.child.end_of_input().map(|()| "ok".to_owned());
        let daemon = playback.daemon.close().map(|()| "ok".to_owned());
        playback.describe_step("< end of input", &child, &daemon);
        playback
    }

    fn daemon_says(&mut self, line: &[u8]) {
        let mut copy = line.to_vec();
        let child = self.child.receive(&mut copy).map(|message| describe_message(&message));
        let mut copy = line.to_vec();
        let daemon = DaemonMessage::decode(&mut copy).map_err(Error::Decode).and_then(|message| {
            let mut written = Vec::new();
            self.daemon.send(&message, &mut written)?;
            decode_strictly(&written).unwrap();
            if self.dialogue.is_recorded() {
                assert_eq!(written, [line, b"\n"].concat(), "our daemon would send something else");
            }
            Ok(describe_message(&message))
        });
        self.describe_step(&format!("< {}", summary(line)), &child, &daemon);
    }

    fn child_says(&mut self, line: &[u8]) {
        let mut copy = line.to_vec();
        let received = self.daemon.receive(&mut copy);
        let daemon = match &received {
            Err(error) => Err(error.clone()),
            received => Ok(describe_received(received)),
        };
        // The child's session says the same, if it can.
        let mut written = Vec::new();
        let child = match requested_position(line) {
            Some(position) => self.child.checkpoint(&position, &mut written),
            None => self.child.answer(&mut written),
        };
        let child = child.map(|()| {
            decode_child_strictly(&written).unwrap();
            let json = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).ok();
            if matches!(received, Ok(Received::Status(_) | Received::Checkpoint(_))) {
                assert_eq!(json(&written), json(line), "our child would send something else");
            }
            visible(written.trim_ascii_end())
        });
        self.describe_step(&format!("> {}", summary(line)), &child, &daemon);
    }

    fn describe_step(
        &mut self,
        what: &str,
        child: &Result<String, Error>,
        daemon: &Result<String, Error>,
    ) {
        writeln!(self.description, "{what}").unwrap();
        if let (Ok(message), true) = (child, what.starts_with("< {")) {
            writeln!(self.description, "{}", indent(message)).unwrap();
        }
        let (at_child, at_daemon) = (self.child.state(), self.daemon.state());
        if let (Ok(_), Ok(received)) = (child, daemon) {
            if what.starts_with("> ") {
                writeln!(self.description, "{}", indent(received)).unwrap();
            }
            if at_child == at_daemon {
                writeln!(self.description, "    → {at_child}").unwrap();
                return;
            }
        }
        for (end, outcome, state) in [("child", child, at_child), ("daemon", daemon, at_daemon)] {
            let outcome = match outcome {
                Ok(_) => String::new(),
                Err(error) => {
                    self.failed = true;
                    format!("error: {error} ")
                }
            };
            writeln!(self.description, "    {end}: {outcome}→ {state}").unwrap();
        }
    }
}

/// Returns the position if the line is a checkpoint request.
fn requested_position(line: &[u8]) -> Option<Position<'static>> {
    let json: serde_json::Value = serde_json::from_slice(line).ok()?;
    (json["action"] == "checkpoint").then(|| match json["sequenceNumber"].as_str() {
        None => Position::AllDelivered,
        Some(number) => Position::At {
            sequence_number: number.parse::<SequenceNumber<'static>>().unwrap(),
            sub_sequence_number: json["subSequenceNumber"].as_u64(),
        },
    })
}

/// Describes a message from the daemon.
fn describe_message(message: &DaemonMessage<'_>) -> String {
    match message {
        DaemonMessage::Initialize(input) => format!(
            "initialize\nshard_id: {:?}\nsequence_number: {}\nsub_sequence_number: {}",
            input.shard_id,
            or_none(input.sequence_number.as_ref()),
            or_none(input.sub_sequence_number),
        ),
        DaemonMessage::ProcessRecords(input) => {
            let behind = or_none(input.millis_behind_latest);
            let mut text = format!("processRecords\nmillis_behind_latest: {behind}\nrecords:");
            if input.records.is_empty() {
                text.push_str(" none");
            }
            input
                .records
                .iter()
                .for_each(|it| write!(text, "\n  {}", describe_record(it)).unwrap());
            text
        }
        DaemonMessage::Checkpoint(answer) => {
            let CheckpointAnswer { sequence_number, sub_sequence_number, error: _ } = answer;
            let result = match answer.result() {
                Ok(()) => "stored".to_owned(),
                Err(error) => format!(
                    "{error} (retryable: {}, lease lost: {})",
                    error.is_retryable(),
                    error.is_lease_lost()
                ),
            };
            let (number, sub) = (or_none(*sequence_number), or_none(*sub_sequence_number));
            format!("checkpoint\nat: {number}, {sub}\nresult: {result}")
        }
        DaemonMessage::Shutdown(reason) => format!("shutdown\nreason: {reason:?}"),
        other => other.action().unwrap().to_string(),
    }
}

fn describe_record(record: &Record<'_>) -> String {
    format!(
        "{} {} key {:?} arrived {} data {}",
        record.sequence_number,
        or_none(record.sub_sequence_number),
        record.partition_key,
        record.approximate_arrival.map_or("none".to_owned(), |it| format!("{it:?}")),
        visible(record.data),
    )
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

/// Describes what a session made of a line from the child.
fn describe_received(received: &Result<Received<'_>, Error>) -> String {
    match received {
        Ok(Received::Status(action)) => format!("status for {action}"),
        Ok(Received::Checkpoint(request)) => format!(
            "checkpoint at {}, {}",
            or_none(request.sequence_number),
            or_none(request.sub_sequence_number)
        ),
        Ok(Received::Skipped(error)) => format!("skipped: {error}"),
        Ok(Received::Ignored { action }) => format!("ignored: {action}"),
        Ok(other) => panic!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

/// Shows bytes as text, with invalid UTF-8 and invisible characters in angle brackets.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                ' '..='~' => text.push(char),
                char if char.is_alphanumeric() => text.push(char),
                char => write!(text, "⟨U+{:04X}⟩", u32::from(char)).unwrap(),
            }
        }
        chunk.invalid().iter().for_each(|byte| write!(text, "⟨{byte:02X}⟩").unwrap());
    }
    let length = text.chars().count();
    if length <= 600 {
        return text;
    }
    let head: String = text.chars().take(400).collect();
    let tail: String = text.chars().skip(length - 100).collect();
    format!("{head} … {} characters … {tail}", length - 500)
}

/// Shows the start of a line.
fn summary(line: &[u8]) -> String {
    let text = visible(line);
    let head: String = text.chars().take(110).collect();
    if head.len() < text.len() { format!("{head} …") } else { text }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_status_for_each_action_passes_the_judge() {
    for action in kcl_protocol::Action::ALL {
        let mut written = Vec::new();
        ChildMessage::status(action).encode(&mut written);
        decode_child_strictly(&written).unwrap();
    }
}
