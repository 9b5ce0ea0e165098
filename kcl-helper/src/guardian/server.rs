//! The guardian itself: starts what it is asked to, tells how it ended, and ends what is left.

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
struct Ward {
    pid: Pid,
    grace: Duration,
    owner: Owner,
    has_ended: bool,
}

/// Who waits for a ward's end.
enum Owner {
    Helper(UnixStream),
    /// Nobody: the helper has let it go.
    Nobody,
    /// Nobody: the helper was killed, or is about to end.
    Gone,
}

struct Guardian {
    /// `None` once the helper has gone.
    helper: Option<UnixStream>,
    wards: Vec<Ward>,
    /// Other children, which still live.
    adopted: Vec<Pid>,
    folders: Vec<PathBuf>,
    /// What is left is being ended, and who wants to know; nobody if the helper has gone.
    ending: Option<(Ending, Option<UnixStream>)>,
    /// What became of what a helper has left.
    cleared: Cleared,
}

/// Serves the helper at the other end of stdin until it has gone and nothing is left. Gives what
/// became of what it has left.
pub(crate) fn run() -> io::Result<Cleared> {
    // Else it is called `exe`, as it was started by that name.
    #[cfg(target_os = "linux")]
    rustix::thread::set_name(c"kcl-guardian")?;
    let helper = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    // What we start must not hold it open.
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    let mut child_ends = survive_signals()?;
    tree::adopt_orphans()?;
    send(&helper, &Answer::Ready)?;
    let mut guardian = Guardian {
        helper: Some(helper),
        wards: vec![],
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
        // The helper removes it itself unless it was killed.
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(guardian.cleared)
}

/// Whoever signals all that runs means the helper, which needs us to the end. What we start has the
/// default again, and what our caller ignores it ignores as well.
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
    /// Waits for something to do, and does what the helper wants. Whether it has to do with a child
    /// that there was before.
    fn wait(&mut self, child_ends: &mut UnixStream) -> bool {
        let mut sockets = vec![PollFd::new(child_ends, PollFlags::IN)];
        sockets.extend(self.helper.iter().map(|helper| PollFd::new(helper, PollFlags::IN)));
        let owners = self.wards.iter().filter_map(|ward| ward.owner.socket());
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
        for ward in &mut self.wards {
            let Some(socket) = ward.owner.socket() else { continue };
            if ready.next() == Some(true) {
                is_of_child = true;
                ward.owner = match receive(socket) {
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
                // A helper that dies in the middle of it wants nothing.
                if let Ok(Some(request)) = receive(&socket) {
                    self.fulfil(request, socket, files.collect());
                }
            }
            // It has gone, or cannot be understood, which comes to the same.
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
                        // That a helper has gone is seen where all requests come from.
                        let _ = send(&socket, &answer);
                        let (grace, owner) = (spawn.grace, Owner::Helper(socket));
                        self.wards.push(Ward { pid, grace, owner, has_ended: false });
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
        self.wards.iter_mut().for_each(|ward| ward.owner = Owner::Gone);
        let grace = self.wards.iter().map(|ward| ward.grace).max();
        let longest = || Patience::for_the_rest(Duration::MAX);
        self.end(grace.map_or_else(longest, Patience::with_grace), None);
    }

    fn end(&mut self, patience: Patience, asked_by: Option<UnixStream>) {
        self.ending = Some((Ending::new(patience, Instant::now()), asked_by));
    }

    /// Tells of those that have ended, and lets the system forget those that nobody asks for.
    fn look_at_children(&mut self) {
        for ward in self.wards.iter_mut().filter(|ward| !ward.has_ended) {
            match tree::status(ward.pid) {
                Ok(None) => {}
                Ok(Some(status)) => {
                    ward.has_ended = true;
                    if let Some(socket) = ward.owner.socket() {
                        let _ = send(socket, &Answer::Ended(status));
                    }
                }
                // Nobody else waits for it, so this does not happen.
                Err(_) => ward.has_ended = true,
            }
        }
        self.wards.retain_mut(|ward| match ward.owner {
            Owner::Helper(_) => true,
            // What its group still does is of no use any more.
            Owner::Nobody => {
                tree::kill(ward.pid);
                !(ward.has_ended && tree::reap(ward.pid))
            }
            Owner::Gone => ward.is_left() || !tree::reap(ward.pid),
        });
        let wards: HashSet<Pid> = self.wards.iter().map(|ward| ward.pid).collect();
        self.adopted = tree::others_that_live(&wards);
    }

    fn end_what_is_left(&mut self) {
        let Some((ending, asked_by)) = &mut self.ending else { return };
        let pids = |wards: &mut dyn Iterator<Item = &Ward>| -> Vec<Pid> {
            wards.map(|ward| ward.pid).collect()
        };
        let started = pids(&mut self.wards.iter().filter(|ward| !ward.has_ended));
        let mut all = pids(&mut self.wards.iter().filter(|ward| ward.is_left()));
        all.extend(&self.adopted);
        let asked_by = asked_by.as_ref();
        let answer = |answer: Answer| {
            // That the helper has gone is seen where all requests come from.
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

impl Ward {
    /// Whether there is something of it to be ended. Where we adopt what is left in its group, it is
    /// seen by itself.
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
    let mut words = spawn.words.iter();
    let no_program = OsString::new();
    let mut command = Command::new(words.next().unwrap_or(&no_program));
    command.args(words).process_group(spawn.group.unwrap_or(0));
    let mut files = files.into_iter();
    let mut stream = || files.next().map_or_else(Stdio::null, Stdio::from);
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let inherited: Vec<OwnedFd> = files.collect();
    for file in &inherited {
        // Ours are closed again before anything else is started.
        fcntl_setfd(file.as_fd(), FdFlags::empty())?;
    }
    with_cpu(spawn.cpu, || command.spawn())
}

/// Runs with this thread on one core, which what it starts inherits: so that is in its place before
/// its first instruction.
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
