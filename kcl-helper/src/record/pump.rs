//! Moves bytes from one pipe to another, so that neither side notices us.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::output::{stderr_of_another, stdout_of_another};

/// The size of a pipe on Linux, so one read never gets more.
const BUFFER: usize = 64 << 10;

/// One of our own streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ours {
    Stdin,
    Stdout,
    Stderr,
}

/// One end of a pipe.
#[derive(Debug)]
pub(super) struct End(Stream);

#[derive(Debug)]
enum Stream {
    Ours(Ours),
    Childs(OwnedFd),
}

static NOTHING: OnceLock<File> = OnceLock::new();

/// Opens /dev/null, which replaces our own streams when they are closed, so that no other file gets their
/// numbers.
pub(super) fn prepare() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    let _ = NOTHING.set(nothing);
    Ok(())
}

impl End {
    pub(super) fn ours(which: Ours) -> End {
        End(Stream::Ours(which))
    }

    pub(super) fn childs(fd: impl Into<OwnedFd>) -> End {
        End(Stream::Childs(fd.into()))
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Stream::Ours(Ours::Stdin) => rustix::stdio::stdin(),
            Stream::Ours(Ours::Stdout) => stdout_of_another(),
            Stream::Ours(Ours::Stderr) => stderr_of_another(),
            Stream::Childs(fd) => fd.as_fd(),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (Stream::Ours(which), Some(nothing)) = (&self.0, NOTHING.get()) else { return };
        let _ = match which {
            Ours::Stdin => rustix::stdio::dup2_stdin(nothing),
            Ours::Stdout => rustix::stdio::dup2_stdout(nothing),
            Ours::Stderr => rustix::stdio::dup2_stderr(nothing),
        };
    }
}

/// Moves bytes until one side is closed. `see` gets each piece before it is passed on, and `None` at the
/// end. The caller closes both ends.
///
/// # Errors
/// A write failed for another reason than that nobody reads any more.
pub(super) fn pump(
    from: &impl AsFd,
    to: &impl AsFd,
    mut see: impl FnMut(Option<&[u8]>),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut passed_on = Ok(());
    while !is_unread(from, to) {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let piece = &buffer[..count];
                see(Some(piece));
                match write_all(to, piece) {
                    Ok(()) => {}
                    Err(Errno::PIPE | Errno::CONNRESET) => break,
                    Err(error) => {
                        passed_on = Err(error.into());
                        break;
                    }
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    see(None);
    passed_on
}

/// Waits until there is something to read, or until `to` has no reader any more. Then `from` must be closed
/// before its writer writes again, as it would be without us.
fn is_unread(from: &impl AsFd, to: &impl AsFd) -> bool {
    // HUP is always reported, but macOS ignores an entry without any flag, and reports nothing else for the
    // write end of a pipe.
    const NO_READER: PollFlags = PollFlags::HUP.union(PollFlags::ERR);
    loop {
        let mut ends = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::HUP)];
        match poll(&mut ends, None) {
            Err(Errno::INTR) => {}
            // macOS cannot wait for devices: read from them instead.
            Err(_) => return false,
            Ok(_) => return ends[1].revents().intersects(NO_READER),
        }
    }
}

fn write_all(to: &impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Our caller may have made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// Sockets buffer less than pipes, and can be closed in one direction.
    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("sockets can be made")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bytes_pass_unchanged_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            big in 0..300_000usize,
        ) {
            kcl_fixtures::fail_if_it_hangs();
            let ((mut daemon, from), (to, mut child)) = (pair(), pair());
            let expected = [chunks.concat(), vec![b'x'; big]].concat();
            let seen = thread::scope(|scope| {
                let pumping = scope.spawn(move || {
                    let (mut seen, mut ended) = (Vec::new(), false);
                    pump(&from, &to, |piece| match piece {
                        Some(piece) => seen.extend_from_slice(piece),
                        None => ended = true,
                    })
                    .expect("it can be written");
                    (seen, ended)
                });
                scope.spawn(move || {
                    for chunk in chunks {
                        daemon.write_all(&chunk).expect("it is read");
                    }
                    daemon.write_all(&vec![b'x'; big]).expect("it is read");
                });
                let mut got = Vec::new();
                child.read_to_end(&mut got).expect("it can be read");
                assert_eq!(got, expected);
                pumping.join().expect("it does not panic")
            });
            prop_assert_eq!(seen, (expected, true));
        }
    }

    #[test]
    fn piece_is_passed_on_before_the_next_one_arrives() {
        kcl_fixtures::fail_if_it_hangs();
        let ((mut daemon, from), (to, mut child)) = (pair(), pair());
        let pumping = thread::spawn(move || pump(&from, &to, |_| {}));
        for piece in [b"{\"act".as_slice(), b"ion\":", b"\xff\n"] {
            daemon.write_all(piece).expect("it is read");
            let mut got = vec![0; piece.len()];
            child.read_exact(&mut got).expect("it comes");
            assert_eq!(got, piece);
        }
        drop(daemon);
        pumping.join().expect("it does not panic").expect("it can be written");
    }

    #[test]
    fn closed_reader_is_noticed_without_a_write() {
        kcl_fixtures::fail_if_it_hangs();
        let ((reader, writer), (_daemon, from)) = (io::pipe().expect("a pipe"), pair());
        let pumping = thread::spawn(move || pump(&from, &writer, |_| {}));
        drop(reader);
        pumping.join().expect("it does not panic").expect("it can be written");
    }
}
