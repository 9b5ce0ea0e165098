//! Rules about names: what Kinesis and DynamoDB refuse although the daemon starts with it.

use super::super::keys::V3;
use super::super::settings::Setting;
use super::super::value::{StreamArn, java_trim};
use super::production::is_stand_in;
use super::{Facts, Hint, Place, Remark, Remarks};

/// What a service allows: letters, digits, `_`, `.` and `-`, and a length.
struct Limits {
    what: &'static str,
    least: usize,
    most: usize,
}

const STREAM: Limits = Limits { what: "a stream of Kinesis", least: 1, most: 128 };
const CONSUMER: Limits = Limits { what: "a consumer of Kinesis", least: 1, most: 128 };
const TABLE: Limits = Limits { what: "a table of DynamoDB", least: 3, most: 255 };

/// What 3.x adds to the application's name for its other tables.
const SUFFIX: &str = "-WorkerMetricStats";

fn fits(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-')
}

impl Limits {
    fn allow(&self, name: &str) -> bool {
        (self.least..=self.most).contains(&name.len()) && name.chars().all(fits)
    }
}

pub(super) fn bad_name(facts: &Facts<'_>) -> Remarks {
    let names = [
        ("streamName", STREAM),
        ("tableName", TABLE),
        ("workerMetricsTableName", TABLE),
        ("coordinatorStateTableName", TABLE),
        ("fanoutConfig.consumerName", CONSUMER),
    ];
    let mut remarks = Remarks::default();
    for (name, limits) in &names {
        if *name == "streamName" && facts.settings.get("streamArn").is_some() {
            continue;
        }
        let setting = facts
            .settings
            .get(name)
            .filter(|s| s.row.is_some_and(|row| row.is_read_in(facts.version())));
        remarks.extend(setting.and_then(|setting| judge(facts, setting, limits)));
    }
    let application = facts.settings.get("applicationName");
    remarks.extend(application.and_then(|setting| judge_application(facts, setting)));
    remarks
}

/// The application's name becomes the names of tables, unless these have names of their own.
fn judge_application(facts: &Facts<'_>, setting: &Setting) -> Option<Remark> {
    let has_table =
        facts.settings.get("tableName").is_some_and(|table| !table.value.reveal().is_empty());
    let is_3 = facts.version() >= V3;
    let limits = match (has_table, is_3) {
        (true, false) => return None,
        (true, true) => Limits { least: 1, most: TABLE.most - SUFFIX.len(), ..TABLE },
        (false, true) => Limits { most: TABLE.most - SUFFIX.len(), ..TABLE },
        (false, false) => TABLE,
    };
    judge(facts, setting, &limits)
}

fn judge(facts: &Facts<'_>, setting: &Setting, limits: &Limits) -> Option<Remark> {
    let text = setting.value.reveal();
    let endpoint = if limits.what == TABLE.what { "dynamoDBEndpoint" } else { "kinesisEndpoint" };
    // A stand-in may have other rules.
    if facts.settings.get(endpoint).is_some_and(|url| is_stand_in(url.value.reveal())) {
        return None;
    }
    // Other rules report a missing name, a blank at its end, and a variable.
    if java_trim(text).is_empty() || limits.allow(java_trim(text)) || text.contains('$') {
        return None;
    }
    let is_table_arn = text.starts_with("arn:") && limits.what == TABLE.what;
    if is_table_arn && setting.key.reveal() != "applicationName" {
        return None;
    }
    let message =
        format!("AWS refuses every call: {} cannot be called \"{}\"", limits.what, setting.value);
    let remark = Remark::new(Place::value(setting), message);
    Some(match slip(facts, setting, limits) {
        Some((label, hint)) => remark.label(label).hint(hint),
        None => {
            let label = match text.chars().find(|char| !fits(*char)) {
                Some(char) => format!("`{char}` is not allowed"),
                None if text.len() < limits.least => {
                    format!("shorter than {} characters", limits.least)
                }
                None => format!("longer than {} characters", limits.most),
            };
            remark.label(label).hint(corrected(setting, limits))
        }
    })
}

/// The hint to write a name that is allowed.
fn corrected(setting: &Setting, limits: &Limits) -> Hint {
    if setting.value.masked().masks().next().is_some() {
        return Hint::say("write a name of letters, digits, `_`, `.` and `-`");
    }
    let replaced = |char: char| if fits(char) { char } else { '-' };
    let mut name: String =
        java_trim(setting.value.reveal()).chars().map(replaced).take(limits.most).collect();
    if name.len() < limits.least {
        name.push_str("-app");
    }
    Hint::example(Place::whole_value(setting), "a name that is allowed", name)
}

/// A slip that shows what was meant.
fn slip(facts: &Facts<'_>, setting: &Setting, limits: &Limits) -> Option<(&'static str, Hint)> {
    let text = java_trim(setting.value.reveal());
    let whole = || Place::whole_value(setting);
    let is_stream = limits.what == STREAM.what;
    if is_stream && text.starts_with("arn:") {
        return Some(stream_arn(facts, setting, text));
    }
    let unquoted = text.trim_matches(['"', '\'', '`']);
    if unquoted.len() < text.len() && limits.allow(unquoted) {
        return Some(("the quotes are part of the value", Hint::write(whole(), unquoted)));
    }
    let before_comment = text.split(" #").next().unwrap_or(text).trim_end();
    if before_comment.len() < text.len() && limits.allow(before_comment) {
        return Some(("a comment needs a line of its own", Hint::write(whole(), before_comment)));
    }
    let several: Vec<&str> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if several.len() > 1 && several.iter().all(|name| limits.allow(name)) {
        let hint =
            several.iter().take(3).map(|name| Hint::write(whole(), *name)).reduce(Hint::or)?;
        let label = if is_stream { "a daemon reads one stream" } else { "this is one name" };
        return Some((label, hint));
    }
    let is_placeholder = text.starts_with('<') && text.ends_with('>')
        || text.starts_with('{') && text.ends_with('}')
        || text.starts_with('[') && text.ends_with(']');
    is_placeholder
        .then(|| ("a placeholder", Hint::say("write the name instead of the placeholder")))
}

/// An ARN instead of a stream's name.
fn stream_arn(facts: &Facts<'_>, setting: &Setting, text: &str) -> (&'static str, Hint) {
    if text.contains(":dynamodb:") {
        let hint = "read it with the daemon of the DynamoDB Streams Kinesis Adapter, which \
            `kcl-helper run` cannot start";
        return ("the MultiLangDaemon does not read streams of DynamoDB", Hint::say(hint));
    }
    let reads_arn = facts.version() >= super::super::Version::new(2, 5, 1);
    let hint = match StreamArn::parse(text) {
        Some(_) if reads_arn => Hint::replace_line(setting, "streamArn", text),
        Some(arn) => Hint::write(Place::whole_value(setting), arn.stream),
        None => Hint::say("write the name of the stream, without the rest of the ARN"),
    };
    ("this is an ARN", hint)
}
