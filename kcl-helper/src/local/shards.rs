//! Which shard a record belongs to, and its number there, as Kinesis would choose them.

use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
use md5::{Digest, Md5};
use twox_hash::XxHash3_128;

/// A checkpoint.
pub(crate) type Place = ExtendedSequenceNumber<'static>;

/// The most characters that Kinesis takes in a partition key.
const MAX_KEY_CHARS: usize = 256;
/// What every sequence number begins with: digits as Kinesis' own begin, up to the 20 at the end
/// that hold the line's number.
const NUMBER_PREFIX: &str = "490000000000000000000000000000000000";

/// Equal ranges of the 128-bit hashes, one a shard, split where Kinesis splits them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shards {
    count: u32,
    /// Every range has this width, but for the last, which takes the rest. Where there is but one,
    /// this is 1 less than its width.
    width: u128,
}

impl Shards {
    /// `count` must not be 0.
    pub(crate) fn new(count: u32) -> Shards {
        let count = count.max(1);
        // floor(2^128 / count), in 128 bits.
        let parts = u128::from(count);
        let rest_is_whole = u128::MAX % parts == parts - 1;
        let width = (u128::MAX / parts).saturating_add(u128::from(rest_is_whole));
        Shards { count, width }
    }

    /// The shard whose range has this hash.
    pub(crate) fn of_hash(self, hash: u128) -> u32 {
        // What the division leaves over at the end belongs to the last shard.
        u32::try_from(hash / self.width).unwrap_or(u32::MAX).min(self.count - 1)
    }

    /// The shard of a record with this key.
    pub(crate) fn of_key(self, key: &[u8]) -> u32 {
        if self.count == 1 { 0 } else { self.of_hash(u128::from_be_bytes(Md5::digest(key).into())) }
    }
}

/// The id of a shard, as Kinesis counts them.
pub(crate) fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

/// Where a shard without a checkpoint starts.
pub(crate) fn trim_horizon() -> Place {
    ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0)
}

/// The line as its own key, if it can be one.
pub(crate) fn own_key(line: &[u8]) -> Option<&str> {
    if line.is_empty() || line.len() > 4 * MAX_KEY_CHARS {
        return None;
    }
    std::str::from_utf8(line)
        .ok()
        .filter(|text| text.len() <= MAX_KEY_CHARS || text.chars().count() <= MAX_KEY_CHARS)
}

/// The key of a line that cannot be its own: 32 hex digits that depend on all of it. XXH3 takes a
/// twentieth of the time of MD5, which then has only the digits to hash.
pub(crate) fn digest_key(line: &[u8]) -> String {
    format!("{:032x}", XxHash3_128::oneshot(line))
}

/// The hex MD5 of these bytes.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(Md5::digest(bytes).into()))
}

/// Appends the sequence number of the record on this line, counted from 1: the same on every run,
/// 56 digits as Kinesis' own are.
pub(crate) fn push_sequence_number(line: u64, out: &mut String) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(line);
    out.push_str(NUMBER_PREFIX);
    // A 64-bit number has 20 digits at most.
    out.push_str(&"00000000000000000000"[digits.len()..]);
    out.push_str(digits);
}

/// The last line that a checkpoint at this place covers; 0 if none.
pub(crate) fn covered(place: &ExtendedSequenceNumber<'_>) -> u64 {
    let number = &place.sequence_number;
    if *number == kcl_protocol::SequenceNumber::SHARD_END {
        return u64::MAX;
    }
    let digits = number.as_str().trim_start_matches('0');
    if number.is_sentinel() || digits.len() < NUMBER_PREFIX.len() + 20 {
        return 0;
    }
    match digits.strip_prefix(NUMBER_PREFIX) {
        // 20 digits reach a little further than 64 bits.
        Some(line) if line.len() == 20 => line.parse().unwrap_or(u64::MAX),
        _ if digits.len() == NUMBER_PREFIX.len() + 20 && digits < NUMBER_PREFIX => 0,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use kcl_protocol::SequenceNumber;
    use proptest::prelude::*;

    use super::*;

    /// 128-bit numbers times small ones, digit by digit in base 2^32, as one does it on paper.
    fn times(number: u128, factor: u32) -> [u32; 5] {
        let mut product = [0; 5];
        let mut carry = 0;
        for (place, digit) in product.iter_mut().enumerate() {
            let of_number = if place < 4 { (number >> (32 * place)) as u32 } else { 0 };
            let sum = u64::from(of_number) * u64::from(factor) + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
        product.reverse();
        product
    }

    /// 2^128.
    const WHOLE: [u32; 5] = [1, 0, 0, 0, 0];

    #[test]
    fn ranges_are_those_of_kinesis() {
        // As DescribeStream tells them of streams with 2, 3 and 5 shards.
        for (count, shard, first) in [
            (1, 0, 0),
            (2, 1, 170141183460469231731687303715884105728),
            (3, 1, 113427455640312821154458202477256070485),
            (3, 2, 226854911280625642308916404954512140970),
            (5, 1, 68056473384187692692674921486353642291),
            (5, 4, 272225893536750770770699685945414569164),
        ] {
            let shards = Shards::new(count);
            assert_eq!(shards.of_hash(first), shard);
            if first > 0 {
                assert_eq!(shards.of_hash(first - 1), shard - 1);
            }
            assert_eq!(shards.of_hash(u128::MAX), count - 1);
        }
    }

    proptest! {
        /// Every hash is in the one range [shard * width, (shard + 1) * width), the last range
        /// reaching to the end, where width is the largest number whose count-fold is at most 2^128.
        #[test]
        fn every_hash_is_in_one_shard(hash: u128, count in 1..2000u32) {
            let shards = Shards::new(count);
            let shard = shards.of_hash(hash);
            prop_assert!(shard < count);
            let width = shards.width;
            if count > 1 {
                prop_assert!(times(width, count) <= WHOLE && times(width + 1, count) > WHOLE);
                let hash = times(hash, 1);
                prop_assert!(times(width, shard) <= hash);
                prop_assert!(shard == count - 1 || hash < times(width, shard + 1));
            }
        }

        #[test]
        fn edges_are_in_one_shard(count in 2..2000u32, pick: u32) {
            let shards = Shards::new(count);
            let shard = 1 + pick % (count - 1);
            let first = shards.width * u128::from(shard);
            prop_assert_eq!(shards.of_hash(first), shard);
            prop_assert_eq!(shards.of_hash(first - 1), shard - 1);
        }

        #[test]
        fn numbers_are_in_the_lines_order(a: u64, b: u64, sub: u64) {
            let text = |line| {
                let mut text = String::new();
                push_sequence_number(line, &mut text);
                text
            };
            let (text_a, text_b) = (text(a), text(b));
            prop_assert_eq!(text_a.len(), 56);
            let place = |text| ExtendedSequenceNumber::new(SequenceNumber::new(text).unwrap(), sub);
            prop_assert_eq!(place(&text_a).cmp(&place(&text_b)), a.cmp(&b));
            prop_assert_eq!(covered(&place(&text_a)), a);
        }

        /// Whatever number a child checkpoints, the lines it covers are those whose own numbers
        /// are not behind it.
        #[test]
        fn covered_agrees_with_the_order(
            number in prop_oneof!["[0-9]{1,58}", "49[0-9]{54}", "490{34}[0-9]{20}", "0{0,9}490{34}[0-9]{20}"],
            line: u64,
        ) {
            let place = ExtendedSequenceNumber::new(SequenceNumber::new(&number).unwrap(), 0);
            let mut text = String::new();
            push_sequence_number(line, &mut text);
            let of_line = ExtendedSequenceNumber::new(SequenceNumber::new(&text).unwrap(), 0);
            prop_assert_eq!(line <= covered(&place), of_line <= place);
        }
    }

    #[test]
    fn keys() {
        assert_eq!(own_key(b"word"), Some("word"));
        assert_eq!(own_key(b""), None);
        assert_eq!(own_key(b"\xff"), None);
        let long = "\u{1f600}".repeat(256);
        assert_eq!(own_key(long.as_bytes()), Some(long.as_str()));
        assert_eq!(own_key(format!("{long}x").as_bytes()), None);
        assert_eq!(own_key("x".repeat(257).as_bytes()), None);
        assert_eq!(digest_key(b""), "99aa06d3014798d86001c324468d497f");
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn sentinels_cover_nothing_or_all() {
        for (number, line) in [
            (SequenceNumber::TRIM_HORIZON, 0),
            (SequenceNumber::LATEST, 0),
            (SequenceNumber::SHARD_END, u64::MAX),
        ] {
            assert_eq!(covered(&ExtendedSequenceNumber::new(number, 0)), line);
        }
    }
}
