//! The queue of lines for stderr, with a limit in bytes and lines, and the progress shown below them.
//!
//! It decides which callers wait and which lines are dropped. `writer.rs` does the I/O and reads the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::numbers::with_commas;

/// The most bytes per write, unless one line is longer: a pipe takes them in one piece, even if other
/// processes write to it too.
pub(super) const CHUNK: usize = 4096;
/// The overhead of a piece in bytes, so that empty lines are not free.
const PIECE_COST: usize = 64;
/// A reader that has read nothing for this long counts as not reading.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What a text is. More important kinds get more space in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Output of a child, which may be endless.
    Child,
    /// Our own messages.
    Message,
    /// Results, and other messages that `-q` does not hide.
    Result,
    /// Why the command failed.
    Error,
}

impl Kind {
    /// Returns how many bytes may be queued, of children or of ourselves, for a piece of this kind to fit.
    /// Children get little, because they can wait.
    const fn limit(self) -> usize {
        match self {
            Kind::Child => 64 << 10,
            Kind::Message => 512 << 10,
            Kind::Result => 1 << 20,
            Kind::Error => 2 << 20,
        }
    }
}

/// What the process is doing, which decides who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No children are supervised: every caller may wait, as in any program, and a signal kills us.
    Alone,
    /// Supervising threads must not wait, but children may have to.
    Supervising,
    /// Since this time the process must end, whether somebody reads or not.
    Stopping(Instant),
}

/// Whether a text was queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// The rest does not fit yet: try again when something was written, and at this time at the latest.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    /// The sizes of all pieces from children, and of all others.
    of_child: usize,
    of_us: usize,
    phase: Phase,
    /// When the last write ended or the first piece was queued; `None` if nothing is queued.
    waits_since: Option<Instant>,
    /// The progress, shown below all lines.
    shown: Vec<String>,
    shown_changed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Whole lines.
    Text(Kind, String),
    /// This many lines were dropped here.
    Dropped(u64),
}

/// The next text to write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) text: String,
    /// The progress to show below it; `None` while more lines wait.
    pub(super) shown: Option<Vec<String>>,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            pieces: VecDeque::new(),
            of_child: 0,
            of_us: 0,
            phase: Phase::Alone,
            waits_since: None,
            shown: vec![],
            shown_changed: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Changes the phase, unless we are stopping.
    pub(super) fn set_phase(&mut self, phase: Phase) {
        if !matches!(self.phase, Phase::Stopping(_)) {
            self.phase = phase;
        }
    }

    /// Removes lines from the front of the text, and queues or drops them.
    pub(super) fn put(&mut self, kind: Kind, text: &mut &str, now: Instant) -> Put {
        while !text.is_empty() {
            let (piece, rest) = split(text);
            let size = piece.len() + PIECE_COST;
            if self.fits(kind, size) {
                *self.account(kind) += size;
                self.push(Piece::Text(kind, piece.to_owned()), now);
            } else if let Some(until) = self.may_wait(kind, now) {
                return Put::Wait(until);
            } else {
                self.drop_lines(piece, now);
            }
            *text = rest;
        }
        Put::Done
    }

    pub(super) fn show(&mut self, lines: Vec<String>, now: Instant) {
        if self.shown != lines {
            self.shown = lines;
            self.shown_changed = true;
            self.waits_since.get_or_insert(now);
        }
    }

    /// Returns what to write next.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        let mut text = String::new();
        while let Some(piece) = self.pieces.front() {
            let next = match piece {
                Piece::Text(_, piece) => piece.len(),
                Piece::Dropped(_) => 100,
            };
            if !text.is_empty() && text.len() + next > CHUNK {
                break;
            }
            match self.pieces.pop_front() {
                Some(Piece::Text(kind, piece)) => {
                    *self.account(kind) -= piece.len() + PIECE_COST;
                    text.push_str(&piece);
                }
                Some(Piece::Dropped(1)) => {
                    text.push_str("… 1 line dropped, because nobody read stderr\n");
                }
                Some(Piece::Dropped(lines)) => text.push_str(&format!(
                    "… {} lines dropped, because nobody read stderr\n",
                    with_commas(lines)
                )),
                None => {}
            }
        }
        let shown = self.pieces.is_empty().then(|| self.shown.clone());
        if text.is_empty() && !self.shown_changed {
            return None;
        }
        self.shown_changed &= shown.is_none();
        Some(Chunk { text, shown })
    }

    /// Notes that what was taken has been written.
    pub(super) fn written(&mut self, now: Instant) {
        let is_empty = self.pieces.is_empty() && !self.shown_changed;
        self.waits_since = (!is_empty).then_some(now);
    }

    /// Whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.waits_since.is_none()
    }

    /// Returns until when a flush that began at `start` may wait: as long as somebody reads, but only a moment
    /// when stopping. `None` means no limit, because a signal can kill us.
    pub(super) fn end_of_flush(&self, start: Instant) -> Option<Instant> {
        let read = self.waits_since.unwrap_or(start);
        match self.phase {
            Phase::Alone => None,
            Phase::Supervising => Some(read + PATIENCE),
            Phase::Stopping(stopped) => Some(start.min(read.max(stopped)) + PATIENCE),
        }
    }

    fn fits(&self, kind: Kind, size: usize) -> bool {
        match kind {
            // The first piece always fits.
            Kind::Child => self.of_child == 0 || self.of_child + size <= kind.limit(),
            _ => self.of_us == 0 || self.of_us + size <= kind.limit(),
        }
    }

    /// Returns until when a text of this kind may wait; `None` if it may not.
    fn may_wait(&self, kind: Kind, now: Instant) -> Option<Option<Instant>> {
        match (self.phase, kind) {
            (Phase::Alone, _) | (Phase::Supervising, Kind::Child) => Some(None),
            // As long as somebody reads, a child that is being stopped loses no lines.
            (Phase::Stopping(_), Kind::Child) => {
                let until = self.waits_since.unwrap_or(now) + PATIENCE;
                (now < until).then_some(Some(until))
            }
            (Phase::Supervising | Phase::Stopping(_), _) => None,
        }
    }

    fn account(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Child => &mut self.of_child,
            _ => &mut self.of_us,
        }
    }

    fn push(&mut self, piece: Piece, now: Instant) {
        self.pieces.push_back(piece);
        self.waits_since.get_or_insert(now);
    }

    fn drop_lines(&mut self, piece: &str, now: Instant) {
        let lines = piece.lines().count() as u64;
        match self.pieces.back_mut() {
            Some(Piece::Dropped(dropped)) => *dropped += lines,
            _ => self.push(Piece::Dropped(lines), now),
        }
    }
}

/// Splits off whole lines of at most one chunk, or one longer line.
fn split(text: &str) -> (&str, &str) {
    let bytes = &text.as_bytes()[..text.len().min(CHUNK)];
    let end = match memchr::memrchr(b'\n', bytes) {
        _ if bytes.len() == text.len() => text.len(),
        Some(lf) => lf + 1,
        None => text.find('\n').map_or(text.len(), |lf| lf + 1),
    };
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    fn drain(queue: &mut Queue, now: Instant) -> String {
        let mut all = String::new();
        while let Some(chunk) = queue.take() {
            all.push_str(&chunk.text);
            queue.written(now);
        }
        all
    }

    fn lines(numbers: Range<usize>) -> String {
        numbers.map(|number| format!("line {number}\n")).collect()
    }

    #[test]
    fn nothing_is_dropped_without_children() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        let all = lines(0..200_000);
        let (mut rest, mut written) = (all.as_str(), String::new());
        while queue.put(Kind::Message, &mut rest, now) != Put::Done {
            written.push_str(&drain(&mut queue, now));
        }
        written.push_str(&drain(&mut queue, now));
        assert!(written == all);
    }

    #[test]
    fn children_wait_and_supervisors_do_not() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set_phase(Phase::Supervising);
        let all = lines(0..1_000_000);
        assert_eq!(queue.put(Kind::Child, &mut all.as_str(), now), Put::Wait(None));
        assert_eq!(queue.put(Kind::Message, &mut all.as_str(), now), Put::Done);
        assert_eq!(queue.put(Kind::Result, &mut "result\n", now), Put::Done);
        assert_eq!(queue.put(Kind::Error, &mut "error\n", now), Put::Done);
        let written = drain(&mut queue, now);
        let mut end = written.lines().rev();
        assert_eq!(end.next(), Some("error"));
        assert_eq!(end.next(), Some("result"));
        let dropped = end.next().unwrap();
        assert!(
            dropped.starts_with("… ")
                && dropped.ends_with(" lines dropped, because nobody read stderr"),
            "{dropped}"
        );
        assert!(written.len() < 600 << 10);
    }

    #[test]
    fn stop_waits_only_while_somebody_reads() {
        let (mut queue, start) = (Queue::new(), Instant::now());
        let all = lines(0..100_000);
        let mut rest = all.as_str();
        queue.set_phase(Phase::Supervising);
        assert_eq!(queue.put(Kind::Child, &mut rest, start), Put::Wait(None));
        queue.set_phase(Phase::Stopping(start));
        queue.set_phase(Phase::Alone);
        assert_eq!(queue.put(Kind::Child, &mut rest, start), Put::Wait(Some(start + PATIENCE)));
        // Somebody reads.
        let later = start + PATIENCE / 2;
        queue.take();
        queue.written(later);
        queue.put(Kind::Child, &mut rest, later);
        assert_eq!(queue.put(Kind::Child, &mut rest, later), Put::Wait(Some(later + PATIENCE)));
        assert_eq!(queue.put(Kind::Child, &mut rest, later + PATIENCE), Put::Done);
        assert!(drain(&mut queue, later).contains(" lines dropped, because nobody read stderr\n"));
    }

    #[test]
    fn flush_waits_only_while_somebody_reads() {
        let (mut queue, start) = (Queue::new(), Instant::now());
        let [a, b, c, d] = [10, 20, 25, 30].map(|tenths| start + tenths * PATIENCE / 10);
        queue.put(Kind::Message, &mut "word\n", start);
        assert_eq!(queue.end_of_flush(a), None);
        queue.set_phase(Phase::Supervising);
        // The deadline follows the last read.
        assert_eq!(queue.end_of_flush(b), Some(start + PATIENCE));
        queue.show(vec!["1%".into()], a);
        queue.take();
        queue.written(a);
        queue.put(Kind::Message, &mut "word\n", a);
        queue.take();
        queue.put(Kind::Message, &mut "word\n", b);
        queue.written(b);
        assert_eq!(queue.end_of_flush(a), Some(b + PATIENCE));
        queue.set_phase(Phase::Stopping(c));
        assert_eq!(queue.end_of_flush(a), Some(a + PATIENCE));
        assert_eq!(queue.end_of_flush(d), Some(c + PATIENCE));
    }

    #[test]
    fn progress_comes_last_and_only_the_latest() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.show(vec!["1%".into()], now);
        queue.show(vec!["2%".into()], now);
        let shown = |shown: &str| Chunk { text: String::new(), shown: Some(vec![shown.into()]) };
        assert_eq!(queue.take(), Some(shown("2%")));
        queue.written(now);
        assert_eq!(queue.take(), None);
        assert!(queue.is_empty());
        queue.put(Kind::Message, &mut "word\n", now);
        assert_eq!(queue.take(), Some(Chunk { text: "word\n".into(), ..shown("2%") }));
        queue.show(vec![], now);
        assert_eq!(queue.take(), Some(Chunk { text: String::new(), shown: Some(vec![]) }));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Put(Kind, usize),
        Take,
        Show,
        Phase(bool),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let kind =
            prop::sample::select(vec![Kind::Child, Kind::Message, Kind::Result, Kind::Error]);
        prop::collection::vec(
            prop_oneof![
                4 => (kind, 1..20_000usize).prop_map(|(kind, count)| Event::Put(kind, count)),
                4 => Just(Event::Take),
                1 => Just(Event::Show),
                1 => any::<bool>().prop_map(Event::Phase),
            ],
            0..40,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lines_are_written_in_order_or_counted_and_the_queue_is_bounded(events in events()) {
            let (mut queue, now) = (Queue::new(), Instant::now());
            let (mut next, mut written) = (0, String::new());
            for event in events {
                match event {
                    Event::Put(kind, count) => {
                        let text = lines(next..next + count);
                        let mut rest = text.as_str();
                        while queue.put(kind, &mut rest, now) != Put::Done {
                            let chunk = queue.take();
                            written.push_str(&chunk.unwrap().text);
                            queue.written(now);
                        }
                        next += count;
                    }
                    Event::Take => if let Some(chunk) = queue.take() {
                        prop_assert!(chunk.text.len() <= CHUNK);
                        written.push_str(&chunk.text);
                        queue.written(now);
                    }
                    Event::Show => queue.show(vec![next.to_string()], now),
                    Event::Phase(true) => queue.set_phase(Phase::Supervising),
                    Event::Phase(false) => queue.set_phase(Phase::Stopping(now - 2 * PATIENCE)),
                }
                let waiting: usize = queue.pieces.iter().map(|piece| match piece {
                    Piece::Text(_, piece) => piece.len() + PIECE_COST,
                    Piece::Dropped(_) => 0,
                }).sum();
                prop_assert_eq!(waiting, queue.of_child + queue.of_us);
                prop_assert!(waiting <= Kind::Child.limit() + Kind::Error.limit());
            }
            written.push_str(&drain(&mut queue, now));
            prop_assert!(queue.is_empty());
            let mut expected = 0;
            for line in written.lines() {
                if let Some(dropped) = line.strip_prefix("… ") {
                    let digits: String = dropped.chars().take_while(|c| *c != ' ').filter(|c| *c != ',').collect();
                    expected += digits.parse::<usize>().unwrap();
                } else {
                    prop_assert_eq!(line, format!("line {expected}"));
                    expected += 1;
                }
            }
            prop_assert_eq!(expected, next);
        }
    }
}
