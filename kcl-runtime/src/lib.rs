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
//! # What it does for you
//! - **Delivery.** Each message is answered exactly once, and only after it was processed. No record
//!   is skipped silently. One table, at [`RecordProcessor`], tells what follows from an error;
//!   [`OnError`] sets it for batches: retries, and dead letters for records that cannot be processed.
//! - **Checkpoints.** Your own, or by a [`Cadence`], which calls
//!   [`flush`](RecordProcessor::flush) first. A busy lease table never ends a worker: see
//!   [`Checkpointer`].
//! - **Pipes.** [`run`] takes stdin and stdout for the protocol. Afterwards anything that this process
//!   or a program that it starts prints to stdout goes to stderr, and stdin is empty. Print nothing
//!   before [`run`]: the daemon skips such lines, but if the last one has no line end, the first
//!   status is unreadable, and both sides wait for ever. [`run`] works once per process. A second
//!   call is an error, and so is a stdin or stdout that is closed or the null device.
//! - **One process.** Starting programs with `std::process::Command` is safe. A `fork` without `exec`,
//!   as in crates that daemonize or fork workers, is not: two processes would then read the daemon's
//!   messages, and records would be lost. Never fork after [`run`], and before it only if the copy
//!   never calls it.
//! - **Signals.** Ctrl-C in a terminal and a stop by systemd reach the daemon and its children alike,
//!   and the children must live on until the daemon tells them to finish. So SIGINT, SIGTERM and
//!   SIGHUP do not end this process while the daemon keeps stdin open; the third within 5 s does.
//!   [`Runtime::signals`] changes that.
//! - **Logs.** Through `tracing`, to stderr, which the daemon copies into its own log. [`run`] installs
//!   a plain subscriber if there is none (`RUST_LOG` sets its level, `info` by default; the default
//!   feature `subscriber`). It prints what crates log through the `log` facade, too. At `debug` there is
//!   a span per message, and an event per batch with fields: records, bytes, time taken,
//!   `millis_behind_latest`, tries, dead letters, and the position and age of the last checkpoint. A
//!   run that ends with an error prints one line to stderr and has an [exit code](RunError#exit-codes).
//!
//! # Delivery is at least once
//! A record is delivered again after a crash, a lost lease or a failed batch, if no checkpoint covers
//! it. Within one process nothing counts twice if errors name their record
//! ([`for_each_record`]). Across processes, only a sink that stores the position together with the
//! data counts each record once.
//!
//! # Timeouts
//! The daemon waits for each answer. If its `timeoutInSeconds` is set, `process_records` with all its
//! retries, `flush` and the checkpoint must end within it. At a shutdown it waits
//! `shutdownGraceMillis` for `shutdown_requested`, `flush` and the checkpoint.
//!
//! # Panics
//! None of its own. A processor's panic is caught and treated as an error, unless the program is built
//! with `panic = "abort"`. After the daemon has died nobody reads stderr, and a processor's own
//! `println!` and `eprintln!` may panic; `tracing` with our subscriber does not.
//!
//! # Platforms
//! Unix. Elsewhere the crate compiles, but neither protects stdout nor catches signals.

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
pub use error::{HungUp, Method, ProcessorError, Result, RunError, ShardEndError};
pub use policy::{Backoff, Cadence, OnError};
pub use processor::{DeadLetter, LeaseLostInput, RecordProcessor, for_each_record, per_shard};
pub use runtime::{Runtime, Signals, run, run_with};
pub use timer::{Sleep, SystemTimer, Timer};

pub use kcl_protocol::{
    Action, CheckpointError, DecodeError, Error as ProtocolError, ExtendedSequenceNumber,
    InitializeInput, LineError, OwnedRecord, Position, ProcessRecordsInput, Record, SequenceNumber,
    ShutdownReason,
};

/// Runs the code of the project's README and guide together with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/moving.md")]
#[doc = include_str!("../../docs/write-a-processor.md")]
struct Guide;

/// What users send to other threads, or keep in their own errors, can be sent.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync + 'static>() {}
    const fn is_send<T: Send + 'static>() {}
    is_send_and_sync::<RunError>();
    is_send_and_sync::<ProcessorError>();
    is_send_and_sync::<CheckpointError>();
    is_send_and_sync::<OwnedRecord>();
    is_send::<Runtime>();
};
