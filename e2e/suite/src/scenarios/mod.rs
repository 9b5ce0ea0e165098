//! The scenarios. To add one: a file here with a `SCENARIOS`, named below.
//!
//! A scenario creates its stream, puts records through [`Stream::put`](crate::aws::Stream::put) into
//! `case.put`, starts workers, and does what it is about. When it has returned `Ok`, the harness
//! judges the ledger: each record at least once, in order, none foreign, and none twice unless the
//! scenario has a fault.

mod aggregated;
mod checkpoints;
mod failures;
mod noise;
mod plain;
mod reshard;
mod restart;
mod samples;
mod stop;
mod takeover;

use crate::case::Scenario;

/// All of them, in the order of the table.
pub fn all() -> Vec<Scenario> {
    [
        plain::SCENARIOS,
        samples::SCENARIOS,
        takeover::SCENARIOS,
        reshard::SCENARIOS,
        stop::SCENARIOS,
        failures::SCENARIOS,
        checkpoints::SCENARIOS,
        restart::SCENARIOS,
        noise::SCENARIOS,
        aggregated::SCENARIOS,
    ]
    .concat()
}
