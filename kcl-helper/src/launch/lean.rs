//! Flags for a JVM that mostly waits: a cheap collector, a heap that stays small, classes ready.
//!
//! A JVM's defaults are for a server that computes. The daemon waits for Kinesis and moves text.

use std::ffi::OsString;
use std::path::Path;

use super::command::flag;
use crate::properties::Surroundings;

/// A flag of ours, and the beginnings of flags of the user's that take its place.
struct Flag {
    text: &'static str,
    yields_to: &'static [&'static str],
}

/// Understood by every Java from 8. What each one saves is in `bench/lean-jvm.md`.
const FLAGS: [Flag; 4] = [
    Flag { text: "-XX:+UseSerialGC", yields_to: &["-XX:-UseSerialGC"] },
    Flag {
        text: "-Xms16m",
        yields_to: &["-Xms", "-XX:InitialHeapSize", "-XX:InitialRAMPercentage"],
    },
    Flag { text: "-XX:MaxHeapFreeRatio=40", yields_to: &["-XX:MaxHeapFreeRatio"] },
    Flag { text: "-XX:MinHeapFreeRatio=20", yields_to: &["-XX:MinHeapFreeRatio"] },
];

/// Variables that JVMs read flags from. A flag on the command line beats most of them, so ours
/// steps back for what the user has set for all of a container's JVMs.
const VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// The flags, but for those whose purpose the user serves otherwise.
pub(crate) fn flags(
    archive: Option<&Path>,
    jvm_args: &[String],
    surroundings: &Surroundings,
) -> Vec<OsString> {
    let variables = VARIABLES.iter().filter_map(|name| surroundings.variable(name));
    let given: Vec<&str> = variables
        .flat_map(str::split_whitespace)
        .chain(jvm_args.iter().map(String::as_str))
        .collect();
    let mut flags: Vec<OsString> = FLAGS
        .iter()
        .filter(|flag| !given.iter().any(|given| takes_place_of(given, flag)))
        .map(|flag| flag.text.into())
        .collect();
    if let Some(archive) = archive.filter(|_| !given.iter().any(|flag| chooses_archive(flag))) {
        flags.push(flag("-XX:SharedArchiveFile=", archive));
    }
    flags
}

fn takes_place_of(given: &str, flag: &Flag) -> bool {
    let chooses_collector = |flag: &str| flag.starts_with("-XX:+Use") && flag.ends_with("GC");
    // Two collectors at once, and the JVM does not start.
    (chooses_collector(flag.text) && chooses_collector(given))
        || flag.yields_to.iter().any(|beginning| given.starts_with(beginning))
}

fn chooses_archive(given: &str) -> bool {
    given.starts_with("-Xshare") || given.starts_with("-XX:SharedArchiveFile")
}
