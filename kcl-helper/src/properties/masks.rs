//! Which bytes of a file must not be shown: secrets in values, and in comments that look like
//! properties, such as lines that somebody commented out.

use std::ops::Range;

use super::secrets::in_property;
use super::settings::{Origin, Settings};
use crate::secret::in_text;

/// Sorted spans, no two of which overlap. If Java cannot read the file, any line may be a value.
pub(super) fn in_file(bytes: &[u8], settings: &Settings, is_readable: bool) -> Vec<Range<usize>> {
    let all = settings.iter().chain(settings.replaced().map(|(old, _)| old));
    let of_file = all.filter(|setting| matches!(setting.origin, Origin::File(_)));
    let mut masks: Vec<Range<usize>> = of_file
        .flat_map(|setting| [&setting.key, &setting.value])
        .flat_map(|written| written.masked().masks().map(|part| written.span_of(part)))
        .collect();
    let mut continued = None;
    for line in lines(bytes) {
        let text = &bytes[line.clone()];
        let is_comment = matches!(text.trim_ascii_start().first(), Some(b'#' | b'!'));
        let is_whole = match continued.take() {
            Some(true) => true,
            Some(false) => {
                let found = in_text(&String::from_utf8_lossy(text));
                !found.is_empty()
            }
            None if is_comment || !is_readable => in_line(text, line.start, &mut masks),
            None => false,
        };
        if is_whole {
            masks.push(line.clone());
        }
        let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
        if !is_readable && !is_comment && backslashes % 2 == 1 {
            continued = Some(is_whole || masks.last().is_some_and(|last| last.end == line.end));
        }
    }
    masks.sort_by_key(|mask| mask.start);
    masks.dedup_by(|next, last| {
        let overlaps = next.start <= last.end;
        if overlaps {
            last.end = last.end.max(next.end);
        }
        overlaps
    });
    masks
}

/// The lines, without line ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).map(move |line| {
        let at = start;
        start += line.len() + 1;
        at..at + line.len()
    })
}

/// Finds the secrets of a line that may be a property. Returns whether the whole line is one.
fn in_line(bytes: &[u8], start: usize, masks: &mut Vec<Range<usize>>) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return true };
    masks.extend(in_text(text).into_iter().map(|span| span.start + start..span.end + start));
    let is_comment = |char: char| matches!(char, '#' | '!');
    let line = text.trim_start().trim_start_matches(is_comment);
    // A comment that starts with a blank is prose, where a blank does not separate.
    let is_prose = line.len() < text.trim_start().len() && line.starts_with([' ', '\t']);
    let line = line.trim_start();
    let ends = |char: char| matches!(char, '=' | ':') || (!is_prose && char.is_ascii_whitespace());
    let Some((key, value)) = line.split_once(ends) else { return false };
    let is_separator = |char: char| matches!(char, '=' | ':') || char.is_ascii_whitespace();
    let value = value.trim_start_matches(is_separator);
    let at = start + text.len() - value.len();
    let mut push = |span: Range<usize>| masks.push(span.start + at..span.end + at);
    if key.contains('\\') {
        // An escape may hide any letter of a secret's name.
        push(0..value.len());
    } else {
        in_property(key.trim_end(), value).into_iter().for_each(|secret| push(secret.span));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::file::File;
    use super::super::{Launcher, Request, Version};
    use super::*;
    use crate::environment::Environment;

    /// The file with a star for each masked byte.
    fn shown(text: &str) -> String {
        let environment = Environment::of_this_process();
        let request = Request {
            version: Version::DEFAULT,
            launcher: Launcher::Daemon,
            overrides: &[],
            jvm_args: &[],
            allow: &[],
            environment: &environment,
        };
        let file = File::parse(text.as_bytes());
        let is_readable = file.is_ok();
        let settings = Settings::new(file.unwrap_or_default(), &request);
        let masks = in_file(text.as_bytes(), &settings, is_readable);
        assert!(masks.windows(2).all(|pair| pair[0].end < pair[1].start), "{masks:?}");
        let mut bytes = text.as_bytes().to_vec();
        masks.into_iter().for_each(|mask| bytes[mask].fill(b'*'));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn values_and_comments_are_masked() {
        assert_eq!(
            shown(
                "a = b\npassword : X\npass\\u0077ord X\ntoken=a\\\n  b\n#token = X\n  ! token X\n# a token X\n#token X\n# u:X@h\r\ntoken=1\rtoken=2"
            ),
            "a = b\npassword : *\npass\\u0077ord *\ntoken=******\n#token = *\n  ! token X\n# a token X\n#token *\n# ***@h\r\ntoken=*\rtoken=*"
        );
    }

    #[test]
    fn every_line_of_an_unreadable_file_may_be_a_value() {
        assert_eq!(
            shown("a = \\u12\npassword X\\u1\ntoken=a\\\n  b\\\nc\nd = e\npass\\u0077ord=X\n"),
            "a = \\u12\npassword ****\ntoken=**\n****\n*\nd = e\npass\\u0077ord=*\n"
        );
    }
}
