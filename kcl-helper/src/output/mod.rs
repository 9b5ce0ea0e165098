//! The one way out: words for people on stderr, data on stdout.
//!
//! Whatever is written is escaped here by the rule of [`text`](crate::text), so no caller has to
//! think of it. What is given as a line is one line; only [`Styled`] has lines and colours of its
//! own.

mod styled;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::text::{escape_json, push_escaped};
pub(crate) use styled::Styled;

/// Who speaks to the user, and writes what a command yields. Clones speak to the same streams.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    verbose: u8,
    quiet: u8,
    colour: anstream::ColorChoice,
    screen: Arc<Mutex<Screen>>,
}

/// stdout takes no more.
#[derive(Debug, thiserror::Error)]
#[error("stdout cannot be written")]
pub(crate) struct StdoutError(#[from] pub(crate) io::Error);

impl Reporter {
    pub(crate) fn new() -> Reporter {
        Reporter {
            verbose: 0,
            quiet: 0,
            colour: anstream::ColorChoice::Auto,
            screen: Arc::default(),
        }
    }

    /// The same, with the counts of `-v` and `-q`: `-q` leaves warnings and results, `-qq` errors
    /// only. A colour of `Auto` looks at NO_COLOR, CLICOLOR_FORCE and the terminal.
    pub(crate) fn with(&self, verbose: u8, quiet: u8, colour: anstream::ColorChoice) -> Reporter {
        Reporter { verbose, quiet, colour, screen: self.screen.clone() }
    }

    /// What is going on.
    pub(crate) fn say(&self, text: &str) {
        if self.quiet == 0 {
            self.line("", text);
        }
    }

    /// How it ended, and what `-q` must not hide.
    pub(crate) fn result(&self, text: &str) {
        if self.quiet < 2 {
            self.line("", text);
        }
    }

    /// What the user should look at, though the work goes on.
    pub(crate) fn warn(&self, text: &str) {
        if self.quiet < 2 {
            self.line("warning: ", text);
        }
    }

    /// What to type, below a warning.
    pub(crate) fn hint(&self, text: &str) {
        if self.quiet < 2 {
            self.line("hint: ", text);
        }
    }

    /// What only `-v` asks for.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.line("", text);
        }
    }

    /// Why the command failed: a line with the whole chain of causes, and what to type next.
    pub(crate) fn error(&self, error: &dyn StdError, hint: Option<&str>) {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {cause}");
            source = cause.source();
        }
        self.line("error: ", &line);
        if let Some(hint) = hint {
            self.line("hint: ", hint);
        }
    }

    /// Lines that a shard's child wrote to its stderr.
    pub(crate) fn child(&self, shard: u32, lines: &[String]) {
        let mut text = String::new();
        for line in lines {
            // Writing to a String cannot fail.
            let _ = write!(text, "shard {shard} | ");
            push_escaped(&mut text, line);
            text.push('\n');
        }
        self.write(&text);
    }

    /// The last of them, where a child has ended by itself.
    pub(crate) fn last_words(&self, who: &str, shard: u32, lines: &[String]) {
        if !lines.is_empty() {
            self.result(&format!("{who}: its last words on stderr:"));
        }
        for line in lines {
            self.result(&format!("shard {shard} | {line}"));
        }
    }

    /// What was found in a file.
    pub(crate) fn report(&self, findings: &Styled) {
        let text = findings.to_text(self.has_colours(&io::stderr()));
        self.write(&text);
    }

    /// Asks on stderr; the answer is typed on the same line.
    pub(crate) fn ask(&self, question: &str) {
        let mut text = String::new();
        push_escaped(&mut text, question);
        text.push(' ');
        self.write(&text);
    }

    /// Ends the line of a question that nobody has answered.
    pub(crate) fn end_question(&self) {
        self.write("\n");
    }

    /// Whether somebody can read what is asked, and answer on the same terminal.
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

    /// Whether there is a terminal for [`show`](Self::show).
    pub(crate) fn has_screen(&self) -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        !is_dumb && io::stderr().is_terminal()
    }

    /// Shows how far the work is in lines below all others, in place of those that were shown
    /// before.
    pub(crate) fn show(&self, lines: Vec<String>) {
        let mut screen = self.screen();
        screen.shown = lines;
        screen.write("");
    }

    /// Prints a line of data for each of these.
    pub(crate) fn print_lines(
        &self,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), StdoutError> {
        let mut text = String::new();
        for line in lines {
            push_escaped(&mut text, line.as_ref());
            text.push('\n');
        }
        self.print(text.as_bytes())
    }

    pub(crate) fn print_styled(&self, text: &Styled) -> Result<(), StdoutError> {
        self.print(text.to_text(self.has_colours(&io::stdout())).as_bytes())
    }

    /// A value as JSON over several lines.
    pub(crate) fn print_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), StdoutError> {
        let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.print(format!("{}\n", escape_json(&json)).as_bytes())
    }

    /// A value as JSON on one line.
    pub(crate) fn print_json_line(&self, value: &impl Serialize) -> Result<(), StdoutError> {
        let json = serde_json::to_string(value).map_err(io::Error::from)?;
        self.print(format!("{}\n", escape_json(&json)).as_bytes())
    }

    /// An array with one element on each line: for JSON readers and for line tools.
    pub(crate) fn print_json_lines(
        &self,
        elements: impl Iterator<Item = impl Serialize>,
    ) -> Result<(), StdoutError> {
        let lines = elements.map(|element| serde_json::to_string(&element));
        let lines: Vec<String> = lines.collect::<Result<_, _>>().map_err(io::Error::from)?;
        let json = match lines.is_empty() {
            true => "[]\n".to_owned(),
            false => format!("[\n{}\n]\n", lines.join(",\n")),
        };
        self.print(escape_json(&json).as_bytes())
    }

    /// A line that must reach another program to the byte. A terminal gets it escaped.
    pub(crate) fn print_exact(&self, line: &[u8]) -> Result<(), StdoutError> {
        if io::stdout().is_terminal() {
            return self.print_lines([String::from_utf8_lossy(line)]);
        }
        self.print(&[line, b"\n"].concat())
    }

    /// A reader that has gone away, such as `head`, is no failure.
    fn print(&self, text: &[u8]) -> Result<(), StdoutError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    fn has_colours(&self, stream: &impl anstream::stream::RawStream) -> bool {
        match self.colour {
            anstream::ColorChoice::Auto => {
                anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
            }
            choice => choice != anstream::ColorChoice::Never,
        }
    }

    fn line(&self, before: &str, text: &str) {
        let mut line = String::from(before);
        push_escaped(&mut line, text);
        line.push('\n');
        self.write(&line);
    }

    /// Whole lines, already escaped.
    fn write(&self, text: &str) {
        self.screen().write(text);
    }

    fn screen(&self) -> std::sync::MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands on the terminal below all lines.
#[derive(Debug, Default)]
struct Screen {
    /// What is to be shown.
    shown: Vec<String>,
    /// How many lines are.
    drawn: usize,
}

impl Screen {
    /// Whole lines, above what is shown.
    fn write(&mut self, text: &str) {
        let mut all = String::new();
        if self.drawn > 0 {
            // Up to its first line, and all below that away.
            let _ = write!(all, "\x1b[{}A\r\x1b[J", self.drawn);
        }
        all.push_str(text);
        for line in &self.shown {
            push_escaped(&mut all, line);
            all.push('\n');
        }
        self.drawn = self.shown.len();
        // A reader that has gone away must not end a daemon that is being looked after, and the
        // exit status says the rest.
        let _ = io::stderr().write_all(all.as_bytes());
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much of the whole the part is, as a bar.
pub(crate) fn bar(part: u64, whole: u64) -> String {
    const WIDTH: usize = 30;
    let filled = WIDTH * percent(part, whole) as usize / 100;
    format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled))
}

/// How much of the whole the part is; all of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    let part = u128::from(part.min(whole));
    // It is at most 100.
    (part * 100).checked_div(whole.into()).map_or(100, |percent| percent as u64)
}

#[cfg(test)]
mod tests {
    use super::{bar, percent, with_commas};

    #[test]
    fn parts_of_a_whole() {
        for (part, whole, expected) in [
            (0, 7, 0),
            (1, 3, 33),
            (3, 3, 100),
            (9, 3, 100),
            (0, 0, 100),
            (u64::MAX, u64::MAX, 100),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
        assert_eq!(bar(1, 2), "███████████████░░░░░░░░░░░░░░░");
    }

    #[test]
    fn commas() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(with_commas(number), text);
        }
    }
}
