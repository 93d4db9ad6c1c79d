//! How numbers are printed in a report.

use crate::units::grouped;

/// A count as a float, for axes and ratios.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(super) const fn float(count: usize) -> f64 {
    count as f64
}

/// A count, grouped by thousands.
pub(super) fn count(count: usize) -> String {
    grouped(count as u64)
}

/// A loss or a difference's size: `3.871`.
pub(super) fn loss(nats: f64) -> String {
    scaled(nats, 3)
}

/// A difference of losses with its sign: `−1.041`, `+0.012`.
pub(super) fn difference(nats: f64) -> String {
    let sign = if nats < 0.0 { "−" } else { "+" };
    format!("{sign}{}", scaled(nats.abs(), 3))
}

/// `e` to the power of a loss, with three digits.
pub(super) fn perplexity(nats: f64) -> String {
    let value = nats.exp();
    let decimals = usize::from(value < 100.0) + usize::from(value < 10.0);
    scaled(value, decimals)
}

/// `0.000213` as `2.13e-4`, `0.0002` as `2e-4`.
pub(super) fn learning_rate(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => {
            format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A rate with three digits: `1,234`, `56.7`, `3.21`.
pub(super) fn rate(value: f64) -> String {
    let decimals = usize::from(value < 100.0) + usize::from(value < 10.0);
    scaled(value, decimals)
}

/// Energy: `1.25 Wh`, `3.4 kWh`.
pub(super) fn energy(joules: f64) -> String {
    let hours = joules / 3600.0;
    if hours < 1000.0 { format!("{} Wh", rate(hours)) } else { format!("{} kWh", rate(hours / 1e3)) }
}

/// A size next to another: `0.28×`.
pub(super) fn ratio(value: f64) -> String {
    format!("{}×", scaled(value, 2))
}

/// A number of parameters: `134.5 M`.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(super) fn parameters(number: u64) -> String {
    let value = number as f64;
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} k", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", value / 1e6),
        _ => format!("{:.2} B", value / 1e9),
    }
}

/// Wall-clock time in its two largest units: `3 h 12 min`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a range that fits")]
pub(super) fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e15) } else { 0.0 };
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600, whole / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", grouped(days), hours % 24),
    }
}

/// A number with so many decimals, grouped by thousands; as a power of ten where it is huge.
pub(super) fn scaled(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    if value.abs() >= 1e9 {
        return format!("{value:.2e}");
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
    let whole = grouped(whole.parse().unwrap_or_default());
    let sign = if value < 0.0 && text.contains(|c| matches!(c, '1'..='9')) { "−" } else { "" };
    rest.map_or_else(|| format!("{sign}{whole}"), |rest| format!("{sign}{whole}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_keep_three_decimals_and_differences_their_sign() {
        assert_eq!(loss(3.871_4), "3.871");
        assert_eq!(difference(-1.0409), "−1.041");
        assert_eq!(difference(0.012), "+0.012");
        assert_eq!(loss(f64::NAN), "not finite");
        assert_eq!(loss(-0.000_01), "0.000");
    }

    #[test]
    fn learning_rates_drop_idle_zeros() {
        for (value, text) in [(2e-4, "2e-4"), (2.134e-4, "2.13e-4"), (1.5e-5, "1.5e-5"), (0.1, "1e-1")] {
            assert_eq!(learning_rate(value), text);
        }
    }

    #[test]
    fn rates_and_perplexities_show_three_digits_and_group_grouped() {
        assert_eq!(rate(1234.4), "1,234");
        assert_eq!(rate(56.71), "56.7");
        assert_eq!(perplexity(3.871), "48.0");
        assert_eq!(perplexity(0.0), "1.00");
        assert_eq!(perplexity(5000.0), "not finite");
        assert_eq!(parameters(134_515_008), "134.5 M");
        assert_eq!(ratio(0.281), "0.28×");
    }

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        for (seconds, text) in [
            (3.21, "3.2 s"),
            (59.0, "59 s"),
            (600.0, "10 min 0 s"),
            (11_520.0, "3 h 12 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
