//! The parser of `.properties` files. It is compiled into this crate, since kcl-helper has no
//! library: `properties_file.rs` is a symbolic link to it, which `cargo package` follows.

#[allow(dead_code, unreachable_pub, reason = "kcl-helper uses the rest")]
#[path = "properties_file.rs"]
mod file;

/// Any bytes are parsed or rejected, and what was parsed can be written and parsed again.
pub(crate) fn read(bytes: &[u8]) {
    match file::File::parse(bytes) {
        Err(error) => {
            assert!(!error.span.is_empty() && error.span.end <= bytes.len());
            assert_eq!(bytes[error.span.start], b'\\');
        }
        Ok(read) => {
            let mut written = String::new();
            for entry in read.entries() {
                assert!(entry.value.span().end <= bytes.len());
                assert!(entry.key.span().end <= entry.value.span().start);
                written += &file::line_of_units(&entry.key.units(), &entry.value.units());
            }
            let again = file::File::parse(written.as_bytes());
            let again = again.as_ref().map_or(&[][..], file::File::entries);
            assert_eq!(again.len(), read.entries().len(), "{written}");
            for (again, entry) in again.iter().zip(read.entries()) {
                assert_eq!(again.key.units(), entry.key.units());
                assert_eq!(again.value.units(), entry.value.units());
            }
        }
    }
}
