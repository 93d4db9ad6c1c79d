//! Where an axis is labelled, and with what: few round numbers.

use crate::report::numbers;

/// Steps a horizontal axis has at most: its labels stand side by side and must never touch.
pub(super) const ACROSS: f64 = 6.0;
/// Steps a vertical axis has at most.
pub(super) const UPWARDS: f64 = 8.0;
/// Doublings or powers of ten are skipped evenly beyond so many labels.
const MOST: i32 = 9;

/// One labelled value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Its place.
    pub(super) at: f64,
    /// Its text.
    pub(super) label: String,
}

/// Multiples of 1, 2 or 5 times a power of ten that is not below `least_step`.
pub(super) fn linear(low: f64, high: f64, most: f64, least_step: f64) -> Vec<Tick> {
    let (values, decimals) = multiples(low, high, most, least_step);
    values.into_iter().map(|at| Tick { at, label: numbers::scaled(at, decimals) }).collect()
}

/// Round numbers of the binary unit that suits `high`.
pub(super) fn bytes(high: f64, most: f64) -> Vec<Tick> {
    const UNITS: [(&str, f64); 3] = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0)];
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| high >= *unit).unwrap_or(("B", 1.0));
    let (values, decimals) = multiples(0.0, high / unit, most, 0.0);
    let label = |value| format!("{} {name}", numbers::scaled(value, decimals));
    values.into_iter().map(|value| Tick { at: value * unit, label: label(value) }).collect()
}

/// `1e-4, 3e-4 …`: more digits where the range is short, fewer powers where it is long.
#[expect(clippy::cast_possible_truncation, reason = "exponents of a finite float lie within ±308")]
pub(super) fn powers_of_ten(low: f64, high: f64) -> Vec<Tick> {
    let decades = (high / low).log10();
    let mantissas: &[i32] = match decades {
        d if d > 5.0 => &[1],
        d if d > 1.5 => &[1, 3],
        _ => &[1, 2, 3, 5, 7],
    };
    let stride = (decades as i32 / MOST).max(0) + 1;
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last)
        .filter(|exponent| exponent.rem_euclid(stride) == 0)
        .flat_map(|exponent| mantissas.iter().map(move |mantissa| (*mantissa, exponent)))
        .map(|(m, e)| Tick { at: f64::from(m) * 10f64.powi(e), label: format!("{m}e{e}") })
        .filter(|tick| (low..=high).contains(&tick.at))
        .collect()
}

/// `1, 2, 4, 8 …`.
#[expect(clippy::cast_possible_truncation, reason = "exponents of a finite float lie within ±1024")]
pub(super) fn powers_of_two(low: f64, high: f64) -> Vec<Tick> {
    let (first, last) = (low.log2().ceil().max(0.0) as i32, high.log2().floor() as i32);
    let stride = (last - first) / MOST + 1;
    (first..=last)
        .filter(|exponent| (exponent - first) % stride == 0)
        .map(|exponent| 2f64.powi(exponent))
        .map(|at| Tick { at, label: numbers::scaled(at, 0) })
        .collect()
}

/// The multiples within the range, and the decimals that tell them apart.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a range is a few steps, and no axis is narrower than a millionth of its values"
)]
fn multiples(low: f64, high: f64, most: f64, least_step: f64) -> (Vec<f64>, usize) {
    let rough = ((high - low) / most).max(least_step).max(f64::MIN_POSITIVE);
    let power = rough.log10().floor();
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * 10f64.powf(power))
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    // The range is at most some eight steps wide; `take` says so to whoever reads a profile of a bad day.
    let values = (first..=last).take(20).map(|index| index as f64 * step).collect();
    (values, decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn a_linear_axis_shows_round_numbers() {
        assert_eq!(labels(&linear(3.71, 4.52, ACROSS, 0.0)), ["3.8", "4.0", "4.2", "4.4"]);
        assert_eq!(labels(&linear(0.0, 1234.0, ACROSS, 0.0)), ["0", "500", "1,000"]);
        assert_eq!(labels(&linear(-0.5, 0.5, ACROSS, 1.0)), ["0"]);
        assert_eq!(labels(&linear(-0.5, 3.5, ACROSS, 1.0)), ["0", "1", "2", "3"]);
    }

    #[test]
    fn learning_rates_are_labelled_as_people_write_them() {
        assert_eq!(labels(&powers_of_ten(8e-6, 1.2e-3)), ["1e-5", "3e-5", "1e-4", "3e-4", "1e-3"]);
        assert_eq!(labels(&powers_of_ten(1e-4, 4e-4)), ["1e-4", "2e-4", "3e-4"]);
        assert!(powers_of_ten(1e-30, 1e15).len() <= 12);
    }

    #[test]
    fn micro_batches_are_labelled_by_doublings() {
        assert_eq!(labels(&powers_of_two(0.9, 9.0)), ["1", "2", "4", "8"]);
        assert!(powers_of_two(0.9, 1e14).len() <= 12);
    }

    #[test]
    fn bytes_are_labelled_in_one_unit() {
        assert_eq!(
            labels(&bytes(600.0 * 1024.0 * 1024.0, ACROSS)),
            ["0 MiB", "100 MiB", "200 MiB", "300 MiB", "400 MiB", "500 MiB", "600 MiB"]
        );
        let gib = 1_073_741_824.0;
        assert_eq!(
            labels(&bytes(2.2 * gib, ACROSS)),
            ["0.0 GiB", "0.5 GiB", "1.0 GiB", "1.5 GiB", "2.0 GiB"]
        );
    }
}
