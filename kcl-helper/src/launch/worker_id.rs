//! Which worker a run is: the same one as the run before it, and never one that still lives.
//!
//! A daemon that is given no `workerId` calls itself by a new random name at each start. That of KCL
//! 3.x then leaves leases with the worker that has just ended, and a shard is unread for minutes. So
//! names are kept: one file each, locked for as long as a helper or its JVM uses the name. Who starts
//! a second worker beside the first gets a second name, and the same two names later on.
//!
//! A name is the host's and random digits. Where the file is gone, as in a new container, the name is
//! a new one, which is as if nothing were set. Where a home folder is shared by hosts, they differ, but
//! for Macs.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::jars::hexadecimal;
use crate::files::{create_private_dir, open_private_file};

/// More workers of one application on one host are named by their daemons.
const MOST: usize = 100;
const DIGITS: usize = 32;

/// A name, and the lock on it.
#[derive(Debug)]
pub(crate) struct WorkerId {
    pub(crate) name: String,
    /// The JVM gets a copy, and closes it for its own children. So the name is in use while either
    /// lives: a daemon that outlives its helper is still stopping under this name.
    lock: File,
}

impl WorkerId {
    /// The first name of this application that is free; none if there are too many in use.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn take(folder: &Path, application: &str, region: &str) -> io::Result<Option<Self>> {
        create_private_dir(folder)?;
        let sum = hexadecimal(&Sha256::digest(format!("{application}\0{region}")));
        for slot in 0..MOST {
            let file = open_private_file(&folder.join(format!("{}-{slot}", &sum[..DIGITS])))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let digits = kept(&file)?;
            return Ok(Some(WorkerId { name: format!("{}-{digits}", host()), lock: file }));
        }
        Ok(None)
    }

    /// Whoever holds it uses the name.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// The host's name. That of a Mac changes with the network that it is in, so that the worker would have
/// another name there: the digits, which no other host has, are enough for it.
fn host() -> String {
    if cfg!(target_vendor = "apple") {
        return "mac".to_owned();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The digits in the file. What is not whole, as after a crash, is written anew.
fn kept(mut file: &File) -> io::Result<String> {
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

    use super::*;

    fn take(folder: &Path, application: &str) -> WorkerId {
        WorkerId::take(folder, application, "us-east-1").unwrap().unwrap()
    }

    #[test]
    fn a_name_is_kept_and_never_used_twice_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (take(folder.path(), "a"), take(folder.path(), "a"));
        let other = take(folder.path(), "b");
        let names = [&first, &second, &other].map(|id| id.name.clone());
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        drop(first);
        let again = take(folder.path(), "a");
        assert_eq!(again.name, names[0]);
        drop((second, again));
        assert_eq!(take(folder.path(), "a").name, names[0]);
    }

    #[test]
    fn half_a_file_is_as_none() {
        for text in ["", "12", "not hexadecimal, but 32 digits..", &"0".repeat(33)] {
            let folder = tempfile::tempdir().unwrap();
            drop(take(folder.path(), "a"));
            let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            fs::write(&file, text).unwrap();
            let name = take(folder.path(), "a").name;
            assert!(name.ends_with(&fs::read_to_string(&file).unwrap()) && name.len() > DIGITS);
            assert_eq!(take(folder.path(), "a").name, name);
        }
    }
}
