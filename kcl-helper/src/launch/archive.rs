//! archive
use std::path::PathBuf;

use super::jars::Jars;
use super::java::Java;

pub(crate) fn present(_jars: &Jars, _java: &Java) -> Option<PathBuf> {
    None
}
