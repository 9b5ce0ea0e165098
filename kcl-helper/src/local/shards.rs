//! Which shard a record belongs to, and its number there, as Kinesis would choose them.

use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};

use super::md5_lanes;

/// A checkpoint.
pub(crate) type Place = ExtendedSequenceNumber<'static>;

/// The most shards that a run may have.
pub(crate) const MAX_SHARDS: u32 = 1000;
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
        // A division of 128 bits takes longer than all else here. This is never too much, as no
        // range is wider than 2^128 / count, and too little only by what the rounding takes.
        let mut shard = ((hash >> 64) * u128::from(self.count)) >> 64;
        // What is left over behind the ranges belongs to the last shard.
        while shard + 1 < u128::from(self.count) && hash >= self.width * (shard + 1) {
            shard += 1;
        }
        shard as u32
    }
}

/// A record that has found its shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sorted<'a> {
    /// The number of its line, counted from 1.
    pub(crate) line: u64,
    pub(crate) data: &'a [u8],
    /// The key where it is not the record itself: the hex MD5 of its bytes.
    pub(crate) digest: Option<[u8; DIGEST]>,
    pub(crate) shard: u32,
}

impl Sorted<'_> {
    fn key(&self) -> &[u8] {
        self.digest.as_ref().map_or(self.data, |digest| digest)
    }
}

/// Finds the shards of records, and gives them on in their order. Records wait in here until there
/// are enough to be hashed together.
#[derive(Debug)]
pub(crate) struct Sorter<'a> {
    shards: Shards,
    waiting: Vec<Sorted<'a>>,
}

/// How many records wait: enough to find others as long, for most lengths.
const SORTED: usize = 256;

impl<'a> Sorter<'a> {
    pub(crate) fn new(shards: Shards) -> Sorter<'a> {
        Sorter { shards, waiting: Vec::new() }
    }

    /// Takes one record, and may give on those before it.
    pub(crate) fn add(&mut self, line: u64, data: &'a [u8], each: impl FnMut(&Sorted<'a>)) {
        self.waiting.push(Sorted { line, data, digest: None, shard: 0 });
        if self.waiting.len() == SORTED {
            self.finish(each);
        }
    }

    /// Gives on all that have been taken.
    pub(crate) fn finish(&mut self, each: impl FnMut(&Sorted<'a>)) {
        let mut without_key: Vec<_> =
            self.waiting.iter_mut().filter(|record| !is_own_key(record.data)).collect();
        let lines: Vec<_> = without_key.iter().map(|record| record.data).collect();
        for (record, hash) in without_key.iter_mut().zip(md5_lanes::hash(&lines)) {
            record.digest = Some(hex(hash));
        }
        // One shard has every hash.
        if self.shards.count > 1 {
            let keys: Vec<_> = self.waiting.iter().map(Sorted::key).collect();
            let hashes = md5_lanes::hash(&keys);
            for (record, hash) in self.waiting.iter_mut().zip(hashes) {
                record.shard = self.shards.of_hash(hash);
            }
        }
        self.waiting.iter().for_each(each);
        self.waiting.clear();
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

/// Whether the line can be its own key.
pub(crate) fn is_own_key(line: &[u8]) -> bool {
    if line.is_empty() || line.len() > 4 * MAX_KEY_CHARS {
        return false;
    }
    match line.get(..=MAX_KEY_CHARS) {
        // All ASCII, as most are, is the quickest to see.
        None => line.is_ascii() || std::str::from_utf8(line).is_ok(),
        // So much of ASCII is one character too many, whatever follows.
        Some(start) if start.is_ascii() => false,
        Some(_) => {
            std::str::from_utf8(line).is_ok_and(|text| text.chars().count() <= MAX_KEY_CHARS)
        }
    }
}

/// How long a key is that is not the record itself.
const DIGEST: usize = 32;

/// A hash as hex digits.
fn hex(hash: u128) -> [u8; DIGEST] {
    std::array::from_fn(|digit| b"0123456789abcdef"[(hash >> (124 - 4 * digit)) as usize & 0xf])
}

/// The hex MD5 of these bytes.
#[cfg(test)]
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    use md5::{Digest, Md5};
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

/// The checkpoint at the record on this line.
pub(crate) fn at_line(line: u64) -> Place {
    let mut number = String::new();
    push_sequence_number(line, &mut number);
    let number = SequenceNumber::new(&number).expect("digits are a sequence number");
    ExtendedSequenceNumber::new(number.to_owned(), 0)
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
    use md5::{Digest, Md5};
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

        /// Whatever the keys' lengths, each record goes where its own MD5 says, in its place.
        #[test]
        fn sorted_as_one_by_one(
            lengths in prop::collection::vec(prop_oneof![0..40usize, 0..300usize, 900..1200usize], 0..600),
            letter in prop_oneof![Just("x"), Just("\u{e9}"), Just("\u{1f600}")],
            count in 1..50u32,
        ) {
            let shards = Shards::new(count);
            let texts: Vec<_> =
                lengths.iter().enumerate().map(|(index, length)| format!("{index}{}", letter.repeat(*length))).collect();
            let mut sorted = Vec::new();
            let mut sorter = Sorter::new(shards);
            for (line, text) in (1..).zip(&texts) {
                sorter.add(line, text.as_bytes(), |record| sorted.push(*record));
            }
            sorter.finish(|record| sorted.push(*record));
            prop_assert_eq!(sorted.len(), texts.len());
            for (line, (record, text)) in (1..).zip(sorted.iter().zip(&texts)) {
                let is_key = text.chars().count() <= 256;
                let digest = md5_hex(text.as_bytes());
                let key = if is_key { text } else { &digest };
                let hash = u128::from_be_bytes(Md5::digest(key).into());
                let expected = (hash / shards.width).min(u128::from(count - 1));
                prop_assert_eq!((record.line, record.data), (line, text.as_bytes()));
                prop_assert_eq!(record.digest.is_some(), !is_key);
                prop_assert_eq!(record.key(), key.as_bytes());
                prop_assert_eq!(u128::from(record.shard), expected);
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
        let long = "\u{1f600}".repeat(256);
        for key in ["word", "\u{e9}", &"x".repeat(256), &long] {
            assert!(is_own_key(key.as_bytes()), "{key}");
        }
        let longer = [long.clone() + "x", "x".repeat(256) + "\u{1f600}", "x".repeat(257)];
        for line in longer.iter().map(String::as_bytes).chain([&b""[..], b"\xff", b"x\xff"]) {
            assert!(!is_own_key(line), "{line:?}");
        }
        assert!(!is_own_key(&[&[b'\xc3'; 300][..], b"x"].concat()));
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
