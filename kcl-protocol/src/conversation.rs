//! The rules of who may send what when, in one transition table.
//!
//! Both sessions ask it before they do anything else, so both ends of the wire follow the same
//! rules.

use core::fmt;

use crate::{Action, DaemonMessage, Error};

/// The state of a conversation.
///
/// ```
/// use kcl_protocol::{Action, State};
/// assert_eq!(State::Busy(Action::ShardEnded).to_string(), "during shardEnded");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nothing has been sent yet.
    Start,
    /// The child is processing this message and owes its status.
    Busy(Action),
    /// The child has requested a checkpoint during this message, and the daemon owes the answer.
    Checkpointing(Action),
    /// No message is being processed; the daemon may send the next one.
    Idle,
    /// The shard's last message has been answered; only the end of input may follow.
    Ended,
    /// The daemon has closed the child's input at a time when that is allowed.
    Closed,
    /// One end broke the rules. The conversation stays in this state.
    Failed,
}

/// Something that happens in a conversation.
///
/// ```
/// use kcl_protocol::{Action, Event};
/// assert_eq!(Event::Status(Action::Initialize).to_string(), "a status for initialize");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The daemon sends a message, which the child must answer with a status.
    Message(Action),
    /// The child requests a checkpoint.
    CheckpointRequest,
    /// The daemon answers a checkpoint request.
    CheckpointAnswer,
    /// The child sends the status for this message.
    Status(Action),
    /// The daemon closes the child's input.
    EndOfInput,
}

impl State {
    /// The transition table. An event that is not in it breaks the rules.
    fn next(self, event: Event) -> Option<State> {
        use Action::{Initialize, LeaseLost, ProcessRecords, ShardEnded, Shutdown};
        Some(match (self, event) {
            (State::Start, Event::Message(Initialize)) => State::Busy(Initialize),
            (State::Idle, Event::Message(action)) if action != Initialize => State::Busy(action),

            (State::Busy(action), Event::CheckpointRequest) => State::Checkpointing(action),
            (State::Checkpointing(action), Event::CheckpointAnswer) => State::Busy(action),

            (State::Busy(action), Event::Status(answered)) if answered == action => match action {
                Initialize | ProcessRecords | Action::ShutdownRequested => State::Idle,
                LeaseLost | ShardEnded | Shutdown => State::Ended,
            },

            // If the lease is lost before `initialize`, the child sees the end of input at once.
            (State::Start | State::Idle | State::Ended, Event::EndOfInput) => State::Closed,
            _ => return None,
        })
    }
}

impl Event {
    /// Returns every event, in the order in which errors list the allowed ones.
    ///
    /// ```
    /// use kcl_protocol::{Conversation, Event};
    /// let conversation = Conversation::new();
    /// assert_eq!(Event::all().filter(|event| conversation.allows(*event)).count(), 2);
    /// ```
    pub fn all() -> impl Iterator<Item = Event> {
        let messages = Action::ALL.into_iter().map(Event::Message);
        let statuses = Action::ALL.into_iter().map(Event::Status);
        messages
            .chain([Event::CheckpointRequest, Event::CheckpointAnswer])
            .chain(statuses)
            .chain([Event::EndOfInput])
    }
}

impl From<&DaemonMessage<'_>> for Event {
    fn from(message: &DaemonMessage<'_>) -> Event {
        message.action().map_or(Event::CheckpointAnswer, Event::Message)
    }
}

/// The events that the table allows in a state, as text: `a, b or c`.
struct Allowed(State);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events = Event::all().filter(|event| self.0.next(*event).is_some()).peekable();
        let Some(first) = events.next() else { return f.write_str("nothing more") };
        first.fmt(f)?;
        while let Some(event) = events.next() {
            f.write_str(if events.peek().is_some() { ", " } else { " or " })?;
            event.fmt(f)?;
        }
        Ok(())
    }
}

/// The conversation about one shard, which both ends track in the same way.
///
/// ```
/// use kcl_protocol::{Action, Conversation, Event, State};
///
/// let mut conversation = Conversation::new();
/// conversation.apply(Event::Message(Action::Initialize))?;
/// assert_eq!(conversation.state(), State::Busy(Action::Initialize));
///
/// let violation = conversation.apply(Event::Status(Action::ShardEnded)).unwrap_err();
/// assert_eq!(
///     violation.to_string(),
///     "got a status for shardEnded during initialize; \
///      expected a checkpoint request or a status for initialize"
/// );
/// assert_eq!(conversation.state(), State::Failed);
/// # Ok::<(), kcl_protocol::Violation>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    state: State,
}

impl Default for Conversation {
    fn default() -> Self {
        Conversation::new()
    }
}

impl Conversation {
    /// Creates a conversation in which nothing has been sent yet.
    pub fn new() -> Conversation {
        Conversation { state: State::Start }
    }

    /// Returns the current state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Moves to the state that follows after the event.
    ///
    /// # Errors
    /// The table does not allow the event now. The state is [`State::Failed`] from then on.
    pub fn apply(&mut self, event: Event) -> Result<(), Violation> {
        let state = self.state;
        self.state = state.next(event).unwrap_or(State::Failed);
        if self.state == State::Failed { Err(Violation { state, event }) } else { Ok(()) }
    }

    /// Returns whether the table allows the event now.
    pub fn allows(&self, event: Event) -> bool {
        self.state.next(event).is_some()
    }

    /// Moves to [`State::Failed`] for a reason outside the table, such as a line that is not JSON.
    pub fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// Applies the event for a session. `blame` turns a violation into an error that says who broke
    /// the rules.
    pub(crate) fn apply_or(
        &mut self,
        event: Event,
        blame: fn(Violation) -> Error,
    ) -> Result<(), Error> {
        self.check_not_failed()?;
        self.apply(event).map_err(blame)
    }

    /// Returns [`Error::Failed`] after any earlier error.
    pub(crate) fn check_not_failed(&self) -> Result<(), Error> {
        if self.state == State::Failed { Err(Error::Failed) } else { Ok(()) }
    }
}

/// An event that the transition table does not allow in the current state.
///
/// ```
/// use kcl_protocol::{Conversation, Event, State};
/// let violation = Conversation::new().apply(Event::CheckpointRequest).unwrap_err();
/// assert_eq!(violation.state, State::Start);
/// assert_eq!(violation.event, Event::CheckpointRequest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("got {event} {state}; expected {}", self.expected())]
#[non_exhaustive]
pub struct Violation {
    /// The state before the event.
    pub state: State,
    /// The event.
    pub event: Event,
}

impl Violation {
    pub(crate) fn expected(&self) -> impl fmt::Display {
        Allowed(self.state)
    }
}

impl fmt::Display for State {
    /// Reads well after an event: "got leaseLost before initialize".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Start => f.write_str("before initialize"),
            State::Busy(action) => write!(f, "during {action}"),
            State::Checkpointing(action) => write!(f, "during a checkpoint in {action}"),
            State::Idle => f.write_str("between messages"),
            State::Ended => f.write_str("after the shard's last message"),
            State::Closed => f.write_str("after the end of input"),
            State::Failed => f.write_str("after an error"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Message(action) => action.fmt(f),
            Event::CheckpointRequest => f.write_str("a checkpoint request"),
            Event::CheckpointAnswer => f.write_str("a checkpoint answer"),
            Event::Status(action) => write!(f, "a status for {action}"),
            Event::EndOfInput => f.write_str("end of input"),
        }
    }
}
