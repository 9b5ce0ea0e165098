//! Rules about what costs money or loses work later: billing, stops, missed records.

use super::super::Launcher;
use super::super::keys::{KEYS, Status, V2_1, V3};
use super::super::value::Reading;
use super::values::numbers;
use super::{Facts, Hint, Place, Remark, Remarks};

/// The mode that the file asks for; `None` if it stops the daemon.
fn mode(facts: &Facts<'_>) -> Option<String> {
    match facts.settings.get("retrievalMode") {
        None => Some("DEFAULT".to_owned()),
        Some(_) => facts.used("retrievalMode"),
    }
}

/// Polling keys that the daemon applies, so that DEFAULT polls.
fn applied<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a super::Setting> {
    let keys = KEYS.iter().filter(|key| key.is_polling());
    let all = keys.flat_map(|key| facts.settings.of(key.name));
    all.filter(|setting| {
        let known = setting.row.is_some_and(|row| row.is_read_in(facts.version()));
        let reading = facts.reading(setting);
        known && matches!(reading, Some(Reading::Taken(_) | Reading::UnreadableTaken(_)))
    })
}

/// Whether the daemon polls only because of this setting.
pub(super) fn is_only_polling_key(facts: &Facts<'_>, setting: &super::Setting) -> bool {
    let mut all = applied(facts);
    mode(facts).as_deref() == Some("DEFAULT")
        && all.next().is_some_and(|first| std::ptr::eq(first, setting))
        && all.next().is_none()
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
        let message = format!("the daemon does not use `{}`", setting.key);
        let label = if polls { "it polls" } else { "it does not poll" };
        let hint = Hint::delete_line(setting);
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
    let unused = applied(facts).next().filter(|setting| {
        let row = setting.row;
        row.is_some_and(|row| row.status_in(facts.version()) == Status::Unused)
    });
    let Some(setting) = unused.filter(|setting| is_only_polling_key(facts, setting)) else {
        return Remarks::default();
    };
    let message =
        format!("the daemon polls only because of `{}`, which it does not use", setting.key);
    let hint = match facts.settings.get("retrievalMode") {
        None => Hint::replace_line(setting, "retrievalMode", "POLLING"),
        Some(_) => facts.put("retrievalMode", "POLLING"),
    };
    let hint = hint.note(" if polling is meant");
    Remarks::from(Remark::new(Place::key(setting), message).hint(hint))
}

pub(super) fn fan_out_by_default(facts: &Facts<'_>) -> Remarks {
    if mode(facts).as_deref() != Some("DEFAULT") || applied(facts).next().is_some() {
        return Remarks::default();
    }
    let place = facts.settings.get("retrievalMode").map_or(Place::NOWHERE, Place::value);
    let message = "the daemon registers an enhanced fan-out consumer, which is billed for each \
        shard-hour and gigabyte";
    let hint = facts
        .put("retrievalMode", "FANOUT")
        .note(" if that is meant")
        .or(facts.put("retrievalMode", "POLLING"));
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
    Remarks::from(Remark::new(place, message).hint(facts.put("shutdownGraceMillis", "30000")))
}

pub(super) fn few_threads(facts: &Facts<'_>) -> Remarks {
    numbers(facts, "maxActiveThreads")
        .filter(|(_, number)| (1..=3).contains(number))
        .map(|(setting, _)| {
            let hint = Hint::delete_line(setting).note(" for no limit").or(Hint::example(
                Place::value(setting),
                "1 + 3 for each shard of this worker",
                "31",
            ));
            Remark::new(Place::value(setting), "the daemon can deadlock")
                .label("not enough for one shard")
                .hint(hint)
        })
        .collect()
}

pub(super) fn short_idle_time(facts: &Facts<'_>) -> Remarks {
    const LEAST: i64 = 200;
    let is_raised = facts.version() >= V3;
    numbers(facts, "idleTimeBetweenReadsInMillis")
        .filter(|(_, number)| (1..LEAST).contains(number))
        .map(|(setting, _)| {
            let message = match is_raised {
                true => format!("the daemon uses {LEAST}"),
                false => "the daemon reads more often than Kinesis allows".to_owned(),
            };
            Remark::new(Place::value(setting), message)
                .label("too short for the limit of 5 reads a second of each shard")
                .hint(Hint::write(Place::value(setting), LEAST.to_string()).note(" or more"))
        })
        .collect()
}

pub(super) fn latest_by_omission(facts: &Facts<'_>) -> Remarks {
    let names = ["initialPositionInStream", "initialPositionInStreamExtended"];
    if names.iter().any(|name| facts.settings.get(name).is_some()) {
        return Remarks::default();
    }
    let message =
        "a new application starts at LATEST, and misses the records that are in the stream";
    let hint = facts
        .put("initialPositionInStream", "TRIM_HORIZON")
        .or(facts.put("initialPositionInStream", "LATEST").note(" if that is meant"));
    Remarks::from(Remark::new(Place::NOWHERE, message).hint(hint))
}

pub(super) fn short_timeout(facts: &Facts<'_>) -> Remarks {
    const LEAST: i64 = 60;
    numbers(facts, "timeoutInSeconds")
        .filter(|(_, number)| (1..LEAST).contains(number))
        .map(|(setting, number)| {
            let message = format!(
                "the daemon halts, with all its shards, if a child is silent for {number} s"
            );
            let hint = Hint::write(Place::value(setting), LEAST.to_string()).note(" or more");
            Remark::new(Place::value(setting), message).hint(hint)
        })
        .collect()
}

pub(super) fn no_region(facts: &Facts<'_>) -> Remarks {
    let request = facts.request;
    let clients = ["kinesisClient.region", "dynamoDbClient.region", "cloudWatchClient.region"];
    let in_file = facts.settings.get("regionName").is_some()
        || (facts.version() >= V2_1
            && clients.iter().all(|name| facts.settings.get(name).is_some()));
    if in_file || request.environment.region(request.jvm_args).is_some() {
        return Remarks::default();
    }
    let message = "no region in file, environment, JVM arguments or profile: the daemon stops \
        unless instance metadata gives one";
    let variable = request.environment.variable("AWS_DEFAULT_REGION");
    let hint = match variable {
        Some(region) if super::regions::is_region(region) => {
            facts.put("regionName", region).note(": the daemon does not read AWS_DEFAULT_REGION")
        }
        _ => facts.put("regionName", "us-east-1").note(", or the region of the stream"),
    };
    Remarks::from(Remark::new(Place::NOWHERE, message).hint(hint))
}

pub(super) fn metrics_to_aws(facts: &Facts<'_>) -> Remarks {
    let mut endpoints = ["kinesisEndpoint", "kinesisClient.endpointOverride"]
        .into_iter()
        .filter_map(|name| facts.settings.get(name));
    let is_stand_in = |setting: &&super::Setting| is_stand_in(setting.value.reveal());
    let Some(endpoint) = endpoints.find(is_stand_in) else { return Remarks::default() };
    let elsewhere = facts.settings.get("cloudWatchClient.endpointOverride").is_some()
        || facts.used("metricsLevel").as_deref() == Some("NONE")
        || facts.request.environment.endpoint("CLOUDWATCH", facts.request.jvm_args).is_some();
    if elsewhere {
        return Remarks::default();
    }
    let message = "the daemon sends metrics to CloudWatch at AWS all the same";
    let url = endpoint.value.reveal().trim_end().to_owned();
    let hint = facts.put("metricsLevel", "NONE");
    let hint = match endpoint.value.masked().masks().next() {
        None => hint.or(facts.put("cloudWatchClient.endpointOverride", &url)),
        Some(_) => hint,
    };
    Remarks::from(Remark::new(Place::value(endpoint), message).label("not AWS").hint(hint))
}

/// Whether an endpoint is not one of AWS, by its host's domain.
pub(super) fn is_stand_in(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = host.strip_prefix('[').map_or_else(
        || host.split(':').next().unwrap_or(host),
        |v6| v6.split(']').next().unwrap_or(v6),
    );
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |domain: &&str| {
        host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !host.is_empty() && !AWS_DOMAINS.iter().any(is_below)
}

/// The domains of the endpoints of AWS' partitions.
const AWS_DOMAINS: &[&str] = &[
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
    "vpce.amazonaws.com",
];
