//! Recordings as one page for people: a lane for each, over time, with what may be wrong.
//!
//! A recording is read once, from beginning to end, into a [`lane`]. What is kept of it has a bound, so
//! that the page opens however large the recordings are; what is left out is counted and shown.

mod anomaly;
mod details;
mod lane;
mod limits;
mod page;
mod read;
mod sources;
mod text;
mod units;

use std::path::{Path, PathBuf};

use crate::error::{Error, Exit, Result};
use crate::files::write_private_file;
use crate::output::{self, Reporter};
use lane::{Lane, Picture};
use limits::Budget;
use sources::Source;

/// What to show, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// Files, folders and `-`.
    pub(crate) recordings: Vec<PathBuf>,
    pub(crate) form: Form,
}

#[derive(Debug)]
pub(crate) enum Form {
    Page { output: Option<PathBuf>, replace: bool },
    Text,
    Json,
}

/// Writes the page and prints its path, or prints the same as text or JSON.
pub(crate) fn run(options: &Options, reporter: &Reporter) -> Result<()> {
    let found = sources::find(&options.recordings)?;
    let page = match &options.form {
        Form::Page { output, replace } => {
            let path = match output {
                Some(path) => path.clone(),
                None => sources::page_beside(&options.recordings),
            };
            check(&path, *replace, &found.sources)?;
            Some((path, *replace))
        }
        Form::Text | Form::Json => None,
    };
    let picture = read(found, reporter)?;
    match (page, &options.form) {
        (Some((path, replace)), _) => {
            write_private_file(&path, replace, |out| page::write(&picture, out))
                .map_err(|error| cannot_write(&path, Exit::Environment).because(error))?;
            reporter.result(&text::summary(&picture));
            reporter.print_lines([path.to_string_lossy()])?;
        }
        (None, Form::Json) => reporter.print_json_line(&picture)?,
        (None, _) => reporter.print_lines(text::lines(&picture))?,
    }
    Ok(())
}

/// Finds out early what would be in vain.
fn check(page: &Path, replace: bool, sources: &[Source]) -> Result<()> {
    let folder = page.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(Err(error)) = folder.map(Path::metadata) {
        return Err(cannot_write(page, Exit::Usage).because(error));
    }
    if page.symlink_metadata().is_err() {
        return Ok(());
    }
    let canonical = page.canonicalize().ok();
    let is_page = |source: &Source| {
        let path = source.path.as_ref().and_then(|path| path.canonicalize().ok());
        path.is_some() && path == canonical
    };
    if sources.iter().any(is_page) {
        return Err(cannot_write(page, Exit::Usage).because("it is the recording"));
    }
    if !replace {
        let error = cannot_write(page, Exit::Usage).because("it is there already");
        return Err(error.hint("add --force to overwrite it, or --output FILE"));
    }
    Ok(())
}

fn cannot_write(page: &Path, exit: Exit) -> Error {
    Error::new(exit, format!("cannot write {}", page.display()))
}

fn read(found: sources::Found, reporter: &Reporter) -> Result<Picture> {
    let mut sources = found.sources;
    // What small ones leave of the budget is for large ones.
    sources.sort_by_key(|source| source.size);
    let mut budget = Budget::PAGE;
    let mut lanes: Vec<Lane> = Vec::new();
    let count = sources.len();
    for (index, source) in sources.into_iter().enumerate() {
        let mut share = budget.take_share(count - index);
        let lane = source.open().and_then(|(header, lines)| {
            Ok(read::lane(source.name.clone(), header, lines, &mut share)?)
        });
        budget.give_back(share);
        match lane {
            Ok(lane) => lanes.push(lane),
            Err(error) if source.is_named => {
                let message = format!("cannot read {}", source.name);
                return Err(Error::new(Exit::Usage, message).because(error));
            }
            Err(error) => reporter.warn(&format!("skipped {}: {error}", source.name)),
        }
    }
    if lanes.is_empty() {
        let error = Error::new(Exit::Usage, "there is no recording to show");
        return Err(error.hint(sources::HINT));
    }
    lanes.sort_by(|a, b| {
        let key = |lane: &Lane| (lane.shard.is_none(), lane.shard.clone(), lane.started);
        key(a).cmp(&key(b)).then_with(|| a.file.cmp(&b.file))
    });
    if found.left_out > 0 {
        let (most, older) = (limits::LANES, output::count(found.left_out, "recording"));
        reporter.warn(&format!("left out {older}, the oldest: a page shows at most {most}"));
    }
    Ok(Picture { version: 1, recordings_left_out: found.left_out, lanes })
}
