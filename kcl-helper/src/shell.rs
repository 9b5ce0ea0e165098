//! Command lines as text: words quoted for a shell.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::text::is_harmful;

/// Words as one line, for a shell or for eyes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Whether any word had to be quoted, so that back-ticks would take the line apart.
    pub(crate) quoted: bool,
}

/// One line that a shell reads back as these words, quoted only where it must be. Any POSIX shell
/// does, unless a word has bytes that must not reach a terminal as they are: those need `$'…'`, which
/// bash, zsh and ksh know.
pub(crate) fn shell_line(words: &[OsString]) -> Line {
    let mut line = Line::default();
    for word in words {
        if !line.text.is_empty() {
            line.text.push(' ');
        }
        let bytes = word.as_encoded_bytes();
        match word.to_str() {
            Some(word) if is_plain(bytes) => {
                line.text.push_str(word);
                continue;
            }
            Some(word) if !word.contains(is_harmful) => {
                let _ = write!(line.text, "'{}'", word.replace('\'', r"'\''"));
            }
            _ => push_escaped_word(&mut line.text, bytes),
        }
        line.quoted = true;
    }
    line
}

/// Writing to a String cannot fail.
fn push_escaped_word(line: &mut String, word: &[u8]) {
    line.push_str("$'");
    for chunk in word.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => line.push_str(r"\n"),
                '\'' | '\\' => line.extend(['\\', char]),
                char if is_harmful(char) => {
                    for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(line, r"\{byte:03o}");
                    }
                }
                char => line.push(char),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, r"\{byte:03o}");
        }
    }
    line.push('\'');
}

/// The words with nothing quoted, for `$(…)` and back-ticks, which quote nothing either.
pub(crate) fn raw_line(words: &[OsString]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_encoded_bytes()).collect();
    words.join(&b' ')
}

/// Whether a shell leaves a word alone. The crates that quote for shells also quote `=` or `:`, of
/// which every java command has many.
fn is_plain(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || b"_-+=:,./@%".contains(b))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_word_is_quoted_only_if_the_shell_needs_it() {
        let plain = shell_line(&words(&["java", "-Dfile.encoding=UTF-8", "-cp", "/a/b.jar:/c"]));
        assert_eq!(plain.text, "java -Dfile.encoding=UTF-8 -cp /a/b.jar:/c");
        assert!(!plain.quoted);
        let odd = shell_line(&words(&["/my java", "it's", "", "a*", "~", "$HOME"]));
        assert_eq!(odd.text, r"'/my java' 'it'\''s' '' 'a*' '~' '$HOME'");
        assert!(odd.quoted);
        let harmful = shell_line(&words(&["a\x1b[2J\n'b\\", "\u{9b}1m\u{202e}"]));
        assert_eq!(harmful.text, r"$'a\033[2J\n\'b\\' $'\302\2331m\342\200\256'");
    }

    /// What the shell takes for the words of a line.
    fn read_by(shell: &str, line: &str) -> Vec<OsString> {
        let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
        let output = kcl_fixtures::command(shell).arg("-c").arg(script).output().unwrap();
        let words = output.stdout.split_inclusive(|byte| *byte == 0);
        words.map(|word| OsString::from_vec(word[..word.len() - 1].to_vec())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// `sh` itself is the judge.
        #[test]
        fn the_shell_reads_the_words_back(
            words in proptest::collection::vec("[ -~\u{e9}\t]{0,12}", 1..5),
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let line = shell_line(&words).text;
            prop_assert_eq!(read_by("sh", &line), words);
        }

        #[test]
        fn bash_reads_every_byte_back(
            words in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(1..=255u8, 0..12),
                    "[\u{1}-\u{a0}\u{2028}-\u{202e}\u{e0041}'\\\\n]{0,8}".prop_map(String::into_bytes),
                ],
                1..5,
            ),
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let line = shell_line(&words).text;
            prop_assert!(!line.contains(is_harmful));
            prop_assert_eq!(read_by("bash", &line), words);
        }
    }
}
