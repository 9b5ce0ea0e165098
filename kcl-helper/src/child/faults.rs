//! What goes wrong between a daemon and a child, in words that are the same under every command.
//!
//! `who` is what the words begin with, such as `shard 0`; `what` is the message that the child was
//! at, such as `processRecords of line 7`.

use std::time::{Duration, Instant};

use kcl_protocol::{Action, Received};

use super::STDOUT_LINE_LIMIT;
use crate::error::{Error, Exit};
use crate::output::with_commas;

/// How long to wait for what follows at once where nothing is wrong: the exit status of a child
/// whose pipes have closed, or the end of pipes whose child has exited.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// Where a child is that has nothing to do.
pub(crate) const BETWEEN: &str = "between messages";

const NO_OBJECT: &str = "not a JSON object; words for people belong on stderr";
const BEHIND_WORDS: &str = "a message is lost behind words that lack their line's end; words for \
                            people belong on stderr";
/// How many lines of stdout that are no messages are shown, and how much of each.
const SHOWN_LINES: u64 = 10;
const SHOWN_BYTES: usize = 200;

pub(crate) fn error(who: &str, exit: Exit, text: &str) -> Error {
    Error::new(exit, format!("{who}: the child {text}"))
}

pub(crate) fn broke_the_protocol(who: &str, what: &str, broken: &kcl_protocol::Error) -> Error {
    let text = format!(
        "broke the protocol at {what}: {broken}; the real daemon would stop all shards of its \
         worker and exit 1"
    );
    let hint = "each message is answered once, by a status whose responseFor is its action";
    error(who, Exit::Protocol, &text).hint(hint)
}

pub(crate) fn endless_line(who: &str, what: &str) -> Error {
    let text = format!(
        "wrote more than {} MiB to stdout without ending the line, at {what}; the real daemon has \
         no limit and would fill its memory",
        STDOUT_LINE_LIMIT >> 20
    );
    error(who, Exit::Protocol, &text)
}

pub(crate) fn unreadable_stdout(who: &str, why: &str) -> Error {
    error(who, Exit::Environment, &format!("its stdout cannot be read: {why}"))
}

/// The child has ended, or has closed a pipe: `how`. `stranger` is its program's name if it never
/// said anything that is a message.
pub(crate) fn gone(who: &str, how: &str, what: &str, stranger: Option<&str>) -> Error {
    let at = if what == BETWEEN { what.to_owned() } else { format!("at {what}") };
    let text =
        format!("{how} {at}; the real daemon would stop all shards of its worker and exit 1");
    let error = error(who, Exit::Failed, &text);
    match stranger {
        None => error,
        Some(program) => error.hint(format!(
            "is `{program}` a record processor? It must read messages on stdin and answer each on \
             stdout, until stdin ends"
        )),
    }
}

pub(crate) fn did_not_exit(who: &str, after: Duration) -> Error {
    let text = format!(
        "still ran {} after its stdin was closed; the real daemon would wait for ever",
        in_seconds(after)
    );
    error(who, Exit::Failed, &text).hint("the end of stdin must end the program")
}

pub(crate) fn cannot_be_killed(who: &str) -> Error {
    let text = "cannot be killed: it waits for the system, such as for a disk or a file server";
    error(who, Exit::Environment, text)
}

/// After a proper end, a status that is not 0.
pub(crate) fn bad_status(status: std::process::ExitStatus) -> String {
    format!(
        "the child ended with {} after a proper end, which the real daemon would only log",
        super::describe(status)
    )
}

pub(crate) fn silent(action: Action, silent: &str) -> String {
    format!(
        "no answer to {action} for {silent}; the real daemon would wait for ever \
         (timeoutInSeconds is unset)"
    )
}

/// The child is busy, but not with the message: it asks for checkpoints.
pub(crate) fn only_checkpoints(action: Action, time: &str, checkpoints: u64) -> String {
    format!(
        "no answer to {action} for {time}, but {} checkpoints were asked for; the real daemon would \
         answer them for ever",
        with_commas(checkpoints)
    )
}

/// Lines of stdout that are no messages, of which the first few are shown.
#[derive(Debug, Default)]
pub(crate) struct Skipped(u64);

/// A line of stdout, before it is read in place.
#[derive(Debug)]
pub(crate) struct Heard {
    shown: [u8; SHOWN_BYTES],
    length: usize,
}

impl Heard {
    pub(crate) fn new(line: &[u8]) -> Heard {
        let mut shown = [0; SHOWN_BYTES];
        let start = line.len().min(SHOWN_BYTES);
        shown[..start].copy_from_slice(&line[..start]);
        Heard { shown, length: line.len() }
    }
}

impl Skipped {
    /// What to say of a line that turned out to be no message of a child, if it is to be said.
    pub(crate) fn line(&mut self, heard: &Heard, received: &Received<'_>) -> Option<String> {
        let shown = &heard.shown[..heard.length.min(SHOWN_BYTES)];
        let reason = match received {
            Received::Skipped(error) if shown.trim_ascii_start().starts_with(b"{") => {
                error.to_string()
            }
            Received::Skipped(_) if memchr::memmem::find(shown, b"{\"action\"").is_some() => {
                BEHIND_WORDS.into()
            }
            Received::Skipped(_) => NO_OBJECT.into(),
            Received::Ignored { action } => {
                format!("{action} is for the daemon to say; does it echo its stdin?")
            }
            _ => return None,
        };
        self.0 += 1;
        (self.0 <= SHOWN_LINES).then(|| {
            let more = if heard.length > shown.len() { "…" } else { "" };
            format!(
                "skipped a line on stdout that is no message: {}{more} ({reason})",
                String::from_utf8_lossy(shown)
            )
        })
    }

    /// What to say at the end of those that were not shown.
    pub(crate) fn rest(&self) -> Option<String> {
        let more = self.0.saturating_sub(SHOWN_LINES);
        let lines = if more == 1 { "line" } else { "lines" };
        let that = if more == 1 { "that is no message" } else { "that are no messages" };
        (more > 0).then(|| format!("skipped {} more {lines} on stdout {that}", with_commas(more)))
    }
}

/// Says when a child has been silent for the patience, twice that, four times, …
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    patience: Duration,
    said: Duration,
    pub(crate) next: Instant,
}

impl Silence {
    pub(crate) fn since(since: Instant, patience: Duration) -> Silence {
        Silence { since, patience, said: patience, next: since + patience }
    }

    /// Takes it that the silence began then; what was said of an earlier one is past.
    pub(crate) fn follow(&mut self, since: Instant, patience: Duration) {
        if self.since != since {
            *self = Silence::since(since, patience);
        }
    }

    /// The time to be said now.
    pub(crate) fn news(&mut self) -> Option<String> {
        if Instant::now() < self.next {
            return None;
        }
        let silent = in_seconds(self.said);
        self.said *= 2;
        self.next = self.since + self.said;
        Some(silent)
    }

    /// The child has said something.
    pub(crate) fn end(&mut self) {
        *self = Silence::since(Instant::now(), self.patience);
    }
}

pub(crate) fn in_seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}
