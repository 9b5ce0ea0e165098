//! Rules about what hurts later: costs, stops that lose work, starts that miss records.

use super::super::Launcher;
use super::super::value::Reading;
use super::values::numbers;
use super::{Facts, Place, Remark, Remarks};

/// Keys that make DEFAULT poll.
const POLLING_KEYS: &[&str] = &[
    "maxRecords",
    "idleTimeBetweenReadsInMillis",
    "millisBehindLatestThresholdForReducedTps",
    "retryGetRecordsInSeconds",
    "maxGetRecordsThreadPool",
];

/// The mode that is asked for; `None` where the daemon stops at it.
fn mode(facts: &Facts<'_>) -> Option<String> {
    match facts.settings.get("retrievalMode") {
        None => Some("DEFAULT".to_owned()),
        Some(_) => facts.taken("retrievalMode"),
    }
}

/// Polling keys whose value is applied, so that DEFAULT polls.
fn applied<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a super::Setting> {
    let all = POLLING_KEYS.iter().flat_map(|name| facts.settings.of(name));
    all.filter(|setting| {
        let known = setting.row.is_some_and(|row| row.since <= Some(facts.request.version));
        let reading = facts.reading(setting);
        known && matches!(reading, Some(Reading::Taken(_) | Reading::UnreadableTaken(_)))
    })
}

pub(super) fn other_retrieval_mode(facts: &Facts<'_>) -> Remarks {
    let unread = match mode(facts).as_deref() {
        Some("FANOUT") => applied(facts).collect::<Vec<_>>(),
        Some("POLLING") => fan_out_keys(facts),
        Some("DEFAULT") if applied(facts).next().is_some() => fan_out_keys(facts),
        _ => return Remarks::default(),
    };
    let polls = mode(facts).as_deref() != Some("FANOUT");
    let remarks = unread.into_iter().map(|setting| {
        let message = format!("the daemon does not look at `{}`", setting.key);
        let label = if polls { "it polls" } else { "it does not poll" };
        let hint = "delete the line, or choose the other retrievalMode";
        Remark::new(Place::key(setting), message).label(label).hint(hint)
    });
    remarks.collect()
}

fn fan_out_keys<'a>(facts: &'a Facts<'_>) -> Vec<&'a super::Setting> {
    let is_fan_out = |setting: &&super::Setting| {
        setting.row.is_some_and(|row| row.name.starts_with("fanoutConfig."))
    };
    facts.settings.iter().filter(is_fan_out).collect()
}

pub(super) fn polling_by_leftover(facts: &Facts<'_>) -> Remarks {
    if mode(facts).as_deref() != Some("DEFAULT") {
        return Remarks::default();
    }
    let unused = ["retryGetRecordsInSeconds", "maxGetRecordsThreadPool"];
    let mut all = applied(facts);
    let first = all.next();
    let Some(setting) = first.filter(|setting| {
        setting.row.is_some_and(|row| unused.contains(&row.name)) && all.next().is_none()
    }) else {
        return Remarks::default();
    };
    let message = format!("the daemon polls because of `{}`, which it has no use for", setting.key);
    let hint = "delete the line, and write retrievalMode = POLLING if polling is meant";
    Remarks::from(Remark::new(Place::key(setting), message).hint(hint))
}

pub(super) fn fan_out_by_default(facts: &Facts<'_>) -> Remarks {
    if mode(facts).as_deref() != Some("DEFAULT") || applied(facts).next().is_some() {
        return Remarks::default();
    }
    let place = facts.settings.get("retrievalMode").map_or(Place::NOWHERE, Place::value);
    let message = "the daemon registers an enhanced fan-out consumer, which is billed for each \
        shard-hour and gigabyte";
    let hint = "write retrievalMode = FANOUT if that is meant, else retrievalMode = POLLING";
    Remarks::from(Remark::new(place, message).hint(hint))
}

pub(super) fn no_shutdown_grace(facts: &Facts<'_>) -> Remarks {
    let setting = facts.settings.get("shutdownGraceMillis");
    let grace = numbers(facts, "shutdownGraceMillis").next().map_or(0, |(_, millis)| millis);
    // `kcl-helper run` sets one, and says so.
    if grace != 0 || facts.request.launcher == Launcher::Run {
        return Remarks::default();
    }
    let place = setting.map_or(Place::NOWHERE, Place::value);
    let message = "a stopping daemon does not wait: no child is asked to checkpoint";
    Remarks::from(Remark::new(place, message).hint("write shutdownGraceMillis = 30000"))
}

pub(super) fn few_threads(facts: &Facts<'_>) -> Remarks {
    numbers(facts, "maxActiveThreads")
        .filter(|(_, number)| (1..=3).contains(number))
        .map(|(setting, _)| {
            Remark::new(Place::value(setting), "the daemon can stand still for ever")
                .label("not enough for one shard")
                .hint("write 1 + 3 for each shard of this worker, or delete the line for no limit")
        })
        .collect()
}

pub(super) fn short_idle_time(facts: &Facts<'_>) -> Remarks {
    const LEAST: i64 = 200;
    numbers(facts, "idleTimeBetweenReadsInMillis")
        .filter(|(_, number)| (1..LEAST).contains(number))
        .map(|(setting, _)| {
            Remark::new(Place::value(setting), format!("the daemon takes {LEAST}"))
                .label("too short for the limit of 5 reads a second of each shard")
                .hint(format!("write {LEAST} or more"))
        })
        .collect()
}

pub(super) fn latest_by_omission(facts: &Facts<'_>) -> Remarks {
    let names = ["initialPositionInStream", "initialPositionInStreamExtended"];
    if names.iter().any(|name| facts.settings.get(name).is_some()) {
        return Remarks::default();
    }
    let message = "a new application misses what is in the stream already: it begins at LATEST";
    let hint = "write initialPositionInStream = TRIM_HORIZON, or = LATEST if that is meant";
    Remarks::from(Remark::new(Place::NOWHERE, message).hint(hint))
}

pub(super) fn short_timeout(facts: &Facts<'_>) -> Remarks {
    const LEAST: i64 = 60;
    numbers(facts, "timeoutInSeconds")
        .filter(|(_, number)| (1..LEAST).contains(number))
        .map(|(setting, number)| {
            let message = format!(
                "the daemon halts, with all its shards, when a child is silent for {number} s"
            );
            Remark::new(Place::value(setting), message).hint(format!("write {LEAST} or more"))
        })
        .collect()
}

pub(super) fn no_region(facts: &Facts<'_>) -> Remarks {
    let request = facts.request;
    let clients = ["kinesisClient.region", "dynamoDbClient.region", "cloudWatchClient.region"];
    let in_file = facts.settings.get("regionName").is_some()
        || clients.iter().all(|name| facts.settings.get(name).is_some());
    if in_file || request.environment.region(request.jvm_args).is_some() {
        return Remarks::default();
    }
    let message = "no region in file, environment, JVM arguments or profile: the daemon stops \
        unless instance metadata gives one";
    let mut hint = "write regionName = us-east-1, or whichever it is".to_owned();
    if request.environment.variable("AWS_DEFAULT_REGION").is_some() {
        hint.push_str("; Java does not look at AWS_DEFAULT_REGION");
    }
    Remarks::from(Remark::new(Place::NOWHERE, message).hint(hint))
}

pub(super) fn metrics_to_aws(facts: &Facts<'_>) -> Remarks {
    let is_here = |setting: &&super::Setting| {
        let text = setting.value.reveal();
        let host = text.split_once("://").map_or(text, |(_, rest)| rest);
        ["localhost", "127.", "[::1]", "0.0.0.0"].iter().any(|name| host.starts_with(name))
    };
    let mut endpoints = ["kinesisEndpoint", "kinesisClient.endpointOverride"]
        .into_iter()
        .filter_map(|name| facts.settings.get(name));
    let Some(endpoint) = endpoints.find(is_here) else { return Remarks::default() };
    let elsewhere = facts.settings.get("cloudWatchClient.endpointOverride").is_some()
        || facts.taken("metricsLevel").as_deref() == Some("NONE")
        || facts.request.environment.endpoint("CLOUDWATCH", facts.request.jvm_args).is_some();
    if elsewhere {
        return Remarks::default();
    }
    let message = "the daemon sends metrics to CloudWatch at AWS all the same";
    let hint = "write metricsLevel = NONE, or cloudWatchClient.endpointOverride = <URL>";
    Remarks::from(Remark::new(Place::value(endpoint), message).label("not AWS").hint(hint))
}
