//! The guardian: a process of its own that is the parent of every program that we start.
//!
//! A process that dies by SIGKILL cannot stop its children. So a second process of this program starts all
//! programs for us. When a socket shows it that we have ended, it asks them to stop, kills those that do not
//! stop in time, and removes our temporary folders. It adopts orphans (on Linux), so no process escapes by a
//! double fork or its own session. It has its own process group, so a signal that kills ours does not kill
//! it. If it is killed itself, we adopt its children.

mod clearing;
mod group;
mod messages;
pub(crate) mod server;
mod tree;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use clearing::Patience;
use group::signal_group;
pub(crate) use messages::Cleared;
use messages::{Answer, LetGo, Request, Spawn, receive, send, send_files};

use crate::error::{Error, Exit, Result};
use crate::output::Reporter;
use crate::this_program;

/// Starting a program takes milliseconds. A guardian that takes this long has been suspended.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// How much of a tool's stdout and stderr is kept, in bytes each.
const KEPT_OUTPUT: u64 = 4 << 20;
/// The grace period of a tool if we are killed.
const TOOLS_END_WITHIN: Duration = Duration::from_secs(2);
/// How long the guardian may take to end when it has nothing left to do.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The guardian of this process. It is started when it is first needed.
#[derive(Debug, Clone)]
pub(crate) struct Guardian(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whether it keeps our stderr open.
    has_stderr: bool,
    connection: Mutex<Option<Arc<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    process: Mutex<std::process::Child>,
    /// Whether we adopt its children if it is killed.
    adopts: bool,
}

/// How a program is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// The process group to run in; without one the program leads its own group.
    pub(crate) group: Option<Pid>,
    /// The only core to run on.
    pub(crate) cpu: Option<usize>,
    /// How long it may run after a SIGTERM if we are killed; if this is 0, it is killed at once.
    pub(crate) grace: Duration,
}

/// Reads to the end, but keeps only the beginning.
fn read_beginning(mut from: impl io::Read, kept: &mut Vec<u8>) -> io::Result<()> {
    from.by_ref().take(KEPT_OUTPUT).read_to_end(kept)?;
    io::copy(&mut from, &mut io::sink()).map(drop)
}

impl Guardian {
    pub(crate) fn new() -> Guardian {
        Guardian(Arc::new(Inner { has_stderr: true, connection: Mutex::default() }))
    }

    /// Creates a guardian that does not keep our stderr open, and so cannot report anything.
    pub(crate) fn silent() -> Guardian {
        Guardian(Arc::new(Inner { has_stderr: false, connection: Mutex::default() }))
    }

    /// Starts the guardian unless it is running. Its programs inherit our current environment, working
    /// directory and limits.
    pub(crate) fn start(&self) -> Result<()> {
        self.connection().map(drop).map_err(|error| {
            Error::new(Exit::Environment, "cannot start the guardian process").because(error)
        })
    }

    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut connection = lock(&self.0.connection);
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let new = Arc::new(Connection::new(self.0.has_stderr)?);
        *connection = Some(new.clone());
        Ok(new)
    }

    /// Starts a program with these streams and inherited files.
    pub(crate) fn spawn(
        &self,
        argv: Vec<OsString>,
        how: How,
        streams: [OwnedFd; 3],
        inherited: &[BorrowedFd<'_>],
    ) -> io::Result<Guarded> {
        let connection = self.connection()?;
        let spawn =
            Spawn { argv, group: how.group.map(Pid::as_raw_pid), cpu: how.cpu, grace: how.grace };
        let files: Vec<_> =
            streams.iter().map(AsFd::as_fd).chain(inherited.iter().copied()).collect();
        let socket = connection.request(&Request::Spawn(spawn), &files)?;
        match receive(&socket)? {
            Some(Answer::Started(pid)) => {
                socket.set_read_timeout(None)?;
                let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Guarded { pid, socket, status: Mutex::default(), connection })
            }
            Some(Answer::Failed(error)) => Err(io::Error::from_raw_os_error(error)),
            _ => Err(io::Error::other("the guardian process has ended")),
        }
    }

    /// Runs a program without stdin to its end, and returns the beginning of its output.
    pub(crate) fn output(&self, argv: Vec<OsString>) -> io::Result<Output> {
        let (mut stdout, out) = io::pipe()?;
        let (mut stderr, err) = io::pipe()?;
        let streams = [File::open("/dev/null")?.into(), out.into(), err.into()];
        let how = How { group: None, cpu: None, grace: TOOLS_END_WITHIN };
        let process = self.spawn(argv, how, streams, &[])?;
        let (mut kept_stdout, mut kept_stderr) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let reader = scope.spawn(|| read_beginning(&mut stderr, &mut kept_stderr));
            read_beginning(&mut stdout, &mut kept_stdout)?;
            reader.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })?;
        let status = process.status()?;
        Ok(Output { status, stdout: kept_stdout, stderr: kept_stderr })
    }

    /// Lets the guardian remove a folder if we are killed, once all programs have ended.
    pub(crate) fn remove_at_end(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.as_os_str().to_owned();
        self.connection()?.request(&Request::Remove(folder), &[]).map(drop)
    }

    /// Stops every process that is left of our programs, and warns about those that outlived `parent`.
    pub(crate) fn clear(&self, patience: Patience, parent: &str, reporter: &Reporter) {
        self.end_all(patience, Some(parent), reporter);
    }

    /// Kills every process that is left of our programs, and warns about those that cannot be killed.
    pub(crate) fn kill_all(&self, reporter: &Reporter) {
        self.end_all(Patience::NONE, None, reporter);
    }

    fn end_all(&self, patience: Patience, parent: Option<&str>, reporter: &Reporter) {
        let Some(connection) = lock(&self.0.connection).clone() else { return };
        let mut outlived = |names: &[String]| {
            if let Some(parent) = parent {
                reporter.warn(&format!("{} outlived {parent}: asking to stop", list(names)));
            }
        };
        let cleared = connection.clear(patience, &mut outlived).ok().flatten();
        let Cleared { killed, left } = cleared.unwrap_or_else(|| {
            connection.ensure_ended();
            if !connection.adopts {
                return Cleared::default();
            }
            tree::clear(patience, |names| outlived(&names))
        });
        if parent.is_some() && !killed.is_empty() {
            reporter.warn(&format!("killed {}: did not stop", list(&killed)));
        }
        if !left.is_empty() {
            reporter.warn(&format!("cannot kill {}", list(&left)));
        }
    }

    /// Reaps the children that we have adopted as process 1.
    pub(crate) fn reap_orphans(&self) {
        // If the guardian is gone, its children are ours, and their statuses are still needed.
        let Some(connection) = lock(&self.0.connection).clone() else { return };
        let mut process = lock(&connection.process);
        if let Ok(None) = process.try_wait() {
            let guardian = Pid::from_child(&process);
            for orphan in tree::children().into_iter().filter(|pid| *pid != guardian) {
                tree::reap(orphan);
            }
        }
    }

    /// Lets the remaining processes run after our end, as if there were no guardian.
    pub(crate) fn leave_the_rest(&self) {
        if let Some(connection) = lock(&self.0.connection).clone() {
            // A guardian that is gone stops nothing anyway.
            let _ = connection.request(&Request::Leave, &[]);
        }
    }

    /// Lets the guardian end, and waits for it.
    pub(crate) fn end(&self) {
        if let Some(connection) = lock(&self.0.connection).take() {
            let _ = connection.socket.shutdown(std::net::Shutdown::Both);
            // If it takes longer, it still has processes to stop.
            connection.has_ended_within(ENDS_WITHIN);
        }
    }
}

impl Connection {
    fn new(has_stderr: bool) -> io::Result<Connection> {
        let (socket, its) = UnixStream::pair()?;
        // If a shell was replaced by this program, its jobs are our children. We must not touch them or
        // their orphans.
        let adopts = tree::children().is_empty();
        if adopts {
            tree::adopt_orphans()?;
        }
        let process = Command::new(this_program::executable()?)
            .arg0("kcl-helper")
            .arg(this_program::GUARDIAN)
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .stderr(if has_stderr { Stdio::inherit() } else { Stdio::null() })
            .process_group(0)
            .spawn()?;
        let connection = Connection { socket, process: Mutex::new(process), adopts };
        connection.socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        match receive(&connection.socket)? {
            Some(Answer::Ready) => Ok(connection),
            _ => Err(io::Error::other("it ended immediately")),
        }
    }

    /// Sends a request, and returns the socket for its answers.
    fn request(&self, request: &Request, files: &[BorrowedFd<'_>]) -> io::Result<UnixStream> {
        let (socket, its) = UnixStream::pair()?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        let files: Vec<_> = [its.as_fd()].into_iter().chain(files.iter().copied()).collect();
        send_files(&self.socket, &files)?;
        send(&socket, request)?;
        Ok(socket)
    }

    fn clear(
        &self,
        patience: Patience,
        outlived: &mut impl FnMut(&[String]),
    ) -> io::Result<Option<Cleared>> {
        let Patience { leave, stop, .. } = patience;
        let socket = self.request(&Request::Clear { leave, stop }, &[])?;
        socket.set_read_timeout(Some(patience.longest() + ENDS_WITHIN))?;
        while let Some(answer) = receive(&socket)? {
            match answer {
                Answer::Outlived(names) => outlived(&names),
                Answer::Cleared(cleared) => return Ok(Some(cleared)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(None)
    }

    /// Makes sure that a guardian that does not answer has ended, so that its children become ours.
    fn ensure_ended(&self) {
        if !self.has_ended_within(ENDS_WITHIN) {
            let mut process = lock(&self.process);
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Ok(None) = lock(&self.process).try_wait() {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// A process that the guardian has started for us. Until this is dropped, no other process can have its
/// number. Dropping it kills the process and its group.
#[derive(Debug)]
pub(crate) struct Guarded {
    pid: Pid,
    socket: UnixStream,
    status: Mutex<Option<ExitStatus>>,
    connection: Arc<Connection>,
}

impl Guarded {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the process alone, if it has not ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        sent(kill_process(self.pid, signal))
    }

    /// Kills the process, and the process group if it leads one.
    pub(crate) fn kill(&self) -> io::Result<()> {
        signal_group(self.pid, Signal::KILL)?;
        sent(kill_process(self.pid, Signal::KILL))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The guardian ended without sending the status.
    pub(crate) fn status(&self) -> io::Result<ExitStatus> {
        loop {
            // Without a time limit this is never `None`.
            if let Some(status) = self.status_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Returns its status if it ends within this time.
    pub(crate) fn status_within(&self, time: Duration) -> io::Result<Option<ExitStatus>> {
        self.status_until(Some(Instant::now() + time))
    }

    fn status_until(&self, until: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = *lock(&self.status) {
                return Ok(Some(status));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let time = left.map(|left| Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
            let ready = poll(&mut socket, time.as_ref());
            let mut status = lock(&self.status);
            match ready {
                _ if status.is_some() => {}
                Ok(0) => return Ok(None),
                Ok(_) => match receive(&self.socket) {
                    Ok(Some(Answer::Ended(raw))) => {
                        *status = Some(ExitStatus::from_raw(raw));
                        // So other threads that wait for this socket find it ready. If the guardian has
                        // gone it is ready anyway, and macOS reports an error here.
                        let _ = self.socket.shutdown(std::net::Shutdown::Read);
                    }
                    _ => {
                        drop(status);
                        return self.status_as_parent(until);
                    }
                },
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns its status after the guardian has ended, which makes us the parent if we adopt orphans.
    fn status_as_parent(&self, until: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        self.connection.ensure_ended();
        loop {
            if let Some(raw) = tree::status(self.pid)? {
                let found = ExitStatus::from_raw(raw);
                *lock(&self.status) = Some(found);
                return Ok(Some(found));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            thread::sleep(tree::TICK);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = send(&self.socket, &LetGo);
    }
}

/// A process that has already ended is not an error.
fn sent(sent: rustix::io::Result<()>) -> io::Result<()> {
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Joins the first few names for a message.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// The rest must be read too, else the tool would block.
    #[test]
    fn only_the_beginning_of_long_output_is_kept() {
        let mut kept = Vec::new();
        let mut said = io::repeat(b'x').take(3 * KEPT_OUTPUT);
        read_beginning(&mut said, &mut kept).unwrap();
        assert_eq!((kept.len() as u64, said.limit()), (KEPT_OUTPUT, 0));
    }

    /// A program that is started in another way would keep running if we are killed.
    #[test]
    fn only_the_guardian_starts_programs() {
        // dispositions.rs must ask before there can be a guardian.
        let allowed = ["guardian/mod.rs", "guardian/server.rs", "dispositions.rs"];
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![src.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
                let text = std::fs::read_to_string(path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let starts = code.contains("process::Command") || code.contains("Command::new(");
                assert!(!starts || allowed.contains(&name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn all_waiting_threads_get_the_status() {
        for _ in 0..300 {
            let (socket, its) = UnixStream::pair().unwrap();
            let process = kcl_fixtures::command("true").spawn().unwrap();
            let pid = Pid::from_child(&process);
            let (ours, _) = UnixStream::pair().unwrap();
            let connection =
                Arc::new(Connection { socket: ours, process: Mutex::new(process), adopts: true });
            let guarded = Guarded { pid, socket, status: Mutex::default(), connection };
            let begin = Barrier::new(4);
            thread::scope(|scope| {
                let waiters: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            begin.wait();
                            guarded.status().unwrap()
                        })
                    })
                    .collect();
                let looks = scope.spawn(|| {
                    begin.wait();
                    loop {
                        if let Some(status) = guarded.status_within(Duration::ZERO).unwrap() {
                            return status;
                        }
                    }
                });
                begin.wait();
                send(&its, &Answer::Ended(7 << 8)).unwrap();
                for waiter in waiters.into_iter().chain([looks]) {
                    assert_eq!(waiter.join().unwrap().code(), Some(7));
                }
            });
            assert!(guarded.connection.has_ended_within(ENDS_WITHIN));
        }
    }
}
