//! The daemon's `.properties` file: its format, the table of known keys, the rules that judge it.
//!
//! [`check`] turns a `Source` and a `Request` into a `Report`. It prints nothing.

mod effective;
mod file;
mod keys;
mod masks;
mod report;
mod rules;
mod secrets;
mod settings;
mod value;
mod version;

use std::io;
use std::path::Path;

use settings::Settings;

pub(crate) use effective::{Property, effective};
pub(crate) use file::escaped_value;
pub use file::{Entry, File, ParseError, Position, Text, line_of_units};
pub(crate) use keys::{Key, Status, lookup as lookup_key, suggestion};
pub(crate) use report::{Report, Severity, abridged};
pub(crate) use rules::{RULES, Rule, known_faults, lookup as lookup_rule, suggest as suggest_rule};
pub(crate) use value::number_in_use;
pub(crate) use version::Version;

use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::files::read_at_most;
use crate::secret::{MASK, Masked};

/// A file to judge.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As the user typed it, and as findings show it.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The most bytes read of a file. Parsing may take a hundred bytes of memory for each.
pub(crate) const LARGEST: u64 = 4 << 20;

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Source> {
        let name = path.display().to_string();
        let bytes = std::fs::File::open(path).and_then(|file| read_at_most(file, LARGEST));
        let bytes = bytes.map_err(|error| unreadable(&name, error))?;
        Ok(Source { name, bytes })
    }

    /// Reads stdin; findings show this name.
    pub(crate) fn stdin(name: String) -> Result<Source> {
        let bytes = read_at_most(io::stdin().lock(), LARGEST)
            .map_err(|error| unreadable("stdin", error))?;
        Ok(Source { name, bytes })
    }

    /// The folder of the file, as typed.
    pub(crate) fn folder(&self) -> &Path {
        Path::new(&self.name).parent().unwrap_or(Path::new(""))
    }
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::new(Exit::Usage, format!("cannot read {name}")).because(error)
}

/// What a file is judged for.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) version: Version,
    pub(crate) launcher: Launcher,
    /// `--set KEY=VALUE`: these override the file.
    pub(crate) overrides: &'a [(String, Masked)],
    /// Arguments of the JVM, which may set a region or an endpoint.
    pub(crate) jvm_args: &'a [String],
    /// Names of the warnings not to report.
    pub(crate) allow: &'a [String],
    pub(crate) environment: &'a Environment,
}

/// Who will start the daemon. `kcl-helper run` finds a program in the file's folder, and sets a
/// grace period; without it those are findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launcher {
    Daemon,
    Run,
}

/// What is not judged for daemons that configure themselves differently.
pub(crate) fn limits(version: Version) -> Option<String> {
    (version < keys::V2_1).then(|| {
        format!(
            "note: values are not judged for daemon {version}, only keys, credentials providers and \
            the program"
        )
    })
}

/// Shows the version that a key exists since; `1.x` if it always did.
pub(crate) fn show_since(since: Version) -> String {
    if since == Version::new(1, 0, 0) { "1.x".to_owned() } else { since.to_string() }
}

/// Judges a file as the daemon will read it. A file that Java cannot read has just that finding.
pub(crate) fn check(source: Source, request: &Request<'_>) -> Report {
    let set = |(key, value): &(String, Masked)| {
        let shown = Masked::of_key(key);
        value.after(&format!("{key}=")).and(shown.masks().map(|span| (span, MASK.to_owned())))
    };
    let sets = request.overrides.iter().map(set).collect();
    let file = match File::parse(&source.bytes) {
        Ok(file) => file,
        Err(error) => {
            let finding = rules::bad_escape(&error);
            return Report::new(source, sets, Settings::default(), vec![finding]);
        }
    };
    let settings = Settings::new(file, request);
    let facts =
        rules::Facts { source: &source, settings: &settings, request, folder: source.folder() };
    let findings = rules::judge(&facts);
    Report::new(source, sets, settings, findings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::output::Styled;

    /// Lines like those of a real file: known keys with plausible values.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let key = prop_oneof![
            8 => select(keys::KEYS).prop_map(|key| key.name.replace('*', "class")),
            1 => "[A-Za-z.]{0,12}",
        ];
        let piece = select(&[
            "LATEST",
            "POLLING",
            "true",
            "0",
            "-1",
            "99999999999",
            "PT1H",
            "http://",
            "localhost:1",
            "arn:aws:kinesis:us-east-1:123456789012:stream/s",
            "DefaultCredentialsProvider",
            "StsAssumeRoleCredentialsProvider",
            "|",
            ",",
            "=",
            "a=b",
            " ",
            "\t",
            "$",
            "${",
            "\"",
            "\u{e4}",
            "\u{feff}",
            "\\u00e4",
            "\\\n  ",
            "\\",
            "AKIA",
            "\r",
            "x",
        ]);
        let value = proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat());
        let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
        let any_byte = any::<(bool, u8, usize)>();
        (proptest::collection::vec(line, 0..12), any_byte).prop_map(|(lines, (some, byte, at))| {
            let mut bytes = lines.concat().into_bytes();
            if some {
                bytes.insert(at % (bytes.len() + 1), byte);
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn any_file_is_judged_and_shown_without_panic(
            bytes in lines(),
            set in lines(),
            version in select(&["3.1.3", "3.x", "2.5.4", "1.15"]),
        ) {
            let environment = Environment::of_this_process();
            let set = String::from_utf8_lossy(&set);
            let overrides: Vec<(String, Masked)> = set
                .lines()
                .filter_map(|line| line.split_once(" = "))
                .map(|(key, value)| (key.to_owned(), Masked::of_property(key, value)))
                .collect();
            let request = Request {
                version: version.parse().unwrap(),
                launcher: Launcher::Daemon,
                overrides: &overrides,
                jvm_args: &[],
                allow: &[],
                environment: &environment,
            };
            let length = bytes.len();
            let report = check(Source { name: "app.properties".to_owned(), bytes }, &request);
            let text = report.text();
            prop_assert_eq!(text == Styled::new(String::new()), report.findings().is_empty());
            for finding in report.findings() {
                prop_assert!(finding.place.span.start <= finding.place.span.end);
                if finding.place.within == rules::Within::File {
                    prop_assert!(finding.place.span.end <= length);
                }
                prop_assert!(!finding.hint.is_empty() && !finding.message.is_empty());
            }
            prop_assert_eq!(report.records().count(), report.findings().len());
            effective(&report, &request);
        }
    }
}
