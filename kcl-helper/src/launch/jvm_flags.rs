//! Flags for a JVM that mostly waits: a cheap collector, a small heap, fewer methods compiled by the
//! expensive compiler, and classes that are already loaded.
//!
//! A JVM's defaults suit a server that computes. The daemon waits for Kinesis and moves text.
//! `bench/README.md` has what the flags save, and which ones were rejected.

use std::ffi::OsString;
use std::path::Path;

use super::paths::flag;
use crate::environment::Environment;

/// What a flag is for. A flag of the user's for the same purpose replaces ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Collector,
    /// Sizes that suit the serial collector.
    HeapSize,
    Metaspace,
    Compiler,
    Archive,
}

/// Every Java since 8 knows these.
const FLAGS: [(Purpose, &str); 6] = [
    (Purpose::Collector, "-XX:+UseSerialGC"),
    // Batches are large and short-lived: if a few of them fit into the young generation, most die there.
    // The old generation costs no memory before it is used.
    (Purpose::HeapSize, "-Xms192m"),
    (Purpose::HeapSize, "-Xmn64m"),
    // The daemon's classes exceed the default of 21 MB while it starts, which causes a full collection.
    (Purpose::Metaspace, "-XX:MetaspaceSize=96m"),
    // Ten times the default: what is hot at full load reaches it in seconds, the rest never does.
    (Purpose::Compiler, "-XX:Tier4InvocationThreshold=50000"),
    (Purpose::Compiler, "-XX:Tier4CompileThreshold=150000"),
];

/// Environment variables that JVMs read flags from. The command line overrides most of them, so our
/// flags must give way to what the user has set for every JVM of a container.
const VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// Returns our flags, without those that a flag of the user's replaces.
pub(crate) fn flags(
    archive: Option<&Path>,
    jvm_args: &[String],
    environment: &Environment,
) -> Vec<OsString> {
    let variables = VARIABLES.iter().filter_map(|name| environment.variable(name));
    let replaced: Vec<Purpose> = variables
        .flat_map(str::split_whitespace)
        .chain(jvm_args.iter().map(String::as_str))
        .flat_map(purposes_of)
        .copied()
        .collect();
    let ours = FLAGS.iter().map(|(purpose, text)| (*purpose, OsString::from(text)));
    let archive = archive.map(|path| (Purpose::Archive, flag("-XX:SharedArchiveFile=", path)));
    ours.chain(archive)
        .filter(|(purpose, _)| !replaced.contains(purpose))
        .map(|(_, flag)| flag)
        .collect()
}

/// Returns the purposes of a user's flag, for which ours are left out.
fn purposes_of(given: &str) -> &'static [Purpose] {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|b| given.starts_with(b));
    // A JVM does not start with two collectors, and our sizes suit the serial one only.
    if given.starts_with("-XX:+Use") && given.ends_with("GC") || given == "-XX:-UseSerialGC" {
        &[Purpose::Collector, Purpose::HeapSize]
    } else if begins(&["-Xms", "-Xmx", "-Xmn", "-XX:InitialHeap", "-XX:MaxHeapSize"])
        || begins(&["-XX:NewSize", "-XX:MaxNewSize", "-XX:NewRatio"])
        || begins(&["-XX:InitialRAM", "-XX:MaxRAM", "-XX:MinRAM"])
    {
        &[Purpose::HeapSize]
    } else if begins(&["-XX:MetaspaceSize", "-XX:MaxMetaspaceSize"]) {
        &[Purpose::Metaspace]
    } else if begins(&["-XX:Tier", "-XX:-Tier", "-Xint", "-Xcomp"]) {
        &[Purpose::Compiler]
    } else if begins(&["-Xshare", "-XX:SharedArchiveFile", "-XX:ArchiveClassesAtExit"]) {
        &[Purpose::Archive]
    } else {
        &[]
    }
}
