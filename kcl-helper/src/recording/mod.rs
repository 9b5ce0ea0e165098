//! Recordings: format version 1, JSON lines. `record` writes them, and this reads them.
//!
//! The first line is a [`Header`]. Each other line is an event, `[microseconds since the line above,
//! kind, text]`: `<` stdin, `>` stdout, `e` stderr, with `null` for the end of the stream; `x` how the
//! program ended; `!` a note of the recorder. Text that is not UTF-8 is in base64, with `"base64"` as a
//! fourth element. A text is a line of the stream or a piece of one.
//!
//! A recording may end anywhere, as its writer may be killed, or still be writing. Whatever the bytes
//! are, reading takes no more memory than the longest line of the protocol for each stream, and never
//! panics.

mod event;
mod header;
mod lines;
mod reader;

pub(crate) use event::{ENCODED, EXIT, NOTE, Stream};
pub(crate) use header::{Header, Invalid, VERSION};
pub(crate) use lines::{Entry, Line, LineEnd, Lines, Timed};
