//! Parses amounts on the command line. A duration without a unit is in seconds. Any other amount needs a
//! unit, and the error for a bare number suggests some.

use std::time::Duration;

/// The longest duration, so that no deadline overflows the clock.
const LONGEST: Duration = Duration::from_secs(365 * 86400);

/// Parses a duration: `10`, `10s`, `500ms`, `1.5s`, `1m 30s`; not 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("write more than 0, such as 10s or 500ms".into()),
        duration => Ok(duration),
    }
}

/// Parses a duration that may be 0.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let has_unit = text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if has_unit {
        humantime::parse_duration(text)
    } else {
        humantime::parse_duration(&format!("{text}s"))
    };
    match parsed {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
            Err("write a year at most, such as 10s or 500ms".into())
        }
        Err(_) => Err("write a duration such as 10s, 500ms or 1m 30s".into()),
    }
}

/// Parses a size: `100B`, `1KiB`, `1.5MB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let bytes = amount(text, &BYTES, "write a size such as 100B or 1KiB", ["B", "KiB"])?;
    if bytes.fract() != 0.0 || bytes > 1e15 {
        return Err("write a whole number of bytes, such as 100B or 1KiB".into());
    }
    Ok(bytes as usize)
}

/// Parses records per second: `500/s`, `20k/s`; not 0.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let words = "write records per second, such as 500/s or 20k/s";
    let rate = amount(text, &COUNTS, words, ["/s", "k/s"])?;
    if rate > 0.0 { Ok(rate) } else { Err(words.into()) }
}

/// The names and values of units.
pub(super) type Units<'a> = &'a [(&'a str, f64)];

pub(super) const BYTES: [(&str, f64); 8] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
];
pub(super) const COUNTS: [(&str, f64); 3] = [("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6)];

/// Parses a number, perhaps with a decimal point, directly followed by one of these units.
pub(super) fn amount(
    text: &str,
    units: Units<'_>,
    help: &str,
    likely: [&str; 2],
) -> Result<f64, String> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let is_number = number.starts_with(|char: char| char.is_ascii_digit()) && number.len() <= 18;
    let Some(value) = number.parse::<f64>().ok().filter(|_| is_number) else {
        return Err(help.into());
    };
    if unit.is_empty() {
        let [first, second] = likely;
        return Err(format!("the unit is missing: write {number}{first} or {number}{second}"));
    }
    let found = units.iter().find(|(name, _)| *name == unit);
    found.map(|(_, one)| value * one).ok_or_else(|| help.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_parsed() {
        for (text, millis) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
            ("365d", 365 * 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for zero in ["0", "0s"] {
            assert_eq!(duration_or_zero(zero), Ok(Duration::ZERO));
        }
        let form = "write a duration such as 10s, 500ms or 1m 30s";
        let long = "write a year at most, such as 10s or 500ms";
        for (text, error) in [
            ("0", "write more than 0, such as 10s or 500ms"),
            ("0ms", "write more than 0, such as 10s or 500ms"),
            ("", form),
            ("s", form),
            (".s", form),
            ("1.5", form),
            ("1..5s", form),
            ("-1s", form),
            ("soon", form),
            ("366d", long),
            ("9000000h", long),
            ("18446744073709551615", long),
            ("99999999999999999999", long),
        ] {
            assert_eq!(duration(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn sizes_and_rates_are_parsed() {
        for (text, bytes) in [("0B", 0), ("100B", 100), ("1KiB", 1024), ("1.5kB", 1500)] {
            assert_eq!(size(text), Ok(bytes));
        }
        assert_eq!(size("1024").unwrap_err(), "the unit is missing: write 1024B or 1024KiB");
        assert_eq!(
            size("1.5B").unwrap_err(),
            "write a whole number of bytes, such as 100B or 1KiB"
        );
        assert_eq!(rate("20k/s"), Ok(20_000.0));
        assert_eq!(rate("20").unwrap_err(), "the unit is missing: write 20/s or 20k/s");
        assert_eq!(rate("0/s").unwrap_err(), "write records per second, such as 500/s or 20k/s");
    }

    proptest! {
        #[test]
        fn formatted_amounts_are_read_back(number in 1..900_000u64, unit in 0..BYTES.len()) {
            let (name, one) = BYTES[unit];
            prop_assert_eq!(size(&format!("{number}{name}")), Ok((number as f64 * one) as usize));
            prop_assert_eq!(duration(&format!("{number}ms")), Ok(Duration::from_millis(number)));
            prop_assert_eq!(duration(&number.to_string()), Ok(Duration::from_secs(number)));
            prop_assert_eq!(rate(&format!("{number}/s")), Ok(number as f64));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in "[0-9.kKMGiBsm/hµu -]{0,24}|\\PC{0,8}") {
            let _ = (duration(&text), duration_or_zero(&text), size(&text), rate(&text));
        }
    }
}
