//! Eight bytes at a time, in one integer, without instructions that only some processors have.

use super::json::must_be_escaped;

/// Eight bytes, the first of them lowest.
#[derive(Clone, Copy)]
struct Word(u64);

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

const HIGH: u64 = all(0x80);

impl Word {
    fn new(bytes: [u8; 8]) -> Word {
        Word(u64::from_le_bytes(bytes))
    }

    /// How many bytes stand before the first for which [`is_plain`] says no.
    fn plain(self) -> usize {
        // A byte's high bit is set where it is 0x80 or more; where one less than it, and not it, has
        // that bit, so that it is 0, or stands behind a 0; and where it takes more than 0x5f to reach
        // that bit.
        let is_zero = |word: u64| word.wrapping_sub(all(1)) & !word;
        let is_control = !((self.0 & !HIGH) + all(0x80 - b' '));
        let marks =
            self.0 | is_zero(self.0 ^ all(b'"')) | is_zero(self.0 ^ all(b'\\')) | is_control;
        (marks & HIGH).trailing_zeros() as usize / 8
    }

    /// How many digits stand before anything else.
    fn digits(self) -> usize {
        // Digits become 0 to 9, and only what is more than 9 reaches the high bit, or has it.
        let value = self.0 ^ all(b'0');
        let marks = (((value & !HIGH) + all(0x80 - 10)) | value) & HIGH;
        marks.trailing_zeros() as usize / 8
    }

    /// The number that the first so many bytes are, which are digits.
    fn number(self, digits: usize) -> u64 {
        // What stands behind them is shifted out, and what comes in before them counts as zeros.
        let word = self.0.checked_shl(64 - 8 * digits as u32).unwrap_or(0);
        // Neighbours are joined: digits to two of them, these to four, and these to eight.
        let ones = word & all(0x0f);
        let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
        let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
        (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
    }
}

/// Whether a byte stands for itself in a string, as ASCII.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii() && !must_be_escaped(byte)
}

/// How many bytes stand before the first that does not stand for itself in a string, as ASCII.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
    count(text, Word::plain, is_plain)
}

/// How many digits a text begins with.
#[inline]
pub(super) fn digits(text: &[u8]) -> usize {
    count(text, Word::digits, |byte| byte.is_ascii_digit())
}

#[inline]
fn count(text: &[u8], in_word: impl Fn(Word) -> usize, is_one: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let count = in_word(Word::new(*word));
        if count < 8 {
            return index * 8 + count;
        }
    }
    words.len() * 8 + rest.iter().take_while(|byte| is_one(**byte)).count()
}

/// The number that a text begins with, and how many digits it has; of more than 19 digits, of which
/// not every number fits, the number means nothing.
#[inline]
pub(super) fn number(text: &[u8]) -> (usize, u64) {
    const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

    let (words, rest) = text.as_chunks();
    let (mut count, mut number) = (0, 0_u64);
    for word in words {
        let word = Word::new(*word);
        let digits = word.digits();
        count += digits;
        number = number.wrapping_mul(TENS[digits]).wrapping_add(word.number(digits));
        if digits < 8 {
            return (count, number);
        }
    }
    for digit in rest.iter().take_while(|byte| byte.is_ascii_digit()) {
        count += 1;
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit & 0x0f));
    }
    (count, number)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// Bytes near those that make a difference, and any.
    fn byte() -> impl Strategy<Value = u8> {
        let edges = b"\0\x1f !\"#/09:[\\]~\x7f\x80\xff\x22";
        prop_oneof![prop::sample::select(edges.to_vec()), b'0'..=b'9', any::<u8>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..Default::default() })]

        #[test]
        fn words_tell_what_bytes_tell(bytes in prop::array::uniform8(byte())) {
            let word = Word::new(bytes);
            let plain = bytes.iter().take_while(|byte| is_plain(**byte)).count();
            prop_assert_eq!(word.plain(), plain);
            let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(word.digits(), count);
        }

        #[test]
        fn texts_are_counted_to_the_first_other_byte(text in prop::collection::vec(byte(), 0..40)) {
            let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(digits(&text), count);
            let count = text.iter().take_while(|byte| is_plain(**byte)).count();
            prop_assert_eq!(plain(&text), count);
        }

        #[test]
        fn a_number_is_what_the_library_reads(
            value in 0..10_000_000_000_000_000_000_u64, shift in 0..64,
            behind in prop::collection::vec(byte(), 0..12),
        ) {
            let value: u64 = value >> shift;
            let mut text = value.to_string().into_bytes();
            let count = text.len();
            prop_assert_eq!(number(&text), (count, value));
            text.push(b',');
            text.extend(behind);
            prop_assert_eq!(number(&text), (count, value));
        }

        #[test]
        fn a_number_has_the_digits_that_are_counted(text in prop::collection::vec(byte(), 0..40)) {
            prop_assert_eq!(number(&text).0, digits(&text));
        }
    }

    #[test]
    fn each_byte_in_each_place() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = *b"01a~ 9!#";
                bytes[place] = byte;
                let count = if is_plain(byte) { 8 } else { place };
                assert_eq!(Word::new(bytes).plain(), count, "{byte} at {place}");
                let mut bytes = *b"01234567";
                bytes[place] = byte;
                let count = if byte.is_ascii_digit() { 8 } else { place };
                assert_eq!(Word::new(bytes).digits(), count, "{byte} at {place}");
            }
        }
    }
}
