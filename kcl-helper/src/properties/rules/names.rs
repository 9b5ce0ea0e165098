//! Rules about keys: which are missing, unknown, misspelled, old, new, or said twice.

use super::super::keys::{self, Kind, Status};
use super::super::settings::Setting;
use super::{Facts, Place, Remark};

pub(super) fn missing_key(facts: &Facts<'_>) -> Vec<Remark> {
    let blank = |name: &'static str| {
        facts.settings.get(name).is_none_or(|setting| setting.value.as_str().trim().is_empty())
    };
    let missing = |what: &str, example: &str| {
        Remark::new(Place::NOWHERE, format!("the daemon stops: there is no {what}"))
            .hint(format!("add `{example}`"))
    };
    let mut remarks = Vec::new();
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

pub(super) fn unknown_client_key(facts: &Facts<'_>) -> Vec<Remark> {
    let unknown = unknown(facts).filter_map(|setting| {
        let (client, method) = client_key(setting.key.as_str())?;
        if BUILDER_METHODS.contains(&method) {
            return None;
        }
        let message =
            format!("the daemon stops: {} has no `{method}`", client.trim_end_matches('.'));
        let hint = keys::suggestion(setting.key.as_str())
            .map_or_else(|| "delete the line".to_owned(), |key| format!("did you mean `{key}`?"));
        Some(Remark::new(Place::key(setting), message).hint(hint))
    });
    unknown.collect()
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

pub(super) fn unknown_key(facts: &Facts<'_>) -> Vec<Remark> {
    let remarks = unknown(facts).filter_map(|setting| {
        let key = setting.key.as_str();
        if client_key(key).is_some() || other_case(facts, key).is_some() || has_mark(key) {
            return None;
        }
        let hint = match keys::suggestion(key) {
            Some(known) => format!("did you mean `{known}`?"),
            None if key.contains('.') => "delete the line".to_owned(),
            None => "delete the line; --explain KEY shows a key".to_owned(),
        };
        let message = format!("the daemon ignores `{key}`");
        Some(Remark::new(Place::key(setting), message).label("no such key").hint(hint))
    });
    remarks.collect()
}

pub(super) fn wrong_letter_case(facts: &Facts<'_>) -> Vec<Remark> {
    let remarks = unknown(facts).filter_map(|setting| {
        let right = other_case(facts, setting.key.as_str())?;
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
    let (bean, name) = key.rsplit_once('.').unwrap_or(("", key));
    let whole = keys::spellings().find(|known| known.eq_ignore_ascii_case(key));
    let in_bean = || {
        let row = keys::KEYS.iter().find(|row| {
            !row.bean.is_empty()
                && row.bean.eq_ignore_ascii_case(bean)
                && row.name.eq_ignore_ascii_case(name)
        })?;
        Some(format!("{}.{}", row.bean, row.name))
    };
    whole.map(str::to_owned).or_else(in_bean)
}

/// A byte order mark as Java reads it.
const MARK: &str = "\u{ef}\u{bb}\u{bf}";

fn has_mark(key: &str) -> bool {
    key.starts_with(MARK)
}

pub(super) fn byte_order_mark(facts: &Facts<'_>) -> Vec<Remark> {
    let Some(first) = facts.settings.iter().find(|setting| has_mark(setting.key.as_str())) else {
        return Vec::new();
    };
    let key = &first.key.as_str()[MARK.len()..];
    let message = format!("the daemon ignores `{key}`: a byte order mark stands before it");
    vec![Remark::new(Place::key(first), message).hint("save the file without a byte order mark")]
}

pub(super) fn repeated_key(facts: &Facts<'_>) -> Vec<Remark> {
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

pub(super) fn newer_key(facts: &Facts<'_>) -> Vec<Remark> {
    let version = facts.request.version;
    let remarks = facts.settings.iter().filter_map(|setting| {
        let since = setting.row?.since.filter(|since| *since > version)?;
        let message = format!("daemon {version} ignores `{}`", setting.key);
        let remark = Remark::new(Place::key(setting), message).label(format!("since {since}"));
        Some(remark.hint(format!("delete it, or use a daemon from {since} on")))
    });
    remarks.collect()
}

pub(super) fn dropped_key(facts: &Facts<'_>) -> Vec<Remark> {
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

pub(super) fn deprecated_key(facts: &Facts<'_>) -> Vec<Remark> {
    with_status(facts, Status::Deprecated)
        .map(|setting| {
            Remark::new(Place::key(setting), format!("`{}` is deprecated", setting.key))
                .hint("delete the line unless an old fleet needs it")
        })
        .collect()
}

pub(super) fn unused_key(facts: &Facts<'_>) -> Vec<Remark> {
    with_status(facts, Status::Unused)
        .filter(|setting| setting.row.is_some_and(|row| row.kind != Kind::Unusable))
        .map(|setting| {
            let message = format!("nothing in the daemon uses `{}`", setting.key);
            Remark::new(Place::key(setting), message).hint("delete the line")
        })
        .collect()
}

fn with_status<'a>(facts: &'a Facts<'_>, status: Status) -> impl Iterator<Item = &'a Setting> {
    facts.settings.iter().filter(move |setting| {
        setting
            .row
            .is_some_and(|row| row.status == status && row.since <= Some(facts.request.version))
    })
}

/// Pairs of settings that set one thing, the later one second.
pub(super) fn rivals<'a>(facts: &'a Facts<'_>) -> Vec<(&'a Setting, &'a Setting, &'static str)> {
    let all: Vec<&Setting> = facts.settings.iter().collect();
    let mut rivals = Vec::new();
    for (index, second) in all.iter().enumerate() {
        for first in &all[..index] {
            let (Some(a), Some(b)) = (first.row, second.row) else { continue };
            // Names under `*` are each a thing of their own, unless the row says what they set.
            let own = |row: &keys::Key| row.name.ends_with('*') && row.sets() == [row.name];
            if own(a) || own(b) {
                continue;
            }
            let b = b.sets();
            if let Some(common) = a.sets().into_iter().find(|field| b.contains(field)) {
                rivals.push((*first, *second, common));
            }
        }
    }
    rivals
}

fn is_credentials(field: &str) -> bool {
    field.ends_with("CredentialsProvider")
}

pub(super) fn two_keys_one_field(facts: &Facts<'_>) -> Vec<Remark> {
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

pub(super) fn unordered_keys(facts: &Facts<'_>) -> Vec<Remark> {
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
