//! All output: messages on stderr, data on stdout.
//!
//! Everything is escaped here by the rule in [`text`](crate::text), so a caller cannot forget it. A text
//! stays on one line; only [`Styled`] can contain line ends and colours.

#![allow(clippy::disallowed_methods, reason = "only this module writes to stdout and stderr")]

mod numbers;
mod queue;
mod styled;
mod writer;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Exit};
use crate::text::{escape, json, json_pretty, push_escaped};
pub(crate) use numbers::{bar, count, percent, with_commas};
use queue::Kind;
pub(crate) use styled::Styled;
use writer::Writer;

/// The longest that a supervising thread waits for stderr.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// Writes messages to stderr and data to stdout. Clones share the streams.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    verbose: u8,
    quiet: u8,
    colour: anstream::ColorChoice,
    writer: Writer,
}

/// Writing to stdout failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
pub(crate) struct StdoutError(#[from] pub(crate) io::Error);

impl From<StdoutError> for Error {
    fn from(error: StdoutError) -> Error {
        let StdoutError(cause) = error;
        Error::new(Exit::Environment, "cannot write to stdout").because(cause)
    }
}

impl Reporter {
    pub(crate) fn new() -> Reporter {
        Reporter {
            verbose: 0,
            quiet: 0,
            colour: anstream::ColorChoice::Auto,
            writer: Writer::new(),
        }
    }

    /// Returns a clone with the counts of `-v` and `-q`: `-q` shows only warnings, results and errors, `-qq`
    /// only errors. The colour `Auto` depends on NO_COLOR, CLICOLOR_FORCE and the terminal.
    pub(crate) fn with(&self, verbose: u8, quiet: u8, colour: anstream::ColorChoice) -> Reporter {
        Reporter { verbose, quiet, colour, writer: self.writer.clone() }
    }

    /// Reports what the command is doing.
    pub(crate) fn say(&self, text: &str) {
        if self.quiet == 0 {
            self.line(Kind::Message, "", text);
        }
    }

    /// Reports a result, or anything else that `-q` must not hide.
    pub(crate) fn result(&self, text: &str) {
        if self.quiet < 2 {
            self.line(Kind::Result, "", text);
        }
    }

    /// Reports a problem that does not stop the command.
    pub(crate) fn warn(&self, text: &str) {
        if self.quiet < 2 {
            self.line(Kind::Message, "warning: ", text);
        }
    }

    /// Reports what to do about the warning before.
    pub(crate) fn hint(&self, text: &str) {
        if self.quiet < 2 {
            self.line(Kind::Message, "hint: ", text);
        }
    }

    /// Reports what only `-v` shows.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.line(Kind::Message, "", text);
        }
    }

    /// Reports why the command failed: the error with its chain of causes, and what to do next.
    pub(crate) fn error(&self, error: &Error) {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {cause}");
            source = cause.source();
        }
        self.line(Kind::Error, "error: ", &line);
        if let Some(hint) = error.hint_text() {
            self.line(Kind::Error, "hint: ", hint);
        }
    }

    /// Shows lines that a shard's child wrote to its stderr. While children are supervised this waits
    /// for a slow reader, and with that makes the child wait.
    pub(crate) fn child(&self, shard: u32, lines: &[String]) {
        let mut text = String::new();
        for line in lines {
            // Writing to a String cannot fail.
            let _ = write!(text, "shard {shard} | ");
            push_escaped(&mut text, line);
            text.push('\n');
        }
        self.writer.write(Kind::Child, &text);
    }

    /// Shows the last lines of a child that ended unexpectedly.
    pub(crate) fn last_words(&self, who: &str, shard: u32, lines: &[String]) {
        if !lines.is_empty() {
            self.result(&format!("{who}: its last words on stderr:"));
        }
        for line in lines {
            self.result(&format!("shard {shard} | {line}"));
        }
    }

    /// Shows the findings for a file.
    pub(crate) fn report(&self, findings: &Styled) {
        let text = findings.to_text(self.has_colours(&io::stderr()));
        self.writer.write(Kind::Result, &text);
    }

    /// Asks a question on stderr, and leaves the cursor after it.
    pub(crate) fn ask(&self, question: &str) {
        let mut text = String::new();
        push_escaped(&mut text, question);
        text.push(' ');
        self.writer.write(Kind::Result, &text);
    }

    /// Ends the line of a question that got no answer.
    pub(crate) fn end_question(&self) {
        self.writer.write(Kind::Result, "\n");
    }

    /// Reports panics here from now on, with a backtrace if RUST_BACKTRACE asks for one.
    pub(crate) fn report_panics(&self) {
        let reporter = self.clone();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("without a name");
            let place = info.location().map_or(String::new(), |place| format!(" at {place}"));
            let message = info.payload().downcast_ref().copied();
            let message = message.or_else(|| info.payload().downcast_ref().map(String::as_str));
            let message = message.unwrap_or("no message");
            let text = format!("thread {thread} panicked{place}: {message}");
            reporter.line(Kind::Error, "", &text);
            let backtrace = std::backtrace::Backtrace::capture();
            if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
                let frames = backtrace.to_string();
                frames.lines().for_each(|frame| reporter.line(Kind::Error, "", frame));
            }
            // The process is about to end.
            if thread == "main" {
                reporter.flush();
            }
        }));
    }

    /// Callers no longer wait for stderr, because they supervise children from now on. Messages that do not
    /// fit into the queue are dropped and counted. Only [`child`](Self::child) still waits.
    pub(crate) fn supervise(&self) {
        self.writer.supervise();
    }

    /// No caller waits any longer for readers that do not read, because the process must end.
    pub(crate) fn stop(&self) {
        self.writer.stop();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.writer.is_stopping()
    }

    /// Waits until everything is written. After [`supervise`](Self::supervise), it waits only as long as
    /// somebody reads; before, a signal can end us.
    pub(crate) fn flush(&self) {
        self.writer.flush();
    }

    /// Waits a moment until messages are written, before another program writes to our stderr.
    pub(crate) fn settle(&self) {
        self.writer.flush_within(SETTLE_TIME);
    }

    /// Ends the process with this status. May be called from any thread.
    pub(crate) fn exit(&self, status: i32) -> ! {
        self.flush();
        std::process::exit(status)
    }

    /// Whether there is a terminal to ask on.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Whether `-q` was given.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// Whether `-v` was given.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Whether `-vv` was given.
    pub(crate) fn shows_everything(&self) -> bool {
        self.verbose > 1
    }

    /// Whether there is a terminal for [`show`](Self::show).
    pub(crate) fn has_screen(&self) -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        !is_dumb && io::stderr().is_terminal()
    }

    /// Shows lines of progress below all messages, instead of the ones shown before.
    pub(crate) fn show(&self, lines: Vec<String>) {
        let escaped = lines.iter().map(|line| escape(line).into_owned()).collect();
        self.writer.show(escaped);
    }

    /// Prints each of these as a line.
    pub(crate) fn print_lines(
        &self,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), StdoutError> {
        let mut text = String::new();
        for line in lines {
            push_escaped(&mut text, line.as_ref());
            text.push('\n');
        }
        self.print(text.into_bytes())
    }

    pub(crate) fn print_styled(&self, text: &Styled) -> Result<(), StdoutError> {
        self.print(text.to_text(self.has_colours(&io::stdout())).into_bytes())
    }

    /// Prints a value as indented JSON.
    pub(crate) fn print_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), StdoutError> {
        let json = json_pretty(value).map_err(io::Error::from)?;
        self.print(format!("{json}\n").into_bytes())
    }

    /// Prints a value as JSON on one line.
    pub(crate) fn print_json_line(&self, value: &impl Serialize) -> Result<(), StdoutError> {
        let json = json(value).map_err(io::Error::from)?;
        self.print(format!("{json}\n").into_bytes())
    }

    /// Prints a JSON array with one element a line, for JSON parsers and line tools alike.
    pub(crate) fn print_json_lines(
        &self,
        elements: impl Iterator<Item = impl Serialize>,
    ) -> Result<(), StdoutError> {
        let lines = elements.map(|element| json(&element));
        let lines: Vec<String> = lines.collect::<Result<_, _>>().map_err(io::Error::from)?;
        let json = match lines.is_empty() {
            true => "[]\n".to_owned(),
            false => format!("[\n{}\n]\n", lines.join(",\n")),
        };
        self.print(json.into_bytes())
    }

    /// Prints a line without escaping it, for another program. Only a terminal gets it escaped.
    pub(crate) fn print_exact(&self, line: &[u8]) -> Result<(), StdoutError> {
        if io::stdout().is_terminal() {
            return self.print_lines([String::from_utf8_lossy(line)]);
        }
        self.print([line, b"\n"].concat())
    }

    fn print(&self, text: Vec<u8>) -> Result<(), StdoutError> {
        Ok(self.writer.print(text)?)
    }

    fn has_colours(&self, stream: &impl anstream::stream::RawStream) -> bool {
        match self.colour {
            anstream::ColorChoice::Auto => {
                anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
            }
            choice => choice != anstream::ColorChoice::Never,
        }
    }

    fn line(&self, kind: Kind, before: &str, text: &str) {
        let mut line = String::from(before);
        push_escaped(&mut line, text);
        line.push('\n');
        self.writer.write(kind, &line);
    }
}

/// Returns our stdout, for another program's bytes, which pass through unchanged.
pub(crate) fn stdout_of_another() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// Returns our stderr, for another program's bytes, which pass through unchanged.
pub(crate) fn stderr_of_another() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}
