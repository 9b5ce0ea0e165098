//! Splits bytes into lines: length limit, line ends and blank lines, for both directions.

use alloc::vec::Vec;
use core::ops::Range;

use crate::LineError;

/// The default limit for the length of a line: 256 MiB.
///
/// The protocol has no limit. A batch has at most 10,000 records or 10 MB, which is about 14 MB of
/// base64; with enhanced fan-out or after deaggregation it can be several times larger.
pub const DEFAULT_LINE_LIMIT: usize = 256 << 20;

/// The size of the first allocation, small since an idle child reads `initialize` alone.
const FIRST_ALLOCATION: usize = 8 << 10;

/// Minimum growth after the first allocation.
const MIN_GROWTH: usize = 64 << 10;

/// Maximum growth, so that a long line does not end with megabytes that are never filled.
const MAX_GROWTH: usize = 512 << 10;

/// Splits bytes into lines as they arrive.
///
/// A line ends with LF or CR LF, which is not part of it. Blank lines are dropped, since both ends
/// of the protocol ignore them.
///
/// The buffer takes as much memory as has arrived without being handed out, plus an eighth (at most
/// 512 KiB), plus 64 KiB. It also keeps the memory of one line that was [given
/// back](Self::recycle). Where each line is given back before the next arrives, as between the
/// daemon and its child, that adds at most 64 KiB.
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
/// lines.recycle(line); // later lines reuse its memory
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LineBuffer {
    /// `buffer[start..filled]` has arrived and was not handed out yet; the rest is free.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// There is no LF in `buffer[start..searched]`, and `start <= searched <= filled`.
    searched: usize,
    limit: usize,
    /// A line was longer than the limit: every later call fails.
    too_long: bool,
    /// The memory of a line that was given back.
    recycled: Vec<u8>,
}

/// One line without its end. It owns its bytes, so that a message that borrows from it outlives
/// further reading.
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
    /// Creates a buffer with the [default limit](DEFAULT_LINE_LIMIT).
    pub fn new() -> LineBuffer {
        LineBuffer::with_limit(DEFAULT_LINE_LIMIT)
    }

    /// Creates a buffer that rejects lines of more than `limit` bytes, not counting the line end.
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

    /// Returns free space for a reader to fill, never empty. Call [`advance`](Self::advance)
    /// afterwards.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let wanted = (MIN_GROWTH / 4).min(self.buffer.len() / 4).max(1);
        if self.buffer.len() - self.filled < wanted {
            self.move_to_front();
        }
        if self.buffer.len() - self.filled < wanted {
            // Growth by an eighth keeps the memory close to what has arrived. It is cheap even for
            // a large buffer, whose pages the allocator remaps instead of copying them.
            let length = match self.buffer.len() {
                0 => FIRST_ALLOCATION,
                _ => self.filled + (self.filled / 8).clamp(MIN_GROWTH, MAX_GROWTH),
            };
            self.buffer.reserve_exact(length - self.buffer.len());
            self.buffer.resize(length, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Marks the first `count` bytes of [`spare`](Self::spare) as filled, at most all of them.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.buffer.len());
    }

    /// Copies bytes into the buffer.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare();
            let (now, later) = bytes.split_at(bytes.len().min(spare.len()));
            spare[..now.len()].copy_from_slice(now);
            self.advance(now.len());
            bytes = later;
        }
    }

    /// Returns the next line that is not blank, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`LineError::TooLong`], as soon as more than the limit has arrived without a line end, and
    /// on every later call.
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<Line>, LineError> {
        while self.searched < self.filled || self.too_long {
            let found = memchr::memchr(b'\n', &self.buffer[self.searched..self.filled]);
            let end = found.map_or(self.filled, |offset| self.searched + offset);
            self.searched = end;
            // A CR before the line end does not count, even if the LF has not arrived yet.
            let text = without_cr(&self.buffer[self.start..end]);
            if self.too_long || text.len() > self.limit {
                self.too_long = true;
                return Err(LineError::TooLong { limit: self.limit });
            }
            if found.is_none() {
                return Ok(None);
            }
            if !is_blank(text) {
                let text = self.start..self.start + text.len();
                return Ok(Some(self.take_line(text, end + 1)));
            }
            self.start = end + 1;
            self.searched = self.start;
        }
        Ok(None)
    }

    /// Checks that the input may end here.
    ///
    /// # Errors
    /// [`LineError::EndInsideLine`] if more than blanks has arrived since the last line.
    pub fn end_of_input(&self) -> Result<(), LineError> {
        let unfinished = &self.buffer[self.start..self.filled];
        if is_blank(unfinished) {
            Ok(())
        } else {
            Err(LineError::EndInsideLine { length: unfinished.len() })
        }
    }

    /// Gives back a line, so that later lines reuse its memory.
    #[inline]
    pub fn recycle(&mut self, line: Line) {
        let mut returned = line.buffer;
        if self.start == self.filled && returned.len() >= self.buffer.len() {
            // The larger buffer takes the next batch, so that there is never a second large one. Of
            // two equal ones, this one is still in the processor's cache.
            core::mem::swap(&mut self.buffer, &mut returned);
            (self.start, self.filled, self.searched) = (0, 0, 0);
        }
        if returned.len() > self.recycled.len() {
            self.recycled = returned;
        }
    }

    /// Hands out the line at `text`; what has arrived from `next` on stays. Whichever of the two is
    /// shorter is copied to the recycled buffer.
    #[inline]
    fn take_line(&mut self, text: Range<usize>, next: usize) -> Line {
        let mut other = core::mem::take(&mut self.recycled);
        let rest = next..self.filled;
        if rest.len() < text.len() {
            copy_to_front(&mut other, &self.buffer[rest.clone()]);
            (self.start, self.filled, self.searched) = (0, rest.len(), 0);
            Line { buffer: core::mem::replace(&mut self.buffer, other), range: text }
        } else {
            copy_to_front(&mut other, &self.buffer[text.clone()]);
            (self.start, self.searched) = (next, next);
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

#[inline]
fn copy_to_front(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if buffer.len() < bytes.len() {
        buffer.resize(bytes.len(), 0);
    }
    buffer[..bytes.len()].copy_from_slice(bytes);
}

impl Line {
    /// Returns the line without its end.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// Returns the line without its end, to decode in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}

fn without_cr(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[inline]
fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    /// All memory that the buffer has allocated.
    fn allocated(lines: &LineBuffer) -> usize {
        lines.buffer.capacity() + lines.recycled.capacity()
    }

    /// The documented maximum for a buffer that never had more than this many bytes waiting in it.
    fn documented(waiting: usize) -> usize {
        waiting + waiting / 8 + MIN_GROWTH
    }

    #[test]
    fn a_large_limit_allocates_nothing_in_advance() {
        assert_eq!(allocated(&LineBuffer::new()), 0);
        let mut lines = LineBuffer::with_limit(usize::MAX);
        lines.push(b"{}\n");
        assert!(allocated(&lines) <= documented(3));
    }

    #[test]
    fn a_long_line_takes_its_memory_along_and_brings_it_back() {
        let mut lines = LineBuffer::new();
        for _ in 0..3 {
            for _ in 0..1000 {
                lines.push(&[b'x'; 10_000]);
                assert!(lines.next_line().unwrap().is_none());
            }
            lines.push(b"\n");
            let line = lines.next_line().unwrap().expect("it is complete");
            assert_eq!(line.bytes().len(), 10_000_000);
            assert!(allocated(&lines) <= 2 * MIN_GROWTH, "the line took its memory along");
            lines.recycle(line);
            assert!(allocated(&lines) <= documented(10_000_001) + MIN_GROWTH);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// As with the daemon: the next line arrives after the last one was processed.
        #[test]
        fn turn_taking_needs_memory_for_the_longest_line_only(
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
                    prop_assert!(allocated(&lines) <= documented(longest) + documented(0));
                }
                let line = lines.next_line().unwrap().expect("it is complete");
                prop_assert!(allocated(&lines) <= documented(longest) + documented(0));
                if recycle {
                    lines.recycle(line);
                }
                prop_assert!(allocated(&lines) <= documented(longest) + documented(0));
            }
        }

        /// However the buffer is used, it keeps the memory of at most one line besides its own.
        #[test]
        fn any_use_needs_at_most_twice_the_documented_memory(
            steps in prop::collection::vec((0..4_u8, 1..100_000_usize), 1..25),
        ) {
            let mut lines = LineBuffer::new();
            let mut given = Vec::new();
            let (mut waiting, mut max_waiting) = (0, 0);
            for (step, length) in steps {
                match step {
                    0 | 1 => {
                        let mut bytes = vec![b'x'; length];
                        if step == 1 {
                            bytes.push(b'\n');
                        }
                        waiting += bytes.len();
                        max_waiting = max_waiting.max(waiting);
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
                prop_assert!(allocated(&lines) <= 2 * documented(max_waiting));
            }
        }
    }
}
