//! Creates and opens files and folders: who can read them, and which links are followed.
//!
//! Files that may contain data or secrets are private: whatever the umask, a folder has mode 0700 and a file
//! 0600. An existing folder keeps its mode. Other users can read shared files, but never write to them. No
//! file is opened or written through a symbolic link: whoever created the link would choose what we read or
//! overwrite.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
const SHARED_DIR: u32 = 0o755;
const SHARED_FILE: u32 = 0o644;

/// The prefix of the names of unfinished files.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// Reads to the end, so that memory has a limit whatever kind of file it is.
///
/// # Errors
/// There are more than `most` bytes.
pub(crate) fn read_at_most(from: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// Reads text, like [`read_at_most()`].
pub(crate) fn read_text_at_most(from: impl io::Read, most: u64) -> io::Result<String> {
    let bytes = read_at_most(from, most)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Creates a folder and its missing parents.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(path)
}

/// Creates a folder that other users can read, and its missing parents.
pub(crate) fn create_shared_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(SHARED_DIR).create(path)
}

/// Renames a complete file, makes it readable for other users, and replaces what had the name, even a link.
/// Both names must be in one file system.
pub(crate) fn publish(file: &Path, name: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(SHARED_FILE))?;
    fs::rename(file, name)
}

/// Opens or creates a folder in a folder that other users can write to, such as `/tmp`.
///
/// # Errors
/// It is a link, or belongs to another user, who could read what we write there.
pub(crate) fn open_own_dir(path: &Path) -> io::Result<File> {
    match DirBuilder::new().mode(PRIVATE_DIR).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = open_dir(path)?;
    let found = folder.metadata()?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if found.mode() & 0o777 != PRIVATE_DIR {
        folder.set_permissions(Permissions::from_mode(PRIVATE_DIR))?;
    }
    Ok(folder)
}

/// Opens an existing folder, for its lock or its mode.
///
/// # Errors
/// It is a link, or not a folder.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), OFlags::DIRECTORY | OFlags::NOFOLLOW, path)
}

/// Creates a file for writing.
///
/// # Errors
/// The name already exists.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(path)
}

/// Opens or creates a file for reading and writing, without truncating it: another process may open it too,
/// to lock it.
///
/// # Errors
/// It is a link, or not a regular file.
pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(PRIVATE_FILE);
    // Without NONBLOCK, a named pipe would make us wait for its other end.
    regular(open(&mut options, OFlags::NOFOLLOW | OFlags::NONBLOCK, path)?)
}

/// Opens a file for reading.
///
/// # Errors
/// It is a link, or not a regular file.
pub(crate) fn open_regular_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    regular(open(OpenOptions::new().read(true), flags, path)?)
}

/// Whether the path is a regular file and not a link.
pub(crate) fn is_regular_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Writes a file atomically, and replaces what had the name, even a link. If a process dies, the name has the
/// old file or the new one. A power failure may leave anything.
pub(crate) fn replace_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = unfinished_file(path.parent().unwrap_or(Path::new("")))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Writes a whole private file under its name, or nothing. With `replace` that is in place of what has
/// the name, even a link.
///
/// # Errors
/// Without `replace`, something with this name exists already.
pub(crate) fn write_private_file(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = unfinished_file(path.parent().unwrap_or(Path::new("")))?;
    let mut buffered = io::BufWriter::new(file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    if replace {
        file.persist(path)?
    } else {
        file.persist_noclobber(path)?
    };
    Ok(())
}

/// Creates a file with a temporary name, which is removed when it is dropped.
pub(crate) fn unfinished_file(folder: &Path) -> io::Result<NamedTempFile> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(PRIVATE_FILE))
        .tempfile_in(folder)
}

/// An open folder. It stays the same one even if it is removed or renamed, so nothing is ever written to
/// another folder that got its name.
#[derive(Debug)]
pub(crate) struct OpenDir(OwnedFd);

impl OpenDir {
    /// Opens an existing folder. The path comes from the user, so it may contain links.
    pub(crate) fn open(path: &Path) -> io::Result<OpenDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(OpenDir(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens a file in this folder, like [`open_private_file()`].
    pub(crate) fn open_private_file(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Reads a file of at most `most` bytes. Returns `None` if it does not exist.
    pub(crate) fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        read_at_most(file, most).map(Some)
    }

    /// Replaces a file in this folder, like [`replace_private_file()`]. Only one process may do that at a time.
    pub(crate) fn replace_private_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || openat(&self.0, &unfinished, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            // A process that was killed has left it.
            Err(Errno::EXIST) => {
                self.remove(&unfinished)?;
                create()?
            }
            file => file?,
        };
        let written = File::from(file)
            .write_all(bytes)
            .and_then(|()| Ok(renameat(&self.0, &unfinished, &self.0, name)?));
        written.inspect_err(|_| drop(self.remove(&unfinished)))
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Returns the names of its entries, except invalid UTF-8, which cannot be ours.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    /// Whether an open file still has this name.
    pub(crate) fn is_named(&self, file: &File, name: &str) -> io::Result<bool> {
        let open = fstat(file)?;
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (open.st_dev, open.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // No links and no waiting, as in `open_private_file()`.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR);
        regular(File::from(file.map_err(|errno| match errno {
            Errno::LOOP => io::Error::new(io::Error::from(errno).kind(), "it is a symbolic link"),
            errno => errno.into(),
        })?))
    }
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    // The flags of open(2) are small numbers.
    let file = options.custom_flags(flags.bits() as i32).open(path);
    file.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The system's "too many levels of symbolic links" would be misleading.
        Some(Errno::LOOP) => io::Error::new(error.kind(), "it is a symbolic link"),
        Some(Errno::NOTDIR) if path.is_symlink() => {
            io::Error::new(error.kind(), "it is a symbolic link")
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn reading_has_a_limit() {
        let zeros = || File::open("/dev/zero").unwrap();
        let refused = read_at_most(zeros(), 1 << 20).unwrap_err();
        assert_eq!(refused.to_string(), "it has more than 1 MiB");
        assert_eq!(read_at_most(zeros().take(9), 9).unwrap(), [0; 9]);
        assert_eq!(read_text_at_most(&b"text"[..], 4).unwrap(), "text");
        let refused = read_text_at_most(&b"\xff"[..], 4).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    /// A umask applies to the whole process, so this test runs itself once for each umask.
    #[test]
    fn files_are_private_with_any_umask() {
        const UMASK: &str = "KCL_HELPER_TEST_UMASK";
        let Ok(umask) = std::env::var(UMASK) else {
            for umask in ["000", "022", "077"] {
                let name = "files::tests::files_are_private_with_any_umask";
                let script = format!("umask {umask}; exec \"$0\" --exact {name} --test-threads 1");
                let mut command = kcl_fixtures::command("sh");
                command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
                let output = command.env(UMASK, umask).output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("1 passed"), "umask {umask}: {said}");
            }
            return;
        };
        let umask = u32::from_str_radix(&umask, 8).unwrap();
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("above/below");
        create_private_dir(&folder).unwrap();
        create_private_file(&folder.join("new")).unwrap();
        open_private_file(&folder.join("opened")).unwrap();
        replace_private_file(&folder.join("replaced"), b"x").unwrap();
        open_own_dir(&folder.join("own")).unwrap();
        create_shared_dir(&folder.join("shared")).unwrap();
        publish(&folder.join("new"), &folder.join("published")).unwrap();
        create_private_file(&folder.join("new")).unwrap();
        assert_eq!([mode(&folder), mode(folder.parent().unwrap())], [0o700; 2]);
        assert_eq!(mode(&folder.join("own")), 0o700);
        assert_eq!(mode(&folder.join("shared")), 0o755 & !umask);
        assert_eq!(mode(&folder.join("published")), 0o644);
        let files = ["new", "opened", "replaced"].map(|name| mode(&folder.join(name)));
        assert_eq!(files, [0o600; 3]);
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        for link in ["link", "dangling"] {
            let refused = |result: io::Result<File>| result.unwrap_err().to_string();
            assert_eq!(refused(open_private_file(&at(link))), "it is a symbolic link");
            assert_eq!(refused(open_regular_file(&at(link))), "it is a symbolic link");
            assert!(create_private_file(&at(link)).is_err());
        }
        replace_private_file(&at("link"), b"new").unwrap();
        assert_eq!(fs::read(at("link")).unwrap(), b"new");
        assert_eq!(mode(&at("link")), 0o600);
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
        assert!(!at("nothing").exists());

        fs::create_dir(at("folder")).unwrap();
        symlink(at("folder"), at("to-folder")).unwrap();
        let error = open_own_dir(&at("to-folder")).unwrap_err();
        assert_eq!(error.to_string(), "it is a symbolic link");
    }

    #[test]
    fn existing_files_and_modes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        open_private_file(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert!(create_private_file(&path).is_err());
        let error = open_private_file(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn own_folder_that_is_too_open_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        open_own_dir(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn open_folder_stays_the_same() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("folder");
        let make = || {
            create_private_dir(&path).unwrap();
            OpenDir::open(&path).unwrap()
        };
        let first = make();
        let lock = first.open_private_file("lock").unwrap();
        first.replace_private_file("file", b"one").unwrap();
        // Left by a process that was killed.
        fs::write(path.join(".unfinished-file"), "tw").unwrap();
        first.replace_private_file("file", b"two").unwrap();
        assert_eq!(first.read("file", 99).unwrap().unwrap(), b"two");
        assert_eq!(
            [mode(&path), mode(&path.join("file")), mode(&path.join("lock"))],
            [0o700, 0o600, 0o600]
        );
        assert!(first.is_named(&lock, "lock").unwrap() && !first.is_named(&lock, "file").unwrap());
        assert_eq!(first.read("other", 99).unwrap(), None);

        fs::rename(&path, top.path().join("moved")).unwrap();
        let second = make();
        first.replace_private_file("file", b"three").unwrap();
        assert_eq!(fs::read(top.path().join("moved/file")).unwrap(), b"three");
        assert!(second.names().unwrap().iter().all(|name| name.starts_with('.')));

        fs::remove_dir_all(&path).unwrap();
        let third = make();
        assert_eq!(
            second.replace_private_file("file", b"four").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(!second.is_named(&lock, "lock").unwrap());
        assert_eq!(third.read("file", 99).unwrap(), None);
    }

    #[test]
    fn open_folder_follows_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        for name in ["link", ".unfinished-link"] {
            symlink(at("victim"), at(name)).unwrap();
        }
        let open = OpenDir::open(folder.path()).unwrap();
        let error = open.open_private_file("link").unwrap_err();
        assert_eq!(error.to_string(), "it is a symbolic link");
        open.read("link", 99).unwrap_err();
        open.replace_private_file("link", b"new").unwrap();
        assert_eq!(open.read("link", 99).unwrap().unwrap(), b"new");
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
        fs::create_dir(at("below")).unwrap();
        assert!(open.read("below", 99).is_err());
    }

    #[test]
    fn pipe_is_refused_at_once() {
        kcl_fixtures::fail_if_it_hangs();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = kcl_fixtures::command("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        for opened in [open_private_file(&path), open_regular_file(&path)] {
            assert_eq!(opened.unwrap_err().to_string(), "it is not a regular file");
        }
    }

    /// Only this module decides who can read a file. The two other modules that create or open files are for
    /// the user's new project and for /dev/null.
    #[test]
    fn no_other_module_creates_files() {
        const MAKE: [&str; 7] = [
            "fs::write(",
            "File::create",
            "fs::create_dir",
            "DirBuilder",
            "OpenOptions",
            "File::options()",
            "fs::copy(",
        ];
        const MAY: [&str; 3] = ["files.rs", "init/mod.rs", "record/pump.rs"];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for path in kcl_fixtures::rust_files(&root) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let may = MAY.iter().any(|name| path.ends_with(name));
            let made = MAKE.iter().find(|name| !may && code.contains(**name));
            assert_eq!(made, None, "{}", path.display());
        }
    }
}
