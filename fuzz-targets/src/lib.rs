//! Fuzz targets: plain functions that take bytes and panic if they find a bug.
//!
//! The tests of this crate run them over the corpus (`fuzz/corpus/`) and under proptest. `fuzz/`
//! runs the same functions under `cargo fuzz`.
//!
//! ```
//! for (name, target) in kcl_fuzz_targets::TARGETS {
//!     target(name.as_bytes());
//! }
//! ```
//!
//! # Panics
//! Every target panics if it finds a bug, since that is what a fuzzer looks for.

mod from_daemon;
#[cfg(unix)]
mod properties;
mod runtime;
mod sessions;

/// Takes any bytes, and panics if it finds a bug.
pub type Target = fn(&[u8]);

/// All targets with their names, which are also their folders in the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("from_daemon", from_daemon::decode),
    ("from_child", sessions::daemon_session),
    ("child_session", sessions::child_session),
    ("lines", sessions::lines),
    // kcl-helper compiles on Unix alone.
    #[cfg(unix)]
    ("properties", properties::read),
    ("runtime", runtime::run),
];

/// Runs the target with this name.
///
/// # Panics
/// There is no target with this name, or it finds a bug.
#[expect(clippy::panic, reason = "a misspelt name must not fuzz nothing")]
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no fuzz target {name:?}"));
    target(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "there is no fuzz target \"line\"")]
    fn an_unknown_target_fails() {
        super::run("line", b"");
    }
}
