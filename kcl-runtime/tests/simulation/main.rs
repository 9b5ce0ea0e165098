//! The simulation: random lives of a shard, from its first process to the checkpoint of its end, with
//! the production code in virtual time.
//!
//! The daemon is a `DaemonSession` behind pipes that split lines anywhere and break, and a row of the
//! lease table that other workers may take. The processor does what processors do, including
//! failures. An oracle that uses neither the codec nor the rules of the library checks both:
//! - every record is processed at least once, and none is skipped silently;
//! - records arrive in the shard's order, and after a failure from the right one on;
//! - each process counts a record once, whatever is retried;
//! - each message gets exactly one status, and the daemon can read every line;
//! - no checkpoint covers an unprocessed record, and the processor is told the truth about it;
//! - `flush` comes before each checkpoint of the runtime, and its failure prevents it;
//! - no shard's end is answered without its checkpoint;
//! - nothing is requested after the lease is lost;
//! - retries and cadences happen when, and as often as, they should.
//!
//! A seed always gives the same life. `SIMULATION_SEED=n` runs one life and describes it on stderr;
//! `SIMULATION_LIVES=n` sets how many run, and `SIMULATION_FIRST=n` the first one.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod daemon;
mod life;
mod oracle;
mod processor;
mod sights;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sights::Sight;

/// The default of `SIMULATION_LIVES`: a few seconds' worth.
const LIVES: u64 = 10_000;
/// In this many lives, which `.ci/run` runs, every sight must occur.
const ENOUGH_FOR_ALL_SIGHTS: u64 = 100_000;

fn setting(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, not a number")))
}

/// The number of lives in which each sight occurred, and the first seed that failed.
struct Lives {
    counts: Vec<u64>,
    failure: Option<(u64, String)>,
}

/// Runs every n-th life, until an earlier life has failed.
fn live_every(step: u64, seeds: std::ops::Range<u64>, worst: &AtomicU64) -> Lives {
    let mut lives = Lives { counts: vec![0; Sight::ALL.len()], failure: None };
    for seed in seeds.step_by(step as usize) {
        if worst.load(Ordering::Relaxed) < seed {
            break;
        }
        let outcome = life::live(seed, false);
        for (count, (sight, _)) in lives.counts.iter_mut().zip(Sight::ALL) {
            *count += u64::from(outcome.seen.has(*sight));
        }
        if let Some(fault) = outcome.fault {
            worst.fetch_min(seed, Ordering::Relaxed);
            lives.failure = Some((seed, fault));
            break;
        }
    }
    lives
}

#[test]
fn nothing_is_lost_whatever_happens() {
    if let Some(seed) = setting("SIMULATION_SEED") {
        let outcome = life::live(seed, true);
        assert_eq!(outcome.fault, None, "life {seed}");
        return;
    }
    let lives = setting("SIMULATION_LIVES").unwrap_or(LIVES);
    let first = setting("SIMULATION_FIRST").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let worst = AtomicU64::new(u64::MAX);
    let parts: Vec<Lives> = std::thread::scope(|scope| {
        let seeds = |thread| first + thread..first + lives;
        let worst = &worst;
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || live_every(threads, seeds(thread), worst)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    let failure = parts.iter().filter_map(|part| part.failure.as_ref()).min();
    if let Some((seed, fault)) = failure {
        panic!(
            "life {seed} failed, after {} lives: {fault}\nto see it: \
             SIMULATION_SEED={seed} cargo test -p kcl-runtime --test simulation -- --nocapture",
            seed - first + 1,
        );
    }
    let mut unseen = Vec::new();
    for (index, (_, text)) in Sight::ALL.iter().enumerate() {
        let count: u64 = parts.iter().map(|part| part.counts[index]).sum();
        println!("{count:>7} {text}");
        if count == 0 {
            unseen.push(text);
        }
    }
    println!("{lives:>7} lives");
    let enough = lives >= ENOUGH_FOR_ALL_SIGHTS;
    assert!(unseen.is_empty() || !enough, "never seen in {lives} lives: {unseen:?}");
}
