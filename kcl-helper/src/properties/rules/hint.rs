//! What to do about a finding, as data: edits of the file, and actions outside it.
//!
//! The text of a hint is made from its remedies, so it says exactly what they do. The tests below
//! apply every hint of every file in `tests/check/`, and judge the result again.

use std::fmt;
use std::ops::Range;

use super::super::file::{escaped_value, line};
use super::super::settings::{Origin, Setting};
use super::{Place, Within};

/// Alternatives: each one cures the finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hint(Vec<Remedy>);

/// One way to cure a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remedy {
    pub(crate) change: Change,
    /// What it says before and after the change.
    before: String,
    after: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Replaces a part of a key or a value.
    Replace { place: Place, text: String, shown: String },
    /// Deletes a part of a key or a value.
    Delete { place: Place },
    /// Deletes a line, or a `--set`.
    DeleteLine { place: Place },
    /// Replaces a line, or a `--set`, by another one.
    ReplaceLine { place: Place, key: String, value: String },
    /// Adds a line.
    Add { key: String, value: String },
    /// Something to do outside the file.
    Act(Action),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the file executable.
    MakeExecutable(String),
    /// An imperative sentence, of something that no test here can do.
    Say(String),
}

impl Hint {
    /// Writes this text instead of what is underlined.
    pub(crate) fn write(place: Place, text: impl Into<String>) -> Hint {
        let text = text.into();
        Hint::write_masked(place, text.clone(), text)
    }

    /// The same for a text that has secrets: `shown` is the text without them.
    pub(crate) fn write_masked(place: Place, text: String, shown: String) -> Hint {
        Hint::of(Change::Replace { place, text, shown })
    }

    /// Writes something like this text.
    pub(crate) fn example(place: Place, what: &str, text: impl Into<String>) -> Hint {
        let mut hint = Hint::write(place, text);
        hint.last().before = format!("{what}, for example");
        hint
    }

    pub(crate) fn delete(place: Place) -> Hint {
        Hint::of(Change::Delete { place })
    }

    pub(crate) fn delete_line(setting: &Setting) -> Hint {
        Hint::of(Change::DeleteLine { place: Place::line(setting) })
    }

    /// Writes another property instead of this one.
    pub(crate) fn replace_line(setting: &Setting, key: &str, value: impl Into<String>) -> Hint {
        let place = Place::line(setting);
        Hint::of(Change::ReplaceLine { place, key: key.to_owned(), value: value.into() })
    }

    pub(crate) fn add(key: &str, value: impl Into<String>) -> Hint {
        Hint::of(Change::Add { key: key.to_owned(), value: value.into() })
    }

    pub(crate) fn say(what: impl Into<String>) -> Hint {
        Hint::of(Change::Act(Action::Say(what.into())))
    }

    pub(crate) fn make_executable(path: impl Into<String>) -> Hint {
        Hint::of(Change::Act(Action::MakeExecutable(path.into())))
    }

    /// Writes two backslashes for one at this byte of a file that Java cannot read.
    pub(crate) fn escape_backslash(at: usize) -> Hint {
        let place = Place { within: Within::File, span: at..at + 1 };
        // Applied to a value, one backslash becomes two.
        Hint::write_masked(place, "\\".to_owned(), "\\\\".to_owned()).note(" for a backslash")
    }

    fn of(change: Change) -> Hint {
        Hint(vec![Remedy { change, before: String::new(), after: String::new() }])
    }

    fn last(&mut self) -> &mut Remedy {
        // Every constructor makes one.
        let last = self.0.len().saturating_sub(1);
        &mut self.0[last]
    }

    /// Another way to cure the finding.
    pub(crate) fn or(mut self, other: Hint) -> Hint {
        self.0.extend(other.0);
        self
    }

    /// Words after the last remedy: a condition, or a reason.
    pub(crate) fn note(mut self, words: &str) -> Hint {
        self.last().after = words.to_owned();
        self
    }

    pub(crate) fn remedies(&self) -> &[Remedy] {
        &self.0
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (index, remedy) in self.0.iter().enumerate() {
            let text = remedy.to_string();
            // The same verb is not repeated: write `A`, or `B`.
            let verb = ["write `", "add `"].into_iter().find(|verb| text.starts_with(verb));
            let verb = verb.map_or("", |verb| verb.trim_end_matches('`'));
            let separator = if index == 0 { "" } else { ", or " };
            let rest = if verb == last { &text[verb.len()..] } else { &text };
            write!(f, "{separator}{rest}")?;
            last = verb;
        }
        Ok(())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remedy { change, before, after } = self;
        let before = if before.is_empty() { String::new() } else { format!("{before} ") };
        match change {
            Change::Replace { shown, .. } => write!(f, "write {before}`{shown}`")?,
            Change::Delete { .. } => f.write_str("delete it")?,
            Change::DeleteLine { .. } => f.write_str("delete the line")?,
            Change::ReplaceLine { key, value, .. } => {
                write!(f, "write {before}`{key} = {value}` instead of this line")?;
            }
            Change::Add { key, value } => write!(f, "add {before}`{key} = {value}`")?,
            Change::Act(Action::MakeExecutable(path)) => write!(f, "run `chmod +x {path}`")?,
            Change::Act(Action::Say(what)) => f.write_str(what)?,
        }
        f.write_str(after)
    }
}

impl Change {
    /// Applies an edit to the file and the `--set` arguments. Returns false for what is to be done
    /// outside them.
    pub(crate) fn apply(&self, file: &mut Vec<u8>, sets: &mut Vec<String>) -> bool {
        let (place, text) = match self {
            Change::Act(_) => return false,
            Change::Add { key, value } => {
                let separator = if file.ends_with(b"\n") || file.is_empty() { "" } else { "\n" };
                file.extend(format!("{separator}{}", line(key, value)).into_bytes());
                return true;
            }
            Change::Replace { place, text, .. } => match place.within {
                Within::Set(_) => (place, text.clone()),
                _ => (place, escaped_value(text)),
            },
            Change::Delete { place } | Change::DeleteLine { place } => (place, String::new()),
            Change::ReplaceLine { place, key, value } => (place, line(key, value)),
        };
        let is_line = matches!(self, Change::DeleteLine { .. } | Change::ReplaceLine { .. });
        match place.within {
            Within::Nowhere => return false,
            Within::File if is_line => splice(file, whole_lines(file, &place.span), &text),
            Within::File => splice(file, place.span.clone(), &text),
            Within::Set(index) => {
                let Some(set) = sets.get_mut(index) else { return false };
                match self {
                    Change::DeleteLine { .. } => drop(sets.remove(index)),
                    Change::ReplaceLine { key, value, .. } => *set = format!("{key}={value}"),
                    _ => set.replace_range(place.span.clone(), &text),
                }
            }
        }
        true
    }
}

fn splice(file: &mut Vec<u8>, span: Range<usize>, text: &str) {
    let start = span.start.min(file.len());
    let end = span.end.clamp(start, file.len());
    file.splice(start..end, text.bytes());
}

/// The lines that a span is on, with the last one's end.
fn whole_lines(file: &[u8], span: &Range<usize>) -> Range<usize> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = file[..span.start].iter().rposition(is_end).map_or(0, |at| at + 1);
    let mut end = file[span.end..].iter().position(is_end).map_or(file.len(), |at| span.end + at);
    if file[end..].starts_with(b"\r\n") {
        end += 1;
    }
    start..(end + 1).min(file.len())
}

impl Place {
    /// The whole line, or the whole `--set`.
    pub(super) fn line(setting: &Setting) -> Place {
        match setting.origin {
            Origin::File(_) => {
                let span = setting.key.span().start..setting.value.span().end;
                Place { within: Within::File, span }
            }
            Origin::Set(index) => Place { within: Within::Set(index), span: 0..0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::super::{Launcher, Report, Request, Source, Version, check};
    use super::*;
    use crate::environment::Environment;
    use crate::secret::Masked;

    /// A file of `tests/check/`, with what its `#$` comments add.
    #[derive(Clone)]
    struct Case {
        name: String,
        bytes: Vec<u8>,
        sets: Vec<String>,
        jvm_args: Vec<String>,
        variables: Vec<(String, String)>,
        version: Version,
    }

    impl Case {
        fn read(path: &Path) -> Case {
            let bytes = fs::read(path).unwrap();
            let name = format!("check/{}", path.file_name().unwrap().to_str().unwrap());
            let (mut sets, mut jvm_args, mut variables) = (Vec::new(), Vec::new(), Vec::new());
            let mut version = Version::DEFAULT;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines = text.lines().filter_map(|line| line.strip_prefix("#$"));
            let mut words = lines.flat_map(str::split_whitespace);
            while let Some(word) = words.next() {
                match word.split_once('=') {
                    _ if word == "--kcl-version" => {
                        version = words.next().unwrap().parse().unwrap();
                    }
                    _ if word == "--set" => sets.push(words.next().unwrap().to_owned()),
                    Some(("--jvm-arg", argument)) => jvm_args.push(argument.to_owned()),
                    Some((name, value)) if !name.starts_with('-') => {
                        variables.push((name.to_owned(), value.to_owned()));
                    }
                    _ => {}
                }
            }
            Case { name, bytes, sets, jvm_args, variables, version }
        }

        fn judge(&self, folder: &Path) -> Report {
            let (path, home) = (folder.join("check/bin"), folder.join("no-home"));
            let mut variables =
                vec![("PATH", path.to_str().unwrap()), ("HOME", home.to_str().unwrap())];
            variables.extend(self.variables.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let environment = Environment::of_test(&variables, folder);
            let overrides: Vec<(String, Masked)> = self
                .sets
                .iter()
                .filter_map(|set| set.split_once('='))
                .map(|(key, value)| (key.to_owned(), Masked::of_property(key, value)))
                .collect();
            let request = Request {
                version: self.version,
                launcher: Launcher::Daemon,
                overrides: &overrides,
                jvm_args: &self.jvm_args,
                allow: &[],
                environment: &environment,
            };
            check(Source { name: self.name.clone(), bytes: self.bytes.clone() }, &request)
        }
    }

    /// How many findings each rule has.
    fn counts(report: &Report) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for finding in report.findings() {
            *counts.entry(finding.name).or_default() += 1;
        }
        counts
    }

    /// What a cured file may have that the file did not have before, with the reason.
    const MAY_APPEAR: &[(&str, &str, &str)] = &[
        ("bad-escape", "bad-name", "the name has a backslash"),
        ("missing-key", "executable-not-found", "the program is an example"),
        ("dropped-key", "other-retrieval-mode", "the key is for the other mode"),
        ("dropped-key", "short-idle-time", "the value was too short before"),
        ("polling-by-leftover", "unused-key", "once it polls anyway, the other key can go"),
        ("unknown-client-key", "metrics-to-aws", "the endpoint takes effect now"),
        ("v1-credentials-provider", "sts-no-region", "the provider is constructed now"),
    ];

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &target),
                false => drop(fs::copy(entry.path(), target).unwrap()),
            }
        }
    }

    /// What came of applying hints.
    #[derive(Default)]
    struct Outcome {
        faults: Vec<String>,
        applied: usize,
        /// Rules with hints that no test can apply.
        said: Vec<&'static str>,
    }

    /// Applies a remedy and judges again; `None` if no test can apply it.
    fn judge_cured(case: &Case, change: &Change, folder: &Path) -> Option<Report> {
        let mut cured = case.clone();
        match change {
            Change::Act(Action::Say(_)) => None,
            Change::Act(Action::MakeExecutable(path)) => {
                let path = folder.join(path);
                let mode = |mode| fs::Permissions::from_mode(mode);
                fs::set_permissions(&path, mode(0o755)).unwrap();
                let after = cured.judge(folder);
                fs::set_permissions(&path, mode(0o644)).unwrap();
                Some(after)
            }
            _ => {
                assert!(change.apply(&mut cured.bytes, &mut cured.sets), "{change:?}");
                Some(cured.judge(folder))
            }
        }
    }

    /// Applies every hint of one file.
    fn apply_all(case: &Case, folder: &Path, outcome: &mut Outcome) {
        let before = case.judge(folder);
        for finding in before.findings() {
            let place = format!("{} [{}] {}", case.name, finding.name, finding.hint);
            if finding.remedies.remedies().is_empty() {
                outcome.faults.push(format!("{place}: no hint"));
            }
            for remedy in finding.remedies.remedies() {
                let Some(after) = judge_cured(case, &remedy.change, folder) else {
                    outcome.said.push(finding.name);
                    continue;
                };
                outcome.applied += 1;
                let (old, new) = (counts(&before), counts(&after));
                let count = |counts: &BTreeMap<_, usize>| {
                    counts.get(finding.name).copied().unwrap_or_default()
                };
                let may = |name: &str| {
                    MAY_APPEAR.iter().any(|(of, new, _)| *of == finding.name && *new == name)
                };
                let is_new = |(name, count): &(&&str, &usize)| {
                    **count > *old.get(**name).unwrap_or(&0) && !may(name)
                };
                let worse: Vec<_> = new.iter().filter(is_new).collect();
                if count(&new) >= count(&old) || !worse.is_empty() {
                    let change = &remedy.change;
                    outcome.faults.push(format!("{place}: {new:?} after {change:?}"));
                }
            }
        }
    }

    #[test]
    fn every_hint_cures_its_finding() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let folder = tempfile::tempdir().unwrap();
        copy(&tests.join("check"), &folder.path().join("check"));
        let mut paths: Vec<_> =
            fs::read_dir(tests.join("check")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "properties"));
        paths.sort();
        let mut outcome = Outcome::default();
        for path in &paths {
            apply_all(&Case::read(path), folder.path(), &mut outcome);
        }
        let Outcome { faults, applied, mut said } = outcome;
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(applied > 220, "{applied}");
        said.sort_unstable();
        said.dedup();
        let expected = [
            "bad-name",
            "deprecated-key",
            "executable-not-found",
            "migration-phase-2",
            "newer-key",
            "no-credentials-provider",
            "only-under-run",
            "profile-needs-module",
            "script-not-found",
            "secret-in-file",
            "shell-syntax",
            "sts-no-region",
            "unordered-keys",
            "variable-not-expanded",
            "variable-without-effect",
        ];
        assert_eq!(said, expected);
    }
}
