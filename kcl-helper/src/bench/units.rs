//! Figures as people read them.

/// `1.52 M records/s`.
pub(crate) fn records(rate: f64) -> String {
    format!("{}records/s", scaled(rate, &["", "k ", "M ", "G "], 1000.0))
}

/// Payload bytes, decimal: `1.90 GB/s`.
pub(crate) fn bytes_per_second(rate: f64) -> String {
    format!("{}/s", scaled(rate, &["B", "kB", "MB", "GB"], 1000.0))
}

/// Memory, binary: `31.0 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "KiB", "MiB", "GiB"], 1024.0)
}

/// `210 µs`.
pub(crate) fn time(nanos: u64) -> String {
    self::nanos(nanos as f64)
}

pub(crate) fn nanos(nanos: f64) -> String {
    scaled(nanos, &["ns", "µs", "ms", "s"], 1000.0)
}

/// Three digits and the unit that fits.
fn scaled(mut value: f64, units: &[&str], step: f64) -> String {
    let mut unit = 0;
    // What would be rounded to a fourth digit takes the next unit.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, value) if value.fract() == 0.0 => 0,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (value, text) in [
            (0.0, "0 ns"),
            (7.0, "7 ns"),
            (7.125, "7.12 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (9_996.0, "10.0 µs"),
            (210_000.0, "210 µs"),
            (99_960_000.0, "100 ms"),
            (1.5e12, "1500 s"),
        ] {
            assert_eq!(nanos(value), text);
        }
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(31 << 20), "31.0 MiB");
        assert_eq!(records(1_520_000.0), "1.52 M records/s");
        assert_eq!(records(12.0), "12 records/s");
        assert_eq!(bytes_per_second(1.9e9), "1.90 GB/s");
    }
}
