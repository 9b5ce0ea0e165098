//! Payloads: standard base64 with padding, decoded in place.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::engine::Engine;
use base64::{DecodeError, DecodeSliceError};

use crate::DecodeErrorKind;

/// How much is decoded at a time, at least: whole groups of four.
const CHUNK: usize = 2048;

/// Up to so many letters are decoded beside their text, from where the bytes are copied back: for
/// more than these it is faster to copy the letters first.
const SMALL: usize = 512;

/// Memory for copies, so that it is not prepared anew for each payload.
pub(super) struct Scratch(Box<[u8; CHUNK]>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Box::new([0; CHUNK]))
    }
}

/// Decodes `text` onto its own beginning and gives the decoded part.
pub(super) fn decode_in_place<'a>(
    text: &'a mut [u8],
    scratch: &mut Scratch,
) -> Result<&'a mut [u8], DecodeErrorKind> {
    match decode_pieces(text, scratch) {
        Ok(written) => Ok(&mut text[..written]),
        Err(failed) => Err(not_base64(failed.error, failed.read)),
    }
}

/// Decodes `text` onto its own beginning and gives the decoded part's length; `None`, with the text
/// as it was, if it is not base64.
#[inline]
pub(super) fn try_decode_in_place(text: &mut [u8], scratch: &mut Scratch) -> Option<usize> {
    match decode_pieces(text, scratch) {
        Ok(written) => Some(written),
        Err(failed) => {
            restore(&mut text[..failed.read], failed.written, scratch);
            None
        }
    }
}

/// Makes a text what it was before it was decoded to so many bytes: each payload has one encoding,
/// as the decoder takes no other padding and no bits left over.
pub(super) fn restore(text: &mut [u8], written: usize, Scratch(copy): &mut Scratch) {
    // From behind, as letters take more room than what they stand for: what is still to be encoded
    // stands before the place where its letters belong.
    const PIECE: usize = CHUNK / 4 * 3;
    let engine = engine();
    let mut end = text.len();
    for piece in (0..written.div_ceil(PIECE)).rev() {
        let bytes = piece * PIECE..written.min((piece + 1) * PIECE);
        let copy = &mut copy[..bytes.len()];
        copy.copy_from_slice(&text[bytes]);
        let start = piece * CHUNK;
        let encoded = engine.encode_slice(copy, &mut text[start..end]);
        debug_assert_eq!(
            encoded,
            Ok(end - start),
            "padded base64 has four letters for three bytes"
        );
        end = start;
    }
}

/// All before `read` is decoded, to `written` bytes; all behind it is as it was.
struct Failed {
    error: DecodeError,
    read: usize,
    written: usize,
}

/// Three bytes take the place of four, so behind the first piece, which is decoded from a copy,
/// there is a gap; from then on as much is decoded at once as the gap between what is written and
/// what is still to be read has room for.
fn decode_pieces(text: &mut [u8], Scratch(copy): &mut Scratch) -> Result<usize, Failed> {
    let engine = engine();
    if text.len() <= SMALL {
        // What fails leaves the text alone.
        let copy = &mut copy[..decoded_len(text.len())];
        let failed = |error| Failed { error, read: 0, written: 0 };
        let written = decode(engine, text, copy, true).map_err(failed)?;
        text[..written].copy_from_slice(&copy[..written]);
        return Ok(written);
    }
    let (mut read, mut written) = (0, 0);
    while read < text.len() {
        let remaining = text.len() - read;
        let gap = read - written;
        let length = remaining.min((gap / 3 * 4).max(CHUNK));
        let is_last = length == remaining;
        let decoded = if decoded_len(length) <= gap {
            let (before, after) = text.split_at_mut(read);
            decode(engine, &after[..length], &mut before[written..], is_last)
        } else {
            // A piece longer than a chunk is one that fits the gap.
            let copy = &mut copy[..length];
            let piece = read..read + length;
            copy.copy_from_slice(&text[piece.clone()]);
            decode(engine, copy, &mut text[written..piece.end], is_last)
                .inspect_err(|_| text[piece].copy_from_slice(copy))
        };
        written += decoded.map_err(|error| Failed { error, read, written })?;
        read += length;
    }
    Ok(written)
}

/// Appends the payload as base64.
pub(super) fn encode(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // A payload is far shorter than a quarter of the address space, so this does not overflow.
    let length = data.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    let written = engine().encode_slice(data, &mut out[start..]);
    debug_assert_eq!(written, Ok(length), "padded base64 has four letters for three bytes");
}

/// Decodes one piece. Only the last may be padded or end within a group.
fn decode(
    engine: &impl Engine,
    text: &[u8],
    out: &mut [u8],
    is_last: bool,
) -> Result<usize, DecodeError> {
    if !is_last && let Some(offset) = memchr::memchr(b'=', text) {
        return Err(DecodeError::InvalidByte(offset, b'='));
    }
    engine.decode_slice(text, out).map_err(|error| match error {
        DecodeSliceError::DecodeError(error) => error,
        // The room was computed; were it too small, the length would be what is wrong.
        DecodeSliceError::OutputSliceTooSmall => DecodeError::InvalidLength(text.len()),
    })
}

/// The most bytes that so many letters decode to.
fn decoded_len(letters: usize) -> usize {
    letters.div_ceil(4) * 3
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

/// The library's engine for the best instructions that this processor has.
#[cfg(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn engine() -> &'static impl Engine {
    use base64::engine::Simd;
    use base64::engine::general_purpose::PAD;

    static ENGINE: std::sync::LazyLock<Simd> = std::sync::LazyLock::new(|| Simd::standard(PAD));
    &*ENGINE
}

/// Without `std` the processor cannot be asked what it has.
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

    /// What the library says of the whole text at once.
    fn oracle(text: &[u8]) -> Result<Vec<u8>, DecodeErrorKind> {
        STANDARD.decode(text).map_err(|error| not_base64(error, 0))
    }

    fn ours(text: &[u8]) -> Result<Vec<u8>, DecodeErrorKind> {
        decode_in_place(&mut text.to_vec(), &mut Scratch::default()).map(|decoded| decoded.to_vec())
    }

    proptest! {
        #[test]
        fn decoding_in_place_gives_what_the_library_gives(data in vec(any::<u8>(), 0..20_000)) {
            let mut text = Vec::new();
            encode(&data, &mut text);
            let expected = STANDARD.encode(&data).into_bytes();
            prop_assert_eq!(&text, &expected);
            prop_assert_eq!(ours(&text), Ok(data));
        }

        #[test]
        fn a_damaged_text_gives_the_librarys_error(
            data in vec(any::<u8>(), 1..8_000),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
            cut in 0..5_usize,
        ) {
            let mut text = STANDARD.encode(&data).into_bytes();
            for (at, byte) in damage {
                *at.get_mut(&mut text) = byte;
            }
            text.truncate(text.len().saturating_sub(cut));
            match (ours(&text), oracle(&text)) {
                (Ok(ours), Ok(oracle)) => prop_assert_eq!(ours, oracle),
                (Err(_), Err(_)) => {}
                (ours, oracle) => prop_assert!(false, "{ours:?} is not {oracle:?}"),
            }
        }

        #[test]
        fn one_wrong_letter_is_found_where_it_is(
            data in vec(any::<u8>(), 3..8_000),
            at in any::<prop::sample::Index>(),
        ) {
            let mut text = STANDARD.encode(&data).into_bytes();
            let length = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
            text[at.index(length)] = b'!';
            prop_assert_eq!(ours(&text), oracle(&text));
        }
    }
}
