//! What `run` changes for the daemon without touching the user's file: a copy of the file, a log
//! configuration, a link to the program.
//!
//! `Changes` has what differs and why, as data; `RunFolder` writes the files.

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
/// What a run uses instead of 0: children without time to stop get no shutdownRequested.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(20_000);
/// The time for the JVM itself to end, after the daemon's grace period.
const JVM_GRACE: Duration = Duration::from_secs(5);

/// The options that change properties for one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOverrides {
    /// `--set`.
    pub(crate) set: Vec<(String, Masked)>,
    /// `--expand-env`.
    pub(crate) expand: bool,
    /// `--endpoint-url`.
    pub(crate) endpoint: Option<Masked>,
}

/// How the run differs from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// They override the file; the last one of a key counts.
    pub(crate) overrides: Vec<(String, Masked)>,
    pub(crate) jvm_flags: Vec<String>,
    /// A sentence for each change that the user did not type.
    pub(crate) notes: Vec<String>,
}

impl Changes {
    pub(crate) fn new(
        file: &File,
        typed: &RunOverrides,
        daemon: Daemon,
        environment: &Environment,
    ) -> Result<Changes> {
        let mut changes = Changes::default();
        if typed.expand {
            changes.expand(file, environment)?;
        }
        changes.overrides.extend(typed.set.iter().cloned());
        if let Some(url) = &typed.endpoint {
            changes.use_endpoint(url, file, daemon);
        }
        changes.set_shutdown_grace(file, daemon);
        Ok(changes)
    }

    /// Returns the value that the daemon will see.
    pub(crate) fn get(&self, file: &File, key: &str) -> Option<Masked> {
        let set = self.overrides.iter().rev().find(|(set, _)| set == key);
        let of_file = || file.reveal(key).map(|value| Masked::of_property(key, value));
        set.map(|(_, value)| value.clone()).or_else(of_file)
    }

    /// Returns how long the daemon may take to stop: its own grace period and a little more.
    pub(crate) fn grace(&self, file: &File, daemon: Daemon) -> Duration {
        shutdown_grace(self.get(file, SHUTDOWN_GRACE_KEY).as_ref(), daemon) + JVM_GRACE
    }

    fn set(&mut self, key: &str, value: &str, note: String) {
        self.overrides.push((key.to_owned(), Masked::of_property(key, value)));
        self.notes.push(note);
    }

    /// Expands environment variables in all values, which the daemon itself does not do.
    fn expand(&mut self, file: &File, environment: &Environment) -> Result<()> {
        for entry in file.entries() {
            let (key, value) = (entry.key.as_str(), entry.value.as_str());
            let lookup = |name: &str| environment.variable(name).map(str::to_owned);
            let Expanded { text, variables } = expand(value, lookup).map_err(|name| {
                let value = Masked::of_property(key, value);
                let message = format!("cannot expand {key} = {value}");
                Error::new(Exit::Usage, message)
                    .because(format!("{name} is not set"))
                    .hint(format!("set {name}, or write $$ for a dollar sign"))
            })?;
            if text != value {
                // Messages show the variable's name instead of its value.
                let value = Masked::of_property(key, &text).and(variables);
                self.overrides.push((key.to_owned(), value));
            }
        }
        Ok(())
    }

    /// Makes the JVM, but not its children, use an emulator of AWS.
    fn use_endpoint(&mut self, url: &Masked, file: &File, daemon: Daemon) {
        // These keys work in every version and override the flag, which covers the other services.
        for key in ["kinesisEndpoint", "dynamoDBEndpoint"] {
            self.set(key, url.reveal(), format!("{key} is set to {url} for this run"));
        }
        let endpoint = url.after("-Daws.endpointUrl=");
        // The SDK of 1.x does not know this flag.
        let endpoint = (daemon.version().major() > 1).then_some(endpoint);
        for flag in endpoint.into_iter().chain([Masked::of_text(daemon.cbor_off())]) {
            self.notes.push(format!("{flag} is passed to the JVM"));
            self.jvm_flags.push(flag.reveal().to_owned());
        }
        if self.get(file, "metricsLevel").is_none() {
            let note = "metricsLevel is set to NONE for this run: emulators accept no metrics";
            self.set("metricsLevel", "NONE", note.to_owned());
        }
    }

    /// Sets a shutdown grace if the file has none.
    fn set_shutdown_grace(&mut self, file: &File, daemon: Daemon) {
        let text = self.get(file, SHUTDOWN_GRACE_KEY);
        if !shutdown_grace(text.as_ref(), daemon).is_zero() {
            return;
        }
        let before = match text {
            Some(text) if text.reveal().trim() != "0" => {
                format!("`{}`, which the daemon reads as 0", text.to_string().trim())
            }
            _ => "0".to_owned(),
        };
        let millis = SHUTDOWN_GRACE.as_millis().to_string();
        let note = format!("{SHUTDOWN_GRACE_KEY} is {before}: set to {millis} for this run");
        self.set(SHUTDOWN_GRACE_KEY, &millis, note);
    }
}

/// Returns how long the daemon waits for its children. It treats negative values as 0.
fn shutdown_grace(text: Option<&Masked>, daemon: Daemon) -> Duration {
    let key = lookup_key(SHUTDOWN_GRACE_KEY);
    let text = text.map(Masked::reveal);
    let millis = key.and_then(|key| number_in_use(key, text, daemon.version()));
    Duration::from_millis(millis.and_then(|millis| millis.try_into().ok()).unwrap_or(0))
}

/// A value after its variables have been expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expanded {
    text: String,
    /// The ranges of `text` that came from the environment, each with the variable as it was written.
    variables: Vec<(Range<usize>, String)>,
}

/// Replaces `$NAME` and `${NAME}`. `$$` is a dollar sign, and so is `$` before anything else. The error
/// is the name of a variable that is not set.
fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Expanded, String> {
    let Expanded { mut text, mut variables } = Expanded::default();
    let mut rest = value;
    // Beyond the last `}`, no `${` can be a variable. Looking for one each time would be quadratic.
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

/// The files of one run, which are removed with it.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TemporaryFolder,
}

impl RunFolder {
    pub(crate) fn new(guardian: &Guardian) -> Result<RunFolder> {
        let create = || {
            let folder = TemporaryFolder::new()?;
            guardian.remove_at_end(folder.path())?;
            Ok(RunFolder { folder })
        };
        create().map_err(cannot_write)
    }

    /// Returns the folder's lock, for the JVM to inherit.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.folder.lock()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the properties file for the daemon: the user's own if there are no overrides, else a copy
    /// in which every key occurs once.
    pub(crate) fn properties(
        &self,
        original: &Path,
        file: &File,
        overrides: &[(String, Masked)],
    ) -> Result<PathBuf> {
        if overrides.is_empty() {
            return Ok(super::paths::absolute(original));
        }
        // Escaped, as a line end in the name would begin a property.
        let name = original.display().to_string();
        let mut text = format!("# {} with the changes of kcl-helper run\n", Escaped(&name));
        let of_file = file.entries().iter().map(|entry| (entry.key.units(), entry.value.units()));
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let of_overrides = overrides.iter().map(|(key, value)| (units(key), units(value.reveal())));
        let all: Vec<_> = of_file.chain(of_overrides).collect();
        // The index of each key's last value, which is the one that counts.
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

    /// Returns a command line for a program that the daemon would not find: with its absolute path, or
    /// with a link to it if that contains spaces, because the daemon splits the command at spaces.
    pub(crate) fn executable(&self, program: &Program) -> Result<Option<Masked>> {
        let Program::OnlyUnderRun { path, name, arguments, .. } = program else {
            return Ok(None);
        };
        let path = self.without_spaces(path)?;
        let has_secrets = name.masks().next().is_some();
        let masked = has_secrets.then(|| (0..path.len(), name.to_string()));
        let space = if arguments.reveal().is_empty() { "" } else { " " };
        Ok(Some(arguments.after(&format!("{path}{space}")).and(masked)))
    }

    fn without_spaces(&self, path: &Path) -> Result<String> {
        let plain =
            |path: &Path| path.to_str().filter(|path| !path.contains(' ')).map(str::to_owned);
        let path = super::paths::absolute(path);
        if let Some(plain) = plain(&path) {
            return Ok(plain);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(' ', "_");
        let link = self.folder.path().join(name);
        std::os::unix::fs::symlink(&path, &link).map_err(cannot_write)?;
        plain(&link).ok_or_else(|| {
            let message = format!("the daemon cannot start {}", path.display());
            Error::new(Exit::Environment, message)
                .because(format!("its path and that of the link {} contain spaces", link.display()))
                .hint("set TMPDIR to a folder without spaces in its path")
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let write = || create_private_file(&path)?.write_all(text.as_bytes());
        write().map_err(cannot_write)?;
        Ok(path)
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::new(Exit::Environment, "cannot create a temporary directory")
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
    fn variables_are_expanded_or_reported() {
        assert_eq!(expanded("$A/${A}b $$A $ $1 $").unwrap(), "x y/x yb $A $ $1 $");
        assert_eq!(expanded("a$B"), Err("B".to_owned()));
        assert_eq!(expanded("a${B c}"), Err("B c".to_owned()));
        assert_eq!(expanded("${} ${1} ${1$A} {$A} ${A").unwrap(), "${} ${1} ${1x y} {x y} ${A");
    }

    /// A Rust string cannot hold these keys; they must not become the same key.
    #[test]
    fn copy_preserves_lone_surrogates() {
        let text = "\\uD800=\\uDC00\n\\uD801=b\n";
        let file = File::parse(text.as_bytes()).unwrap();
        let folder = run_folder();
        let set = [("a".to_owned(), Masked::of_text("1"))];
        let path = folder.properties(Path::new("f"), &file, &set).unwrap();
        let copy = std::fs::read_to_string(path).unwrap();
        assert_eq!(copy, format!("# f with the changes of kcl-helper run\n{text}a=1\n"));
    }

    proptest! {
        #[test]
        fn value_without_dollar_sign_stays_the_same(value in "[^$]{0,40}") {
            prop_assert_eq!(expanded(&value).unwrap(), value);
        }

        #[test]
        fn any_value_expands_without_panic(value in "[$A{} \u{e9}]{0,20}") {
            let _ = expanded(&value);
        }

        #[test]
        fn copy_reads_back_as_the_file_with_the_overrides(
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

    /// Quadratic work would make this test hang.
    #[test]
    fn large_files_and_values_take_linear_time() {
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
    fn grace_is_read_as_the_daemon_reads_it() {
        #[track_caller]
        fn check(text: &str, version: Version, expected: u64, note: &str) {
            let daemon = Daemon::of(version).unwrap();
            let file = File::parse(text.as_bytes()).unwrap();
            let typed = RunOverrides::default();
            let environment = Environment::of_this_process();
            let changes = Changes::new(&file, &typed, daemon, &environment).unwrap();
            assert_eq!(changes.grace(&file, daemon), Duration::from_millis(expected));
            assert_eq!(changes.notes.join("\n"), note);
        }
        let (v1, v3) = (Version::new(1, 15, 3), Version::DEFAULT);
        let zero = "shutdownGraceMillis is 0: set to 20000 for this run";
        let soon = "shutdownGraceMillis is `soon`, which the daemon reads as 0: set to 20000 for \
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
