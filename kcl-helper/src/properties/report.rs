//! What was found in a file, and how it is shown.

use std::ops::Range;

use super::{ParseError, Source};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing to say about a file.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Stable and kebab-case.
    pub(crate) name: &'static str,
    /// What the daemon does.
    pub(crate) message: String,
    /// The fix.
    pub(crate) hint: String,
    /// Bytes of the file.
    pub(crate) span: Option<Range<usize>>,
}

impl Finding {
    pub(crate) fn bad_escape(error: &ParseError) -> Finding {
        Finding {
            severity: Severity::Error,
            name: "bad-escape",
            message: format!("the daemon stops: {error}"),
            hint: "write a backslash as \\\\".to_owned(),
            span: Some(error.span.clone()),
        }
    }
}

/// All findings of one file.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    source: Source,
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(source: Source, findings: Vec<Finding>) -> Report {
        Report { source, findings }
    }

    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
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

    /// All findings as text for people, coloured; the stream it is written to strips the colours.
    pub(crate) fn render(&self) -> String {
        self.findings.iter().map(|finding| format!("{}\n", finding.message)).collect()
    }

    /// `app.properties: 1 error, 2 warnings`.
    pub(crate) fn summary(&self) -> String {
        let plural = |n: usize, word: &str| match n {
            0 => format!("no {word}s"),
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        let (errors, warnings) = (self.errors(), self.warnings());
        format!(
            "{}: {}, {}",
            self.source.name,
            plural(errors, "error"),
            plural(warnings, "warning")
        )
    }
}
