//! Both sessions, connected by queues, compared with a model that states the rules independently.

use std::collections::VecDeque;

use kcl_protocol::{
    Action, CheckpointError, CheckpointRequest, ChildSession, DaemonMessage, DaemonSession, Error,
    InitializeInput, Position, ProcessRecordsInput, Received, SequenceNumber, ShutdownReason,
    State,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::config;

/// What one end knows about the conversation. It does not use the crate's transition table.
#[derive(Debug, Clone, Default)]
struct Model {
    /// `initialize` has been sent.
    is_initialized: bool,
    /// The message that is waiting for its status.
    unanswered: Option<Action>,
    /// A checkpoint request is waiting for its answer.
    is_checkpointing: bool,
    /// The shard's last message has been answered.
    is_ended: bool,
    /// The input is closed.
    is_closed: bool,
    /// Something broke the rules.
    has_failed: bool,
}

impl Model {
    /// Makes the change if it is allowed; otherwise the model has failed from now on.
    fn update(&mut self, is_allowed: bool, change: impl FnOnce(&mut Model)) -> Outcome {
        if is_allowed && !self.has_failed && !self.is_closed {
            change(self);
            Outcome::Accepted
        } else {
            self.has_failed = true;
            Outcome::Rejected
        }
    }

    fn message(&mut self, action: Action) -> Outcome {
        let is_first = action == Action::Initialize;
        let is_allowed =
            self.unanswered.is_none() && !self.is_ended && self.is_initialized != is_first;
        self.update(is_allowed, |model| {
            model.is_initialized = true;
            model.unanswered = Some(action);
        })
    }

    fn request(&mut self) -> Outcome {
        let is_allowed = self.unanswered.is_some() && !self.is_checkpointing;
        self.update(is_allowed, |model| model.is_checkpointing = true)
    }

    fn checkpoint_answer(&mut self) -> Outcome {
        self.update(self.is_checkpointing, |model| model.is_checkpointing = false)
    }

    fn status(&mut self, action: Option<Action>) -> Outcome {
        let is_allowed = action.is_some() && self.unanswered == action && !self.is_checkpointing;
        self.update(is_allowed, |model| {
            model.unanswered = None;
            let last = [Action::LeaseLost, Action::ShardEnded, Action::Shutdown];
            model.is_ended = action.is_some_and(|action| last.contains(&action));
        })
    }

    fn end(&mut self) -> Outcome {
        self.update(self.unanswered.is_none(), |model| model.is_closed = true)
    }

    fn state(&self) -> State {
        match self {
            Model { has_failed: true, .. } => State::Failed,
            Model { is_closed: true, .. } => State::Closed,
            Model { is_ended: true, .. } => State::Ended,
            Model { unanswered: Some(action), is_checkpointing: true, .. } => {
                State::Checkpointing(*action)
            }
            Model { unanswered: Some(action), .. } => State::Busy(*action),
            Model { is_initialized: true, .. } => State::Idle,
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
    DaemonReadsIgnoredLine(&'static str),
    DaemonReadsStatus(&'static str),
    ChildRequestsCheckpoint(Option<u32>, Option<u32>),
    ChildAnswers,
    ChildReads,
    ChildReadsInvalidLine(&'static str),
}

/// Derives an operation from one number: a strategy for each kind would dominate the test's run
/// time.
fn operation() -> impl Strategy<Value = Operation> {
    const ERRORS: [Option<&str>; 4] =
        [None, Some("ThrottlingException"), Some("ShutdownException"), Some("CustomException")];
    const IGNORED: [&str; 5] =
        ["hello", "{}", "{\"action\":\"leaseLost\"}", "{\"action\":\"status\",\"x\":1}", "[]"];
    const INVALID: [&str; 4] =
        ["hello", "{}", "{\"action\":\"status\",\"responseFor\":\"initialize\"}", "null"];
    const STATUSES: [&str; 6] =
        ["initialize", "processRecords", "leaseLost", "shutdown", "checkpoint", "unknown"];
    any::<u32>().prop_map(|number| {
        let (kind, rest) = (number % 64, (number / 64) as usize);
        let (half, half_sub) = ((number / 64) % 1000, number / 64_000);
        match kind {
            0..8 => Operation::DaemonSends(Action::ALL[rest % 6]),
            8..14 => Operation::DaemonAnswers(ERRORS[rest % 4]),
            14 => Operation::DaemonCloses,
            15..31 => Operation::DaemonReads,
            31 => Operation::DaemonReadsIgnoredLine(IGNORED[rest % 5]),
            32 => Operation::DaemonReadsStatus(STATUSES[rest % 6]),
            33..40 => Operation::ChildRequestsCheckpoint(
                (half % 3 > 0).then_some(half),
                (half_sub % 3 > 0).then_some(half_sub),
            ),
            40..47 => Operation::ChildAnswers,
            47..63 => Operation::ChildReads,
            _ => Operation::ChildReadsInvalidLine(INVALID[rest % 4]),
        }
    })
}

/// The outcome of an operation, in a session or in its model.
#[derive(Debug, PartialEq)]
enum Outcome {
    Accepted,
    Ignored,
    Rejected,
    /// The session had failed before.
    AlreadyFailed,
}

fn outcome<T>(result: &Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Accepted,
        Err(Error::Failed) => Outcome::AlreadyFailed,
        Err(_) => Outcome::Rejected,
    }
}

/// Two sessions, their models, and the lines on their way between them; `None` is the end of input.
#[derive(Default)]
struct World {
    child: ChildSession,
    daemon: DaemonSession,
    child_model: Model,
    daemon_model: Model,
    to_child: VecDeque<Option<Vec<u8>>>,
    to_daemon: VecDeque<Vec<u8>>,
    /// The numbers of the last checkpoint request that the daemon received.
    requested: (Option<String>, Option<u64>),
}

impl World {
    /// Performs the operation on a session and on its model, and returns both outcomes.
    fn step(&mut self, operation: &Operation) -> Option<(Outcome, Outcome)> {
        let (child_had_failed, daemon_had_failed) =
            (self.child_model.has_failed, self.daemon_model.has_failed);
        let (had_failed, (real, expected)) = match operation {
            Operation::DaemonSends(action) => (daemon_had_failed, self.daemon_sends(*action)),
            Operation::DaemonAnswers(error) => (daemon_had_failed, self.daemon_answers(*error)),
            Operation::DaemonCloses => (daemon_had_failed, self.daemon_closes()),
            Operation::DaemonReads => {
                let line = self.to_daemon.pop_front()?;
                (daemon_had_failed, self.daemon_reads(line))
            }
            Operation::DaemonReadsIgnoredLine(line) => {
                (daemon_had_failed, self.daemon_reads_ignored_line(line))
            }
            Operation::DaemonReadsStatus(name) => {
                let line = format!("{{\"action\":\"status\",\"responseFor\":\"{name}\"}}");
                (daemon_had_failed, self.daemon_reads(line.into_bytes()))
            }
            Operation::ChildRequestsCheckpoint(number, sub) => {
                (child_had_failed, self.child_requests_checkpoint(*number, *sub))
            }
            Operation::ChildAnswers => (child_had_failed, self.child_answers()),
            Operation::ChildReads => {
                let line = self.to_child.pop_front()?;
                (child_had_failed, self.child_reads(line))
            }
            Operation::ChildReadsInvalidLine(line) => {
                let real = outcome(&self.child.receive(&mut line.as_bytes().to_vec()));
                (child_had_failed, (real, self.child_model.update(false, |_| {})))
            }
        };
        Some((real, if had_failed { Outcome::AlreadyFailed } else { expected }))
    }

    fn daemon_closes(&mut self) -> (Outcome, Outcome) {
        let real = outcome(&self.daemon.close());
        if real == Outcome::Accepted {
            self.to_child.push_back(None);
        }
        (real, self.daemon_model.end())
    }

    fn daemon_reads_ignored_line(&mut self, line: &str) -> (Outcome, Outcome) {
        let mut line = line.as_bytes().to_vec();
        let received = self.daemon.receive(&mut line);
        let is_ignored = received.as_ref().is_ok_and(Received::is_noise);
        let real = if is_ignored { Outcome::Ignored } else { outcome(&received) };
        (real, Outcome::Ignored)
    }

    fn child_answers(&mut self) -> (Outcome, Outcome) {
        let mut out = Vec::new();
        let real = outcome(&self.child.answer(&mut out));
        self.sent_by_child(&real, out);
        let action = self.child_model.unanswered;
        (real, self.child_model.status(action))
    }

    fn daemon_sends(&mut self, action: Action) -> (Outcome, Outcome) {
        let mut out = Vec::new();
        let real = outcome(&self.daemon.send(&example(action), &mut out));
        self.sent_by_daemon(&real, out);
        (real, self.daemon_model.message(action))
    }

    fn daemon_answers(&mut self, error: Option<&str>) -> (Outcome, Outcome) {
        let error = error.map(CheckpointError::from_name);
        let mut out = Vec::new();
        let result = error.as_ref().map_or(Ok(()), Err);
        let real = outcome(&self.daemon.answer_checkpoint(result, &mut out));
        if real == Outcome::Accepted {
            // The answer repeats the numbers of the request and has the result.
            let mut line = out.clone();
            let Ok(DaemonMessage::Checkpoint(answer)) = DaemonMessage::decode(&mut line) else {
                panic!("{}", out.escape_ascii());
            };
            assert_eq!(answer.sequence_number, self.requested.0.as_deref());
            assert_eq!(answer.sub_sequence_number, self.requested.1);
            assert_eq!(answer.result().err(), error);
        }
        self.sent_by_daemon(&real, out);
        (real, self.daemon_model.checkpoint_answer())
    }

    fn daemon_reads(&mut self, mut line: Vec<u8>) -> (Outcome, Outcome) {
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let received = self.daemon.receive(&mut line);
        let real = outcome(&received);
        let expected = if json["action"] == "checkpoint" {
            let number = json["sequenceNumber"].as_str().map(str::to_owned);
            self.requested = (number, json["subSequenceNumber"].as_u64());
            self.daemon_model.request()
        } else {
            let name = json["responseFor"].as_str().unwrap();
            self.daemon_model.status(Action::from_name(name))
        };
        match received {
            Ok(Received::Checkpoint(request)) => {
                let CheckpointRequest { sequence_number, sub_sequence_number } = request;
                assert_eq!(sequence_number, self.requested.0.as_deref());
                assert_eq!(sub_sequence_number, self.requested.1);
            }
            Ok(Received::Status(action)) => assert_eq!(json["responseFor"], action.name()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
        (real, expected)
    }

    fn child_requests_checkpoint(
        &mut self,
        number: Option<u32>,
        sub: Option<u32>,
    ) -> (Outcome, Outcome) {
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

    fn child_reads(&mut self, line: Option<Vec<u8>>) -> (Outcome, Outcome) {
        let Some(line) = line else {
            return (outcome(&self.child.end_of_input()), self.child_model.end());
        };
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
        assert_eq!(
            out.pop(),
            (*real == Outcome::Accepted).then_some(b'\n'),
            "a line is written if and only if it is allowed"
        );
        if *real == Outcome::Accepted {
            self.to_child.push_back(Some(out));
        }
    }

    fn sent_by_child(&mut self, real: &Outcome, mut out: Vec<u8>) {
        assert_eq!(
            out.pop(),
            (*real == Outcome::Accepted).then_some(b'\n'),
            "a line is written if and only if it is allowed"
        );
        if *real == Outcome::Accepted {
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

    /// Random operations soon break a rule; skipping those gets much further.
    #[test]
    fn allowed_operations_agree_with_the_model_to_the_end(
        operations in vec(operation(), 0..150),
    ) {
        let mut world = World::default();
        for operation in &operations {
            let (mut child, mut daemon) = (world.child_model.clone(), world.daemon_model.clone());
            let expected = match operation {
                Operation::DaemonSends(action) => daemon.message(*action),
                Operation::DaemonAnswers(_) => daemon.checkpoint_answer(),
                Operation::DaemonCloses => daemon.end(),
                Operation::ChildRequestsCheckpoint(..) => child.request(),
                Operation::ChildAnswers => child.status(child.unanswered),
                Operation::DaemonReads | Operation::ChildReads => Outcome::Accepted,
                Operation::DaemonReadsIgnoredLine(_) if daemon.has_failed => Outcome::Rejected,
                Operation::DaemonReadsIgnoredLine(_) => Outcome::Ignored,
                Operation::DaemonReadsStatus(_) | Operation::ChildReadsInvalidLine(_) => {
                    Outcome::Rejected
                }
            };
            if expected != Outcome::Rejected {
                agree(&mut world, operation)?;
            }
        }
        // While both ends follow the rules, neither sees the other break one.
        prop_assert!(!world.child_model.has_failed && !world.daemon_model.has_failed);
    }
}
