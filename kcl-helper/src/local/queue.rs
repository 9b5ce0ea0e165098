//! The records that wait for one shard: filled by the thread that reads the input, emptied by the
//! thread of the shard. Its size is bounded by a few full batches and one read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::child::Bell;
use crate::kinesis::{Covered, KeyedRecord};

/// A batch is full when it reaches either limit. A single record may have more bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimit {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// Queue capacity in full batches, bookkeeping included. It is more than one because the reader waits
/// for a full queue while others may be empty, and a thread may wait milliseconds for a core, in which
/// another one delivers thousands of small records.
const AHEAD: usize = 4;

/// The records of one shard from one read.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) arrival: SystemTime,
    /// For each record its key, unless the record is its own key, and then the record.
    data: Vec<u8>,
    records: Vec<Meta>,
    /// The bytes of the records, without their keys.
    bytes: usize,
}

#[derive(Debug)]
struct Meta {
    line: u64,
    key_end: usize,
    end: usize,
}

/// A record that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// The number of its line, counted from 1.
    pub(crate) line: u64,
    pub(crate) data: &'a [u8],
    pub(crate) key: &'a [u8],
}

/// Roughly what a chunk itself takes, in bytes: reads of a pipe may have one record each.
const CHUNK_COST: usize = 256;
/// Chunks of more capacity are not reused, so that one long line does not take memory for good.
const MAX_SPARE_CAPACITY: usize = 1 << 20;
/// How many empty chunks are kept for reuse.
const MAX_SPARE_CHUNKS: usize = 16;

impl Chunk {
    fn new(arrival: SystemTime) -> Chunk {
        Chunk { arrival, data: Vec::new(), records: Vec::new(), bytes: 0 }
    }

    pub(crate) fn push(&mut self, record: &KeyedRecord<'_>) {
        self.data.extend_from_slice(record.digest.as_ref().map_or(&[], |digest| digest));
        let key_end = self.data.len();
        self.data.extend_from_slice(record.data);
        self.records.push(Meta { line: record.line, key_end, end: self.data.len() });
        self.bytes += record.data.len();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn get(&self, index: usize) -> Waiting<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.records[before].end);
        let Meta { line, key_end, end } = self.records[index];
        let data = &self.data[key_end..end];
        let key = if key_end > start { &self.data[start..key_end] } else { data };
        Waiting { line, data, key }
    }

    fn length(&self, index: usize) -> usize {
        self.records[index].end - self.records[index].key_end
    }
}

/// Records to be delivered together, oldest first; never empty.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    parts: Vec<(Arc<Chunk>, Range<usize>)>,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// The bytes of the keys.
    pub(crate) keys: usize,
}

impl Batch {
    /// Returns the number of the last line.
    pub(crate) fn last_line(&self) -> Option<u64> {
        let (chunk, range) = self.parts.last()?;
        Some(chunk.get(range.end.checked_sub(1)?).line)
    }

    /// Returns the records that are not covered, if there are any.
    pub(crate) fn after(self, covered: Covered) -> Option<Batch> {
        let mut rest = Batch::default();
        for (chunk, range) in self.parts {
            let is_covered = |index: &usize| covered.includes(chunk.get(*index).line);
            let start = range.start + range.clone().take_while(is_covered).count();
            for index in start..range.end {
                rest.records += 1;
                rest.bytes += chunk.length(index);
                rest.keys += chunk.get(index).key.len();
            }
            if start < range.end {
                rest.parts.push((chunk, start..range.end));
            }
        }
        (rest.records > 0).then_some(rest)
    }

    /// Returns the records, grouped by the time when they were read.
    pub(crate) fn parts(
        &self,
    ) -> impl Iterator<Item = (SystemTime, impl Iterator<Item = Waiting<'_>>)> {
        self.parts
            .iter()
            .map(|(chunk, range)| (chunk.arrival, range.clone().map(|index| chunk.get(index))))
    }
}

/// What the thread of a shard finds in its queue.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Batch),
    /// Nothing yet; the bell rings when that changes.
    Wait,
    /// No more records come, and these were all.
    End,
    /// No more records come, but the input has more, which cannot be read.
    Broken,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    room: Condvar,
    bell: Bell,
    limit: BatchLimit,
    /// Whether to wait until a batch is full, as for a file, or to deliver what is there, as for a
    /// pipe.
    only_full: bool,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Arc<Chunk>>,
    /// How many records of the first chunk have been taken.
    taken: usize,
    records: usize,
    bytes: usize,
    ended: bool,
    /// The input has more, which cannot be read.
    is_broken: bool,
    closed: bool,
    /// Whether the reader waits for room, and the thread of the shard for records: otherwise there is
    /// nobody to wake.
    is_pushing: bool,
    is_taking: bool,
    /// Empty chunks for reuse.
    spare: Vec<Chunk>,
}

impl Queue {
    pub(crate) fn new(limit: BatchLimit, only_full: bool, bell: Bell) -> Queue {
        Queue { state: Mutex::default(), room: Condvar::new(), bell, limit, only_full }
    }

    /// Returns an empty chunk.
    pub(crate) fn chunk(&self, arrival: SystemTime) -> Chunk {
        let spare = self.lock().spare.pop();
        spare.map_or_else(|| Chunk::new(arrival), |spare| Chunk { arrival, ..spare })
    }

    /// Adds records, after waiting for room. Returns `false` if nobody takes them any more.
    pub(crate) fn push(&self, mut chunk: Chunk) -> bool {
        if chunk.data.len() < chunk.data.capacity() / 4 {
            // After a large read, many small ones would each take as much memory.
            chunk.data.shrink_to_fit();
            chunk.records.shrink_to_fit();
        }
        let mut state = self.lock();
        while !state.closed && state.is_full(self.limit) {
            state.is_pushing = true;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_pushing = false;
        if state.closed {
            return false;
        }
        state.records += chunk.records.len();
        state.bytes += chunk.bytes;
        state.chunks.push_back(Arc::new(chunk));
        if !self.only_full || state.batches(self.limit) > 0 {
            self.wake_shard(state);
        }
        true
    }

    /// Marks the end: no more records come, and these were all or not.
    pub(crate) fn end(&self, is_complete: bool) {
        let mut state = self.lock();
        state.ended = true;
        state.is_broken = !is_complete;
        self.wake_shard(state);
    }

    fn wake_shard(&self, mut state: MutexGuard<'_, State>) {
        let is_taking = std::mem::take(&mut state.is_taking);
        drop(state);
        if is_taking {
            self.bell.ring();
        }
    }

    /// Drops the records that wait, and takes no more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.chunks.clear();
        state.spare.clear();
        drop(state);
        self.room.notify_all();
    }

    /// Takes the next batch if waiting would not make it larger. If there is none, the bell rings when
    /// there may be one.
    pub(crate) fn next_full(&self) -> Option<Batch> {
        let mut state = self.lock();
        if state.batches(self.limit) == 0 && (state.records == 0 || !state.ended) {
            state.is_taking = true;
            return None;
        }
        Some(self.take(state))
    }

    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        let full = state.batches(self.limit) > 0;
        if state.records == 0 && state.ended {
            return if state.is_broken { Next::Broken } else { Next::End };
        }
        if state.records == 0 || (self.only_full && !full && !state.ended) {
            state.is_taking = true;
            return Next::Wait;
        }
        Next::Batch(self.take(state))
    }

    fn take(&self, mut state: MutexGuard<'_, State>) -> Batch {
        let batch = state.take(self.limit);
        let wakes = state.is_pushing && !state.is_full(self.limit);
        drop(state);
        if wakes {
            self.room.notify_all();
        }
        batch
    }

    /// Takes back the memory of a batch that has been delivered.
    pub(crate) fn recycle(&self, batch: Batch) {
        let mut state = self.lock();
        for (chunk, _) in batch.parts {
            // The next batch may still have a part of it.
            let Some(mut chunk) = Arc::into_inner(chunk) else { continue };
            let is_kept =
                chunk.data.capacity() <= MAX_SPARE_CAPACITY && state.spare.len() < MAX_SPARE_CHUNKS;
            if is_kept && !state.closed {
                chunk.data.clear();
                chunk.records.clear();
                chunk.bytes = 0;
                state.spare.push(chunk);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns how many full batches wait.
    fn batches(&self, limit: BatchLimit) -> usize {
        (self.records / limit.records).max(self.bytes / limit.bytes)
    }

    fn is_full(&self, limit: BatchLimit) -> bool {
        let around = self.records * size_of::<Meta>() + self.chunks.len() * CHUNK_COST;
        self.batches(limit) > 0 && self.bytes + around >= AHEAD * limit.bytes
    }

    fn take(&mut self, limit: BatchLimit) -> Batch {
        let mut batch = Batch::default();
        while let Some(chunk) = self.chunks.front() {
            let start = self.taken;
            let mut end = start;
            let mut is_full = false;
            while end < chunk.records.len() {
                let length = chunk.length(end);
                is_full = batch.records >= limit.records
                    || (batch.records > 0 && batch.bytes + length > limit.bytes);
                if is_full {
                    break;
                }
                batch.records += 1;
                batch.bytes += length;
                batch.keys += chunk.get(end).key.len();
                end += 1;
            }
            if end > start {
                batch.parts.push((chunk.clone(), start..end));
            }
            self.taken = end;
            if is_full {
                break;
            }
            self.chunks.pop_front();
            self.taken = 0;
        }
        self.records -= batch.records;
        self.bytes -= batch.bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However records arrive, they leave in order, once each, in full batches.
        #[test]
        fn batches_are_full_and_in_order(
            chunks in prop::collection::vec(prop::collection::vec(0..30usize, 0..8), 0..10),
            records in 1..10usize,
            bytes in 1..60usize,
        ) {
            let limit = BatchLimit { records, bytes };
            let queue = Queue::new(BatchLimit { records: 1000, bytes: 100_000 }, true, Bell::new().unwrap());
            let mut line = 0;
            let mut expected = Vec::new();
            for lengths in &chunks {
                let mut chunk = Chunk::new(SystemTime::UNIX_EPOCH);
                for length in lengths {
                    line += 1;
                    let data = vec![line as u8; *length];
                    expected.push((line, data.clone()));
                    chunk.push(&KeyedRecord { line, data: &data, digest: None, shard: 0 });
                }
                prop_assert!(queue.push(chunk));
            }
            let queue = Queue { limit, ..queue };
            queue.end(true);
            let mut got = Vec::new();
            let mut sizes = Vec::new();
            while let Next::Batch(batch) = queue.next() {
                prop_assert!(batch.records > 0 && batch.records <= records);
                prop_assert!(batch.bytes <= bytes || batch.records == 1);
                sizes.push((batch.records, batch.bytes));
                let records = batch.parts().flat_map(|(_, records)| records);
                got.extend(records.map(|record| (record.line, record.data.to_vec())));
            }
            prop_assert_eq!(&got, &expected);
            // No batch could have held the record that follows it.
            let mut first = 0;
            for (count, size) in sizes {
                first += count;
                if let Some((_, next)) = expected.get(first) {
                    prop_assert!(count == records || size + next.len() > bytes);
                }
            }
            prop_assert!(matches!(queue.next(), Next::End));
        }
    }

    #[test]
    fn covered_records_are_left_out_of_a_batch() {
        let limit = BatchLimit { records: 10, bytes: 100 };
        let batch = || {
            let queue = Queue::new(limit, false, Bell::new().unwrap());
            for line in [2, 3, 7] {
                queue.push(chunk(line));
            }
            let Next::Batch(batch) = queue.next() else { unreachable!() };
            batch
        };
        assert_eq!(batch().last_line(), Some(7));
        for (covered, lines) in [
            (Covered::Nothing, &[2, 3, 7][..]),
            (Covered::Line(2), &[3, 7]),
            (Covered::Line(6), &[7]),
            (Covered::Line(7), &[]),
            (Covered::ShardEnd, &[]),
        ] {
            let rest = batch().after(covered);
            let left = rest.as_ref().map_or(vec![], |batch| {
                batch.parts().flat_map(|(_, records)| records.map(|record| record.line)).collect()
            });
            assert_eq!(left, lines, "{covered:?}");
            let counted = rest.map_or((0, 0, 0), |rest| (rest.records, rest.bytes, rest.keys));
            assert_eq!(counted, (lines.len(), 4 * lines.len(), 4 * lines.len()));
        }
    }

    fn chunk(line: u64) -> Chunk {
        let mut chunk = Chunk::new(SystemTime::UNIX_EPOCH);
        chunk.push(&KeyedRecord { line, data: b"data", digest: None, shard: 0 });
        chunk
    }

    #[test]
    fn a_file_waits_for_a_full_batch_and_a_pipe_does_not() {
        let limit = BatchLimit { records: 2, bytes: 100 };
        for (only_full, at_once) in [(true, false), (false, true)] {
            let queue = Queue::new(limit, only_full, Bell::new().unwrap());
            assert!(matches!(queue.next(), Next::Wait));
            queue.push(chunk(1));
            assert!(queue.next_full().is_none());
            assert_eq!(matches!(queue.next(), Next::Batch(_)), at_once);
            queue.push(chunk(2));
            queue.end(true);
            assert!(matches!(queue.next(), Next::Batch(_)));
            assert!(matches!(queue.next(), Next::End));
        }
    }

    #[test]
    fn a_full_queue_waits_until_it_is_closed() {
        kcl_fixtures::fail_if_it_hangs();
        let queue = Queue::new(BatchLimit { records: 1, bytes: 1000 }, true, Bell::new().unwrap());
        let fits = (AHEAD * 1000).div_ceil(b"data".len() + size_of::<Meta>() + CHUNK_COST);
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| (1..).take_while(|line| queue.push(chunk(*line))).count());
            while queue.lock().records < fits {
                std::thread::yield_now();
            }
            queue.close();
            assert_eq!(pusher.join().unwrap(), fits);
        });
    }
}
