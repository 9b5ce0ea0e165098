//! The harness of the end-to-end scenarios: see `main.rs` for how to run it, and
//! `scenarios/mod.rs` for how to add one.

pub mod aws;
pub mod case;
pub mod fault_proxy;
pub mod ledger;
pub mod processor;
pub mod scenarios;
pub mod stage;
