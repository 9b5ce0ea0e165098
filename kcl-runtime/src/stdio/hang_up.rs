//! Whether whoever writes to our input has closed it, without reading from it.
//!
//! A pipe's end for reading is never ready for writing, so an entry of `poll` that asks for that
//! reports the hang-up alone, whatever is still to be read. It has to ask for something: macOS leaves
//! out an entry that asks for nothing. POLLHUP will not do there, as it counts as "ready for reading"
//! and unread bytes use it up (XNU, `poll_nocancel` and `filt_pipewrite_common`).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Sleep;

/// How often something is looked at that is ready for writing, as a socket is: that ends each wait.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Some systems count the time of a wait in milliseconds of 32 bits.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How sockets tell that they are closed for reading, where it must be asked for.
#[cfg(target_os = "linux")]
const CLOSED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const CLOSED: PollFlags = PollFlags::empty();

enum Answer {
    HungUp,
    NotYet,
    /// The wait has ended for another reason, and would again.
    Unknown,
}

/// Whether the input has hung up by now.
pub(super) fn has_come(input: &OwnedFd) -> bool {
    // Without a wait nothing is used up, and POLLHUP tells of sockets on macOS.
    let events = PollFlags::OUT | PollFlags::HUP | CLOSED;
    matches!(ask(input, events, Duration::ZERO), Answer::HungUp)
}

/// Waits for the hang-up, at most so long.
pub(super) fn wait(input: &OwnedFd, time: Duration) -> Sleep {
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(begin.elapsed());
        match ask(input, PollFlags::OUT | CLOSED, left.min(LONGEST_WAIT)) {
            Answer::HungUp => return Sleep::HungUp,
            Answer::NotYet => {}
            Answer::Unknown if has_come(input) => return Sleep::HungUp,
            Answer::Unknown => std::thread::sleep(left.min(LOOK_EVERY)),
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

    const MOMENT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(600);

    /// An input and what writes to it: pipes and sockets, which hang up in different ways.
    fn inputs() -> [(OwnedFd, Box<dyn std::io::Write + Send>); 2] {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        [(reader.into(), Box::new(writer)), (ours.into(), Box::new(theirs))]
    }

    #[test]
    fn an_open_input_has_not_hung_up_whatever_is_unread() {
        for (input, mut writer) in inputs() {
            for unread in ["", "unread", "unread too"] {
                writer.write_all(unread.as_bytes()).unwrap();
                assert!(!has_come(&input), "{input:?}");
                assert_eq!(wait(&input, Duration::ZERO), Sleep::Elapsed);
                let begin = Instant::now();
                assert_eq!(wait(&input, MOMENT), Sleep::Elapsed);
                assert!(begin.elapsed() >= MOMENT);
            }
        }
    }

    #[test]
    fn a_closed_input_has_hung_up_whatever_is_unread() {
        for unread in ["", "unread"] {
            for (input, mut writer) in inputs() {
                writer.write_all(unread.as_bytes()).unwrap();
                drop(writer);
                assert!(has_come(&input), "{input:?}");
                assert_eq!(wait(&input, Duration::ZERO), Sleep::HungUp);
                assert_eq!(wait(&input, LONG), Sleep::HungUp);
            }
        }
    }

    #[test]
    fn a_hang_up_ends_a_wait_whatever_is_unread() {
        for unread in ["", "unread"] {
            for (input, mut writer) in inputs() {
                let closing = thread::spawn(move || {
                    writer.write_all(unread.as_bytes()).unwrap();
                    thread::sleep(MOMENT);
                });
                assert_eq!(wait(&input, LONG), Sleep::HungUp);
                closing.join().unwrap();
            }
        }
    }

    #[test]
    fn a_socket_that_is_closed_for_reading_alone_has_hung_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let input = ours.into();
        assert!(has_come(&input));
        assert_eq!(wait(&input, LONG), Sleep::HungUp);
    }

    #[test]
    fn what_cannot_hang_up_is_waited_for() {
        for path in ["/dev/null", env!("CARGO_MANIFEST_DIR"), "Cargo.toml"] {
            let input = File::open(path).unwrap().into();
            assert!(!has_come(&input), "{path}");
            let begin = Instant::now();
            assert_eq!(wait(&input, MOMENT), Sleep::Elapsed);
            assert!(begin.elapsed() >= MOMENT);
        }
    }
}
