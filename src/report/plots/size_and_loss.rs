//! Test loss against file size: what each quantization costs and saves.

use super::axis::{Axis, is_drawable};
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::labels::Labels;
use super::theme::{BLUE, INK, VERMILLION};
use crate::report::numbers;
use crate::report::{StudyReport, outcomes};
use crate::units::Bytes;

/// What it shows.
pub(super) const TITLE: &str = "Test loss against file size";
/// The base model is drawn where it lies within so many times the spread of the others.
const BASE_WITHIN: f64 = 1.0;

const TUNED: Mark = Mark { shape: Shape::Dot, color: VERMILLION, size: 12 };
const QUANTIZED: Mark = Mark { shape: Shape::Dot, color: BLUE, size: 11 };
const BASE: Mark = Mark { shape: Shape::Dashes, color: INK, size: 0 };

struct Point {
    name: String,
    bytes: f64,
    loss: f64,
    mark: Mark,
}

/// The SVG; `None` where no model was tested.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let points = points(report);
    let sizes: Vec<f64> = points.iter().map(|point| point.bytes).collect();
    let mut losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
    let base = report.tuned.as_ref().map(|tuned| tuned.base_test_loss_nats).filter(|loss| is_drawable(*loss));
    let base_shown = base.filter(|base| is_near(*base, &losses));
    losses.extend(base_shown);
    let (Some(x), Some(y)) =
        (Axis::file_sizes("file size", &sizes), Axis::every_loss("test loss, nats per token", &losses))
    else {
        return Ok(None);
    };
    let legend = legend(report, base, base_shown);
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        base_shown.map_or(Ok(()), |base| canvas.dashed_across(base, INK))?;
        let places: Vec<_> = points.iter().map(|point| canvas.place(point.bytes, point.loss)).collect();
        let mut labels = Labels::new(canvas.frame, &places);
        if let Some(base) = base_shown {
            labels.keep_off(canvas.place(0.0, base).1);
        }
        for (point, place) in points.iter().zip(&places) {
            canvas.mark(point.bytes, point.loss, point.mark)?;
            labels.draw(canvas, &point.name, *place)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

fn points(report: &StudyReport) -> Vec<Point> {
    let tuned = report.tuned.as_ref().map(|tuned| Point {
        name: "tuned".to_owned(),
        bytes: float(tuned.bytes),
        loss: tuned.test_loss_nats,
        mark: TUNED,
    });
    let quantized = report.quantized.iter().map(|row| Point {
        name: outcomes::printable(&row.gguf_type),
        bytes: float(row.bytes),
        loss: row.test_loss_nats,
        mark: QUANTIZED,
    });
    tuned.into_iter().chain(quantized).filter(|p| is_drawable(p.bytes) && is_drawable(p.loss)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a plot needs no more than 52 bits")]
const fn float(bytes: Bytes) -> f64 {
    bytes.0 as f64
}

/// Whether the base model's loss can share an axis with the others without flattening them.
fn is_near(base: f64, losses: &[f64]) -> bool {
    let low = losses.iter().copied().reduce(f64::min).unwrap_or(base);
    let high = losses.iter().copied().reduce(f64::max).unwrap_or(base);
    let room = if losses.len() < 2 { f64::INFINITY } else { BASE_WITHIN * (high - low).max(1e-3) };
    (low - room..=high + room).contains(&base)
}

fn legend(report: &StudyReport, base: Option<f64>, shown: Option<f64>) -> Vec<(Mark, String)> {
    let mut legend = Vec::new();
    legend.extend(report.tuned.as_ref().map(|_| (TUNED, "fine-tuned model".to_owned())));
    legend.extend(report.quantized.first().map(|_| (QUANTIZED, "quantized".to_owned())));
    if let Some(base) = base {
        let beyond = if shown.is_some() { "" } else { ", beyond this axis" };
        legend.push((BASE, format!("base model at {}{beyond}", numbers::loss(base))));
    }
    legend
}
