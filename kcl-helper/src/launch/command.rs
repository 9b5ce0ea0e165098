//! The command that starts a daemon: plain words, which are printed or run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// `java FLAGS -cp CLASSPATH MAIN ARGUMENTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JavaCommand {
    pub(crate) java: OsString,
    pub(crate) flags: Vec<OsString>,
    pub(crate) class_path: Vec<PathBuf>,
    pub(crate) main_class: &'static str,
    pub(crate) arguments: Vec<OsString>,
}

impl JavaCommand {
    /// The program and its arguments, in order.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = vec![self.java.clone()];
        words.extend(self.flags.iter().cloned());
        words.extend(["-cp".into(), join_class_path(&self.class_path), self.main_class.into()]);
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// The class path in kclpy's order: what the user names, the jars, the properties file's folder.
/// All of it absolute, so that the line may be run from anywhere.
pub(crate) fn class_path(
    added: &[PathBuf],
    jars: Vec<PathBuf>,
    properties: Option<&Path>,
) -> Vec<PathBuf> {
    let mut class_path: Vec<PathBuf> = added.iter().map(|path| absolute(path)).collect();
    class_path.extend(jars);
    let folder = properties.map(absolute).and_then(|path| path.parent().map(Path::to_owned));
    class_path.extend(folder);
    class_path
}

/// An absolute path without touching the disk; only a lost working folder leaves it as it is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Joined as `java -cp` takes it. Java has no way to escape the separator in a path.
pub(crate) fn join_class_path(paths: &[PathBuf]) -> OsString {
    let paths: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
    paths.join(OsStr::new(if cfg!(windows) { ";" } else { ":" }))
}

/// A flag that ends in a path.
pub(crate) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// Words as one line, for a shell or for eyes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// Whether any word had to be quoted, so that back-ticks would take the line apart.
    pub(crate) quoted: bool,
}

impl Line {
    /// For messages; what is no UTF-8 shows as replacement characters there.
    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// One line that any POSIX shell reads back as these words, quoted only where it must be.
pub(crate) fn shell_line(words: &[OsString]) -> Line {
    let mut line = Line::default();
    for word in words {
        if !line.bytes.is_empty() {
            line.bytes.push(b' ');
        }
        let word = word.as_encoded_bytes();
        if is_plain(word) {
            line.bytes.extend_from_slice(word);
            continue;
        }
        line.quoted = true;
        line.bytes.push(b'\'');
        for &byte in word {
            match byte {
                b'\'' => line.bytes.extend_from_slice(br"'\''"),
                _ => line.bytes.push(byte),
            }
        }
        line.bytes.push(b'\'');
    }
    line
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
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_word_is_quoted_only_if_the_shell_needs_it() {
        let plain = shell_line(&words(&["java", "-Dfile.encoding=UTF-8", "-cp", "/a/b.jar:/c"]));
        assert_eq!(plain.to_text(), "java -Dfile.encoding=UTF-8 -cp /a/b.jar:/c");
        assert!(!plain.quoted);
        let odd = shell_line(&words(&["/my java", "it's", "", "a*", "~", "$HOME"]));
        assert_eq!(odd.to_text(), r"'/my java' 'it'\''s' '' 'a*' '~' '$HOME'");
        assert!(odd.quoted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// `sh` itself is the judge.
        #[test]
        fn the_shell_reads_the_words_back(
            words in proptest::collection::vec("[ -~\\n\u{e9}]{0,12}", 1..5),
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let line = shell_line(&words).to_text();
            let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            let read: Vec<OsString> = String::from_utf8(output.stdout)
                .unwrap()
                .split_terminator('\0')
                .map(OsString::from)
                .collect();
            prop_assert_eq!(read, words);
        }
    }
}
