//! Amounts in words.

use crate::output::with_commas;

/// `412 µs`, `3.2 ms`, `1.5 s`, `2m 5s`, `3h 20m`, `2d 1h`.
pub(super) fn duration(micros: u64) -> String {
    let tenths = |value: u64, unit: u64, name: &str| {
        let tenths = value / (unit / 10);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => tenths(micros, 1_000, "ms"),
        1_000_000..60_000_000 => tenths(micros, 1_000_000, "s"),
        _ if seconds < 3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ if seconds < 86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// `512 B`, `1.2 KiB`, `3.4 MiB`.
pub(super) fn bytes(number: u64) -> String {
    let tenths = |unit: u64, name: &str| {
        let tenths = u128::from(number) * 10 / u128::from(unit);
        format!("{}.{} {name}", with_commas((tenths / 10) as u64), tenths % 10)
    };
    match number {
        0..1024 => format!("{number} B"),
        1024..0x10_0000 => tenths(1024, "KiB"),
        0x10_0000..0x4000_0000 => tenths(1 << 20, "MiB"),
        _ => tenths(1 << 30, "GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (micros, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_050, "1.0 ms"),
            (999_999, "999.9 ms"),
            (1_500_000, "1.5 s"),
            (59_999_999, "59.9 s"),
            (125_000_000, "2m 5s"),
            (12_000_000_000, "3h 20m"),
            (176_400_000_000, "2d 1h"),
        ] {
            assert_eq!(duration(micros), text);
        }
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1229, "1.2 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        bytes(u64::MAX);
        duration(u64::MAX);
    }
}
