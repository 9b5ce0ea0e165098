//! Text with colours: the only text that may contain escape sequences.

use crate::text::push_escaped;

/// Lines with colours. Untrusted text must be escaped before it is coloured, so that it cannot add colours;
/// everything but colours is escaped anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Styled(String);

impl Styled {
    pub(crate) fn new(text: String) -> Styled {
        Styled(text)
    }

    /// Returns what to write to a stream with or without colours.
    pub(super) fn to_text(&self, has_colours: bool) -> String {
        let mut text = String::with_capacity(self.0.len());
        for line in self.0.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            let mut parts = line.split('\x1b');
            push_escaped(&mut text, parts.next().unwrap_or_default());
            for part in parts {
                match colour(part) {
                    Some((colour, rest)) => {
                        if has_colours {
                            text.push('\x1b');
                            text.push_str(colour);
                        }
                        push_escaped(&mut text, rest);
                    }
                    None => {
                        push_escaped(&mut text, "\x1b");
                        push_escaped(&mut text, part);
                    }
                }
            }
            text.push_str(end);
        }
        text
    }
}

/// Splits the text after an ESC into the rest of a colour sequence and what follows. Returns `None` for
/// another sequence.
fn colour(text: &str) -> Option<(&str, &str)> {
    let numbers = text.strip_prefix('[')?;
    let end = numbers.find(|char: char| !char.is_ascii_digit() && char != ';')?;
    numbers[end..].starts_with('m').then(|| text.split_at(end + 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::is_harmful;

    #[test]
    fn only_colours_are_not_escaped() {
        let styled = Styled::new(
            "\x1b[1;31merror\x1b[0m: a\x1b[2Jb\x1b]0;c\x07\r\u{9b}1m\n\x1b[m\n\x1b".into(),
        );
        assert_eq!(
            styled.to_text(true),
            "\x1b[1;31merror\x1b[0m: a\\u{1b}[2Jb\\u{1b}]0;c\\u{7}\\r\\u{9b}1m\n\x1b[m\n\\u{1b}"
        );
        assert_eq!(
            styled.to_text(false),
            "error: a\\u{1b}[2Jb\\u{1b}]0;c\\u{7}\\r\\u{9b}1m\n\n\\u{1b}"
        );
    }

    proptest! {
        #[test]
        fn without_colours_nothing_is_harmful(text in "(\x1b\\[?[0-9;]{0,3}[mJ]?|[\n\r\u{80}-\u{a0}a]){0,12}") {
            let text = Styled::new(text).to_text(false);
            prop_assert!(!text.contains(|char| char != '\n' && is_harmful(char)));
        }
    }
}
