//! Detects that the other end closed our input, without reading from it.
//!
//! The read end of a pipe is never ready for writing, so `poll` with POLLOUT reports only the hang-up,
//! whatever is still unread. Some event is needed, as macOS skips an entry without events. POLLHUP does
//! not work there: it counts as "ready for reading", and unread bytes consume it (XNU, `poll_nocancel`
//! and `filt_pipewrite_common`).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Sleep;

/// How often to check an input that is always ready for writing, such as a socket.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Some systems limit a wait to 2^31 ms.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The event of a socket that is closed for reading, on systems that must be asked for it.
#[cfg(target_os = "linux")]
const CLOSED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const CLOSED: PollFlags = PollFlags::empty();

enum Answer {
    HungUp,
    NotYet,
    /// The wait ended for another reason, and would again.
    Unknown,
}

/// Returns whether the other end has hung up.
pub(super) fn has_hung_up(input: &OwnedFd) -> bool {
    // Without a wait nothing is consumed, and macOS reports sockets by POLLHUP.
    let events = PollFlags::OUT | PollFlags::HUP | CLOSED;
    matches!(ask(input, events, Duration::ZERO), Answer::HungUp)
}

/// Waits until the other end hangs up, at most this long.
pub(super) fn wait(input: &OwnedFd, time: Duration) -> Sleep {
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(begin.elapsed());
        match ask(input, PollFlags::OUT | CLOSED, left.min(LONGEST_WAIT)) {
            Answer::HungUp => return Sleep::HungUp,
            Answer::NotYet => {}
            Answer::Unknown if has_hung_up(input) => return Sleep::HungUp,
            Answer::Unknown => std::thread::sleep(left.min(POLL_INTERVAL)),
        }
        if left.is_zero() {
            return Sleep::Elapsed;
        }
    }
}

fn ask(input: &OwnedFd, events: PollFlags, time: Duration) -> Answer {
    let Ok(time) = Timespec::try_from(time) else { return Answer::Unknown };
    let mut entry = [PollFd::new(input, events)];
    match poll(&mut entry, Some(&time)) {
        Ok(0) | Err(Errno::INTR) => Answer::NotYet,
        Ok(_) if entry[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | CLOSED) => {
            Answer::HungUp
        }
        _ => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(600);

    /// Pipes and sockets, which hang up in different ways, each with its other end.
    fn inputs() -> [(OwnedFd, Box<dyn std::io::Write + Send>); 2] {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        [(reader.into(), Box::new(writer)), (ours.into(), Box::new(theirs))]
    }

    #[test]
    fn open_input_has_not_hung_up_whatever_is_unread() {
        for (input, mut writer) in inputs() {
            for unread in ["", "unread", "unread too"] {
                writer.write_all(unread.as_bytes()).unwrap();
                assert!(!has_hung_up(&input), "{input:?}");
                assert_eq!(wait(&input, Duration::ZERO), Sleep::Elapsed);
                let begin = Instant::now();
                assert_eq!(wait(&input, SHORT), Sleep::Elapsed);
                assert!(begin.elapsed() >= SHORT);
            }
        }
    }

    #[test]
    fn closed_input_has_hung_up_whatever_is_unread() {
        for unread in ["", "unread"] {
            for (input, mut writer) in inputs() {
                writer.write_all(unread.as_bytes()).unwrap();
                drop(writer);
                assert!(has_hung_up(&input), "{input:?}");
                assert_eq!(wait(&input, Duration::ZERO), Sleep::HungUp);
                assert_eq!(wait(&input, LONG), Sleep::HungUp);
            }
        }
    }

    #[test]
    fn hang_up_ends_a_wait_whatever_is_unread() {
        for unread in ["", "unread"] {
            for (input, mut writer) in inputs() {
                let closing = thread::spawn(move || {
                    writer.write_all(unread.as_bytes()).unwrap();
                    thread::sleep(SHORT);
                });
                assert_eq!(wait(&input, LONG), Sleep::HungUp);
                closing.join().unwrap();
            }
        }
    }

    #[test]
    fn socket_closed_for_reading_only_has_hung_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let input = ours.into();
        assert!(has_hung_up(&input));
        assert_eq!(wait(&input, LONG), Sleep::HungUp);
    }

    #[test]
    fn input_that_cannot_hang_up_is_waited_for() {
        for path in ["/dev/null", env!("CARGO_MANIFEST_DIR"), "Cargo.toml"] {
            let input = File::open(path).unwrap().into();
            assert!(!has_hung_up(&input), "{path}");
            let begin = Instant::now();
            assert_eq!(wait(&input, SHORT), Sleep::Elapsed);
            assert!(begin.elapsed() >= SHORT);
        }
    }
}
