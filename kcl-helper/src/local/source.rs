//! Where the records come from: a file, stdin, or the sample text in this program.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Exit, Result};

/// The largest record that Kinesis accepts, if a stream allows it.
pub(crate) const MAX_RECORD: usize = 10 << 20;
/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// The project's own words, one a line.
const SAMPLE: &[u8] = include_bytes!("sample.txt");

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Sample,
    Stdin,
    File(PathBuf),
}

/// An open source. Later changes of its path make no difference.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Text(&'static [u8]),
    /// A regular file, which can be read again from any offset.
    File(Arc<File>),
    /// A pipe or a device.
    Stream(Arc<File>),
    Stdin,
}

impl Source {
    /// Returns its name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Sample => "the sample text".into(),
            Source::Stdin => "stdin".into(),
            Source::File(path) => path.display().to_string(),
        }
    }

    pub(crate) fn open(&self) -> Result<Input> {
        let path = match self {
            Source::Sample => return Ok(Input::Text(SAMPLE)),
            Source::Stdin => return Ok(Input::Stdin),
            Source::File(path) => path,
        };
        let file = File::open(path).map_err(|error| self.cannot_read().because(error))?;
        let kind = file.metadata().map_err(|error| self.cannot_read().because(error))?.file_type();
        if kind.is_dir() {
            return Err(self.cannot_read().because("it is a folder"));
        }
        let file = Arc::new(file);
        Ok(if kind.is_file() { Input::File(file) } else { Input::Stream(file) })
    }

    pub(crate) fn cannot_read(&self) -> Error {
        Error::new(Exit::Usage, format!("cannot read {}", self.name()))
    }
}

impl Input {
    /// Whether it can be read again from any offset.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self, Input::Text(_) | Input::File(_))
    }

    /// Returns its length in bytes, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Input::Text(text) => Some(text.len() as u64),
            Input::File(file) => file.metadata().ok().map(|data| data.len()),
            Input::Stream(_) | Input::Stdin => None,
        }
    }

    /// Returns a reader that begins at this offset, or where a pipe or device is.
    pub(crate) fn reader(&self, offset: u64) -> Box<dyn Read + Send> {
        match self {
            Input::Text(_) | Input::File(_) => Box::new(Repeated { input: self.clone(), offset }),
            Input::Stream(file) => Box::new(file.clone()),
            Input::Stdin => Box::new(io::stdin()),
        }
    }

    /// Reads at this offset. The input must be [repeatable](Self::is_repeatable).
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut reader = Repeated { input: self.clone(), offset };
        reader.read_exact(buffer)
    }
}

/// Reads a repeatable input from an offset of its own.
struct Repeated {
    input: Input,
    offset: u64,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.input {
            Input::Text(text) => {
                let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
                text.get(offset..).unwrap_or_default().read(buffer)?
            }
            Input::File(file) => match file.read_at(buffer, self.offset)? {
                // It is no longer the file whose beginning was read.
                0 if file.metadata()?.len() < self.offset => {
                    return Err(io::Error::other("it became shorter while it was read"));
                }
                count => count,
            },
            Input::Stream(_) | Input::Stdin => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.offset += count as u64;
        Ok(count)
    }
}

impl From<&Path> for Source {
    /// `-` is stdin.
    fn from(path: &Path) -> Source {
        if path == Path::new("-") { Source::Stdin } else { Source::File(path.into()) }
    }
}

/// Splits an input into lines, without LF or CR LF. Blank lines count.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// `buffer[start..filled]` has been read and not handed out.
    start: usize,
    filled: usize,
    /// There is no LF in `buffer[start..searched]`.
    searched: usize,
    /// The number of the last line that was read, counted from 1.
    number: u64,
    position: u64,
    ended: bool,
    /// No LF follows the last line.
    is_unfinished: bool,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum LinesError {
    Io(io::Error),
    /// This line is longer than a record may be.
    TooLong(u64),
    Mismatch(Mismatch),
}

impl From<Mismatch> for LinesError {
    fn from(mismatch: Mismatch) -> LinesError {
        LinesError::Mismatch(mismatch)
    }
}

impl From<io::Error> for LinesError {
    fn from(error: io::Error) -> LinesError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
            Some(mismatch) => LinesError::Mismatch(*mismatch),
            None => LinesError::Io(error),
        }
    }
}

impl<R: Read> Lines<R> {
    #[cfg(test)]
    fn new(reader: R) -> Lines<R> {
        Lines::behind(reader, 0, 0)
    }

    /// For a reader that begins after so many lines, which have so many bytes.
    pub(crate) fn behind(reader: R, lines: u64, bytes: u64) -> Lines<R> {
        Lines {
            reader,
            buffer: vec![0; CHUNK],
            start: 0,
            filled: 0,
            searched: 0,
            number: lines,
            position: bytes,
            ended: false,
            is_unfinished: false,
        }
    }

    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// Returns the number of the last line, if the input ended without an LF.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        self.is_unfinished.then_some(self.number)
    }

    /// Returns the number of the last line that was read, counted from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the offset of what is read next.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads once and calls `each` for every line that is complete by then, with its number. Returns
    /// `false` when the input has ended.
    pub(crate) fn read<'a>(
        &'a mut self,
        mut each: impl FnMut(u64, &'a [u8]),
    ) -> Result<bool, LinesError> {
        if self.ended {
            return Ok(false);
        }
        self.make_room();
        let count = loop {
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += count;
        self.position += count as u64;
        self.ended = count == 0;
        let searched = self.searched;
        for offset in memchr::memchr_iter(b'\n', &self.buffer[self.searched..self.filled]) {
            let lf = searched + offset;
            let line = &self.buffer[self.start..lf];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.number += 1;
            if line.len() > MAX_RECORD {
                return Err(LinesError::TooLong(self.number));
            }
            each(self.number, line);
            self.start = lf + 1;
        }
        self.searched = self.filled;
        let rest = &self.buffer[self.start..self.filled];
        // One byte more may be the CR of a line end.
        if rest.len() > MAX_RECORD + usize::from(!self.ended) {
            return Err(LinesError::TooLong(self.number + 1));
        }
        if self.ended && !rest.is_empty() {
            self.number += 1;
            self.is_unfinished = true;
            each(self.number, rest);
            self.start = self.filled;
        }
        Ok(!self.ended)
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

/// The input is not the one that a checkpoint covers up to the end of this line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    #[error("the input differs at or before line {0}")]
    Changed(u64),
    #[error("the input ends before line {0} does")]
    Shorter(u64),
    #[error("the input has grown after line {0}")]
    Grown(u64),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads these numbers of bytes at a time, again and again.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let next = self.1.first().copied().unwrap_or(1).max(1).min(out.len()).min(self.0.len());
            let by = usize::from(!self.1.is_empty());
            self.1.rotate_left(by);
            let (now, later) = self.0.split_at(next);
            out[..next].copy_from_slice(now);
            self.0 = later;
            Ok(next)
        }
    }

    fn lines(bytes: &[u8], pieces: Vec<usize>) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Lines::new(Pieces(bytes, pieces));
        let mut all = Vec::new();
        while lines.read(|number, line| all.push((number, line.to_vec()))).unwrap() {}
        all
    }

    #[test]
    fn line_ends_are_lf_or_cr_lf() {
        let texts =
            |bytes| lines(bytes, vec![]).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(texts(b""), [b""; 0]);
        assert_eq!(texts(b"\n"), [b""]);
        assert_eq!(texts(b"a\r\n\r\nb\rc\nlast\r"), [&b"a"[..], b"", b"b\rc", b"last\r"]);
    }

    proptest! {
        #[test]
        fn any_split_of_reads_gives_the_same_records(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
            pieces in prop::collection::vec(1..50usize, 1..9),
        ) {
            // The obvious way: the text between the LFs, without a CR before each.
            let mut expected: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let last = expected.pop().unwrap();
            for line in &mut expected {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
            }
            if !last.is_empty() {
                expected.push(last);
            }
            let expected: Vec<_> = (1..).zip(expected).collect();
            prop_assert_eq!(lines(&bytes, pieces), expected);
        }
    }

    #[test]
    fn file_that_shrinks_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let mut reader = Source::File(path.clone()).open().unwrap().reader(0);
        let mut buffer = [0; 100];
        assert_eq!(reader.read(&mut buffer).unwrap(), 8);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        File::options().write(true).open(&path).unwrap().set_len(7).unwrap();
        let error = reader.read(&mut buffer).unwrap_err();
        assert_eq!(error.to_string(), "it became shorter while it was read");
    }

    #[test]
    fn line_that_is_too_long_is_reported_with_its_number() {
        for end in ["", "\n", "\r\n", "\nmore"] {
            let fits = format!("one\n{}{end}", "x".repeat(MAX_RECORD));
            let mut count = 0;
            let mut reader = Lines::new(fits.as_bytes());
            while reader.read(|_, _| count += 1).unwrap() {}
            assert_eq!(count, 2 + usize::from(end == "\nmore"));

            let too_long = format!("one\n{}{end}", "x".repeat(MAX_RECORD + 1));
            let mut reader = Lines::new(too_long.as_bytes());
            let error = loop {
                match reader.read(|_, _| {}) {
                    Ok(more) => assert!(more),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, LinesError::TooLong(2)), "{error:?}");
        }
    }

    #[test]
    fn sample_has_some_thousand_records() {
        let lines = lines(SAMPLE, vec![usize::MAX]);
        assert!((2_000..10_000).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|(_, line)| crate::kinesis::is_own_key(line)));
    }
}
