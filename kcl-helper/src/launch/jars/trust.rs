//! Whether another user can replace a jar after we have verified it and before the JVM loads it.
//!
//! Jars are code that runs as the user, and so is a class-data archive, which has no checksum in the lock.
//! If the cache belongs to the user or root and nobody else can write to it, its files are used directly.
//! Otherwise, as in a volume that Kubernetes mounts for everybody, each run copies the jars and verifies
//! the copies. A lock in such a folder proves nothing.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Fault, Faulty, Jar, Jars, Lock};
use crate::error::{Error, Exit, Result};
use crate::files::{create_private_dir, create_private_file, open_regular_file};

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OTHERS_WRITE: u32 = 0o002;
/// In a folder with this bit, only the owner of a file may rename it.
const STICKY: u32 = 0o1000;

impl Jars {
    /// Returns why other users can change the cache, if they can.
    pub(crate) fn others(&self) -> Option<Others> {
        match self.judge() {
            Ok(()) => None,
            // We will create what is missing.
            Err(Others::Unknown(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(others) => Some(others),
        }
    }

    fn judge(&self) -> Result<(), Others> {
        let folder = &self.folder;
        for folder in [&self.cache.folder, folder.parent().unwrap_or(folder), folder] {
            judge(folder, &fs::metadata(folder)?)?;
        }
        for above in fs::canonicalize(&self.cache.folder)?.ancestors().skip(1) {
            let mode = fs::metadata(above)?.mode();
            if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
                return Err(Others::Write(above.to_owned()));
            }
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = entry.metadata()?;
            // Links are never used.
            if found.is_file() {
                judge(&entry.path(), &found)?;
            }
        }
        Ok(())
    }

    /// Copies the jars into a private folder and verifies the copies. Returns their paths in class-path
    /// order.
    pub(crate) fn copies(&self, others: &Others, folder: &Path) -> Result<Vec<PathBuf>> {
        if Lock::built_in(self.daemon.version()).is_none() {
            let path = super::own_lock(&self.folder);
            let message = format!("cannot trust {}: {others}", path.display());
            return Err(Error::new(Exit::Environment, message)
                .hint("choose a folder of your own with --cache or KCL_HELPER_CACHE"));
        }
        let folder = folder.join("jars");
        create_private_dir(&folder).map_err(|error| super::cannot_write(&folder, error))?;
        let copy = |jar: &Jar| {
            let path = folder.join(&jar.file);
            copy(&self.folder.join(&jar.file), &path, jar).map_err(|fault| {
                let faulty = Faulty { jar: jar.clone(), fault };
                Error::new(Exit::Environment, format!("cannot copy a jar: {faulty}"))
            })?;
            Ok(path)
        };
        self.lock()?.jars().iter().map(copy).collect()
    }
}

fn copy(from: &Path, to: &Path, jar: &Jar) -> Result<(), Fault> {
    let copy = || {
        // One byte more shows that it is too long.
        let from = open_regular_file(from)?.take(jar.size.saturating_add(1));
        let mut to = create_private_file(to)?;
        super::copy(from, |piece| to.write_all(piece))
    };
    match copy().map_err(|error: io::Error| Fault::Unreadable(error.to_string()))? {
        (size, _) if size != jar.size => Err(Fault::Size(size)),
        (_, sum) if sum != jar.sha256 => Err(Fault::Checksum(sum)),
        _ => Ok(()),
    }
}

/// Why other users can change the cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Others {
    #[error("other users can write to {}", .0.display())]
    Write(PathBuf),
    #[error("{} belongs to user {}", .0.display(), .1)]
    Own(PathBuf, u32),
    #[error("cannot tell who can write to the cache: {0}")]
    Unknown(#[from] io::Error),
}

fn judge(path: &Path, found: &fs::Metadata) -> Result<(), Others> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(Others::Own(path.to_owned(), owner));
    }
    if found.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(Others::Write(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::Cache;
    use super::*;
    use crate::launch::daemon::Daemon;
    use crate::properties::Version;

    /// A cache with one jar, for a version with a built-in lock.
    fn jars(cache: &Path, text: &str) -> Jars {
        let line =
            "g:a:1 a-1.jar 6 b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060\n";
        let folder = cache.join("jars/3.1.3");
        crate::files::create_shared_dir(&folder).unwrap();
        fs::write(folder.join("a-1.jar"), text).unwrap();
        fs::set_permissions(folder.join("a-1.jar"), fs::Permissions::from_mode(0o644)).unwrap();
        Jars {
            daemon: Daemon::of(Version::DEFAULT).unwrap(),
            cache: Cache { folder: cache.to_owned() },
            folder,
            lock: Some(line.parse().unwrap()),
        }
    }

    #[test]
    fn copies_are_verified_against_the_lock() {
        let stage = tempfile::tempdir().unwrap();
        let cache = stage.path().join("cache");
        let good = jars(&cache, "alpha\n");
        assert!(good.others().is_none());
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
        let others = good.others().unwrap();
        assert_eq!(others.to_string(), format!("other users can write to {}", cache.display()));

        let run = tempfile::tempdir().unwrap();
        let copies = good.copies(&others, run.path()).unwrap();
        assert_eq!(copies, [run.path().join("jars/a-1.jar")]);
        assert_eq!(fs::read(&copies[0]).unwrap(), b"alpha\n");
        assert_eq!(fs::metadata(&copies[0]).unwrap().mode() & 0o7777, 0o600);

        let path = good.folder.join("a-1.jar");
        let refused = |expected: &str| {
            let run = tempfile::tempdir().unwrap();
            let error = good.copies(&others, run.path()).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot copy a jar: {expected}"));
        };
        fs::write(&path, "EVIL!\n").unwrap();
        refused(
            "a-1.jar has the SHA-256 6b20f34a13a35b79dae5cc3da91cb20b9f8fa0f3c2e1172455dc98aac04f2607 \
             (expected b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060)",
        );
        fs::write(&path, "alpha\nand more").unwrap();
        refused("a-1.jar has 7 bytes (expected 6)");
        fs::remove_file(&path).unwrap();
        symlink(stage.path().join("elsewhere"), &path).unwrap();
        refused("cannot read a-1.jar: it is a symbolic link");
    }
}
