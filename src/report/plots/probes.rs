//! Probes as curves: one a setting, over the micro-batch.

use plotters::style::RGBColor;

use super::axis::is_drawable;
use super::canvas::{Mark, Shape};
use super::marks;
use super::theme::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION};
use crate::report::StudyReport;
use crate::report::numbers;
use crate::space::{HardwareSetting, Precision};
use crate::trial::ProbeRecord;

/// Title of the axis.
pub(super) const MICRO_BATCH: &str = "micro-batch, examples";

/// More curves than colours could not be told apart; the table beside the plot has all.
const MOST: usize = 6;

/// What one setting measured, by rising micro-batch.
pub(super) struct Curve {
    pub(super) setting: HardwareSetting,
    /// How it is drawn.
    pub(super) mark: Mark,
    /// Micro-batch and value.
    pub(super) points: Vec<(f64, f64)>,
}

/// The settings that are drawn, in the order they were probed: first those of the trials.
pub(super) fn settings(report: &StudyReport) -> Vec<HardwareSetting> {
    let mut settings: Vec<HardwareSetting> = Vec::new();
    for probe in &report.probes {
        if !settings.contains(&probe.setting) {
            settings.push(probe.setting);
        }
    }
    settings.truncate(MOST);
    settings
}

/// The curves of those settings for which `values` knows something of some probe.
pub(super) fn curves(report: &StudyReport, values: impl Fn(&ProbeRecord) -> Vec<(usize, f64)>) -> Vec<Curve> {
    let curve = |setting| {
        let own = report.probes.iter().filter(|probe| probe.setting == setting);
        let place = |(size, value)| (numbers::float(size), value);
        let mut points: Vec<(f64, f64)> =
            own.flat_map(&values).map(place).filter(|(_, value)| is_drawable(*value)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        Curve { setting, mark: mark(report, setting), points }
    };
    settings(report).into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

/// One entry for each curve.
pub(super) fn legend(curves: &[Curve]) -> Vec<(Mark, String)> {
    curves.iter().map(|curve| (curve.mark, curve.setting.to_string())).collect()
}

/// The micro-batch as a place.
pub(super) const fn size(probe: &ProbeRecord) -> f64 {
    numbers::float(probe.micro_batch_size)
}

/// A setting's colour: that of its precision where each has one setting, else one of its own.
pub(super) fn color(report: &StudyReport, setting: HardwareSetting) -> RGBColor {
    let all = settings(report);
    let is_alone =
        |one: &HardwareSetting| all.iter().filter(|other| other.precision == one.precision).count() == 1;
    if all.iter().all(is_alone) {
        return match setting.precision {
            Precision::F32 => BLUE,
            Precision::Bf16 => VERMILLION,
            Precision::F16 => GREEN,
        };
    }
    let place = all.iter().position(|other| *other == setting).unwrap_or(0);
    [BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE][place]
}

fn mark(report: &StudyReport, setting: HardwareSetting) -> Mark {
    let shape: Shape = marks::precision_shape(setting.precision);
    Mark { shape, color: color(report, setting), size: 10 }
}
