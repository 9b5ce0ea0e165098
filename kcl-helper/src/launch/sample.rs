//! The properties file that `--sample` uses: that of `kcl-samples`, with this program's hidden sample
//! processor as its executable.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::error::{Error, Exit, Result};
use crate::files::{create_private_dir, read_at_most, replace_private_file};
use crate::output::Reporter;
use crate::properties::{self, File, escaped_value};
use crate::this_program::{self, SAMPLE_CHILD};

/// Writes the sample's file into the user's data folder and returns its path. A file that the user has
/// changed is used as it is, with a warning; one that only names an old path of this program is updated.
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
        Err(error) => return Err(cannot_write(error)),
    };
    // We did not write a file with invalid UTF-8, so it counts as changed.
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
        "{name} was changed, by you or by another version of kcl-helper: using it as it is"
    ));
    reporter.hint(&format!("delete it to get a new one: rm {name}"));
    Ok(path)
}

fn data_folder() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy().map_err(cannot_write)?;
    Ok(strategy.data_dir())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_private_dir(folder).map_err(cannot_write)?;
    }
    replace_private_file(path, text.as_bytes()).map_err(cannot_write)
}

fn cannot_write(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Exit::Environment, "cannot write the sample properties file").because(error)
}

/// Returns the path of this program. The daemon splits the command at spaces, and cannot unquote one.
fn program_path() -> Result<String> {
    let program = this_program::path().map_err(cannot_write)?;
    match program.to_str().filter(|path| !path.contains(' ')) {
        Some(path) => Ok(path.to_owned()),
        None => {
            let message = format!("the daemon cannot start {}", program.display());
            Err(Error::new(Exit::Environment, message)
                .because("its path contains a space or invalid UTF-8")
                .hint("install kcl-helper at a path without spaces"))
        }
    }
}

/// Whether the executable is the sample processor of a kcl-helper at any path.
fn names_the_sample(text: &str) -> bool {
    let file = File::parse(text.as_bytes());
    let names = |file: File| {
        let (program, child) = file.reveal("executableName")?.rsplit_once(' ')?;
        Some(child == SAMPLE_CHILD && !program.contains(' '))
    };
    file.ok().and_then(names).unwrap_or(false)
}

/// Replaces the value of executableName in a properties file by this program.
fn with_program(text: &str, program: &str) -> Result<String> {
    let invalid = || Error::new(Exit::Bug, "the sample properties file has no executableName");
    let file = File::parse(text.as_bytes()).map_err(|_| invalid())?;
    let span = file.entry("executableName").ok_or_else(invalid)?.value.span();
    let command = escaped_value(&format!("{program} {SAMPLE_CHILD}"));
    let (before, after) = text.get(..span.start).zip(text.get(span.end..)).ok_or_else(invalid)?;
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
    fn only_a_kcl_helper_with_its_sample_child_is_the_sample() {
        assert!(names_the_sample("executableName = /a/kcl-helper sample-child"));
        assert!(!names_the_sample("executableName = kcl-helper record --to x -- a sample-child"));
        assert!(!names_the_sample("executableName = my-app"));
        assert!(!names_the_sample("streamName = a"));
        assert!(!names_the_sample("\\u"));
    }
}
