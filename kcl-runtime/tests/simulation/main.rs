//! The simulation: seeded random lives of a shard, from its first process to the checkpoint of its
//! end, through the production loop in virtual time.
//!
//! The daemon is `DaemonSession` behind pipes that cut bytes anywhere and break, over a row of the
//! lease table that other workers may take; the processor does all that processors do, failing
//! included; and an oracle that knows neither the codec nor the rules of the library watches both:
//! - every record is dealt with at least once, and nothing is skipped silently;
//! - records come in the shard's order, and after a failure from where they must;
//! - each message has exactly one status, and no line is written that the daemon could not read;
//! - no checkpoint lies past what was dealt with, and what the processor is told of it is true;
//! - no shard's end is answered without its checkpoint;
//! - nothing is asked for after the lease is gone;
//! - retries and cadences come when, and as often as, they were wished.
//!
//! The lives are the same each time. `SIMULATION_SEED=n` runs one of them and describes it on stderr;
//! `SIMULATION_LIVES=n` sets how many run, and `SIMULATION_FIRST=n` where they begin.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod daemon;
mod life;
mod oracle;
mod processor;
mod sights;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sights::Sight;

/// How many lives run unless `SIMULATION_LIVES` says otherwise: as many as take a few seconds.
const LIVES: u64 = 10_000;
/// In as many lives as `.ci/run` asks for, every sight must be seen.
const ENOUGH_FOR_ALL_SIGHTS: u64 = 100_000;

fn wish(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, not a number")))
}

/// How often each sight was seen, in how many lives, and the first seed that failed.
struct Lives {
    counts: Vec<u64>,
    failure: Option<(u64, String)>,
}

/// Lives every n-th life, until a life before that one has failed.
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
    if let Some(seed) = wish("SIMULATION_SEED") {
        let outcome = life::live(seed, true);
        assert_eq!(outcome.fault, None, "life {seed}");
        return;
    }
    let lives = wish("SIMULATION_LIVES").unwrap_or(LIVES);
    let first = wish("SIMULATION_FIRST").unwrap_or(0);
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
