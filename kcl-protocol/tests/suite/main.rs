//! The integration tests of kcl-protocol, in one program so that they link once.
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
