//! The launcher's commands from outside: exact stdout, stderr and status of every path, with
//! stand-ins for java, Maven and a repository. The real ones are in `e2e/`.

// Clippy sees tests only where `#[test]` stands.
#![allow(clippy::unwrap_used)]

mod guide;
mod jars;
mod print;
mod run;
mod secrets;
mod support;
mod words;
