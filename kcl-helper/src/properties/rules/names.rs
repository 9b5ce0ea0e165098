//! Rules about keys: missing, unknown, misspelled, old, new, or set twice.

use std::collections::HashMap;

use super::super::Version;
use super::super::keys::{self, Instead, Key, Kind, Status, V2_7, V3};
use super::super::settings::Setting;
use super::production::is_only_polling_key;
use super::{Facts, Hint, Place, Remark, Remarks};

pub(super) fn missing_key(facts: &Facts<'_>) -> Remarks {
    let blank = |name: &'static str| {
        facts.settings.get(name).is_none_or(|setting| setting.value.reveal().trim().is_empty())
    };
    let missing = |name: &'static str, example: &str| {
        let message = format!("the daemon stops: {} is missing", facts.spelling(name));
        Remark::new(Place::NOWHERE, message).hint(facts.put(name, example))
    };
    let mut remarks = Remarks::default();
    if facts.settings.get("executableName").is_none() {
        remarks.push(missing("executableName", "my_processor"));
    }
    if blank("applicationName") {
        remarks.push(missing("applicationName", "my-application"));
    }
    let reads_arn = facts.version() >= Version::new(2, 5, 1);
    if blank("streamName") && (blank("streamArn") || !reads_arn) {
        remarks.push(missing("streamName", "my-stream"));
    }
    let has_credentials = facts.settings.iter().any(|setting| {
        let sets = setting.row.map(Key::sets).unwrap_or_default();
        sets.contains(&"kinesisCredentialsProvider")
    });
    if !has_credentials {
        let provider = match facts.version() < V2_7 {
            true => "DefaultAWSCredentialsProviderChain",
            false => "DefaultCredentialsProvider",
        };
        remarks.push(missing("AwsCredentialsProvider", provider));
    }
    remarks
}

/// Beans whose unknown names stop the daemon, as they are builders of the SDK.
const CLIENTS: &[&str] = &["kinesisClient.", "dynamoDbClient.", "cloudWatchClient."];

/// Methods of those builders whose argument no text can be converted to.
const UNCONVERTIBLE: &[&str] = &[
    "accountIdEndpointMode",
    "asyncConfiguration",
    "authSchemeProvider",
    "credentialsProvider",
    "defaultsMode",
    "endpointProvider",
    "httpClient",
    "httpClientBuilder",
    "overrideConfiguration",
];

/// What the file can set below `overrideConfiguration`.
const OVERRIDES: &[&str] = &["apiCallAttemptTimeout", "apiCallTimeout", "defaultProfileName"];

pub(super) fn unknown_client_key(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for setting in facts.settings.iter() {
        let key = setting.key.reveal();
        let Some((client, method)) = client_key(key) else { continue };
        let client = client.trim_end_matches('.');
        let deeper = key.strip_prefix(&format!("{client}.overrideConfiguration."));
        let is_known = deeper.is_some_and(|method| OVERRIDES.contains(&method));
        // Before 3.0 no text becomes a duration.
        let is_duration = deeper.is_some_and(|method| method.ends_with("Timeout"));
        let is_override = is_known && (facts.version() >= V3 || !is_duration);
        let row = setting.row.filter(|row| row.is_read_in(facts.version()));
        let is_row = row.is_some() && deeper.is_none();
        // A class of somebody's may be on the class path.
        let is_class = key.ends_with(".class") && setting.value.reveal().contains('.');
        if is_row || is_override || is_class {
            continue;
        }
        remarks.add(|| {
            let message = match deeper {
                Some(deeper) if is_known => {
                    format!("the daemon stops: before 3.0 no text can be converted for `{deeper}`")
                }
                Some(deeper) => {
                    format!("the daemon stops: overrideConfiguration has no `{deeper}`")
                }
                None if UNCONVERTIBLE.contains(&method) => {
                    format!("the daemon stops: no text can be converted for `{method}`")
                }
                None => format!("the daemon stops: {client} has no `{method}`"),
            };
            let is_unconvertible = UNCONVERTIBLE.contains(&method) || deeper.is_some();
            let hint =
                if is_unconvertible { Hint::delete_line(setting) } else { meant(facts, setting) };
            Remark::new(Place::key(setting), message).hint(hint)
        });
    }
    remarks
}

/// The client of such a key, and the method of its builder.
fn client_key(key: &str) -> Option<(&'static str, &str)> {
    let client = CLIENTS.iter().find(|client| key.starts_with(*client))?;
    let rest = &key[client.len()..];
    Some((client, rest.split('.').next().unwrap_or(rest)))
}

fn unknown<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a Setting> {
    facts.settings.iter().filter(|setting| setting.row.is_none())
}

pub(super) fn unknown_key(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for setting in unknown(facts) {
        let key = setting.key.reveal();
        if client_key(key).is_some() || other_spelling(facts, key).is_some() || has_mark(key) {
            continue;
        }
        remarks.add(|| {
            let message = format!("the daemon ignores `{}`", setting.key);
            let remark = Remark::new(Place::key(setting), message).label("no such key");
            remark.hint(meant(facts, setting))
        });
    }
    remarks
}

/// The hint for an unknown key.
fn meant(facts: &Facts<'_>, setting: &Setting) -> Hint {
    match keys::suggestion(setting.key.reveal()) {
        Some(known) => facts.rename(setting, known),
        None => Hint::delete_line(setting),
    }
}

pub(super) fn wrong_letter_case(facts: &Facts<'_>) -> Remarks {
    // Those of clients stop the daemon, which is another rule.
    let ignored = unknown(facts).filter(|setting| client_key(setting.key.reveal()).is_none());
    let remarks = ignored.filter_map(|setting| {
        let key = setting.key.reveal();
        let right = other_spelling(facts, key)?;
        let message = format!("the daemon ignores `{}`", setting.key);
        let label = match right.eq_ignore_ascii_case(key) {
            true => "letter case counts".to_owned(),
            false => format!("daemon {} spells it differently", facts.version()),
        };
        let set = facts.settings.iter().any(|other| other.key.reveal() == right);
        let hint = match set {
            false => Hint::write(Place::key(setting), right),
            true => Hint::delete_line(setting).note(&format!(": `{right}` is set as well")),
        };
        Some(Remark::new(Place::key(setting), message).label(label).hint(hint))
    });
    remarks.collect()
}

/// The spelling of this daemon for a key that it does not know as it is written.
fn other_spelling(facts: &Facts<'_>, key: &str) -> Option<String> {
    if let Some(row) = keys::lookup(key).filter(|row| !row.is_ignored()) {
        return Some(row.spelling_in(facts.version()).into_owned());
    }
    let known = keys::lookup(keys::in_other_case(key)?)?;
    let spelling = keys::in_other_case(key)?;
    let is_of_row = known.kind == Kind::Providers;
    Some(if is_of_row { known.spelling_in(facts.version()).into_owned() } else { spelling.into() })
}

/// A byte order mark as Java reads it.
const MARK: &str = "\u{ef}\u{bb}\u{bf}";

fn has_mark(key: &str) -> bool {
    key.starts_with(MARK)
}

pub(super) fn byte_order_mark(facts: &Facts<'_>) -> Remarks {
    let Some(first) = facts.settings.iter().find(|setting| has_mark(setting.key.reveal())) else {
        return Remarks::default();
    };
    let key = first.key.part(MARK.len()..first.key.reveal().len());
    let message = format!("the daemon ignores `{key}`: a byte order mark is before it");
    let mark = Place { span: 0..3, ..Place::key(first) };
    let hint = Hint::delete(mark).note(": save the file without a byte order mark");
    Remarks::from(Remark::new(Place::key(first), message).hint(hint))
}

pub(super) fn repeated_key(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.replaced().filter_map(|(old, new)| {
        // --set is meant to override a line.
        if std::mem::discriminant(&old.origin) != std::mem::discriminant(&new.origin) {
            return None;
        }
        let message = format!("the daemon ignores this `{}`: the last one wins", old.key);
        let hint = Hint::delete_line(old)
            .or(Hint::delete_line(new).note(&format!(" that wins, {}", new.origin.describe())));
        Some(Remark::new(Place::key(old), message).hint(hint))
    });
    remarks.collect()
}

pub(super) fn newer_key(facts: &Facts<'_>) -> Remarks {
    let version = facts.version();
    let remarks = facts.settings.iter().filter_map(|setting| {
        // Below a client it stops the daemon, which is another rule.
        let row = setting.row.filter(|_| client_key(setting.key.reveal()).is_none())?;
        let since = row.since.filter(|since| *since > version)?;
        let message = format!("daemon {version} ignores `{}`", setting.key);
        let remark = Remark::new(Place::key(setting), message).label(format!("since {since}"));
        let upgrade = Hint::say(format!("run a daemon from {since} on"));
        Some(remark.hint(Hint::delete_line(setting).or(upgrade)))
    });
    remarks.collect()
}

pub(super) fn dropped_key(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter_map(|setting| {
        let row = setting.row?;
        // Another rule reports keys of newer versions.
        let is_newer = row.since.is_some_and(|since| since > facts.version());
        let Status::Ignored(instead) = row.status_in(facts.version()) else { return None };
        if is_newer {
            return None;
        }
        let message = format!("the daemon ignores `{}`", setting.key);
        let hint = match instead {
            Instead::Key(name) => facts.rename(setting, name),
            Instead::Nothing(why) => Hint::delete_line(setting).note(&format!(": {why}")),
            Instead::Say(what) => Hint::delete_line(setting).note(&format!(", and {what}")),
        };
        Some(Remark::new(Place::key(setting), message).hint(hint))
    });
    remarks.collect()
}

pub(super) fn deprecated_key(facts: &Facts<'_>) -> Remarks {
    let deprecated = with_status(facts, Status::Deprecated);
    let remarks = deprecated.map(|setting| {
        let message = format!("`{}` is deprecated", setting.key);
        let remark = Remark::new(Place::key(setting), message);
        let is_table = setting.row.is_some_and(|row| row.bean.ends_with("TableConfigBean"));
        match is_table {
            true => remark.label("the daemon uses it until the table migration is complete").hint(
                Hint::say("keep the line until the migration's state is COMPLETE, then delete it"),
            ),
            false => remark
                .label("it acts in 2.x compatible mode only")
                .hint(Hint::delete_line(setting).note(" once no worker of 2.x runs")),
        }
    });
    remarks.collect()
}

pub(super) fn unused_key(facts: &Facts<'_>) -> Remarks {
    with_status(facts, Status::Unused)
        .filter(|setting| setting.row.is_some_and(|row| row.kind != Kind::Unusable))
        // Without this one the daemon would use fan-out, which another rule reports.
        .filter(|setting| !is_only_polling_key(facts, setting))
        .map(|setting| {
            let message = format!("the daemon reads `{}`, but does not use it", setting.key);
            Remark::new(Place::key(setting), message).hint(Hint::delete_line(setting))
        })
        .collect()
}

fn with_status<'a>(facts: &'a Facts<'_>, status: Status) -> impl Iterator<Item = &'a Setting> {
    let version = facts.version();
    facts.settings.iter().filter(move |setting| {
        let row = setting.row.filter(|row| row.since <= Some(version));
        row.is_some_and(|row| row.status_in(version) == status)
    })
}

/// Each setting that sets the same thing as an earlier one: the earlier, itself, and the thing.
pub(super) fn rivals<'a>(facts: &'a Facts<'_>) -> Vec<(&'a Setting, &'a Setting, &'static str)> {
    let mut rivals = Vec::new();
    // The first setting of each thing, and its index.
    let mut firsts: HashMap<&'static str, (usize, &Setting)> = HashMap::new();
    for (index, second) in facts.settings.iter().enumerate() {
        let sets = things_set(facts, second);
        let rival = sets.iter().filter_map(|thing| firsts.get(thing)).min_by_key(|(at, _)| *at);
        if let Some((_, first)) = rival {
            let things = things_set(facts, first);
            let thing = things.into_iter().find(|thing| sets.contains(thing));
            rivals.extend(thing.map(|thing| (*first, second, thing)));
        }
        for thing in sets {
            firsts.entry(thing).or_insert((index, second));
        }
    }
    rivals
}

fn things_set(facts: &Facts<'_>, setting: &Setting) -> Vec<&'static str> {
    let known = setting.row.filter(|row| row.is_read_in(facts.version()));
    let things = known.map(Key::sets).unwrap_or_default();
    // `*` is a different thing each time, unless the row says what it sets.
    things.into_iter().filter(|thing| !thing.ends_with('*')).collect()
}

fn is_credentials(field: &str) -> bool {
    field.ends_with("CredentialsProvider")
}

pub(super) fn two_keys_one_field(facts: &Facts<'_>) -> Remarks {
    let rivals = rivals(facts).into_iter().filter(|(_, _, field)| !is_credentials(field));
    rivals
        .map(|(first, second, _)| {
            let message =
                format!("`{}` and `{}` set the same thing: either may win", second.key, first.key);
            Remark::new(Place::key(second), message)
                .label(format!("so does {}", first.origin.describe()))
                .hint(keep_one(first, second))
        })
        .collect()
}

/// The hint to delete one of two settings.
pub(super) fn keep_one(first: &Setting, second: &Setting) -> Hint {
    let sets = |setting: &Setting| setting.row.map(Key::sets).unwrap_or_default();
    let is_part =
        |one: &Setting, of: &Setting| sets(one).iter().all(|thing| sets(of).contains(thing));
    let other = Hint::delete_line(first).note(&format!(" of `{}`", first.key));
    match (is_part(second, first), is_part(first, second)) {
        (true, false) => Hint::delete_line(second),
        (false, true) => other,
        _ => Hint::delete_line(second).or(other),
    }
}

pub(super) fn unordered_keys(facts: &Facts<'_>) -> Remarks {
    let is_family = |setting: &Setting| setting.row.is_some_and(|row| row.kind == Kind::Builder);
    let rivals = rivals(facts).into_iter().filter(|(first, second, field)| {
        is_credentials(field) && is_family(first) && is_family(second)
    });
    rivals
        .map(|(first, second, _)| {
            let message =
                format!("`{}` and `{}` are applied in no particular order", first.key, second.key);
            let name = facts.spelling("AwsCredentialsProvider");
            let hint = format!("use `{name}` instead, which takes arguments after `|`");
            Remark::new(Place::key(second), message).hint(Hint::say(hint))
        })
        .collect()
}
