//! Moves bytes from one pipe to another so that neither side notices.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::output::{stderr_of_another, stdout_of_another};

/// What a pipe holds on Linux: more cannot be read at once.
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
pub(super) struct End(Kind);

#[derive(Debug)]
enum Kind {
    Ours(Ours),
    Childs(OwnedFd),
}

static NOTHING: OnceLock<File> = OnceLock::new();

/// Opens what takes the place of our own streams once they are closed: their numbers must not
/// fall to other files.
pub(super) fn prepare() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    let _ = NOTHING.set(nothing);
    Ok(())
}

impl End {
    pub(super) fn ours(which: Ours) -> End {
        End(Kind::Ours(which))
    }

    pub(super) fn childs(fd: impl Into<OwnedFd>) -> End {
        End(Kind::Childs(fd.into()))
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Ours(Ours::Stdin) => rustix::stdio::stdin(),
            Kind::Ours(Ours::Stdout) => stdout_of_another(),
            Kind::Ours(Ours::Stderr) => stderr_of_another(),
            Kind::Childs(fd) => fd.as_fd(),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (Kind::Ours(which), Some(nothing)) = (&self.0, NOTHING.get()) else { return };
        let _ = match which {
            Ours::Stdin => rustix::stdio::dup2_stdin(nothing),
            Ours::Stdout => rustix::stdio::dup2_stdout(nothing),
            Ours::Stderr => rustix::stdio::dup2_stderr(nothing),
        };
    }
}

/// Moves bytes until one side has ended. `see` gets each piece before it goes on, and `None` for
/// the end; the ends are closed by whoever drops them. A reader that goes away is an end too; any
/// other failure to write is an error.
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

/// Waits until there is something to read, or until nobody reads what we would write: a writer must
/// learn of that before it writes, as it would without us.
fn is_unread(from: &impl AsFd, to: &impl AsFd) -> bool {
    // A hang-up is reported anyhow, but macOS leaves out an entry that asks for nothing. It has no
    // more than a hang-up to report of a pipe's end for writing, as nothing can be read from it.
    const NO_READER: PollFlags = PollFlags::HUP.union(PollFlags::ERR);
    loop {
        let mut ends = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::HUP)];
        match poll(&mut ends, None) {
            Err(Errno::INTR) => {}
            // It cannot be waited for, as devices cannot on macOS: reading tells.
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
            // Whoever started us may have made it so.
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

    /// A socket buffers less than a pipe, and can be shut in one direction.
    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("sockets can be made")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bytes_pass_unchanged_however_they_come(
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
    fn a_piece_goes_on_before_the_next_one_comes() {
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
    fn a_reader_that_goes_away_is_noticed_without_a_write() {
        kcl_fixtures::fail_if_it_hangs();
        let ((reader, writer), (_daemon, from)) = (io::pipe().expect("a pipe"), pair());
        let pumping = thread::spawn(move || pump(&from, &writer, |_| {}));
        drop(reader);
        pumping.join().expect("it does not panic").expect("it can be written");
    }
}
