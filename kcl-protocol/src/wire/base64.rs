//! Payloads: standard base64 with padding, decoded in place.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use base64::engine::Engine;
use base64::{DecodeError, DecodeSliceError};

use crate::DecodeErrorKind;

/// How many characters are decoded at a time through the scratch buffer: whole groups of four.
const CHUNK: usize = 2048;

/// How many bytes a chunk of characters decodes to.
const CHUNK_BYTES: usize = CHUNK / 4 * 3;

/// A buffer for one chunk, allocated and zeroed once.
pub(super) struct Scratch(Box<[u8; CHUNK_BYTES]>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Box::new([0; CHUNK_BYTES]))
    }
}

/// Decodes `text` to its own front and returns the decoded part.
pub(super) fn decode_in_place<'a>(
    text: &'a mut [u8],
    scratch: &mut Scratch,
) -> Result<&'a mut [u8], DecodeErrorKind> {
    match decode_to_front(text, scratch) {
        Ok(written) => Ok(&mut text[..written]),
        Err(failed) => Err(not_base64(failed.error, failed.read)),
    }
}

/// Decodes `text` to its own front and returns the length of the decoded part, or returns `None`
/// and leaves the text unchanged if it is not base64.
#[inline]
pub(super) fn try_decode_in_place(text: &mut [u8], scratch: &mut Scratch) -> Option<usize> {
    match decode_to_front(text, scratch) {
        Ok(written) => Some(written),
        Err(failed) => {
            restore(&mut text[..failed.read], failed.written, scratch);
            None
        }
    }
}

/// Encodes the first `decoded_length` bytes of a text again, so that it fills all of the text. That
/// is the text before it was decoded: the decoder accepts exactly one encoding of each payload.
pub(super) fn restore(text: &mut [u8], decoded_length: usize, Scratch(scratch): &mut Scratch) {
    // From the last chunk to the first, as the characters of a chunk end after its bytes do.
    for chunk in (0..decoded_length.div_ceil(CHUNK_BYTES)).rev() {
        let bytes = chunk * CHUNK_BYTES..decoded_length.min((chunk + 1) * CHUNK_BYTES);
        let scratch = &mut scratch[..bytes.len()];
        scratch.copy_from_slice(&text[bytes]);
        let encoded = engine().encode_slice(scratch, &mut text[chunk * CHUNK..]);
        debug_assert!(encoded.is_ok(), "the text has room for what it was decoded from");
    }
}

/// What stopped the decoder. Everything before `read` is decoded, to `written` bytes; everything
/// after it is still as it was.
struct Failed {
    error: DecodeError,
    read: usize,
    written: usize,
}

/// Decodes `text` to its own front.
#[inline]
fn decode_to_front(text: &mut [u8], scratch: &mut Scratch) -> Result<usize, Failed> {
    if text.len() > CHUNK {
        return decode_long(text, scratch);
    }
    decode_via_scratch(text, 0..text.len(), 0, scratch).map_err(|error| Failed {
        error,
        read: 0,
        written: 0,
    })
}

/// Decodes piece by piece.
///
/// A piece must not overlap the place where its bytes go. Bytes need less room than the characters
/// that they come from, so a gap opens after those that are decoded. A piece goes through the
/// scratch buffer until the gap has room for a whole chunk; from then on, as much as fits is
/// decoded into the gap.
#[inline(never)]
fn decode_long(text: &mut [u8], scratch: &mut Scratch) -> Result<usize, Failed> {
    let (mut read, mut written) = (0, 0);
    while read < text.len() {
        let fits_gap = (read - written) / 3 * 4;
        let end = text.len().min(read + fits_gap.max(CHUNK));
        let count = if end - read <= fits_gap {
            let is_last = end == text.len();
            let (front, rest) = text.split_at_mut(read);
            decode(&rest[..end - read], &mut front[written..], is_last)
        } else {
            decode_via_scratch(text, read..end, written, scratch)
        };
        written += count.map_err(|error| Failed { error, read, written })?;
        read = end;
    }
    Ok(written)
}

/// Decodes `text[piece]` and copies the bytes to `text[to..]`; changes nothing if it fails.
#[inline]
fn decode_via_scratch(
    text: &mut [u8],
    piece: Range<usize>,
    to: usize,
    Scratch(scratch): &mut Scratch,
) -> Result<usize, DecodeError> {
    let is_last = piece.end == text.len();
    let count = decode(&text[piece], &mut scratch[..], is_last)?;
    text[to..to + count].copy_from_slice(&scratch[..count]);
    Ok(count)
}

/// Appends the payload as base64.
pub(super) fn encode(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = data.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    let written = engine().encode_slice(data, &mut out[start..]);
    debug_assert_eq!(written, Ok(length), "padded base64 has four characters for three bytes");
}

/// Decodes one piece. Only the last piece may have padding or end within a group.
fn decode(text: &[u8], out: &mut [u8], is_last: bool) -> Result<usize, DecodeError> {
    if !is_last && let Some(offset) = memchr::memchr(b'=', text) {
        return Err(DecodeError::InvalidByte(offset, b'='));
    }
    engine().decode_slice(text, out).map_err(|error| match error {
        DecodeSliceError::DecodeError(error) => error,
        // `out` is large enough for every valid text of this length.
        DecodeSliceError::OutputSliceTooSmall => DecodeError::InvalidLength(text.len()),
    })
}

/// Describes the library's error, with offsets from the start of the payload. `start` is where the
/// text that the library saw begins.
fn not_base64(error: DecodeError, start: usize) -> DecodeErrorKind {
    DecodeErrorKind::Base64(match error {
        DecodeError::InvalidByte(offset, byte) => {
            format!("invalid byte `{}` at offset {}", byte.escape_ascii(), start + offset)
        }
        DecodeError::InvalidLength(length) => {
            format!("length {} is not a multiple of 4", start + length)
        }
        DecodeError::InvalidLastSymbol { offset, symbol, .. } => {
            let symbol = symbol.escape_ascii();
            format!("non-zero trailing bits in `{symbol}` at offset {}", start + offset)
        }
        DecodeError::InvalidPadding => String::from("padding is missing or wrong"),
    })
}

/// Returns the library's engine for the best instructions that this processor has.
#[cfg(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn engine() -> &'static impl Engine {
    use base64::engine::Simd;
    use base64::engine::general_purpose::PAD;

    static ENGINE: std::sync::LazyLock<Simd> = std::sync::LazyLock::new(|| Simd::standard(PAD));
    &*ENGINE
}

/// Without `std` the library cannot detect what the processor has.
#[cfg(not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn engine() -> &'static impl Engine {
    &base64::engine::general_purpose::STANDARD
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What the library makes of the whole text at once.
    fn expected(text: &[u8]) -> Result<Vec<u8>, DecodeErrorKind> {
        STANDARD.decode(text).map_err(|error| not_base64(error, 0))
    }

    fn ours(text: &[u8]) -> Result<Vec<u8>, DecodeErrorKind> {
        decode_in_place(&mut text.to_vec(), &mut Scratch::default()).map(|decoded| decoded.to_vec())
    }

    proptest! {
        #[test]
        fn decoding_in_place_equals_the_librarys_decoding(data in vec(any::<u8>(), 0..20_000)) {
            let mut text = Vec::new();
            encode(&data, &mut text);
            let expected = STANDARD.encode(&data).into_bytes();
            prop_assert_eq!(&text, &expected);
            prop_assert_eq!(ours(&text), Ok(data));
        }

        #[test]
        fn damaged_text_is_rejected_exactly_where_the_library_rejects_it(
            data in vec(any::<u8>(), 1..8_000),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
            cut in 0..5_usize,
        ) {
            let mut text = STANDARD.encode(&data).into_bytes();
            for (at, byte) in damage {
                *at.get_mut(&mut text) = byte;
            }
            text.truncate(text.len().saturating_sub(cut));
            match (ours(&text), expected(&text)) {
                (Ok(ours), Ok(expected)) => prop_assert_eq!(ours, expected),
                (Err(_), Err(_)) => {}
                (ours, expected) => prop_assert!(false, "{ours:?} is not {expected:?}"),
            }
        }

        #[test]
        fn an_invalid_byte_is_reported_at_its_offset(
            data in vec(any::<u8>(), 3..8_000),
            at in any::<prop::sample::Index>(),
        ) {
            let mut text = STANDARD.encode(&data).into_bytes();
            let length = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
            text[at.index(length)] = b'!';
            prop_assert_eq!(ours(&text), expected(&text));
        }
    }
}
