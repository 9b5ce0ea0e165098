//! The records that wait for one shard: filled by the thread that reads the input, emptied by the
//! shard's driver, and never larger than a few batches and one read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::child::Bell;

/// What makes a batch full: whichever is reached first. A single record may have more bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimit {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// How many batches may wait: as records come in any mix of shards, one shard's queue is full while
/// another's may be empty, and the reader waits for the full one.
const AHEAD: usize = 4;

/// Records of one shard that were read at one time.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) arrival: SystemTime,
    data: Vec<u8>,
    records: Vec<Meta>,
}

#[derive(Debug)]
struct Meta {
    line: u64,
    end: usize,
    /// The key where it is not the record itself.
    key: Option<Box<str>>,
}

/// A record that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// The number of its line, counted from 1.
    pub(crate) line: u64,
    pub(crate) data: &'a [u8],
    pub(crate) key: Option<&'a str>,
}

impl Chunk {
    pub(crate) fn new(arrival: SystemTime) -> Chunk {
        Chunk { arrival, data: Vec::new(), records: Vec::new() }
    }

    pub(crate) fn push(&mut self, line: u64, data: &[u8], key: Option<String>) {
        self.data.extend_from_slice(data);
        let key = key.map(String::into_boxed_str);
        self.records.push(Meta { line, end: self.data.len(), key });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn get(&self, index: usize) -> Waiting<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.records[before].end);
        let meta = &self.records[index];
        Waiting { line: meta.line, data: &self.data[start..meta.end], key: meta.key.as_deref() }
    }
}

/// Records to be delivered together, oldest first; never empty.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    parts: Vec<(Arc<Chunk>, Range<usize>)>,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Batch {
    /// The records, each with the time when it was read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SystemTime, Waiting<'_>)> {
        self.parts
            .iter()
            .flat_map(|(chunk, range)| range.clone().map(|index| (chunk.arrival, chunk.get(index))))
    }
}

/// What the driver finds in its queue.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Batch),
    /// Nothing now; the bell rings when that changes.
    Wait,
    /// All has been taken and no more comes.
    End,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    room: Condvar,
    bell: Bell,
    limit: BatchLimit,
    /// Whether to wait until a batch is full, for a file, or to take what is there, for a pipe.
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
    closed: bool,
}

impl Queue {
    pub(crate) fn new(limit: BatchLimit, only_full: bool, bell: Bell) -> Queue {
        Queue { state: Mutex::default(), room: Condvar::new(), bell, limit, only_full }
    }

    /// Adds records, after waiting for room. `false` if nobody takes them any more.
    pub(crate) fn push(&self, chunk: Chunk) -> bool {
        let mut state = self.lock();
        while !state.closed
            && (state.records >= AHEAD * self.limit.records
                || state.bytes >= AHEAD * self.limit.bytes)
        {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.records += chunk.records.len();
        state.bytes += chunk.data.len();
        state.chunks.push_back(Arc::new(chunk));
        drop(state);
        self.bell.ring();
        true
    }

    /// Says that no more records come.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.bell.ring();
    }

    /// Says that no more records are taken, and drops those that wait.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.chunks.clear();
        drop(state);
        self.room.notify_all();
    }

    /// The next batch if waiting would not make it larger.
    pub(crate) fn next_full(&self) -> Option<Batch> {
        let mut state = self.lock();
        if !state.is_full(self.limit) && (state.records == 0 || !state.ended) {
            return None;
        }
        let batch = state.take(self.limit);
        drop(state);
        self.room.notify_all();
        Some(batch)
    }

    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        let full = state.is_full(self.limit);
        if state.records == 0 {
            return if state.ended { Next::End } else { Next::Wait };
        }
        if self.only_full && !full && !state.ended {
            return Next::Wait;
        }
        let batch = state.take(self.limit);
        drop(state);
        self.room.notify_all();
        Next::Batch(batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self, limit: BatchLimit) -> bool {
        self.records >= limit.records || self.bytes >= limit.bytes
    }

    fn take(&mut self, limit: BatchLimit) -> Batch {
        let mut batch = Batch::default();
        while let Some(chunk) = self.chunks.front() {
            let start = self.taken;
            let mut end = start;
            let mut is_full = false;
            while end < chunk.records.len() {
                let length = chunk.get(end).data.len();
                is_full = batch.records >= limit.records
                    || (batch.records > 0 && batch.bytes + length > limit.bytes);
                if is_full {
                    break;
                }
                batch.records += 1;
                batch.bytes += length;
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
        /// However records arrive, they leave in order, each once, and as full batches allow.
        #[test]
        fn batches_are_full_and_in_order(
            chunks in prop::collection::vec(prop::collection::vec(0..30usize, 0..8), 0..10),
            records in 1..10usize,
            bytes in 1..60usize,
        ) {
            let limit = BatchLimit { records, bytes };
            let queue = Queue::new(BatchLimit { records: 1000, bytes: 100_000 }, true, Bell::default());
            let mut line = 0;
            let mut expected = Vec::new();
            for lengths in &chunks {
                let mut chunk = Chunk::new(SystemTime::UNIX_EPOCH);
                for length in lengths {
                    line += 1;
                    let data = vec![line as u8; *length];
                    expected.push((line, data.clone()));
                    chunk.push(line, &data, None);
                }
                prop_assert!(queue.push(chunk));
            }
            let queue = Queue { limit, ..queue };
            queue.end();
            let mut got = Vec::new();
            let mut sizes = Vec::new();
            while let Next::Batch(batch) = queue.next() {
                prop_assert!(batch.records > 0 && batch.records <= records);
                prop_assert!(batch.bytes <= bytes || batch.records == 1);
                sizes.push((batch.records, batch.bytes));
                got.extend(batch.iter().map(|(_, record)| (record.line, record.data.to_vec())));
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

    fn chunk(line: u64) -> Chunk {
        let mut chunk = Chunk::new(SystemTime::UNIX_EPOCH);
        chunk.push(line, b"data", None);
        chunk
    }

    #[test]
    fn a_file_waits_for_a_full_batch_and_a_pipe_does_not() {
        let limit = BatchLimit { records: 2, bytes: 100 };
        for (only_full, at_once) in [(true, false), (false, true)] {
            let queue = Queue::new(limit, only_full, Bell::default());
            assert!(matches!(queue.next(), Next::Wait));
            queue.push(chunk(1));
            assert!(queue.next_full().is_none());
            assert_eq!(matches!(queue.next(), Next::Batch(_)), at_once);
            queue.push(chunk(2));
            queue.end();
            assert!(matches!(queue.next(), Next::Batch(_)));
            assert!(matches!(queue.next(), Next::End));
        }
    }

    #[test]
    fn a_full_queue_waits_until_it_is_closed() {
        let queue = Queue::new(BatchLimit { records: 1, bytes: 100 }, true, Bell::default());
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| (1..).take_while(|line| queue.push(chunk(*line))).count());
            while queue.lock().records < AHEAD {
                std::thread::yield_now();
            }
            queue.close();
            assert_eq!(pusher.join().unwrap(), AHEAD);
        });
    }
}
