//! Which recordings are meant, and where their page goes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::limits::LANES;
use crate::error::{Error, Exit, Result};
use crate::files::open_regular_file;
use crate::recording::{Header, Invalid, Lines};

pub(super) const HINT: &str = "name the folder that `kcl-helper record --to` was given";

#[derive(Debug)]
pub(super) struct Found {
    pub(super) sources: Vec<Source>,
    /// How many recordings of folders are not among them.
    pub(super) left_out: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    /// As the user knows it.
    pub(super) name: String,
    /// `None`: stdin.
    pub(super) path: Option<PathBuf>,
    pub(super) size: u64,
    /// The user named this file, so it must be a recording.
    pub(super) is_named: bool,
}

impl Source {
    pub(super) fn open(&self) -> Result<(Header, Lines<Box<dyn Read>>), Invalid> {
        Lines::open(match &self.path {
            None => Box::new(io::stdin().lock()),
            Some(path) if self.is_named => Box::new(File::open(path)?),
            Some(path) => Box::new(open_regular_file(path)?),
        })
    }
}

/// Finds the recordings that are named, and those in folders that are.
///
/// # Errors
/// One is not there, or there is none.
pub(super) fn find(named: &[PathBuf]) -> Result<Found> {
    let mut sources = Vec::new();
    let mut left_out = 0;
    for path in named {
        if path.as_os_str() == "-" {
            sources.push(Source {
                name: "stdin".into(),
                path: None,
                size: u64::MAX,
                is_named: true,
            });
            continue;
        }
        let cannot_read = |error: io::Error| {
            let message = format!("cannot read {}", path.display());
            Error::new(Exit::Usage, message).because(error).hint(HINT)
        };
        let metadata = path.metadata().map_err(cannot_read)?;
        if !metadata.is_dir() {
            sources.push(source(path.clone(), metadata.len(), true));
            continue;
        }
        let mut files = Vec::new();
        for entry in path.read_dir().map_err(cannot_read)? {
            let entry = entry.map_err(cannot_read)?;
            let is_recording = entry.path().extension().is_some_and(|it| it == "jsonl");
            if is_recording && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                files.push((entry.path(), size));
            }
        }
        if files.is_empty() {
            let message = format!("there is no recording in {}", path.display());
            return Err(Error::new(Exit::Usage, message).hint(HINT));
        }
        // Their names begin with the time.
        files.sort();
        let oldest = files.len().saturating_sub(LANES);
        left_out += oldest as u64;
        sources.extend(files.drain(oldest..).map(|(path, size)| source(path, size, false)));
    }
    Ok(Found { sources, left_out })
}

fn source(path: PathBuf, size: u64, is_named: bool) -> Source {
    Source { name: path.to_string_lossy().into_owned(), path: Some(path), size, is_named }
}

/// The page's default path: beside what was named first.
pub(super) fn page_beside(named: &[PathBuf]) -> PathBuf {
    const PAGE: &str = "view.html";
    match named {
        [] => PAGE.into(),
        [first, ..] if first.as_os_str() == "-" => PAGE.into(),
        [first, ..] if first.is_dir() => first.join(PAGE),
        [only] => only.with_extension("html"),
        [first, ..] => first.parent().unwrap_or(Path::new("")).join(PAGE),
    }
}
