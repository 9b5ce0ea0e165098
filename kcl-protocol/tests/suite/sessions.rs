//! Both sessions, joined by a link that delays, against a model that says the rules in other words.

use std::collections::VecDeque;

use kcl_protocol::{
    Action, CheckpointError, CheckpointRequest, ChildSession, DaemonMessage, DaemonSession, Error,
    InitializeInput, Position, ProcessRecordsInput, Received, SequenceNumber, ShutdownReason,
    State,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::config;

/// What one end knows of the conversation, as facts. The table in the crate is never asked.
#[derive(Debug, Clone, Default)]
struct Model {
    /// `initialize` has been sent.
    begun: bool,
    /// The message that has no status yet.
    owed: Option<Action>,
    /// A checkpoint has no answer yet.
    asked: bool,
    /// The shard is done with.
    over: bool,
    /// The input is closed.
    closed: bool,
    /// Something was against the rules.
    broken: bool,
}

impl Model {
    /// Takes note of something if it may happen now; else everything is broken from now on.
    fn note(&mut self, may: bool, change: impl FnOnce(&mut Model)) -> bool {
        if may && !self.broken && !self.closed {
            change(self);
            true
        } else {
            self.broken = true;
            false
        }
    }

    fn message(&mut self, action: Action) -> bool {
        let is_first = action == Action::Initialize;
        let may = self.owed.is_none() && !self.over && self.begun != is_first;
        self.note(may, |model| {
            model.begun = true;
            model.owed = Some(action);
        })
    }

    fn request(&mut self) -> bool {
        self.note(self.owed.is_some() && !self.asked, |model| model.asked = true)
    }

    fn checkpoint_answer(&mut self) -> bool {
        self.note(self.asked, |model| model.asked = false)
    }

    fn status(&mut self, action: Option<Action>) -> bool {
        let may = action.is_some() && self.owed == action && !self.asked;
        self.note(may, |model| {
            model.owed = None;
            let last = [Action::LeaseLost, Action::ShardEnded, Action::Shutdown];
            model.over = action.is_some_and(|action| last.contains(&action));
        })
    }

    fn end(&mut self) -> bool {
        self.note(self.owed.is_none(), |model| model.closed = true)
    }

    fn state(&self) -> State {
        match self {
            Model { broken: true, .. } => State::Failed,
            Model { closed: true, .. } => State::Closed,
            Model { over: true, .. } => State::Ended,
            Model { owed: Some(action), asked: true, .. } => State::Checkpointing(*action),
            Model { owed: Some(action), .. } => State::Busy(*action),
            Model { begun: true, .. } => State::Idle,
            Model { .. } => State::Start,
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    DaemonSends(Action),
    DaemonAnswers(Option<&'static str>),
    DaemonCloses,
    DaemonReads,
    DaemonReadsNoise(&'static str),
    DaemonReadsStatus(&'static str),
    ChildAsks(Option<u32>, Option<u32>),
    ChildAnswers,
    ChildReads,
    ChildReadsGarbage(&'static str),
}

/// One number an operation: a strategy for each kind would take most of the test's time.
fn operation() -> impl Strategy<Value = Operation> {
    const ERRORS: [Option<&str>; 4] =
        [None, Some("ThrottlingException"), Some("ShutdownException"), Some("Kaputt")];
    const NOISE: [&str; 5] =
        ["hello", "{}", "{\"action\":\"leaseLost\"}", "{\"action\":\"status\",\"x\":1}", "[]"];
    const GARBAGE: [&str; 4] =
        ["hello", "{}", "{\"action\":\"status\",\"responseFor\":\"initialize\"}", "null"];
    const STATUSES: [&str; 6] =
        ["initialize", "processRecords", "leaseLost", "shutdown", "checkpoint", "nobody"];
    any::<u32>().prop_map(|number| {
        let (kind, rest) = (number % 64, (number / 64) as usize);
        let (half, half_sub) = ((number / 64) % 1000, number / 64_000);
        match kind {
            0..8 => Operation::DaemonSends(Action::ALL[rest % 6]),
            8..14 => Operation::DaemonAnswers(ERRORS[rest % 4]),
            14 => Operation::DaemonCloses,
            15..31 => Operation::DaemonReads,
            31 => Operation::DaemonReadsNoise(NOISE[rest % 5]),
            32 => Operation::DaemonReadsStatus(STATUSES[rest % 6]),
            33..40 => Operation::ChildAsks(
                (half % 3 > 0).then_some(half),
                (half_sub % 3 > 0).then_some(half_sub),
            ),
            40..47 => Operation::ChildAnswers,
            47..63 => Operation::ChildReads,
            _ => Operation::ChildReadsGarbage(GARBAGE[rest % 4]),
        }
    })
}

/// What an operation comes to, in both worlds.
#[derive(Debug, PartialEq)]
enum Outcome {
    Fine,
    Noise,
    Refused,
    /// The session had failed before.
    Dead,
}

fn outcome<T>(result: &Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Fine,
        Err(Error::Failed) => Outcome::Dead,
        Err(_) => Outcome::Refused,
    }
}

/// Two sessions, two models, and what is on its way between them; `None` is the end of input.
#[derive(Default)]
struct World {
    child: ChildSession,
    daemon: DaemonSession,
    child_model: Model,
    daemon_model: Model,
    to_child: VecDeque<Option<Vec<u8>>>,
    to_daemon: VecDeque<Vec<u8>>,
    /// What the last request that the daemon read asked for.
    asked: (Option<String>, Option<u64>),
}

impl World {
    /// Does the operation in both worlds; gives what came of it in the sessions and in the model.
    fn step(&mut self, operation: &Operation) -> Option<(Outcome, Outcome)> {
        let childs = matches!(
            operation,
            Operation::ChildAsks(..)
                | Operation::ChildAnswers
                | Operation::ChildReads
                | Operation::ChildReadsGarbage(_)
        );
        let dead = if childs { self.child_model.broken } else { self.daemon_model.broken };
        let (real, expected) = match operation {
            Operation::DaemonSends(action) => self.daemon_sends(*action),
            Operation::DaemonAnswers(error) => self.daemon_answers(*error),
            Operation::DaemonCloses => {
                let real = outcome(&self.daemon.close());
                if real == Outcome::Fine {
                    self.to_child.push_back(None);
                }
                (real, self.daemon_model.end())
            }
            Operation::DaemonReads => {
                let line = self.to_daemon.pop_front()?;
                self.daemon_reads(line)
            }
            Operation::DaemonReadsNoise(line) => {
                let mut line = line.as_bytes().to_vec();
                let received = self.daemon.receive(&mut line);
                let is_noise = received.as_ref().is_ok_and(Received::is_noise);
                let real = if is_noise { Outcome::Noise } else { outcome(&received) };
                return Some((real, if dead { Outcome::Dead } else { Outcome::Noise }));
            }
            Operation::DaemonReadsStatus(name) => {
                let line = format!("{{\"action\":\"status\",\"responseFor\":\"{name}\"}}");
                self.daemon_reads(line.into_bytes())
            }
            Operation::ChildAsks(number, sub) => self.child_asks(*number, *sub),
            Operation::ChildAnswers => {
                let mut out = Vec::new();
                let real = outcome(&self.child.answer(&mut out));
                self.sent_by_child(&real, out);
                let owed = self.child_model.owed;
                (real, self.child_model.status(owed))
            }
            Operation::ChildReads => match self.to_child.pop_front()? {
                Some(line) => self.child_reads(line),
                None => (outcome(&self.child.end_of_input()), self.child_model.end()),
            },
            Operation::ChildReadsGarbage(line) => {
                let real = outcome(&self.child.receive(&mut line.as_bytes().to_vec()));
                (real, self.child_model.note(false, |_| {}))
            }
        };
        Some((
            real,
            if dead {
                Outcome::Dead
            } else if expected {
                Outcome::Fine
            } else {
                Outcome::Refused
            },
        ))
    }

    fn daemon_sends(&mut self, action: Action) -> (Outcome, bool) {
        let mut out = Vec::new();
        let real = outcome(&self.daemon.send(&example(action), &mut out));
        self.sent_by_daemon(&real, out);
        (real, self.daemon_model.message(action))
    }

    fn daemon_answers(&mut self, error: Option<&str>) -> (Outcome, bool) {
        let error = error.map(CheckpointError::from_name);
        let mut out = Vec::new();
        let result = error.as_ref().map_or(Ok(()), Err);
        let real = outcome(&self.daemon.answer_checkpoint(result, &mut out));
        if real == Outcome::Fine {
            // The answer repeats what was asked for, and says what came of it.
            let mut line = out.clone();
            let Ok(DaemonMessage::Checkpoint(answer)) = DaemonMessage::decode(&mut line) else {
                panic!("{}", out.escape_ascii());
            };
            assert_eq!(answer.sequence_number, self.asked.0.as_deref());
            assert_eq!(answer.sub_sequence_number, self.asked.1);
            assert_eq!(answer.result().err(), error);
        }
        self.sent_by_daemon(&real, out);
        (real, self.daemon_model.checkpoint_answer())
    }

    fn daemon_reads(&mut self, mut line: Vec<u8>) -> (Outcome, bool) {
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let received = self.daemon.receive(&mut line);
        let real = outcome(&received);
        let expected = if json["action"] == "checkpoint" {
            let number = json["sequenceNumber"].as_str().map(str::to_owned);
            self.asked = (number, json["subSequenceNumber"].as_u64());
            self.daemon_model.request()
        } else {
            let name = json["responseFor"].as_str().unwrap();
            self.daemon_model.status(Action::from_name(name))
        };
        match received {
            Ok(Received::Checkpoint(request)) => {
                let CheckpointRequest { sequence_number, sub_sequence_number } = request;
                assert_eq!(sequence_number, self.asked.0.as_deref());
                assert_eq!(sub_sequence_number, self.asked.1);
            }
            Ok(Received::Status(action)) => assert_eq!(json["responseFor"], action.name()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
        (real, expected)
    }

    fn child_asks(&mut self, number: Option<u32>, sub: Option<u32>) -> (Outcome, bool) {
        let text = number.map(|number| number.to_string());
        let position = match &text {
            None => Position::AllDelivered,
            Some(text) => Position::At {
                sequence_number: SequenceNumber::new(text).unwrap(),
                sub_sequence_number: sub.map(u64::from),
            },
        };
        let mut out = Vec::new();
        let real = outcome(&self.child.checkpoint(&position, &mut out));
        self.sent_by_child(&real, out);
        (real, self.child_model.request())
    }

    fn child_reads(&mut self, line: Vec<u8>) -> (Outcome, bool) {
        let mut copy = line.clone();
        let message = DaemonMessage::decode(&mut copy).unwrap();
        let mut line = line;
        let received = self.child.receive(&mut line);
        let real = outcome(&received);
        if let Ok(received) = received {
            assert_eq!(received, message);
        }
        let expected = match message.action() {
            Some(action) => self.child_model.message(action),
            None => self.child_model.checkpoint_answer(),
        };
        (real, expected)
    }

    fn sent_by_daemon(&mut self, real: &Outcome, mut out: Vec<u8>) {
        assert_eq!(out.pop(), (*real == Outcome::Fine).then_some(b'\n'), "written if, and only if");
        if *real == Outcome::Fine {
            self.to_child.push_back(Some(out));
        }
    }

    fn sent_by_child(&mut self, real: &Outcome, mut out: Vec<u8>) {
        assert_eq!(out.pop(), (*real == Outcome::Fine).then_some(b'\n'), "written if, and only if");
        if *real == Outcome::Fine {
            self.to_daemon.push_back(out);
        }
    }
}

fn example(action: Action) -> DaemonMessage<'static> {
    match action {
        Action::Initialize => DaemonMessage::Initialize(InitializeInput::new("shardId-0")),
        Action::ProcessRecords => {
            DaemonMessage::ProcessRecords(ProcessRecordsInput::new(Vec::new()))
        }
        Action::LeaseLost => DaemonMessage::LeaseLost,
        Action::ShardEnded => DaemonMessage::ShardEnded,
        Action::ShutdownRequested => DaemonMessage::ShutdownRequested,
        Action::Shutdown => DaemonMessage::Shutdown(ShutdownReason::Zombie),
        new => panic!("no example of {new}"),
    }
}

fn agree(world: &mut World, operation: &Operation) -> Result<(), TestCaseError> {
    if let Some((real, expected)) = world.step(operation) {
        prop_assert_eq!(real, expected, "{:?}", operation);
    }
    prop_assert_eq!(world.child.state(), world.child_model.state(), "{:?}", operation);
    prop_assert_eq!(world.daemon.state(), world.daemon_model.state(), "{:?}", operation);
    Ok(())
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn random_operations_agree_with_the_model(operations in vec(operation(), 0..60)) {
        let mut world = World::default();
        for operation in &operations {
            agree(&mut world, operation)?;
        }
    }

    /// Random operations soon break a rule; these keep to the rules where they can, and so get far.
    #[test]
    fn operations_within_the_rules_agree_with_the_model_to_the_end(
        operations in vec(operation(), 0..150),
    ) {
        let mut world = World::default();
        for operation in &operations {
            let (mut child, mut daemon) = (world.child_model.clone(), world.daemon_model.clone());
            let fits = match operation {
                Operation::DaemonSends(action) => daemon.message(*action),
                Operation::DaemonAnswers(_) => daemon.checkpoint_answer(),
                Operation::DaemonCloses => daemon.end(),
                Operation::ChildAsks(..) => child.request(),
                Operation::ChildAnswers => child.owed.is_some() && child.status(child.owed),
                Operation::DaemonReads | Operation::ChildReads => true,
                Operation::DaemonReadsNoise(_) => !daemon.broken,
                Operation::DaemonReadsStatus(_) | Operation::ChildReadsGarbage(_) => false,
            };
            if fits {
                agree(&mut world, operation)?;
            }
        }
        // Whoever keeps to the rules never sees the other end break one.
        prop_assert!(!world.child_model.broken && !world.daemon_model.broken);
    }
}
