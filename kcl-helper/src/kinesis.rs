//! Which shard a record belongs to, and its sequence number, as Kinesis would choose them.

use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
use md5::{Digest, Md5};

/// A checkpoint.
pub(crate) type Place = ExtendedSequenceNumber<'static>;

/// The most shards that a run may have.
pub(crate) const MAX_SHARDS: u32 = 1000;
/// The most characters that Kinesis accepts in a partition key.
const MAX_KEY_CHARS: usize = 256;
/// What every sequence number begins with, like those of Kinesis. The last 20 digits are the number of
/// the line.
const NUMBER_PREFIX: &str = "490000000000000000000000000000000000";

/// The hash ranges of shards: 128-bit hashes in equal parts, split where Kinesis splits them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shards {
    count: u32,
    /// The width of every range but the last, which also has the rest. It is 1 too small if there is
    /// only one range.
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

    /// Returns the shard that a record belongs to.
    pub(crate) fn of_record(self, data: &[u8]) -> u32 {
        // One shard has every hash, even that of a key that takes long to find.
        if self.count > 1 { KeyedRecord::new(0, data, self).shard } else { 0 }
    }

    /// Returns the shard whose range has this hash.
    pub(crate) fn of_hash(self, hash: u128) -> u32 {
        // A 128-bit division would take longer than everything else here. This estimate is never too
        // large, as no range is wider than 2^128 / count, and too small only by rounding.
        let mut shard = ((hash >> 64) * u128::from(self.count)) >> 64;
        // The rest after the equal ranges belongs to the last shard.
        while shard + 1 < u128::from(self.count) && hash >= self.width * (shard + 1) {
            shard += 1;
        }
        shard as u32
    }
}

/// A record with its partition key and its shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyedRecord<'a> {
    /// The number of its line, counted from 1.
    pub(crate) line: u64,
    pub(crate) data: &'a [u8],
    /// The partition key if the record itself cannot be one: the MD5 of its bytes in hexadecimal.
    pub(crate) digest: Option<[u8; DIGEST]>,
    pub(crate) shard: u32,
}

impl<'a> KeyedRecord<'a> {
    pub(crate) fn new(line: u64, data: &'a [u8], shards: Shards) -> KeyedRecord<'a> {
        let digest = if is_own_key(data) { None } else { Some(hex(md5(data))) };
        let key = digest.as_ref().map_or(data, |digest| digest);
        // One shard has every hash.
        let shard = if shards.count > 1 { shards.of_hash(md5(key)) } else { 0 };
        KeyedRecord { line, data, digest, shard }
    }
}

/// Returns the id of a shard, as Kinesis writes it.
pub(crate) fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

/// Returns the position that a shard without a checkpoint starts from.
pub(crate) fn trim_horizon() -> Place {
    ExtendedSequenceNumber::new(SequenceNumber::TRIM_HORIZON, 0)
}

/// Whether a record can be its own partition key.
pub(crate) fn is_own_key(line: &[u8]) -> bool {
    if line.is_empty() || line.len() > 4 * MAX_KEY_CHARS {
        return false;
    }
    match line.get(..=MAX_KEY_CHARS) {
        // Most are ASCII, which is the fastest check.
        None => line.is_ascii() || std::str::from_utf8(line).is_ok(),
        // That many ASCII characters are one too many, whatever follows.
        Some(start) if start.is_ascii() => false,
        Some(_) => {
            std::str::from_utf8(line).is_ok_and(|text| text.chars().count() <= MAX_KEY_CHARS)
        }
    }
}

/// The length of a partition key that is a digest.
const DIGEST: usize = 32;

/// Formats a hash as hexadecimal digits.
fn hex(hash: u128) -> [u8; DIGEST] {
    std::array::from_fn(|digit| b"0123456789abcdef"[(hash >> (124 - 4 * digit)) as usize & 0xf])
}

/// The MD5 of these bytes, as the number that Kinesis compares with the ranges of shards.
pub(crate) fn md5(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(bytes).into())
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

/// Returns the position of the record on this line.
pub(crate) fn at_line(line: u64) -> Place {
    let mut number = String::new();
    push_sequence_number(line, &mut number);
    let number = SequenceNumber::new(&number).expect("digits are a sequence number");
    ExtendedSequenceNumber::new(number.to_owned(), 0)
}

/// The records of a shard that a checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Covered {
    Nothing,
    /// The records up to this line, counted from 1.
    Line(u64),
    /// The whole shard, which has ended.
    ShardEnd,
}

impl Covered {
    /// Returns what is covered up to this line. There is no line 0.
    pub(crate) fn up_to(line: u64) -> Covered {
        if line == 0 { Covered::Nothing } else { Covered::Line(line) }
    }

    /// Returns what a checkpoint at this position covers.
    pub(crate) fn by(position: &ExtendedSequenceNumber<'_>) -> Covered {
        let number = &position.sequence_number;
        if *number == SequenceNumber::SHARD_END {
            return Covered::ShardEnd;
        }
        let digits = number.as_str().trim_start_matches('0');
        if number.is_sentinel() || digits.len() < NUMBER_PREFIX.len() + 20 {
            return Covered::Nothing;
        }
        match digits.strip_prefix(NUMBER_PREFIX) {
            // 20 digits reach a little further than 64 bits.
            Some(line) if line.len() == 20 => Covered::up_to(line.parse().unwrap_or(u64::MAX)),
            _ if digits.len() == NUMBER_PREFIX.len() + 20 && digits < NUMBER_PREFIX => {
                Covered::Nothing
            }
            // No line has a number so large.
            _ => Covered::Line(u64::MAX),
        }
    }

    pub(crate) fn includes(self, line: u64) -> bool {
        match self {
            Covered::Nothing => false,
            Covered::Line(last) => line <= last,
            Covered::ShardEnd => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use kcl_protocol::SequenceNumber;
    use proptest::prelude::*;

    use super::*;

    /// Multiplies by long multiplication in base 2^32.
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
        /// Every hash is in the range [shard * width, (shard + 1) * width) of one shard, where the last
        /// range extends to the end and width is the largest number with width * count <= 2^128.
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

        /// A record of any length goes to the shard that the MD5 of its key belongs to.
        #[test]
        fn records_go_where_their_keys_hash_to(
            length in prop_oneof![0..40usize, 0..300usize, 900..1200usize],
            letter in prop_oneof![Just("x"), Just("\u{e9}"), Just("\u{1f600}")],
            count in 1..50u32,
        ) {
            let text = letter.repeat(length);
            let record = KeyedRecord::new(7, text.as_bytes(), Shards::new(count));
            let is_key = (1..=256).contains(&text.chars().count());
            let digest = format!("{:032x}", md5(text.as_bytes()));
            let key = if is_key { &text } else { &digest };
            prop_assert_eq!((record.line, record.data), (7, text.as_bytes()));
            prop_assert_eq!(record.digest.is_some(), !is_key);
            prop_assert!(record.digest.is_none_or(|digits| digits == digest.as_bytes()));
            prop_assert_eq!(record.shard, Shards::new(count).of_hash(md5(key.as_bytes())));
        }

        #[test]
        fn bounds_of_ranges_are_in_one_shard(count in 2..2000u32, pick: u32) {
            let shards = Shards::new(count);
            let shard = 1 + pick % (count - 1);
            let first = shards.width * u128::from(shard);
            prop_assert_eq!(shards.of_hash(first), shard);
            prop_assert_eq!(shards.of_hash(first - 1), shard - 1);
        }

        #[test]
        fn sequence_numbers_are_ordered_as_lines(a: u64, b: u64, sub: u64) {
            let text = |line| {
                let mut text = String::new();
                push_sequence_number(line, &mut text);
                text
            };
            let (text_a, text_b) = (text(a), text(b));
            prop_assert_eq!(text_a.len(), 56);
            let place = |text| ExtendedSequenceNumber::new(SequenceNumber::new(text).unwrap(), sub);
            prop_assert_eq!(place(&text_a).cmp(&place(&text_b)), a.cmp(&b));
            prop_assert_eq!(Covered::by(&place(&text_a)), Covered::up_to(a));
        }

        /// Whatever number a child checkpoints, it covers the lines whose numbers are not greater.
        #[test]
        fn covered_agrees_with_the_order(
            number in prop_oneof!["[0-9]{1,58}", "49[0-9]{54}", "490{34}[0-9]{20}", "0{0,9}490{34}[0-9]{20}"],
            line in 1..=u64::MAX,
        ) {
            let place = ExtendedSequenceNumber::new(SequenceNumber::new(&number).unwrap(), 0);
            let mut text = String::new();
            push_sequence_number(line, &mut text);
            let of_line = ExtendedSequenceNumber::new(SequenceNumber::new(&text).unwrap(), 0);
            prop_assert_eq!(Covered::by(&place).includes(line), of_line <= place);
        }
    }

    #[test]
    fn records_of_up_to_256_characters_are_their_own_keys() {
        let long = "\u{1f600}".repeat(256);
        for key in ["word", "\u{e9}", &"x".repeat(256), &long] {
            assert!(is_own_key(key.as_bytes()), "{key}");
        }
        let longer = [long.clone() + "x", "x".repeat(256) + "\u{1f600}", "x".repeat(257)];
        for line in longer.iter().map(String::as_bytes).chain([&b""[..], b"\xff", b"x\xff"]) {
            assert!(!is_own_key(line), "{line:?}");
        }
        assert!(!is_own_key(&[&[b'\xc3'; 300][..], b"x"].concat()));
        assert_eq!(&hex(md5(b"")), b"d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn sentinels_cover_nothing_or_the_whole_shard() {
        for (number, covered) in [
            (SequenceNumber::TRIM_HORIZON, Covered::Nothing),
            (SequenceNumber::LATEST, Covered::Nothing),
            (SequenceNumber::SHARD_END, Covered::ShardEnd),
        ] {
            assert_eq!(Covered::by(&ExtendedSequenceNumber::new(number, 0)), covered);
        }
    }
}
