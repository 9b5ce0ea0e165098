//! The parser of `.properties` files, which kcl-helper exports for this target.

use kcl_helper::fuzzing::{File, line_of_units};

/// Any bytes are parsed or rejected, and what was parsed can be written and parsed again.
pub(crate) fn read(bytes: &[u8]) {
    match File::parse(bytes) {
        Err(error) => {
            assert!(!error.span.is_empty() && error.span.end <= bytes.len());
            assert_eq!(bytes[error.span.start], b'\\');
        }
        Ok(read) => {
            let mut written = String::new();
            for entry in read.entries() {
                assert!(entry.value.span().end <= bytes.len());
                assert!(entry.key.span().end <= entry.value.span().start);
                written += &line_of_units(&entry.key.units(), &entry.value.units());
            }
            let again = File::parse(written.as_bytes());
            let again = again.as_ref().map_or(&[][..], File::entries);
            assert_eq!(again.len(), read.entries().len(), "{written}");
            for (again, entry) in again.iter().zip(read.entries()) {
                assert_eq!(again.key.units(), entry.key.units());
                assert_eq!(again.value.units(), entry.value.units());
            }
        }
    }
}
