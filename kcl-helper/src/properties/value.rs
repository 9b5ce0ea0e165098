//! What the daemon's converters make of the text of a value. `Kind` names the converter.

use super::Version;
use super::keys::{Key, Kind};

/// The result of reading a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// The daemon uses this value, here in its plainest spelling.
    Taken(String),
    /// The daemon ignores the key: the value equals the zero value of its Java type.
    Unset,
    /// The daemon silently ignores unreadable text and uses the default.
    Unreadable,
    /// The daemon silently replaces unreadable text by this value.
    UnreadableTaken(&'static str),
    /// The daemon exits with status 1.
    Stops,
}

impl Reading {
    /// The number that the daemon reads from the text, if any.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Reading::Taken(text) => text.parse().ok(),
            Reading::UnreadableTaken(text) => text.parse().ok(),
            Reading::Unset | Reading::Unreadable | Reading::Stops => None,
        }
    }
}

/// Reads `text` as the daemon does.
pub(crate) fn read(kind: Kind, text: &str, version: Version) -> Reading {
    let taken = |text: &str| Reading::Taken(text.to_owned());
    match kind {
        Kind::Int | Kind::Long => match integer(kind, java_trim(text)) {
            Some(0) => Reading::Unset,
            Some(number) => Reading::Taken(number.to_string()),
            None => Reading::Unreadable,
        },
        Kind::NullableInt | Kind::NullableLong => match integer(kind, java_trim(text)) {
            Some(number) => Reading::Taken(number.to_string()),
            None => Reading::UnreadableTaken("0"),
        },
        Kind::StrictInt | Kind::EpochSeconds => match integer(kind, text) {
            Some(number) => Reading::Taken(number.to_string()),
            None => Reading::Stops,
        },
        Kind::Double => match double(java_trim(text)) {
            Some(0.0) => Reading::Unset,
            Some(number) => Reading::Taken(number.to_string()),
            None => Reading::Unreadable,
        },
        Kind::Flag => match boolean(text) {
            Some(true) => taken("true"),
            Some(false) => Reading::Unset,
            None => Reading::UnreadableTaken("false"),
        },
        Kind::Switch => match boolean(text) {
            Some(value) => Reading::Taken(value.to_string()),
            None => Reading::UnreadableTaken("false"),
        },
        Kind::Choice(names) => {
            let upper = text.to_uppercase();
            let known = names.iter().any(|(name, since)| *name == upper && *since <= version);
            if known { Reading::Taken(upper) } else { Reading::Stops }
        }
        Kind::Duration => {
            let text = java_trim(text);
            if is_duration(text) { taken(text) } else { Reading::Stops }
        }
        Kind::Uri if !is_uri(text) => Reading::Stops,
        Kind::Region if !is_host_part(text) => Reading::Stops,
        Kind::StreamArn if java_trim(text).is_empty() => Reading::Unset,
        Kind::StreamArn if StreamArn::parse(text).is_none() => Reading::Stops,
        Kind::List => Reading::Taken(words(text).join(",")),
        Kind::Unusable => Reading::Stops,
        Kind::Nothing => Reading::Unset,
        Kind::Text
        | Kind::Command
        | Kind::Tags
        | Kind::Uri
        | Kind::Region
        | Kind::StreamArn
        | Kind::Providers
        | Kind::Builder => taken(text),
    }
}

/// The number that the daemon uses if the key has this text, or is not set.
pub(crate) fn number_in_use(key: &Key, text: Option<&str>, version: Version) -> Option<i64> {
    match text.map(|text| read(key.kind, text, version)) {
        None | Some(Reading::Unset | Reading::Unreadable) => key.default_in(version).parse().ok(),
        Some(reading) => reading.number(),
    }
}

/// Java's `String.trim`: removes blanks and control characters from both ends.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn integer(kind: Kind, text: &str) -> Option<i64> {
    let number = text.parse().ok()?;
    kind.integer_range()?.contains(&number).then_some(number)
}

/// Java's `Double.valueOf`, except hexadecimal: it accepts a type suffix, and of the names for
/// infinity and not-a-number only `Infinity` and `NaN`.
fn double(text: &str) -> Option<f64> {
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let unsigned = digits.trim_start_matches(['+', '-']);
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return digits.parse().ok();
    }
    match unsigned {
        "NaN" | "Infinity" => digits.parse().ok(),
        _ => None,
    }
}

/// Splits a list as commons-beanutils does: elements are letters, digits, dots and hyphens, all
/// else separates them, and a slash starts a comment.
fn words(text: &str) -> Vec<&str> {
    let commented = text.split('/').next().unwrap_or_default();
    let is_between =
        |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-');
    commented.split(is_between).filter(|word| !word.is_empty()).collect()
}

/// The words that commons-beanutils knows, in any letter case, without blanks around them.
fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Java's `Duration.parse`, without negative ones: `P2DT3H4M5.6S`, at least one part, in any case.
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('+').unwrap_or(&upper).strip_prefix('P') else {
        return false;
    };
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return false;
    }
    let number = |text: &str, fraction: bool| {
        let text = text.strip_prefix('+').unwrap_or(text);
        let (whole, part) = text.split_once(['.', ',']).unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !whole.is_empty()
            && digits(whole)
            && digits(part)
            && part.len() <= 9
            && (fraction || !text.contains(['.', ',']))
    };
    if !days.is_empty() && !days.strip_suffix('D').is_some_and(|days| number(days, false)) {
        return false;
    }
    let mut rest = time;
    for (unit, fraction) in [('H', false), ('M', false), ('S', true)] {
        if let Some((part, after)) = rest.split_once(unit) {
            if !number(part, fraction) {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty()
}

/// Whether `java.net.URI` accepts this, and it has a scheme.
fn is_uri(text: &str) -> bool {
    let is_illegal = |c: char| c <= ' ' || c == '\x7f' || "\"<>\\^`{|}".contains(c);
    let escapes = text.split('%').skip(1).all(|after| {
        let digits = after.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    scheme(text).is_some() && !text.ends_with("://") && !text.contains(is_illegal) && escapes
}

/// Whether this can be a part of a host name, which a region becomes.
fn is_host_part(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let ends = text.starts_with(['-', '.']) || text.ends_with(['-', '.']);
    !text.is_empty() && text.chars().all(fits) && !ends
}

/// The text before the first colon of a URI, if it can be a scheme.
pub(crate) fn scheme(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let mut characters = scheme.chars();
    let first = characters.next()?;
    let rest_is_fine =
        characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (first.is_ascii_alphabetic() && rest_is_fine && !rest.is_empty()).then_some(scheme)
}

/// The parts of a stream's ARN.
pub(crate) struct StreamArn<'a> {
    pub(crate) region: &'a str,
    pub(crate) stream: &'a str,
}

impl StreamArn<'_> {
    /// Parses by the daemon's own pattern.
    pub(crate) fn parse(text: &str) -> Option<StreamArn<'_>> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        let (arn, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        let stream = resource.strip_prefix("stream/")?;
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = arn == "arn"
            && partition.starts_with("aws")
            && service == "kinesis"
            && !region.is_empty()
            && region.chars().all(lower)
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && !stream.is_empty();
        fits.then_some(StreamArn { region, stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, cases: &[(&str, Reading)]) {
        for (text, expected) in cases {
            assert_eq!(read(kind, text, Version::DEFAULT), *expected, "{text:?}");
        }
    }

    fn taken(text: &str) -> Reading {
        Reading::Taken(text.to_owned())
    }

    #[test]
    fn unreadable_numbers_fall_back_in_three_ways() {
        use Reading::{Stops, Unreadable, UnreadableTaken, Unset};
        check(
            Kind::Int,
            &[
                (" 12 ", taken("12")),
                ("+5", taken("5")),
                ("-5", taken("-5")),
                ("0", Unset),
                ("", Unreadable),
                ("1_000", Unreadable),
                ("2147483648", Unreadable),
                ("1.0", Unreadable),
            ],
        );
        check(Kind::Long, &[("2147483648", taken("2147483648")), ("0x10", Unreadable)]);
        check(Kind::NullableInt, &[("0", taken("0")), ("x", UnreadableTaken("0"))]);
        check(Kind::StrictInt, &[("12", taken("12")), ("12 ", Stops), ("", Stops)]);
        check(
            Kind::Double,
            &[
                ("1e3", taken("1000")),
                ("1.5d", taken("1.5")),
                (".5", taken("0.5")),
                ("-0.0", Unset),
                ("inf", Unreadable),
                ("NaN", taken("NaN")),
            ],
        );
    }

    #[test]
    fn booleans_are_one_of_ten_words() {
        use Reading::{UnreadableTaken, Unset};
        check(
            Kind::Switch,
            &[("YES", taken("true")), ("off", taken("false")), ("true ", UnreadableTaken("false"))],
        );
        check(Kind::Flag, &[("y", taken("true")), ("0", Unset), ("", UnreadableTaken("false"))]);
    }

    #[test]
    fn durations_are_iso_8601() {
        for right in ["PT12H", "p2d", "P1DT1H1M1.5S", "PT0S", "+PT1S", " PT1M ", "PT.5S"] {
            let expected = if right == "PT.5S" { Reading::Stops } else { taken(right.trim()) };
            check(Kind::Duration, &[(right, expected)]);
        }
        for wrong in
            ["", "P", "PT", "12H", "PT12", "-PT1S", "PT-1S", "P1H", "PT1D", "PT1S1M", "P1Y"]
        {
            check(Kind::Duration, &[(wrong, Reading::Stops)]);
        }
    }

    #[test]
    fn lists_are_words_between_other_characters() {
        check(
            Kind::List,
            &[("Operation, ShardId ", taken("Operation,ShardId")), ("a_b=c/d", taken("a,b,c"))],
        );
    }

    #[test]
    fn region_must_fit_into_a_host_name() {
        check(
            Kind::Region,
            &[("us-east-1", taken("us-east-1")), ("Any.Thing7", taken("Any.Thing7"))],
        );
        for wrong in ["", " ", "us_east_1", "us-east-1 ", "-1", "a/b"] {
            check(Kind::Region, &[(wrong, Reading::Stops)]);
        }
    }

    #[test]
    fn endpoint_must_be_a_uri() {
        for right in ["https://example.org", "http://127.0.0.1:4566/a%20b", "localhost:4566"] {
            check(Kind::Uri, &[(right, taken(right))]);
        }
        for wrong in ["http://", "http://a b", "http://a|b", "http://a%2", "example.org"] {
            check(Kind::Uri, &[(wrong, Reading::Stops)]);
        }
    }

    #[test]
    fn endpoint_must_have_a_scheme() {
        assert_eq!(scheme("https://example.org"), Some("https"));
        assert_eq!(scheme("localhost:4566"), Some("localhost"));
        for wrong in ["example.org", "127.0.0.1:4566", "//example.org", "", ":", "http:"] {
            assert_eq!(scheme(wrong), None, "{wrong}");
        }
    }
}
