//! `kcl-helper check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::columns::{self, Side};
use crate::environment::Environment;
use crate::error::{Error, Exit, Result};
use crate::files::replace_private_file;
use crate::output::Reporter;
use crate::properties::{
    self, File, Key, Launcher, Property, Report, Request, Rule, Severity, Source, Status, Text,
    Version, abridged,
};
use crate::secret::Masked;
use crate::text::escape;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kcl-helper check app.properties
  kcl-helper check --effective app.properties
  kcl-helper check --explain shutdownGraceMillis

Exit status: 0 no errors, 1 errors, 2 invalid file or option")]
pub(crate) struct Args {
    /// Files to judge (`-`: stdin)
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// Judge the file with this setting, which wins over the file (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every property with the value that the daemon uses, and its origin
    #[arg(long)]
    effective: bool,
    /// Exit 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
    /// Do not report this warning (repeatable)
    #[arg(long, value_name = "NAME", value_parser = warning_name)]
    allow: Vec<String>,
    /// Explain a finding or a key
    #[arg(long, value_name = "NAME|KEY", conflicts_with_all = ["files", "effective"])]
    explain: Option<String>,
    /// Version of the daemon, such as 1.15, 2.5.4 or 3.x
    #[arg(long, value_name = "V", default_value_t = Version::DEFAULT, env = "KCL_HELPER_KCL_VERSION")]
    kcl_version: Version,
    /// An argument of the JVM, which may set a region or an endpoint (repeatable)
    #[arg(long = "jvm-arg", value_name = "ARG", allow_hyphen_values = true)]
    jvm_args: Vec<String>,
    /// Name of stdin in findings
    #[arg(long, value_name = "FILE")]
    stdin_filepath: Option<PathBuf>,
    /// Output format: text, json or github [default: text, or github if GITHUB_ACTIONS=true]
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
    let environment = Environment::of_this_process();
    let in_actions = environment.variable("GITHUB_ACTIONS") == Some("true");
    let usual = if in_actions { Format::Github } else { Format::Text };
    let format = args.format.unwrap_or(usual);
    if let Some(name) = &args.explain {
        return explain(name, args.kcl_version, format, reporter);
    }
    let overrides = overrides(&args.set)?;
    let request = Request {
        version: args.kcl_version,
        launcher: Launcher::Daemon,
        overrides: &overrides,
        jvm_args: &args.jvm_args,
        allow: &args.allow,
        environment: &environment,
    };
    // Read all files first, so that one bad path leaves no partial output.
    let sources: Vec<Source> =
        args.files.iter().map(|file| read(file, &args)).collect::<Result<_>>()?;
    let reports: Vec<Report> =
        sources.into_iter().map(|source| properties::check(source, &request)).collect();
    if args.effective {
        print_effective(&reports, &request, format, reporter)?;
    } else {
        print_findings(&reports, format, reporter)?;
    }
    let notes = [properties::limits(args.kcl_version), properties::known_faults(args.kcl_version)];
    notes.into_iter().flatten().for_each(|note| reporter.result(&note));
    for report in &reports {
        reporter.result(&report.summary());
    }
    let failed = reports
        .iter()
        .any(|report| report.has_errors() || (args.deny_warnings && report.warnings() > 0));
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn print_findings(reports: &[Report], format: Format, reporter: &Reporter) -> Result<()> {
    let records = reports.iter().flat_map(Report::records);
    match format {
        Format::Json => reporter.print_json_lines(records)?,
        Format::Github => reporter.print_lines(records.map(|record| record.github()))?,
        Format::Text => {
            let mut with_findings = reports.iter().filter(|report| !report.findings().is_empty());
            with_findings.try_for_each(|report| reporter.print_styled(&report.text()))?;
        }
    }
    Ok(())
}

/// A file that Java cannot read has no properties; why goes to stderr, as it is not data.
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

/// Splits each `--set` at the first `=`. Not done by clap, whose errors would quote secrets.
pub(crate) fn overrides(sets: &[String]) -> Result<Vec<(String, Masked)>> {
    let split = |set: &String| match set.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), Masked::of_property(key, value)))
        }
        _ => Err(Error::new(Exit::Usage, "--set is invalid: it has no `=` after a key")
            .hint("write --set KEY=VALUE")),
    };
    sets.iter().map(split).collect()
}

/// Parses the name of a warning, which can be allowed.
fn warning_name(name: &str) -> Result<String, String> {
    match properties::lookup_rule(name).map(|rule| rule.severity) {
        Some(Severity::Warning) => Ok(name.to_owned()),
        Some(Severity::Error) => {
            Err("only warnings can be allowed, and this is an error".to_owned())
        }
        None => Err(format!(
            "there is no such warning; the warnings are {}",
            warning_names().join(", ")
        )),
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

/// Columns of key, value, origin and note. Only JSON shows long values in full.
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

/// Explains a key or a finding.
fn explain(name: &str, version: Version, format: Format, reporter: &Reporter) -> Result<Exit> {
    match (properties::lookup_key(name), properties::lookup_rule(name)) {
        (Some(key), _) => explain_key(key, version, format, reporter)?,
        (None, Some(rule)) => explain_rule(rule, format, reporter)?,
        (None, None) => {
            let hint = properties::suggestion(name)
                .or_else(|| properties::suggest_rule(name))
                .map_or_else(
                    || "run `kcl-helper check --effective FILE` to list the keys".to_owned(),
                    |known| format!("write `{known}` if you mean that"),
                );
            let message = format!("cannot explain `{name}`: there is no such key or finding");
            return Err(Error::new(Exit::Usage, message).hint(hint));
        }
    }
    Ok(Exit::Done)
}

fn explain_key(key: &Key, version: Version, format: Format, reporter: &Reporter) -> Result<()> {
    let default = key.default_in(version);
    let meaning = key.meaning_in(version);
    let since = key.since.map_or_else(|| "never".to_owned(), properties::show_since);
    let status = match key.status_in(version) {
        _ if key.since.is_some_and(|since| since > version) => "ignored",
        Status::Current => "current",
        Status::Deprecated => "deprecated",
        Status::Unused => "unused",
        Status::Ignored(_) => "ignored",
    };
    let mut aliases: Vec<String> = key.aliases.iter().map(|&alias| alias.to_owned()).collect();
    if !key.bean.is_empty() {
        aliases.push(format!("{}.{}", key.bean, key.name));
    }
    if format == Format::Json {
        let row = serde_json::json!({
            "key": key.name, "aliases": aliases, "value": key.kind.describe(),
            "default": default, "since": since, "status": status, "meaning": meaning,
        });
        return Ok(reporter.print_json_line(&row)?);
    }
    let mut lines = vec![format!("{}: {meaning}", key.name)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:8} {value}"));
    line("value", &key.kind.describe());
    line("default", if default.is_empty() { "none" } else { default });
    line("since", &since);
    line("status", &format!("{status} in {version}"));
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

/// For `e2e/properties-daemon.sh`.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpHintsArgs {
    folder: PathBuf,
    to: PathBuf,
    #[arg(long, default_value_t = Version::DEFAULT)]
    kcl_version: Version,
}

/// Writes each file of a folder with each hint applied, as `FILE.FINDING.NUMBER.properties`.
pub(crate) fn dump_hints(args: &DumpHintsArgs) -> Result<Exit> {
    let environment = Environment::of_this_process();
    let request = Request {
        version: args.kcl_version,
        launcher: Launcher::Daemon,
        overrides: &[],
        jvm_args: &[],
        allow: &[],
        environment: &environment,
    };
    for path in files_of(&args.folder)? {
        let source = Source::read(&path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let report = properties::check(source, &request);
        let findings = report.findings().iter();
        let remedies = findings
            .flat_map(|finding| finding.remedies.remedies().iter().map(|one| (finding.name, one)));
        for (number, (name, remedy)) in remedies.enumerate() {
            let mut bytes = report.source().bytes.clone();
            if remedy.change.apply(&mut bytes, &mut Vec::new()) {
                let file = args.to.join(format!("{stem}.{name}.{number}.properties"));
                replace_private_file(&file, &bytes).map_err(|error| {
                    let message = format!("cannot write {}", file.display());
                    Error::new(Exit::Environment, message).because(error)
                })?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The files of a folder, sorted.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| {
        let message = format!("cannot read {}", folder.display());
        Error::new(Exit::Usage, message).because(error)
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(unreadable)?;
    files.sort();
    Ok(files)
}

/// For `e2e/properties.sh`.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    folder: PathBuf,
}

/// Prints one line for each file of a folder: the UTF-16 of its keys and values in hexadecimal,
/// sorted. `e2e/properties/Jdk.java` prints the same with the JDK's reader.
pub(crate) fn dump(args: &DumpArgs, reporter: &Reporter) -> Result<Exit> {
    let hex = |text: &Text| text.units().into_iter().map(|unit| format!("{unit:04x}")).collect();
    for file in &files_of(&args.folder)? {
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
