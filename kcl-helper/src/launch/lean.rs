//! Flags for a JVM that mostly waits: a cheap collector, a heap that stays small, patience before
//! the dear compiler is used, and classes that are ready.
//!
//! A JVM's defaults are for a server that computes. The daemon waits for Kinesis and moves text.
//! What the flags save, and what they cost at full load, `bench/lean_jvm.py` measures: on 2 cores
//! with Java 17, 600 MB in 4 shards, in turns with the plain command, twice each: 0.58 of the CPU to
//! the first batch (4.3 s beside 7.4), 0.69 of the memory there (359 MiB beside 521), a third of the
//! largest memory, and at full load 30.9 MB/s beside 24.0, at 1.03 of the CPU a megabyte. With
//! batches ten times as large: 0.58, 0.63, a quarter, 43.6 MB/s beside 41.1, and 0.79.
//!
//! `-XX:TieredStopAtLevel=1` would take the CPU to the first batch to 0.5, and costs 1.2 to 1.4 times
//! the CPU a megabyte for ever after; so it is left to the user. `--plain-jvm` leaves all flags out.

use std::ffi::OsString;
use std::path::Path;

use super::command::flag;
use crate::properties::Surroundings;

/// What a flag is for. A flag of the user's for the same purpose takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Collector,
    /// Sizes that suit our collector.
    HeapSize,
    Metaspace,
    Compiler,
    Archive,
}

/// Understood by every Java from 8.
const FLAGS: [(Purpose, &str); 6] = [
    (Purpose::Collector, "-XX:+UseSerialGC"),
    // Batches are large and short-lived: with room for a few of them most die young. The old
    // generation has the rest, which costs no memory before it is needed; with less, full
    // collections took a sixth of the time at full load.
    (Purpose::HeapSize, "-Xms192m"),
    (Purpose::HeapSize, "-Xmn64m"),
    // The daemon's classes pass the default of 21 MB at its start, and a full collection follows.
    (Purpose::Metaspace, "-XX:MetaspaceSize=96m"),
    // Ten times the default: what is hot at full load passes it in seconds, the rest never does.
    (Purpose::Compiler, "-XX:Tier4InvocationThreshold=50000"),
    (Purpose::Compiler, "-XX:Tier4CompileThreshold=150000"),
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
    let served: Vec<Purpose> = variables
        .flat_map(str::split_whitespace)
        .chain(jvm_args.iter().map(String::as_str))
        .flat_map(purposes_of)
        .copied()
        .collect();
    let ours = FLAGS.iter().map(|(purpose, text)| (*purpose, OsString::from(text)));
    let archive = archive.map(|path| (Purpose::Archive, flag("-XX:SharedArchiveFile=", path)));
    ours.chain(archive)
        .filter(|(purpose, _)| !served.contains(purpose))
        .map(|(_, flag)| flag)
        .collect()
}

/// What a flag of the user's makes ours step back from.
fn purposes_of(given: &str) -> &'static [Purpose] {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|b| given.starts_with(b));
    // With two collectors a JVM does not start, and our sizes do not suit another one.
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
