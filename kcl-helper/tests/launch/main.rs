//! The commands that launch the daemon: exact stdout, stderr and status, with fakes of java, Maven and
//! a repository. `e2e/` uses the real ones.

// Clippy sees tests only where `#[test]` stands.
#![allow(clippy::unwrap_used)]

mod guide;
mod jars;
mod print;
mod run;
mod secrets;
mod support;
mod words;
