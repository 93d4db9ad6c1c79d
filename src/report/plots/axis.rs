//! One axis: its range, which is never empty, and the ticks that label it.

use super::ticks::{self, Tick};
use crate::report::numbers;

/// Values beyond it are not drawn: no quantity of ours reaches it.
const LARGEST: f64 = 1e15;

/// A range of values and its ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) title: String,
    /// Labelled values within the range.
    pub(super) ticks: Vec<Tick>,
    low: f64,
    high: f64,
    log: bool,
}

/// Whether a value has a place on an axis.
pub(super) const fn is_drawable(value: f64) -> bool {
    value.is_finite() && value.abs() < LARGEST
}

fn span(values: &[f64]) -> Option<(f64, f64)> {
    let mut drawable = values.iter().copied().filter(|value| is_drawable(*value));
    let first = drawable.next()?;
    Some(drawable.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
}

impl Axis {
    /// Losses: the range of the bulk, so that one diverging run does not flatten all others.
    pub(super) fn loss(title: &str, values: &[f64]) -> Option<Self> {
        Some(Self::around(title, bulk(values)?))
    }

    /// Losses, all of them.
    pub(super) fn every_loss(title: &str, values: &[f64]) -> Option<Self> {
        Some(Self::around(title, span(values)?))
    }

    fn around(title: &str, (low, high): (f64, f64)) -> Self {
        let (low, high) = padded(low, high);
        Self::linear(title, low, high, ticks::linear(low, high, ticks::UPWARDS, 0.0))
    }

    /// The numbers of `count` trials.
    pub(super) fn trial_numbers(count: usize) -> Self {
        let (low, high) = (-0.5, numbers::float(count.max(1)) - 0.5);
        Self::linear("trial", low, high, ticks::linear(low, high, ticks::ACROSS, 1.0))
    }

    /// Whole numbers from zero.
    pub(super) fn counts(title: &str, values: &[f64]) -> Option<Self> {
        let high = span(values)?.1.max(1.0) * 1.02;
        Some(Self::linear(title, 0.0, high, ticks::linear(0.0, high, ticks::ACROSS, 1.0)))
    }

    /// Throughput from zero.
    pub(super) fn rate(title: &str, values: &[f64]) -> Option<Self> {
        let high = span(values)?.1.max(1e-3) * 1.1;
        Some(Self::linear(title, 0.0, high, ticks::linear(0.0, high, ticks::UPWARDS, 0.0)))
    }

    /// Bytes from zero, in the binary unit that suits the largest.
    pub(super) fn bytes(title: &str, values: &[f64]) -> Option<Self> {
        let high = span(values)?.1.max(1.0) * 1.1;
        Some(Self::linear(title, 0.0, high, ticks::bytes(high, ticks::UPWARDS)))
    }

    /// File sizes from zero, with room for a name beside the largest.
    pub(super) fn file_sizes(title: &str, values: &[f64]) -> Option<Self> {
        let high = span(values)?.1.max(1.0) * 1.12;
        Some(Self::linear(title, 0.0, high, ticks::bytes(high, ticks::ACROSS)))
    }

    /// Learning rates on a logarithmic scale.
    pub(super) fn learning_rates(title: &str, values: &[f64]) -> Option<Self> {
        let (low, high) = positive_span(values)?;
        // Room for a tick on each side even where all values are equal.
        let margin = if high / low < 4.0 { 2.0 } else { (high / low).powf(0.06) };
        let (low, high) = (low / margin, high * margin);
        Some(Self { title: title.to_owned(), ticks: ticks::powers_of_ten(low, high), low, high, log: true })
    }

    /// Micro-batches on a scale where each doubling takes the same room.
    pub(super) fn doublings(title: &str, values: &[f64]) -> Option<Self> {
        let (low, high) = positive_span(values)?;
        let margin = if high / low < 2.0 { 1.6 } else { (high / low).powf(0.06) };
        let (low, high) = (low / margin, high * margin);
        Some(Self { title: title.to_owned(), ticks: ticks::powers_of_two(low, high), low, high, log: true })
    }

    fn linear(title: &str, low: f64, high: f64, ticks: Vec<Tick>) -> Self {
        Self { title: title.to_owned(), ticks, low, high, log: false }
    }

    /// Place of `value` as a share of the axis; the ends for what lies beyond them.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// Upper end.
    pub(super) const fn high(&self) -> f64 {
        self.high
    }

    /// Whether `value` lies above the range.
    pub(super) fn is_above(&self, value: f64) -> bool {
        value > self.high
    }
}

fn positive_span(values: &[f64]) -> Option<(f64, f64)> {
    let positive: Vec<f64> = values.iter().copied().filter(|value| *value > 1e-30).collect();
    span(&positive)
}

/// Widens a range by a margin on both sides, and an empty one until it can be divided.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let least = (high.abs() * 0.01).max(1e-3);
    let margin = ((high - low) * 0.06).max(if high - low < least { least } else { 0.0 });
    (low - margin, high + margin)
}

/// The range of the values without those far above the bulk of them.
///
/// Far is four times as far from the lowest as the upper quartile, or, where there are too few
/// values for quartiles, four times the lowest.
fn bulk(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| is_drawable(*value)).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, count) = (*sorted.first()?, sorted.len());
    let quartile = sorted[(count - 1) * 3 / 4];
    let least = if count < 5 { 3.0 * low.abs().max(1.0) } else { 0.02 * low.abs().max(0.05) };
    let limit = low + (4.0 * (quartile - low)).max(least);
    let high = sorted.into_iter().rev().find(|value| *value <= limit).unwrap_or(low);
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_equal_values_is_not_empty() {
        for value in [0.0, 3.871, -2.0, 1e14] {
            let axis = Axis::loss("loss", &[value; 3]).unwrap();
            assert!((axis.share(value) - 0.5).abs() < 1e-6, "{axis:?}");
            assert!(axis.ticks.len() >= 2, "{axis:?}");
        }
    }

    #[test]
    fn what_is_not_finite_has_no_place() {
        assert_eq!(Axis::loss("loss", &[f64::NAN, f64::INFINITY, 1e300]), None);
        assert_eq!(Axis::learning_rates("lr", &[0.0, -1.0]), None);
        assert_eq!(Axis::counts("n", &[]), None);
    }

    #[test]
    fn one_diverging_run_does_not_flatten_the_others() {
        let axis = Axis::loss("loss", &[3.8, 3.9, 4.0, 4.1, 4.2, 9000.0]).unwrap();
        assert!(axis.high() < 5.0 && axis.is_above(9000.0) && !axis.is_above(4.2), "{axis:?}");
        let axis = Axis::loss("loss", &[3.8, 1e9]).unwrap();
        assert!(axis.high() < 5.0, "{axis:?}");
    }

    #[test]
    fn what_lies_beyond_an_axis_is_put_at_its_end() {
        let axis = Axis::loss("loss", &[3.8, 4.0]).unwrap();
        for (value, share) in [(9000.0, 1.0), (f64::INFINITY, 1.0), (-9000.0, 0.0), (f64::NAN, 0.0)] {
            assert!((axis.share(value) - share).abs() < f64::EPSILON, "{value}");
        }
    }

    #[test]
    fn equal_factors_take_equal_room_on_a_logarithmic_axis() {
        let axis = Axis::learning_rates("lr", &[1e-5, 1e-3]).unwrap();
        assert!((axis.share(1e-4) - 0.5).abs() < 1e-9);
    }
}
