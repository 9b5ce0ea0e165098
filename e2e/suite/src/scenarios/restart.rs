//! A worker ends and another one starts: how long until every shard is read again?

use std::time::Instant;

use anyhow::Result;
use rustix::process::Signal;

use crate::aws::{Stream, records};
use crate::case::{Case, Duplicates, Scenario, V2_2, V3, Version, send};

/// How the first worker ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Graceful,
    Kill,
}

#[derive(Clone, Copy, PartialEq)]
enum Intervals {
    Short,
    Default,
}

/// Who says which worker it is.
#[derive(Clone, Copy, PartialEq)]
enum Id {
    /// `kcl-helper run`.
    Helper,
    /// The file: another at each start, as daemons choose by themselves.
    Random,
    /// The file: the same.
    Stable,
}

const CI: &[Version] = &[V2_2, V3];
const NONE: &[Version] = &[];

const fn scenario(
    name: &'static str,
    ci: &'static [Version],
    run: fn(&mut Case<'_>) -> Result<()>,
) -> Scenario {
    Scenario { name, ci, all: &[V3], duplicates: Duplicates::AfterAFault, run }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("restart", CI, |c| restart(c, End::Graceful, Intervals::Short, Id::Helper)),
    scenario("restart-kill", CI, |c| restart(c, End::Kill, Intervals::Short, Id::Helper)),
    scenario("restart-random", NONE, |c| restart(c, End::Graceful, Intervals::Short, Id::Random)),
    scenario("restart-kill-random", NONE, |c| restart(c, End::Kill, Intervals::Short, Id::Random)),
    scenario("restart-stable", NONE, |c| restart(c, End::Graceful, Intervals::Short, Id::Stable)),
    scenario("restart-kill-stable", NONE, |c| restart(c, End::Kill, Intervals::Short, Id::Stable)),
    scenario("restart-slow", NONE, |c| restart(c, End::Graceful, Intervals::Default, Id::Helper)),
    scenario("restart-kill-slow", NONE, |c| restart(c, End::Kill, Intervals::Default, Id::Helper)),
    scenario("restart-slow-random", NONE, |c| {
        restart(c, End::Graceful, Intervals::Default, Id::Random)
    }),
    scenario("restart-kill-slow-random", NONE, |c| {
        restart(c, End::Kill, Intervals::Default, Id::Random)
    }),
    scenario("restart-slow-stable", NONE, |c| {
        restart(c, End::Graceful, Intervals::Default, Id::Stable)
    }),
    scenario("restart-kill-slow-stable", NONE, |c| {
        restart(c, End::Kill, Intervals::Default, Id::Stable)
    }),
];

fn identify(case: &mut Case<'_>, id: Id) {
    let id = match id {
        Id::Helper => return,
        Id::Random => format!("random-{}", fastrand::u64(..)),
        Id::Stable => "stable".to_owned(),
    };
    case.properties.insert("workerId", id);
}

fn put(stream: &Stream, case: &mut Case<'_>, seed: u64) -> Result<()> {
    stream.put(&records(400, 20..=200, seed), &mut case.put)
}

fn restart(case: &mut Case<'_>, end: End, intervals: Intervals, id: Id) -> Result<()> {
    if intervals == Intervals::Default {
        for key in [
            "failoverTimeMillis",
            "leaseAssignmentIntervalMillis",
            "shardSyncIntervalMillis",
            "parentShardPollIntervalMillis",
        ] {
            case.properties.insert(key, String::new());
        }
    }
    identify(case, id);
    let stream = case.stream(&case.stage.ferrokinesis, 4)?;
    put(&stream, case, 30)?;
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    case.notes.push(format!("first start {:.0}s", worker.started.elapsed().as_secs_f64()));
    match end {
        End::Graceful => worker.stop()?,
        End::Kill => {
            send(worker.jvm()?, Signal::KILL)?;
            worker.wait()?;
        }
    }
    put(&stream, case, 31)?;
    identify(case, id);
    let began = Instant::now();
    let mut worker = case.start(&stream, &[])?;
    let ledger = case.wait_for_all(&mut worker)?;
    let lives = ledger.of_worker("worker2").count();
    case.notes.push(format!(
        "second start {:.0}s, {lives} initialisations of 4 shards",
        began.elapsed().as_secs_f64()
    ));
    worker.stop()
}
