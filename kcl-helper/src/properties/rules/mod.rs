//! The rules that judge a file: one table, each rule a function with a stable name.
//!
//! A rule looks at the `Facts` and returns remarks; its name, its severity and the reason for it
//! stand in the table. To add one, write the function, its row, and a file in `tests/check/`.

mod credentials;
mod names;
mod production;
mod values;

use std::ops::Range;
use std::path::Path;

use super::file::ParseError;
use super::keys::{Kind, most_alike};
use super::report::Finding;
use super::settings::{Origin, Setting, Settings};
use super::value::{self, Reading};
use super::{Request, Severity, Source};

/// One row: `check --explain NAME` prints it.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    judged: Judged,
    /// What goes wrong, for `--explain`.
    pub(crate) why: &'static str,
    judge: Judge,
}

type Judge = fn(&Facts<'_>) -> Remarks;

/// For which daemons a rule holds. Of 1.x and 2.x less is known for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Always,
    Before3,
    From3,
}

/// All that a rule may look at.
pub(crate) struct Facts<'a> {
    pub(crate) source: &'a Source,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a Request<'a>,
    /// The folder of the file.
    pub(crate) folder: &'a Path,
}

/// What a rule has to say; with the rule's name and severity it becomes a finding.
pub(crate) struct Remark {
    pub(crate) place: Place,
    pub(crate) message: String,
    /// Words under the underlined text.
    pub(crate) label: String,
    pub(crate) hint: String,
}

/// How many remarks of one rule are shown. Nobody corrects more at a time, and a file of nothing
/// but faults must not become a report of many times its length.
pub(crate) const MOST_SHOWN: usize = 100;

/// The remarks of one rule on one file. Those that are not shown are only counted.
#[derive(Default)]
pub(crate) struct Remarks {
    /// Those that are shown, and one more.
    kept: Vec<Remark>,
    counted: usize,
}

impl Remarks {
    fn push(&mut self, remark: Remark) {
        self.add(|| remark);
    }

    /// Makes the remark only if it is kept: to find what was meant takes long.
    fn add(&mut self, remark: impl FnOnce() -> Remark) {
        self.counted += 1;
        if self.kept.len() <= MOST_SHOWN {
            self.kept.push(remark());
        }
    }

    /// The findings of this rule: of many remarks, the last one says how many more there are.
    fn into_findings(self, rule: &'static Rule) -> Vec<Finding> {
        let Remarks { kept, counted } = self;
        let not_shown = counted - kept.len().min(MOST_SHOWN);
        let mut findings: Vec<Finding> =
            kept.into_iter().map(|remark| Finding::new(rule, remark)).collect();
        if let Some(last) = findings.get_mut(MOST_SHOWN).filter(|_| not_shown > 1) {
            let message = format!("{not_shown} more findings of this kind are not shown");
            let remark = Remark::new(last.place.clone(), message)
                .hint("correct those that are shown, then check again");
            *last = Finding { stands_for: not_shown, ..Finding::new(rule, remark) };
        }
        findings
    }
}

impl From<Remark> for Remarks {
    fn from(remark: Remark) -> Remarks {
        std::iter::once(remark).collect()
    }
}

impl FromIterator<Remark> for Remarks {
    fn from_iter<T: IntoIterator<Item = Remark>>(all: T) -> Remarks {
        let mut remarks = Remarks::default();
        for remark in all {
            remarks.push(remark);
        }
        remarks
    }
}

/// Where a finding stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) within: Within,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// In no place: something that is not there is missed.
    Nowhere,
    File,
    /// In the argument of a `--set`, `KEY=VALUE`.
    Set(usize),
}

/// Judges; findings are in the order of the file, those that stand nowhere come first.
pub(crate) fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    let from_3 = facts.request.version.major() >= 3;
    let mut findings = Vec::new();
    for rule in RULES {
        let holds = match rule.judged {
            Judged::Always => true,
            Judged::Before3 => !from_3,
            Judged::From3 => from_3,
        };
        // What stops the daemon cannot be allowed.
        let is_allowed = rule.severity == Severity::Warning
            && facts.request.allow.iter().any(|name| name == rule.name);
        if holds && !is_allowed {
            findings.extend((rule.judge)(facts).into_findings(rule));
        }
    }
    findings.sort_by_key(|finding| finding.place.order());
    findings
}

/// The finding for a file that Java refuses as a whole.
pub(crate) fn bad_escape(error: &ParseError) -> Finding {
    let place = Place { within: Within::File, span: error.span.clone() };
    let remark = Remark::new(place, "the daemon stops: Java refuses the file")
        .label(error.to_string())
        .hint("write \\\\ for a backslash");
    Finding::new(&BAD_ESCAPE, remark)
}

pub(crate) fn lookup(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// The name of a rule that is most like this one.
pub(crate) fn suggest(name: &str) -> Option<&'static str> {
    most_alike(name, RULES.iter().map(|rule| rule.name))
}

impl Place {
    pub(crate) const NOWHERE: Place = Place { within: Within::Nowhere, span: 0..0 };

    fn order(&self) -> (usize, usize) {
        match self.within {
            Within::Nowhere => (0, 0),
            Within::File => (1, self.span.start),
            Within::Set(index) => (2 + index, self.span.start),
        }
    }

    /// The key of a setting.
    pub(crate) fn key(setting: &Setting) -> Place {
        match setting.origin {
            Origin::File(_) => Place { within: Within::File, span: setting.key.span() },
            Origin::Set(index) => {
                Place { within: Within::Set(index), span: 0..setting.key.reveal().len() }
            }
        }
    }

    /// The whole value; where it is empty, the key.
    pub(crate) fn value(setting: &Setting) -> Place {
        match setting.value.reveal().len() {
            0 => Place::key(setting),
            length => Place::part(setting, 0..length),
        }
    }

    /// A part of the value.
    pub(crate) fn part(setting: &Setting, part: Range<usize>) -> Place {
        match setting.origin {
            Origin::File(_) => Place { within: Within::File, span: setting.value.span_of(part) },
            Origin::Set(index) => {
                let before = setting.key.reveal().len() + "=".len();
                let span = part.start + before..part.end + before;
                Place { within: Within::Set(index), span }
            }
        }
    }
}

impl Remark {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Remark {
        Remark { place, message: message.into(), label: String::new(), hint: String::new() }
    }

    pub(crate) fn label(self, label: impl Into<String>) -> Remark {
        Remark { label: label.into(), ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Remark {
        Remark { hint: hint.into(), ..self }
    }
}

impl Facts<'_> {
    /// What the daemon makes of a setting, of whose row it reads the value.
    pub(crate) fn reading(&self, setting: &Setting) -> Option<Reading> {
        let row = setting.row?;
        Some(value::read(row.kind, setting.value.reveal(), self.request.version))
    }

    /// Settings whose value goes through a converter that `pick` chooses, with what it makes of it.
    pub(crate) fn readings(
        &self,
        pick: impl Fn(Kind) -> bool,
    ) -> impl Iterator<Item = (&Setting, Kind, Reading)> {
        self.settings.iter().filter_map(move |setting| {
            let kind = setting.row?.kind;
            let reading = self.reading(setting).filter(|_| pick(kind))?;
            Some((setting, kind, reading))
        })
    }

    /// The choice that a setting makes, as the daemon spells it.
    pub(crate) fn taken(&self, name: &'static str) -> Option<String> {
        match self.reading(self.settings.get(name)?)? {
            Reading::Taken(text) => Some(text),
            _ => None,
        }
    }
}

impl Origin {
    /// `line 3`, or the option.
    pub(crate) fn describe(self) -> String {
        match self {
            Origin::File(position) => format!("line {}", position.line),
            Origin::Set(_) => "--set".to_owned(),
        }
    }
}

/// Stands in the table for `--explain`; it is the reader that finds it, before any rule can look.
pub(crate) const BAD_ESCAPE: Rule = error(
    "bad-escape",
    Judged::Always,
    |_| Remarks::default(),
    "Java refuses the whole file when \\u is not followed by four hexadecimal digits. Only \
        comments are free of this.",
);

/// Errors first, then warnings.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    BAD_ESCAPE,
    error("missing-key", Judged::Always, names::missing_key,
        "The daemon needs executableName, applicationName, a stream and a credentials provider."),
    error("executable-not-found", Judged::Always, values::executable_not_found,
        "The daemon splits executableName at blanks, without quoting, and looks for the first \
            word through its PATH, or from its working folder if there is a slash in it. It \
            starts a shard, fails, and tries again for ever."),
    error("trailing-blank", Judged::From3, values::trailing_blank,
        "A blank at the end of a line belongs to the value, and this value is compared with it."),
    error("at-timestamp", Judged::From3, values::at_timestamp,
        "initialPositionInStream=AT_TIMESTAMP always stops the daemon; the moment goes into \
            initialPositionInStreamExtended."),
    error("bad-choice", Judged::From3, values::bad_choice,
        "A value that is none of the known names, in any letter case, stops the daemon."),
    error("bad-number", Judged::From3, values::bad_number,
        "For this key the daemon does not fall back: text that is no whole number stops it."),
    error("bad-duration", Judged::From3, values::bad_duration,
        "A duration that is negative or not ISO-8601 stops the daemon."),
    error("bad-endpoint", Judged::From3, values::bad_endpoint,
        "An endpoint needs http:// or https://. Without a scheme the daemon stops; with \
            `localhost:4566` it takes localhost for the scheme, starts, and fails at the first \
            call."),
    error("bad-region", Judged::From3, values::bad_region,
        "A region that is empty or cannot be a part of a host's name stops the daemon. Any other \
            text is taken for a region."),
    error("bad-stream-arn", Judged::From3, values::bad_stream_arn,
        "A streamArn that does not fit the pattern of stream ARNs stops the daemon."),
    error("unusable-key", Judged::From3, values::unusable_key,
        "No text can be converted to what this key wants: any value stops the daemon."),
    error("unknown-client-key", Judged::From3, names::unknown_client_key,
        "Under kinesisClient, dynamoDbClient and cloudWatchClient an unknown name stops the \
            daemon, while elsewhere it is ignored."),
    error("v1-credentials-provider", Judged::From3, credentials::v1_provider,
        "Since 3.0 provider names are those of the AWS SDK 2.x; names of SDK 1.x find no class, \
            and with no provider the daemon stops."),
    error("v2-credentials-provider", Judged::Before3, credentials::v2_provider,
        "Before 3.0 provider names are those of the AWS SDK 1.x; names of SDK 2.x find no class, \
            and with no provider the daemon stops."),
    error("no-credentials-provider", Judged::From3, credentials::no_provider,
        "When no name of the list can be made into a provider, the daemon stops with `No \
            credential providers were specified`."),
    error("credentials-set-twice", Judged::From3, credentials::set_twice,
        "Once a list of providers is read, one more key for the same credentials stops the \
            daemon."),
    error("too-many-records", Judged::From3, values::too_many_records,
        "maxRecords above 10000 stops a daemon that polls."),
    error("negative-segments", Judged::From3, values::negative_segments,
        "leaseTableScanTotalSegments below 0 stops the daemon."),
    error("timeout-zero", Judged::From3, values::timeout_zero,
        "timeoutInSeconds of 0 or less, or text that is no number and so means 0, halts the \
            daemon at the first wait for its child."),
    warning("byte-order-mark", Judged::Always, names::byte_order_mark,
        "Java takes a byte order mark for three letters of the first key."),
    warning("unknown-key", Judged::Always, names::unknown_key,
        "The daemon drops a key that it does not know, and says nothing."),
    warning("wrong-letter-case", Judged::Always, names::wrong_letter_case,
        "Letter case counts in keys; another spelling is dropped, and nothing is said."),
    warning("repeated-key", Judged::Always, names::repeated_key,
        "Of a key that stands in a file twice the last line counts."),
    warning("newer-key", Judged::Always, names::newer_key,
        "The daemon drops a key that only later versions know."),
    warning("dropped-key", Judged::Always, names::dropped_key,
        "A key of older versions, of Java's own configuration or of a mistaken text, which the \
            daemon drops without a word."),
    warning("deprecated-key", Judged::From3, names::deprecated_key,
        "A key that is kept for old fleets only."),
    warning("unused-key", Judged::From3, names::unused_key,
        "The daemon reads this key into a field that nothing uses."),
    warning("two-keys-one-field", Judged::From3, names::two_keys_one_field,
        "Keys are applied in no certain order, so of two keys that set the same thing either may \
            win."),
    warning("unordered-keys", Judged::From3, names::unordered_keys,
        "Keys are applied in no certain order, but a class must be known before its builder's \
            methods are called."),
    warning("variable-not-expanded", Judged::Always, values::variable_not_expanded,
        "Nothing in the file is expanded, neither $NAME nor ${NAME}."),
    warning("misread-letters", Judged::Always, values::misread_letters,
        "Java reads the file as ISO-8859-1, so each letter of UTF-8 outside ASCII becomes two or \
            more wrong ones."),
    warning("kept-blank", Judged::From3, values::kept_blank,
        "A blank at the end of a line belongs to the value: a name with a blank at its end is \
            another name."),
    warning("secret-in-file", Judged::Always, values::secret_in_file,
        "The daemon writes every key and value into its log as it reads them."),
    warning("number-falls-back", Judged::From3, values::number_falls_back,
        "Where a number cannot be read the daemon goes on with the default, or with 0, and says \
            nothing."),
    warning("zero-is-unset", Judged::From3, values::zero_is_unset,
        "The number 0 counts as not given for this key, so the default stays."),
    warning("negative-number", Judged::From3, values::negative_number,
        "The daemon does not refuse a negative number here, and behaves oddly with it."),
    warning("boolean-falls-back", Judged::From3, values::boolean_falls_back,
        "true, yes, y, on and 1 mean true; any other text means false, even `true` with a blank \
            at its end."),
    warning("false-is-dropped", Judged::From3, values::false_is_dropped,
        "false counts as not given for this key, so it stays true."),
    warning("position-in-millis", Judged::From3, values::position_in_millis,
        "initialPositionInStreamExtended is in seconds; milliseconds lie tens of thousands of \
            years ahead."),
    warning("bad-tag", Judged::From3, values::bad_tag,
        "A tag that is not key=value is skipped."),
    warning("bake-time-clamped", Judged::From3, values::bake_time_clamped,
        "tableMigrationCompleteBakeTimeSeconds is brought into 3600 to 604800."),
    warning("stream-named-twice", Judged::From3, values::stream_named_twice,
        "streamArn wins over streamName, and of the ARN only the name counts."),
    warning("provider-skipped", Judged::From3, credentials::provider_skipped,
        "A name of the list that cannot be made into a provider is skipped without a word as long \
            as another one can."),
    warning("sts-argument-dropped", Judged::From3, credentials::sts_argument_dropped,
        "The provider that assumes a role drops arguments that it does not know or that have a \
            second `=`."),
    warning("sts-no-region", Judged::From3, credentials::sts_no_region,
        "The provider that assumes a role calls STS in a region of its own, which regionName is \
            not for. Where it finds none it cannot be made, of which nothing is said."),
    warning("only-under-run", Judged::Always, values::only_under_run,
        "`kcl-helper run` also finds a program from the file's folder, and one with blanks in its \
            path; a daemon started otherwise does not."),
    warning("other-retrieval-mode", Judged::From3, production::other_retrieval_mode,
        "Keys for polling mean nothing under FANOUT, nor those for fan-out under POLLING."),
    warning("polling-by-leftover", Judged::From3, production::polling_by_leftover,
        "Under DEFAULT any polling key chooses polling, even one that nothing reads any more."),
    warning("fan-out-by-default", Judged::From3, production::fan_out_by_default,
        "Without retrievalMode and polling keys the daemon registers an enhanced fan-out \
            consumer, which AWS bills for each hour of each shard and each gigabyte, on top of \
            the stream."),
    warning("no-shutdown-grace", Judged::From3, production::no_shutdown_grace,
        "With shutdownGraceMillis at 0 a stopping daemon does not wait for its children: none is \
            asked to checkpoint."),
    warning("few-threads", Judged::From3, production::few_threads,
        "The scheduler holds one thread and each shard up to three; with 1 to 3 not even one \
            shard can be served."),
    warning("short-idle-time", Judged::From3, production::short_idle_time,
        "idleTimeBetweenReadsInMillis below 200 is raised to 200."),
    warning("latest-by-omission", Judged::From3, production::latest_by_omission,
        "Without a position a new application begins at LATEST and misses what is in the stream \
            already."),
    warning("short-timeout", Judged::From3, production::short_timeout,
        "When a child is silent for timeoutInSeconds, the daemon halts its JVM: all shards of the \
            worker, without shutdown."),
    warning("no-region", Judged::From3, production::no_region,
        "With no region in file, environment, JVM arguments or profile only instance metadata can \
            give one; elsewhere the daemon stops."),
    warning("metrics-to-aws", Judged::From3, production::metrics_to_aws,
        "With Kinesis on this machine, metrics still go to CloudWatch at AWS."),
];

const fn error(name: &'static str, judged: Judged, judge: Judge, why: &'static str) -> Rule {
    Rule { name, severity: Severity::Error, judged, why, judge }
}

const fn warning(name: &'static str, judged: Judged, judge: Judge, why: &'static str) -> Rule {
    Rule { name, severity: Severity::Warning, judged, why, judge }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_file_that_it_finds_something_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
        let snapshots = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of_files = snapshots.filter(|path| path.to_string_lossy().contains("__file@"));
        let outputs: Vec<String> =
            of_files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        for rule in RULES {
            let severity = if rule.severity == Severity::Error { "error" } else { "warning" };
            let title = format!("\n{severity}[{}]: ", rule.name);
            assert!(outputs.iter().any(|output| output.contains(&title)), "{}", rule.name);
        }
    }

    #[test]
    fn names_are_stable_kebab_case_and_each_is_there_once() {
        for (index, rule) in RULES.iter().enumerate() {
            let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(rule.name.chars().all(is_kebab), "{}", rule.name);
            assert!(RULES[..index].iter().all(|other| other.name != rule.name), "{}", rule.name);
        }
    }
}
