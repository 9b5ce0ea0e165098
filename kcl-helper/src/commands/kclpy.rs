//! The command line of kclpy's `amazon_kclpy_helper.py`, so that a script which calls that one works with
//! the name changed: the same words mean the same, and the same text is printed.
//!
//! Words are read as Python's argparse reads them. `e2e/kclpy.sh` compares this with the real
//! scripts; docs/moving.md lists what differs on purpose.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::arguments::JarsArgs;
use super::print_command;
use crate::error::{Error, Exit, Result};
use crate::launch::jars::Jars;
use crate::launch::sample;
use crate::output::Reporter;
use crate::properties::Version;

const USAGE: &str = "\
usage: kcl-helper (--print_command | --print_classpath) [-j JAVA]
       [-p PROPERTIES | --sample] [-c PATH]... [-l LOGBACK_XML]
       [--kcl-version V] [--cache DIR]";

/// The newest kclpy, and the daemon that it ships.
const KCLPY: (&str, Version) = ("3.2.0", Version::new(3, 5, 3));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Help,
    PrintClassPath,
    PrintCommand,
    Sample,
    Java,
    Properties,
    ClassPath,
    LogConfiguration,
    KclVersion,
    Cache,
}

impl Name {
    fn takes_value(self) -> bool {
        !matches!(self, Name::Help | Name::PrintClassPath | Name::PrintCommand | Name::Sample)
    }
}

/// kclpy's options, each with all its spellings.
const OPTIONS: [(Name, &[&str]); 8] = [
    (Name::Help, &["-h", "--help"]),
    (Name::PrintClassPath, &["--print_classpath"]),
    (Name::PrintCommand, &["--print_command"]),
    (Name::Java, &["-j", "--java"]),
    (Name::Properties, &["-p", "--properties", "--props", "--prop"]),
    (Name::Sample, &["--sample", "--sample-props", "--use-sample-properties"]),
    (Name::ClassPath, &["-c", "--classpath", "--path"]),
    (Name::LogConfiguration, &["-l", "--log-configuration"]),
];

/// Ours, which have no short form and may not be abbreviated, as kclpy's could then become ambiguous.
const OUR_OPTIONS: [(Name, &str); 2] =
    [(Name::KclVersion, "--kcl-version"), (Name::Cache, "--cache")];

fn spellings() -> impl Iterator<Item = (Name, &'static str)> {
    OPTIONS.into_iter().flat_map(|(name, all)| all.iter().map(move |spelling| (name, *spelling)))
}

/// What one word of the command line is.
#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    /// The value of an option, or nothing that can be used.
    Value(&'a OsStr),
    /// With the value that is in the same word.
    Option(Name, Option<&'a OsStr>),
    Ambiguous,
    UnknownOption,
}

fn split_at_equals(word: &[u8]) -> (&[u8], Option<&OsStr>) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], Some(OsStr::from_bytes(&word[at + 1..]))),
        None => (word, None),
    }
}

fn read(word: &OsStr) -> Word<'_> {
    let bytes = word.as_bytes();
    if !bytes.starts_with(b"-") || bytes.len() == 1 {
        return Word::Value(word);
    }
    let (start, value) = split_at_equals(bytes);
    let exact = spellings().chain(OUR_OPTIONS).find(|(_, it)| it.as_bytes() == start);
    if let Some((name, _)) = exact {
        return Word::Option(name, value);
    }
    if bytes.starts_with(b"--") {
        let mut likely = spellings().filter(|(_, spelling)| spelling.as_bytes().starts_with(start));
        match (likely.next(), likely.next()) {
            (Some((name, _)), None) => return Word::Option(name, value),
            (Some(_), Some(_)) => return Word::Ambiguous,
            (None, _) => {}
        }
    } else if let Some((name, _)) = spellings().find(|(_, it)| it.as_bytes() == &bytes[..2]) {
        return Word::Option(name, Some(OsStr::from_bytes(&bytes[2..])));
    }
    let is_number = word.to_str().is_some_and(|text| {
        let digits = text[1..].replacen('.', "", 1);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !text.ends_with('.')
    });
    if is_number || bytes.contains(&b' ') { Word::Value(word) } else { Word::UnknownOption }
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    help: bool,
    print_class_path: bool,
    print_command: bool,
    sample: bool,
    java: Option<OsString>,
    properties: Option<OsString>,
    class_path: Vec<OsString>,
    log_configuration: Option<OsString>,
    kcl_version: Option<OsString>,
    cache: Option<OsString>,
}

/// Why a command line is not one of kclpy's.
type Wrong = String;

impl Arguments {
    /// Reads the words after the program's name; `None` unless the first one is an option of kclpy's.
    pub(crate) fn parse(words: &[OsString]) -> Option<Result<Arguments, Wrong>> {
        let is_kclpys = match read(words.first()?) {
            Word::Option(name, _) => !matches!(name, Name::Help | Name::KclVersion | Name::Cache),
            // `--` begins all options, and `--p` or `--print_c` more than one.
            Word::Ambiguous => words[0] != "--",
            Word::Value(_) | Word::UnknownOption => false,
        };
        is_kclpys.then(|| Arguments::parse_all(words))
    }

    fn parse_all(words: &[OsString]) -> Result<Arguments, Wrong> {
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let read: Vec<Word<'_>> = words[..end].iter().map(|word| read(word)).collect();
        if let Some(at) = read.iter().position(|word| *word == Word::Ambiguous) {
            return Err(format!("ambiguous option: {}", words[at].display()));
        }
        let mut arguments = Arguments::default();
        let mut unknown: Vec<&OsString> = words[end..].iter().collect();
        let mut at = 0;
        while at < read.len() {
            match &read[at] {
                Word::Option(name, None) if name.takes_value() => {
                    at += 1;
                    let Some(Word::Value(value)) = read.get(at) else {
                        let option = words[at - 1].display();
                        return Err(format!("argument {option}: expected one argument"));
                    };
                    arguments.set(*name, value);
                }
                Word::Option(name, Some(value)) if name.takes_value() => {
                    arguments.set(*name, value);
                }
                Word::Option(_, Some(value)) => {
                    return Err(format!("ignored explicit argument '{}'", value.display()));
                }
                Word::Option(name, None) => arguments.set(*name, OsStr::new("")),
                _ => unknown.push(&words[at]),
            }
            if arguments.help {
                return Ok(arguments);
            }
            at += 1;
        }
        if unknown.is_empty() {
            return Ok(arguments);
        }
        let unknown: Vec<_> = unknown.iter().map(|word| word.to_string_lossy()).collect();
        Err(format!("unrecognized arguments: {}", unknown.join(" ")))
    }

    /// The last value of an option counts.
    fn set(&mut self, name: Name, value: &OsStr) {
        let value = value.to_owned();
        match name {
            Name::Help => self.help = true,
            Name::PrintClassPath => self.print_class_path = true,
            Name::PrintCommand => self.print_command = true,
            Name::Sample => self.sample = true,
            Name::Java => self.java = Some(value),
            Name::Properties => self.properties = Some(value),
            Name::ClassPath => self.class_path.push(value),
            Name::LogConfiguration => self.log_configuration = Some(value),
            Name::KclVersion => self.kcl_version = Some(value),
            Name::Cache => self.cache = Some(value),
        }
    }
}

/// Does what kclpy's helper does. Returns the exit status, which is 0 for much that is wrong, as there.
///
/// # Errors
/// The version, the cache or the working directory cannot be used.
pub(crate) fn run(arguments: Result<Arguments, Wrong>, reporter: &Reporter) -> Result<Exit> {
    let mut arguments = match arguments {
        Ok(arguments) => arguments,
        Err(why) => return wrong(why, reporter),
    };
    arguments.kcl_version =
        arguments.kcl_version.or_else(|| std::env::var_os("KCL_HELPER_KCL_VERSION"));
    let jars = jars_args(&arguments)?;
    if jars.kcl_version.major() == 1 && arguments.log_configuration.is_some() && !arguments.help {
        return wrong("unrecognized arguments: -l, which kclpy 1.x does not have".into(), reporter);
    }
    if arguments.help {
        reporter.print_lines(USAGE.lines())?;
        return Ok(Exit::Done);
    }
    let replaced =
        arguments.properties.as_ref().filter(|named| arguments.sample && !named.is_empty());
    if let Some(named) = replaced {
        reporter.warn(&format!("--sample replaces {}", named.display()));
    }
    if !(arguments.print_class_path || arguments.print_command) {
        reporter.print_lines(USAGE.lines())?;
        return Ok(Exit::Done);
    }
    if arguments.sample {
        arguments.properties = Some(sample::properties_file(reporter)?.into());
    }
    let is_given = |word: &&OsString| !word.is_empty();
    let properties = arguments.properties.as_ref().filter(is_given);
    let java = arguments.java.as_ref().filter(is_given);
    if !arguments.print_class_path && (properties.is_none() || java.is_none()) {
        reporter.result("Must provide arguments: --java and --properties");
        reporter.print_lines(USAGE.lines())?;
        return Ok(Exit::Done);
    }
    if arguments.kcl_version.is_none() {
        warn_of_version(jars.kcl_version, reporter);
    }
    let jars = print_command::jars(&jars, reporter)?;
    let class_path = class_path(&arguments.class_path, jars.present().0, properties)?;
    if arguments.print_class_path {
        reporter.print_exact(class_path.as_bytes())?;
    } else if let (Some(java), Some(properties)) = (java, properties) {
        let arguments = daemon_arguments(&jars, properties, arguments.log_configuration.as_deref());
        let main_class = OsStr::new(jars.daemon().main_class());
        let words = [java, OsStr::new("-cp"), &class_path, main_class, &arguments];
        reporter.print_exact(words.join(OsStr::new(" ")).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// What the user adds, the jars, and the folder of the properties file.
fn class_path(
    added: &[OsString],
    jars: Vec<PathBuf>,
    properties: Option<&OsString>,
) -> Result<OsString> {
    let mut paths = added.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
    paths.extend(jars.into_iter().map(OsString::from));
    if let Some(properties) = properties {
        let file = absolute(properties)?.into_vec();
        let slash = file.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        paths.push(OsString::from_vec(file[..slash.max(1)].to_vec()));
    }
    Ok(paths.join(OsStr::new(":")))
}

/// The end of the command, in which nothing is quoted.
fn daemon_arguments(jars: &Jars, properties: &OsStr, log: Option<&OsStr>) -> OsString {
    let properties = properties.as_bytes();
    if jars.daemon().version().major() == 1 {
        // That one finds the file by the class path.
        let name = properties.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return OsString::from_vec(name.to_vec());
    }
    let mut arguments = [b"--properties-file ", properties, b" "].concat();
    if let Some(log) = log {
        arguments.extend_from_slice(b"--log-configuration ");
        arguments.extend_from_slice(log.as_bytes());
    }
    OsString::from_vec(arguments)
}

fn wrong(why: Wrong, reporter: &Reporter) -> Result<Exit> {
    USAGE.lines().for_each(|line| reporter.result(line));
    Err(Error::new(Exit::Usage, why))
}

fn jars_args(arguments: &Arguments) -> Result<JarsArgs> {
    let kcl_version = match &arguments.kcl_version {
        Some(version) => version
            .to_string_lossy()
            .parse()
            .map_err(|wrong: String| Error::new(Exit::Usage, format!("--kcl-version: {wrong}")))?,
        None => Version::DEFAULT,
    };
    let cache = arguments.cache.clone().or_else(|| std::env::var_os("KCL_HELPER_CACHE"));
    Ok(JarsArgs { kcl_version, cache: cache.map(PathBuf::from) })
}

/// A kclpy has its daemon's jars in it, and we have one default for all.
fn warn_of_version(version: Version, reporter: &Reporter) {
    let (kclpy, daemon) = KCLPY;
    if version != daemon {
        reporter.warn(&format!(
            "this is daemon {version}; kclpy {kclpy} has {daemon}, and others have others"
        ));
        reporter.hint(&format!(
            "add --kcl-version {version} to keep it; docs/moving.md has the daemon of each kclpy"
        ));
    }
}

/// Makes a path absolute as Python's `os.path.abspath` does: without looking at the disk, `..` taken
/// back.
fn absolute(path: &OsStr) -> Result<OsString> {
    let mut whole = Vec::new();
    if !path.as_bytes().starts_with(b"/") {
        let folder = std::env::current_dir().map_err(|error| {
            Error::new(Exit::Environment, "cannot find the working directory").because(error)
        })?;
        whole = folder.into_os_string().into_vec();
        whole.push(b'/');
    }
    whole.extend_from_slice(path.as_bytes());
    let slashes = whole.iter().take_while(|byte| **byte == b'/').count();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in whole.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // POSIX leaves the meaning of exactly two slashes to the system.
    let root: &[u8] = if slashes == 2 { b"//" } else { b"/" };
    Ok(OsString::from_vec([root, &parts.join(&b'/')].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    #[track_caller]
    fn parsed(line: &str) -> Arguments {
        Arguments::parse(&words(line)).unwrap().unwrap()
    }

    #[test]
    fn command_lines_of_kclpy_are_recognised_by_the_first_word() {
        for line in ["--print_command", "-j J", "--props=p", "--print_c", "--p", "-cX", "--sample"]
        {
            assert!(Arguments::parse(&words(line)).is_some(), "{line}");
        }
        for line in [
            "",
            "run --print_command",
            "-h",
            "--help",
            "-v --print_command",
            "--",
            "--color x",
            "--version",
            "-x",
            "--cache d",
            "-",
            "-1",
        ] {
            assert_eq!(Arguments::parse(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn last_value_counts_and_class_paths_add_up() {
        let arguments = parsed("-j A -c 1 --java=B -c=2 -c3 --prop x --propert=y --print_com");
        let expected = Arguments {
            print_command: true,
            java: Some("B".into()),
            properties: Some("y".into()),
            class_path: words("1 2 3"),
            ..Arguments::default()
        };
        assert_eq!(arguments, expected);
        let ours = parsed("--print_classpath --kcl-version 1.x --cache=c -l -1");
        assert_eq!(ours.kcl_version, Some("1.x".into()));
        assert_eq!(ours.cache, Some("c".into()));
        assert_eq!(ours.log_configuration, Some("-1".into()));
    }

    #[test]
    fn wrong_command_lines_say_why() {
        for (line, why) in [
            ("--print_c", "ambiguous option: --print_c"),
            ("-j --print_c", "ambiguous option: --print_c"),
            ("--samp", "ambiguous option: --samp"),
            ("--print_command -j", "argument -j: expected one argument"),
            ("--print_command -j -x", "argument -j: expected one argument"),
            ("-p -- P", "argument -p: expected one argument"),
            ("--print_command=1", "ignored explicit argument '1'"),
            ("--print_command -- x", "unrecognized arguments: -- x"),
            ("--print_command x -y", "unrecognized arguments: x -y"),
            ("--print_command --kcl 1", "unrecognized arguments: --kcl 1"),
        ] {
            assert_eq!(Arguments::parse(&words(line)), Some(Err(why.to_owned())), "{line}");
        }
        assert!(parsed("--print_command -h -x").help);
    }

    #[test]
    fn absolute_paths_are_pythons() {
        let here = std::env::current_dir().unwrap().into_os_string().into_string().unwrap();
        for (path, expected) in [
            ("", here.as_str()),
            ("//a/b", "//a/b"),
            ("///a//b/", "/a/b"),
            ("/..", "/"),
            ("/a/./b/../c", "/a/c"),
        ] {
            assert_eq!(absolute(OsStr::new(path)).unwrap(), expected, "{path}");
        }
        assert_eq!(absolute(OsStr::new("x/../y")).unwrap(), *format!("{here}/y"));
    }

    proptest! {
        #[test]
        fn any_words_are_read(
            words in prop::collection::vec("(-|--)?(print_c|print_command|j|c|prop|=|x| |--|1|\u{e9}){0,3}", 0..6),
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let _ = Arguments::parse(&words);
        }
    }
}
