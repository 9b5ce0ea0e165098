//! Command lines as text: words quoted for a shell.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::text::is_harmful;

/// A command as one line for a shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ShellLine {
    pub(crate) text: String,
    /// Whether any word is quoted. Backticks ignore quotes, so they would split such a word.
    pub(crate) quoted: bool,
}

/// Quotes words where a shell needs it. Every POSIX shell reads the line back as the same words, except
/// that words with control characters or invalid UTF-8 need the `$'…'` of bash, zsh and ksh.
pub(crate) fn shell_line(words: &[OsString]) -> ShellLine {
    let mut line = ShellLine::default();
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

/// Appends a word as `$'…'`. Writing to a String cannot fail.
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

/// Joins words without quotes, for `$(…)` and backticks, which ignore quotes.
pub(crate) fn raw_line(words: &[OsString]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_encoded_bytes()).collect();
    words.join(&b' ')
}

/// Whether a shell reads a word as it is. Crates that quote for shells also quote `=` and `:`, which
/// every java command contains.
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
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let plain = shell_line(&words(&["java", "-Dfile.encoding=UTF-8", "-cp", "/a/b.jar:/c"]));
        assert_eq!(plain.text, "java -Dfile.encoding=UTF-8 -cp /a/b.jar:/c");
        assert!(!plain.quoted);
        let odd = shell_line(&words(&["/my java", "it's", "", "a*", "~", "$HOME"]));
        assert_eq!(odd.text, r"'/my java' 'it'\''s' '' 'a*' '~' '$HOME'");
        assert!(odd.quoted);
        let harmful = shell_line(&words(&["a\x1b[2J\n'b\\", "\u{9b}1m\u{202e}"]));
        assert_eq!(harmful.text, r"$'a\033[2J\n\'b\\' $'\302\2331m\342\200\256'");
    }

    /// Splits a line into words as the shell does.
    fn read_by(shell: &str, line: &str) -> Vec<OsString> {
        let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
        let output = kcl_fixtures::command(shell).arg("-c").arg(script).output().unwrap();
        let words = output.stdout.split_inclusive(|byte| *byte == 0);
        words.map(|word| OsString::from_vec(word[..word.len() - 1].to_vec())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn sh_reads_the_words_back(
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
