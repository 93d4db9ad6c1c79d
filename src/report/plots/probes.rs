//! Probes as curves: one a precision, over the micro-batch.

use plotters::style::RGBColor;

use super::axis::is_drawable;
use super::canvas::{Mark, Shape};
use super::marks;
use super::theme::{BLUE, GREEN, VERMILLION};
use crate::report::numbers;
use crate::space::Precision;
use crate::trial::ProbeRecord;

/// Title of the axis.
pub(super) const MICRO_BATCH: &str = "micro-batch, examples";

/// What one precision measured, by rising micro-batch.
pub(super) struct Curve {
    precision: Precision,
    /// Micro-batch and value.
    pub(super) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Its colour.
    pub(super) const fn color(&self) -> RGBColor {
        color(self.precision)
    }

    /// Its points' mark.
    pub(super) const fn mark(&self) -> Mark {
        mark(self.precision)
    }
}

/// The curves of those precisions for which `value` knows something.
pub(super) fn curves(probes: &[ProbeRecord], value: impl Fn(&ProbeRecord) -> Option<f64>) -> Vec<Curve> {
    let curve = |precision| {
        let of_precision = probes.iter().filter(|probe| probe.precision == precision);
        let mut points: Vec<(f64, f64)> = of_precision
            .filter_map(|probe| Some((size(probe), value(probe).filter(|value| is_drawable(*value))?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        Curve { precision, points }
    };
    Precision::ALL.into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

/// One entry for each precision that occurs.
pub(super) fn legend(probes: &[&ProbeRecord]) -> Vec<(Mark, String)> {
    Precision::ALL
        .into_iter()
        .filter(|precision| probes.iter().any(|probe| probe.precision == *precision))
        .map(|precision| (mark(precision), precision.to_string()))
        .collect()
}

/// The micro-batch as a place.
pub(super) const fn size(probe: &ProbeRecord) -> f64 {
    numbers::float(probe.micro_batch_size)
}

/// The colour of a precision.
pub(super) const fn color(precision: Precision) -> RGBColor {
    match precision {
        Precision::F32 => BLUE,
        Precision::Bf16 => VERMILLION,
        Precision::F16 => GREEN,
    }
}

const fn mark(precision: Precision) -> Mark {
    let shape: Shape = marks::precision_shape(precision);
    Mark { shape, color: color(precision), size: 10 }
}
