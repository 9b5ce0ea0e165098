//! The wire protocol of the Kinesis Client Library's MultiLangDaemon, without I/O.
//!
//! The daemon starts one child process per shard and talks to it in lines of JSON over the child's
//! stdin and stdout. This crate holds the messages of both directions, the codec, and the state
//! machines of both ends. It reads no file descriptor, no clock and no environment: bytes go in,
//! messages come out, and the other way round. For an ordinary record processor use `kcl-runtime`,
//! which drives this crate over stdin and stdout.
//!
//! # The flow
//! 1. Bytes go into a [`LineBuffer`], lines come out.
//! 2. A line goes into [`ChildSession::receive`] (our end) or [`DaemonSession::receive`] (the
//!    daemon's end), a message comes out, borrowing from the line.
//! 3. The session's other methods write the answer as a line, ready to send.
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
//! None: no input causes one, and the property tests try. A panic here is our bug.
//!
//! # Features
//! - `std` (default): arrival times as `SystemTime`; payloads are decoded by SIMD, chosen at run
//!   time. Without it the crate is `no_std` and needs `alloc`.
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
