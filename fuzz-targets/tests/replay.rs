//! Runs the targets over the corpus and, under proptest, over inputs near it.
#![allow(clippy::unwrap_used, clippy::panic)] // tests may panic

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kcl_fuzz_targets::{TARGETS, run};
use proptest::prelude::*;
use proptest::sample::Index;

/// Returns the corpus of a target, sorted by file name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {folder:?}");
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Returns the names of the files in a folder of `fuzz/`, without their extensions.
fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap())).collect()
}

/// Without this, a corpus without a target would never be run, and a target without a program never
/// be fuzzed.
#[test]
fn each_target_has_one_program_and_one_corpus() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets have the same name");
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);

    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]").count() - 1;
    assert_eq!(programs, targets.len());
    for name in targets {
        let entry = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&entry), "fuzz/Cargo.toml has no program {name}");
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", bytes)")), "{name}: {program}");
    }
}

#[test]
fn the_corpus_passes() {
    for (name, target) in TARGETS {
        corpus(name).iter().for_each(|input| target(input));
    }
}

#[test]
fn the_fixtures_pass() {
    for dialogue in kcl_fixtures::dialogues().iter().chain(&kcl_fixtures::violations()) {
        let (daemon, child) = (dialogue.daemon_bytes(), dialogue.child_bytes());
        run("runtime", &daemon);
        run("child_session", &daemon);
        run("from_child", &child);
        daemon.split(|byte| *byte == b'\n').for_each(|line| run("from_daemon", line));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Takes an input of the corpus, changes a few bytes, and inserts a piece of another.
    #[test]
    fn inputs_near_the_corpus_pass(
        target in any::<Index>(),
        (one, other) in any::<(Index, Index)>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        (from, to, at) in any::<(Index, Index, Index)>(),
    ) {
        let (name, _) = *target.get(TARGETS);
        let corpus = corpus(name);
        let (mut input, other) = (one.get(&corpus).clone(), other.get(&corpus));
        let (from, to) = (from.index(other.len() + 1), to.index(other.len() + 1));
        let at = at.index(input.len() + 1);
        if from < to {
            input.splice(at..at, other[from..to].iter().copied());
        }
        for (place, byte) in changes {
            if !input.is_empty() {
                let place = place.index(input.len());
                input[place] = byte;
            }
        }
        run(name, &input);
    }

    #[test]
    fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }
}
