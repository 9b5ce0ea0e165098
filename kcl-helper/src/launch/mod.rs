//! Launching the real daemon: its jars, the java program, the command line and the process.
//!
//! `Daemon` (what differs between versions), `Jars` (where its jars are) and `Java` (what runs them)
//! become a `JavaCommand`, which is plain data that can be printed or run. `jars`, `archive`, `sample`,
//! `worker_id` and `prepare` write files; `java` and `supervise` start processes.

pub(crate) mod archive;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod jars;
pub(crate) mod java;
pub(crate) mod jvm_flags;
pub(crate) mod logging;
pub(crate) mod paths;
pub(crate) mod prepare;
pub(crate) mod sample;
pub(crate) mod supervise;
mod temporary;
pub(crate) mod worker_id;
