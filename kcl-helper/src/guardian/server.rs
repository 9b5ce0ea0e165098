//! The guardian process: starts programs on request, sends their exit statuses, and stops those that are
//! left when the helper has ended.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Pid;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};

use super::clearing::Patience;
use super::group::is_group_gone;
use super::messages::{Answer, Cleared, LetGo, Request, Spawn, receive, receive_files, send};
use super::tree::{self, Ending};
use crate::dispositions;

/// A process that we started.
struct Started {
    pid: Pid,
    grace: Duration,
    owner: Owner,
    has_ended: bool,
}

/// Who wants to know the exit status of a process.
enum Owner {
    Helper(UnixStream),
    /// Nobody: the helper has released it.
    Nobody,
    /// Nobody: the helper was killed or is about to end.
    Gone,
}

struct Guardian {
    /// `None` after the helper has ended.
    helper: Option<UnixStream>,
    started: Vec<Started>,
    /// Other children that are running.
    adopted: Vec<Pid>,
    folders: Vec<PathBuf>,
    /// Set while the remaining processes are being stopped. The socket is that of the request; there is none
    /// if the helper has ended.
    ending: Option<(Ending, Option<UnixStream>)>,
    /// What became of the processes that a helper left running.
    cleared: Cleared,
}

/// Serves the helper at the other end of stdin until it has ended and no process is left. Returns what
/// became of the processes that it left running.
pub(crate) fn run() -> io::Result<Cleared> {
    // Otherwise it would be called `exe`, by the path that it was started with.
    #[cfg(target_os = "linux")]
    rustix::thread::set_name(c"kcl-guardian")?;
    let helper = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    // Our programs must not keep the socket open.
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    let mut child_ends = survive_signals()?;
    tree::adopt_orphans()?;
    send(&helper, &Answer::Ready)?;
    let mut guardian = Guardian {
        helper: Some(helper),
        started: vec![],
        adopted: vec![],
        folders: vec![],
        ending: None,
        cleared: Cleared::default(),
    };
    while guardian.helper.is_some() || guardian.ending.is_some() {
        if guardian.wait(&mut child_ends) || guardian.ending.is_some() {
            guardian.look_at_children();
            guardian.end_what_is_left();
        }
    }
    for folder in guardian.folders {
        // Unless the helper was killed, it has already removed it.
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(guardian.cleared)
}

/// Survives signals that are sent to all processes, because the helper needs us until its end. Our programs
/// get the default behaviour, but ignore the signals that our caller ignores.
fn survive_signals() -> io::Result<UnixStream> {
    let all = [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2];
    let ignored = dispositions::ignored(&all);
    for signal in all.into_iter().filter(|signal| !ignored.contains(signal)) {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, writer)?;
    Ok(reader)
}

impl Guardian {
    /// Waits for something to do, and serves a request of the helper. Returns whether an existing child may
    /// have changed.
    fn wait(&mut self, child_ends: &mut UnixStream) -> bool {
        let mut sockets = vec![PollFd::new(child_ends, PollFlags::IN)];
        sockets.extend(self.helper.iter().map(|helper| PollFd::new(helper, PollFlags::IN)));
        let owners = self.started.iter().filter_map(|process| process.owner.socket());
        sockets.extend(owners.map(|socket| PollFd::new(socket, PollFlags::IN)));
        let tick = Timespec { tv_sec: 0, tv_nsec: tree::TICK.as_nanos() as i64 };
        // An interrupted poll has found nothing.
        let _ = poll(&mut sockets, self.ending.as_ref().map(|_| &tick));
        let ready: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut is_of_child = ready.next() == Some(true);
        if is_of_child {
            while child_ends.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        }
        let has_request = self.helper.is_some() && ready.next() == Some(true);
        for process in &mut self.started {
            let Some(socket) = process.owner.socket() else { continue };
            if ready.next() == Some(true) {
                is_of_child = true;
                process.owner = match receive(socket) {
                    Ok(Some(LetGo)) => Owner::Nobody,
                    Ok(None) | Err(_) => Owner::Gone,
                };
            }
        }
        if has_request {
            self.serve();
        }
        is_of_child
    }

    fn serve(&mut self) {
        let Some(helper) = &self.helper else { return };
        match receive_files(helper) {
            Ok(Some(files)) => {
                let mut files = files.into_iter();
                let Some(socket) = files.next().map(UnixStream::from) else { return };
                // If the helper died while sending it, there is nothing to do.
                if let Ok(Some(request)) = receive(&socket) {
                    self.fulfil(request, socket, files.collect());
                }
            }
            // It has ended, or sends garbage, which we treat alike.
            Ok(None) | Err(_) => self.helper_has_gone(),
        }
    }

    fn fulfil(&mut self, request: Request, socket: UnixStream, files: Vec<OwnedFd>) {
        match request {
            Request::Spawn(spawn) => {
                match start(&spawn, files) {
                    Ok(process) => {
                        let pid = Pid::from_child(&process);
                        let answer = Answer::Started(pid.as_raw_pid());
                        // If the helper has ended, `serve` will notice.
                        let _ = send(&socket, &answer);
                        let (grace, owner) = (spawn.grace, Owner::Helper(socket));
                        self.started.push(Started { pid, grace, owner, has_ended: false });
                    }
                    Err(error) => {
                        let unknown = rustix::io::Errno::INVAL.raw_os_error();
                        let error = error.raw_os_error().unwrap_or(unknown);
                        let _ = send(&socket, &Answer::Failed(error));
                    }
                }
            }
            Request::Clear { leave, stop } => {
                let patience = Patience { ask: Duration::ZERO, leave, stop };
                self.end(patience, Some(socket));
            }
            Request::Remove(folder) => self.folders.push(folder.into()),
            Request::Leave => {
                self.helper = None;
                self.ending = None;
            }
        }
    }

    fn helper_has_gone(&mut self) {
        self.helper = None;
        self.started.iter_mut().for_each(|process| process.owner = Owner::Gone);
        let grace = self.started.iter().map(|process| process.grace).max();
        let longest = || Patience::for_the_rest(Duration::MAX);
        self.end(grace.map_or_else(longest, Patience::with_grace), None);
    }

    fn end(&mut self, patience: Patience, asked_by: Option<UnixStream>) {
        self.ending = Some((Ending::new(patience, Instant::now()), asked_by));
    }

    /// Sends the statuses of children that have ended, and reaps those that nobody waits for.
    fn look_at_children(&mut self) {
        for process in self.started.iter_mut().filter(|process| !process.has_ended) {
            match tree::status(process.pid) {
                Ok(None) => {}
                Ok(Some(status)) => {
                    process.has_ended = true;
                    if let Some(socket) = process.owner.socket() {
                        let _ = send(socket, &Answer::Ended(status));
                    }
                }
                // Cannot happen, because only we reap it.
                Err(_) => process.has_ended = true,
            }
        }
        self.started.retain_mut(|process| match process.owner {
            Owner::Helper(_) => true,
            // Nobody needs the rest of its group.
            Owner::Nobody => {
                tree::kill(process.pid);
                !(process.has_ended && tree::reap(process.pid))
            }
            Owner::Gone => process.is_left() || !tree::reap(process.pid),
        });
        let started: HashSet<Pid> = self.started.iter().map(|process| process.pid).collect();
        self.adopted = tree::others_that_live(&started);
    }

    fn end_what_is_left(&mut self) {
        let Some((ending, asked_by)) = &mut self.ending else { return };
        let pids = |started: &mut dyn Iterator<Item = &Started>| -> Vec<Pid> {
            started.map(|process| process.pid).collect()
        };
        let started = pids(&mut self.started.iter().filter(|process| !process.has_ended));
        let mut all = pids(&mut self.started.iter().filter(|process| process.is_left()));
        all.extend(&self.adopted);
        let asked_by = asked_by.as_ref();
        let answer = |answer: Answer| {
            // If the helper has ended, `serve` will notice.
            let _ = asked_by.map(|asked_by| send(asked_by, &answer));
        };
        let outlived = |names| answer(Answer::Outlived(names));
        if let Some(cleared) = ending.step(&started, &all, Instant::now(), outlived) {
            match asked_by {
                Some(_) => answer(Answer::Cleared(cleared)),
                None => self.cleared = cleared,
            }
            self.ending = None;
        }
    }
}

impl Started {
    /// Whether it, or a process of its group, still has to be stopped. If we adopt orphans, the processes of
    /// its group are our children anyway.
    fn is_left(&self) -> bool {
        !self.has_ended || !tree::adopts_orphans() && !is_group_gone(self.pid)
    }
}

impl Owner {
    fn socket(&self) -> Option<&UnixStream> {
        match self {
            Owner::Helper(socket) => Some(socket),
            Owner::Nobody | Owner::Gone => None,
        }
    }
}

/// Starts a program. The first three files are its streams, and it inherits the others.
fn start(spawn: &Spawn, files: Vec<OwnedFd>) -> io::Result<std::process::Child> {
    let mut argv = spawn.argv.iter();
    let no_program = OsString::new();
    let mut command = Command::new(argv.next().unwrap_or(&no_program));
    command.args(argv).process_group(spawn.group.unwrap_or(0));
    let mut files = files.into_iter();
    let mut stream = || files.next().map_or_else(Stdio::null, Stdio::from);
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let inherited: Vec<OwnedFd> = files.collect();
    for file in &inherited {
        // Our copies are closed before another program is started.
        fcntl_setfd(file.as_fd(), FdFlags::empty())?;
    }
    with_cpu(spawn.cpu, || command.spawn())
}

/// Binds this thread to one core while it starts a program, which inherits that from its first instruction.
#[cfg(target_os = "linux")]
fn with_cpu<T>(cpu: Option<usize>, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Some(cpu) = cpu.filter(|cpu| *cpu < CpuSet::MAX_CPU) else { return start() };
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

#[cfg(not(target_os = "linux"))]
fn with_cpu<T>(_: Option<usize>, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    start()
}
