//! Numbers as people read them.

/// Formats `1234567` as `1,234,567`.
pub(crate) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Draws a part of a whole as a bar.
pub(crate) fn bar(part: u64, whole: u64) -> String {
    const WIDTH: usize = 30;
    let filled = WIDTH * percent(part, whole) as usize / 100;
    format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled))
}

/// Returns a part of a whole in percent; 100 if the whole is 0.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    let part = u128::from(part.min(whole));
    // It is at most 100.
    (part * 100).checked_div(whole.into()).map_or(100, |percent| percent as u64)
}

#[cfg(test)]
mod tests {
    use super::{bar, percent, with_commas};

    #[test]
    fn parts_of_a_whole() {
        for (part, whole, expected) in [
            (0, 7, 0),
            (1, 3, 33),
            (3, 3, 100),
            (9, 3, 100),
            (0, 0, 100),
            (u64::MAX, u64::MAX, 100),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
        assert_eq!(bar(1, 2), "███████████████░░░░░░░░░░░░░░░");
    }

    #[test]
    fn commas() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(with_commas(number), text);
        }
    }
}
