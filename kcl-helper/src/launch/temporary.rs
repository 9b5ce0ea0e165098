//! A folder for the files of one run, which nobody else can read and which does not outlive the run.
//!
//! All runs of a user have theirs in one place, `TMPDIR/kcl-helper-run-UID/`. A run holds a lock on
//! its folder, and so does its JVM, which may outlive a helper that was killed and still needs the
//! files. A folder whose lock is free belongs to nobody any more, and the next run removes it.
//! systemd-tmpfiles removes nothing from a locked folder either, however old it is.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::files::{open_dir, open_own_dir};

#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    // Before the lock: it is removed while it is still ours.
    folder: TempDir,
    lock: File,
}

impl TemporaryFolder {
    /// Makes one, and removes those of runs that were killed.
    pub(crate) fn new() -> io::Result<TemporaryFolder> {
        TemporaryFolder::within(&std::env::temp_dir())
    }

    fn within(shared: &Path) -> io::Result<TemporaryFolder> {
        let place = shared.join(format!("kcl-helper-run-{}", rustix::process::geteuid().as_raw()));
        // Nobody may take a folder for abandoned between its making and its locking. Where a file
        // system has no locks, nothing is ever taken for abandoned.
        let held = open_own_dir(&place)?;
        let _ = held.lock();
        remove_abandoned(&place)?;
        let folder = tempfile::Builder::new()
            .prefix("")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&place)?;
        let lock = open_dir(folder.path())?;
        let _ = lock.try_lock();
        Ok(TemporaryFolder { folder, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The JVM gets a copy, and closes it for its own children.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// Removes the folders that no process has locked. What cannot be removed is tried by the next run.
fn remove_abandoned(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)?.flatten() {
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
    fn only_what_no_process_has_locked_is_removed() {
        let shared = tempfile::tempdir().unwrap();
        let live = TemporaryFolder::within(shared.path()).unwrap();
        let place = live.path().parent().unwrap().to_owned();
        assert_eq!([mode(&place), mode(live.path())], [0o700; 2]);
        let killed = place.join("killed");
        fs::create_dir_all(killed.join("below")).unwrap();
        fs::write(killed.join("below/daemon.properties"), "secret").unwrap();
        let elsewhere = shared.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), "").unwrap();
        symlink(&elsewhere, place.join("link")).unwrap();
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
    fn a_process_that_was_given_the_lock_keeps_the_folder() {
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
    fn a_place_that_is_a_link_is_refused() {
        let shared = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let place = shared.path().join(format!("kcl-helper-run-{uid}"));
        symlink(shared.path(), &place).unwrap();
        let error = TemporaryFolder::within(shared.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is a symbolic link");
    }
}
