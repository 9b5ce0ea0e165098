//! The first line of a recording.

use std::time::SystemTime;

use serde::Deserialize;

/// The format that this program reads and writes.
pub(crate) const VERSION: u64 = 1;

/// What a recording says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version of kcl-helper that wrote it.
    pub(crate) kcl_helper: String,
    /// The program and its arguments, with secrets masked.
    pub(crate) command: Vec<String>,
    /// `None` if the text is not a time.
    pub(crate) started: Option<SystemTime>,
    /// Whether payloads, keys and other texts are replaced by their lengths and hashes.
    pub(crate) redacted: bool,
}

/// Why this cannot be read as a recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("it is empty: nothing was recorded, or the recorder was killed as it began")]
    Empty,
    #[error("it is not a recording of kcl-helper: the first line is not its header")]
    NoHeader,
    #[error("its format has version {0}; this kcl-helper reads version {VERSION}")]
    Version(u64),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Fields that later versions may add are ignored.
#[derive(Deserialize)]
struct Written {
    version: u64,
    #[serde(default)]
    kcl_helper: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    started: String,
    #[serde(default)]
    redacted: bool,
}

impl Header {
    pub(super) fn parse(line: &[u8]) -> Result<Header, Invalid> {
        let written: Written = serde_json::from_slice(line).map_err(|_| Invalid::NoHeader)?;
        if written.version != VERSION {
            return Err(Invalid::Version(written.version));
        }
        Ok(Header {
            kcl_helper: written.kcl_helper,
            command: written.command,
            started: humantime::parse_rfc3339(&written.started).ok(),
            redacted: written.redacted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_header() {
        let line = br#"{"version":1,"kcl_helper":"0.1.0","command":["./app","-v"],
            "started":"2026-11-25T10:00:00.000001Z","redacted":true,"later":{}}"#;
        let header = Header::parse(line).unwrap();
        let since = header.started.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_micros(), 1_795_600_800_000_001);
        assert_eq!((header.command.len(), header.redacted), (2, true));

        let sparse = Header::parse(br#"{"version":1,"started":"soon"}"#).unwrap();
        assert_eq!((sparse.started, sparse.redacted), (None, false));
    }

    #[test]
    fn other_files_are_refused() {
        #[track_caller]
        fn check(line: &[u8], expected: &str) {
            assert_eq!(Header::parse(line).unwrap_err().to_string(), expected);
        }
        check(br#"{"version":2}"#, "its format has version 2; this kcl-helper reads version 1");
        let other = "it is not a recording of kcl-helper: the first line is not its header";
        for line in [b"".as_slice(), b"{}", b"[0,\"<\",\"\"]", b"\xff", b"{\"version\":\"1\"}"] {
            check(line, other);
        }
    }
}
