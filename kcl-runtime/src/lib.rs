//! Write Amazon Kinesis record processors in Rust.
//!
//! Amazon's MultiLangDaemon takes leases on a stream's shards, reads them, and starts one child
//! process per shard, to which it talks over stdin and stdout. This crate is that child: implement
//! [`RecordProcessor`] and call [`run`].
//!
//! ```no_run
//! use std::process::ExitCode;
//! use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
//!
//! struct Print;
//!
//! impl RecordProcessor for Print {
//!     fn process_records(
//!         &mut self,
//!         input: &ProcessRecordsInput<'_>,
//!         checkpointer: &mut Checkpointer<'_>,
//!     ) -> Result {
//!         for record in &input.records {
//!             eprintln!("{}: {} bytes", record.partition_key, record.data.len());
//!         }
//!         Ok(checkpointer.checkpoint()?)
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     match kcl_runtime::run(Print) {
//!         Ok(()) => ExitCode::SUCCESS,
//!         Err(error) => error.exit_code(),
//!     }
//! }
//! ```
//!
//! Try it without AWS and Java: `kcl-helper local -- PROGRAM`. Test it in a few lines: [`testing`].
//!
//! # What it takes care of
//! - **Delivery.** Each message is answered exactly once, and only when it has been dealt with; no
//!   record is skipped silently. What an error leads to stands in one table, at
//!   [`RecordProcessor`], and for batches is a setting: [`Runtime::on_error`].
//! - **Checkpoints.** By hand, or by a [`Cadence`]; retried where that helps; see [`Checkpointer`].
//! - **Pipes.** [`run`] takes stdin and stdout for the protocol alone. From then on what anything
//!   in the process, or a program that it starts, prints to stdout goes to stderr, and stdin reads
//!   as empty. What was printed before [`run`] went to the daemon, which skips such lines; but what it left
//!   without a line end makes the first status unreadable, and both sides wait for ever: print
//!   nothing before [`run`]. It works once in a process, and a second time is an error. So is a stdin
//!   or stdout that is closed or the null device.
//! - **One process.** A program that is started (`std::process::Command`) has no part in the protocol.
//!   A copy made by `fork` without `exec`, as by a crate that daemonizes or forks workers, has: two
//!   processes then read the daemon's messages and answer them, and records are lost. Fork before
//!   [`run`] only where the copy never calls it, and never after it.
//! - **Signals.** A terminal's Ctrl-C and systemd's stop reach the daemon and its children alike.
//!   The children must live on until the daemon has told them to finish, so SIGINT, SIGTERM and
//!   SIGHUP do not end this process while the daemon holds its stdin open. The third within 5 s
//!   does. [`Runtime::signals`] restores the default.
//! - **Logs.** Through `tracing`, to stderr only, which the daemon copies into its own log. [`run`]
//!   installs a plain subscriber if there is none (`RUST_LOG` sets its level, `info` by default).
//!   What ends a run in error is always one line on stderr, and an
//!   [exit code](RunError#exit-codes).
//!
//! # Panics
//! None of its own; a processor's panic is caught and treated as an error, unless the program is
//! built with `panic = "abort"`. A panic in an error's text or destructor changes nothing. Once the daemon has died nobody reads stderr, and
//! a processor's own `println!` and `eprintln!` may panic; `tracing` by our subscriber does not.
//!
//! # Platforms
//! Unix. Elsewhere the crate compiles, but neither guards stdout nor catches signals.

mod checkpointer;
mod contain;
mod error;
mod ledger;
mod link;
mod policy;
mod processor;
mod runtime;
mod shard;
mod stdio;
pub mod testing;
mod timer;

pub use checkpointer::{Checkpointer, ShardEndCheckpointer};
pub use error::{CheckpointFailed, Method, ProcessorError, Result, RunError};
pub use policy::{Backoff, Cadence, FailedRecords, OnError};
pub use processor::RecordProcessor;
pub use runtime::{Runtime, Signals, run};
pub use timer::{Sleep, SystemTimer, Timer};

pub use kcl_protocol::{
    CheckpointError, ExtendedSequenceNumber, InitializeInput, OwnedRecord, Position,
    ProcessRecordsInput, Record, SequenceNumber,
};

/// The code of the project's README and guide runs with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/moving.md")]
struct Guide;

/// What users hand to other threads, or keep in an error of their own, can be sent.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync + 'static>() {}
    const fn is_send<T: Send + 'static>() {}
    is_send_and_sync::<RunError>();
    is_send_and_sync::<ProcessorError>();
    is_send_and_sync::<CheckpointFailed>();
    is_send_and_sync::<OwnedRecord>();
    is_send::<Runtime>();
};
