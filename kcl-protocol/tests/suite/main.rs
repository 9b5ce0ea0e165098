//! The tests of kcl-protocol from outside, in one program: it links once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, helpers too")]

mod batches;
mod corpus;
mod generate;
mod lines;
mod messages;
mod protocol_md;
mod sequence;
mod sessions;
mod strict;
mod table;
