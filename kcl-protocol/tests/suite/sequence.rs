//! The order of sequence numbers, compared with that of big integers.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

use kcl_protocol::{ExtendedSequenceNumber, MAX_SEQUENCE_NUMBER_DIGITS, SequenceNumber};
use num_bigint::BigUint;
use proptest::prelude::*;

use crate::generate::config;

const SENTINELS: [&str; 4] = ["AT_TIMESTAMP", "TRIM_HORIZON", "LATEST", "SHARD_END"];

/// Numbers and sentinels, often close or equal.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[0-9]{1,129}",
        2 => "0{0,4}[0-9]{1,3}",
        2 => "0{0,9}4968047789381875943342123887984355520[0-9]",
        1 => prop::sample::select(SENTINELS.to_vec()).prop_map(str::to_owned),
    ]
}

/// The KCL's order: sentinels by rank, numbers by value.
fn by_value(a: &str, b: &str) -> Ordering {
    let rank = |text: &str| match text {
        "AT_TIMESTAMP" => -3,
        "TRIM_HORIZON" => -2,
        "LATEST" => -1,
        "SHARD_END" => 1,
        _ => 0,
    };
    let value = |text: &str| text.parse::<BigUint>().unwrap_or_default();
    rank(a).cmp(&rank(b)).then_with(|| value(a).cmp(&value(b)))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn numbers_are_ordered_by_value(a in number(), b in number()) {
        let expected = by_value(&a, &b);
        let (one, other) = (SequenceNumber::new(&a).unwrap(), SequenceNumber::new(&b).unwrap());
        prop_assert_eq!(one.cmp(&other), expected);
        prop_assert_eq!(one.partial_cmp(&other), Some(expected));
        prop_assert_eq!(other.cmp(&one), expected.reverse());
        prop_assert_eq!(one == other, expected.is_eq());
        if expected.is_eq() {
            prop_assert_eq!(hash(&one), hash(&other));
        }
        prop_assert_eq!(one.as_str(), a.as_str());
    }

    #[test]
    fn sub_sequence_numbers_order_equal_sequence_numbers(
        a in number(), b in number(), sub in any::<u64>(), other_sub in any::<u64>(),
    ) {
        let expected = by_value(&a, &b).then(sub.cmp(&other_sub));
        let one = ExtendedSequenceNumber::new(SequenceNumber::new(&a).unwrap(), sub);
        let other = ExtendedSequenceNumber::new(SequenceNumber::new(&b).unwrap(), other_sub);
        prop_assert_eq!(one.cmp(&other), expected);
        prop_assert_eq!(one == other, expected.is_eq());
    }

    #[test]
    fn all_constructors_give_the_same_number(text in number()) {
        let number = SequenceNumber::new(&text).unwrap();
        let ways = [
            number.to_owned(),
            number.clone().into_owned(),
            number.borrowed().to_owned(),
            text.parse().unwrap(),
            SequenceNumber::try_from(text.clone()).unwrap(),
        ];
        for way in ways {
            prop_assert_eq!(way.as_str(), text.as_str());
            prop_assert_eq!(way.is_sentinel(), SENTINELS.contains(&text.as_str()));
        }
    }

    #[test]
    fn other_text_is_rejected(text in "[0-9A-Z_ +-]{0,8}|[0-9]{125,135}|\\PC{0,5}|[0-9]{3}\\PC") {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_one = SENTINELS.contains(&text.as_str())
            || digits && (1..=MAX_SEQUENCE_NUMBER_DIGITS).contains(&text.len());
        prop_assert_eq!(SequenceNumber::new(&text).is_ok(), is_one);
        prop_assert_eq!(text.parse::<SequenceNumber<'static>>().is_ok(), is_one);
        prop_assert_eq!(SequenceNumber::try_from(text.clone()).is_ok(), is_one);
    }
}
