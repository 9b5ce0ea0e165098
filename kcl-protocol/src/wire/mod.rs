//! Encodes and decodes messages. Only this module knows the names on the wire and which values may
//! be null.
//!
//! Decoding is lenient where daemons differ and strict where data could be lost; encoding is exact
//! to the byte. PROTOCOL.md describes it all.

mod base64;
mod batch;
mod batch_encoder;
mod child_to_daemon;
mod daemon_to_child;
mod json;

use alloc::vec::Vec;

pub(crate) use batch::BatchBuffers;
pub use batch_encoder::BatchEncoder;
pub(crate) use child_to_daemon::ChildLine;

use crate::{Action, ChildMessage, DaemonMessage, DecodeError};

/// The `action` of a child's request for a checkpoint, and of the daemon's answer to it.
const CHECKPOINT: &str = "checkpoint";
/// The `action` of a child's answer to a message.
pub(crate) const STATUS: &str = "status";

impl<'a> DaemonMessage<'a> {
    /// Decodes a line, which must not include its end. Strings are unescaped and payloads decoded
    /// in place, so the line is overwritten and the message borrows from it.
    ///
    /// # Errors
    /// The line cannot be decoded; the error says where and why. The line may be partly
    /// overwritten.
    pub fn decode(line: &'a mut [u8]) -> Result<DaemonMessage<'a>, DecodeError> {
        DaemonMessage::decode_with(line, &mut BatchBuffers::default())
    }

    /// Like [`decode`](Self::decode), with the buffers of earlier batches.
    pub(crate) fn decode_with(
        line: &'a mut [u8],
        buffers: &mut BatchBuffers,
    ) -> Result<DaemonMessage<'a>, DecodeError> {
        daemon_to_child::decode(line, buffers)
    }
}

impl DaemonMessage<'_> {
    /// Appends the message as a line to `out`, exactly as the daemon writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        daemon_to_child::encode(self, out);
    }
}

/// Decodes a line from the child as the daemon does: a field that the message does not have makes
/// the line invalid, but numbers may be strings, strings numbers, and anything may follow the
/// object.
pub(crate) fn decode_child_line(line: &mut [u8]) -> Result<ChildLine<'_>, DecodeError> {
    child_to_daemon::decode(line)
}

impl ChildMessage<'_> {
    /// Appends the message as a line to `out`, exactly as the daemon expects it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        child_to_daemon::encode(self, out);
    }
}

/// Appends the status of a message with this action as a line to `out`.
pub(crate) fn encode_status(action: Action, out: &mut Vec<u8>) {
    child_to_daemon::encode_status(action, out);
}
