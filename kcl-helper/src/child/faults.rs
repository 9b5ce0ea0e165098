//! What goes wrong between a daemon and a child, in words that are the same under every command.
//!
//! `who` begins the message, such as `shard 0`; `what` names the message that the child was working
//! on, such as `processRecords of line 7`.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use kcl_protocol::{Action, CheckpointError, Received};

use super::process::describe;
use super::protocol::hint_at_failure;
use super::watch::Pending;
use super::wire::STDOUT_LINE_LIMIT;
use crate::error::{Error, Exit};
use crate::output::with_commas;

/// Where a child is that has nothing to do.
pub(crate) const BETWEEN: &str = "between messages";

const NO_OBJECT: &str = "not a JSON object; write text for people to stderr";
const BEHIND_TEXT: &str = "the message is lost because text without a line end precedes it; write \
                           text for people to stderr";
/// How many skipped lines of stdout are shown, and how much of each.
const SHOWN_LINES: u64 = 10;
const SHOWN_BYTES: usize = 200;

/// What went wrong with a child, or with our side of its conversation.
#[derive(Debug)]
pub(crate) struct Fault {
    /// A few words for a table.
    pub(crate) summary: String,
    /// The error to end the command with.
    pub(crate) error: Error,
    /// The last lines on stderr of a child that ended by itself.
    pub(crate) last_words: Vec<String>,
}

impl Fault {
    pub(crate) fn new(summary: impl Into<String>, error: Error) -> Fault {
        Fault { summary: summary.into(), error, last_words: vec![] }
    }

    /// Adds a hint, unless there is one.
    pub(crate) fn hint_if_none(mut self, hint: Option<String>) -> Fault {
        if let Some(hint) = hint.filter(|_| self.error.hint_text().is_none()) {
            self.error = self.error.hint(hint);
        }
        self
    }

    pub(crate) fn broke_the_protocol(who: &str, what: &str, broken: &kcl_protocol::Error) -> Fault {
        let text = format!(
            "broke the protocol {}: {broken}; the real daemon would stop all shards of its worker \
             and exit 1",
            during(what)
        );
        let hint = "answer each message once, with a status whose responseFor is its action";
        Fault::new("broke the protocol", error(who, Exit::Protocol, &text).hint(hint))
    }

    pub(crate) fn endless_line(who: &str, what: &str) -> Fault {
        let text = format!(
            "wrote more than {} MiB to stdout without ending the line, {}; the real daemon has no \
             limit and would fill its memory",
            STDOUT_LINE_LIMIT >> 20,
            during(what)
        );
        Fault::new("endless line", error(who, Exit::Protocol, &text))
    }

    pub(crate) fn unreadable_stdout(who: &str, why: &str) -> Fault {
        let error = Error::new(Exit::Environment, format!("{who}: cannot read the child's stdout"));
        Fault::new("unreadable", error.because(why))
    }

    /// The child has ended, or has closed a pipe: `how`. `stranger` is its program's name if it never
    /// wrote a message.
    pub(crate) fn gone(who: &str, how: &str, what: &str, stranger: Option<&str>) -> Fault {
        let text = format!(
            "{how} {}; the real daemon would stop all shards of its worker and exit 1",
            during(what)
        );
        let mut error = error(who, Exit::Failed, &text);
        if let Some(program) = stranger {
            error = error.hint(format!(
                "is `{program}` a record processor? It must read messages on stdin and answer each \
                 on stdout, until stdin ends"
            ));
        }
        Fault::new(how, error)
    }

    pub(crate) fn did_not_exit(who: &str, after: Duration) -> Fault {
        let text = format!(
            "was still running {} after its stdin was closed; the real daemon would wait forever",
            in_seconds(after)
        );
        let error = error(who, Exit::Failed, &text).hint("end the program when stdin ends");
        Fault::new("did not exit", error)
    }

    pub(crate) fn cannot_be_killed(who: &str) -> Fault {
        let text = "cannot be killed: it waits for the system, such as for a disk or a file server";
        Fault::new("cannot be killed", error(who, Exit::Environment, text))
    }

    pub(crate) fn no_answer(who: &str, action: Action, after: Duration) -> Fault {
        let text = format!("gave no answer to {action} for {}", in_seconds(after));
        let error = error(who, Exit::Failed, &text);
        Fault::new("no answer", error.hint("raise --answer-timeout if the child needs longer"))
    }

    pub(crate) fn no_shard_end(who: &str, action: Action) -> Fault {
        let text = format!(
            "answered {action} without a checkpoint at the end of the shard; with the real daemon the \
             child shards would not start"
        );
        let error = error(who, Exit::Failed, &text)
            .hint(format!("checkpoint without numbers in {action}, before its status"));
        Fault::new("no shard end", error)
    }

    pub(crate) fn wrong_sums(who: &str, said: &str, right: &str) -> Fault {
        let text =
            format!("{who}: the child's sums are wrong: {said:?}, but it was given {right:?}");
        let error = Error::new(Exit::Failed, text).hint(
            "look for records that were lost, repeated or changed; there are no figures because of \
             them",
        );
        Fault::new("wrong sums", error)
    }

    /// Our own mistake.
    pub(crate) fn bug(error: &dyn std::fmt::Display) -> Fault {
        Fault::new("our bug", Error::new(Exit::Bug, format!("kcl-helper is at fault: {error}")))
    }
}

fn error(who: &str, exit: Exit, text: &str) -> Error {
    Error::new(exit, format!("{who}: the child {text}"))
}

fn during(what: &str) -> String {
    if what == BETWEEN { what.to_owned() } else { format!("during {what}") }
}

/// The warning about a wrong status for shutdownRequested, if this error is no more than that. A second
/// status for a batch is more, as elsewhere it would answer the next batch.
pub(crate) fn wrong_goodbye(broken: &kcl_protocol::Error) -> Option<String> {
    match broken {
        kcl_protocol::Error::WrongStatus { expected: Some(Action::ShutdownRequested), got }
            if *got != Action::ProcessRecords.to_string() =>
        {
            Some(format!("the child broke the protocol: {broken}, which the real daemon only logs"))
        }
        _ => None,
    }
}

/// The checkpoint error that options call by this name.
pub(crate) fn checkpoint_error(name: &str) -> Option<CheckpointError> {
    match name {
        "throttled" => Some(CheckpointError::Throttling),
        "dependency" => Some(CheckpointError::Dependency),
        "invalid-state" => Some(CheckpointError::InvalidState),
        "shutdown" => Some(CheckpointError::Shutdown),
        "illegal-argument" => Some(CheckpointError::IllegalArgument),
        _ => None,
    }
}

/// After a proper end, a status that is not 0.
pub(crate) fn bad_status(status: ExitStatus) -> String {
    format!(
        "the child ended with {} after a proper end, which the real daemon would only log",
        describe(status)
    )
}

/// A process that the child started keeps the child's pipes open.
pub(crate) const HELD_PIPES: &str = "the child has ended, but a process that it started still holds its stdout or stderr, for which \
     the real daemon would wait; killing its process group";

/// Lines of stdout that are not messages. The first few are shown, the rest is counted.
#[derive(Debug, Default)]
pub(crate) struct SkippedLines(u64);

/// The beginning of a line of stdout, copied before the line is decoded in place.
#[derive(Debug)]
pub(crate) struct LinePreview {
    shown: [u8; SHOWN_BYTES],
    length: usize,
}

impl LinePreview {
    pub(crate) fn new(line: &[u8]) -> LinePreview {
        let mut shown = [0; SHOWN_BYTES];
        let start = line.len().min(SHOWN_BYTES);
        shown[..start].copy_from_slice(&line[..start]);
        LinePreview { shown, length: line.len() }
    }
}

impl SkippedLines {
    /// Counts a line that is not a child's message, and returns the warning about it, if it is one
    /// of those to be shown.
    pub(crate) fn warning(
        &mut self,
        line: &LinePreview,
        received: &Received<'_>,
    ) -> Option<String> {
        let shown = &line.shown[..line.length.min(SHOWN_BYTES)];
        let reason = match received {
            Received::Skipped(error) if shown.trim_ascii_start().starts_with(b"{") => {
                error.to_string()
            }
            Received::Skipped(_) if memchr::memmem::find(shown, b"{\"action\"").is_some() => {
                BEHIND_TEXT.into()
            }
            Received::Skipped(_) => NO_OBJECT.into(),
            Received::Ignored { action } => {
                format!("{action} is a message of the daemon; does the child echo its stdin?")
            }
            _ => return None,
        };
        self.0 += 1;
        (self.0 <= SHOWN_LINES).then(|| {
            let more = if line.length > shown.len() { "…" } else { "" };
            format!(
                "skipped a line on stdout that is not a message: {}{more} ({reason})",
                String::from_utf8_lossy(shown)
            )
        })
    }

    /// Returns the warning about the lines that were not shown.
    pub(crate) fn rest(&self) -> Option<String> {
        let more = self.0.saturating_sub(SHOWN_LINES);
        let are = if more == 1 {
            "line on stdout that is not a message"
        } else {
            "lines on stdout that are not messages"
        };
        (more > 0).then(|| format!("skipped {} more {are}", with_commas(more)))
    }
}

/// Decides when to warn about a child that does not answer.
#[derive(Debug)]
pub(crate) struct Silence {
    patience: Duration,
    /// Since the child last wrote something.
    silent: Reminder,
    /// Since the message was sent, whatever the child wrote.
    unanswered: Reminder,
}

impl Silence {
    pub(crate) fn new(patience: Duration) -> Silence {
        let reminder = Reminder { since: None, due: patience };
        Silence { patience, silent: reminder, unanswered: reminder }
    }

    /// Returns the next warning that is due while this message waits for its answer.
    pub(crate) fn next_warning(&mut self, pending: &Pending) -> Option<String> {
        let Pending { action, sent, heard, checkpoints } = *pending;
        if let Some(time) = self.silent.due(heard, self.patience) {
            let hint = hint_at_failure(action).map_or(String::new(), |hint| format!("; {hint}"));
            return Some(format!(
                "no answer to {action} for {time}; the real daemon would wait forever \
                 (timeoutInSeconds is unset){hint}"
            ));
        }
        // A child that requests checkpoints is not silent, but may never come to an end.
        let time = self.unanswered.due(sent, self.patience).filter(|_| checkpoints > 0)?;
        Some(format!(
            "no answer to {action} for {time}, but {} checkpoint requests; the real daemon would \
             answer them forever",
            with_commas(checkpoints)
        ))
    }
}

/// Is due after the patience, after twice that, four times, …
#[derive(Debug, Clone, Copy)]
struct Reminder {
    since: Option<Instant>,
    due: Duration,
}

impl Reminder {
    /// Returns the time that has passed, if it is due.
    fn due(&mut self, since: Instant, patience: Duration) -> Option<String> {
        if self.since != Some(since) {
            *self = Reminder { since: Some(since), due: patience };
        }
        if since.elapsed() < self.due {
            return None;
        }
        let passed = in_seconds(self.due);
        self.due *= 2;
        Some(passed)
    }
}

fn in_seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}
