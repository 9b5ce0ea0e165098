//! What is fuzzed: plain functions over bytes, which panic where something is not as it must be.
//!
//! The tests of this crate replay the corpus (`fuzz/corpus/`) and run each target under proptest;
//! `fuzz/` is a thin shell for `cargo fuzz` over the same functions.
//!
//! ```
//! for (name, target) in kcl_fuzz_targets::TARGETS {
//!     target(name.as_bytes());
//! }
//! ```
//!
//! # Panics
//! Every target panics where it has found a fault: that is how a fuzzer is told.

mod from_daemon;
mod properties;
mod runtime;
mod sessions;

/// Looks at bytes, and panics where it has found a fault.
pub type Target = fn(&[u8]);

/// Each target and its name, which is also its folder in the corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("from_daemon", from_daemon::decode),
    ("from_child", sessions::daemon_hears),
    ("child_session", sessions::child_hears),
    ("lines", sessions::lines),
    ("properties", properties::read),
    ("runtime", runtime::run),
];

/// Runs the target of this name.
///
/// # Panics
/// Where there is no such target: a misspelt name would otherwise fuzz nothing.
#[expect(clippy::panic, reason = "so a fuzzer and a test hear of it")]
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, call) = target.unwrap_or_else(|| panic!("no fuzz target is named {name:?}"));
    call(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "no fuzz target is named \"line\"")]
    fn an_unknown_name_is_refused() {
        super::run("line", b"");
    }
}
