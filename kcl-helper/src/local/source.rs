//! Where the records come from: a file, stdin, or the text shipped in this program.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};

/// The largest record that Kinesis takes, where a stream allows it.
pub(crate) const MAX_RECORD: usize = 10 << 20;
/// How much of an input's beginning tells it from others.
const IDENTITY_PREFIX: usize = 64 << 10;
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

/// What tells an input from another one, so that checkpoints are not taken for those of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Identity {
    /// The absolute path; for the shipped text a name that is no path.
    pub(crate) path: String,
    /// How many bytes of its beginning are hashed. A file that has grown keeps its identity.
    prefix_bytes: usize,
    prefix_md5: String,
}

impl Source {
    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Sample => "the sample text".into(),
            Source::Stdin => "stdin".into(),
            Source::File(path) => path.display().to_string(),
        }
    }

    /// Whether it can be read again from its beginning. A pipe cannot, whatever its name.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Source::Sample => true,
            Source::Stdin => false,
            Source::File(path) => path.metadata().is_ok_and(|data| data.is_file()),
        }
    }

    /// How many bytes it has, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Source::Sample => Some(SAMPLE.len() as u64),
            Source::Stdin => None,
            Source::File(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len())
            }
        }
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Source::Sample => Ok(Box::new(SAMPLE)),
            Source::Stdin => Ok(Box::new(io::stdin())),
            Source::File(path) => {
                if path.is_dir() {
                    return Err(self.cannot_read().because("it is a folder"));
                }
                let file = File::open(path).map_err(|error| self.cannot_read().because(error))?;
                Ok(Box::new(file))
            }
        }
    }

    /// The identity as it would be with `prefix_bytes` hashed, or as many as are there.
    pub(crate) fn identity(&self, prefix_bytes: Option<usize>) -> Result<Identity> {
        let mut prefix = Vec::new();
        self.open()?
            .take(prefix_bytes.unwrap_or(IDENTITY_PREFIX).min(IDENTITY_PREFIX) as u64)
            .read_to_end(&mut prefix)
            .map_err(|error| self.cannot_read().because(error))?;
        let path = match self {
            Source::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .to_string_lossy()
                .into_owned(),
            Source::Sample => "kcl-helper's sample text".into(),
            Source::Stdin => "stdin".into(),
        };
        let prefix_md5 = super::shards::md5_hex(&prefix);
        debug_assert_eq!(prefix_md5.len(), 2 * Md5::output_size());
        Ok(Identity { path, prefix_bytes: prefix.len(), prefix_md5 })
    }

    pub(crate) fn cannot_read(&self) -> Error {
        Error::new(Exit::Usage, format!("cannot read {}", self.name()))
    }
}

impl Identity {
    pub(crate) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }
}

impl From<&Path> for Source {
    /// `-` is stdin.
    fn from(path: &Path) -> Source {
        if path == Path::new("-") { Source::Stdin } else { Source::File(path.into()) }
    }
}

/// Splits what a reader gives into lines, blank ones among them, without LF or CR LF.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// `buffer[start..filled]` has been read and not handed out.
    start: usize,
    filled: usize,
    /// No LF stands in `buffer[start..searched]`.
    searched: usize,
    /// The number of the last line handed out, counted from 1.
    number: u64,
    position: u64,
    ended: bool,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum LinesError {
    Io(io::Error),
    /// This line is longer than a record may be.
    TooLong(u64),
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines {
            reader,
            buffer: vec![0; CHUNK],
            start: 0,
            filled: 0,
            searched: 0,
            number: 0,
            position: 0,
            ended: false,
        }
    }

    /// The number of the last line that was given, counted from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads once, and gives every line that is complete by then to `each`, with its number.
    /// `false` when the input has ended and all of it was given.
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
                result => break result.map_err(LinesError::Io)?,
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
        // One byte more may still turn out to be the CR of a line's end.
        if rest.len() > MAX_RECORD + usize::from(!self.ended) {
            return Err(LinesError::TooLong(self.number + 1));
        }
        if self.ended && !rest.is_empty() {
            self.number += 1;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads as much at a time as it is told, in turn.
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
    fn ends_of_lines() {
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
            // The obvious way: the text between the LFs, less a CR before each.
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
    fn too_long_a_line_has_its_number() {
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
    fn the_sample_is_some_thousand_records() {
        let lines = lines(SAMPLE, vec![usize::MAX]);
        assert!((2_000..10_000).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|(_, line)| super::super::shards::is_own_key(line)));
    }
}
