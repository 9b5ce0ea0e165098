//! Reads words from the command line, or from stdin line by line as they arrive.

use std::io::{self, BufRead, BufReader, Read};

use tokio::sync::mpsc;

use crate::outbox::{LARGEST_RECORD, Word};

/// Words in order, or why a line of stdin is not a word.
pub(crate) struct Words(mpsc::Receiver<Result<Word, String>>);

impl Words {
    /// Reads stdin in a thread that may outlive the run, as a read from a terminal cannot be cancelled.
    pub(crate) fn from_stdin() -> Words {
        let (sender, receiver) = mpsc::channel(1_000);
        std::thread::spawn(move || read(io::stdin(), |line| sender.blocking_send(line).is_ok()));
        Words(receiver)
    }

    /// Returns the next word, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Word, String>> {
        self.0.recv().await
    }

    /// Returns the next word if it is available already.
    pub(crate) fn next_now(&mut self) -> Option<Result<Word, String>> {
        self.0.try_recv().ok()
    }
}

/// Splits the input into words, one per line, trimmed; skips blank lines. Ends at the end of input, or
/// when `give` returns false.
fn read(input: impl Read, mut give: impl FnMut(Result<Word, String>) -> bool) {
    let longest = LARGEST_RECORD as u64 + 2;
    let mut input = BufReader::new(input);
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = (&mut input).take(longest).read_until(b'\n', &mut line);
        let cut = line.len() as u64 == longest && !line.ends_with(b"\n");
        let word = match read {
            Ok(0) => return,
            Ok(_) if cut => match input.skip_until(b'\n') {
                Ok(_) => Err(format!("line {number} of stdin: longer than {LARGEST_RECORD} bytes")),
                Err(error) => Err(format!("line {number} of stdin: {error}")),
            },
            Ok(_) => match String::from_utf8(line) {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => {
                    Word::new(line.trim()).map_err(|why| format!("line {number} of stdin: {why}"))
                }
                Err(_) => Err(format!("line {number} of stdin: not UTF-8")),
            },
            Err(error) => {
                give(Err(format!("line {number} of stdin: {error}")));
                return;
            }
        };
        if !give(word) {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use super::*;

    fn words(input: &[u8]) -> Vec<Result<String, String>> {
        let mut words = Vec::new();
        read(input, |word| {
            words.push(word.map(|word| word.as_str().to_owned()));
            true
        });
        words
    }

    #[test]
    fn a_word_a_line_without_blanks_around_it() {
        let cat_dog = [Ok("cat".to_owned()), Ok("a dog".to_owned())];
        assert_eq!(words(b" cat\r\n\n \t\na dog"), cat_dog);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_no_word_is_named_and_the_next_one_is_read() {
        let mut input = b"cat\n\xff\n".to_vec();
        input.resize(input.len() + 2 * LARGEST_RECORD, b'x');
        input.extend(b"\ndog\n");
        let expected = [
            Ok("cat".to_owned()),
            Err("line 2 of stdin: not UTF-8".to_owned()),
            Err("line 3 of stdin: longer than 10485760 bytes".to_owned()),
            Ok("dog".to_owned()),
        ];
        assert_eq!(words(&input), expected);
    }
}
