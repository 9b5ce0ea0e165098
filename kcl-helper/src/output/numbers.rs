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

/// Formats a number of things: `1 record`, `1,234 records`, `2 batches`, `2 anomalies`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let things = match noun.strip_suffix('y') {
        _ if number == 1 => noun.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with("ch") => format!("{noun}es"),
        None => format!("{noun}s"),
    };
    format!("{} {things}", with_commas(number))
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
    use super::{bar, count, percent, with_commas};

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

    #[test]
    fn counts() {
        let counts = [(1, "record"), (1000, "record"), (1, "batch"), (0, "batch")];
        let counts = counts.map(|(number, noun)| count(number, noun));
        assert_eq!(counts, ["1 record", "1,000 records", "1 batch", "0 batches"]);
        assert_eq!([1, 2].map(|it| count(it, "anomaly")), ["1 anomaly", "2 anomalies"]);
    }
}
