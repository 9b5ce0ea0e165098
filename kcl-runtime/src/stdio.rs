//! Takes stdin, stdout and the signals for the protocol.
//!
//! Nothing else touches the process's descriptors and signal handlers, and only `Runtime::run` calls
//! this.

use std::io::{self, Write};

use crate::{RunError, Signals};

/// Writes one line to stderr in one call. Control characters become spaces.
pub(crate) fn say(text: &str) {
    let mut line: String =
        text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    line.push('\n');
    // There is no other place to report that stderr cannot be written.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Without the feature, programs install their own subscriber.
#[cfg(not(feature = "subscriber"))]
fn log_to_stderr() {}

/// Installs a plain subscriber unless the program has its own.
#[cfg(feature = "subscriber")]
fn log_to_stderr() {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::prelude::*;

    let wanted = std::env::var_os("RUST_LOG").filter(|wanted| !wanted.is_empty());
    let filter = wanted.as_ref().map(|wanted| wanted.to_str()?.parse::<Targets>().ok());
    let is_valid = !matches!(filter, Some(None));
    let info = Targets::new().with_default(tracing::Level::INFO);
    let filter = filter.flatten().unwrap_or(info);
    // The daemon adds the time to each line of stderr.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        // Reporting them panics if stderr is closed, as it is after the daemon died.
        .log_internal_errors(false)
        .without_time();
    // This fails if the program has installed a subscriber, which then stays.
    let is_ours = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok();
    if let Some(wanted) = wanted.filter(|_| is_ours && !is_valid) {
        tracing::warn!(
            "RUST_LOG is invalid: {wanted:?} is neither a level such as `debug` nor a list such as \
             `info,my_crate=debug`; logging at `info`"
        );
    }
}

/// Explains how to run this program to a user who started it by hand.
fn explain_terminal() {
    let program = std::env::args().next().unwrap_or_else(|| "PROGRAM".to_owned());
    say(
        "this program is a Kinesis record processor: the KCL's MultiLangDaemon starts it and talks \
         to it over stdin and stdout",
    );
    say(&format!("hint: try it with: kcl-helper local -- {program}"));
}

#[cfg(unix)]
mod hang_up;

#[cfg(unix)]
pub(crate) use unix::take;

#[cfg(unix)]
mod unix {
    use std::fs::{File, OpenOptions};
    use std::io::{self, IsTerminal, Read, Write};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Weak};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::{FileType, Stat, fstat};
    use rustix::io::Errno;

    use super::{RunError, Signals, explain_terminal, hang_up, log_to_stderr};
    use crate::{Sleep, SystemTimer, Timer};

    /// The protocol's two pipes, and a timer that watches them.
    pub(crate) struct Pipes {
        pub(crate) reader: Input,
        pub(crate) writer: Output,
        pub(crate) timer: PipeTimer,
    }

    impl Pipes {
        /// Returns what enlarges the pipe of stdin, on systems that can.
        #[cfg(target_os = "linux")]
        pub(crate) fn enlarger(&self, bytes: usize) -> Option<Box<dyn FnOnce()>> {
            let input = Arc::downgrade(&self.reader.0);
            Some(Box::new(move || {
                if let Some(input) = input.upgrade() {
                    match super::pipe::enlarge(&input, bytes) {
                        Ok(size) => tracing::debug!("stdin's pipe holds {size} bytes"),
                        Err(error) => tracing::debug!("cannot enlarge stdin's pipe: {error}"),
                    }
                }
            }))
        }

        #[cfg(not(target_os = "linux"))]
        pub(crate) fn enlarger(&self, _: usize) -> Option<Box<dyn FnOnce()>> {
            None
        }
    }

    pub(crate) struct Input(Arc<OwnedFd>);
    pub(crate) struct Output(OwnedFd);

    /// Pauses, which end early if the daemon closes stdin.
    pub(crate) struct PipeTimer {
        clock: SystemTimer,
        input: Arc<OwnedFd>,
    }

    /// Takes stdin and stdout away from the rest of this process and from programs that it starts:
    /// from now on descriptor 0 is empty and descriptor 1 goes to stderr.
    pub(crate) fn take(signals: Signals) -> Result<Pipes, RunError> {
        // A second run would read the null device and write to stderr.
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::SeqCst) {
            let error = io::Error::other("the first run has taken stdin and stdout");
            return Err(RunError::Io { doing: "run a second time", error });
        }
        let is_terminal = io::stdin().is_terminal();
        // Close-on-exec and above 2, so that neither a subprocess nor a stray print can reach them.
        let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
            .map_err(failed("take stdin"))?;
        let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
            .map_err(failed("take stdout"))?;
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| RunError::Io { doing: "open /dev/null", error })?;
        refuse_null(&input, &null, "take stdin", "no message can arrive")?;
        refuse_null(&output, &null, "take stdout", "no answer would reach the daemon")?;
        rustix::stdio::dup2_stdin(&null).map_err(failed("redirect stdin"))?;
        // If stderr is closed, prints are dropped.
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())
            .or_else(|_| rustix::stdio::dup2_stdout(&null))
            .map_err(failed("redirect stdout"))?;

        log_to_stderr();
        let input = Arc::new(input);
        if is_terminal {
            explain_terminal();
        } else if signals == Signals::IgnoredUntilEndOfInput {
            survive_signals(Arc::downgrade(&input))?;
        }
        Ok(Pipes {
            reader: Input(Arc::clone(&input)),
            writer: Output(output),
            timer: PipeTimer { clock: SystemTimer::new(), input },
        })
    }

    /// Rejects a closed stdin or stdout. Rust's standard library replaces it with the null device
    /// before `main`.
    fn refuse_null(
        pipe: &OwnedFd,
        null: &File,
        doing: &'static str,
        what: &str,
    ) -> Result<(), RunError> {
        let device = |stat: Stat| {
            let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
            is_device.then_some(stat.st_rdev)
        };
        let (pipe, null) = (fstat(pipe).ok().and_then(device), fstat(null).ok().and_then(device));
        if pipe.is_none() || pipe != null {
            return Ok(());
        }
        let error = io::Error::other(format!(
            "it is closed or the null device, so {what}; start this program with `kcl-helper run` or \
             `kcl-helper local`"
        ));
        Err(RunError::Io { doing, error })
    }

    fn failed(doing: &'static str) -> impl FnOnce(Errno) -> RunError {
        move |errno| RunError::Io { doing, error: errno.into() }
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                match rustix::io::read(&*self.0, &mut *buffer) {
                    // Another process that shares the pipe made it non-blocking.
                    Err(Errno::AGAIN) => wait_for(&self.0, PollFlags::IN)?,
                    result => return Ok(result?),
                }
            }
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            loop {
                match rustix::io::write(&self.0, bytes) {
                    Err(Errno::AGAIN) => wait_for(&self.0, PollFlags::OUT)?,
                    result => return Ok(result?),
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wait_for(fd: &OwnedFd, events: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(fd, events)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    impl Timer for PipeTimer {
        fn now(&self) -> Duration {
            self.clock.now()
        }

        fn sleep(&mut self, pause: Duration) -> Sleep {
            hang_up::wait(&self.input, pause)
        }
    }

    /// This many signals within this time take their default action.
    const FORCED_AFTER: (usize, Duration) = (3, Duration::from_secs(5));

    /// Installs handlers. SIG_IGN would be inherited by programs that the processor starts. Once the
    /// run or the daemon has ended, signals take their default action again.
    fn survive_signals(input: Weak<OwnedFd>) -> Result<(), RunError> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use signal_hook::iterator::Signals;

        let failed = |error| RunError::Io { doing: "install signal handlers", error };
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
        let watch = move || {
            let mut recent: Vec<Instant> = Vec::new();
            for signal in signals.forever() {
                let now = Instant::now();
                recent.retain(|time| now.duration_since(*time) < FORCED_AFTER.1);
                recent.push(now);
                let is_daemon_there =
                    input.upgrade().is_some_and(|input| !hang_up::has_hung_up(&input));
                if recent.len() >= FORCED_AFTER.0 || !is_daemon_there {
                    // It does not return for these three signals. If it did, the next signal would try again.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        };
        let builder = std::thread::Builder::new().name("kcl-signals".into()).stack_size(64 << 10);
        builder.spawn(watch).map_err(failed)?;
        Ok(())
    }
}

/// Sizes of pipes.
#[cfg(target_os = "linux")]
mod pipe {
    use std::os::fd::AsFd;

    use rustix::io::{Errno, Result};
    use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

    /// How much of the user's budget for pipes stays available.
    const RESERVE: usize = 1 << 20;

    /// Enlarges a pipe unless too little of the user's budget would be left, and returns its size.
    pub(super) fn enlarge(pipe: impl AsFd, bytes: usize) -> Result<usize> {
        let before = fcntl_getpipe_size(&pipe)?;
        if before >= bytes {
            return Ok(before);
        }
        let size = fcntl_setpipe_size(&pipe, bytes)?;
        // No call tells how much is left, so try it with another pipe.
        let left = pipe_with(PipeFlags::CLOEXEC)
            .and_then(|(reader, _writer)| fcntl_setpipe_size(&reader, RESERVE));
        match left {
            Ok(_) => Ok(size),
            Err(error) => {
                // This fails if the pipe is too full to shrink; then it stays large.
                match fcntl_setpipe_size(&pipe, before) {
                    Ok(_) | Err(Errno::BUSY) => Err(error),
                    Err(error) => Err(error),
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn pipe_is_enlarged_and_never_shrunk() {
            let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let before = fcntl_getpipe_size(&reader).unwrap();
            // It keeps its size if the user has too many pipes already.
            let after = enlarge(&reader, 4 * before).unwrap_or(before);
            assert_eq!(fcntl_getpipe_size(&reader).unwrap(), after);
            assert!(after >= before);
            assert_eq!(enlarge(&reader, 1), Ok(after));
        }
    }
}

#[cfg(not(unix))]
pub(crate) use elsewhere::take;

/// Without Unix descriptors, prints still go to the protocol's stdout.
#[cfg(not(unix))]
mod elsewhere {
    use std::io::{self, IsTerminal, Stdin, Stdout};

    use super::{RunError, Signals, explain_terminal, log_to_stderr};
    use crate::SystemTimer;

    pub(crate) struct Pipes {
        pub(crate) reader: Stdin,
        pub(crate) writer: Stdout,
        pub(crate) timer: SystemTimer,
    }

    impl Pipes {
        pub(crate) fn enlarger(&self, _: usize) -> Option<Box<dyn FnOnce()>> {
            None
        }
    }

    pub(crate) fn take(_: Signals) -> Result<Pipes, RunError> {
        log_to_stderr();
        if io::stdin().is_terminal() {
            explain_terminal();
        }
        Ok(Pipes { reader: io::stdin(), writer: io::stdout(), timer: SystemTimer::new() })
    }
}
