//! Peak memory against micro-batch, with the cap and what did not fit.

use super::axis::Axis;
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::probes;
use super::theme::{self, INK};
use crate::report::StudyReport;
use crate::trial::{Outcome, ProbeRecord};
use crate::units::Bytes;

/// What it shows.
pub(super) const TITLE: &str = "Memory against micro-batch";

/// The SVG; `None` where no probe tells anything about memory.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let drawn = probes::settings(report);
    let own = || report.probes.iter().filter(|probe| drawn.contains(&probe.setting));
    let peaks: Vec<f64> = own().filter_map(peak).collect();
    let refused: Vec<(&ProbeRecord, f64)> =
        own().filter_map(|probe| Some((probe, wanted(probe, report.provenance.cap)?))).collect();
    let cap = report.provenance.cap.map(float);
    let values: Vec<f64> = ceiling(&peaks, &refused, cap).into_iter().chain(peaks.iter().copied()).collect();
    let shown: Vec<&ProbeRecord> = own().filter(|probe| peak(probe).is_some()).collect();
    let curves = probes::curves(report, |probe| {
        peak(probe).map(|peak| (probe.micro_batch_size, peak)).into_iter().collect()
    });
    let sizes = shown.iter().copied().chain(refused.iter().map(|(probe, _)| *probe)).map(probes::size);
    let (Some(x), Some(y)) = (
        Axis::doublings(probes::MICRO_BATCH, &sizes.collect::<Vec<_>>()),
        Axis::bytes("peak memory", &values),
    ) else {
        return Ok(None);
    };
    let legend = legend(report, &curves, &refused);
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        cap.map_or(Ok(()), |cap| canvas.dashed_across(cap, INK))?;
        for curve in &curves {
            canvas.line(&curve.points, theme::stroke(curve.mark.color, 5))?;
            for (size, bytes) in &curve.points {
                canvas.mark(*size, *bytes, curve.mark)?;
            }
        }
        for (probe, bytes) in &refused {
            let mark = Mark { shape: Shape::Cross, color: probes::color(report, probe.setting), size: 13 };
            let height = bytes.min(canvas.y.high() * 0.98);
            canvas.mark(probes::size(probe), height, mark)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

#[expect(clippy::cast_precision_loss, reason = "a plot needs no more than 52 bits")]
const fn float(bytes: Bytes) -> f64 {
    bytes.0 as f64
}

fn peak(probe: &ProbeRecord) -> Option<f64> {
    let peak = probe.measurement.training_peak_bytes();
    (probe.outcome == Outcome::Finished && peak.0 > 0).then(|| float(peak))
}

/// What a refused probe would have held at least; the cap where it did not say.
fn wanted(probe: &ProbeRecord, cap: Option<Bytes>) -> Option<f64> {
    let Outcome::OutOfMemory { requested, live, cap: own } = &probe.outcome else { return None };
    let bytes = live.0.saturating_add(requested.unwrap_or_default().0);
    let limit = own.or(cap).unwrap_or_default().0;
    Some(float(Bytes(bytes.max(limit)))).filter(|bytes| *bytes > 0.0)
}

/// The top of the axis: above the cap, but no further than that for a request far beyond it.
fn ceiling(peaks: &[f64], refused: &[(&ProbeRecord, f64)], cap: Option<f64>) -> Option<f64> {
    let fits = peaks.iter().copied().chain(cap).reduce(f64::max);
    let wanted = refused.iter().map(|(_, bytes)| *bytes).reduce(f64::max);
    match (fits, wanted) {
        (Some(fits), Some(wanted)) => Some(wanted.clamp(fits, fits * 1.15)),
        (fits, wanted) => fits.or(wanted),
    }
}

fn legend(
    report: &StudyReport,
    curves: &[probes::Curve],
    refused: &[(&ProbeRecord, f64)],
) -> Vec<(Mark, String)> {
    let mut legend = probes::legend(curves);
    for setting in probes::settings(report) {
        if refused.iter().any(|(probe, _)| probe.setting == setting) {
            let mark = Mark { shape: Shape::Cross, color: probes::color(report, setting), size: 13 };
            legend.push((mark, format!("{setting} out of memory")));
        }
    }
    if let Some(cap) = report.provenance.cap {
        legend.push((Mark { shape: Shape::Dashes, color: INK, size: 0 }, format!("cap {cap}")));
    }
    legend
}
