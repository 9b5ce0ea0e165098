//! The worker's name: the same one as in the run before, but never one that is still in use.
//!
//! Without `workerId` a daemon picks a new random name at each start. KCL 3.x then leaves the leases with
//! the worker that has just ended, and a shard is not read for minutes. So we keep names: one file each,
//! locked while a helper or its JVM uses the name. A second worker on the same host gets a second name,
//! and both names are used again later.
//!
//! A name is the host name and random digits. If its file is gone, as in a new container, the worker gets
//! a new one, as it would without us. Hosts that share a home folder have different names, except Macs.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::jars::hexadecimal;
use crate::files::{create_private_dir, open_private_file};

/// Further workers of one application on one host are named by their daemons.
const MAX_WORKERS: usize = 100;
const DIGITS: usize = 32;

/// A name, and the lock on it.
#[derive(Debug)]
pub(crate) struct WorkerId {
    pub(crate) name: String,
    /// The JVM inherits it, because a daemon that outlives its helper still uses the name.
    lock: File,
}

impl WorkerId {
    /// Reserves the first unused name of this application, or none if too many are in use.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(crate) fn reserve(
        folder: &Path,
        application: &str,
        region: &str,
    ) -> io::Result<Option<Self>> {
        create_private_dir(folder)?;
        let sum = hexadecimal(&Sha256::digest(format!("{application}\0{region}")));
        for slot in 0..MAX_WORKERS {
            let file = open_private_file(&folder.join(format!("{}-{slot}", &sum[..DIGITS])))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let digits = stored_digits(&file)?;
            return Ok(Some(WorkerId { name: format!("{}-{digits}", host()), lock: file }));
        }
        Ok(None)
    }

    /// Returns the lock, for the JVM to inherit. The JVM does not pass it on to its children.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// Returns the host name, except on a Mac, whose host name changes with the network that it is in. The
/// digits are unique anyway.
fn host() -> String {
    if cfg!(target_vendor = "apple") {
        return "mac".to_owned();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reads the digits from a file, or writes new ones if it is empty or incomplete, as after a crash.
fn stored_digits(mut file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(DIGITS as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() == DIGITS && bytes.iter().all(u8::is_ascii_hexdigit) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let digits = format!("{:032x}", fastrand::u128(..));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(digits.as_bytes())?;
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kcl_fixtures::eventually;

    use super::*;

    fn reserve(folder: &Path, application: &str) -> WorkerId {
        WorkerId::reserve(folder, application, "us-east-1").unwrap().unwrap()
    }

    // A program that another test starts holds our locks too until it executes, so a name may be in use a
    // little longer.

    #[test]
    fn name_is_used_again_but_never_by_two_workers_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (reserve(folder.path(), "a"), reserve(folder.path(), "a"));
        let other = reserve(folder.path(), "b");
        let names = [&first, &second, &other].map(|id| id.name.clone());
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        drop(first);
        eventually("the first name", || reserve(folder.path(), "a").name == names[0]);
        drop(second);
        eventually("the first name", || reserve(folder.path(), "a").name == names[0]);
    }

    #[test]
    fn incomplete_file_is_replaced() {
        for text in ["", "12", "not hexadecimal, but 32 digits..", &"0".repeat(33)] {
            let folder = tempfile::tempdir().unwrap();
            drop(reserve(folder.path(), "a"));
            let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            fs::write(&file, text).unwrap();
            let digits = || fs::read_to_string(&file).unwrap();
            let is_first = |name: &str| digits().len() == DIGITS && name.ends_with(&digits());
            eventually("new digits", || is_first(&reserve(folder.path(), "a").name));
            let new = digits();
            eventually("the same", || is_first(&reserve(folder.path(), "a").name));
            assert_eq!(digits(), new);
        }
    }
}
