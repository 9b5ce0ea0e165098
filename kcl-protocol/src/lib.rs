//! The wire protocol of the Kinesis Client Library's MultiLangDaemon, without I/O.
//!
//! The daemon starts one child process per shard and exchanges lines of JSON with it over the
//! child's stdin and stdout. This crate has the messages of both directions, the codec, and the
//! state machines of both ends. It uses no file descriptor, clock or environment variable: bytes go
//! in and messages come out, or the other way round. To write a record processor, use
//! `kcl-runtime`, which connects this crate to stdin and stdout.
//!
//! # The flow
//! 1. A [`LineBuffer`] splits bytes into lines.
//! 2. [`ChildSession::receive`] (our end) or [`DaemonSession::receive`] (the daemon's end) decodes
//!    a line. The message borrows from the line.
//! 3. The session's other methods encode what goes out as lines.
//!
//! ```
//! use kcl_protocol::{ChildSession, DaemonMessage, LineBuffer};
//!
//! let mut lines = LineBuffer::new();
//! lines.push(b"{\"action\":\"initialize\",\"shardId\":\"shardId-0\",\"sequenceNumber\":\"LATEST\"}\n");
//!
//! let mut session = ChildSession::new();
//! let mut line = lines.next_line()?.expect("the line is complete");
//! match session.receive(line.bytes_mut())? {
//!     DaemonMessage::Initialize(input) => assert_eq!(input.shard_id, "shardId-0"),
//!     other => panic!("{other:?}"),
//! }
//!
//! let mut out = Vec::new();
//! session.answer(&mut out)?;
//! assert_eq!(out, b"{\"action\":\"status\",\"responseFor\":\"initialize\"}\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Panics
//! No input causes a panic, and property tests check that. A panic in this crate is a bug.
//!
//! # Features
//! - `std` (default): arrival times as `SystemTime`, and payloads decoded with the best SIMD
//!   instructions of the processor. Without it the crate is `no_std` and needs `alloc`.
//! - `json` (default): [`Record::json`].
//!
#![doc = include_str!("../PROTOCOL.md")]
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod child;
mod conversation;
mod daemon;
mod daemon_checkpointer;
mod error;
mod line;
mod message;
mod sequence;
mod wire;

pub use child::ChildSession;
pub use conversation::{Conversation, Event, State, Violation};
pub use daemon::{DaemonSession, Received};
pub use daemon_checkpointer::DaemonCheckpointer;
pub use error::{CheckpointError, DecodeError, DecodeErrorKind, Error, LineError};
pub use line::{DEFAULT_LINE_LIMIT, Line, LineBuffer};
pub use message::{
    Action, CheckpointAnswer, CheckpointRequest, ChildMessage, DaemonMessage, InitializeInput,
    OwnedRecord, Position, ProcessRecordsInput, Record, ShutdownReason,
};
pub use sequence::{
    ExtendedSequenceNumber, MAX_SEQUENCE_NUMBER_DIGITS, SequenceNumber, SequenceNumberError,
};
pub use wire::BatchEncoder;
