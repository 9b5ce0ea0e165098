//! Lines for a child's stdin.

use std::ops::Deref;
use std::sync::Arc;

/// A line to be written, with its line end: either our own, or one that many children get.
#[derive(Debug, Clone)]
pub(crate) enum OutgoingLine {
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Deref for OutgoingLine {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            OutgoingLine::Owned(line) => line,
            OutgoingLine::Shared(line) => line,
        }
    }
}
