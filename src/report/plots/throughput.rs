//! Tokens per second against micro-batch, with the knee.

use super::axis::Axis;
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::probes::{self, Curve};
use super::theme;
use crate::report::StudyReport;
use crate::report::numbers;
use crate::trial::{Outcome, ProbeRecord};

/// What it shows.
pub(super) const TITLE: &str = "Throughput against micro-batch";

/// The SVG; `None` where no probe was timed.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let curves = probes::curves(report, speeds);
    let points = curves.iter().flat_map(|curve| &curve.points);
    let (sizes, speeds): (Vec<f64>, Vec<f64>) = points.copied().unzip();
    let (Some(x), Some(y)) =
        (Axis::doublings(probes::MICRO_BATCH, &sizes), Axis::rate("tokens per second", &speeds))
    else {
        return Ok(None);
    };
    let knees: Vec<(Mark, usize, f64)> = curves.iter().filter_map(|curve| knee(report, curve)).collect();
    let mut legend = probes::legend(&curves);
    for (curve, (mark, size, _)) in curves.iter().filter_map(|curve| Some((curve, knee(report, curve)?))) {
        legend.push((mark, format!("{} saturates at {size}", curve.setting)));
    }
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        for curve in &curves {
            canvas.line(&curve.points, theme::stroke(curve.mark.color, 5))?;
            for (size, speed) in &curve.points {
                canvas.mark(*size, *speed, curve.mark)?;
            }
        }
        for (mark, size, speed) in &knees {
            canvas.mark(numbers::float(*size), *speed, *mark)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Its own speed, and those of the smaller sizes it timed.
#[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
fn speeds(probe: &ProbeRecord) -> Vec<(usize, f64)> {
    if probe.outcome != Outcome::Finished {
        return vec![];
    }
    let own = probe.measurement.tokens_per_second().map(|speed| (probe.micro_batch_size, speed));
    let timed = probe.measurement.timed.iter();
    own.into_iter()
        .chain(timed.map(|point| (point.micro_batch_size, point.tokens as f64 / point.seconds)))
        .collect()
}

/// The knee of a curve, if its row of the frontier has one, on the line between what was timed.
fn knee(report: &StudyReport, curve: &Curve) -> Option<(Mark, usize, f64)> {
    let row = report.frontier.iter().find(|row| row.setting == curve.setting)?;
    let size = row.knee_micro_batch_size;
    let place = numbers::float(size);
    let above = curve.points.iter().find(|(x, _)| *x >= place)?;
    let below = curve.points.iter().rev().find(|(x, _)| *x <= place)?;
    let share = if above.0 > below.0 { (place - below.0) / (above.0 - below.0) } else { 0.0 };
    let mark = Mark { shape: Shape::Halo, color: curve.mark.color, size: 20 };
    Some((mark, size, below.1 + share * (above.1 - below.1)))
}
