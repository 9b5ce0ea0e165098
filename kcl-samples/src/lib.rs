//! Sample record processors, each a module with a `main` that its binary calls. They live in a
//! library so that `kcl-helper local --sample` runs the same code.
//!
//! More to learn from, one file each, is in `examples/`: `json_events` (typed events, dead letters),
//! `aggregation` (checkpoints at sub-sequence numbers), `graceful_handoff`, `async_sink` (tokio), and
//! `unix_socket` (a transport of one's own).

pub mod bench_processor;
pub mod sample_kcl_app;

/// The properties file of the sample, with every property of the daemon's 3.x that a user may want.
/// `kcl-helper run --sample` uses it, with the path of its own program.
pub const SAMPLE_PROPERTIES: &str = include_str!("../sample.properties");

/// Writes one line to stderr in one piece: `eprintln!` writes it piece by piece, and panics where
/// nobody reads it any more.
fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;

    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
