//! Rules about keys: which are missing, unknown, misspelled, old, new, or said twice.

use std::collections::HashMap;

use super::super::keys::{self, Kind, Status};
use super::super::settings::Setting;
use super::{Facts, Place, Remark, Remarks};

pub(super) fn missing_key(facts: &Facts<'_>) -> Remarks {
    let blank = |name: &'static str| {
        facts.settings.get(name).is_none_or(|setting| setting.value.reveal().trim().is_empty())
    };
    let missing = |what: &str, example: &str| {
        Remark::new(Place::NOWHERE, format!("the daemon stops: there is no {what}"))
            .hint(format!("add `{example}`"))
    };
    let mut remarks = Remarks::default();
    if facts.settings.get("executableName").is_none() {
        remarks.push(missing("executableName", "executableName = my_processor"));
    }
    if blank("applicationName") {
        remarks.push(missing("applicationName", "applicationName = my-application"));
    }
    if blank("streamName") && blank("streamArn") {
        remarks.push(missing("streamName", "streamName = my-stream"));
    }
    let has_credentials = facts.settings.iter().any(|setting| {
        let sets = setting.row.map(keys::Key::sets).unwrap_or_default();
        sets.contains(&"kinesisCredentialsProvider")
    });
    if !has_credentials {
        remarks.push(match facts.request.version.major() {
            3.. => missing(
                "AwsCredentialsProvider",
                "AwsCredentialsProvider = DefaultCredentialsProvider",
            ),
            _ => missing(
                "AWSCredentialsProvider",
                "AWSCredentialsProvider = DefaultAWSCredentialsProviderChain",
            ),
        });
    }
    remarks
}

/// Beans whose unknown names stop the daemon, as they are builders of the SDK.
const CLIENTS: &[&str] = &["kinesisClient.", "dynamoDbClient.", "cloudWatchClient."];

/// What those builders have besides the rows of the table.
const BUILDER_METHODS: &[&str] = &[
    "accountIdEndpointMode",
    "asyncConfiguration",
    "authSchemeProvider",
    "credentialsProvider",
    "defaultsMode",
    "endpointDiscoveryEnabled",
    "endpointProvider",
    "httpClient",
    "httpClientBuilder",
    "overrideConfiguration",
];

pub(super) fn unknown_client_key(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for setting in unknown(facts) {
        let Some((client, method)) = client_key(setting.key.reveal()) else { continue };
        if BUILDER_METHODS.contains(&method) {
            continue;
        }
        remarks.add(|| {
            let message =
                format!("the daemon stops: {} has no `{method}`", client.trim_end_matches('.'));
            Remark::new(Place::key(setting), message).hint(hint_for(setting.key.reveal()))
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
        if client_key(key).is_some() || other_case(facts, key).is_some() || has_mark(key) {
            continue;
        }
        remarks.add(|| {
            let message = format!("the daemon ignores `{}`", setting.key);
            Remark::new(Place::key(setting), message).label("no such key").hint(hint_for(key))
        });
    }
    remarks
}

fn hint_for(unknown: &str) -> String {
    keys::suggestion(unknown)
        .map_or_else(|| "delete the line".to_owned(), |known| format!("did you mean `{known}`?"))
}

pub(super) fn wrong_letter_case(facts: &Facts<'_>) -> Remarks {
    // Under a client these stop the daemon, of which another rule speaks.
    let dropped = unknown(facts).filter(|setting| client_key(setting.key.reveal()).is_none());
    let remarks = dropped.filter_map(|setting| {
        let right = other_case(facts, setting.key.reveal())?;
        let message = format!("the daemon ignores `{}`", setting.key);
        let remark = Remark::new(Place::key(setting), message).label("letter case counts");
        Some(remark.hint(format!("write `{right}`")))
    });
    remarks.collect()
}

/// The key that this one would be in another letter case.
fn other_case(facts: &Facts<'_>, key: &str) -> Option<String> {
    if facts.request.version.major() < 3 {
        let rest = key.get("AWSCredentialsProvider".len()..).unwrap_or_default();
        if keys::lookup(key).is_some_and(|row| row.kind == Kind::Providers) {
            return Some(format!("AWSCredentialsProvider{rest}"));
        }
    }
    keys::in_other_case(key).map(str::to_owned)
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
    let message = format!("the daemon ignores `{key}`: a byte order mark stands before it");
    Remarks::from(
        Remark::new(Place::key(first), message).hint("save the file without a byte order mark"),
    )
}

pub(super) fn repeated_key(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.replaced().filter_map(|(old, new)| {
        // To override a file is what --set is for.
        if std::mem::discriminant(&old.origin) != std::mem::discriminant(&new.origin) {
            return None;
        }
        let message = format!("the daemon ignores this `{}`: the last one counts", old.key);
        let hint = format!("delete it, or that of {}", new.origin.describe());
        Some(Remark::new(Place::key(old), message).hint(hint))
    });
    remarks.collect()
}

pub(super) fn newer_key(facts: &Facts<'_>) -> Remarks {
    let version = facts.request.version;
    let remarks = facts.settings.iter().filter_map(|setting| {
        let since = setting.row?.since.filter(|since| *since > version)?;
        let message = format!("daemon {version} ignores `{}`", setting.key);
        let remark = Remark::new(Place::key(setting), message).label(format!("since {since}"));
        Some(remark.hint(format!("delete it, or use a daemon from {since} on")))
    });
    remarks.collect()
}

pub(super) fn dropped_key(facts: &Facts<'_>) -> Remarks {
    let remarks = facts.settings.iter().filter_map(|setting| {
        let row = setting.row?;
        let Status::Dropped(instead) = row.status else {
            return None;
        };
        // Until 3.0 the older ones may have done something.
        if row.since.is_some() && facts.request.version.major() < 3 {
            return None;
        }
        let message = format!("the daemon ignores `{}`", setting.key);
        Some(Remark::new(Place::key(setting), message).hint(instead))
    });
    remarks.collect()
}

pub(super) fn deprecated_key(facts: &Facts<'_>) -> Remarks {
    with_status(facts, Status::Deprecated)
        .map(|setting| {
            Remark::new(Place::key(setting), format!("`{}` is deprecated", setting.key))
                .hint("delete the line unless an old fleet needs it")
        })
        .collect()
}

pub(super) fn unused_key(facts: &Facts<'_>) -> Remarks {
    let unused = with_status(facts, Status::Unused)
        .filter(|setting| setting.row.is_some_and(|row| row.kind != Kind::Unusable))
        .map(|setting| (setting, ""));
    // This one is built anew by core.
    let http = facts.settings.iter().filter(|s| s.key.reveal().starts_with(KINESIS_HTTP));
    unused
        .chain(http.map(|setting| (setting, "the Kinesis client is always Netty's, with HTTP/2")))
        .map(|(setting, label)| {
            let message = format!("nothing in the daemon uses `{}`", setting.key);
            Remark::new(Place::key(setting), message).label(label).hint("delete the line")
        })
        .collect()
}

const KINESIS_HTTP: &str = "kinesisClient.httpClientBuilder";

fn with_status<'a>(facts: &'a Facts<'_>, status: Status) -> impl Iterator<Item = &'a Setting> {
    facts.settings.iter().filter(move |setting| {
        setting
            .row
            .is_some_and(|row| row.status == status && row.since <= Some(facts.request.version))
    })
}

/// Each setting that sets what an earlier one does: the earlier, itself, and the thing.
pub(super) fn rivals<'a>(facts: &'a Facts<'_>) -> Vec<(&'a Setting, &'a Setting, &'static str)> {
    let mut rivals = Vec::new();
    // Which setting sets each thing first, and its place among all.
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
    let known = setting.row.filter(|row| row.since <= Some(facts.request.version));
    let things = known.map(keys::Key::sets).unwrap_or_default();
    // What `*` stands for is another thing each time, unless the row says what it sets.
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
                .hint("keep one of them")
        })
        .collect()
}

pub(super) fn unordered_keys(facts: &Facts<'_>) -> Remarks {
    let is_family = |setting: &Setting| setting.row.is_some_and(|row| row.kind == Kind::Builder);
    let rivals = rivals(facts).into_iter().filter(|(first, second, field)| {
        is_credentials(field) && is_family(first) && is_family(second)
    });
    rivals
        .map(|(first, second, _)| {
            let message =
                format!("`{}` and `{}` are applied in no certain order", first.key, second.key);
            Remark::new(Place::key(second), message)
                .hint("use AwsCredentialsProvider, with arguments after `|`")
        })
        .collect()
}
