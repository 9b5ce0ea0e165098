//! Text in columns.
//!
//! The standard library panics if it pads to more than 65,535 characters, so widths that come from data are
//! padded here.

/// A wider cell does not widen its column, but moves the rest of its row. Otherwise one long value would add
/// spaces to every row.
const WIDEST: usize = 60;

/// How a cell is aligned in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Pads a text with spaces to `width` characters.
pub(crate) fn pad(text: &str, width: usize, side: Side) -> String {
    let spaces = " ".repeat(width.min(WIDEST).saturating_sub(text.chars().count()));
    match side {
        Side::Left => format!("{text}{spaces}"),
        Side::Right => format!("{spaces}{text}"),
    }
}

/// Formats rows as lines with aligned columns and no trailing spaces.
pub(crate) fn lines<const N: usize>(rows: &[[String; N]], sides: [Side; N]) -> Vec<String> {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: [String; N] =
            std::array::from_fn(|column| pad(&row[column], widths[column], sides[column]));
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_cell_does_not_widen_its_column() {
        let long = "v".repeat(100_000);
        let rows = [["a", "b", "c"], ["dd", &long, "e"], ["", "bbb", ""]]
            .map(|row| row.map(str::to_owned));
        let sides = [Side::Left, Side::Right, Side::Left];
        let expected = ["a     b  c".to_owned(), format!("dd  {long}  e"), "    bbb".to_owned()];
        assert_eq!(lines(&rows, sides), expected);
        assert_eq!(pad("ä", usize::MAX, Side::Left), format!("ä{}", " ".repeat(WIDEST - 1)));
    }
}
