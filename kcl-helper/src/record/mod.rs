//! Runs a program as if we were not there, and records everything that goes through its three pipes.
//!
//! Our caller must see what it would see of the program alone, and the program what it would see of our
//! caller:
//! - Each pipe has a thread that passes bytes on as they come. When one end is closed, by the writer or the
//!   reader, so is the other, at once; for stderr that may wait a second for stdout.
//! - Our exit status is the program's, or we die by the same signal. A caller also waits for processes that
//!   hold the program's pipes, so we end when these have closed them.
//! - The program stays in the process group that we were started in, and we leave it. So a signal to the
//!   group reaches the program once, and we forward a signal that only we get. If we lead the group we cannot
//!   leave it: then both are in it, and we do not forward what a terminal sends.
//! - What the program does with a signal is its decision, as long as somebody can write to its stdin. After
//!   that it has the grace period to end, and is killed.
//! - If output cannot be passed on, for example because a disk is full, we warn, and our status is 3.
//! - If the recording cannot be written, we warn, and the program continues.

mod forward;
mod options;
mod pump;
mod pumps;
mod recording;
mod redact;

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, Stat, fstat, stat};
use rustix::process::{Resource, Rlimit, getpgrp, getpid, setpgid, setrlimit};

use crate::child::{Process, describe};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, How};
use crate::output::{Reporter, stdout_of_another};
use forward::Signals;
pub(crate) use options::Options;
use pumps::Pumps;
use recording::Recorder;

/// Runs the program to its end. If it died by a signal, this process dies by the same one.
pub(crate) fn run(options: &Options, guardian: &Guardian, reporter: &Reporter) -> Result<ExitCode> {
    let failed = |error: io::Error| {
        Error::new(Exit::Environment, "cannot record the program").because(error)
    };
    if is_null_device(stdout_of_another()) {
        reporter.warn("stdout is closed or /dev/null: what the program writes there is lost");
    }
    let group = getpgrp();
    let is_leader = group == getpid();
    let signals = Signals::listen(is_leader).map_err(failed)?;
    pump::prepare().map_err(failed)?;
    guardian.start()?;
    // No grace: a caller that kills us wants to kill the program.
    let how = How { group: Some(group), cpu: None, grace: Duration::ZERO };
    let (process, pipes) = Process::spawn(guardian, &options.program, how)?;
    let process = Arc::new(process);
    if !is_leader {
        // If that fails, signals to the group reach the program twice.
        let _ = setpgid(None, None);
    }
    let recorder = Arc::new(Recorder::start(options, process.pid(), reporter));
    reporter.supervise();
    signals.forward_to(process.clone(), options.grace, guardian, reporter).map_err(failed)?;
    let pumps = Pumps::start(pipes, &recorder, reporter).map_err(failed)?;

    let status = process.handle().status().map_err(failed)?;
    let is_all_passed_on = pumps.wait(reporter);
    recorder.end(&describe(status));
    // Without us, what the program leaves running would stay as well.
    guardian.leave_the_rest();
    guardian.end();
    if !is_all_passed_on {
        return Ok(Exit::Environment.into());
    }
    reporter.flush();
    Ok(end_as(status))
}

/// Whether output to a stream is lost. It is if stdout was closed when we were started, which the program,
/// whose stdout is a pipe, cannot notice.
fn is_null_device(stream: BorrowedFd<'_>) -> bool {
    let device = |stat: Stat| {
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        is_device.then_some(stat.st_rdev)
    };
    let null = stat("/dev/null").ok().and_then(device);
    null.is_some() && fstat(stream).ok().and_then(device) == null
}

/// Ends this process by the signal that ended the program, else returns the program's exit status.
fn end_as(status: ExitStatus) -> ExitCode {
    let Some(signal) = status.signal() else {
        return ExitCode::from(status.code().unwrap_or(0) as u8);
    };
    // The program has already left its core dump.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    ExitCode::from(128u8.saturating_add(signal as u8))
}
