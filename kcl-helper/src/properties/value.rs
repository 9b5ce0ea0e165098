//! Values: what the daemon's converters make of a text. `Kind` names the converter.

use super::Version;
use super::keys::Kind;

/// What the daemon goes on with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// This, in its plainest spelling.
    Taken(String),
    /// As if the key were not there: the value equals the empty value of its Java type.
    Unset,
    /// The text cannot be read, silently; the default stays.
    Unreadable,
    /// The text cannot be read, silently; this is taken.
    UnreadableTaken(&'static str),
    /// The daemon ends with status 1.
    Stops,
}

/// Reads `text` as 3.x does.
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
        Kind::Uri if scheme(text).is_none() || text.contains(|c: char| c.is_whitespace()) => {
            Reading::Stops
        }
        Kind::Region if java_trim(text).is_empty() => Reading::Stops,
        Kind::StreamArn if java_trim(text).is_empty() => Reading::Unset,
        Kind::StreamArn if StreamArn::parse(text).is_none() => Reading::Stops,
        Kind::Unusable => Reading::Stops,
        Kind::Nothing => Reading::Unset,
        Kind::Text
        | Kind::Command
        | Kind::Tags
        | Kind::List
        | Kind::Uri
        | Kind::Region
        | Kind::StreamArn
        | Kind::Providers
        | Kind::Builder => taken(text),
    }
}

/// `String.trim`: everything up to the blank goes, control characters too.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn integer(kind: Kind, text: &str) -> Option<i64> {
    let number = text.parse().ok()?;
    kind.integer_range()?.contains(&number).then_some(number)
}

/// `Double.valueOf` but for its hexadecimal form: a type suffix counts, other names of infinity and
/// of no number do not.
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

/// The words of commons-beanutils, in any letter case, with no blank around.
fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `Duration.parse` for what is not negative: `P2DT3H4M5.6S`, at least one part, in any letter case.
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

/// What stands before the first colon of a URI, if that can be a scheme.
pub(crate) fn scheme(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let mut characters = scheme.chars();
    let first = characters.next()?;
    let rest_is_fine =
        characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (first.is_ascii_alphabetic() && rest_is_fine && !rest.is_empty()).then_some(scheme)
}

/// The parts of a stream's ARN that anybody looks at.
pub(crate) struct StreamArn<'a> {
    pub(crate) region: &'a str,
    pub(crate) stream: &'a str,
}

impl StreamArn<'_> {
    /// By the pattern of the daemon.
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
