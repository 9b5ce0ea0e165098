//! The state folder: the checkpoint of each shard, with the proof that it belongs to this input.
//!
//! ```text
//! .kcl-local/
//!   lock                                  held while a run uses the folder
//!   run.json                              the number of shards, and a name that checkpoints refer to
//!   shardId-000000000000.json             the checkpoint of that shard
//! ```
//! A checkpoint overwrites the one before in a single call, which a dying process does not cut in two; a
//! new file is written under another name and renamed. After a power failure there may be an older
//! checkpoint, so that records are repeated, or a torn one, which is refused. The file name alone proves
//! nothing: a checkpoint names the run.json that it belongs to, and [proves](super::prefix) which input it
//! covers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;
use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::prefix::{Expected, History, Mark, Prover, Unproven};
use crate::error::{Error, Exit, Result};
use crate::files::{OpenDir, UNFINISHED, create_private_dir};
use crate::kinesis::{Covered, MAX_SHARDS, Place, at_line, shard_id};

/// Raised when older versions would misread what newer ones write.
const FORMAT: u32 = 3;
/// The most bytes that are read of a state file, which has a few hundred.
const LARGEST_FILE: u64 = 1 << 20;
const RUN_FILE: &str = "run.json";
const LOCK_FILE: &str = "lock";
const START_OVER: &str = "start over with --reset, or use another folder with --state DIR";

/// An open state folder, locked against other runs.
#[derive(Debug)]
pub(crate) struct State {
    folder: Arc<Folder>,
    /// The name in `run.json`.
    run: String,
    /// The checkpoint of each shard, if it has one.
    checkpoints: Vec<Option<Checkpoint>>,
}

/// A stored checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) place: Place,
    /// The end of the last line that it covers.
    mark: Mark,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunFile {
    format: u32,
    /// Random, so that checkpoints of another state do not match.
    run: String,
    shards: u32,
}

/// The part of run.json that every format has.
#[derive(Debug, Deserialize)]
struct AnyRunFile {
    format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShardFile {
    run: String,
    sequence_number: String,
    sub_sequence_number: u64,
    /// The beginning of the input, which the checkpoint covers.
    lines: u64,
    bytes: u64,
    digest: String,
}

impl State {
    /// Opens the folder for so many shards, and creates it if it does not exist.
    pub(crate) fn open(path: &Path, shards: u32, reset: bool) -> Result<State> {
        let folder = Arc::new(Folder::open(path)?);
        let run = if reset { None } else { folder.run()? };
        if let Some(RunFile { run, shards: stored, .. }) = run {
            let of_shard = |shard| folder.checkpoint(shard, &run);
            let checkpoints =
                (0..stored.min(MAX_SHARDS)).map(of_shard).collect::<Result<Vec<_>>>()?;
            if stored == shards {
                return Ok(State { folder, run, checkpoints });
            }
            if checkpoints.iter().any(Option::is_some) {
                return Err(folder
                    .cannot_resume(&format!("it was made with --shards {stored}, not {shards}")));
            }
        }
        let run = folder.start_over(shards)?;
        Ok(State { folder, run, checkpoints: vec![None; shards as usize] })
    }

    /// Whether no shard has a checkpoint yet.
    pub(crate) fn is_new(&self) -> bool {
        self.checkpoints.iter().all(Option::is_none)
    }

    /// Returns the checkpoint of each shard from earlier runs.
    pub(crate) fn checkpoints(&self) -> &[Option<Checkpoint>] {
        &self.checkpoints
    }

    /// Returns the store for one shard's checkpoints. The history proves what they cover.
    pub(crate) fn store(&self, shard: u32, history: Arc<History>) -> Store {
        let checkpoint = self.checkpoints.get(shard as usize).and_then(Option::as_ref);
        Store(Some(ShardStore {
            folder: self.folder.clone(),
            name: shard_file(shard),
            run: self.run.clone(),
            prover: Prover::new(history),
            last: checkpoint.map_or(Mark::START, |checkpoint| checkpoint.mark),
            file: None,
        }))
    }

    /// Fails if the folder was removed or emptied meanwhile.
    pub(crate) fn check(&self) -> Result<()> {
        self.folder.check()
    }

    pub(crate) fn cannot_resume(&self, why: &str) -> Error {
        self.folder.cannot_resume(why)
    }
}

impl Checkpoint {
    pub(crate) fn covered(&self) -> Covered {
        if self.is_shard_end() { Covered::ShardEnd } else { Covered::up_to(self.mark.lines) }
    }

    /// Returns what it expects of the input.
    pub(crate) fn expected(&self) -> Expected {
        Expected { mark: self.mark, is_end: self.is_shard_end() }
    }

    fn is_shard_end(&self) -> bool {
        self.place.sequence_number == SequenceNumber::SHARD_END
    }
}

/// Where one shard's checkpoints go; `None` stores nothing.
#[derive(Debug)]
pub(crate) struct Store(Option<ShardStore>);

#[derive(Debug)]
struct ShardStore {
    folder: Arc<Folder>,
    name: String,
    run: String,
    prover: Prover,
    /// The end of the last line that the stored checkpoint covers.
    last: Mark,
    /// The file and its length, once this run has written it.
    file: Option<(File, usize)>,
}

impl Store {
    /// Stores nothing: for input that cannot be resumed.
    pub(crate) fn disabled() -> Store {
        Store(None)
    }

    /// Stores a checkpoint, so that it outlives every process. What is stored does not cover a last
    /// line without an end, as the line may still grow.
    pub(crate) fn put(&mut self, place: &Place) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |store| store.put(place))
    }
}

impl ShardStore {
    fn put(&mut self, place: &Place) -> Result<()> {
        let covered = Covered::by(place);
        let (mark, is_exact) = match (covered, self.prover.whole()) {
            (Covered::ShardEnd, Some(whole)) => (whole, true),
            // The shard has not ended: the last line may still grow.
            (Covered::ShardEnd, None) => (self.mark(u64::MAX)?, false),
            (Covered::Nothing, _) => (Mark::START, true),
            (Covered::Line(line), _) if line == self.last.lines => (self.last, true),
            (Covered::Line(line), _) => {
                let mark = self.mark(line)?;
                (mark, mark.lines == line)
            }
        };
        let place = if is_exact {
            place.clone()
        } else if mark.lines > self.last.lines {
            at_line(mark.lines)
        } else {
            return Ok(());
        };
        let file = ShardFile {
            run: self.run.clone(),
            sequence_number: place.sequence_number.as_str().into(),
            sub_sequence_number: place.sub_sequence_number,
            lines: mark.lines,
            bytes: mark.bytes,
            digest: mark.digest.to_string(),
        };
        self.folder.check()?;
        self.write(&json_line(&file)).map_err(|error| self.folder.cannot_store().because(error))?;
        self.last = mark;
        Ok(())
    }

    /// Overwrites the file. To replace it each time would take a thousand times as long on ext4, which
    /// writes to the disk for a rename.
    fn write(&mut self, line: &str) -> io::Result<()> {
        let directory = &self.folder.directory;
        match &mut self.file {
            Some((file, length)) if directory.is_named(file, &self.name)? => {
                file.write_all_at(line.as_bytes(), 0)?;
                // Readers ignore what follows the line end.
                if line.len() < std::mem::replace(length, line.len()) {
                    file.set_len(line.len() as u64)?;
                }
            }
            _ => {
                directory.replace_private_file(&self.name, line.as_bytes())?;
                self.file = Some((directory.open_private_file(&self.name)?, line.len()));
            }
        }
        Ok(())
    }

    fn mark(&mut self, line: u64) -> Result<Mark> {
        self.prover.mark(line).map_err(|unproven| {
            let error = |exit| {
                Error::new(exit, format!("cannot store a checkpoint in {}", self.folder.name()))
            };
            match unproven {
                Unproven::Changed => error(Exit::Usage)
                    .because("the input has changed since it was read")
                    .hint(START_OVER),
                Unproven::Io(cause) => {
                    error(Exit::Usage).because(format!("the input cannot be read again: {cause}"))
                }
            }
        })
    }
}

/// The open folder, even if its path changes, and the lock on it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    directory: OpenDir,
    /// Locked as long as it is open. No child inherits the lock, not even before its exec. Closing any
    /// other handle of the file would release it.
    lock: File,
}

impl Folder {
    fn open(path: &Path) -> Result<Folder> {
        let unusable = |error: io::Error| cannot("use the state folder", path).because(error);
        create_private_dir(path).map_err(unusable)?;
        let directory = OpenDir::open(path).map_err(unusable)?;
        let lock = directory.open_private_file(LOCK_FILE).map_err(unusable)?;
        match rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                return Err(cannot("use the state folder", path)
                    .because("another run of `kcl-helper local` is using it")
                    .hint("wait for that run, or choose another folder: --state DIR"));
            }
            Err(error) => return Err(unusable(error.into())),
        }
        let folder = Folder { path: path.into(), directory, lock };
        // It may have been removed before it was locked.
        folder.check()?;
        Ok(folder)
    }

    fn run(&self) -> Result<Option<RunFile>> {
        match self.read::<AnyRunFile>(RUN_FILE)? {
            None => Ok(None),
            Some(AnyRunFile { format: FORMAT }) => self.read(RUN_FILE),
            Some(AnyRunFile { format }) => {
                Err(self.cannot_resume(&format!("its format is {format}, not {FORMAT}")))
            }
        }
    }

    /// Reads the checkpoint of a shard, if it belongs to this run.json.
    fn checkpoint(&self, shard: u32, run: &str) -> Result<Option<Checkpoint>> {
        let name = shard_file(shard);
        let Some(file) = self.read::<ShardFile>(&name)? else { return Ok(None) };
        if file.run != run {
            return Ok(None);
        }
        let number = SequenceNumber::new(&file.sequence_number)
            .map_err(|error| self.damaged(&name, error))?;
        let place = ExtendedSequenceNumber::new(number, file.sub_sequence_number).to_owned();
        let digest =
            Hash::from_hex(&file.digest).map_err(|error| self.damaged(&name, error.to_string()))?;
        let mark = Mark { lines: file.lines, bytes: file.bytes, digest };
        let checkpoint = Checkpoint { place, mark };
        if !checkpoint.is_shard_end()
            && Covered::by(&checkpoint.place) != Covered::up_to(mark.lines)
        {
            return Err(self.damaged(&name, "its sequence number is not that of its last line"));
        }
        Ok(Some(checkpoint))
    }

    /// Forgets all checkpoints, in one step, by replacing run.json.
    fn start_over(&self, shards: u32) -> Result<String> {
        let run = format!("{:016x}", fastrand::u64(..));
        let line = json_line(&RunFile { format: FORMAT, run: run.clone(), shards });
        self.directory
            .replace_private_file(RUN_FILE, line.as_bytes())
            .map_err(|error| self.cannot_store().because(error))?;
        let is_ours = |name: &String| {
            (name.starts_with("shardId-") && name.ends_with(".json"))
                || name.starts_with(UNFINISHED)
        };
        let unusable = |error| cannot("use the state folder", &self.path).because(error);
        for name in self.directory.names().map_err(unusable)?.iter().filter(|name| is_ours(name)) {
            self.directory.remove(name).map_err(unusable)?;
        }
        Ok(run)
    }

    /// Fails if the folder was removed or emptied: then other runs do not see the lock.
    fn check(&self) -> Result<()> {
        match self.directory.is_named(&self.lock, LOCK_FILE) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(self.cannot_store().because("it was removed or emptied during the run"))
            }
            Err(error) => Err(self.cannot_store().because(error)),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let bytes = self.directory.read(name, LARGEST_FILE);
        match bytes.map_err(|error| cannot("read", &self.path.join(name)).because(error))? {
            None => Ok(None),
            Some(bytes) => {
                let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                serde_json::from_slice(line).map(Some).map_err(|error| self.damaged(name, error))
            }
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn cannot_store(&self) -> Error {
        Error::new(Exit::Environment, format!("cannot write to the state folder {}", self.name()))
    }

    fn cannot_resume(&self, why: &str) -> Error {
        Error::new(Exit::Usage, format!("cannot resume from the state in {}: {why}", self.name()))
            .hint(START_OVER)
    }

    fn damaged(
        &self,
        name: &str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let path = self.path.join(name);
        Error::new(Exit::Usage, format!("the state file {} is damaged", path.display()))
            .because(error)
            .hint(START_OVER)
    }
}

fn json_line<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).expect("texts and numbers have a JSON form");
    text + "\n"
}

fn shard_file(shard: u32) -> String {
    format!("{}.json", shard_id(shard))
}

fn cannot(what: &str, path: &Path) -> Error {
    Error::new(Exit::Usage, format!("cannot {what} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::prefix::{Checked, Prefix};
    use super::super::source::{Input, Source};
    use super::*;

    fn open(folder: &Path, shards: u32) -> Result<State> {
        State::open(folder, shards, false)
    }

    fn error(result: Result<State>) -> (String, Exit) {
        let error = result.unwrap_err();
        (error.to_string(), error.exit())
    }

    /// The history of the sample text, all of which was read.
    fn history() -> Arc<History> {
        let input = Source::Sample.open().unwrap();
        let history = Arc::new(History::new(input.clone(), &Prefix::default()));
        let reader = input.reader(0);
        let checked = Checked::new(reader, Prefix::default(), [], Some(history.clone())).unwrap();
        io::copy(&mut { checked }, &mut io::sink()).unwrap();
        history.end();
        history
    }

    fn place(number: &str, sub: u64) -> Place {
        ExtendedSequenceNumber::new(SequenceNumber::new(number).unwrap(), sub).to_owned()
    }

    /// A folder with a checkpoint for each of so many shards.
    fn with_checkpoints(shards: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path(), shards).unwrap();
        for shard in 0..shards {
            state.store(shard, history()).put(&at_line(5)).unwrap();
        }
        folder
    }

    #[test]
    fn other_number_of_shards_is_refused() {
        let folder = with_checkpoints(2);
        drop(open(folder.path(), 2).unwrap());
        let start = format!("cannot resume from the state in {}: ", folder.path().display());
        assert_eq!(
            error(open(folder.path(), 3)),
            (format!("{start}it was made with --shards 2, not 3"), Exit::Usage)
        );
        // Without checkpoints nothing can be wrong.
        assert!(State::open(folder.path(), 2, true).unwrap().is_new());
        assert_eq!(open(folder.path(), 3).unwrap().checkpoints().len(), 3);
    }

    #[test]
    fn other_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let start = format!("cannot resume from the state in {}: ", folder.path().display());
        // As version 2 was.
        let run =
            r#"{"format":2,"input":{"path":"/in","prefixBytes":0,"prefixMd5":""},"shards":1}"#;
        fs::write(folder.path().join(RUN_FILE), run).unwrap();
        assert_eq!(
            error(open(folder.path(), 1)),
            (format!("{start}its format is 2, not 3"), Exit::Usage)
        );
        drop(State::open(folder.path(), 1, true).unwrap());
        open(folder.path(), 1).unwrap();
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = with_checkpoints(1);
        let shard = "shardId-000000000000.json";
        let good =
            [RUN_FILE, shard].map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        let [run, checkpoint] = &good;
        let half = |text: &str| text[..text.len() / 2].to_owned();
        for (file, text) in [
            (RUN_FILE, String::new()),
            (RUN_FILE, half(run)),
            (RUN_FILE, "{}".into()),
            // As a power failure may leave it.
            (shard, String::new()),
            (shard, half(checkpoint)),
            (shard, "\0".repeat(checkpoint.len())),
            (shard, checkpoint.replace("\"4900", "\"49a0")),
            (shard, checkpoint.replace("00005\"", "00006\"")),
            (shard, checkpoint.replace("\"lines\":5", "\"lines\":4")),
            (shard, checkpoint.replace("\"lines\":5", "\"lines\":-5")),
            (shard, checkpoint.replace("\"digest\":\"", "\"digest\":\"00")),
        ] {
            fs::write(folder.path().join(RUN_FILE), run).unwrap();
            let path = folder.path().join(file);
            fs::write(&path, &text).unwrap();
            let (message, exit) = error(open(folder.path(), 1));
            assert_eq!(message, format!("the state file {} is damaged", path.display()), "{text}");
            assert_eq!(exit, Exit::Usage);
        }
    }

    #[test]
    fn bytes_after_the_line_are_ignored() {
        let folder = with_checkpoints(1);
        let path = folder.path().join(shard_file(0));
        fs::write(&path, fs::read_to_string(&path).unwrap() + "0d\"}\n").unwrap();
        assert_eq!(
            open(folder.path(), 1).unwrap().checkpoints()[0].as_ref().unwrap().covered(),
            Covered::Line(5)
        );
    }

    #[test]
    fn removed_checkpoint_file_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path(), 1).unwrap();
        let mut store = state.store(0, history());
        store.put(&at_line(3)).unwrap();
        fs::remove_file(folder.path().join(shard_file(0))).unwrap();
        store.put(&at_line(4)).unwrap();
        drop(state);
        assert_eq!(
            open(folder.path(), 1).unwrap().checkpoints()[0].as_ref().unwrap().covered(),
            Covered::Line(4)
        );
    }

    #[test]
    fn checkpoints_of_another_state_are_ignored() {
        let [folder, other] = [with_checkpoints(1), with_checkpoints(1)];
        let name = shard_file(0);
        fs::copy(other.path().join(&name), folder.path().join(&name)).unwrap();
        assert!(open(folder.path(), 1).unwrap().is_new());
        // Without run.json they belong to no state.
        fs::remove_file(other.path().join(RUN_FILE)).unwrap();
        assert!(open(other.path(), 1).unwrap().is_new());
    }

    #[test]
    fn replaced_folder_is_not_written_to() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("state");
        for emptied_only in [false, true] {
            let state = open(&path, 1).unwrap();
            let mut store = state.store(0, history());
            store.put(&at_line(1)).unwrap();
            if emptied_only {
                fs::remove_file(path.join(LOCK_FILE)).unwrap();
                fs::remove_file(path.join(RUN_FILE)).unwrap();
            } else {
                fs::remove_dir_all(&path).unwrap();
            }
            drop(open(&path, 1).unwrap());
            let error = store.put(&at_line(2)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot write to the state folder {}", path.display())
            );
            assert_eq!(error.exit(), Exit::Environment);
            assert!(state.check().is_err());
            assert!(open(&path, 1).unwrap().is_new());
        }
    }

    #[test]
    fn reset_removes_only_our_files() {
        let folder = with_checkpoints(1);
        let at = |name: &str| folder.path().join(name);
        for name in ["notes.txt", "shardId-7.json", ".unfinished-x"] {
            fs::write(at(name), "").unwrap();
        }
        assert!(State::open(folder.path(), 1, true).unwrap().is_new());
        assert!(at("notes.txt").exists());
        assert!(!at("shardId-7.json").exists() && !at(".unfinished-x").exists());
        assert!(!at("shardId-000000000000.json").exists());
    }

    #[test]
    fn unfinished_file_of_a_killed_run_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path(), 1).unwrap();
        let unfinished = format!("{UNFINISHED}{}", shard_file(0));
        fs::write(folder.path().join(&unfinished), "half").unwrap();
        state.store(0, history()).put(&at_line(3)).unwrap();
        assert!(!folder.path().join(&unfinished).exists());
        drop(state);
        assert_eq!(
            open(folder.path(), 1).unwrap().checkpoints()[0].as_ref().unwrap().covered(),
            Covered::Line(3)
        );
    }

    #[test]
    fn checkpoint_covers_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let stored = |puts: &[Place]| {
            let state = State::open(folder.path(), 1, true).unwrap();
            let mut store = state.store(0, history());
            puts.iter().for_each(|place| store.put(place).unwrap());
            drop(state);
            let checkpoint = open(folder.path(), 1).unwrap().checkpoints()[0].clone();
            checkpoint.map(|checkpoint| (checkpoint.covered(), checkpoint.place))
        };
        let with_sub = |line, sub| Place { sub_sequence_number: sub, ..at_line(line) };
        for (puts, covered) in [
            (vec![at_line(3)], Covered::Line(3)),
            (vec![with_sub(3, 9)], Covered::Line(3)),
            (vec![at_line(3), with_sub(3, 9)], Covered::Line(3)),
            // Numbers of no line.
            (vec![place("0", 0)], Covered::Nothing),
            (vec![place("12", 5)], Covered::Nothing),
            (vec![place("TRIM_HORIZON", 0)], Covered::Nothing),
            (vec![place("LATEST", 0)], Covered::Nothing),
            (vec![at_line(5), place("SHARD_END", 0)], Covered::ShardEnd),
        ] {
            assert_eq!(stored(&puts), Some((covered, puts.last().unwrap().clone())));
        }
        // There are 2,365 lines, and the shard has not ended.
        for puts in [vec![at_line(2366)], vec![at_line(2000), place(&"9".repeat(56), 7)]] {
            assert_eq!(stored(&puts), Some((Covered::Line(2365), at_line(2365))));
        }
    }

    #[test]
    fn line_without_an_end_is_not_covered() {
        for (text, stored) in [("one", None), ("one\ntwo", Some(at_line(1)))] {
            let folder = tempfile::tempdir().unwrap();
            let input = Input::Text(text.as_bytes());
            let history = Arc::new(History::new(input.clone(), &Prefix::default()));
            let reader = input.reader(0);
            let read = Checked::new(reader, Prefix::default(), [], Some(history.clone()));
            io::copy(&mut read.unwrap(), &mut io::sink()).unwrap();
            for last in [at_line(text.lines().count() as u64), place("SHARD_END", 0)] {
                let state = open(folder.path(), 1).unwrap();
                state.store(0, history.clone()).put(&last).unwrap();
                drop(state);
                let checkpoint = open(folder.path(), 1).unwrap().checkpoints()[0].clone();
                assert_eq!(checkpoint.map(|checkpoint| checkpoint.place), stored);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn stored_checkpoints_are_read_back(
            places in prop::collection::vec(
                prop_oneof![
                    ("[0-4][0-9]{0,54}|SHARD_END|TRIM_HORIZON", any::<u64>())
                        .prop_map(|(number, sub)| place(&number, sub)),
                    (1..2000u64).prop_map(at_line),
                ],
                1..4,
            ),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let shards = places.len() as u32;
            let state = open(folder.path(), shards).unwrap();
            prop_assert!(state.is_new());
            let history = history();
            // Whatever was there before, longer or shorter.
            for (shard, place) in (0..).zip(&places) {
                state.store(shard, history.clone()).put(&at_line(2001)).unwrap();
                state.store(shard, history.clone()).put(place).unwrap();
            }
            drop(state);
            let mut names: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            names.sort();
            prop_assert_eq!(names.len(), places.len() + 2);
            prop_assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(UNFINISHED)));
            let state = open(folder.path(), shards).unwrap();
            prop_assert!(!state.is_new());
            for (checkpoint, place) in state.checkpoints().iter().flatten().zip(&places) {
                prop_assert_eq!(&checkpoint.place, place);
                prop_assert_eq!(
                    checkpoint.place.sequence_number.as_str(),
                    place.sequence_number.as_str()
                );
                prop_assert_eq!(checkpoint.covered(), Covered::by(place));
            }
            prop_assert_eq!(state.checkpoints().iter().flatten().count(), places.len());
        }
    }
}
