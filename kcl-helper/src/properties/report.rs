//! What was found in a file, and the three forms it is shown in.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin as PathLine, Renderer, Snippet};
use serde::Serialize;

use super::Source;
use super::file::Places;
use super::rules::{self, Place, Remark, Rule, Within};
use super::settings::Settings;
use crate::output::Styled;
use crate::text::{escape, is_harmful};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing to say about a file.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The name of its rule.
    pub(crate) name: &'static str,
    /// What the daemon does.
    pub(crate) message: String,
    /// Why, as words under the place; may be empty.
    pub(crate) label: String,
    /// What to do.
    pub(crate) hint: String,
    pub(crate) place: Place,
}

impl Finding {
    pub(crate) fn new(rule: &Rule, remark: Remark) -> Finding {
        let Remark { place, message, label, hint } = remark;
        // They quote what the file says.
        let [message, label, hint] = [message, label, hint].map(|text| escape(&text).into_owned());
        Finding { severity: rule.severity, name: rule.name, message, label, hint, place }
    }
}

/// All findings of one file, and what the daemon makes of it.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    source: Source,
    /// The arguments of `--set`, which findings may stand in.
    sets: Vec<String>,
    settings: Settings,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(
        source: Source,
        sets: Vec<String>,
        settings: Settings,
        findings: Vec<Finding>,
    ) -> Report {
        Report { source, sets, settings, findings }
    }

    /// In the order of the file.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether Java takes the file at all.
    pub(crate) fn is_readable(&self) -> bool {
        !self.findings.iter().any(|finding| finding.name == rules::BAD_ESCAPE.name)
    }

    /// File and `--set` together; empty if the file cannot be read.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub(crate) fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// `app.properties: 1 error, 2 warnings`.
    pub(crate) fn summary(&self) -> String {
        let count = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            number => format!("{number} {word}s"),
        };
        let counts = match (self.errors(), self.warnings()) {
            (0, 0) => "no errors, no warnings".to_owned(),
            (0, warnings) => format!("no errors, {}", count(warnings, "warning")),
            (errors, 0) => count(errors, "error"),
            (errors, warnings) => {
                format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
            }
        };
        format!("{}: {counts}", self.source.name)
    }

    /// All findings for people.
    pub(crate) fn text(&self) -> Styled {
        let renderer = Renderer::styled().term_width(100);
        let file = Shown::new(&self.source.bytes);
        let texts = self.findings.iter().map(|finding| {
            let (path, bytes) = self.within(finding);
            let set = matches!(finding.place.within, Within::Set(_)).then(|| Shown::new(bytes));
            let group = finding.group(path, set.as_ref().unwrap_or(&file));
            format!("{}\n\n", renderer.render(&[group]))
        });
        Styled::new(texts.collect())
    }

    /// Where a finding stands: the name of the text, and the text.
    fn within(&self, finding: &Finding) -> (&str, &[u8]) {
        match finding.place.within {
            Within::Nowhere | Within::File => (&self.source.name, &self.source.bytes),
            Within::Set(index) => {
                ("--set", self.sets.get(index).map_or(&[], |argument| argument.as_bytes()))
            }
        }
    }

    /// All findings for programs.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut in_file = Places::new(&self.source.bytes);
        self.findings.iter().map(move |finding| {
            let (file, bytes) = self.within(finding);
            let mut in_set =
                matches!(finding.place.within, Within::Set(_)).then(|| Places::new(bytes));
            let places = in_set.as_mut().unwrap_or(&mut in_file);
            let start = places.position(finding.place.span.start);
            let end = places.position(finding.place.span.end);
            Record {
                file,
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
                severity: finding.severity,
                name: finding.name,
                message: &finding.message,
                label: &finding.label,
                hint: &finding.hint,
            }
        })
    }
}

impl Finding {
    /// The shape of a compiler's message.
    fn group<'a>(&'a self, path: &'a str, shown: &'a Shown) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&self.message).id(self.name);
        let group = match self.place.within {
            Within::Nowhere => title.element(PathLine::path(escape(path)).line(1).char_column(1)),
            Within::File | Within::Set(_) => {
                let (text, line, span) = shown.lines_with(&self.place.span);
                let annotation = AnnotationKind::Primary.span(span);
                let annotation = match self.label.as_str() {
                    "" => annotation,
                    label => annotation.label(label),
                };
                let lines = Snippet::source(text).line_start(line).path(escape(path));
                title.element(lines.annotation(annotation))
            }
        };
        group.element(Level::HELP.with_name("hint").message(&self.hint))
    }
}

/// A finding as JSON and as a GitHub annotation have it; lines and columns count from 1.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    severity: Severity,
    name: &'a str,
    message: &'a str,
    label: &'a str,
    hint: &'a str,
}

impl Record<'_> {
    /// A workflow command of GitHub Actions, which becomes a note at the line.
    pub(crate) fn github(&self) -> String {
        let command = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        let why = if self.label.is_empty() { String::new() } else { format!(" ({})", self.label) };
        let words = format!("{}{why}\nhint: {}", self.message, self.hint);
        format!(
            "::{command} file={},line={},col={},endLine={},endColumn={},title={}::{}",
            property(self.file),
            self.line,
            self.column,
            self.end_line,
            self.end_column,
            self.name,
            data(&words)
        )
    }
}

/// A file's bytes as an editor shows them: UTF-8 if they are, else ISO-8859-1; all ends of lines
/// are one; blanks at the end of a line can be seen, and so can what is escaped.
struct Shown {
    text: String,
    /// For each byte of the file, and its end, the offset in `text`.
    offsets: Vec<usize>,
    /// Where the lines of `text` begin.
    lines: Vec<usize>,
}

impl Shown {
    fn new(bytes: &[u8]) -> Shown {
        let chars: Vec<char> = match std::str::from_utf8(bytes) {
            Ok(text) => text.chars().collect(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        };
        let is_utf8 = chars.len() != bytes.len() || bytes.is_ascii();
        let mut shown = Shown {
            text: String::new(),
            offsets: Vec::with_capacity(bytes.len() + 1),
            lines: Vec::new(),
        };
        // Whether blanks are at the end of their line, found at the first of them.
        let mut ends = None;
        let mut rest = chars.as_slice();
        while let Some((&char, after)) = rest.split_first() {
            let width = if is_utf8 { char.len_utf8() } else { 1 };
            shown.offsets.extend(std::iter::repeat_n(shown.text.len(), width));
            let ends_line = || {
                let next = after.iter().find(|c| !matches!(c, ' ' | '\t'));
                next.is_none_or(|c| matches!(c, '\r' | '\n'))
            };
            ends = matches!(char, ' ' | '\t').then(|| ends.unwrap_or_else(ends_line));
            match char {
                '\r' if after.first() == Some(&'\n') => {}
                '\r' => shown.text.push('\n'),
                ' ' if ends == Some(true) => shown.text.push('␠'),
                '\t' if ends == Some(true) => shown.text.push('␉'),
                '\u{feff}' => shown.text.push(char::REPLACEMENT_CHARACTER),
                char if char != '\n' && is_harmful(char) => {
                    shown.text.extend(char.escape_default());
                }
                char => shown.text.push(char),
            }
            rest = after;
        }
        shown.offsets.push(shown.text.len());
        let behind_ends = shown.text.match_indices('\n').map(|(end, _)| end + 1);
        shown.lines = std::iter::once(0).chain(behind_ends).collect();
        shown
    }

    /// The lines that bytes of the file stand on, with one line on each side: all that the renderer
    /// need look at. With the first one's number, and where in them the bytes are.
    fn lines_with(&self, bytes: &Range<usize>) -> (&str, usize, Range<usize>) {
        let span = self.offset(bytes.start)..self.offset(bytes.end);
        // The index of the line behind the one that it is on.
        let behind = |offset: usize| self.lines.partition_point(|start| *start <= offset);
        let first = behind(span.start).saturating_sub(2);
        let start = self.lines[first];
        let end = self.lines.get(behind(span.end) + 1).copied().unwrap_or(self.text.len());
        (&self.text[start..end], first + 1, span.start - start..span.end - start)
    }

    fn offset(&self, byte: usize) -> usize {
        self.offsets.get(byte).copied().unwrap_or(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str, line: usize, span: Range<usize>) -> String {
        let annotation = AnnotationKind::Primary.span(span).label("why");
        let snippet = Snippet::source(text).line_start(line).path("file").annotation(annotation);
        let group = Level::ERROR.primary_title("what").element(snippet);
        Renderer::plain().term_width(100).render(&[group])
    }

    /// Of any length, as each run of them is looked through once.
    #[test]
    fn blanks_can_be_seen_at_the_end_of_a_line_only() {
        let shown = |text: &str| Shown::new(text.as_bytes()).text;
        assert_eq!(shown(" \ta \t\r\nb \t c\t\r \t"), " \ta␠␉\nb \t c␉\n␠␉");
        let blanks = " ".repeat(400_000);
        assert_eq!(
            shown(&format!("a{blanks}b{blanks}")),
            format!("a{blanks}b{}", "␠".repeat(400_000))
        );
    }

    proptest! {
        /// The lines around a finding are shown as if the renderer had the whole file.
        #[test]
        fn a_few_lines_are_enough(
            text in "([ab\u{e9}]{0,3}[\n\r ]){0,24}[a\n]{0,2}",
            places in any::<(usize, usize)>(),
        ) {
            let shown = Shown::new(text.as_bytes());
            let boundaries: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let place = |place: usize| boundaries[place % boundaries.len()];
            let (one, other) = (place(places.0), place(places.1));
            let span = one.min(other)..one.max(other);
            let whole = shown.offset(span.start)..shown.offset(span.end);
            let (lines, line, within) = shown.lines_with(&span);
            prop_assert_eq!(rendered(lines, line, within), rendered(&shown.text, 1, whole));
        }
    }
}
