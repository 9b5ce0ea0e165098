//! What a file is judged against besides itself: environment, working folder, programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The surroundings that the daemon would start in.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    working_folder: PathBuf,
}

/// What came of looking for the program that `executableName` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// The daemon finds it by itself.
    Found(PathBuf),
    /// Only `kcl-helper run` does: from the file's folder, or because its path has blanks in it.
    OnlyUnderRun {
        path: PathBuf,
        /// The arguments after it.
        arguments: Vec<String>,
        why: String,
    },
    /// Nobody does.
    Missing { why: String },
}

impl Surroundings {
    /// Those of this process, as a JVM that it starts inherits them.
    pub(crate) fn of_this_process() -> Surroundings {
        Surroundings {
            variables: std::env::vars_os().collect(),
            working_folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(std::ffi::OsStr::new(name))?;
        value.to_str().filter(|value| !value.is_empty())
    }

    /// Looks for the program of a command line as the daemon does: the first word, through PATH
    /// unless it has a slash in it, else relative to the working folder; words end at blanks and
    /// there is no quoting. Then as `run` does: the same from `folder`, and with blanks in the path.
    pub(crate) fn program(&self, command: &str, folder: &Path) -> Program {
        let words: Vec<&str> = split_command(command);
        let Some(first) = words.first().filter(|word| !word.is_empty()) else {
            return Program::Missing { why: "it begins with a blank".to_owned() };
        };
        let as_daemon = self.find(first);
        if let Ok(path) = as_daemon {
            return Program::Found(path);
        }
        for used in 1..=words.len() {
            // Runs of blanks in a name are one blank here, which is enough for the names people use.
            let name = words[..used].join(" ");
            let place = self.working_folder.join(folder).join(&name);
            let found = if used > 1 { self.find(&name).ok() } else { None };
            let Some(path) = found.or_else(|| is_executable(&place).is_ok().then_some(place))
            else {
                continue;
            };
            let arguments = words[used..].iter().map(|&word| word.to_owned()).collect();
            let why =
                if used > 1 { "its path has a blank in it" } else { "it is in the file's folder" };
            return Program::OnlyUnderRun { path, arguments, why: why.to_owned() };
        }
        Program::Missing { why: as_daemon.err().unwrap_or_default() }
    }

    /// A program by its name or path; the error says why there is none.
    fn find(&self, name: &str) -> Result<PathBuf, String> {
        if name.contains('/') {
            let path = self.working_folder.join(name);
            return is_executable(&path).map(|()| path);
        }
        let path = self.variables.get(std::ffi::OsStr::new("PATH"));
        let mut why = "no folder of PATH has it".to_owned();
        for folder in path.into_iter().flat_map(std::env::split_paths) {
            let candidate = self.working_folder.join(folder).join(name);
            match is_executable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(not) if candidate.exists() => why = format!("{}: {not}", candidate.display()),
                Err(_) => {}
            }
        }
        Err(why)
    }
}

/// Words as the daemon splits them: at runs of blanks; a leading blank makes the first one empty.
pub(crate) fn split_command(command: &str) -> Vec<&str> {
    let trimmed = command.trim_end_matches(' ');
    let mut words: Vec<&str> = trimmed.split(' ').collect();
    let leading = words.first().is_some_and(|word| word.is_empty());
    words.retain(|word| !word.is_empty());
    if leading {
        words.insert(0, "");
    }
    words
}

fn is_executable(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Err(error) => Err(error.to_string()),
        Ok(found) if !found.is_file() => Err("it is not a file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err("it is not executable".to_owned())
        }
        Ok(_) => Ok(()),
    }
}
