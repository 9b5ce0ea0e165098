//! A folder for the files of one run, which only the user can read and which is removed with the run.
//!
//! All runs of a user have theirs in `TMPDIR/kcl-helper-run-UID/`. A run holds a lock on its folder, and
//! so does its JVM, which still needs the files if the helper is killed. If nobody holds the lock, the
//! next run removes the folder. systemd-tmpfiles does not clean up a locked folder either.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::files::{open_dir, open_own_dir};

#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    // Fields are dropped in order: the folder must be removed while it is still locked.
    folder: TempDir,
    lock: File,
}

impl TemporaryFolder {
    /// Creates one, and removes those of runs that were killed.
    pub(crate) fn new() -> io::Result<TemporaryFolder> {
        TemporaryFolder::within(&std::env::temp_dir())
    }

    fn within(shared: &Path) -> io::Result<TemporaryFolder> {
        let runs = shared.join(format!("kcl-helper-run-{}", rustix::process::geteuid().as_raw()));
        // This lock keeps another run from removing our folder before we have locked it. On a file
        // system without locks, no folder is ever removed as abandoned.
        let held = open_own_dir(&runs)?;
        let _ = held.lock();
        remove_abandoned(&runs)?;
        let folder = tempfile::Builder::new()
            .prefix("")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&runs)?;
        let lock = open_dir(folder.path())?;
        let _ = lock.try_lock();
        Ok(TemporaryFolder { folder, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the lock, for the JVM to inherit. The JVM does not pass it on to its children.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// Removes the folders that no process has locked. If that fails, the next run tries again.
fn remove_abandoned(runs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runs)?.flatten() {
        let path = entry.path();
        if open_dir(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::process::Stdio;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn only_unlocked_folders_are_removed() {
        let shared = tempfile::tempdir().unwrap();
        let live = TemporaryFolder::within(shared.path()).unwrap();
        let runs = live.path().parent().unwrap().to_owned();
        assert_eq!([mode(&runs), mode(live.path())], [0o700; 2]);
        let killed = runs.join("killed");
        fs::create_dir_all(killed.join("below")).unwrap();
        fs::write(killed.join("below/daemon.properties"), "secret").unwrap();
        let elsewhere = shared.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), "").unwrap();
        symlink(&elsewhere, runs.join("link")).unwrap();
        symlink(&elsewhere, killed.join("link")).unwrap();

        let next = TemporaryFolder::within(shared.path()).unwrap();
        assert!(live.path().is_dir() && next.path().is_dir() && live.path() != next.path());
        assert!(!killed.exists());
        assert!(elsewhere.join("file").exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn folder_lives_while_a_process_inherits_its_lock() {
        let shared = tempfile::tempdir().unwrap();
        let run = TemporaryFolder::within(shared.path()).unwrap();
        rustix::io::fcntl_setfd(run.lock(), rustix::io::FdFlags::empty()).unwrap();
        let mut jvm = kcl_fixtures::command("cat").stdin(Stdio::piped()).spawn().unwrap();
        let path = run.path().to_owned();
        // As if this process were killed.
        let TemporaryFolder { folder, lock } = run;
        let _ = folder.keep();
        drop(lock);
        drop(TemporaryFolder::within(shared.path()).unwrap());
        assert!(path.exists());
        drop(jvm.stdin.take());
        jvm.wait().unwrap();
        drop(TemporaryFolder::within(shared.path()).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn symbolic_link_in_place_of_the_folder_is_refused() {
        let shared = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let runs = shared.path().join(format!("kcl-helper-run-{uid}"));
        symlink(shared.path(), &runs).unwrap();
        let error = TemporaryFolder::within(shared.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is a symbolic link");
    }
}
