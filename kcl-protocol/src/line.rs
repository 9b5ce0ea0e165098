//! Bytes to lines: length, line ends and blank lines, in both directions.

use alloc::vec::Vec;
use core::ops::Range;

use crate::LineError;

/// The longest line that is read unless another limit is set: 256 MiB.
///
/// The protocol itself has no limit. A batch is at most 10,000 records or 10 MB, so about 14 MB of
/// base64; a fan-out or deaggregated batch can be several times larger.
pub const DEFAULT_LINE_LIMIT: usize = 256 << 20;

/// How much is made ready for reading at a time, at least, but at first.
const CHUNK: usize = 64 << 10;

/// How much is made ready for reading at first: an idle child has only read `initialize`.
const FIRST: usize = 8 << 10;

/// How much is made ready for reading at a time, at most: a long line does not end with megabytes
/// that nothing fills.
const MOST_GROWTH: usize = 512 << 10;

/// Collects bytes, as they arrive, into lines.
///
/// A line ends with LF or CR LF, which are not part of it. Blank lines are dropped, as both ends of
/// the protocol ignore them.
///
/// The memory taken is what has arrived and not been handed out, an eighth more (512 KiB at most),
/// and 64 KiB. It is kept for what is still to come, and with lines [given back](Self::recycle) the
/// memory of one more line is: in turn-taking, where each line is given back before the next
/// arrives, that is 64 KiB at most.
///
/// ```
/// use kcl_protocol::LineBuffer;
///
/// let mut lines = LineBuffer::new();
/// lines.push(b"{\"action\":\"leaseLo");
/// assert!(lines.next_line()?.is_none());
/// lines.push(b"st\"}\r\n\n");
/// assert_eq!(lines.next_line()?.unwrap().bytes(), b"{\"action\":\"leaseLost\"}");
/// assert!(lines.next_line()?.is_none());
/// lines.end_of_input()?;
/// # Ok::<(), kcl_protocol::LineError>(())
/// ```
///
/// To read without a copy, let the reader fill [`spare`](Self::spare):
///
/// ```
/// # use kcl_protocol::LineBuffer;
/// # let mut reader: &[u8] = b"{}\n";
/// use std::io::Read;
///
/// let mut lines = LineBuffer::new();
/// let line = loop {
///     if let Some(line) = lines.next_line()? {
///         break line;
///     }
///     let count = reader.read(lines.spare())?;
///     assert_ne!(count, 0, "the input ended");
///     lines.advance(count);
/// };
/// assert_eq!(line.bytes(), b"{}");
/// lines.recycle(line); // its memory serves the lines to come
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LineBuffer {
    /// `buffer[start..filled]` has arrived and is not handed out; behind it is room to fill.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// No LF stands in `buffer[start..searched]`, and `start <= searched <= filled`.
    searched: usize,
    limit: usize,
    /// A line was longer than the limit: nothing but that error is to be had from now on.
    too_long: bool,
    /// The memory of a line that was handed out and came back.
    recycled: Vec<u8>,
}

/// One line, without its end: owned, so that what is decoded from it outlives further reading.
///
/// ```
/// let mut lines = kcl_protocol::LineBuffer::new();
/// lines.push(b"{}\n");
/// let mut line = lines.next_line()?.unwrap();
/// assert_eq!(line.bytes_mut(), b"{}");
/// # Ok::<(), kcl_protocol::LineError>(())
/// ```
#[derive(Debug)]
pub struct Line {
    buffer: Vec<u8>,
    range: Range<usize>,
}

impl Default for LineBuffer {
    fn default() -> Self {
        LineBuffer::new()
    }
}

impl LineBuffer {
    /// A buffer with the [default limit](DEFAULT_LINE_LIMIT).
    pub fn new() -> LineBuffer {
        LineBuffer::with_limit(DEFAULT_LINE_LIMIT)
    }

    /// A buffer that refuses lines of more than `limit` bytes, their end not counted.
    pub fn with_limit(limit: usize) -> LineBuffer {
        LineBuffer {
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            searched: 0,
            limit,
            too_long: false,
            recycled: Vec::new(),
        }
    }

    /// Room for a reader to fill, never empty; then call [`advance`](Self::advance).
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let wanted = (CHUNK / 4).min(self.buffer.len() / 4).max(1);
        if self.buffer.len() - self.filled < wanted {
            self.move_to_front();
        }
        if self.buffer.len() - self.filled < wanted {
            // Growing by an eighth keeps the memory close to what arrived; the pages of a large
            // buffer are remapped and not copied.
            let length = match self.buffer.len() {
                0 => FIRST,
                _ => self.filled + (self.filled / 8).clamp(CHUNK, MOST_GROWTH),
            };
            self.buffer.reserve_exact(length - self.buffer.len());
            self.buffer.resize(length, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Says that the first `count` bytes of [`spare`](Self::spare) have been filled. More than
    /// there was room for counts as all of the room.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.buffer.len());
    }

    /// Adds bytes, copying them.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare();
            let (now, later) = bytes.split_at(bytes.len().min(spare.len()));
            spare[..now.len()].copy_from_slice(now);
            self.advance(now.len());
            bytes = later;
        }
    }

    /// The next line that is not blank, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`LineError::TooLong`], as soon as more than the limit has arrived without a line's end;
    /// every later call says it again.
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<Line>, LineError> {
        if self.searched == self.filled && !self.too_long {
            return Ok(None);
        }
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.searched..self.filled]);
            let end = found.map_or(self.filled, |offset| self.searched + offset);
            self.searched = end;
            // The CR of a line's end is not part of the line, also while its LF is still to come.
            let text = without_cr(&self.buffer[self.start..end]);
            if self.too_long || text.len() > self.limit {
                self.too_long = true;
                return Err(LineError::TooLong { limit: self.limit });
            }
            if found.is_none() {
                return Ok(None);
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                self.start = end + 1;
                self.searched = self.start;
            } else {
                let length = text.len();
                return Ok(Some(self.take(length, end)));
            }
        }
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`LineError::EndInsideLine`] if a line has begun, unless only blanks of it had come.
    pub fn end_of_input(&self) -> Result<(), LineError> {
        let unfinished = &self.buffer[self.start..self.filled];
        if unfinished.iter().all(u8::is_ascii_whitespace) {
            Ok(())
        } else {
            Err(LineError::EndInsideLine { length: unfinished.len() })
        }
    }

    /// Gives a line's memory back, to serve the lines to come.
    #[inline]
    pub fn recycle(&mut self, line: Line) {
        let mut returned = line.buffer;
        if self.start == self.filled && returned.len() >= self.buffer.len() {
            // The larger one takes the next batch, so that there is never a second large one; and of
            // two alike the one that is still in the processor's cache.
            core::mem::swap(&mut self.buffer, &mut returned);
            (self.start, self.filled, self.searched) = (0, 0, 0);
        }
        if returned.len() > self.recycled.len() {
            self.recycled = returned;
        }
    }

    /// Hands out the line of this length before the LF at `lf`, copying whichever is shorter: the
    /// line, or what has arrived behind it.
    #[inline]
    fn take(&mut self, length: usize, lf: usize) -> Line {
        let text = self.start..self.start + length;
        let behind = lf + 1..self.filled;
        if behind.is_empty() {
            // As it is in turn-taking: said in fewer words, as small batches feel them.
            let other = core::mem::take(&mut self.recycled);
            let buffer = core::mem::replace(&mut self.buffer, other);
            (self.start, self.filled, self.searched) = (0, 0, 0);
            return Line { buffer, range: text };
        }
        let mut other = core::mem::take(&mut self.recycled);
        let copied = if behind.len() < text.len() { behind.clone() } else { text.clone() };
        if other.len() < copied.len() {
            other.resize(copied.len(), 0);
        }
        other[..copied.len()].copy_from_slice(&self.buffer[copied]);
        if behind.len() < text.len() {
            let buffer = core::mem::replace(&mut self.buffer, other);
            (self.start, self.filled, self.searched) = (0, behind.len(), 0);
            Line { buffer, range: text }
        } else {
            self.start = behind.start;
            self.searched = behind.start;
            Line { buffer: other, range: 0..text.len() }
        }
    }

    fn move_to_front(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.searched -= self.start;
        self.filled -= self.start;
        self.start = 0;
    }
}

impl Line {
    /// The line without its end.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// The line without its end, to decode in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}

fn without_cr(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    /// All memory that the buffer has asked for.
    fn held(lines: &LineBuffer) -> usize {
        lines.buffer.capacity() + lines.recycled.capacity()
    }

    /// What is stated for a buffer that never had more than this many bytes waiting in it.
    fn stated(arrived: usize) -> usize {
        arrived + arrived / 8 + CHUNK
    }

    #[test]
    fn a_limit_nobody_reaches_takes_no_memory() {
        assert_eq!(held(&LineBuffer::new()), 0);
        let mut lines = LineBuffer::with_limit(usize::MAX);
        lines.push(b"{}\n");
        assert!(held(&lines) <= stated(3));
    }

    #[test]
    fn a_long_line_is_taken_and_given_back_without_a_second_copy() {
        let mut lines = LineBuffer::new();
        for _ in 0..3 {
            for _ in 0..1000 {
                lines.push(&[b'x'; 10_000]);
                assert!(lines.next_line().unwrap().is_none());
            }
            lines.push(b"\n");
            let line = lines.next_line().unwrap().expect("it is complete");
            assert_eq!(line.bytes().len(), 10_000_000);
            assert!(held(&lines) <= 2 * CHUNK, "the line's memory went with it");
            lines.recycle(line);
            assert!(held(&lines) <= stated(10_000_001) + CHUNK);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// As the daemon does it: the next line comes when the last has been dealt with.
        #[test]
        fn in_turns_memory_is_what_the_longest_line_needs(
            lengths in prop::collection::vec((0..200_000_usize, any::<bool>()), 1..6),
            chunk in 1..150_000_usize,
        ) {
            let mut lines = LineBuffer::new();
            let mut longest = 0;
            for (length, recycle) in lengths {
                let mut line = vec![b'x'; length.max(1)];
                line.push(b'\n');
                longest = longest.max(line.len());
                for piece in line.chunks(chunk) {
                    lines.push(piece);
                    prop_assert!(held(&lines) <= stated(longest) + stated(0));
                }
                let line = lines.next_line().unwrap().expect("it is complete");
                prop_assert!(held(&lines) <= stated(longest) + stated(0));
                if recycle {
                    lines.recycle(line);
                }
                prop_assert!(held(&lines) <= stated(longest) + stated(0));
            }
        }

        /// However it is used: beside the buffer at most one line's memory is kept.
        #[test]
        fn in_any_order_memory_is_bounded_by_what_waited(
            steps in prop::collection::vec((0..4_u8, 1..100_000_usize), 1..25),
        ) {
            let mut lines = LineBuffer::new();
            let mut given = Vec::new();
            let (mut waiting, mut most) = (0, 0);
            for (step, length) in steps {
                match step {
                    0 | 1 => {
                        let mut bytes = vec![b'x'; length];
                        if step == 1 {
                            bytes.push(b'\n');
                        }
                        waiting += bytes.len();
                        most = most.max(waiting);
                        lines.push(&bytes);
                    }
                    2 => {
                        if let Some(line) = lines.next_line().unwrap() {
                            waiting -= line.bytes().len() + 1;
                            given.push(line);
                        }
                    }
                    _ => {
                        if let Some(line) = given.pop() {
                            lines.recycle(line);
                        }
                    }
                }
                prop_assert!(held(&lines) <= 2 * stated(most));
            }
        }
    }
}
