//! `kcl-helper check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::columns::{self, Side};
use crate::error::{Error, Exit, Result};
use crate::output::Reporter;
use crate::properties::{
    self, File, Key, Launcher, Property, Report, Request, Rule, Severity, Source, Status,
    Surroundings, Text, Version, abridged,
};
use crate::secret::Masked;
use crate::text::escape;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kcl-helper check app.properties
  kcl-helper check --effective app.properties
  kcl-helper check --explain shutdownGraceMillis

Status: 0 clean or warnings, 1 errors, 2 a file or option that cannot be used")]
pub(crate) struct Args {
    /// Files to judge (`-`: stdin)
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// Judge as if the file said this (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every property as the daemon will see it, with its origin
    #[arg(long)]
    effective: bool,
    /// Exit 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
    /// Say nothing of this warning (repeatable)
    #[arg(long, value_name = "NAME", value_parser = warning_name)]
    allow: Vec<String>,
    /// Say what a finding or a key means
    #[arg(long, value_name = "NAME|KEY", conflicts_with_all = ["files", "effective"])]
    explain: Option<String>,
    /// The daemon's version, such as 1.15, 2.5.4 or 3.x
    #[arg(long, value_name = "V", default_value_t = Version::DEFAULT, env = "KCL_HELPER_KCL_VERSION")]
    kcl_version: Version,
    /// An argument of the JVM, as it may say where AWS is (repeatable)
    #[arg(long = "jvm-arg", value_name = "ARG", allow_hyphen_values = true)]
    jvm_args: Vec<String>,
    /// The name that stdin has in findings
    #[arg(long, value_name = "FILE")]
    stdin_filepath: Option<PathBuf>,
    /// How to print: text, json or github [default: text, or github under GITHUB_ACTIONS=true]
    #[arg(long, value_name = "FORM", env = "KCL_HELPER_FORMAT", hide_possible_values = true)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

pub(crate) fn run(args: Args, reporter: &Reporter) -> Result<Exit> {
    let surroundings = Surroundings::of_this_process();
    let in_actions = surroundings.variable("GITHUB_ACTIONS") == Some("true");
    let usual = if in_actions { Format::Github } else { Format::Text };
    let format = args.format.unwrap_or(usual);
    if let Some(name) = &args.explain {
        return explain(name, format, reporter);
    }
    let overrides = overrides(&args.set)?;
    let request = Request {
        version: args.kcl_version,
        launcher: Launcher::Daemon,
        overrides: &overrides,
        jvm_args: &args.jvm_args,
        allow: &args.allow,
        surroundings: &surroundings,
    };
    // All are read before the first is judged: a slip of the pen is no half result.
    let sources: Vec<Source> =
        args.files.iter().map(|file| read(file, &args)).collect::<Result<_>>()?;
    let reports: Vec<Report> =
        sources.into_iter().map(|source| properties::check(source, &request)).collect();
    if args.effective {
        print_effective(&reports, &request, format, reporter)?;
    } else {
        print_findings(&reports, format, reporter)?;
    }
    if args.kcl_version.major() < 3 {
        reporter.result(&properties::limits(args.kcl_version));
    }
    for report in &reports {
        reporter.result(&report.summary());
    }
    let wanting = reports
        .iter()
        .any(|report| report.has_errors() || (args.deny_warnings && report.warnings() > 0));
    Ok(if wanting { Exit::Failed } else { Exit::Done })
}

fn print_findings(reports: &[Report], format: Format, reporter: &Reporter) -> Result<()> {
    let records = reports.iter().flat_map(Report::records);
    match format {
        Format::Json => reporter.print_json_lines(records)?,
        Format::Github => reporter.print_lines(records.map(|record| record.github()))?,
        Format::Text => {
            let mut wanting = reports.iter().filter(|report| !report.findings().is_empty());
            wanting.try_for_each(|report| reporter.print_styled(&report.text()))?;
        }
    }
    Ok(())
}

/// Of a file that Java refuses there is nothing to see but why, which is no data.
fn print_effective(
    reports: &[Report],
    request: &Request<'_>,
    format: Format,
    reporter: &Reporter,
) -> Result<()> {
    let (readable, refused): (Vec<&Report>, Vec<&Report>) =
        reports.iter().partition(|report| report.is_readable());
    for report in refused {
        reporter.report(&report.text());
    }
    if format != Format::Json {
        for report in readable {
            reporter.print_lines(table(&properties::effective(report, request)))?;
        }
        return Ok(());
    }
    reporter.print_json_lines(readable.iter().flat_map(|report| {
        let file = report.source().name.as_str();
        let properties = properties::effective(report, request).into_iter();
        properties.map(move |property| FileProperty { file, property })
    }))?;
    Ok(())
}

fn read(file: &Path, args: &Args) -> Result<Source> {
    if file.as_os_str() != "-" {
        return Source::read(file);
    }
    let name = args.stdin_filepath.as_ref().map(|path| path.display().to_string());
    Source::stdin(name.unwrap_or_else(|| "<stdin>".to_owned()))
}

/// What `--set` was given, each split at the first `=`. It is not read by clap, whose errors quote
/// what was typed.
pub(crate) fn overrides(sets: &[String]) -> Result<Vec<(String, Masked)>> {
    let split = |set: &String| match set.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), Masked::of_property(key, value)))
        }
        _ => Err(Error::new(Exit::Usage, "--set is invalid: there is no `=` behind a key")
            .hint("write --set KEY=VALUE")),
    };
    sets.iter().map(split).collect()
}

/// The name of a finding that may be allowed.
fn warning_name(name: &str) -> Result<String, String> {
    match properties::lookup_rule(name).map(|rule| rule.severity) {
        Some(Severity::Warning) => Ok(name.to_owned()),
        Some(Severity::Error) => {
            Err("an error stops the daemon, so it cannot be allowed".to_owned())
        }
        None => Err(format!("no warning has this name; known: {}", warning_names().join(", "))),
    }
}

fn warning_names() -> Vec<&'static str> {
    let warnings = properties::RULES.iter().filter(|rule| rule.severity == Severity::Warning);
    warnings.map(|rule| rule.name).collect()
}

#[derive(Serialize)]
struct FileProperty<'a> {
    file: &'a str,
    #[serde(flatten)]
    property: Property,
}

/// Key, value, origin, note, in columns. What is too long is whole in JSON only.
fn table(properties: &[Property]) -> Vec<String> {
    let head = ["KEY", "VALUE", "ORIGIN", "NOTE"].map(str::to_owned);
    let rows = properties.iter().map(|property| {
        let value = property.value.as_ref().map_or_else(|| "-".to_owned(), Masked::to_string);
        [&property.key, &value, &property.origin, &property.note]
            .map(|cell| escape(&abridged(cell)).into_owned())
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    columns::lines(&rows, [Side::Left; 4])
}

/// Prints the row of a key, or what a finding is about.
fn explain(name: &str, format: Format, reporter: &Reporter) -> Result<Exit> {
    match (properties::lookup_key(name), properties::lookup_rule(name)) {
        (Some(key), _) => explain_key(key, format, reporter)?,
        (None, Some(rule)) => explain_rule(rule, format, reporter)?,
        (None, None) => {
            let hint = properties::suggestion(name)
                .or_else(|| properties::suggest_rule(name))
                .map_or_else(
                    || "`kcl-helper check --effective FILE` lists the keys".to_owned(),
                    |known| format!("did you mean `{known}`?"),
                );
            let message = format!("`{name}` is neither a key nor the name of a finding");
            return Err(Error::new(Exit::Usage, message).hint(hint));
        }
    }
    Ok(Exit::Done)
}

fn explain_key(key: &Key, format: Format, reporter: &Reporter) -> Result<()> {
    let default = if key.default.is_empty() { "none" } else { key.default };
    let since = key.since.map_or_else(|| "never".to_owned(), properties::show_since);
    let status = match key.status {
        Status::Current => "current",
        Status::Deprecated => "deprecated",
        Status::Unused => "unused",
        Status::Dropped(_) => "ignored",
    };
    let mut aliases: Vec<String> = key.aliases.iter().map(|&alias| alias.to_owned()).collect();
    if !key.bean.is_empty() {
        aliases.push(format!("{}.{}", key.bean, key.name));
    }
    if format == Format::Json {
        let row = serde_json::json!({
            "key": key.name, "aliases": aliases, "value": key.kind.describe(),
            "default": key.default, "since": since, "status": status, "meaning": key.meaning,
        });
        return Ok(reporter.print_json_line(&row)?);
    }
    let mut lines = vec![format!("{}: {}", key.name, key.meaning)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:8} {value}"));
    line("value", &key.kind.describe());
    line("default", default);
    line("since", &since);
    line("status", status);
    if !aliases.is_empty() {
        line("also", &aliases.join(", "));
    }
    Ok(reporter.print_lines(lines)?)
}

fn explain_rule(rule: &Rule, format: Format, reporter: &Reporter) -> Result<()> {
    if format == Format::Json {
        let row = serde_json::json!({
            "name": rule.name, "severity": rule.severity, "why": rule.why,
        });
        return Ok(reporter.print_json_line(&row)?);
    }
    let severity = match rule.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    Ok(reporter.print_lines([format!("{severity}[{}]: {}", rule.name, rule.why)])?)
}

/// For `e2e/properties.sh`.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    folder: PathBuf,
}

/// Prints one line for each file of a folder in a form without ambiguity: the UTF-16 of keys and
/// values in hexadecimal digits, sorted. `e2e/properties/Jdk.java` prints the same by the JDK.
pub(crate) fn dump(args: &DumpArgs, reporter: &Reporter) -> Result<Exit> {
    let unreadable = |error| {
        let message = format!("{} cannot be read", args.folder.display());
        Error::new(Exit::Usage, message).because(error)
    };
    let entries = std::fs::read_dir(&args.folder).map_err(unreadable)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(unreadable)?;
    files.sort();
    let hex = |text: &Text| text.units().into_iter().map(|unit| format!("{unit:04x}")).collect();
    for file in &files {
        let source = Source::read(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let map = File::parse(&source.bytes).map_or_else(
            |_| "refused".to_owned(),
            |file| {
                let pairs = file.entries().iter().map(|e| (hex(&e.key), hex(&e.value)));
                let map: BTreeMap<String, String> = pairs.collect();
                let pairs: Vec<_> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
                pairs.join(";")
            },
        );
        reporter.print_lines([format!("{name} {map}")])?;
    }
    Ok(Exit::Done)
}
