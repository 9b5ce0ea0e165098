//! The lines that went through the pipes, put together from the pieces of a recording.

use std::io::{self, Read};
use std::time::Duration;

use kcl_protocol::DEFAULT_LINE_LIMIT;

use super::event::{Stream, What};
use super::header::{Header, Invalid};
use super::reader::{Next, Reader};

/// Reads a recording line by line.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: Reader<R>,
    unfinished: [Unfinished; 3],
    waiting: Option<Waiting>,
    at: Duration,
    state: State,
}

/// An entry and its time since the start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) at: Duration,
    pub(crate) entry: Entry,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Line(Line),
    StreamEnded(Stream),
    /// How the program ended.
    Exited(String),
    /// The recorder's own note: the recording is full.
    Note(String),
    /// A line of the file that is no event: its number, and why.
    Damaged(u64, String),
    /// The file ends inside a line.
    CutOff,
}

/// A line that went through a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    /// When the first piece came. [`Timed::at`] has the time of the last one.
    pub(crate) begun: Duration,
    /// Without the line end.
    pub(crate) bytes: Vec<u8>,
    /// How many bytes more the line had, which are not kept.
    pub(crate) dropped: u64,
    pub(crate) end: LineEnd,
}

/// What ended a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    LineFeed,
    StreamEnd,
    /// The recording ends before the line does.
    Recording,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The file is read; streams from this one on may have an unfinished line.
    Ending(usize),
}

/// The rest of a piece after a line end. `record` writes a line a piece, so there is hardly ever one.
#[derive(Debug)]
struct Waiting {
    stream: Stream,
    bytes: Vec<u8>,
    from: usize,
}

#[derive(Debug, Default)]
struct Unfinished {
    begun: Option<Duration>,
    bytes: Vec<u8>,
    dropped: u64,
}

impl Unfinished {
    fn push(&mut self, at: Duration, bytes: &[u8]) {
        self.begun.get_or_insert(at);
        let kept = bytes.len().min(DEFAULT_LINE_LIMIT - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
    }

    fn take(&mut self, stream: Stream, end: LineEnd) -> Option<Line> {
        let Unfinished { begun, bytes, dropped } = std::mem::take(self);
        Some(Line { stream, begun: begun?, bytes, dropped, end })
    }
}

impl<R: Read> Lines<R> {
    /// # Errors
    /// It is no recording, or one of another version.
    pub(crate) fn open(from: R) -> Result<(Header, Lines<R>), Invalid> {
        let (header, reader) = Reader::open(from)?;
        let lines = Lines {
            reader,
            unfinished: Default::default(),
            waiting: None,
            at: Duration::ZERO,
            state: State::Reading,
        };
        Ok((header, lines))
    }

    /// Returns what comes next, in the order of the recording; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Option<Timed>> {
        loop {
            if let Some(mut waiting) = self.waiting.take() {
                let part = first_line(&waiting.bytes[waiting.from..]);
                waiting.from += part.len();
                let line = add(&mut self.unfinished, self.at, waiting.stream, part);
                if waiting.from < waiting.bytes.len() {
                    self.waiting = Some(waiting);
                }
                match line {
                    Some(line) => return Ok(self.timed(Entry::Line(line))),
                    None => continue,
                }
            }
            if let State::Ending(from) = self.state {
                let Some(stream) = Stream::ALL.get(from).copied() else { return Ok(None) };
                self.state = State::Ending(from + 1);
                if let Some(line) = self.unfinished[from].take(stream, LineEnd::Recording) {
                    return Ok(self.timed(Entry::Line(line)));
                }
                continue;
            }
            let Some((at, next)) = self.reader.next()? else {
                self.state = State::Ending(0);
                continue;
            };
            self.at = at;
            let entry = match next {
                Next::Event(What::Piece(stream, bytes)) => {
                    let first = first_line(&bytes);
                    if first.len() < bytes.len() {
                        let rest = bytes[first.len()..].to_vec();
                        self.waiting = Some(Waiting { stream, bytes: rest, from: 0 });
                    }
                    match add(&mut self.unfinished, at, stream, first) {
                        Some(line) => Entry::Line(line),
                        None => continue,
                    }
                }
                Next::Event(What::End(stream)) => {
                    match self.unfinished[stream as usize].take(stream, LineEnd::StreamEnd) {
                        // It tells that the stream has ended.
                        Some(line) => Entry::Line(line),
                        None => Entry::StreamEnded(stream),
                    }
                }
                Next::Event(What::Exit(how)) => Entry::Exited(how.into_owned()),
                Next::Event(What::Note(note)) => Entry::Note(note.into_owned()),
                Next::Damaged(number, why) => Entry::Damaged(number, why),
                Next::CutOff => Entry::CutOff,
            };
            return Ok(self.timed(entry));
        }
    }

    fn timed(&self, entry: Entry) -> Option<Timed> {
        Some(Timed { at: self.at, entry })
    }
}

/// Returns the beginning, up to the first line end and with it.
fn first_line(bytes: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', bytes).map_or(bytes, |at| &bytes[..=at])
}

/// Adds a part without a line end but at its own end, and returns the line if that ends it.
fn add(
    unfinished: &mut [Unfinished; 3],
    at: Duration,
    stream: Stream,
    part: &[u8],
) -> Option<Line> {
    let unfinished = &mut unfinished[stream as usize];
    let Some(end) = part.strip_suffix(b"\n") else {
        unfinished.push(at, part);
        return None;
    };
    unfinished.push(at, end);
    unfinished.take(stream, LineEnd::LineFeed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = r#"{"version":1,"kcl_helper":"0.1.0","command":["./app"],"started":"2026-11-25T10:00:00.000000Z","redacted":false}"#;

    fn entries(bytes: &[u8]) -> Vec<Timed> {
        let (_, mut lines) = Lines::open(bytes).expect("it has a header");
        std::iter::from_fn(|| lines.next().expect("memory can be read")).collect()
    }

    fn line(stream: Stream, begun: u64, bytes: &[u8], end: LineEnd) -> Entry {
        let begun = Duration::from_micros(begun);
        Entry::Line(Line { stream, begun, bytes: bytes.to_vec(), dropped: 0, end })
    }

    #[test]
    fn pieces_become_lines() {
        use LineEnd::{LineFeed, Recording, StreamEnd};
        use Stream::{Stderr, Stdin, Stdout};
        let events = r#"
            [5,"<","one\n"]
            [1,"<","tw"]
            [1,">","a\nb\nc"]
            [1,"<","bwo=","base64"]
            [1,"e","last words"]
            [1,"e",null]
            [0,"e",null]
            not an event
            [2,"!","the recording is full, see --max-size"]
            [2,"x","exit status 0"]
            [2,"<","half a li"#;
        let text = format!("{HEADER}\n{}", events.trim_start());
        let expected = [
            (5, line(Stdin, 5, b"one", LineFeed)),
            (7, line(Stdout, 7, b"a", LineFeed)),
            (7, line(Stdout, 7, b"b", LineFeed)),
            (8, line(Stdin, 6, b"two", LineFeed)),
            (10, line(Stderr, 9, b"last words", StreamEnd)),
            (10, Entry::StreamEnded(Stderr)),
            (10, Entry::Damaged(9, "expected ident at line 1 column 14".into())),
            (12, Entry::Note("the recording is full, see --max-size".into())),
            (14, Entry::Exited("exit status 0".into())),
            (14, Entry::CutOff),
            (14, line(Stdout, 7, b"c", Recording)),
        ];
        let found: Vec<_> =
            entries(text.as_bytes()).into_iter().map(|it| (it.at.as_micros(), it.entry)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_ends_in_its_header_is_refused() {
        let why = |bytes: &[u8]| Lines::open(bytes).expect_err("it is refused").to_string();
        let empty = "it is empty: nothing was recorded, or the recorder was killed as it began";
        assert_eq!(why(b""), empty);
        assert_eq!(why(b"\n\n"), empty);
        let other = "it is not a recording of kcl-helper: the first line is not its header";
        assert_eq!(why(HEADER.as_bytes()), other);
        assert_eq!(why(b"hello\n"), other);
    }

    /// As the recorder writes it.
    fn recording(pieces: &[(usize, Vec<u8>)]) -> String {
        let mut text = format!("{HEADER}\n");
        for (which, piece) in pieces {
            let kind = ["<", ">", "e"][*which];
            let event = match std::str::from_utf8(piece) {
                Ok(piece) => serde_json::json!([3, kind, piece]),
                Err(_) => {
                    use base64::Engine as _;
                    let piece = base64::engine::general_purpose::STANDARD.encode(piece);
                    serde_json::json!([3, kind, piece, "base64"])
                }
            };
            text.push_str(&format!("{event}\n"));
        }
        text
    }

    fn pieces() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
        let byte = prop_oneof![Just(b'\n'), Just(b'\r'), Just(0xc3), any::<u8>()];
        prop::collection::vec((0..3usize, prop::collection::vec(byte, 0..20)), 0..20)
    }

    proptest! {
        #[test]
        fn every_byte_comes_back_in_lines(pieces in pieces()) {
            let mut said = [const { Vec::new() }; 3];
            for (which, piece) in &pieces {
                said[*which].extend_from_slice(piece);
            }
            let mut read = [const { Vec::new() }; 3];
            for timed in entries(recording(&pieces).as_bytes()) {
                let Entry::Line(line) = timed.entry else { panic!("{timed:?}") };
                prop_assert!(line.begun <= timed.at);
                read[line.stream as usize].extend_from_slice(&line.bytes);
                if line.end == LineEnd::LineFeed {
                    read[line.stream as usize].push(b'\n');
                }
            }
            prop_assert_eq!(read, said);
        }

        #[test]
        fn a_recording_cut_off_anywhere_begins_like_the_whole(
            pieces in pieces(), at in any::<prop::sample::Index>(),
        ) {
            let whole = recording(&pieces);
            let cut = at.index(whole.len() - HEADER.len()) + HEADER.len() + 1;
            let whole = entries(whole.as_bytes());
            let part = entries(&recording(&pieces).as_bytes()[..cut]);
            let is_whole =
                |timed: &&Timed| matches!(&timed.entry, Entry::Line(line) if line.end == LineEnd::LineFeed);
            let whole: Vec<_> = whole.iter().filter(is_whole).collect();
            let part: Vec<_> = part.iter().filter(is_whole).collect();
            prop_assert!(whole.starts_with(&part));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            lines in prop::collection::vec(
                prop_oneof![
                    Just(b"[18446744073709551615,\"<\",\"x\"]".to_vec()),
                    Just(b"[1,\">\",null]".to_vec()),
                    Just(b"[1,\"e\",\"\\ud83d\"]".to_vec()),
                    Just(b"[1,\"<\",\"eA\",\"base64\"]".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..40),
                ],
                0..20,
            ),
            pieces in pieces(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let mut bytes = recording(&pieces).into_bytes();
            bytes.extend_from_slice(&lines.join(&b'\n'));
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok((_, mut lines)) = Lines::open(bytes.as_slice()) {
                // Each entry takes at least a byte of the file, but for the unfinished lines.
                let mut left = bytes.len() + 3;
                while lines.next().unwrap().is_some() {
                    left = left.checked_sub(1).expect("it ends");
                }
            }
        }
    }
}
