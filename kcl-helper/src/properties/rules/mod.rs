//! The rules that judge a file: one table, each rule a function with a stable name.
//!
//! A rule takes the `Facts` and returns remarks. Its name, severity, versions and reason are in the
//! table. To add one, write the function, its row, and a file in `tests/check/`.

mod around;
mod command;
mod credentials;
mod hint;
mod migration;
mod names;
mod production;
mod providers;
mod regions;
mod services;
mod values;

use std::ops::Range;
use std::path::Path;

use super::file::ParseError;
use super::keys::{self, Kind, V2_1, V2_5_4, V2_7, V3, V3_5, most_alike};
use super::report::Finding;
use super::settings::{Origin, Setting, Settings};
use super::value::{self, Reading};
use super::{Request, Severity, Source, Version};

pub(crate) use hint::Hint;
pub(crate) use migration::known_faults;

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

/// The daemon versions that a rule holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Always,
    Before(Version),
    From(Version),
}

/// All that a rule may use.
pub(crate) struct Facts<'a> {
    pub(crate) source: &'a Source,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a Request<'a>,
    /// The folder of the file.
    pub(crate) folder: &'a Path,
}

/// One thing that a rule finds; with the rule's name and severity it becomes a finding.
pub(crate) struct Remark {
    pub(crate) place: Place,
    pub(crate) message: String,
    /// Shown under the underlined text.
    pub(crate) label: String,
    pub(crate) hint: Hint,
}

/// How many remarks of one rule are shown, so that a report is not many times as long as the file.
pub(crate) const MOST_SHOWN: usize = 100;

/// The remarks of one rule on one file. Only so many are kept; the rest are counted.
#[derive(Default)]
pub(crate) struct Remarks {
    /// The ones that are shown, and one more.
    kept: Vec<Remark>,
    counted: usize,
}

impl Remarks {
    fn push(&mut self, remark: Remark) {
        self.add(|| remark);
    }

    fn extend(&mut self, remarks: impl IntoIterator<Item = Remark>) {
        remarks.into_iter().for_each(|remark| self.push(remark));
    }

    /// Makes the remark only if it is kept, since finding what was meant is slow.
    fn add(&mut self, remark: impl FnOnce() -> Remark) {
        self.counted += 1;
        if self.kept.len() <= MOST_SHOWN {
            self.kept.push(remark());
        }
    }

    /// The findings of this rule. If there are too many, the last one says how many more.
    fn into_findings(self, rule: &'static Rule) -> Vec<Finding> {
        let Remarks { kept, counted } = self;
        let not_shown = counted - kept.len().min(MOST_SHOWN);
        let mut findings: Vec<Finding> =
            kept.into_iter().map(|remark| Finding::new(rule, remark)).collect();
        if let Some(last) = findings.get_mut(MOST_SHOWN).filter(|_| not_shown > 1) {
            let message = format!("{not_shown} more findings of this kind are not shown");
            let remark = Remark::new(last.place.clone(), message)
                .hint(Hint::say("correct those that are shown, then check again"));
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

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) within: Within,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Something is missing from the file.
    Nowhere,
    File,
    /// In the argument of a `--set`, `KEY=VALUE`.
    Set(usize),
}

/// Judges a file. Findings are in file order, those without a place first.
pub(crate) fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    let version = facts.request.version;
    let mut findings = Vec::new();
    for rule in RULES {
        let holds = match rule.judged {
            Judged::Always => true,
            Judged::Before(first) => version < first,
            Judged::From(first) => version >= first,
        };
        let is_allowed = rule.severity == Severity::Warning
            && facts.request.allow.iter().any(|name| name == rule.name);
        if holds && !is_allowed {
            findings.extend((rule.judge)(facts).into_findings(rule));
        }
    }
    findings.sort_by_key(|finding| finding.place.order());
    findings
}

/// The finding for a file that Java cannot read.
pub(crate) fn bad_escape(error: &ParseError) -> Finding {
    let place = Place { within: Within::File, span: error.span.clone() };
    let remark = Remark::new(place.clone(), "the daemon stops: Java cannot read the file")
        .label(error.to_string())
        .hint(Hint::escape_backslash(error.span.start));
    Finding::new(&BAD_ESCAPE, remark)
}

pub(crate) fn lookup(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// The rule's name that is most like this one.
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

    /// The value, or the key if the value is empty.
    pub(crate) fn value(setting: &Setting) -> Place {
        match setting.value.reveal().len() {
            0 => Place::key(setting),
            length => Place::part(setting, 0..length),
        }
    }

    /// The value, even if it is empty.
    pub(crate) fn whole_value(setting: &Setting) -> Place {
        Place::part(setting, 0..setting.value.reveal().len())
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
        Remark { place, message: message.into(), label: String::new(), hint: Hint::default() }
    }

    pub(crate) fn label(self, label: impl Into<String>) -> Remark {
        Remark { label: label.into(), ..self }
    }

    pub(crate) fn hint(self, hint: Hint) -> Remark {
        Remark { hint, ..self }
    }
}

impl Facts<'_> {
    pub(crate) fn version(&self) -> Version {
        self.request.version
    }

    /// The hint to write `name = value`, whether the file sets the key or not.
    pub(crate) fn put(&self, name: &'static str, value: &str) -> Hint {
        match self.settings.get(name) {
            Some(setting) => Hint::write_masked(
                Place::whole_value(setting),
                value.to_owned(),
                format!("{} = {value}", setting.key),
            ),
            None => Hint::add(&self.spelling(name), value),
        }
    }

    /// How this daemon spells a key of the table.
    pub(crate) fn spelling(&self, name: &'static str) -> String {
        keys::lookup(name)
            .map_or_else(|| name.to_owned(), |row| row.spelling_in(self.version()).into_owned())
    }

    /// The hint to write another key before the value, or to delete the line if the file has that
    /// key, or if the daemon would stop at the value.
    pub(crate) fn rename(&self, setting: &Setting, name: &'static str) -> Hint {
        let row = keys::lookup(name);
        let is_rival = |row: &keys::Key| {
            let things = row.sets();
            let mut others = self.settings.iter().filter_map(|other| other.row);
            others.any(|other| other.sets().iter().any(|thing| things.contains(thing)))
        };
        let is_set = row.is_some_and(is_rival);
        let fits = row.is_some_and(|row| {
            let reading = value::read(row.kind, setting.value.reveal(), self.version());
            row.is_read_in(self.version())
                && !matches!(
                    reading,
                    Reading::Stops | Reading::Unreadable | Reading::UnreadableTaken(_)
                )
        });
        let providers = row.filter(|row| row.kind == Kind::Providers && !is_set);
        if let Some(hint) = providers.and_then(|row| credentials::moved(self, setting, row)) {
            return hint;
        }
        match (is_set, fits) {
            (false, true) => Hint::write(Place::key(setting), self.spelling(name)),
            (true, _) => Hint::delete_line(setting)
                .note(&format!(": the file sets `{}` in another line", self.spelling(name))),
            _ => Hint::delete_line(setting),
        }
    }

    /// How the daemon reads the value of a setting.
    pub(crate) fn reading(&self, setting: &Setting) -> Option<Reading> {
        let row = setting.row.filter(|row| row.is_read_in(self.version()))?;
        Some(value::read(row.kind, setting.value.reveal(), self.request.version))
    }

    /// Settings of the kinds that `pick` chooses, each with how the daemon reads its value.
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

    /// The value that the daemon uses, if the file sets one.
    pub(crate) fn used(&self, name: &'static str) -> Option<String> {
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

/// In the table for `--explain`; the reader finds it, before any rule can run.
pub(crate) const BAD_ESCAPE: Rule = error(
    "bad-escape",
    Judged::Always,
    |_| Remarks::default(),
    "Java cannot read a file in which \\u is not followed by four hexadecimal digits, except in \
        comments.",
);

/// Errors first, then warnings.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    BAD_ESCAPE,
    error("missing-key", Judged::Always, names::missing_key,
        "The daemon needs executableName, applicationName, a stream and a credentials provider."),
    error("executable-not-found", Judged::Always, values::executable_not_found,
        "The daemon splits executableName at blanks, without quoting. It looks up the first word \
            in PATH, or from its working folder if the word has a slash. If that fails, the daemon \
            exits with status 1 as soon as it gets a shard."),
    error("not-a-program", Judged::Always, command::not_a_program,
        "The daemon starts the file itself. A script needs `#!` and its interpreter as the first \
            line, or the interpreter before it in executableName; otherwise /bin/sh gets it."),
    error("bad-name", Judged::Always, services::bad_name,
        "Kinesis and DynamoDB allow letters, digits, `_`, `.` and `-` in names: 1 to 128 of them for \
            streams and consumers, 3 to 255 for tables, which are named after the application. The \
            daemon starts with any other name, but every call fails."),
    error("trailing-blank", Judged::From(V2_1), values::trailing_blank,
        "A blank at the end of a line is part of the value, and this value must match exactly."),
    error("at-timestamp", Judged::From(V2_1), values::at_timestamp,
        "initialPositionInStream=AT_TIMESTAMP always stops the daemon. Set \
            initialPositionInStreamExtended to the moment instead."),
    error("bad-choice", Judged::From(V2_1), values::bad_choice,
        "A value that is none of the known names, in any letter case, stops the daemon."),
    error("bad-number", Judged::From(V2_1), values::bad_number,
        "This key has no fallback: text that is not a whole number stops the daemon."),
    error("bad-duration", Judged::From(V2_1), values::bad_duration,
        "A duration that is negative or not ISO-8601 stops the daemon."),
    error("bad-endpoint", Judged::From(V2_1), values::bad_endpoint,
        "An endpoint needs http:// or https://. Without a scheme the daemon stops. With \
            `localhost:4566` it reads localhost as the scheme, starts, and fails at the first call."),
    error("bad-region", Judged::From(V2_5_4), values::bad_region,
        "A region that is empty or cannot be part of a host name stops the daemon. It accepts any \
            other text."),
    error("bad-stream-arn", Judged::From(V2_1), values::bad_stream_arn,
        "A streamArn that does not match the pattern of stream ARNs stops the daemon."),
    error("unusable-key", Judged::From(V2_1), values::unusable_key,
        "No text can be converted for this key, so any value stops the daemon. Before 2.5.5 that is \
            true of metricsEnabledDimensions too."),
    error("unknown-client-key", Judged::From(V2_1), names::unknown_client_key,
        "Below kinesisClient, dynamoDbClient and cloudWatchClient a name stops the daemon if it is \
            unknown, or if no text can be converted to its value. Elsewhere it is ignored."),
    error("v1-credentials-provider", Judged::From(V2_7), credentials::v1_provider,
        "From 2.7.0 on the names of providers are those of the AWS SDK 2.x. The daemon finds no \
            class for names of SDK 1.x, and stops without a provider."),
    error("v2-credentials-provider", Judged::Before(V2_7), credentials::v2_provider,
        "Before 2.7.0 the names of providers are those of the AWS SDK 1.x. The daemon finds no \
            class for names of SDK 2.x, and stops without a provider."),
    error("no-credentials-provider", Judged::Always, credentials::no_provider,
        "If the daemon cannot construct any provider of the list, it stops with `No credential \
            providers were specified`."),
    error("credentials-set-twice", Judged::From(V2_1), credentials::set_twice,
        "Another key for the same credentials stops the daemon once a list of providers is read."),
    error("too-many-records", Judged::From(Version::new(2, 5, 6)), values::too_many_records,
        "maxRecords above 10000 stops a daemon that polls, from 2.5.6 on."),
    error("negative-segments", Judged::From(V3_5), values::negative_segments,
        "leaseTableScanTotalSegments below 0 stops the daemon."),
    error("timeout-zero", Judged::From(V2_1), values::timeout_zero,
        "timeoutInSeconds of 0 or less, or unreadable text, which means 0, halts the daemon at the \
            first wait for its child."),
    warning("two-migrations", Judged::From(V3_5), migration::two_migrations,
        "The table migration of 3.5 starts from an application that runs in 3.x mode. A migration \
            from 2.x to 3.5 needs no table migration: it uses one table from the start."),
    warning("byte-order-mark", Judged::Always, names::byte_order_mark,
        "Java reads a byte order mark as three letters of the first key."),
    warning("unknown-key", Judged::Always, names::unknown_key,
        "The daemon silently ignores a key that it does not know."),
    warning("wrong-letter-case", Judged::Always, names::wrong_letter_case,
        "Keys are case-sensitive, and the daemon silently ignores another spelling."),
    warning("repeated-key", Judged::Always, names::repeated_key,
        "If a key occurs twice, the last line wins."),
    warning("newer-key", Judged::Always, names::newer_key,
        "The daemon silently ignores a key of a later version."),
    warning("dropped-key", Judged::Always, names::dropped_key,
        "The daemon silently ignores this key: only older versions or Java code know it, or it is \
            a common mistake."),
    warning("deprecated-key", Judged::Always, names::deprecated_key,
        "The daemon still uses this key, but only while an old fleet or an old table layout is left."),
    warning("unused-key", Judged::Always, names::unused_key,
        "The daemon reads this key into a field that it does not use."),
    warning("two-keys-one-field", Judged::From(V2_1), names::two_keys_one_field,
        "Keys are applied in no particular order, so if two keys set the same thing, either may win."),
    warning("unordered-keys", Judged::From(V2_1), names::unordered_keys,
        "Keys are applied in no particular order, but the class must be known before the methods \
            of its builder are called."),
    warning("variable-not-expanded", Judged::Always, values::variable_not_expanded,
        "The daemon expands neither $NAME nor ${NAME}."),
    warning("misread-letters", Judged::Always, values::misread_letters,
        "Java reads the file as ISO-8859-1, so each letter of UTF-8 outside ASCII becomes two or \
            more wrong ones."),
    warning("kept-blank", Judged::From(V2_1), values::kept_blank,
        "A blank at the end of a line is part of the value, so this is a different name."),
    warning("secret-in-file", Judged::Always, values::secret_in_file,
        "The daemon logs every key and value as it reads them."),
    warning("number-falls-back", Judged::From(V2_1), values::number_falls_back,
        "The daemon silently replaces an unreadable number by the default, or by 0."),
    warning("zero-is-unset", Judged::From(V2_1), values::zero_is_unset,
        "0 counts as not set for this key, so the daemon uses the default."),
    warning("negative-number", Judged::From(V2_1), values::negative_number,
        "The daemon does not refuse a negative number here, but does not work well with it."),
    warning("boolean-falls-back", Judged::From(V2_1), values::boolean_falls_back,
        "true, yes, y, on and 1 mean true. Any other text means false, even `true` with a blank \
            at its end."),
    warning("false-is-dropped", Judged::From(V2_1), values::false_is_dropped,
        "false counts as not set for this key, so it stays true."),
    warning("unknown-region", Judged::From(V2_1), values::unknown_region,
        "The daemon accepts any region, but a region that does not exist has no endpoints, so \
            every call fails."),
    warning("position-in-millis", Judged::From(V2_1), values::position_in_millis,
        "initialPositionInStreamExtended is in seconds. Milliseconds would be thousands of years \
            in the future."),
    warning("bad-tag", Judged::From(V3), values::bad_tag,
        "The daemon skips a tag that is not key=value."),
    warning("bake-time-clamped", Judged::From(V3_5), values::bake_time_clamped,
        "tableMigrationCompleteBakeTimeSeconds is limited to 3600 to 604800."),
    warning("stream-named-twice", Judged::From(V2_1), values::stream_named_twice,
        "streamArn overrides streamName, and only the name in the ARN is used."),
    warning("provider-skipped", Judged::Always, credentials::provider_skipped,
        "The daemon silently skips a provider that it cannot construct if it can construct another."),
    warning("provider-argument-dropped", Judged::Always, credentials::argument_dropped,
        "The daemon constructs a provider without its arguments if the class has no constructor or \
            factory for that many."),
    warning("sts-argument-dropped", Judged::From(V2_7), credentials::sts_argument_dropped,
        "The provider that assumes a role drops arguments that it does not know or that have a \
            second `=`."),
    warning("sts-no-region", Judged::From(V2_7), credentials::sts_no_region,
        "The provider that assumes a role calls STS in a region of its own, which is not \
            regionName. Without one it silently fails to construct."),
    warning("only-under-run", Judged::Always, values::only_under_run,
        "`kcl-helper run` also finds a program in the file's folder, and one with blanks in its \
            path. A daemon that is started differently does not."),
    warning("shell-syntax", Judged::Always, command::shell_syntax,
        "The daemon splits executableName at blanks and starts the program without a shell, so \
            quotes, redirections, pipes and `$(…)` reach the program as they are."),
    warning("script-not-found", Judged::Always, command::script_not_found,
        "The interpreter starts, but ends at once, since there is no such script."),
    warning("profile-needs-module", Judged::From(V2_7), around::profile_needs_module,
        "Profiles with SSO or login sessions need modules of the AWS SDK that are not among the \
            daemon's jars, so every call fails."),
    warning("variable-without-effect", Judged::Always, around::variable_without_effect,
        "The daemon's AWS clients are built without a proxy, and read neither AWS_CA_BUNDLE nor the \
            names of credentials that only the SDK 1.x knows."),
    warning("migration-phase-2", Judged::From(V3_5), migration::migration_phase_2,
        "migrateAllEntitiesToLeaseTable = true is the second deployment of 3.5. Before the first one \
            has reached the state DEPLOYED, the daemon stops."),
    warning("other-retrieval-mode", Judged::From(V2_1), production::other_retrieval_mode,
        "FANOUT does not use keys for polling, and POLLING does not use those for fan-out."),
    warning("polling-by-leftover", Judged::From(V2_1), production::polling_by_leftover,
        "Under DEFAULT any polling key selects polling, even one that is not used any more."),
    warning("fan-out-by-default", Judged::From(V2_1), production::fan_out_by_default,
        "Without retrievalMode and polling keys the daemon registers an enhanced fan-out consumer, \
            which AWS bills for each shard-hour and each gigabyte, in addition to the stream."),
    warning("no-shutdown-grace", Judged::From(V2_1), production::no_shutdown_grace,
        "If shutdownGraceMillis is 0, a stopping daemon does not wait for its children, so none is \
            asked to checkpoint."),
    warning("few-threads", Judged::From(V2_1), production::few_threads,
        "The scheduler needs one thread and each shard up to three, so 1 to 3 threads are not \
            enough for one shard."),
    warning("short-idle-time", Judged::From(V2_1), production::short_idle_time,
        "Kinesis allows 5 reads a second of each shard. From 3.0 on the daemon raises \
            idleTimeBetweenReadsInMillis to 200."),
    warning("latest-by-omission", Judged::From(V2_1), production::latest_by_omission,
        "Without a position a new application starts at LATEST, and misses the records that are \
            already in the stream."),
    warning("short-timeout", Judged::From(V2_1), production::short_timeout,
        "If a child is silent for timeoutInSeconds, the daemon halts its JVM with all shards of the \
            worker, without a shutdown."),
    warning("no-region", Judged::From(V2_1), production::no_region,
        "Without a region in the file, environment, JVM arguments or profile, only instance \
            metadata can give one. Elsewhere the daemon stops."),
    warning("metrics-to-aws", Judged::From(V2_1), production::metrics_to_aws,
        "If Kinesis is a stand-in, metrics still go to CloudWatch at AWS."),
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
