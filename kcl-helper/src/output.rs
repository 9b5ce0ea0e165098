//! The one way to stdout, which is data: what a command prints is what another program reads.

use std::io::{ErrorKind, Write as _};

use crate::error::{Error, Exit, Result};

/// Prints text as it is. A reader that has gone away, such as `head`, is no failure.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Error::new(Exit::Surroundings, "stdout cannot be written").because(error))
        }
        Ok(()) => Ok(()),
    }
}

/// A list of things as JSON, for machines.
pub(crate) fn print_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|error| {
        Error::new(Exit::Surroundings, "the result cannot be written as JSON").because(error)
    })?;
    print(format!("{json}\n"))
}

/// What is said on stderr, and how much of it: `-q` leaves warnings and results, `-qq` errors only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    verbose: u8,
    quiet: u8,
}

impl Words {
    pub(crate) fn new(globals: &crate::cli::Globals) -> Words {
        Words { verbose: globals.verbose, quiet: globals.quiet }
    }

    /// What is going on.
    pub(crate) fn say(self, text: &str) {
        if self.quiet == 0 {
            tell(text);
        }
    }

    /// How it ended.
    pub(crate) fn result(self, text: &str) {
        if self.quiet < 2 {
            tell(text);
        }
    }

    /// What the user should look at, though the work goes on.
    pub(crate) fn warn(self, text: &str) {
        if self.quiet < 2 {
            tell(&format!("warning: {text}"));
        }
    }

    /// What to type, below a warning.
    pub(crate) fn hint(self, text: &str) {
        if self.quiet < 2 {
            tell(&format!("hint: {text}"));
        }
    }

    /// What only `-v` asks for.
    pub(crate) fn detail(self, text: &str) {
        if self.verbose > 0 {
            tell(text);
        }
    }

    /// Whether progress may be drawn over: bars and logs do not mix.
    pub(crate) fn draws(self) -> bool {
        self.quiet == 0 && self.verbose == 0
    }
}

/// Says it on stderr. A reader that has gone away must not end a daemon that is being looked after,
/// and the exit status says the rest. In one piece, as others may write there at the same time.
pub(crate) fn tell(text: &str) {
    let _ = anstream::stderr().write_all(format!("{text}\n").as_bytes());
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

#[cfg(test)]
mod tests {
    use super::with_commas;

    #[test]
    fn commas() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(with_commas(number), text);
        }
    }
}
