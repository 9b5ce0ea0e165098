//! How threads are started.

use std::io;
use std::thread;

use crate::error::{Error, Exit};

/// Much less than the default, as there may be hundreds of threads.
const STACK_SIZE: usize = 256 << 10;

/// Starts a thread that nobody waits for.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(STACK_SIZE).spawn(run).map(drop)
}

/// The error of a command that cannot start a thread.
pub(crate) fn failed(error: io::Error) -> Error {
    Error::new(Exit::Environment, "cannot start a thread").because(error)
}
