//! Flags for a JVM that mostly waits: a cheap collector, a heap that stays small, patience before
//! the dear compiler is used, and classes that are ready.
//!
//! A JVM's defaults are for a server that computes. The daemon waits for Kinesis and moves text.
//! What the flags save `bench/lean_jvm.py` measures: on 2 cores with Java 17, 600 MB in 4 shards, in
//! turns with the plain command, two runs each: 0.58 of the CPU to the first batch (4.3 s beside 7.4),
//! 0.69 of the memory there (359 MiB beside 521), a third of the largest memory, 1.03 of the CPU a
//! megabyte. The rate at full load did not fall, and no more than that is known: 30 and 32 MB/s
//! beside 22 and 26, while the plain command reached 27 to 32 on the same machine in the hour before.
//! With batches five times as large, the daemon's default, one run: 44 MB/s beside 41, where four
//! plain runs spread from 24 to 55; 742 MiB at most beside 2 to 3 GiB.
//!
//! `-XX:TieredStopAtLevel=1` instead of the thresholds takes the CPU to the first batch to 0.37, and
//! did not lower the rate where reading set the pace (31 MB/s beside 32, two runs each, slightly larger
//! heap). But it takes 1.25 of the plain CPU a megabyte there, and with the large batches 1.5 times
//! that of our flags, at 36 MB/s beside 49. So it is left to the user, and the start costs more than
//! the half that we wanted. `--plain-jvm` leaves all flags out.

use std::ffi::OsString;
use std::path::Path;

use super::command::flag;
use crate::environment::Environment;

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
    // generation has the rest, which costs no memory before it is needed; with 48 and 80 MB in all,
    // pauses took a fifth of the time at full load, half of them full collections.
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
    environment: &Environment,
) -> Vec<OsString> {
    let variables = VARIABLES.iter().filter_map(|name| environment.variable(name));
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
