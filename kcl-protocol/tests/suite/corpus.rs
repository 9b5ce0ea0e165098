//! Every file of the fixtures against its snapshot: what is read, what is refused, and how whole
//! dialogues go at both ends.

use std::fmt::Write as _;
use std::path::Path;

use kcl_fixtures::{Dialogue, Folder, Message, Step};
use kcl_protocol::{
    CheckpointAnswer, ChildMessage, ChildSession, DaemonMessage, DaemonSession, Error,
    InitializeInput, LineBuffer, Position, Received, Record, SequenceNumber, State,
};

use crate::strict::{judge, judge_childs};

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
fn messages_from_the_daemon_are_read() {
    insta::glob!("../../../fixtures/messages/from-daemon", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::FromDaemon, stem(path));
        let mut line = message.line.clone();
        let decoded = DaemonMessage::decode(&mut line).unwrap();
        let mut written = Vec::new();
        decoded.encode(&mut written);
        judge(&written).unwrap();
        if message.is_from_java() {
            assert_eq!(visible(&written), visible(&as_java_wrote(&message.line)));
        }
        snapshot("from-daemon", &message, &daemons(&decoded));
    });
}

/// The line as we would write it: a record holds its payload as bytes, so null becomes empty.
fn as_java_wrote(line: &[u8]) -> Vec<u8> {
    let line = std::str::from_utf8(line).unwrap();
    format!("{}\n", line.trim_end_matches('\r').replace("\"data\":null", "\"data\":\"\"")).into()
}

#[test]
fn invalid_messages_from_the_daemon_are_refused() {
    insta::glob!("../../../fixtures/messages/invalid/from-daemon", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::InvalidFromDaemon, stem(path));
        let error = DaemonMessage::decode(&mut message.line.clone()).unwrap_err();
        snapshot("invalid-from-daemon", &message, &error.to_string());
    });
}

/// A session that awaits the status for initialize.
fn daemon_at_initialize() -> DaemonSession {
    let mut session = DaemonSession::new();
    let message = DaemonMessage::Initialize(InitializeInput::new("shardId-0"));
    session.send(&message, &mut Vec::new()).unwrap();
    session
}

#[test]
fn messages_from_the_child_are_read_as_java_reads_them() {
    insta::glob!("../../../fixtures/messages/from-child", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::FromChild, stem(path));
        check_childs("from-child", &message);
    });
}

#[test]
fn invalid_messages_from_the_child_are_taken_as_java_takes_them() {
    insta::glob!("../../../fixtures/messages/invalid/from-child", "*.json", |path| {
        let message = kcl_fixtures::message(Folder::InvalidFromChild, stem(path));
        check_childs("invalid-from-child", &message);
    });
}

/// Where our daemon knowingly takes a line in another way than Java does.
const NOT_AS_JAVA: [(&str, &str); 2] = [
    // Jackson also reads a type's name and its fields as an array; no child writes so.
    ("array-as-jackson", "skipped"),
    // Java tries the checkpoint, which fails; here sub-sequence numbers are not negative.
    ("sub-negative", "skipped"),
];

fn check_childs(name: &str, message: &Message) {
    let outcome = childs(&daemon_at_initialize().receive(&mut message.line.clone()));
    if let Some(java) = kcl_fixtures::java_verdict(message) {
        let known = NOT_AS_JAVA.iter().find(|(name, _)| *name == message.name);
        let expected = known.map_or(java.as_str(), |(_, ours)| ours);
        assert_eq!(verdict(message), expected, "{}: not as Java takes it", message.name);
    }
    snapshot(name, message, &outcome);
}

/// What the session makes of a line, in the words of `verdicts.tsv`.
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
fn dialogues_go_well_at_both_ends() {
    insta::glob!("../../../fixtures/dialogues", "*.txt", |path| {
        let dialogue = kcl_fixtures::dialogue(stem(path));
        let walk = Walk::through(&dialogue);
        if dialogue.breaks_off() {
            assert!(walk.failed && walk.story.contains("during shutdown\n"), "{}", walk.story);
        } else {
            assert!(!walk.failed, "{}:\n{}", dialogue.name, walk.story);
            assert_eq!((walk.child.state(), walk.daemon.state()), (State::Closed, State::Closed));
        }
        settings().bind(|| insta::assert_snapshot!("dialogue", walk.story));
    });
}

#[test]
fn violations_are_found_at_the_end_that_suffers_them() {
    insta::glob!("../../../fixtures/dialogues/violations", "*.txt", |path| {
        let dialogue = kcl_fixtures::dialogue(&format!("violations/{}", stem(path)));
        let walk = Walk::through(&dialogue);
        assert!(walk.failed, "{}:\n{}", dialogue.name, walk.story);
        settings().bind(|| insta::assert_snapshot!("violation", walk.story));
    });
}

/// The recordings as they went over the pipes, blank lines and all, through line buffers.
#[test]
fn recorded_bytes_are_read_whole() {
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

/// A dialogue on its way through both sessions.
struct Walk<'d> {
    dialogue: &'d Dialogue,
    child: ChildSession,
    daemon: DaemonSession,
    story: String,
    failed: bool,
}

impl<'d> Walk<'d> {
    fn through(dialogue: &'d Dialogue) -> Self {
        let (child, daemon) = (ChildSession::new(), DaemonSession::new());
        let story = format!("{}\n\n", dialogue.origin);
        let mut walk = Walk { dialogue, child, daemon, story, failed: false };
        for step in &dialogue.steps {
            match step {
                Step::FromDaemon(line) => walk.daemon_says(line),
                Step::FromChild(line) => walk.child_says(line),
            }
        }
        let child = walk.child.end_of_input().map(|()| "ok".to_owned());
        let daemon = walk.daemon.close().map(|()| "ok".to_owned());
        walk.tell("< end of input", &child, &daemon);
        walk
    }

    fn daemon_says(&mut self, line: &[u8]) {
        let mut copy = line.to_vec();
        let child = self.child.receive(&mut copy).map(|message| daemons(&message));
        let mut copy = line.to_vec();
        let daemon = DaemonMessage::decode(&mut copy).map_err(Error::Decode).and_then(|message| {
            let mut written = Vec::new();
            self.daemon.send(&message, &mut written)?;
            judge(&written).unwrap();
            if self.dialogue.is_recorded() {
                assert_eq!(written, [line, b"\n"].concat(), "not what the daemon wrote");
            }
            Ok(daemons(&message))
        });
        self.tell(&format!("< {}", summary(line)), &child, &daemon);
    }

    fn child_says(&mut self, line: &[u8]) {
        let mut copy = line.to_vec();
        let received = self.daemon.receive(&mut copy);
        let daemon = match &received {
            Err(error) => Err(error.clone()),
            received => Ok(childs(received)),
        };
        // The child says the same thing through its session, if that is a thing it can say.
        let mut written = Vec::new();
        let child = match asked_position(line) {
            Some(position) => self.child.checkpoint(&position, &mut written),
            None => self.child.answer(&mut written),
        };
        let child = child.map(|()| {
            judge_childs(&written).unwrap();
            let json = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).ok();
            if matches!(received, Ok(Received::Status(_) | Received::Checkpoint(_))) {
                assert_eq!(json(&written), json(line), "we would say something else");
            }
            visible(written.trim_ascii_end())
        });
        self.tell(&format!("> {}", summary(line)), &child, &daemon);
    }

    fn tell(&mut self, what: &str, child: &Result<String, Error>, daemon: &Result<String, Error>) {
        writeln!(self.story, "{what}").unwrap();
        if let (Ok(message), true) = (child, what.starts_with("< {")) {
            writeln!(self.story, "{}", indent(message)).unwrap();
        }
        let (at_child, at_daemon) = (self.child.state(), self.daemon.state());
        if let (Ok(_), Ok(received)) = (child, daemon) {
            if what.starts_with("> ") {
                writeln!(self.story, "{}", indent(received)).unwrap();
            }
            if at_child == at_daemon {
                writeln!(self.story, "    → {at_child}").unwrap();
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
            writeln!(self.story, "    {end}: {outcome}→ {state}").unwrap();
        }
    }
}

/// The position of a line that asks for a checkpoint.
fn asked_position(line: &[u8]) -> Option<Position<'static>> {
    let json: serde_json::Value = serde_json::from_slice(line).ok()?;
    (json["action"] == "checkpoint").then(|| match json["sequenceNumber"].as_str() {
        None => Position::AllDelivered,
        Some(number) => Position::At {
            sequence_number: number.parse::<SequenceNumber<'static>>().unwrap(),
            sub_sequence_number: json["subSequenceNumber"].as_u64(),
        },
    })
}

/// A message of the daemon in words.
fn daemons(message: &DaemonMessage<'_>) -> String {
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
            input.records.iter().for_each(|it| write!(text, "\n  {}", record(it)).unwrap());
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

fn record(record: &Record<'_>) -> String {
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

/// What a session made of a child's line, in words.
fn childs(received: &Result<Received<'_>, Error>) -> String {
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

/// Bytes as text: what is no UTF-8, and what would not be seen, in angle brackets.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                ' '..='~' => text.push(letter),
                letter if letter.is_alphanumeric() => text.push(letter),
                letter => write!(text, "⟨U+{:04X}⟩", u32::from(letter)).unwrap(),
            }
        }
        chunk.invalid().iter().for_each(|byte| write!(text, "⟨{byte:02X}⟩").unwrap());
    }
    let letters = text.chars().count();
    if letters <= 600 {
        return text;
    }
    let head: String = text.chars().take(400).collect();
    let tail: String = text.chars().skip(letters - 100).collect();
    format!("{head} … {} letters … {tail}", letters - 500)
}

/// A line in a story.
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
        judge_childs(&written).unwrap();
    }
}
