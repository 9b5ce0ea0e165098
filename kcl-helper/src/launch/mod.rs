//! Launching the real daemon: which jars, which java, which words, and looking after the process.
//!
//! Everything up to the command is plain data that can be printed instead of run:
//! `Daemon` (what a version is made of), `Jars` (where they are) and `Java` (what runs them) become
//! a `JavaCommand`. `jars`, `archive`, `sample`, `worker_id` and `prepare`'s `RunFolder` write files;
//! `java` and `supervise` start processes.

pub(crate) mod archive;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod jars;
pub(crate) mod java;
pub(crate) mod jvm_flags;
pub(crate) mod logging;
pub(crate) mod prepare;
pub(crate) mod sample;
pub(crate) mod supervise;
mod temporary;
pub(crate) mod worker_id;
