//! Rules about single values: those that stop the daemon, and those that it reads differently.

use super::super::file::line;
use super::super::keys::{Key, Kind, most_alike};
use super::super::secrets::in_property;
use super::super::settings::Setting;
use super::super::value::{self, Reading, StreamArn, java_trim, scheme};
use super::super::{Launcher, Version};
use super::{Facts, Hint, Place, Remark, Remarks, command, regions};
use crate::environment::{NOT_EXECUTABLE, Program};
use crate::secret::{Masked, is_secret_name};

/// Settings of some kinds that stop the daemon, except for those with just a blank too many.
fn stopping<'a>(
    facts: &'a Facts<'_>,
    pick: impl Fn(Kind) -> bool + 'a,
) -> impl Iterator<Item = &'a Setting> {
    facts
        .readings(pick)
        .filter(|(setting, kind, reading)| {
            *reading == Reading::Stops && !is_cured_by_trimming(facts, setting, *kind)
        })
        .map(|(setting, _, _)| setting)
}

fn is_cured_by_trimming(facts: &Facts<'_>, setting: &Setting, kind: Kind) -> bool {
    let text = setting.value.reveal();
    let trimmed = java_trim(text);
    trimmed != text && value::read(kind, trimmed, facts.request.version) != Reading::Stops
}

/// The label for a blank at the end of a value.
const BLANK: &str = "this blank is part of the value";

/// The hint to delete the blanks around a value.
fn trim(setting: &Setting) -> Hint {
    let text = setting.value.reveal();
    match java_trim(text) {
        trimmed if text.starts_with(trimmed) => {
            Hint::delete(Place::part(setting, trimmed.len()..text.len()))
        }
        trimmed => Hint::write_masked(
            Place::whole_value(setting),
            trimmed.to_owned(),
            java_trim(&setting.value.to_string()).to_owned(),
        ),
    }
}

/// The blanks at the end of a value.
fn blanks_at_end(setting: &Setting) -> Option<Place> {
    let text = setting.value.reveal();
    let kept = text.trim_end_matches(|c: char| c <= ' ').len();
    (kept < text.len()).then(|| Place::part(setting, kept..text.len()))
}

fn row_name(setting: &Setting) -> &str {
    setting.row.map_or_else(|| setting.key.reveal(), |row| row.name)
}

pub(super) fn trailing_blank(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.readings(|_| true).filter_map(|(setting, kind, reading)| {
        if reading != Reading::Stops || !is_cured_by_trimming(facts, setting, kind) {
            return None;
        }
        let what = match kind {
            Kind::Choice(_) if row_name(setting) == "initialPositionInStream" => "a position",
            Kind::Choice(_) => "a known name",
            Kind::StrictInt | Kind::EpochSeconds => "a whole number",
            Kind::Uri => "a URL",
            Kind::Region => "a region",
            _ => "a value",
        };
        let place = blanks_at_end(setting).unwrap_or_else(|| Place::value(setting));
        let message = format!("the daemon stops: \"{}\" is not {what}", setting.value);
        Some(Remark::new(place, message).label(BLANK).hint(trim(setting)))
    });
    remarks.collect()
}

/// Names, which the daemon uses with the blank.
pub(super) fn kept_blank(facts: &Facts<'_>) -> Remarks {
    let names = facts.readings(|kind| matches!(kind, Kind::Text | Kind::StreamArn));
    let remarks = names.filter_map(|(setting, _, _)| {
        let is_blank = java_trim(setting.value.reveal()).is_empty();
        if is_blank || row_name(setting) == "processingLanguage" {
            return None;
        }
        let message = format!("the daemon uses \"{}\", with the blank", setting.value);
        let blank = blanks_at_end(setting)?;
        Some(Remark::new(blank.clone(), message).label(BLANK).hint(Hint::delete(blank)))
    });
    remarks.collect()
}

const AT_TIMESTAMP: &str = "AT_TIMESTAMP";

fn is_at_timestamp(setting: &Setting) -> bool {
    row_name(setting) == "initialPositionInStream"
        && java_trim(setting.value.reveal()).eq_ignore_ascii_case(AT_TIMESTAMP)
}

pub(super) fn at_timestamp(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter(|setting| is_at_timestamp(setting)).map(|setting| {
        let moment = facts.settings.get("initialPositionInStreamExtended");
        let hint = match moment {
            Some(_) => Hint::delete_line(setting),
            None => Hint::replace_line(setting, "initialPositionInStreamExtended", "1767225600")
                .note(", with the seconds since 1970 to start at"),
        };
        Remark::new(Place::value(setting), "the daemon stops: it has no time to start at")
            .hint(hint)
    });
    remarks.collect()
}

pub(super) fn bad_choice(facts: &Facts<'_>) -> Remarks {
    let version = facts.request.version;
    let remarks = stopping(facts, |kind| matches!(kind, Kind::Choice(_))).filter_map(|setting| {
        let Some(Kind::Choice(names)) = setting.row.map(|row| row.kind) else { return None };
        if is_at_timestamp(setting) {
            return None;
        }
        let known: Vec<&str> =
            names.iter().filter(|(_, since)| *since <= version).map(|(name, _)| *name).collect();
        let upper = java_trim(setting.value.reveal()).to_uppercase();
        let newer = names.iter().find(|(name, since)| *name == upper && *since > version);
        let label = newer.map_or_else(String::new, |(_, since)| format!("since {since}"));
        let message = format!("the daemon stops: {} has no \"{}\"", setting.key, setting.value);
        let to = |name: &&str| Hint::write(Place::whole_value(setting), *name);
        let likely = most_alike(&upper, known.iter().copied());
        let likely = likely.filter(|_| newer.is_none());
        let hint = match likely {
            Some(name) => to(&name),
            // DEFAULT is no choice, but what holds without the key.
            None => {
                let choices = known.iter().filter(|name| **name != "DEFAULT");
                choices.map(to).reduce(Hint::or).unwrap_or_default()
            }
        };
        Some(Remark::new(Place::value(setting), message).label(label).hint(hint))
    });
    remarks.collect()
}

pub(super) fn bad_number(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| matches!(kind, Kind::StrictInt | Kind::EpochSeconds))
        .map(|setting| {
            let is_seconds = setting.row.is_some_and(|row| row.kind == Kind::EpochSeconds);
            let place = Place::whole_value(setting);
            let hint = match is_seconds {
                true => Hint::example(place, "whole seconds since 1970", "1767225600"),
                false => Hint::example(place, "a whole number", "0"),
            };
            let message = format!("the daemon stops: \"{}\" is not a whole number", setting.value);
            Remark::new(Place::value(setting), message).hint(hint)
        })
        .collect()
}

pub(super) fn bad_duration(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| kind == Kind::Duration)
        .map(|setting| {
            let message = format!("the daemon stops: \"{}\" is not a duration", setting.value);
            let hint = Hint::example(Place::whole_value(setting), "a duration", "PT12H");
            Remark::new(Place::value(setting), message).hint(hint)
        })
        .collect()
}

pub(super) fn bad_endpoint(facts: &Facts<'_>) -> Remarks {
    let remarks =
        facts.readings(|kind| kind == Kind::Uri).filter_map(|(setting, kind, reading)| {
            let text = setting.value.reveal();
            let (message, label) = match scheme(text) {
                _ if reading == Reading::Stops && is_cured_by_trimming(facts, setting, kind) => {
                    return None;
                }
                _ if reading == Reading::Stops => {
                    ("the daemon stops: this is not a URL with a scheme".to_owned(), "")
                }
                Some(scheme) if is_http(scheme) => return None,
                Some(scheme) => {
                    let message = "the daemon starts, and fails at the first call";
                    let place = Place::part(setting, 0..scheme.len());
                    let shown = setting.value.part(0..scheme.len());
                    let label = format!("read as the scheme, as in `{shown}://`");
                    let hint = Hint::write_masked(
                        Place::whole_value(setting),
                        format!("http://{text}"),
                        format!("http://{}", setting.value),
                    );
                    return Some(Remark::new(place, message).label(label).hint(hint));
                }
                None => return None,
            };
            let hint = url(facts, setting);
            Some(Remark::new(Place::value(setting), message).label(label).hint(hint))
        });
    remarks.collect()
}

/// The hint to write a URL: what is there with a scheme, if that is one.
fn url(facts: &Facts<'_>, setting: &Setting) -> Hint {
    let with_scheme = |text: &str| {
        let host = text.trim_start_matches("https:").trim_start_matches("http:");
        format!("https://{}", host.trim_start_matches('/').replace(' ', ""))
    };
    let text = with_scheme(setting.value.reveal());
    match value::read(Kind::Uri, &text, facts.version()) {
        Reading::Stops => {
            let host = match row_name(setting).to_ascii_lowercase() {
                name if name.starts_with("kinesis") => "kinesis",
                name if name.starts_with("dynamo") => "dynamodb",
                _ => "monitoring",
            };
            let url = format!("https://{host}.us-east-1.amazonaws.com");
            Hint::example(Place::whole_value(setting), "a URL", url)
        }
        _ => {
            let shown = with_scheme(&setting.value.to_string());
            Hint::write_masked(Place::whole_value(setting), text, shown)
        }
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

pub(super) fn bad_region(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| kind == Kind::Region)
        .map(|setting| {
            let is_empty = java_trim(setting.value.reveal()).is_empty();
            let label = if is_empty { "" } else { "no part of a host's name" };
            let message = match is_empty {
                true => "the daemon stops: the region is empty".to_owned(),
                false => format!("the daemon stops: \"{}\" is not a region", setting.value),
            };
            Remark::new(Place::value(setting), message).label(label).hint(region(setting))
        })
        .collect()
}

/// The hint to write a region that exists.
fn region(setting: &Setting) -> Hint {
    let text = setting.value.reveal().to_ascii_lowercase();
    // Availability zones have one more letter.
    let zone = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let place = Place::whole_value(setting);
    match most_alike(&text, regions::all()) {
        _ if regions::is_region(&text) => Hint::write(place, text),
        _ if regions::is_region(zone) => Hint::write(place, zone),
        known => Hint::example(place, "a region that exists", known.unwrap_or("us-east-1")),
    }
}

/// Regions that the SDK accepts although it does not know them.
pub(super) fn unknown_region(facts: &Facts<'_>) -> Remarks {
    let regions = facts.readings(|kind| kind == Kind::Region);
    let remarks = regions.filter_map(|(setting, _, reading)| {
        let text = setting.value.reveal();
        // A stand-in may have any region.
        let is_own = facts.settings.get("kinesisEndpoint").is_some();
        if reading == Reading::Stops || regions::is_region(text) || is_own {
            return None;
        }
        let message =
            format!("the daemon calls AWS in \"{}\", which is not a known region", setting.value);
        let label = "no region of the AWS SDK 2.33.0";
        Some(Remark::new(Place::value(setting), message).label(label).hint(region(setting)))
    });
    remarks.collect()
}

pub(super) fn bad_stream_arn(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| kind == Kind::StreamArn)
        .map(|setting| {
            let message = "the daemon stops: this is not the ARN of a stream";
            let hint = match facts.settings.get("streamName") {
                Some(_) => Hint::delete_line(setting).note(": `streamName` is set as well"),
                None => Hint::example(
                    Place::whole_value(setting),
                    "the ARN of a stream",
                    "arn:aws:kinesis:us-east-1:123456789012:stream/my-stream",
                ),
            };
            Remark::new(Place::value(setting), message).hint(hint)
        })
        .collect()
}

pub(super) fn unusable_key(facts: &Facts<'_>) -> Remarks {
    // Before 2.5.5 the daemon has no setter for what this text is converted to.
    let has_setter = facts.version() >= Version::new(2, 5, 5);
    let dimensions = facts.settings.get("metricsEnabledDimensions").filter(|_| !has_setter);
    // Before 2.3.5 the daemon has the field, but nothing that converts text to it.
    let converts = facts.version() >= Version::new(2, 3, 5);
    let position = facts.settings.get("initialPositionInStreamExtended").filter(|_| !converts);
    stopping(facts, |kind| kind == Kind::Unusable)
        .chain(dimensions)
        .chain(position)
        .map(|setting| {
            let message =
                format!("the daemon stops: no text can be converted for `{}`", setting.key);
            Remark::new(Place::key(setting), message).hint(Hint::delete_line(setting))
        })
        .collect()
}

pub(super) fn too_many_records(facts: &Facts<'_>) -> Remarks {
    const MOST: i64 = 10_000;
    // Nothing reads the polling keys then.
    if facts.used("retrievalMode").as_deref() == Some("FANOUT") {
        return Remarks::default();
    }
    above(facts, "maxRecords", |number| number > MOST)
        .map(|(setting, number)| {
            let message = format!("the daemon stops: {number} is more than {MOST} records");
            let hint = Hint::write(Place::whole_value(setting), MOST.to_string());
            Remark::new(Place::value(setting), message).hint(hint.note(" or less"))
        })
        .collect()
}

pub(super) fn negative_segments(facts: &Facts<'_>) -> Remarks {
    above(facts, "leaseTableScanTotalSegments", |number| number < 0)
        .map(|(setting, _)| {
            Remark::new(Place::value(setting), "the daemon stops: the number is negative")
                .hint(Hint::delete_line(setting))
        })
        .collect()
}

pub(super) fn timeout_zero(facts: &Facts<'_>) -> Remarks {
    numbers(facts, "timeoutInSeconds")
        .filter(|(_, number)| *number <= 0)
        .map(|(setting, number)| {
            let unreadable = is_unreadable(facts, setting);
            let label = if unreadable { "this is read as 0" } else { "no time to answer in" };
            let message = "the daemon halts at the first wait for the child";
            let hint = Hint::write(Place::whole_value(setting), "60").note(" or more");
            let forever = Hint::delete_line(setting).note(" to wait without a limit");
            Remark::new(Place::value(setting), message)
                .label(if number < 0 { "the time is over at once" } else { label })
                .hint(hint.or(forever))
        })
        .collect()
}

/// Settings of a row with the number that the daemon uses, if `pick` returns true.
fn above<'a>(
    facts: &'a Facts<'_>,
    name: &'static str,
    pick: fn(i64) -> bool,
) -> impl Iterator<Item = (&'a Setting, i64)> {
    numbers(facts, name).filter(move |(_, number)| pick(*number))
}

/// Settings of a row with the number that the daemon uses.
pub(super) fn numbers<'a>(
    facts: &'a Facts<'_>,
    name: &'static str,
) -> impl Iterator<Item = (&'a Setting, i64)> {
    let number = |setting| facts.reading(setting)?.number();
    facts.settings.of(name).filter_map(move |setting| Some((setting, number(setting)?)))
}

fn is_unreadable(facts: &Facts<'_>, setting: &Setting) -> bool {
    matches!(facts.reading(setting), Some(Reading::Unreadable | Reading::UnreadableTaken(_)))
}

fn default_of(row: &Key, facts: &Facts<'_>) -> String {
    match row.default_in(facts.version()) {
        "" => "not set".to_owned(),
        default => format!("the default, {default}"),
    }
}

pub(super) fn number_falls_back(facts: &Facts<'_>) -> Remarks {
    let is_number = |kind| {
        matches!(
            kind,
            Kind::Int | Kind::Long | Kind::Double | Kind::NullableInt | Kind::NullableLong
        )
    };
    let remarks = facts.readings(is_number).filter_map(|(setting, kind, reading)| {
        let row = setting.row.filter(|row| row.name != "timeoutInSeconds")?;
        let taken = match reading {
            Reading::Unreadable => default_of(row, facts),
            Reading::UnreadableTaken(zero) => zero.to_owned(),
            Reading::Taken(_) | Reading::Unset | Reading::Stops => return None,
        };
        let text = java_trim(setting.value.reveal());
        let is_digits = !text.is_empty()
            && text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
        let label = match text {
            "" => "no number",
            _ if is_digits => "too large a number",
            _ if kind == Kind::Double => "not a number",
            _ => "not a whole number",
        };
        let message = format!("the daemon reads `{}` as {taken}", setting.key);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let fits = |text: &str| {
            matches!(value::read(kind, text, facts.version()), Reading::Taken(_)) && !is_digits
        };
        let hint = match fits(&digits) {
            true => Hint::example(Place::whole_value(setting), "digits only", digits),
            false => Hint::delete_line(setting),
        };
        Some(Remark::new(Place::value(setting), message).label(label).hint(hint))
    });
    remarks.collect()
}

pub(super) fn zero_is_unset(facts: &Facts<'_>) -> Remarks {
    let is_number = |kind| matches!(kind, Kind::Int | Kind::Long | Kind::Double);
    let remarks = facts.readings(is_number).filter_map(|(setting, _, reading)| {
        let row = setting
            .row
            .filter(|row| reading == Reading::Unset && row.default_in(facts.version()) != "0")?;
        let message = format!("the daemon reads `{}` as {}", setting.key, default_of(row, facts));
        let remark = Remark::new(Place::value(setting), message).label("0 counts as not set");
        Some(remark.hint(Hint::delete_line(setting)))
    });
    remarks.collect()
}

pub(super) fn negative_number(facts: &Facts<'_>) -> Remarks {
    let is_number =
        |kind| matches!(kind, Kind::Int | Kind::Long | Kind::Double | Kind::NullableLong);
    let remarks = facts.readings(is_number).filter_map(|(setting, _, reading)| {
        let has_its_own = row_name(setting) == "leaseTableScanTotalSegments";
        let negative = matches!(&reading, Reading::Taken(text) if text.starts_with('-'));
        (negative && !has_its_own).then(|| {
            let message = format!("the daemon does not refuse a negative `{}`", setting.key);
            Remark::new(Place::value(setting), message).hint(Hint::delete_line(setting))
        })
    });
    remarks.collect()
}

pub(super) fn boolean_falls_back(facts: &Facts<'_>) -> Remarks {
    let booleans = facts.readings(|kind| matches!(kind, Kind::Flag | Kind::Switch));
    let remarks = booleans.filter_map(|(setting, kind, reading)| {
        if reading != Reading::UnreadableTaken("false") {
            return None;
        }
        let row = setting.row?;
        // A primitive false is not applied.
        let is_on = row.default_in(facts.version()) == "true";
        let taken = if kind == Kind::Flag && is_on { "true" } else { "false" };
        let message = format!("the daemon reads `{}` as {taken}", setting.key);
        let cured = value::read(kind, java_trim(setting.value.reveal()), facts.request.version)
            == Reading::Taken("true".to_owned());
        let remark = match blanks_at_end(setting).filter(|_| cured) {
            Some(blank) => Remark::new(blank, message).label(BLANK).hint(trim(setting)),
            None => {
                let yes = Hint::write(Place::whole_value(setting), "true");
                let no = match taken {
                    "false" => Hint::write(Place::whole_value(setting), "false"),
                    _ => Hint::delete_line(setting),
                };
                Remark::new(Place::value(setting), message).hint(yes.or(no))
            }
        };
        Some(remark)
    });
    remarks.collect()
}

pub(super) fn false_is_dropped(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.readings(|kind| kind == Kind::Flag).filter_map(|(setting, _, reading)| {
        let row = setting.row?;
        (reading == Reading::Unset && row.default_in(facts.version()) == "true").then(|| {
            let message = format!("the daemon leaves `{}` true", setting.key);
            Remark::new(Place::value(setting), message)
                .label("false counts as not set")
                .hint(Hint::delete_line(setting).note(": the file cannot turn it off"))
        })
    });
    remarks.collect()
}

pub(super) fn position_in_millis(facts: &Facts<'_>) -> Remarks {
    // As seconds this is the year 5138, as milliseconds 1973.
    const FAR: i64 = 100_000_000_000;
    above(facts, "initialPositionInStreamExtended", |number| number >= FAR)
        .map(|(setting, number)| {
            let hint = Hint::write(Place::whole_value(setting), (number / 1000).to_string());
            Remark::new(Place::value(setting), "the daemon reads this as seconds since 1970")
                .label("these look like milliseconds")
                .hint(hint)
        })
        .collect()
}

pub(super) fn bake_time_clamped(facts: &Facts<'_>) -> Remarks {
    const RANGE: std::ops::RangeInclusive<i64> = 3600..=604_800;
    numbers(facts, "tableMigrationCompleteBakeTimeSeconds")
        .filter(|(_, number)| !RANGE.contains(number))
        .map(|(setting, number)| {
            let taken = number.clamp(*RANGE.start(), *RANGE.end());
            let hint = Hint::write(Place::whole_value(setting), taken.to_string());
            Remark::new(Place::value(setting), format!("the daemon uses {taken}"))
                .label(format!("the range is {} to {}", RANGE.start(), RANGE.end()))
                .hint(hint)
        })
        .collect()
}

pub(super) fn bad_tag(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for (setting, _, _) in facts.readings(|kind| kind == Kind::Tags) {
        let mut at = 0;
        for pair in setting.value.reveal().split(',') {
            let parts: Vec<&str> = pair.trim().split('=').collect();
            if !matches!(parts[..], [_, value] if !value.is_empty()) {
                let shown = setting.value.part(at..at + pair.len()).to_string();
                let message = format!("the daemon skips the tag \"{}\"", shown.trim());
                let place = Place::part(setting, at..at + pair.len());
                let key: String = parts[0].chars().filter(|c| !c.is_whitespace()).collect();
                let key = if key.is_empty() { "key".to_owned() } else { key };
                let hint = match setting.value.masked().masks().next() {
                    None => Hint::example(place.clone(), "key=value", format!("{key}=value")),
                    Some(_) => Hint::delete_line(setting),
                };
                remarks.push(Remark::new(place, message).hint(hint));
            }
            at += pair.len() + ",".len();
        }
    }
    remarks
}

pub(super) fn stream_named_twice(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = facts.settings.get("streamArn") else { return Remarks::default() };
    let Some(arn) = StreamArn::parse(setting.value.reveal()) else { return Remarks::default() };
    let mut remarks = Remarks::default();
    if let Some(name) = facts.settings.get("streamName").filter(|s| s.value.reveal() != arn.stream)
    {
        let shown = setting.value.masked().read_as("streamName", arn.stream.to_owned());
        let message = format!("the daemon reads stream \"{shown}\"");
        remarks.push(
            Remark::new(Place::value(name), message)
                .label(format!("the streamArn of {} wins", setting.origin.describe()))
                .hint(
                    Hint::delete_line(name).or(Hint::delete_line(setting).note(" of `streamArn`")),
                ),
        );
    }
    let region = facts.settings.get("regionName").map(|region| &region.value);
    if let Some(region) = region.filter(|region| region.reveal() != arn.region) {
        let at = "arn:".len() + setting.value.reveal().find(":kinesis:").unwrap_or_default();
        let start = setting.value.reveal()[at..].find(arn.region).map_or(at, |found| found + at);
        let part = start..start + arn.region.len();
        let place = Place::part(setting, part);
        let message = format!("the daemon reads the stream in {region}");
        let correct = Hint::write(place.clone(), region.reveal());
        let own = match regions::is_region(arn.region) {
            true => facts.put("regionName", arn.region).or(correct),
            false => correct,
        };
        remarks
            .push(Remark::new(place, message).label("only the name of the ARN is used").hint(own));
    }
    remarks
}

pub(super) fn variable_not_expanded(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter_map(|setting| {
        let text = setting.value.reveal();
        let start = text.match_indices('$').map(|(at, _)| at).find(|at| {
            let next = text[at + 1..].chars().next();
            next.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '('))
        })?;
        let rest = &text[start + 1..];
        let closing = match rest.chars().next() {
            Some('{') => rest.find('}').map(|end| end + 1),
            Some('(') => rest.find(')').map(|end| end + 1),
            _ => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_'),
        };
        let end = start + 1 + closing.unwrap_or(rest.len());
        let shown = setting.value.part(start..end);
        let message = format!("the daemon does not expand `{shown}`");
        let hint = match rest.starts_with('(') {
            true => "write the value, or set it with `kcl-helper run --set KEY=VALUE`",
            false => "write the value, or run the daemon with `kcl-helper run --expand-env`",
        };
        let remark = Remark::new(Place::part(setting, start..end), message);
        Some(remark.label("used as it is").hint(Hint::say(hint)))
    });
    remarks.collect()
}

/// UTF-8 in a file that Java reads as ISO-8859-1.
pub(super) fn misread_letters(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter_map(|setting| {
        let super::Origin::File(_) = setting.origin else { return None };
        // A raw byte is one byte of the file, an escape is six and was meant.
        let raw: Vec<u8> = facts.source.bytes[setting.value.span()].to_vec();
        let meant = std::str::from_utf8(&raw).ok().filter(|text| !text.is_ascii())?;
        let text = setting.value.reveal();
        let first = text.find(|c: char| ('\u{80}'..='\u{ff}').contains(&c))?;
        let last = text.rfind(|c: char| ('\u{80}'..='\u{ff}').contains(&c)).unwrap_or(first);
        let end = last + text[last..].chars().next().map_or(0, char::len_utf8);
        let is_open = setting.value.masked().masks().next().is_none();
        let hint = match is_open {
            true => Hint::write_masked(
                Place::whole_value(setting),
                meant.to_owned(),
                line(&setting.key.to_string(), meant).trim_end().to_owned(),
            ),
            false => Hint::say("write \\uXXXX for each letter that is not ASCII"),
        };
        Some(
            Remark::new(
                Place::part(setting, first..end),
                format!("the daemon reads `{}` as \"{}\"", setting.key, setting.value),
            )
            .label("read as ISO-8859-1, byte by byte")
            .hint(hint),
        )
    });
    remarks.collect()
}

pub(super) fn secret_in_file(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter_map(|setting| {
        let (key, value) = (setting.key.reveal(), setting.value.reveal());
        let secret = in_property(key, value).into_iter().find(|secret| secret.is_certain)?;
        let place = match is_secret_name(key) {
            true => Place::key(setting),
            false => Place::part(setting, secret.span),
        };
        Some(Remark::new(place, "the daemon writes this secret into its log").hint(Hint::say(
            "pass it in the environment or a profile, and change it if it was logged",
        )))
    });
    remarks.collect()
}

/// The program of `executableName`, and where it was found.
fn program(facts: &Facts<'_>) -> Option<(Masked, Program, Place)> {
    let setting = facts.settings.get("executableName")?;
    let command = setting.value.reveal();
    let found = facts.request.environment.program(setting.value.masked(), facts.folder);
    // The daemon takes the text before the first blank for the program.
    let length = command.find(' ').unwrap_or(command.len());
    let place = match length {
        0 => Place::value(setting),
        length => Place::part(setting, 0..length),
    };
    Some((setting.value.part(0..length), found, place))
}

pub(super) fn executable_not_found(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = facts.settings.get("executableName") else { return Remarks::default() };
    let Some((name, Program::Missing { why, hint }, place)) = program(facts) else {
        return Remarks::default();
    };
    let message = format!("the daemon cannot start \"{name}\"");
    let length = setting.value.reveal().find(' ').unwrap_or(setting.value.reveal().len());
    let hint = match why == NOT_EXECUTABLE {
        true => command::not_executable(facts, setting, &(0..length)),
        false => Hint::say(hint),
    };
    Remarks::from(Remark::new(place, message).label(why).hint(hint))
}

pub(super) fn only_under_run(facts: &Facts<'_>) -> Remarks {
    let Some((name, found, place)) = program(facts) else { return Remarks::default() };
    let path = found.shown_path();
    let Program::OnlyUnderRun { why, .. } = found else { return Remarks::default() };
    if facts.request.launcher == Launcher::Run {
        return Remarks::default();
    }
    let message = format!("the daemon can start \"{name}\" only under `kcl-helper run`");
    let hint = format!(
        "start the daemon with `kcl-helper run`, which finds {path}, or write a path without \
        blanks that is right in the daemon's working folder"
    );
    Remarks::from(Remark::new(place, message).label(why).hint(Hint::say(hint)))
}
