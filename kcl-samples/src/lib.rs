//! Sample record processors, each a module with a `main` that its binary calls. They live in a
//! library so that `kcl-helper local --sample` runs the same code.
//!
//! `examples/` has more, one file each: `json_events` (typed events, dead letters), `aggregation`
//! (checkpoints at sub-sequence numbers), `graceful_handoff` (buffering), `async_sink` (tokio) and
//! `unix_socket` (your own transport). `clicks/`, a package of its own, counts clicks in SQLite, each
//! exactly once.

pub mod bench_processor;
pub mod sample_kcl_app;

/// The sample's properties file, with every property of daemon 3.x that a user may want.
/// `kcl-helper run --sample` uses it with its own program's path.
pub const SAMPLE_PROPERTIES: &str = include_str!("../sample.properties");

/// Writes one line to stderr in one call. `eprintln!` writes it in pieces, and panics if stderr is
/// closed.
fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;

    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
