//! Text in columns.
//!
//! The standard library pads to at most 65,535 characters and panics beyond, so no width that comes
//! from data is given to it: all padding is done here.

/// A wider cell does not widen its column: only its own row is out of line. Else one long value
/// would put as many blanks into every row.
const WIDEST: usize = 60;

/// To which side of its column a cell goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// The text with as many blanks as make it `width` characters wide.
pub(crate) fn pad(text: &str, width: usize, side: Side) -> String {
    let blanks = " ".repeat(width.min(WIDEST).saturating_sub(text.chars().count()));
    match side {
        Side::Left => format!("{text}{blanks}"),
        Side::Right => format!("{blanks}{text}"),
    }
}

/// The rows as lines, with their cells under each other and no blanks at the end.
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
    fn a_wide_cell_does_not_widen_its_column() {
        let long = "v".repeat(100_000);
        let rows = [["a", "b", "c"], ["dd", &long, "e"], ["", "bbb", ""]]
            .map(|row| row.map(str::to_owned));
        let sides = [Side::Left, Side::Right, Side::Left];
        let expected = ["a     b  c".to_owned(), format!("dd  {long}  e"), "    bbb".to_owned()];
        assert_eq!(lines(&rows, sides), expected);
        assert_eq!(pad("ä", usize::MAX, Side::Left), format!("ä{}", " ".repeat(WIDEST - 1)));
    }
}
