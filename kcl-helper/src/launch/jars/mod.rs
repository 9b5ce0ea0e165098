//! The daemon's jars in the user's cache folder, shared between projects.
//!
//! `CACHE/jars/VERSION/` has the jars that the version's lock names; other files there are ignored. One
//! process at a time changes the cache, and a jar gets its name only when it is complete, so readers need
//! no lock.

mod download;
mod lock;
mod maven;
mod trust;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use etcetera::BaseStrategy as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) use lock::{Jar, Lock};

use crate::error::{Error, Exit, Result};
use crate::files::{
    UNFINISHED, create_shared_dir, is_regular_file, open_private_file, open_regular_file, publish,
    read_text_at_most, unfinished_file,
};
use crate::guardian::Guardian;
use crate::launch::daemon::Daemon;
use crate::output::Reporter;
use crate::secret::Masked;

/// The folder for files that can be fetched again.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Returns the folder of `--cache`, else the user's own cache folder.
    pub(crate) fn find(option: Option<&Path>) -> Result<Cache> {
        if let Some(folder) = option {
            return Ok(Cache { folder: crate::launch::paths::absolute(folder) });
        }
        let strategy = etcetera::choose_base_strategy().map_err(|error| {
            Error::new(Exit::Environment, "cannot find the cache folder")
                .because(error)
                .hint("name one with --cache or KCL_HELPER_CACHE")
        })?;
        Ok(Cache { folder: strategy.cache_dir().join("kcl-helper") })
    }

    /// Returns the folder for the names of workers.
    pub(crate) fn workers(&self) -> PathBuf {
        self.folder.join("workers")
    }
}

/// Where missing jars come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Missing jars are an error.
    Offline,
    /// The user's Maven, with its mirrors, proxies and credentials.
    Maven,
    /// The root of a repository, over HTTP.
    Repository(Masked),
}

/// The jars that one daemon needs, and their folder.
#[derive(Debug, Clone)]
pub(crate) struct Jars {
    daemon: Daemon,
    cache: Cache,
    folder: PathBuf,
    lock: Option<Lock>,
}

impl Jars {
    pub(crate) fn of(daemon: Daemon, cache: &Cache) -> Result<Jars> {
        let folder = cache.folder.join("jars").join(daemon.version().to_string());
        let lock = match Lock::built_in(daemon.version()) {
            Some(lock) => Some(lock),
            None => read_lock(&own_lock(&folder))?,
        };
        Ok(Jars { daemon, cache: cache.clone(), folder, lock })
    }

    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the built-in lock, or the one that `--lock` has written.
    pub(crate) fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(|| {
            let version = self.daemon.version();
            let message = format!("cannot find the jars of {version}: there is no lock for them");
            let hint = format!("run kcl-helper jars fetch --kcl-version {version} --lock");
            Error::new(Exit::Usage, message).hint(hint)
        })
    }

    /// Returns the jars that are present, in class-path order, and how many are missing.
    pub(crate) fn present(&self) -> (Vec<PathBuf>, usize) {
        let jars = self.lock.as_ref().map_or(&[][..], Lock::jars);
        let present: Vec<PathBuf> = jars
            .iter()
            .map(|jar| self.folder.join(&jar.file))
            .filter(|path| is_regular_file(path))
            .collect();
        let missing = jars.len() - present.len();
        (present, missing)
    }

    /// Returns the jars that differ from the lock or are missing.
    pub(crate) fn faults(&self) -> Result<Vec<Faulty>> {
        let faulty = |jar: &Jar| {
            let fault = examine(&self.folder.join(&jar.file), jar).err()?;
            Some(Faulty { jar: jar.clone(), fault })
        };
        Ok(self.lock()?.jars().iter().filter_map(faulty).collect())
    }

    /// Returns the names of `.jar` files that the lock does not name. They are not on the class path.
    pub(crate) fn unlocked_jars(&self) -> Result<Vec<String>> {
        let lock = self.lock()?;
        let mut unlocked: Vec<String> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".jar") && !name.starts_with('.'))
            .filter(|name| !lock.jars().iter().any(|jar| jar.file == *name))
            .collect();
        unlocked.sort();
        Ok(unlocked)
    }

    /// Fetches jars that are missing or differ from the lock. Returns how many.
    pub(crate) fn fetch(
        &self,
        source: &Source,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<usize> {
        let lock = self.lock()?;
        let count = jars_of(&lock.jars().iter().collect::<Vec<_>>());
        let mut faults = self.faults()?;
        let start = Instant::now();
        if !faults.is_empty() && !matches!(source, Source::Offline) {
            let _held = self.cache.lock(reporter)?;
            // Another process may have fetched them while we waited.
            faults = self.faults()?;
            self.repair(&faults, source, guardian, reporter)?;
        }
        match (faults.len(), source) {
            (0, _) => reporter.result(&format!("{count}: all already present")),
            (_, Source::Offline) => return Err(self.missing_offline(&faults)),
            (fetched, _) => reporter.result(&format!(
                "{count}: {} already present, {fetched} fetched in {:.1}s",
                lock.jars().len() - fetched,
                start.elapsed().as_secs_f64()
            )),
        }
        Ok(faults.len())
    }

    /// Fetches these jars again. The cache must be locked.
    fn repair(
        &self,
        faults: &[Faulty],
        source: &Source,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<()> {
        self.prepare_folder()?;
        let unfinished = self.unfinished_folder(guardian)?;
        for broken in faults.iter().filter(|faulty| faulty.fault != Fault::Missing) {
            reporter.warn(&format!("{broken}: fetching it again"));
        }
        let wanted: Vec<&Jar> = faults.iter().map(|faulty| &faulty.jar).collect();
        match source {
            _ if wanted.is_empty() => Ok(()),
            Source::Offline => Ok(()),
            Source::Maven => {
                reporter.say(&format!("fetching {} with Maven", jars_of(&wanted)));
                let found = maven::Resolution::exactly(&wanted, unfinished, guardian, reporter)?;
                wanted.iter().try_for_each(|jar| found.publish(jar, &self.folder))
            }
            Source::Repository(url) => {
                reporter.say(&format!("fetching {} from {url}", jars_of(&wanted)));
                download::all(&wanted, &self.folder, unfinished.path(), url, reporter)
            }
        }
    }

    /// Lets Maven resolve which jars the daemon needs, fetches them, and writes a lock. Returns its path.
    pub(crate) fn resolve_and_lock(
        &self,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<PathBuf> {
        let version = self.daemon.version();
        if Lock::built_in(version).is_some() {
            let message = format!("cannot write a lock for {version}: kcl-helper has one built in");
            return Err(Error::new(Exit::Usage, message).hint("omit --lock"));
        }
        let start = Instant::now();
        let _held = self.cache.lock(reporter)?;
        self.prepare_folder()?;
        reporter.say(&format!("resolving {version} with Maven"));
        let unfinished = self.unfinished_folder(guardian)?;
        let found = maven::Resolution::of(self.daemon, unfinished, guardian, reporter)?;
        let lock = Lock::new(found.jars()?);
        for jar in lock.jars() {
            found.publish(jar, &self.folder)?;
        }
        let path = own_lock(&self.folder);
        write_atomically(&path, lock.to_text(self.daemon).as_bytes())?;
        reporter.result(&format!(
            "{}: fetched and locked in {:.1}s",
            jars_of(&lock.jars().iter().collect::<Vec<_>>()),
            start.elapsed().as_secs_f64()
        ));
        Ok(path)
    }

    /// Runs `work` in a temporary folder beside the jars, while no other process can change the cache.
    pub(crate) fn while_locked<T>(
        &self,
        guardian: &Guardian,
        reporter: &Reporter,
        work: impl FnOnce(&Path) -> T,
    ) -> Result<T> {
        let _held = self.cache.lock(reporter)?;
        self.prepare_folder()?;
        let folder = self.unfinished_folder(guardian)?;
        Ok(work(folder.path()))
    }

    /// Creates a folder on the same disk as the jars, so that files in it can be moved by renaming. It is
    /// removed with this process, even after SIGKILL.
    fn unfinished_folder(&self, guardian: &Guardian) -> Result<TempDir> {
        let create = || {
            let folder = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir_in(&self.folder)?;
            guardian.remove_at_end(folder.path())?;
            Ok(folder)
        };
        create().map_err(|error| cannot_write(&self.folder, error))
    }

    fn missing_offline(&self, faults: &[Faulty]) -> Error {
        let names: Vec<String> = faults.iter().map(Faulty::to_string).collect();
        let total = self.lock.as_ref().map_or(0, |lock| lock.jars().len());
        let message = format!("cannot download {} of {total} jars: --offline is set", faults.len());
        Error::new(Exit::Environment, message).because(names.join("; "))
    }

    /// Creates the folder and removes leftovers of a killed fetch. The cache must be locked.
    fn prepare_folder(&self) -> Result<()> {
        let prepare = || {
            create_shared_dir(&self.folder)?;
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    continue;
                }
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
            Ok(())
        };
        prepare().map_err(|error: io::Error| cannot_write(&self.folder, error))
    }
}

impl Cache {
    /// Locks the cache for changes until the returned file is dropped.
    fn lock(&self, reporter: &Reporter) -> Result<File> {
        let path = self.folder.join("lock");
        let lock = || {
            create_shared_dir(&self.folder)?;
            let file = open_private_file(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    reporter.say("waiting for another kcl-helper that is fetching jars");
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(file)
        };
        lock().map_err(|error| cannot_write(&path, error))
    }
}

/// A jar that is missing or differs from the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Faulty {
    pub(crate) jar: Jar,
    pub(crate) fault: Fault,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Missing,
    Size(u64),
    Checksum(String),
    Unreadable(String),
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Jar { file, size, sha256, .. } = &self.jar;
        match &self.fault {
            Fault::Missing => write!(f, "{file} is missing"),
            Fault::Size(0) => write!(f, "{file} is empty (expected {size} bytes)"),
            Fault::Size(found) => write!(f, "{file} has {found} bytes (expected {size})"),
            Fault::Checksum(found) => {
                write!(f, "{file} has the SHA-256 {found} (expected {sha256})")
            }
            Fault::Unreadable(why) => write!(f, "cannot read {file}: {why}"),
        }
    }
}

fn examine(path: &Path, jar: &Jar) -> Result<(), Fault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Unreadable(error.to_string()),
    };
    let file = open_regular_file(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size != jar.size {
        return Err(Fault::Size(size));
    }
    let found = checksum(file).map_err(unreadable)?;
    if found != jar.sha256 {
        return Err(Fault::Checksum(found));
    }
    Ok(())
}

fn checksum(file: File) -> io::Result<String> {
    copy(file, |_| Ok(())).map(|(_, sum)| sum)
}

/// Reads everything, passes each piece to `write`, and returns the size and SHA-256.
fn copy<E: From<io::Error>>(
    mut from: impl io::Read,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(u64, String), E> {
    let (mut sum, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hexadecimal(&sum.finalize()))),
            Ok(count) => {
                write(&buffer[..count])?;
                sum.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn own_lock(folder: &Path) -> PathBuf {
    folder.join("jars.lock")
}

/// In bytes. Locks have about ten thousand.
const LARGEST_LOCK: u64 = 1 << 20;

fn read_lock(path: &Path) -> Result<Option<Lock>> {
    let failed = |why: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Exit::Environment, format!("cannot read {}", path.display()))
            .because(why)
            .hint("delete it and run kcl-helper jars fetch --lock")
    };
    match open_regular_file(path).and_then(|file| read_text_at_most(file, LARGEST_LOCK)) {
        Ok(text) => text.parse().map(Some).map_err(|error: lock::LockError| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// Writes a file so that nobody ever sees an incomplete one under this name.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = unfinished_file(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        finish(file, path)
    };
    write().map_err(|error| cannot_write(path, error))
}

/// Gives a complete file its name, after its content has reached the disk.
fn finish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    let file = file.into_temp_path();
    publish(&file, path)?;
    file.keep()?;
    Ok(())
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::new(Exit::Environment, format!("cannot write to {}", path.display()))
        .because(error)
        .hint("choose another folder with --cache or KCL_HELPER_CACHE")
}

fn jars_of(jars: &[&Jar]) -> String {
    let bytes = jars.iter().map(|jar| jar.size).sum();
    match jars.len() {
        1 => format!("1 jar, {}", megabytes(bytes)),
        count => format!("{count} jars, {}", megabytes(bytes)),
    }
}

/// Formats a size with two or three digits: `74 MB`, `0.3 MB`, `712 bytes`.
pub(crate) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} MB", bytes as f64 / 1e6),
    }
}
