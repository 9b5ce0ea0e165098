//! Proves that an input still begins as it did: by a digest of its first bytes, up to the end of a line.
//!
//! The digest is chained over blocks of a fixed size, so the digest at the end of any line follows from
//! the digest at the start of its block and the bytes of that block, however the input was read.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::{Hash, Hasher};

use super::source::{Input, Mismatch};

/// The most that a checkpoint at a recent line reads again.
const BLOCK: u64 = 64 << 10;
/// How many starts of blocks are kept, which take 3 MiB. Tests keep fewer, as they would have to read
/// gigabytes otherwise.
const MAX_KEPT: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// A point in the input, and the digest of everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The number of lines that end before it.
    pub(crate) lines: u64,
    /// The number of bytes before it.
    pub(crate) bytes: u64,
    /// The digest of these bytes.
    pub(crate) digest: Hash,
}

impl Mark {
    pub(crate) const START: Mark = Mark { lines: 0, bytes: 0, digest: Hash::from_bytes([0; 32]) };
}

/// The beginning of an input, as far as it has been read.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    /// Where the current block begins.
    block: Mark,
    /// Hashes the bytes of the block so far.
    hasher: Hasher,
    lines: u64,
    bytes: u64,
}

impl Prefix {
    fn at(block: Mark) -> Prefix {
        Prefix { block, hasher: Hasher::new(), lines: block.lines, bytes: block.bytes }
    }

    pub(crate) fn mark(&self) -> Mark {
        if self.bytes == self.block.bytes {
            return self.block;
        }
        let both = [self.block.digest, self.hasher.finalize()].map(<[u8; 32]>::from);
        let digest = blake3::hash(both.as_flattened());
        Mark { lines: self.lines, bytes: self.bytes, digest }
    }

    /// Adds the bytes that follow, and calls `begin` at the start of each block.
    fn add(&mut self, mut bytes: &[u8], mut begin: impl FnMut(Mark)) {
        while !bytes.is_empty() {
            let room = self.block.bytes + BLOCK - self.bytes;
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.hasher.update(now);
            self.lines += memchr::memchr_iter(b'\n', now).count() as u64;
            self.bytes += now.len() as u64;
            if self.bytes == self.block.bytes + BLOCK {
                *self = Prefix::at(self.mark());
                begin(self.block);
            }
            bytes = later;
        }
    }
}

impl Default for Prefix {
    fn default() -> Prefix {
        Prefix::at(Mark::START)
    }
}

/// What a stored checkpoint expects of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) mark: Mark,
    /// The input ends there.
    pub(crate) is_end: bool,
}

/// Reads an input and compares it with what is expected of it. A [`Mismatch`] is an error of the read
/// that finds it.
#[derive(Debug)]
pub(crate) struct Checked<R> {
    reader: R,
    prefix: Prefix,
    /// What is still expected, in the order of the input.
    expected: VecDeque<Expected>,
    /// The input as far as its first expected mark.
    first: Option<Prefix>,
    /// Where the input has to end.
    end: Option<Mark>,
    history: Option<Arc<History>>,
}

impl<R: Read> Checked<R> {
    /// `reader` continues where the prefix ends. What is expected before that has been checked.
    pub(crate) fn new(
        reader: R,
        prefix: Prefix,
        expected: impl IntoIterator<Item = Expected>,
        history: Option<Arc<History>>,
    ) -> Result<Checked<R>, Mismatch> {
        let mut expected: Vec<_> = expected.into_iter().collect();
        expected.retain(|expected| expected.mark.bytes >= prefix.bytes);
        expected.sort_by_key(|expected| expected.mark.bytes);
        let expected = expected.into();
        let mut checked = Checked { reader, prefix, expected, first: None, end: None, history };
        checked.add(&[])?;
        Ok(checked)
    }

    /// Returns the input up to the first mark that was expected.
    pub(crate) fn into_first(self) -> Option<Prefix> {
        self.first
    }

    fn add(&mut self, mut bytes: &[u8]) -> Result<(), Mismatch> {
        let mut blocks = Vec::new();
        while let Some(Expected { mark, is_end }) = self.expected.front().copied() {
            let left = mark.bytes - self.prefix.bytes;
            if left > bytes.len() as u64 {
                break;
            }
            let (now, later) = bytes.split_at(left as usize);
            self.prefix.add(now, |block| blocks.push(block));
            if self.prefix.mark() != mark {
                return Err(Mismatch::Changed(mark.lines));
            }
            self.expected.pop_front();
            self.first.get_or_insert_with(|| self.prefix.clone());
            self.end = self.end.or(is_end.then_some(mark));
            bytes = later;
        }
        if let (Some(end), false) = (self.end, bytes.is_empty()) {
            return Err(Mismatch::Grown(end.lines));
        }
        self.prefix.add(bytes, |block| blocks.push(block));
        if let Some(history) = &self.history {
            history.add(blocks, self.prefix.mark());
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Mismatch> {
        match self.expected.front() {
            Some(missing) => Err(Mismatch::Shorter(missing.mark.lines)),
            None => Ok(()),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let result = if count == 0 { self.end() } else { self.add(&buffer[..count]) };
        result.map_err(|mismatch| io::Error::new(io::ErrorKind::InvalidData, mismatch))?;
        Ok(count)
    }
}

/// Remembers what a run has read of its input, so that the end of any line can be proven later.
#[derive(Debug)]
pub(crate) struct History {
    input: Input,
    read: Mutex<WhatWasRead>,
}

#[derive(Debug)]
struct WhatWasRead {
    /// The starts of blocks. The longer ago they were read, the fewer of them are kept.
    blocks: Vec<Mark>,
    tip: Mark,
    /// All of the input was read, and it ended with a line end.
    is_whole: bool,
}

/// Why a line cannot be proven.
#[derive(Debug)]
pub(crate) enum Unproven {
    /// The input is no longer what was read.
    Changed,
    Io(io::Error),
}

impl History {
    /// For an input that is read from here on.
    pub(crate) fn new(input: Input, start: &Prefix) -> History {
        let read = WhatWasRead { blocks: vec![start.block], tip: start.mark(), is_whole: false };
        History { input, read: Mutex::new(read) }
    }

    fn add(&self, blocks: Vec<Mark>, tip: Mark) {
        let mut read = self.lock();
        read.blocks.extend(blocks);
        if read.blocks.len() > MAX_KEPT {
            let mut is_kept = false;
            read.blocks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        read.tip = tip;
    }

    /// Records that all of the input has been read, and that its last line has an end.
    pub(crate) fn end(&self) {
        self.lock().is_whole = true;
    }

    /// Returns the end of the input, if all of it has been read and its last line has an end.
    pub(crate) fn whole(&self) -> Option<Mark> {
        let read = self.lock();
        read.is_whole.then_some(read.tip)
    }

    /// Returns the known marks before and after the end of this line, or of the last line that has an
    /// end if there are fewer.
    fn around(&self, line: u64) -> (u64, Option<(Mark, Mark)>) {
        let read = self.lock();
        let line = line.min(read.tip.lines);
        let next = read.blocks.partition_point(|block| block.lines < line);
        let end = read.blocks.get(next).copied().unwrap_or(read.tip);
        (line, next.checked_sub(1).map(|start| (read.blocks[start], end)))
    }

    fn lock(&self) -> MutexGuard<'_, WhatWasRead> {
        // Nothing panics while it holds the lock.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proves the ends of lines of one history; in order it is fastest.
#[derive(Debug)]
pub(crate) struct Prover {
    history: Arc<History>,
    block: Option<Block>,
}

/// Bytes that were read again, and are the same.
#[derive(Debug)]
struct Block {
    start: Mark,
    end: Mark,
    bytes: Vec<u8>,
    /// Up to the line that was proven last.
    prefix: Prefix,
}

impl Prover {
    pub(crate) fn new(history: Arc<History>) -> Prover {
        Prover { history, block: None }
    }

    /// Returns the end of the input, if all of it has been read and its last line has an end.
    pub(crate) fn whole(&self) -> Option<Mark> {
        self.history.whole()
    }

    /// Returns the end of this line as it was read, or of the last line that has an end if there are
    /// fewer.
    pub(crate) fn mark(&mut self, line: u64) -> Result<Mark, Unproven> {
        let (line, around) = self.history.around(line);
        let Some((start, end)) = around else { return Ok(Mark::START) };
        let block = match &mut self.block {
            Some(block) if block.start == start && block.has(line) => block,
            block => block.insert(Block::read(&self.history.input, start, end)?),
        };
        Ok(block.mark(line))
    }
}

impl Block {
    fn read(input: &Input, start: Mark, end: Mark) -> Result<Block, Unproven> {
        let mut bytes = vec![0; (end.bytes - start.bytes) as usize];
        input.read_exact_at(&mut bytes, start.bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unproven::Changed,
            _ => Unproven::Io(error),
        })?;
        let prefix = Prefix::at(start);
        let mut all = prefix.clone();
        all.add(&bytes, |_| {});
        if all.mark() != end {
            Err(Unproven::Changed)
        } else {
            Ok(Block { start, end, bytes, prefix })
        }
    }

    fn has(&self, line: u64) -> bool {
        (self.prefix.lines..=self.end.lines).contains(&line)
    }

    fn mark(&mut self, line: u64) -> Mark {
        let rest = &self.bytes[(self.prefix.bytes - self.start.bytes) as usize..];
        if let Some(before) = (line - self.prefix.lines).checked_sub(1) {
            let end = memchr::memchr_iter(b'\n', rest).nth(before as usize);
            self.prefix.add(&rest[..end.map_or(rest.len(), |end| end + 1)], |_| {});
        }
        self.prefix.mark()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::super::source::Source;
    use super::*;

    /// Computes the same digest in the obvious way.
    fn plain(bytes: &[u8]) -> Mark {
        let mut digest = Hash::from_bytes([0; 32]);
        for block in bytes.chunks(BLOCK as usize) {
            let block = blake3::hash(block);
            digest = blake3::hash(&[*digest.as_bytes(), *block.as_bytes()].concat());
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Mark { lines, bytes: bytes.len() as u64, digest }
    }

    /// The bytes up to the end of each line that has one, the empty beginning first.
    fn ends(text: &[u8]) -> Vec<usize> {
        let feeds = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        std::iter::once(0).chain(feeds.map(|(index, _)| index + 1)).collect()
    }

    /// Some lines are longer than a block.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![4 => 0..20usize, 1 => 0..40_000usize, 1 => 65_530..65_540usize];
        (prop::collection::vec((length, any::<u8>()), 0..12), any::<bool>()).prop_map(
            |(lines, is_finished)| {
                let mut text = Vec::new();
                for (length, byte) in lines {
                    text.resize(text.len() + length, byte | 0x20);
                    text.push(b'\n');
                }
                if !is_finished {
                    text.pop();
                }
                text
            },
        )
    }

    /// Reads all, in pieces of so many bytes.
    fn read_all<R: Read>(mut reader: R, piece: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn mismatch(result: io::Result<Vec<u8>>) -> Option<Mismatch> {
        let error = result.err()?;
        Some(*error.get_ref().unwrap().downcast_ref::<Mismatch>().unwrap())
    }

    static NAMES: AtomicU32 = AtomicU32::new(0);

    fn input(folder: &tempfile::TempDir, text: &[u8]) -> Input {
        let path = folder.path().join(NAMES.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::write(&path, text).unwrap();
        Source::File(path).open().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Wherever reading began and whatever was read at a time, every line end has the digest of the
        /// bytes before it.
        #[test]
        fn every_line_that_was_read_has_its_mark(
            text in text(),
            piece in 1..200_000usize,
            start: prop::sample::Index,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let input = input(&folder, &text);
            let ends = ends(&text);
            let start = ends[start.index(ends.len())];
            let mut prefix = Prefix::default();
            prefix.add(&text[..start], |_| {});
            prop_assert_eq!(prefix.mark(), plain(&text[..start]));

            let history = Arc::new(History::new(input.clone(), &prefix));
            let reader = input.reader(start as u64);
            let checked = Checked::new(reader, prefix, [], Some(history.clone())).unwrap();
            prop_assert_eq!(&read_all(checked, piece).unwrap(), &text[start..]);
            let mut prover = Prover::new(history.clone());
            let lines: Vec<_> = (0..).zip(&ends).filter(|(_, end)| **end > start).collect();
            for pick in picks.iter().filter(|_| !lines.is_empty()) {
                let (line, end) = lines[pick.index(lines.len())];
                prop_assert_eq!(prover.mark(line).unwrap(), plain(&text[..*end]));
            }
            for (line, end) in &lines {
                prop_assert_eq!(prover.mark(*line).unwrap(), plain(&text[..**end]));
            }
            if let Some((last, _)) = lines.last() {
                // A line without an end does not count.
                prop_assert_eq!(prover.mark(last + 1).unwrap().lines, *last);
            }
            prop_assert_eq!(prover.whole(), None);
            history.end();
            prop_assert_eq!(prover.whole(), Some(plain(&text)));
        }

        /// An input is accepted exactly if it begins with every prefix that is expected.
        #[test]
        fn exactly_the_same_beginning_is_accepted(
            old in text(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            edit in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
            more in text(),
            piece in 1..200_000usize,
        ) {
            let mut new = old.clone();
            if let (Some((at, byte)), false) = (edit, new.is_empty()) {
                let at = at.index(new.len());
                new[at] = byte;
            }
            if let Some(cut) = cut {
                new.truncate(cut.index(new.len() + 1));
            }
            new.extend(more);
            let ends = ends(&old);
            let ends: Vec<_> = picks.iter().map(|pick| ends[pick.index(ends.len())]).collect();
            let expected = ends.iter().map(|end| {
                Expected { mark: plain(&old[..*end]), is_end: false }
            });
            let checked = Checked::new(new.as_slice(), Prefix::default(), expected, None).unwrap();
            let found = mismatch(read_all(checked, piece));
            let first_bad = ends.iter().filter(|end| !new.starts_with(&old[..**end])).min();
            let expected = first_bad.map(|end| {
                let line = plain(&old[..*end]).lines;
                if new.len() < *end { Mismatch::Shorter(line) } else { Mismatch::Changed(line) }
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn input_after_the_expected_end_is_refused() {
        for old in ["", "one\n", "one\ntwo\n"] {
            let expected = Expected { mark: plain(old.as_bytes()), is_end: true };
            let check = |text: &str| {
                let text = text.as_bytes().to_owned();
                let checked = Checked::new(text.as_slice(), Prefix::default(), [expected], None);
                mismatch(read_all(checked.unwrap(), 3))
            };
            assert_eq!(check(old), None);
            assert_eq!(check(&format!("{old}x")), Some(Mismatch::Grown(expected.mark.lines)));
        }
    }

    #[test]
    fn input_that_changes_during_a_run_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        let replace = |text: &str| {
            std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
            std::fs::write(&path, text).unwrap();
        };
        std::fs::write(&path, "one\ntwo\nthree\nfo").unwrap();
        let input = Source::File(path.clone()).open().unwrap();
        let history = Arc::new(History::new(input.clone(), &Prefix::default()));
        let reader = Checked::new(input.reader(0), Prefix::default(), [], Some(history.clone()));
        read_all(reader.unwrap(), 100).unwrap();
        let again = || Prover::new(history.clone()).mark(2);
        let mark = again().unwrap();
        replace("one\ntwo\nthree\nfour\nand more\n");
        assert_eq!(again().unwrap(), mark);
        for text in ["one\ntwo\nthree\n", "one\ntwo\nthreE\nfo", "one two three", ""] {
            replace(text);
            assert!(matches!(again(), Err(Unproven::Changed)), "{text}");
        }
    }
}
