//! The properties file that `--sample` stands for: that of `kcl-samples`, with this program's own
//! hidden sample processor in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::error::{Error, Exit, Result};
use crate::files::{create_private_dir, read_at_most, replace_private_file};
use crate::output::Reporter;
use crate::properties::{self, File, escaped_value};
use crate::this_program::{self, SAMPLE_CHILD};

/// Makes sure of the sample's file in the user's data folder and returns its path. What the user
/// has changed stays as it is, and that is said; only where this program has moved since, the file
/// follows.
pub(crate) fn properties_file(reporter: &Reporter) -> Result<PathBuf> {
    let path = data_folder()?.join("kcl-helper").join("sample.properties");
    let program = program_path()?;
    let wanted = with_program(kcl_samples::SAMPLE_PROPERTIES, &program)?;
    let found = std::fs::File::open(&path).and_then(|file| read_at_most(file, properties::LARGEST));
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write(&path, &wanted)?;
            return Ok(path);
        }
        Err(error) => return Err(no_place(error)),
    };
    // What is no UTF-8 was not written here.
    let found = String::from_utf8(found).unwrap_or_default();
    if found == wanted {
        return Ok(path);
    }
    let moved = || with_program(&found, &program).is_ok_and(|text| text == wanted);
    if names_the_sample(&found) && moved() {
        write(&path, &wanted)?;
        return Ok(path);
    }
    let name = path.display();
    reporter.warn(&format!(
        "{name} is not as this kcl-helper writes it: you, or another version, changed it; it is \
        used as it is"
    ));
    reporter.hint(&format!("delete it to have it written anew: rm {name}"));
    Ok(path)
}

fn data_folder() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy().map_err(no_place)?;
    Ok(strategy.data_dir())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_private_dir(folder).map_err(no_place)?;
    }
    replace_private_file(path, text.as_bytes()).map_err(no_place)
}

fn no_place(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Exit::Environment, "the sample's properties file has no place").because(error)
}

/// The daemon splits the command at blanks, and there is no way to quote one.
fn program_path() -> Result<String> {
    let program = this_program::path().map_err(no_place)?;
    match program.to_str().filter(|path| !path.contains(' ')) {
        Some(path) => Ok(path.to_owned()),
        None => {
            let message = format!(
                "{}: the daemon cannot start a program with such a path",
                program.display()
            );
            Err(Error::new(Exit::Environment, message)
                .hint("install kcl-helper where the path has no blanks, and is UTF-8"))
        }
    }
}

/// Whether the program is a kcl-helper's sample processor, wherever that one is.
fn names_the_sample(text: &str) -> bool {
    let file = File::parse(text.as_bytes());
    let names = |file: File| {
        let (program, child) = file.reveal("executableName")?.rsplit_once(' ')?;
        Some(child == SAMPLE_CHILD && !program.contains(' '))
    };
    file.ok().and_then(names).unwrap_or(false)
}

/// The text with another program in its one line for that.
fn with_program(text: &str, program: &str) -> Result<String> {
    let broken = || Error::new(Exit::Bug, "the sample's properties file names no program");
    let file = File::parse(text.as_bytes()).map_err(|_| broken())?;
    let place = file.entry("executableName").ok_or_else(broken)?.value.span();
    let command = escaped_value(&format!("{program} {SAMPLE_CHILD}"));
    // The file's bytes are ASCII where a value begins and ends.
    let (before, after) = text.get(..place.start).zip(text.get(place.end..)).ok_or_else(broken)?;
    Ok(format!("{before}{command}{after}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_program_is_read_back_and_nothing_else_changes(program in "[!-~\u{e4}\u{1f600}]{1,30}") {
            let text = with_program(kcl_samples::SAMPLE_PROPERTIES, &program).unwrap();
            let file = File::parse(text.as_bytes()).unwrap();
            let expected = format!("{program} sample-child");
            prop_assert_eq!(file.reveal("executableName"), Some(expected.as_str()));
            prop_assert!(names_the_sample(&text));
            let back = with_program(&text, "target/debug/kcl-helper").unwrap();
            prop_assert_eq!(back, kcl_samples::SAMPLE_PROPERTIES);
        }
    }

    #[test]
    fn another_program_is_the_users() {
        assert!(names_the_sample("executableName = /a/kcl-helper sample-child"));
        assert!(!names_the_sample("executableName = kcl-helper record --to x -- a sample-child"));
        assert!(!names_the_sample("executableName = my-app"));
        assert!(!names_the_sample("streamName = a"));
        assert!(!names_the_sample("\\u"));
    }
}
