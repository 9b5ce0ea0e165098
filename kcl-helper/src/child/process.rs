//! A process that we started: its pid, its exit status, and what it leaves in its group.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::error::{Error, Exit, Result};
use crate::guardian::{Guarded, Guardian, How};
use crate::secret::Masked;

/// How long the kernel may take to end a killed process. Only one that waits for a disk or a file server
/// takes longer.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The command line of a program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
}

impl Program {
    /// Returns the program as it was typed, for messages.
    pub(crate) fn name(&self) -> String {
        Masked::of_text(self.program.to_string_lossy()).to_string()
    }

    /// Returns the program and its arguments, for messages.
    pub(crate) fn shown_words(&self) -> Vec<Masked> {
        Masked::of_words([&self.program].into_iter().chain(&self.args))
    }

    /// Fails as a start would, if the program does not exist, is not executable, or lacks its
    /// interpreter. Only a start can tell about its format.
    pub(crate) fn check(&self) -> Result<()> {
        self.find().map_err(|error| cannot_start(self, error))
    }

    /// Looks for the program as execvp(3) does.
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
    // An executable file need not be readable.
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
    guarded: Arc<Guarded>,
    ended: Option<ExitStatus>,
}

/// Our ends of its three pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// A process that another thread owns.
#[derive(Debug, Clone)]
pub(crate) struct ProcessHandle(Arc<Guarded>);

impl Process {
    pub(crate) fn spawn(
        guardian: &Guardian,
        program: &Program,
        how: How,
    ) -> Result<(Process, Pipes)> {
        let pipe = || {
            io::pipe().map_err(|error| {
                Error::new(Exit::Environment, "cannot set up a pipe").because(error)
            })
        };
        let ((its_stdin, stdin), (stdout, its_stdout), (stderr, its_stderr)) =
            (pipe()?, pipe()?, pipe()?);
        let streams = [its_stdin.into(), its_stdout.into(), its_stderr.into()];
        let words = iter::once(&program.program).chain(&program.args).cloned().collect();
        let guarded = guardian
            .spawn(words, how, streams, &[])
            .map_err(|error| cannot_start(program, error))?;
        let process = Process { guarded: Arc::new(guarded), ended: None };
        let pipes = Pipes {
            stdin: OwnedFd::from(stdin).into(),
            stdout: OwnedFd::from(stdout).into(),
            stderr: OwnedFd::from(stderr).into(),
        };
        Ok((process, pipes))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.guarded.pid()
    }

    pub(crate) fn handle(&self) -> ProcessHandle {
        ProcessHandle(self.guarded.clone())
    }

    /// Sends a signal to the process, not to its group.
    pub(crate) fn signal(&self, signal: Signal) {
        // It fails only if the process has ended.
        let _ = self.guarded.signal(signal);
    }

    /// Kills it and every process that it left in its group.
    pub(crate) fn kill(&self) {
        let _ = self.guarded.kill();
    }

    /// Returns its exit status, once that has been taken.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Kills what is left of its group and returns its exit status, or `None` if it cannot be killed.
    pub(crate) fn finish(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.kill();
            self.ended = self.handle().wait_killed();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
    }
}

impl ProcessHandle {
    pub(crate) fn pid(&self) -> Pid {
        self.0.pid()
    }

    /// Waits for the end.
    pub(crate) fn wait(&self) {
        // If its status is lost, it has ended.
        let _ = self.status();
    }

    /// Waits for the end and returns how it ended.
    ///
    /// # Errors
    /// The status is lost.
    pub(crate) fn status(&self) -> io::Result<ExitStatus> {
        self.0.status()
    }

    pub(crate) fn has_exited(&self) -> bool {
        !matches!(self.0.status_within(Duration::ZERO), Ok(None))
    }

    /// Kills it and every process that it left in its group.
    pub(crate) fn kill(&self) {
        let _ = self.0.kill();
    }

    /// Waits for the end of a process that was killed. Returns `None` if it cannot be killed.
    pub(crate) fn wait_killed(&self) -> Option<ExitStatus> {
        self.0.status_within(KILLED_WITHIN).ok().flatten()
    }
}

/// Describes an exit status: `exit status 3`, `signal 9, SIGKILL`.
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

/// Raises the limit of open files, if need be, for the pipes of so many children.
pub(crate) fn allow_files(children: u64) -> Result<()> {
    // Three pipes, the guardian's socket and the two ends of a bell; and a few for other purposes.
    let needed = children * 6 + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // Children inherit the limit, and most expect a small one: it is raised only if need be.
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        Error::new(Exit::Environment, format!("cannot open {needed} files"))
            .because(error)
            .hint("lower --shards, or raise `ulimit -n`")
    })
}

/// Explains why a program does not start, with a hint.
fn cannot_start(program: &Program, error: io::Error) -> Error {
    let failed = || Error::new(Exit::Environment, format!("cannot start `{}`", program.name()));
    let has_slash = program.program.as_encoded_bytes().contains(&b'/');
    let exists_here = Path::new(&program.program).exists();
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !has_slash && exists_here => format!(
            "write ./{}: without a slash, programs are looked up in PATH, here and by the real daemon",
            program.name()
        ),
        io::ErrorKind::NotFound if !has_slash => {
            "write a path such as ./NAME, or a program that is in PATH".into()
        }
        io::ErrorKind::NotFound if exists_here => {
            "install the interpreter that the first line of the file names".into()
        }
        io::ErrorKind::NotFound => {
            format!("write a path that is relative to the working folder, {}", here())
        }
        io::ErrorKind::PermissionDenied if Path::new(&program.program).is_dir() => {
            "write the path of a program: this is a folder".into()
        }
        io::ErrorKind::PermissionDenied => format!("run `chmod +x {}`", program.name()),
        _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            "begin the script with `#!` and its interpreter".into()
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
    /// The first word is the program. Without words it is the empty program, which does not start.
    fn from(words: &[S]) -> Program {
        let mut words = words.iter().map(|word| word.as_ref().to_owned());
        Program { program: words.next().unwrap_or_default(), args: words.collect() }
    }
}
