//! Tokens per second against micro-batch, with the knee.

use super::axis::{Axis, is_drawable};
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::probes;
use super::theme;
use crate::report::StudyReport;
use crate::report::numbers;
use crate::space::Precision;
use crate::trial::{Outcome, ProbeRecord};

/// What it shows.
pub(super) const TITLE: &str = "Throughput against micro-batch";

/// The SVG; `None` where no probe was timed.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let curves = probes::curves(&report.probes, speed);
    let points = curves.iter().flat_map(|curve| &curve.points);
    let (sizes, speeds): (Vec<f64>, Vec<f64>) = points.copied().unzip();
    let (Some(x), Some(y)) =
        (Axis::doublings(probes::MICRO_BATCH, &sizes), Axis::rate("tokens per second", &speeds))
    else {
        return Ok(None);
    };
    let timed: Vec<&ProbeRecord> = report.probes.iter().filter(|probe| speed(probe).is_some()).collect();
    let mut legend = probes::legend(&timed);
    let knees = knees(report);
    for (precision, size, _) in &knees {
        let mark = Mark { shape: Shape::Halo, color: probes::color(*precision), size: 20 };
        legend.push((mark, format!("{precision} saturates at {size}")));
    }
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        for curve in &curves {
            canvas.line(&curve.points, theme::stroke(curve.color(), 5))?;
            for (size, speed) in &curve.points {
                canvas.mark(*size, *speed, curve.mark())?;
            }
        }
        for (precision, size, speed) in &knees {
            let mark = Mark { shape: Shape::Halo, color: probes::color(*precision), size: 20 };
            canvas.mark(numbers::float(*size), *speed, mark)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

fn speed(probe: &ProbeRecord) -> Option<f64> {
    if probe.outcome != Outcome::Finished {
        return None;
    }
    probe.measurement.tokens_per_second().filter(|speed| is_drawable(*speed))
}

/// The knee of each row of the frontier that was probed.
fn knees(report: &StudyReport) -> Vec<(Precision, usize, f64)> {
    let rows = report.frontier.iter();
    rows.filter_map(|row| {
        let size = row.knee_micro_batch_size;
        let at_knee = report
            .probes
            .iter()
            .filter(|probe| probe.precision == row.precision && probe.micro_batch_size == size);
        Some((row.precision, size, at_knee.filter_map(speed).reduce(f64::max)?))
    })
    .collect()
}
