//! What `run` changes for the daemon without touching the user's file: a copy for the run, a log
//! configuration, a link to the program.
//!
//! `Changes` says what differs and why, as data; `RunFolder` is where it is written.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::daemon::Daemon;
use super::logging::{self, Level};
use super::temporary::TemporaryFolder;
use crate::environment::{Environment, Program};
use crate::error::{Error, Exit, Result};
use crate::files::create_private_file;
use crate::guardian::Guardian;
use crate::properties::{File, line_of_units, lookup_key, number_in_use};
use crate::secret::Masked;
use crate::text::Escaped;

const SHUTDOWN_GRACE_KEY: &str = "shutdownGraceMillis";
/// What is set for a run when the file leaves it at 0: children that are given no time to stop get
/// no shutdownRequested.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(20_000);
/// For the JVM itself, after the daemon's own grace is over.
const JVM_GRACE: Duration = Duration::from_secs(5);

/// What is asked for on the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOverrides {
    /// `--set`
    pub(crate) set: Vec<(String, Masked)>,
    /// `--expand-env`
    pub(crate) expand: bool,
    /// `--endpoint-url`
    pub(crate) endpoint: Option<Masked>,
}

/// How the run differs from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// These win over the file; the last one of a key counts.
    pub(crate) overrides: Vec<(String, Masked)>,
    pub(crate) jvm_flags: Vec<String>,
    /// A sentence for each change that the user did not spell out.
    pub(crate) notes: Vec<String>,
}

impl Changes {
    pub(crate) fn of(
        file: &File,
        run_overrides: &RunOverrides,
        daemon: Daemon,
        environment: &Environment,
    ) -> Result<Changes> {
        let mut changes = Changes::default();
        if run_overrides.expand {
            changes.expand(file, environment)?;
        }
        changes.overrides.extend(run_overrides.set.iter().cloned());
        if let Some(url) = &run_overrides.endpoint {
            changes.send_to(url, file, daemon);
        }
        changes.give_time_to_stop(file, daemon);
        Ok(changes)
    }

    /// The value that the daemon will see.
    pub(crate) fn get(&self, file: &File, key: &str) -> Option<Masked> {
        let set = self.overrides.iter().rev().find(|(set, _)| set == key);
        let of_file = || file.reveal(key).map(|value| Masked::of_property(key, value));
        set.map(|(_, value)| value.clone()).or_else(of_file)
    }

    /// How long the daemon may take to stop: its own grace and a little more.
    pub(crate) fn grace(&self, file: &File, daemon: Daemon) -> Duration {
        shutdown_grace(self.get(file, SHUTDOWN_GRACE_KEY).as_ref(), daemon) + JVM_GRACE
    }

    fn set(&mut self, key: &str, value: &str, note: String) {
        self.overrides.push((key.to_owned(), Masked::of_property(key, value)));
        self.notes.push(note);
    }

    /// The daemon itself expands nothing.
    fn expand(&mut self, file: &File, environment: &Environment) -> Result<()> {
        for entry in file.entries() {
            let (key, value) = (entry.key.as_str(), entry.value.as_str());
            let lookup = |name: &str| environment.variable(name).map(str::to_owned);
            let Expanded { text, variables } = expand(value, lookup).map_err(|name| {
                let value = Masked::of_property(key, value);
                Error::new(Exit::Usage, format!("{key} = {value}: {name} is not set"))
                    .hint("set it, or write $$ for a dollar sign")
            })?;
            if text != value {
                // What was in the environment is shown by the variable's name.
                let value = Masked::of_property(key, &text).and(variables);
                self.overrides.push((key.to_owned(), value));
            }
        }
        Ok(())
    }

    /// Sends the JVM, and not its children, to a stand-in for AWS.
    fn send_to(&mut self, url: &Masked, file: &File, daemon: Daemon) {
        // The keys go before the flag and work in every version; the flag moves the rest.
        for key in ["kinesisEndpoint", "dynamoDBEndpoint"] {
            self.set(key, url.reveal(), format!("{key} is set to {url} for this run"));
        }
        let endpoint = url.after("-Daws.endpointUrl=");
        // The SDK of 1.x does not know the flag.
        let endpoint = (daemon.version().major() > 1).then_some(endpoint);
        for flag in endpoint.into_iter().chain([Masked::of_text(daemon.cbor_off())]) {
            self.notes.push(format!("{flag} is given to the JVM"));
            self.jvm_flags.push(flag.reveal().to_owned());
        }
        if self.get(file, "metricsLevel").is_none() {
            let note = "metricsLevel is set to NONE for this run: stand-ins take no metrics";
            self.set("metricsLevel", "NONE", note.to_owned());
        }
    }

    fn give_time_to_stop(&mut self, file: &File, daemon: Daemon) {
        let text = self.get(file, SHUTDOWN_GRACE_KEY);
        if !shutdown_grace(text.as_ref(), daemon).is_zero() {
            return;
        }
        let stands = match text {
            Some(text) if text.reveal().trim() != "0" => {
                format!("`{}`, which the daemon takes for 0", text.to_string().trim())
            }
            _ => "0".to_owned(),
        };
        let millis = SHUTDOWN_GRACE.as_millis().to_string();
        let note = format!("{SHUTDOWN_GRACE_KEY} is {stands}: set to {millis} for this run");
        self.set(SHUTDOWN_GRACE_KEY, &millis, note);
    }
}

/// How long the daemon waits; below 0 it waits no longer than at 0.
fn shutdown_grace(text: Option<&Masked>, daemon: Daemon) -> Duration {
    let key = lookup_key(SHUTDOWN_GRACE_KEY);
    let text = text.map(Masked::reveal);
    let millis = key.and_then(|key| number_in_use(key, text, daemon.version()));
    Duration::from_millis(millis.and_then(|millis| millis.try_into().ok()).unwrap_or(0))
}

/// A value with variables in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expanded {
    text: String,
    /// What came from the environment, each with what stood for it in the file.
    variables: Vec<(Range<usize>, String)>,
}

/// Replaces `$NAME` and `${NAME}`; `$$` is a dollar sign, and so is one before anything else. The
/// error is the name of a variable that is not set.
fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Expanded, String> {
    let Expanded { mut text, mut variables } = Expanded::default();
    let mut rest = value;
    // Where nothing closes a brace any more, none need be looked for.
    let last_closing = value.rfind('}').unwrap_or_default();
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let inner = after.strip_prefix('{');
        let begins_name = |text: &str| !text.starts_with(|c: char| c == '}' || c.is_ascii_digit());
        let is_closed = value.len() - after.len() < last_closing;
        let braced = inner.filter(|inner| is_closed && begins_name(inner));
        let (name, remaining) = match braced.and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => {
                let length = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                after.split_at(length.unwrap_or(after.len()))
            }
        };
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            text.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
            continue;
        }
        let start = text.len();
        text.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
        if start < text.len() {
            let written = after.len() - remaining.len();
            variables.push((start..text.len(), format!("${}", &after[..written])));
        }
        rest = remaining;
    }
    text.push_str(rest);
    Ok(Expanded { text, variables })
}

/// The files of one run, gone with it.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TemporaryFolder,
}

impl RunFolder {
    pub(crate) fn new(guardian: &Guardian) -> Result<RunFolder> {
        let new = || {
            let folder = TemporaryFolder::new()?;
            guardian.remove_at_end(folder.path())?;
            Ok(RunFolder { folder })
        };
        new().map_err(unwritable)
    }

    /// Whoever holds it uses the folder.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.folder.lock()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file as the daemon shall see it: the user's own where nothing differs, else a copy in
    /// which every key stands once.
    pub(crate) fn properties(
        &self,
        original: &Path,
        file: &File,
        overrides: &[(String, Masked)],
    ) -> Result<PathBuf> {
        if overrides.is_empty() {
            return Ok(super::command::absolute(original));
        }
        // Behind a line's end in its name there would be properties.
        let name = original.display().to_string();
        let mut text = format!("# {} and what kcl-helper run sets\n", Escaped(&name));
        let of_file = file.entries().iter().map(|entry| (entry.key.units(), entry.value.units()));
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let of_overrides = overrides.iter().map(|(key, value)| (units(key), units(value.reveal())));
        let all: Vec<_> = of_file.chain(of_overrides).collect();
        // By key, the last one: it is the one that counts.
        let last: HashMap<&[u16], usize> =
            all.iter().enumerate().map(|(index, (key, _))| (key.as_slice(), index)).collect();
        for (index, (key, value)) in all.iter().enumerate() {
            if last.get(key.as_slice()) == Some(&index) {
                text.push_str(&line_of_units(key, value));
            }
        }
        self.write("daemon.properties", &text)
    }

    pub(crate) fn log_configuration(&self, daemon: Daemon, level: Level) -> Result<PathBuf> {
        let (name, text) = logging::configuration(daemon.log_system(), level);
        self.write(name, &text)
    }

    /// A command line that the daemon can split at blanks, where it could not find the program
    /// itself: the absolute path, or a link to it without blanks.
    pub(crate) fn executable(&self, program: &Program) -> Result<Option<Masked>> {
        let Program::OnlyUnderRun { path, name, arguments, .. } = program else {
            return Ok(None);
        };
        let path = self.without_blanks(path)?;
        let is_open = name.masks().next().is_none();
        let shown = (!is_open).then(|| (0..path.len(), name.to_string()));
        let blank = if arguments.reveal().is_empty() { "" } else { " " };
        Ok(Some(arguments.after(&format!("{path}{blank}")).and(shown)))
    }

    fn without_blanks(&self, path: &Path) -> Result<String> {
        let plain =
            |path: &Path| path.to_str().filter(|path| !path.contains(' ')).map(str::to_owned);
        let path = super::command::absolute(path);
        if let Some(plain) = plain(&path) {
            return Ok(plain);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(' ', "_");
        let link = self.folder.path().join(name);
        std::os::unix::fs::symlink(&path, &link).map_err(unwritable)?;
        plain(&link).ok_or_else(|| {
            let message = format!("{} has a blank in it, as has the program's", link.display());
            Error::new(Exit::Environment, message).hint("set TMPDIR to a folder without blanks")
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let write = || create_private_file(&path)?.write_all(text.as_bytes());
        write().map_err(unwritable)?;
        Ok(path)
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::new(Exit::Environment, "cannot make a folder for the run's own files")
        .because(error)
        .hint("set TMPDIR to a folder that you can write to")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::properties::Version;

    fn run_folder() -> RunFolder {
        RunFolder { folder: TemporaryFolder::new().unwrap() }
    }

    fn expanded(value: &str) -> Result<String, String> {
        let expanded = expand(value, |name| (name == "A").then(|| "x y".to_owned()))?;
        Ok(expanded.text)
    }

    #[test]
    fn variables_are_expanded_or_missed() {
        assert_eq!(expanded("$A/${A}b $$A $ $1 $").unwrap(), "x y/x yb $A $ $1 $");
        assert_eq!(expanded("a$B"), Err("B".to_owned()));
        assert_eq!(expanded("a${B c}"), Err("B c".to_owned()));
        assert_eq!(expanded("${} ${1} ${1$A} {$A} ${A").unwrap(), "${} ${1} ${1x y} {x y} ${A");
    }

    /// Keys that Rust's strings cannot hold stay two, and what they are.
    #[test]
    fn the_copy_has_lone_surrogates_as_the_file_has_them() {
        let text = "\\uD800=\\uDC00\n\\uD801=b\n";
        let file = File::parse(text.as_bytes()).unwrap();
        let folder = run_folder();
        let set = [("a".to_owned(), Masked::of_text("1"))];
        let path = folder.properties(Path::new("f"), &file, &set).unwrap();
        let copy = std::fs::read_to_string(path).unwrap();
        assert_eq!(copy, format!("# f and what kcl-helper run sets\n{text}a=1\n"));
    }

    proptest! {
        #[test]
        fn without_a_dollar_nothing_changes(value in "[^$]{0,40}") {
            prop_assert_eq!(expanded(&value).unwrap(), value);
        }

        #[test]
        fn any_value_expands_without_panic(value in "[$A{} \u{e9}]{0,20}") {
            let _ = expanded(&value);
        }

        /// The copy reads back as the file with the overrides on top.
        #[test]
        fn the_copy_says_the_same(
            entries in proptest::collection::vec(("[a-c]{1,2}", "[ -~\u{e9}\n\t]{0,12}"), 0..6),
            overrides in proptest::collection::vec(("[a-d]{1,2}", "[ -~]{0,12}"), 1..4),
        ) {
            let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
            let text: String = entries
                .iter()
                .map(|(key, value)| line_of_units(&units(key), &units(value)))
                .collect();
            let file = File::parse(text.as_bytes()).unwrap();
            let folder = run_folder();
            let set = |(key, value): (String, String)| {
                let value = Masked::of_property(&key, &value);
                (key, value)
            };
            let overrides: Vec<_> = overrides.into_iter().map(set).collect();
            let path = folder.properties(Path::new("f\na=1"), &file, &overrides).unwrap();
            let copy = File::parse(&std::fs::read(path).unwrap()).unwrap();
            let changes = Changes { overrides, ..Changes::default() };
            for entry in file.entries().iter().chain(copy.entries()) {
                let key = entry.key.as_str();
                let expected = changes.get(&file, key);
                prop_assert_eq!(copy.reveal(key), expected.as_ref().map(Masked::reveal));
                prop_assert_eq!(copy.entries().iter().filter(|e| e.key.as_str() == key).count(), 1);
            }
        }
    }

    /// That the work grows no faster than the input shows in that this ends.
    #[test]
    fn much_is_copied_and_expanded() {
        let setting = |number: usize| (format!("k{number}"), Masked::of_text("v"));
        let text: String = (0..50_000).map(|number| format!("k{number}=1\n")).collect();
        let file = File::parse(text.as_bytes()).unwrap();
        let set: Vec<_> = (25_000..75_000).map(setting).collect();
        let path = run_folder().properties(Path::new("f"), &file, &set).map(std::fs::read);
        assert!(path.is_ok());
        for unclosed in ["${", "${1", "$"] {
            let value = unclosed.repeat(200_000);
            assert_eq!(expanded(&value).unwrap(), value.replace("$$", "$"));
            assert_eq!(expanded(&format!("{value}}}")).is_ok(), unclosed != "${");
        }
    }

    #[test]
    fn the_grace_follows_the_daemons_reading() {
        #[track_caller]
        fn check(text: &str, version: Version, expected: u64, note: &str) {
            let daemon = Daemon::of(version).unwrap();
            let file = File::parse(text.as_bytes()).unwrap();
            let run_overrides = RunOverrides::default();
            let environment = Environment::of_this_process();
            let changes = Changes::of(&file, &run_overrides, daemon, &environment).unwrap();
            assert_eq!(changes.grace(&file, daemon), Duration::from_millis(expected));
            assert_eq!(changes.notes.join("\n"), note);
        }
        let (v1, v3) = (Version::new(1, 15, 3), Version::DEFAULT);
        let zero = "shutdownGraceMillis is 0: set to 20000 for this run";
        let soon = "shutdownGraceMillis is `soon`, which the daemon takes for 0: set to 20000 for \
                    this run";
        let negative = soon.replace("soon", "-5");
        check("shutdownGraceMillis = 1000", v3, 6_000, "");
        check("", v3, 25_000, zero);
        check("shutdownGraceMillis = 0", v3, 25_000, zero);
        check("shutdownGraceMillis = soon", v3, 25_000, soon);
        check("shutdownGraceMillis = -5", v3, 25_000, &negative);
        check("", v1, 10_000, "");
        check("shutdownGraceMillis = soon", v1, 10_000, "");
        check("shutdownGraceMillis = -5", v1, 25_000, &negative);
    }
}
