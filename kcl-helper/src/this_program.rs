//! This program itself, and its hidden subcommands, which it starts as processes of their own.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// The parent of everything that we start.
pub(crate) const GUARDIAN: &str = "guardian";

/// The sample processor.
pub(crate) const SAMPLE_CHILD: &str = "sample-child";

/// The processor that `bench` compares others with.
pub(crate) const BENCH_CHILD: &str = "bench-child";

/// Returns the path that users know this program by.
///
/// # Errors
/// The system does not say where it is.
pub(crate) fn path() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Returns what starts this very program, even if its file has been replaced since we started.
///
/// # Errors
/// As for [`path`]. Linux always knows.
pub(crate) fn executable() -> io::Result<OsString> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { path().map(Into::into) }
}
