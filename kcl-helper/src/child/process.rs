//! A process that was started, whoever talks to it: its number, its end, and what it leaves behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group, setrlimit,
    waitid,
};

use crate::error::{Error, Exit, Result};

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
}

impl Program {
    /// The program as it was typed, for messages.
    pub(crate) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Fails as a start would, as far as that can be seen without one: the program is not there, may not
    /// be executed, or lacks its interpreter. Of its format only a start can tell.
    pub(crate) fn check(&self) -> Result<()> {
        self.find().map_err(|error| cannot_start(self, error))
    }

    /// As execvp(3) looks for it.
    fn find(&self) -> io::Result<()> {
        if self.program.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if self.program.as_encoded_bytes().contains(&b'/') {
            return check_executable(Path::new(&self.program));
        }
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        let mut error = io::Error::from(Errno::NOENT);
        for folder in std::env::split_paths(&path) {
            // An empty one is this folder.
            match check_executable(&Path::new(".").join(folder).join(&self.program)) {
                Ok(()) => return Ok(()),
                Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => error = denied,
                Err(_) => {}
            }
        }
        Err(error)
    }
}

fn check_executable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_file() {
        return Err(Errno::ACCESS.into());
    }
    rustix::fs::access(path, Access::EXEC_OK)?;
    // What may be executed need not be readable.
    let Ok(file) = File::open(path) else { return Ok(()) };
    let mut start = Vec::new();
    file.take(256).read_to_end(&mut start)?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(words) = line.strip_prefix(b"#!") else { return Ok(()) };
    let mut words =
        words.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    match words.next() {
        Some(interpreter) => Path::new(OsStr::from_bytes(interpreter)).metadata().map(drop),
        None => Ok(()),
    }
}

/// A process in a group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Process {
    process: std::process::Child,
    pid: Option<Pid>,
    reaped: Option<ExitStatus>,
}

/// Our ends of its three pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// What a thread needs to wait for a process's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter(Option<Pid>);

impl Process {
    pub(crate) fn spawn(program: &Program) -> Result<(Process, Pipes)> {
        let mut process = Command::new(&program.program)
            .args(&program.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| cannot_start(program, error))?;
        let Waiter(pid) = Waiter::of(&process);
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let process = Process { process, pid, reaped: None };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Error::new(Exit::Surroundings, "the child has no pipes"));
        };
        Ok((process, Pipes { stdin, stdout, stderr }))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn waiter(&self) -> Waiter {
        Waiter(self.pid)
    }

    /// Kills it and every process that it left in its group.
    pub(crate) fn kill(&self) {
        // Until it is waited for, even a dead process holds its number, so that no stranger is hit.
        if let (Some(group), None) = (self.pid, self.reaped) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// How it ended, once that has been taken.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.reaped
    }

    /// How it ended, after killing what is left of its group. `None` if it cannot be ended.
    pub(crate) fn finish(&mut self) -> Option<ExitStatus> {
        if self.reaped.is_none() {
            self.kill();
            if self.waiter().has_exited_within(Duration::from_secs(5)) {
                self.reaped = self.process.wait().ok();
            }
        }
        self.reaped
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Waiter {
    pub(crate) fn of(child: &std::process::Child) -> Waiter {
        Waiter(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// Waits for the end without taking the status, so that the number stays the process's own.
    pub(crate) fn wait(self) {
        // Where it cannot be waited for, there is no process any more.
        let _ = self.status();
    }

    /// Waits for the end, and tells it without taking it: no stranger gets a signal meant for the
    /// process.
    ///
    /// # Errors
    /// The status has been taken already, or the process is not ours.
    pub(crate) fn status(self) -> io::Result<ExitStatus> {
        loop {
            // Without NOHANG there is always an answer.
            if let Some(status) = self.look(WaitIdOptions::empty())? {
                return Ok(status);
            }
        }
    }

    /// Whether the end has come. Not to be asked once the status has been taken.
    pub(crate) fn has_exited(self) -> bool {
        !matches!(self.look(WaitIdOptions::NOHANG), Ok(None))
    }

    /// Waits for the end, at most so long; whether it has come.
    pub(crate) fn has_exited_within(self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.has_exited() {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    fn look(self, more: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        let pid = self.0.ok_or(io::ErrorKind::NotFound)?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | more;
        let found = loop {
            match waitid(WaitId::Pid(pid), options) {
                Err(Errno::INTR) => {}
                found => break found?,
            }
        };
        Ok(found.map(|status| {
            let code = status.exit_status().map(|code| (code & 0xff) << 8);
            ExitStatus::from_raw(code.or(status.terminating_signal()).unwrap_or(0))
        }))
    }
}

/// `exit status 3`, `signal 9, SIGKILL`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("signal {signal}, {name}"),
            None => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// Makes sure that so many children may have their pipes.
pub(crate) fn allow_files(children: u64) -> Result<()> {
    // Three pipes and the two ends of a bell; a few files are open for other ends.
    let needed = children * 5 + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // What is more than most children expect is not asked for without need, as they inherit it.
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        Error::new(Exit::Surroundings, format!("cannot have {needed} files open"))
            .because(error)
            .hint("lower --shards, or raise `ulimit -n`")
    })
}

/// Why the program does not start, and what may help.
pub(crate) fn cannot_start(program: &Program, error: io::Error) -> Error {
    let failed = || Error::new(Exit::Surroundings, format!("cannot start `{}`", program.name()));
    let has_slash = program.program.as_encoded_bytes().contains(&b'/');
    let exists_here = Path::new(&program.program).exists();
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !has_slash && exists_here => format!(
            "without a slash it is looked up in PATH alone, here and by the real daemon: ./{}",
            program.name()
        ),
        io::ErrorKind::NotFound if !has_slash => {
            "it is looked up in PATH; for a file write its path, such as ./NAME".into()
        }
        io::ErrorKind::NotFound if exists_here => {
            "the file is there, but not the interpreter that its first line names".into()
        }
        io::ErrorKind::NotFound => format!("a path counts from the working folder, {}", here()),
        io::ErrorKind::PermissionDenied if Path::new(&program.program).is_dir() => {
            "it is a folder".into()
        }
        io::ErrorKind::PermissionDenied => format!("chmod +x {}", program.name()),
        _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            "a script needs `#!` and its interpreter as the first line".into()
        }
        _ => return failed().because(error),
    };
    failed().because(error).hint(hint)
}

fn here() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    here.as_os_str().to_string_lossy().into_owned()
}

impl<S: AsRef<OsStr>> From<&[S]> for Program {
    /// The first word is the program. No word at all is the empty program, which does not start.
    fn from(words: &[S]) -> Program {
        let mut words = words.iter().map(|word| word.as_ref().to_owned());
        Program { program: words.next().unwrap_or_default(), args: words.collect() }
    }
}
