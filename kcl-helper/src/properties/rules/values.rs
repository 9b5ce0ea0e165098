//! Rules about single values: what stops the daemon, and what it reads as something else.

use super::super::Launcher;
use super::super::file::line;
use super::super::keys::{Key, Kind};
use super::super::secrets::in_property;
use super::super::settings::Setting;
use super::super::value::{self, Reading, StreamArn, java_trim, scheme};
use super::{Facts, Place, Remark, Remarks};
use crate::environment::Program;
use crate::secret::{Masked, is_secret_name};

/// Settings of some kind that stop the daemon, but for those that only have a blank too many.
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
        Some(Remark::new(place, message).label("this blank belongs to the value").hint("delete it"))
    });
    remarks.collect()
}

/// Names, which the daemon takes with the blank in them.
pub(super) fn kept_blank(facts: &Facts<'_>) -> Remarks {
    let names = facts.readings(|kind| matches!(kind, Kind::Text | Kind::StreamArn));
    let remarks = names.filter_map(|(setting, _, _)| {
        let is_blank = java_trim(setting.value.reveal()).is_empty();
        if is_blank || row_name(setting) == "processingLanguage" {
            return None;
        }
        let message = format!("the daemon takes \"{}\", with its blank", setting.value);
        let remark = Remark::new(blanks_at_end(setting)?, message);
        Some(remark.label("this blank belongs to the value").hint("delete it"))
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
        Remark::new(Place::value(setting), "the daemon stops: it has no time to begin at").hint(
            "instead of this line write `initialPositionInStreamExtended = <seconds since 1970>`",
        )
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
        let hint = format!("write {}", list(&known, "or"));
        Some(Remark::new(Place::value(setting), message).label(label).hint(hint))
    });
    remarks.collect()
}

/// `A, B or C`.
fn list(names: &[&str], word: &str) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

pub(super) fn bad_number(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| matches!(kind, Kind::StrictInt | Kind::EpochSeconds))
        .map(|setting| {
            let is_seconds = setting.row.is_some_and(|row| row.kind == Kind::EpochSeconds);
            let hint = if is_seconds {
                "write whole seconds since 1970, as `date +%s` prints them"
            } else {
                "write a whole number"
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
            Remark::new(Place::value(setting), message).hint("write it like PT12H or P2D")
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
                    let label = format!("taken for the scheme, as in `{shown}://`");
                    let hint = format!("write `http://{}`", setting.value);
                    return Some(Remark::new(place, message).label(label).hint(hint));
                }
                None => return None,
            };
            let shown = setting.value.to_string();
            let hint = match shown.trim_start_matches('/') {
                "" => "write a URL, or delete the line".to_owned(),
                host => format!("write `https://{}`", host.replace(' ', "")),
            };
            Some(Remark::new(Place::value(setting), message).label(label).hint(hint))
        });
    remarks.collect()
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
            Remark::new(Place::value(setting), message)
                .label(label)
                .hint("write a region such as us-east-1, or delete the line")
        })
        .collect()
}

pub(super) fn bad_stream_arn(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| kind == Kind::StreamArn)
        .map(|setting| {
            Remark::new(Place::value(setting), "the daemon stops: this is not the ARN of a stream")
                .hint(
                    "write `arn:aws:kinesis:<region>:<12 digits>:stream/<name>`, or use streamName",
                )
        })
        .collect()
}

pub(super) fn unusable_key(facts: &Facts<'_>) -> Remarks {
    stopping(facts, |kind| kind == Kind::Unusable)
        .map(|setting| {
            let message = format!("the daemon stops: no text can be a {}", setting.key);
            Remark::new(Place::key(setting), message).hint("delete the line")
        })
        .collect()
}

pub(super) fn too_many_records(facts: &Facts<'_>) -> Remarks {
    const MOST: i64 = 10_000;
    // Nothing reads the polling keys then.
    if facts.taken("retrievalMode").as_deref() == Some("FANOUT") {
        return Remarks::default();
    }
    above(facts, "maxRecords", |number| number > MOST)
        .map(|(setting, number)| {
            let message = format!("the daemon stops: {number} records are too many");
            Remark::new(Place::value(setting), message).hint(format!("write {MOST} or less"))
        })
        .collect()
}

pub(super) fn negative_segments(facts: &Facts<'_>) -> Remarks {
    above(facts, "leaseTableScanTotalSegments", |number| number < 0)
        .map(|(setting, _)| {
            Remark::new(Place::value(setting), "the daemon stops: less than no segments")
                .hint("write a number above 0, or delete the line")
        })
        .collect()
}

pub(super) fn timeout_zero(facts: &Facts<'_>) -> Remarks {
    numbers(facts, "timeoutInSeconds")
        .filter(|(_, number)| *number <= 0)
        .map(|(setting, number)| {
            let unreadable = is_unreadable(facts, setting);
            let why = if unreadable { "this means 0 seconds" } else { "that is no time" };
            let message = "the daemon halts at the first wait for the child";
            Remark::new(Place::value(setting), message)
                .label(if number == 0 { why } else { "the time is over before it begins" })
                .hint("write whole seconds, 60 or more, or delete the line to wait for ever")
        })
        .collect()
}

/// Settings of a row with the number that the daemon takes, where the number fits `pick`.
fn above<'a>(
    facts: &'a Facts<'_>,
    name: &'static str,
    pick: fn(i64) -> bool,
) -> impl Iterator<Item = (&'a Setting, i64)> {
    numbers(facts, name).filter(move |(_, number)| pick(*number))
}

/// Settings of a row with the number that the daemon takes.
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

fn default_of(row: &Key) -> String {
    match row.default {
        "" => "as if it were not there".to_owned(),
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
            Reading::Unreadable => default_of(row),
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
        Some(Remark::new(Place::value(setting), message).label(label).hint("write digits only"))
    });
    remarks.collect()
}

pub(super) fn zero_is_unset(facts: &Facts<'_>) -> Remarks {
    let is_number = |kind| matches!(kind, Kind::Int | Kind::Long | Kind::Double);
    let remarks = facts.readings(is_number).filter_map(|(setting, _, reading)| {
        let row = setting.row.filter(|row| reading == Reading::Unset && row.default != "0")?;
        let message = format!("the daemon reads `{}` as {}", setting.key, default_of(row));
        let remark = Remark::new(Place::value(setting), message).label("0 counts as not given");
        Some(remark.hint("write a number above 0, or delete the line"))
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
            Remark::new(Place::value(setting), message).hint("write a number above 0")
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
        let taken = if kind == Kind::Flag && row.default == "true" { "true" } else { "false" };
        let message = format!("the daemon reads `{}` as {taken}", setting.key);
        let cured = value::read(kind, java_trim(setting.value.reveal()), facts.request.version)
            == Reading::Taken("true".to_owned());
        let remark = match blanks_at_end(setting).filter(|_| cured) {
            Some(blank) => Remark::new(blank, message)
                .label("this blank belongs to the value")
                .hint("delete it"),
            None => Remark::new(Place::value(setting), message).hint("write true or false"),
        };
        Some(remark)
    });
    remarks.collect()
}

pub(super) fn false_is_dropped(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.readings(|kind| kind == Kind::Flag).filter_map(|(setting, _, reading)| {
        let row = setting.row?;
        (reading == Reading::Unset && row.default == "true").then(|| {
            let message = format!("the daemon leaves `{}` true", setting.key);
            Remark::new(Place::value(setting), message)
                .label("false counts as not given")
                .hint("delete the line: the file cannot turn it off")
        })
    });
    remarks.collect()
}

pub(super) fn position_in_millis(facts: &Facts<'_>) -> Remarks {
    // As seconds this is the year 5138, as milliseconds 1973.
    const FAR: i64 = 100_000_000_000;
    above(facts, "initialPositionInStreamExtended", |number| number >= FAR)
        .map(|(setting, number)| {
            Remark::new(Place::value(setting), "the daemon takes this for seconds since 1970")
                .label("these look like milliseconds")
                .hint(format!("write {}", number / 1000))
        })
        .collect()
}

pub(super) fn bake_time_clamped(facts: &Facts<'_>) -> Remarks {
    const RANGE: std::ops::RangeInclusive<i64> = 3600..=604_800;
    numbers(facts, "tableMigrationCompleteBakeTimeSeconds")
        .filter(|(_, number)| !RANGE.contains(number))
        .map(|(setting, number)| {
            let taken = number.clamp(*RANGE.start(), *RANGE.end());
            Remark::new(Place::value(setting), format!("the daemon takes {taken}")).hint(format!(
                "write {} to {}",
                RANGE.start(),
                RANGE.end()
            ))
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
                remarks.push(Remark::new(place, message).hint("write key=value, with one `=`"));
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
                .label(format!("streamArn wins, of {}", setting.origin.describe()))
                .hint("delete one of them"),
        );
    }
    let region = facts.settings.get("regionName").map(|region| &region.value);
    if let Some(region) = region.filter(|region| region.reveal() != arn.region) {
        let at = "arn:".len() + setting.value.reveal().find(":kinesis:").unwrap_or_default();
        let start = setting.value.reveal()[at..].find(arn.region).map_or(at, |found| found + at);
        let part = start..start + arn.region.len();
        let (place, shown) = (Place::part(setting, part.clone()), setting.value.part(part));
        let message = format!("the daemon looks in {region}");
        remarks.push(
            Remark::new(place, message)
                .label("of the ARN only the stream's name counts")
                .hint(format!("write regionName = {shown}, or correct the ARN")),
        );
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
        let message = format!("the daemon takes `{shown}` as it stands");
        let hint = if rest.starts_with('(') {
            "write the value, or give it with `kcl-helper run --set KEY=VALUE`"
        } else {
            "write the value, or let `kcl-helper run --expand-env` put the variable's in its place"
        };
        let remark = Remark::new(Place::part(setting, start..end), message);
        Some(remark.label("nothing is expanded").hint(hint))
    });
    remarks.collect()
}

/// Letters that were UTF-8 when they were written.
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
            true => format!("write `{}`", line(&setting.key.to_string(), meant).trim_end()),
            false => "write \\uXXXX for each letter that is not ASCII".to_owned(),
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
        Some(
            Remark::new(place, "the daemon writes this secret into its log")
                .hint("give it by the environment or a profile, and change it if it was in a log"),
        )
    });
    remarks.collect()
}

/// The one setting of the program, and what came of looking for it.
fn program(facts: &Facts<'_>) -> Option<(Masked, Program, Place)> {
    let setting = facts.settings.get("executableName")?;
    let command = setting.value.reveal();
    let found = facts.request.environment.program(setting.value.masked(), facts.folder);
    // What the daemon takes for the program ends at the first blank.
    let length = command.find(' ').unwrap_or(command.len());
    let place = match length {
        0 => Place::value(setting),
        length => Place::part(setting, 0..length),
    };
    Some((setting.value.part(0..length), found, place))
}

pub(super) fn executable_not_found(facts: &Facts<'_>) -> Remarks {
    let Some((name, Program::Missing { why, hint }, place)) = program(facts) else {
        return Remarks::default();
    };
    let message = format!("the daemon cannot start \"{name}\"");
    Remarks::from(Remark::new(place, message).label(why).hint(hint))
}

pub(super) fn only_under_run(facts: &Facts<'_>) -> Remarks {
    let Some((name, found, place)) = program(facts) else { return Remarks::default() };
    let path = found.shown_path();
    let Program::OnlyUnderRun { why, .. } = found else { return Remarks::default() };
    if facts.request.launcher == Launcher::Run {
        return Remarks::default();
    }
    let message = format!("only under `kcl-helper run` can the daemon start \"{name}\"");
    let hint = format!(
        "start it with `kcl-helper run`, which finds {path}, or give a path without blanks that \
        fits the daemon's working folder"
    );
    Remarks::from(Remark::new(place, message).label(why).hint(hint))
}
