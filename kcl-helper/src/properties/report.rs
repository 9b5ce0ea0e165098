//! The findings of a file, as text, as JSON and as annotations of GitHub.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin as PathLine, Renderer, Snippet};
use serde::Serialize;

use super::Source;
use super::file::{LineIndex, Position};
use super::masks;
use super::rules::{self, Hint, Place, Remark, Rule, Within};
use super::settings::Settings;
use crate::output::Styled;
use crate::secret::{MASK, Masked};
use crate::text::{escape, is_harmful};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The name of its rule.
    pub(crate) name: &'static str,
    /// What the daemon does.
    pub(crate) message: String,
    /// Why, shown under the underlined text; may be empty.
    pub(crate) label: String,
    /// What to do.
    pub(crate) hint: String,
    /// The same as data.
    pub(crate) remedies: Hint,
    pub(crate) place: Place,
    /// How many findings this counts as: more than one if it says that others are not shown.
    pub(crate) stands_for: usize,
}

impl Finding {
    pub(crate) fn new(rule: &Rule, remark: Remark) -> Finding {
        let Remark { place, message, label, hint } = remark;
        let (severity, name) = (rule.severity, rule.name);
        // These texts quote the file.
        let [message, label, text] =
            [message, label, hint.to_string()].map(|text| escape(&abridged(&text)).into_owned());
        Finding { severity, name, message, label, hint: text, remedies: hint, place, stands_for: 1 }
    }
}

/// The most characters shown of a text that quotes the file.
const LONGEST_TEXT: usize = 1000;

/// Leaves out the middle of a text that is too long. Its end often says what is wrong.
pub(crate) fn abridged(text: &str) -> Cow<'_, str> {
    let is_short = text.len() <= LONGEST_TEXT || text.chars().nth(LONGEST_TEXT).is_none();
    if is_short {
        return Cow::Borrowed(text);
    }
    let half = LONGEST_TEXT / 2;
    let start = text.char_indices().nth(half).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().nth_back(half - 1).map_or(0, |(at, _)| at);
    Cow::Owned(format!("{}…{}", &text[..start], &text[end..]))
}

/// All findings of one file, and what the daemon makes of it.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    source: Source,
    /// The arguments of `--set`, which findings may refer to.
    sets: Vec<Masked>,
    settings: Settings,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(
        source: Source,
        sets: Vec<Masked>,
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

    /// Whether Java can read the file.
    pub(crate) fn is_readable(&self) -> bool {
        !self.findings.iter().any(|finding| finding.name == rules::BAD_ESCAPE.name)
    }

    /// The file and `--set` together; empty if Java cannot read the file.
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
        let counted = self.findings.iter().filter(|finding| finding.severity == severity);
        counted.map(|finding| finding.stands_for).sum()
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
        let masks = masks::in_file(&self.source.bytes, &self.settings, self.is_readable());
        let file = Shown::new(&self.source.bytes, masks);
        let texts = self.findings.iter().map(|finding| {
            let (path, bytes) = self.within(finding);
            let set = match finding.place.within {
                Within::Set(index) => {
                    let masks = self.sets.get(index).into_iter().flat_map(Masked::masks);
                    Some(Shown::new(bytes, masks.collect()))
                }
                Within::Nowhere | Within::File => None,
            };
            format!("{}\n", finding.render(&renderer, path, set.as_ref().unwrap_or(&file)))
        });
        Styled::new(texts.collect())
    }

    /// The name and the bytes of the text that a finding refers to.
    fn within(&self, finding: &Finding) -> (&str, &[u8]) {
        match finding.place.within {
            Within::Nowhere | Within::File => (&self.source.name, &self.source.bytes),
            Within::Set(index) => {
                ("--set", self.sets.get(index).map_or(&[], |argument| argument.reveal().as_bytes()))
            }
        }
    }

    /// All findings for programs.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let in_file = LineIndex::new(&self.source.bytes);
        self.findings.iter().map(move |finding| {
            let (file, bytes) = self.within(finding);
            let in_set =
                matches!(finding.place.within, Within::Set(_)).then(|| LineIndex::new(bytes));
            let places = in_set.as_ref().unwrap_or(&in_file);
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
    /// Renders the finding like a compiler's message.
    fn render(&self, renderer: &Renderer, path: &str, shown: &Shown<'_>) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let hint = Level::HELP.with_name("hint").message(&self.hint);
        let title = level.primary_title(&self.message).id(self.name);
        if self.place.within == Within::Nowhere {
            let nowhere = PathLine::path(escape(path)).line(1).char_column(1);
            return format!("{}\n", renderer.render(&[title.element(nowhere).element(hint)]));
        }
        let excerpt = shown.excerpt(&self.place.span);
        let is_counted_right = excerpt.is_counted_right();
        let Excerpt { text, line, span, start } = excerpt;
        let annotation = AnnotationKind::Primary.span(span);
        let annotation = match self.label.as_str() {
            "" => annotation,
            label => annotation.label(label),
        };
        let lines = Snippet::source(text).line_start(line).annotation(annotation);
        if is_counted_right {
            return format!(
                "{}\n",
                renderer.render(&[title.element(lines.path(escape(path))).element(hint)])
            );
        }
        let path = PathLine::path(escape(path)).line(start.line).char_column(start.column);
        let text = renderer.render(&[title.element(path).element(lines).element(hint)]);
        // The renderer takes the lines for a second file, and writes its empty name before them.
        let is_name = |line: &str| anstream::adapter::strip_str(line).to_string().trim() == ":::";
        text.lines().filter(|line| !is_name(line)).map(|line| format!("{line}\n")).collect()
    }
}

/// A finding for JSON and GitHub; lines and columns count from 1.
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
    /// A workflow command of GitHub Actions, which annotates the line.
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

/// A file's bytes as an editor shows them: as UTF-8 if valid, else as ISO-8859-1. Line ends are
/// normalised, trailing blanks and harmful characters are made visible, and secrets are masked.
struct Shown<'a> {
    bytes: &'a [u8],
    /// What must not be shown: sorted, and no two overlap.
    masks: Vec<Range<usize>>,
    index: LineIndex<'a>,
    is_utf8: bool,
}

/// As much of a file as the renderer needs for one finding: it renders the same from the whole
/// file.
struct Excerpt {
    text: String,
    /// The number of the first line.
    line: usize,
    /// The bytes of `text` to underline.
    span: Range<usize>,
    /// Where the underlined text starts in the file. The renderer cannot count this itself, as
    /// text is left out and escaped.
    start: Position,
}

/// Bytes kept of a long line on either side of the start and the end of the underlined text: more
/// than the renderer's width.
const KEPT: usize = 256;
/// Lines kept at the start and at the end of the underlined text. The renderer shows fewer.
const KEPT_LINES: usize = 8;

impl<'a> Shown<'a> {
    fn new(bytes: &'a [u8], masks: Vec<Range<usize>>) -> Shown<'a> {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        Shown { bytes, masks, index: LineIndex::new(bytes), is_utf8 }
    }

    /// The first mask that overlaps these bytes.
    fn mask(&self, bytes: &Range<usize>) -> Option<&Range<usize>> {
        let next = self.masks.partition_point(|mask| mask.end <= bytes.start);
        self.masks.get(next).filter(|mask| mask.start < bytes.end)
    }

    /// The lines that these bytes are on, and one line before and after.
    fn excerpt(&self, bytes: &Range<usize>) -> Excerpt {
        let start = self.index.position(bytes.start);
        let bytes = &self.with_masks(bytes);
        let (first, last) = (start.line, self.index.position(bytes.end).line);
        let line = (first - 1).max(1);
        let mut excerpt = Excerpt { text: String::new(), line, span: 0..0, start };
        for line in line..=(last + 1).min(self.index.count_lines()) {
            let whole = self.index.line(line);
            let end = whole.end - count_end(&self.bytes[whole.clone()]);
            let is_kept = line < first + KEPT_LINES || line + KEPT_LINES > last;
            let kept = if is_kept { kept(whole.start..end, bytes) } else { Vec::new() };
            if kept.first().is_some_and(|kept| kept.start > whole.start) {
                // Else the renderer would take blanks for the line's indentation.
                excerpt.text.push('…');
            }
            for part in kept {
                self.push(whole.start..end, part, bytes, &mut excerpt);
            }
            if end < whole.end {
                excerpt.text.push('\n');
            }
        }
        excerpt
    }

    /// Extends the range to whole masks at either end.
    fn with_masks(&self, bytes: &Range<usize>) -> Range<usize> {
        let before = self.mask(&(bytes.start..bytes.start + 1));
        let after = bytes.end.checked_sub(1).and_then(|last| self.mask(&(last..last + 1)));
        let start = before.filter(|_| !bytes.is_empty()).map_or(bytes.start, |mask| mask.start);
        let end = after.filter(|_| !bytes.is_empty()).map_or(bytes.end, |mask| mask.end);
        start..end
    }

    /// Appends a part of a line, and notes where the underlined text starts and ends in it.
    fn push(
        &self,
        line: Range<usize>,
        part: Range<usize>,
        underlined: &Range<usize>,
        to: &mut Excerpt,
    ) {
        // No byte of a multi-byte character is one of these.
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let last = self.bytes[line.clone()].iter().rposition(|byte| !is_blank(byte));
        let blanks_start = last.map_or(line.start, |last| line.start + last + 1);
        let (from, until) = (self.boundary(part.start), self.boundary(part.end));
        let mut at = from;
        let mut last_mask = None;
        let mut push = |char: char, width: usize| {
            for (end, found) in
                [(underlined.start, &mut to.span.start), (underlined.end, &mut to.span.end)]
            {
                if end >= at {
                    *found = to.text.len();
                }
            }
            let mask = self.mask(&(at..at + width));
            match char {
                _ if mask.is_some() => {
                    // Once a line, as a mask may span lines.
                    if mask != last_mask {
                        to.text.push_str(MASK);
                    }
                }
                ' ' if at >= blanks_start => to.text.push('␠'),
                '\t' if at >= blanks_start => to.text.push('␉'),
                '\u{feff}' => to.text.push(char::REPLACEMENT_CHARACTER),
                char if is_harmful(char) => to.text.extend(char.escape_default()),
                char => to.text.push(char),
            }
            last_mask = mask;
            at += width;
        };
        let bytes = &self.bytes[from..until];
        match std::str::from_utf8(bytes).ok().filter(|_| self.is_utf8) {
            Some(text) => text.chars().for_each(|char| push(char, char.len_utf8())),
            None => bytes.iter().for_each(|byte| push(char::from(*byte), 1)),
        }
        if underlined.start >= until {
            to.span.start = to.text.len();
        }
        if underlined.end >= until {
            to.span.end = to.text.len();
        }
    }

    /// The start of the character that a byte belongs to.
    fn boundary(&self, offset: usize) -> usize {
        let continues =
            |at: usize| self.bytes.get(at).is_some_and(|byte| (0x80..0xc0).contains(byte));
        (0..=offset).rev().find(|at| !self.is_utf8 || !continues(*at)).unwrap_or(0)
    }
}

impl Excerpt {
    /// Whether the renderer counts the right column.
    fn is_counted_right(&self) -> bool {
        let before = self.text[..self.span.start].rsplit('\n').next().unwrap_or_default();
        before.chars().count() + 1 == self.start.column
    }
}

/// The length of the line end.
fn count_end(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\r' | b'\n'] => 1,
        _ => 0,
    }
}

/// The parts of a line to show, in order.
fn kept(line: Range<usize>, underlined: &Range<usize>) -> Vec<Range<usize>> {
    if line.len() <= 4 * KEPT {
        return vec![line];
    }
    let around = |at: usize| {
        let at = at.clamp(line.start, line.end);
        at.saturating_sub(KEPT).max(line.start)..(at + KEPT).min(line.end)
    };
    let (first, second) = (around(underlined.start), around(underlined.end));
    let both = first.start..second.end;
    if first.end < second.start { vec![first, second] } else { vec![both] }
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

    /// The whole file as it is shown, and for each byte, and the end, its offset there.
    fn whole(bytes: &[u8]) -> (String, Vec<usize>) {
        let chars: Vec<char> = match std::str::from_utf8(bytes) {
            Ok(text) => text.chars().collect(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        };
        let is_utf8 = chars.len() != bytes.len() || bytes.is_ascii();
        let (mut shown, mut offsets) = (String::new(), Vec::new());
        for (at, &char) in chars.iter().enumerate() {
            let width = if is_utf8 { char.len_utf8() } else { 1 };
            offsets.extend(std::iter::repeat_n(shown.len(), width));
            let next = chars[at..].iter().find(|c| !matches!(c, ' ' | '\t'));
            let ends = next.is_none_or(|c| matches!(c, '\r' | '\n'));
            match char {
                '\r' if chars.get(at + 1) == Some(&'\n') => {}
                '\r' => shown.push('\n'),
                ' ' if ends => shown.push('␠'),
                '\t' if ends => shown.push('␉'),
                '\u{feff}' => shown.push(char::REPLACEMENT_CHARACTER),
                char if char != '\n' && is_harmful(char) => shown.extend(char.escape_default()),
                char => shown.push(char),
            }
        }
        offsets.push(shown.len());
        (shown, offsets)
    }

    #[track_caller]
    fn check_shown(text: &str, expected: &str) {
        let excerpt = Shown::new(text.as_bytes(), Vec::new()).excerpt(&(0..text.len()));
        assert_eq!(excerpt.text, expected);
        assert_eq!(excerpt.span, 0..expected.len());
    }

    #[test]
    fn only_trailing_blanks_are_made_visible() {
        check_shown(" \ta \t\r\nb \t c\t\r \t", " \ta␠␉\nb \t c␉\n␠␉");
    }

    /// However long a line is, and however many lines there are.
    #[test]
    fn excerpt_is_bounded() {
        let length = 100_000;
        let text = format!("k = {}b{}\nnext", "a".repeat(length), " ".repeat(length));
        let excerpt = Shown::new(text.as_bytes(), Vec::new()).excerpt(&(length + 4..length + 5));
        assert_eq!(excerpt.text.chars().count(), 2 * KEPT + 2 + "\nnext".len());
        assert!(!excerpt.is_counted_right());
        assert_eq!(&excerpt.text[excerpt.span], "b");
        let blanks = Shown::new(text.as_bytes(), Vec::new()).excerpt(&(length + 5..2 * length + 5));
        assert_eq!(blanks.text.matches('␠').count(), 2 * KEPT);
        let many = "aaa\\\n".repeat(length);
        let excerpt = Shown::new(many.as_bytes(), Vec::new()).excerpt(&(0..many.len()));
        assert_eq!(excerpt.text.matches('a').count(), 3 * 2 * KEPT_LINES - 3);
    }

    #[test]
    fn long_text_loses_its_middle() {
        let text = |length: usize| format!("{}é{}", "a".repeat(length), "z".repeat(length));
        assert_eq!(abridged(&text(499)), text(499));
        assert_eq!(abridged(&text(500)), format!("{}…{}", "a".repeat(500), "z".repeat(500)));
    }

    proptest! {
        #[test]
        fn excerpt_hides_secrets_and_underlines_the_span(
            text in "([ab\u{e9} ]{0,3}[X]{0,3}[\n\r]{0,1}){0,12}",
            long: bool,
            places in any::<(usize, usize)>(),
        ) {
            let text = if long { text.replace("XX", &"X".repeat(3 * KEPT)) } else { text };
            let is_secret = |byte: &u8| *byte == b'X';
            let mut masks: Vec<Range<usize>> = Vec::new();
            for at in (0..text.len()).filter(|at| is_secret(&text.as_bytes()[*at])) {
                match masks.last_mut().filter(|last| last.end == at) {
                    Some(last) => last.end = at + 1,
                    None => masks.push(at..at + 1),
                }
            }
            let starts: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let place = |place: usize| starts[place % starts.len()];
            let (one, other) = (place(places.0), place(places.1));
            let span = one.min(other)..one.max(other);
            let excerpt = Shown::new(text.as_bytes(), masks).excerpt(&span);
            prop_assert!(!excerpt.text.contains('X'));
            let underlined = &excerpt.text[excerpt.span];
            let asked = &text[span];
            if !asked.contains(['X', ' ', '\r', '\n']) {
                prop_assert_eq!(underlined, asked);
            } else if asked.contains('X') && asked.len() <= KEPT {
                prop_assert!(underlined.contains(MASK), "{:?}", underlined);
            }
        }

        #[test]
        fn excerpt_renders_like_the_whole_file(
            text in "([ab\u{e9}\u{1b}]{0,3}[\n\r ]){0,24}[a\n]{0,2}",
            long in "[ab\u{e9}\u{1f600}]{0,2000}(\r\n)?[ab]{0,2000} {0,900}\n?",
            order: bool,
            places in any::<(usize, usize)>(),
            in_latin: bool,
        ) {
            let text = if order { format!("{text}{long}") } else { format!("{long}{text}") };
            let bytes: Vec<u8> = match in_latin {
                true => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
                false => text.clone().into_bytes(),
            };
            // No span starts or ends between CR and LF.
            let is_start = |at: &usize| {
                (in_latin || text.is_char_boundary(*at)) && !bytes[*at..].starts_with(b"\n")
            };
            let boundaries: Vec<usize> = (0..=bytes.len()).filter(is_start).collect();
            let place = |place: usize| boundaries[place % boundaries.len()];
            let (one, other) = (place(places.0), place(places.1));
            let span = one.min(other)..one.max(other);
            let (shown, offsets) = whole(&bytes);
            let expected = rendered(&shown, 1, offsets[span.start]..offsets[span.end]);
            let shown = Shown::new(&bytes, Vec::new());
            let excerpt = shown.excerpt(&span);
            let finding = Finding {
                severity: Severity::Error,
                name: "",
                message: "what".to_owned(),
                label: "why".to_owned(),
                hint: String::new(),
                remedies: Hint::default(),
                place: Place { within: Within::File, span: span.clone() },
                stands_for: 1,
            };
            let found = rendered(&excerpt.text, excerpt.line, excerpt.span.clone());
            // The renderer may show all of a long line if most of it is underlined.
            let is_on_one_line = !bytes[span.clone()].iter().any(|b| matches!(b, b'\r' | b'\n'));
            let is_cut = bytes.split(|b| matches!(b, b'\r' | b'\n')).any(|l| l.len() > 4 * KEPT);
            if !is_cut || (is_on_one_line && span.len() <= KEPT) {
                let skipped = if excerpt.is_counted_right() { 0 } else { 2 };
                let picture =
                    |text: &str| text.lines().skip(skipped).collect::<Vec<_>>().join("\n");
                prop_assert_eq!(picture(&found), picture(&expected));
            }
            let text = finding.render(&Renderer::plain().term_width(100), "file", &shown);
            prop_assert!(text.starts_with("error[]: what\n"));
            let start = shown.index.position(span.start);
            let place = format!("--> file:{}:{}", start.line, start.column);
            prop_assert_eq!(text.lines().nth(1).map(str::trim_start), Some(place.as_str()));
        }
    }
}
