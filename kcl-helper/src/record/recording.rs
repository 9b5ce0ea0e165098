//! The recording itself: a file of JSON lines for each process.
//!
//! [`crate::recording`] describes the format, and reads it. An event is a line of a stream, or a part of one
//! if it came in parts. Invalid UTF-8 is written as base64; a character that was split between two reads is
//! joined first. So every byte can be recovered, and nearly all can be read.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Pid;
use serde::Serialize;

use super::options::Options;
use super::redact::{Fingerprints, Redactor};
use crate::files::{create_private_dir, create_private_file};
use crate::output::Reporter;
use crate::recording::{ENCODED, EXIT, NOTE, Stream, VERSION};
use crate::secret::Masked;
use crate::text::json;

/// The first line of a recording. It has no environment variables: their names would not help, and their
/// values may be secret.
#[derive(Debug, Serialize)]
struct Header<'a> {
    /// The version of this format.
    version: u64,
    kcl_helper: &'a str,
    command: Vec<String>,
    started: String,
    redacted: bool,
}

/// The recording of one process, shared by the threads of its pipes.
#[derive(Debug)]
pub(super) struct Recorder {
    recording: Mutex<Option<Recording<File>>>,
    reporter: Reporter,
}

impl Recorder {
    /// Starts a recording. If that fails, it warns, and nothing is recorded.
    pub(super) fn start(options: &Options, pid: Pid, reporter: &Reporter) -> Recorder {
        let recording = begin(options, pid).inspect_err(|error| {
            let folder = options.folder.display();
            reporter.warn(&format!("cannot record to {folder}: {error}"));
        });
        Recorder { recording: Mutex::new(recording.ok()), reporter: reporter.clone() }
    }

    pub(super) fn write(&self, stream: Stream, piece: Option<&[u8]>) {
        let mut recording = self.lock();
        if let Some(Err(error)) = recording.as_mut().map(|recording| recording.write(stream, piece))
        {
            *recording = None;
            self.cut_short(&error);
        }
    }

    /// Writes how the program ended, as the last line.
    pub(super) fn end(&self, how: &str) {
        // Under one lock, because stdin may still be recorded.
        let mut recording = self.lock();
        if let Some(mut recording) = recording.take() {
            recording.end(how).unwrap_or_else(|error| self.cut_short(&error));
        }
    }

    fn cut_short(&self, error: &io::Error) {
        self.reporter.warn(&format!("cannot write to the recording, so it ends: {error}"));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recording<File>>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(options: &Options, pid: Pid) -> io::Result<Recording<File>> {
    create_private_dir(&options.folder)?;
    let now = SystemTime::now();
    // Some programs give colons in file names a meaning.
    let name = humantime::format_rfc3339_seconds(now).to_string().replace(':', "-");
    let name = format!("{name}-{}", pid.as_raw_nonzero());
    // Process IDs are reused.
    let names = (1..1000).map(|n| if n == 1 { name.clone() } else { format!("{name}-{n}") });
    let mut opened = Err(io::ErrorKind::AlreadyExists.into());
    for name in names {
        let path = options.folder.join(name + ".jsonl");
        opened = create_private_file(&path);
        if !matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            break;
        }
    }
    let fingerprints = options.redact.then(Fingerprints::new).transpose()?;
    let program = &options.program;
    let mut command: Vec<String> = program.shown_words().iter().map(Masked::to_string).collect();
    if let Some(fingerprints) = &fingerprints {
        command.truncate(1);
        command.extend(program.args.iter().map(|word| fingerprints.of(word.as_encoded_bytes())));
    }
    let header = Header {
        version: VERSION,
        kcl_helper: env!("CARGO_PKG_VERSION"),
        command,
        started: humantime::format_rfc3339_micros(now).to_string(),
        redacted: options.redact,
    };
    let mut recording = Recording::new(opened?, options.max_size, fingerprints.as_ref());
    recording.header(&header)?;
    Ok(recording)
}

/// Stores a recording. It appends all of the lines or none.
pub(super) trait Store {
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
}

impl Store for File {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let before = io::Seek::stream_position(self)?;
        self.write_all(lines).inspect_err(|_| {
            // A full disk may have taken a part of them.
            let _ = self.set_len(before);
        })
    }
}

#[derive(Debug)]
struct Recording<S> {
    store: S,
    /// How many bytes still fit.
    left: u64,
    is_full: bool,
    last: Instant,
    /// One for each stream.
    redactors: Option<[Redactor; 3]>,
    /// The first bytes of an incomplete character of each stream.
    unfinished: [Vec<u8>; 3],
}

impl<S: Store> Recording<S> {
    fn new(store: S, max_size: u64, redact: Option<&Fingerprints>) -> Recording<S> {
        let redactors = redact.map(|key| std::array::from_fn(|_| Redactor::new(key.clone())));
        let last = Instant::now();
        Recording {
            store,
            left: max_size,
            is_full: false,
            last,
            redactors,
            unfinished: Default::default(),
        }
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let line = format!("{}\n", json(header)?);
        self.append(line.as_bytes())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.store.append(lines)?;
        self.left = self.left.saturating_sub(lines.len() as u64);
        Ok(())
    }

    fn write(&mut self, stream: Stream, piece: Option<&[u8]>) -> io::Result<()> {
        if self.is_full {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.unfinished[stream as usize]);
        let mut lines = Lines { text: Vec::new(), since: self.micros(), stream };
        match (&mut self.redactors, piece) {
            (Some(redactors), Some(piece)) => redactors[stream as usize].feed(piece, &mut bytes),
            (Some(redactors), None) => redactors[stream as usize].finish(&mut bytes),
            (None, _) => bytes.extend_from_slice(piece.unwrap_or_default()),
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match std::str::from_utf8(line) {
                Ok(text) => lines.text(text)?,
                Err(error) if error.error_len().is_none() && piece.is_some() => {
                    let (valid, rest) = line.split_at(error.valid_up_to());
                    self.unfinished[stream as usize] = rest.to_vec();
                    if !valid.is_empty() {
                        lines.text(&String::from_utf8_lossy(valid))?;
                    }
                }
                Err(_) => lines.base64(line)?,
            }
        }
        if piece.is_none() {
            lines.end()?;
        }
        if lines.text.len() as u64 > self.left {
            self.is_full = true;
            let note = event(lines.since, NOTE, "the recording is full, see --max-size")?;
            return self.append(&note);
        }
        self.append(&lines.text)
    }

    fn end(&mut self, how: &str) -> io::Result<()> {
        let line = event(self.micros(), EXIT, how)?;
        self.append(&line)
    }

    fn micros(&mut self) -> u128 {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.last).as_micros();
        // Not `now`, so that fractions of a microsecond add up.
        self.last += std::time::Duration::from_micros(since as u64);
        since
    }
}

fn event(micros: u128, letter: &str, text: &str) -> io::Result<Vec<u8>> {
    Ok(format!("{}\n", json(&(micros, letter, text))?).into_bytes())
}

/// The events of one piece.
struct Lines {
    text: Vec<u8>,
    since: u128,
    stream: Stream,
}

impl Lines {
    fn text(&mut self, text: &str) -> io::Result<()> {
        self.push(|since, letter| json(&(since, letter, text)))
    }

    fn base64(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = BASE64.encode(bytes);
        self.push(|since, letter| json(&(since, letter, text, ENCODED)))
    }

    fn end(&mut self) -> io::Result<()> {
        self.push(|since, letter| json(&(since, letter, ())))
    }

    fn push(
        &mut self,
        event: impl FnOnce(u128, &str) -> serde_json::Result<String>,
    ) -> io::Result<()> {
        self.text.extend_from_slice(event(self.since, self.stream.letter())?.as_bytes());
        self.text.push(b'\n');
        self.since = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::recording::{Entry, LineEnd};

    /// Stores up to `room` bytes.
    #[derive(Debug, Default)]
    struct Limited {
        lines: Vec<u8>,
        room: usize,
    }

    impl Store for Limited {
        fn append(&mut self, lines: &[u8]) -> io::Result<()> {
            if lines.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= lines.len();
            self.lines.extend_from_slice(lines);
            Ok(())
        }
    }

    fn recording(max_size: u64) -> Recording<Limited> {
        Recording::new(Limited { room: usize::MAX, ..Limited::default() }, max_size, None)
    }

    /// Returns the events without their times.
    fn events(recording: &Recording<Limited>) -> Vec<Value> {
        let lines =
            recording.store.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut events: Vec<Value> =
            lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect();
        for event in &mut events {
            assert!(event[0].is_u64(), "{event}");
            event.as_array_mut().expect("an array").remove(0);
        }
        events
    }

    fn json(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line.trim()).expect("it is JSON")).collect()
    }

    #[test]
    fn event_is_a_line_or_a_part_of_one() {
        let mut recording = recording(1 << 20);
        for piece in
            [b"one\ntwo\nthr".as_slice(), b"ee\n\xc3", b"\xbc\n", b"\xff\xc3\n", b"\xe2\x82"]
        {
            recording.write(Stream::Stdin, Some(piece)).expect("there is room");
        }
        recording.write(Stream::Stderr, Some(b"\xc3\n\x1b[0m\"")).expect("there is room");
        recording.write(Stream::Stdin, None).expect("there is room");
        recording.write(Stream::Stdout, None).expect("there is room");
        recording.end("exit status 0").expect("there is room");
        let expected = json(
            r#"["<","one\n"]
            ["<","two\n"]
            ["<","thr"]
            ["<","ee\n"]
            ["<","ü\n"]
            ["<","/8MK","base64"]
            ["e","wwo=","base64"]
            ["e","\u001b[0m\""]
            ["<","4oI=","base64"]
            ["<",null]
            [">",null]
            ["x","exit status 0"]"#,
        );
        assert_eq!(events(&recording), expected);
    }

    #[test]
    fn full_recording_ends_with_a_note_and_the_status() {
        let mut recording = recording(60);
        for _ in 0..100 {
            recording.write(Stream::Stdout, Some(b"0123456789\n")).expect("there is room");
        }
        recording.end("signal 9, SIGKILL").expect("there is room");
        let expected = json(
            r#"[">","0123456789\n"]
            [">","0123456789\n"]
            ["!","the recording is full, see --max-size"]
            ["x","signal 9, SIGKILL"]"#,
        );
        assert_eq!(events(&recording), expected);
    }

    #[test]
    fn full_disk_is_an_error() {
        let mut recording = Recording::new(Limited::default(), 1 << 20, None);
        let error = recording.write(Stream::Stdout, Some(b"x")).expect_err("there is no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn nothing_is_written_after_the_end() {
        kcl_fixtures::fail_if_it_hangs();
        use std::sync::Barrier;

        let folder = tempfile::tempdir().expect("a folder");
        for round in 0..300 {
            let path = folder.path().join(round.to_string());
            let recording = Recording::new(File::create(&path).expect("a file"), u64::MAX, None);
            let recorder =
                Recorder { recording: Mutex::new(Some(recording)), reporter: Reporter::new() };
            let begun = Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 1..4 {
                    scope.spawn(|| {
                        begun.wait();
                        while recorder.lock().is_some() {
                            recorder.write(Stream::Stdin, Some(b"late\n"));
                        }
                    });
                }
                begun.wait();
                recorder.end("exit status 0");
            });
            let text = std::fs::read_to_string(&path).expect("it is there");
            let last = text.lines().last().unwrap_or_default();
            assert!(last.ends_with(r#","x","exit status 0"]"#), "{last}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_can_be_recovered(
            pieces in prop::collection::vec(
                (0..3usize, prop::collection::vec(
                    prop_oneof![Just(b'\n'), Just(0xc3), Just(0xbc), Just(0xf0), any::<u8>()], 0..30,
                )),
                0..30,
            ),
        ) {
            let mut recording = recording(u64::MAX);
            let header = Header {
                version: VERSION,
                kcl_helper: "0.1.0",
                command: vec!["./app".into()],
                started: "2026-11-25T10:00:00Z".into(),
                redacted: false,
            };
            recording.header(&header).expect("there is room");
            let mut said = [const { Vec::new() }; 3];
            for (which, piece) in &pieces {
                said[*which].extend_from_slice(piece);
                recording.write(Stream::ALL[*which], Some(piece)).expect("there is room");
            }
            let mut recorded = [const { Vec::new() }; 3];
            for stream in Stream::ALL {
                recording.write(stream, None).expect("there is room");
            }
            let file = recording.store.lines.as_slice();
            let (_, mut lines) = crate::recording::Lines::open(file).expect("it is a recording");
            while let Some(timed) = lines.next().expect("memory can be read") {
                let line = match timed.entry {
                    Entry::Line(line) => line,
                    Entry::StreamEnded(_) => continue,
                    other => panic!("{other:?}"),
                };
                recorded[line.stream as usize].extend_from_slice(&line.bytes);
                if line.end == LineEnd::LineFeed {
                    recorded[line.stream as usize].push(b'\n');
                }
            }
            prop_assert_eq!(recorded, said);
        }
    }
}
