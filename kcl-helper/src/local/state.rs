//! The state folder: which input it is about, and each shard's checkpoint.
//!
//! ```text
//! .kcl-local/
//!   lock                                  held while a run uses the folder
//!   run.json                              the input's identity and the number of shards
//!   shardId-000000000000.json             that shard's checkpoint
//! ```
//! Every file is replaced as a whole: whatever process dies, the old one or the new one is there.
//! After a power failure it may be one from up to some tenths of a second before, and what was
//! delivered meanwhile comes again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::shards::{Place, shard_id};
use super::source::{Identity, Source};
use crate::error::{Error, Exit, Result};

/// Raised when older versions would misread what newer ones write.
const FORMAT: u32 = 2;
const RUN_FILE: &str = "run.json";

/// An open state folder; nobody else uses it meanwhile.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    _lock: File,
    /// Each shard's checkpoint, where it has one.
    checkpoints: Vec<Option<Place>>,
    is_new: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunFile {
    format: u32,
    input: Identity,
    shards: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShardFile {
    sequence_number: String,
    sub_sequence_number: u64,
}

impl State {
    /// Opens the folder, making it if need be, for this input and so many shards.
    pub(crate) fn open(folder: &Path, source: &Source, shards: u32, reset: bool) -> Result<State> {
        let unusable = |error| cannot("use the state folder", folder).because(error);
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(cannot("use the state folder", folder)
                    .because("another run of `kcl-helper local` uses it now")
                    .hint("wait for that run, or choose another folder: --state DIR"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        if reset {
            remove_all(folder).map_err(unusable)?;
        }
        let mut state = State {
            folder: folder.into(),
            _lock: lock,
            checkpoints: vec![None; shards as usize],
            is_new: true,
        };
        match read::<RunFile>(&folder.join(RUN_FILE))? {
            None => {
                // Checkpoints without their run.json belong to nobody knows what.
                remove_all(folder).map_err(unusable)?;
                let run = RunFile { format: FORMAT, input: source.identity(None)?, shards };
                write(&folder.join(RUN_FILE), &run)?;
            }
            Some(run) => {
                judge(&run, folder, source, shards)?;
                for shard in 0..shards {
                    state.checkpoints[shard as usize] = read_checkpoint(folder, shard)?;
                }
                state.is_new = state.checkpoints.iter().all(Option::is_none);
            }
        }
        Ok(state)
    }

    /// Whether no shard has a checkpoint yet.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where this shard's last run stopped.
    pub(crate) fn checkpoint(&self, shard: u32) -> Option<&Place> {
        self.checkpoints.get(shard as usize)?.as_ref()
    }

    /// What stores one shard's checkpoints.
    pub(crate) fn store(&self, shard: u32) -> Store {
        Store { path: Some(shard_path(&self.folder, shard)), spare: None, synced: None }
    }
}

/// Where one shard's checkpoints go.
#[derive(Debug)]
pub(crate) struct Store {
    /// `None` keeps nothing.
    path: Option<PathBuf>,
    /// Where the checkpoint before stands, to be written over by the next, once there is one.
    spare: Option<PathBuf>,
    /// When both stood on the disk.
    synced: Option<Instant>,
}

/// A disk is waited for no more often. A child that checkpoints more often than this would wait
/// for little else.
const SYNC_EVERY: Duration = Duration::from_millis(100);

impl Store {
    /// Keeps nothing: for input that cannot be read again.
    pub(crate) fn nowhere() -> Store {
        Store { path: None, spare: None, synced: None }
    }

    /// Stores a checkpoint: when this returns it outlives every process, and it stands on the disk
    /// unless another did so just before.
    pub(crate) fn put(&mut self, place: &Place) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = ShardFile {
            sequence_number: place.sequence_number.as_str().into(),
            sub_sequence_number: place.sub_sequence_number,
        };
        if let Some(spare) = &self.spare {
            let syncs = self.synced.is_none_or(|synced| synced.elapsed() >= SYNC_EVERY);
            if exchange(spare, path, &file, syncs).is_ok() {
                if syncs {
                    self.synced = Some(Instant::now());
                }
                return Ok(());
            }
        }
        // The first of the run, or a file system that cannot exchange; if this fails too, it says
        // why.
        write(path, &file)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.spare = Some(path.with_file_name(format!("{TEMPORARY}{name}")));
        // The next makes a file, whose length must be on the disk before its name is.
        self.synced = None;
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let (Some(path), Some(spare)) = (&self.path, &self.spare) else { return };
        // What does not reach the disk is delivered again after a power failure, and not lost.
        let _ = File::open(path).and_then(|file| file.sync_data());
        let _ = fs::remove_file(spare);
        let _ = sync_folder(path);
    }
}

fn shard_path(folder: &Path, shard: u32) -> PathBuf {
    folder.join(format!("{}.json", shard_id(shard)))
}

fn judge(run: &RunFile, folder: &Path, source: &Source, shards: u32) -> Result<()> {
    let differs = |what: String| {
        let folder = folder.display();
        Err(Error::new(Exit::Usage, format!("the state in {folder} is of another run: {what}"))
            .hint(
                "--reset forgets it and starts over; --state DIR keeps it and uses another folder",
            ))
    };
    if run.format != FORMAT {
        return differs(format!("its format is {}, not {FORMAT}", run.format));
    }
    let input = source.identity(Some(run.input.prefix_bytes()))?;
    if run.input.path != input.path {
        return differs(format!("its input is {}", run.input.path));
    }
    if run.input != input {
        return differs(format!("since then the beginning of {} has changed", source.name()));
    }
    if run.shards != shards {
        return differs(format!("it has --shards {}, not {shards}", run.shards));
    }
    Ok(())
}

fn read_checkpoint(folder: &Path, shard: u32) -> Result<Option<Place>> {
    let path = shard_path(folder, shard);
    let Some(file) = read::<ShardFile>(&path)? else { return Ok(None) };
    let number =
        SequenceNumber::new(&file.sequence_number).map_err(|error| damaged(&path, error))?;
    Ok(Some(ExtendedSequenceNumber::new(number, file.sub_sequence_number).to_owned()))
}

/// Removes what a run writes, and nothing else that may be in the folder.
fn remove_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name == RUN_FILE
            || (name.starts_with("shardId-") && name.ends_with(".json"))
            || name.starts_with(TEMPORARY);
        if is_ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path).because(error)),
    }
}

/// What a file's name begins with before it takes its place.
const TEMPORARY: &str = ".new-";

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let replace = || {
        let text = json_line(value)?;
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder_of(path))?;
        file.write_all(text.as_bytes())?;
        // The content must be on the disk before the name is, and the name before this returns.
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(path)
    };
    replace().map_err(|error: io::Error| {
        let path = path.display();
        Error::new(Exit::Surroundings, format!("cannot write {path}")).because(error)
    })
}

/// As every file is written. Checkpoints have one length, so that one can be written over another
/// without a moment at which its length is that of the other.
fn json_line<T: Serialize>(value: &T) -> io::Result<String> {
    Ok(format!("{:<255}\n", serde_json::to_string(value)?))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn sync_folder(of: &Path) -> io::Result<()> {
    File::open(folder_of(of))?.sync_all()
}

/// Like [`write()`], over a file that is there already: no file is made and none is removed, so that
/// the disk has half as much to do. It stands under its own name before the two names are exchanged.
/// Where nothing `syncs`, the disk may have either file under the name, and in either what it had
/// before or has now: an earlier checkpoint at worst.
#[cfg(target_os = "linux")]
fn exchange<T: Serialize>(spare: &Path, path: &Path, value: &T, syncs: bool) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let text = json_line(value)?;
    let mut file = File::options().write(true).create(true).truncate(false).open(spare)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    if syncs {
        file.sync_data()?;
    }
    renameat_with(CWD, spare, CWD, path, RenameFlags::EXCHANGE)?;
    if syncs {
        File::open(spare)?.sync_data()?;
        sync_folder(path)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn exchange<T: Serialize>(_: &Path, _: &Path, _: &T, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn cannot(what: &str, path: &Path) -> Error {
    Error::new(Exit::Usage, format!("cannot {what} {}", path.display()))
}

fn damaged(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let path = path.display();
    Error::new(Exit::Usage, format!("the state file {path} is damaged"))
        .because(error)
        .hint("--reset forgets all checkpoints in its folder and starts over")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &Path, source: &Source, shards: u32) -> Result<State> {
        State::open(folder, source, shards, false)
    }

    fn error(result: Result<State>) -> (String, Exit) {
        let error = result.unwrap_err();
        (error.to_string(), error.exit())
    }

    #[test]
    fn differences_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/state");
        let input = folder.path().join("input");
        fs::write(&input, "one\ntwo\n").unwrap();
        let source = Source::File(input.clone());
        drop(open(&state, &source, 2).unwrap());
        drop(open(&state, &source, 2).unwrap());

        // More behind the beginning is still the same input; another beginning is not.
        fs::write(&input, "one\ntwo\nthree\n").unwrap();
        drop(open(&state, &source, 2).unwrap());
        let of_another = format!("the state in {} is of another run: ", state.display());
        assert_eq!(
            error(open(&state, &source, 3)),
            (format!("{of_another}it has --shards 2, not 3"), Exit::Usage)
        );
        assert_eq!(
            error(open(&state, &Source::Sample, 2)),
            (format!("{of_another}its input is {}", input.display()), Exit::Usage)
        );
        for text in ["One\ntwo\nthree\n", "one"] {
            fs::write(&input, text).unwrap();
            let changed = format!("since then the beginning of {} has changed", input.display());
            assert_eq!(
                error(open(&state, &source, 2)),
                (format!("{of_another}{changed}"), Exit::Usage)
            );
        }
        drop(State::open(&state, &source, 2, true).unwrap());
        drop(open(&state, &source, 2).unwrap());

        // Of before keys were what they are, so that lines would go to other shards.
        let run = fs::read_to_string(state.join(RUN_FILE)).unwrap();
        fs::write(state.join(RUN_FILE), run.replace("\"format\":2", "\"format\":1")).unwrap();
        assert_eq!(
            error(open(&state, &source, 2)),
            (format!("{of_another}its format is 1, not 2"), Exit::Usage)
        );
    }

    #[test]
    fn one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), &Source::Sample, 1).unwrap();
        let (text, exit) = error(open(folder.path(), &Source::Sample, 1));
        assert_eq!(text, format!("cannot use the state folder {}", folder.path().display()));
        assert_eq!(exit, Exit::Usage);
        drop(first);
        open(folder.path(), &Source::Sample, 1).unwrap();
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("run.json", "{"),
            ("run.json", "{}"),
            ("shardId-000000000000.json", ""),
            ("shardId-000000000000.json", r#"{"sequenceNumber":"12a","subSequenceNumber":0}"#),
            ("shardId-000000000000.json", r#"{"sequenceNumber":"12","subSequenceNumber":-1}"#),
        ] {
            drop(State::open(folder.path(), &Source::Sample, 1, true).unwrap());
            let path = folder.path().join(file);
            fs::write(&path, text).unwrap();
            let (text, exit) = error(open(folder.path(), &Source::Sample, 1));
            assert_eq!(text, format!("the state file {} is damaged", path.display()));
            assert_eq!(exit, Exit::Usage);
        }
    }

    #[test]
    fn reset_removes_what_is_ours_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        drop(open(folder.path(), &Source::Sample, 1).unwrap());
        for name in ["notes.txt", "shardId-7.json", ".new-x"] {
            fs::write(at(name), "").unwrap();
        }
        drop(State::open(folder.path(), &Source::Sample, 1, true).unwrap());
        assert!(at("notes.txt").exists());
        assert!(!at("shardId-7.json").exists() && !at(".new-x").exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn checkpoints_come_back(
            numbers in prop::collection::vec(("[0-9]{1,129}|SHARD_END|TRIM_HORIZON", any::<u64>()), 1..4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let shards = numbers.len() as u32;
            let state = open(folder.path(), &Source::Sample, shards).unwrap();
            prop_assert!(state.is_new());
            let places: Vec<Place> = numbers
                .iter()
                .map(|(number, sub)| {
                    ExtendedSequenceNumber::new(SequenceNumber::new(number).unwrap(), *sub).to_owned()
                })
                .collect();
            // Whatever stood there before, longer or shorter.
            for (shard, place) in (0..).zip(&places) {
                let mut store = state.store(shard);
                for place in places.iter().chain([place]) {
                    store.put(place).unwrap();
                }
            }
            drop(state);
            let mut names: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            names.sort();
            prop_assert_eq!(names.len(), numbers.len() + 2);
            prop_assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(TEMPORARY)));
            let state = open(folder.path(), &Source::Sample, shards).unwrap();
            prop_assert!(!state.is_new());
            for (shard, place) in (0..).zip(&places) {
                let read = state.checkpoint(shard).unwrap();
                prop_assert_eq!(read, place);
                prop_assert_eq!(read.sequence_number.as_str(), place.sequence_number.as_str());
            }
        }
    }
}
