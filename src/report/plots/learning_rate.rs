//! Loss against learning rate: where the valley lies, and how it moves with the batch.

use super::axis::Axis;
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::marks::{self, Scored};
use super::theme::{self, INK};
use crate::report::StudyReport;
use crate::report::numbers;
use crate::space::Precision;

/// What it shows.
pub(super) const TITLE: &str = "Loss against learning rate";
/// Batch sizes the legend names one by one.
const NAMED: usize = 8;

/// The SVG; `None` where no trial has a loss.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let scored = marks::scored(report);
    let rates: Vec<f64> = report.history.trials.iter().map(|trial| trial.hyperparams.learning_rate).collect();
    let (Some(x), Some(y)) = (
        Axis::learning_rates("learning rate", &rates),
        Axis::loss(marks::VALIDATION_LOSS, &marks::losses(&scored)),
    ) else {
        return Ok(None);
    };
    let failures = marks::failures(report);
    let (batches, top) = (batches(&scored), report.top_rung());
    let legend = legend(report, &scored, &batches, &y);
    let chart = Chart { title: TITLE, x, y, legend, has_strip: !failures.is_empty() };
    let svg = chart.draw(|canvas| {
        for trial in marks::drawn(&scored) {
            canvas.mark(trial.hyperparams.learning_rate, trial.loss_nats, mark(top, trial, &batches))?;
        }
        for (trial, mark) in &failures {
            canvas.mark_failure(trial.hyperparams.learning_rate, *mark)?;
        }
        marks::best(report, &scored)
            .map_or(Ok(()), |best| canvas.mark(best.hyperparams.learning_rate, best.loss_nats, marks::BEST))
    })?;
    Ok(Some(svg))
}

fn batches(scored: &[Scored<'_>]) -> Vec<usize> {
    let mut batches: Vec<usize> =
        scored.iter().map(|trial| trial.hyperparams.batch.effective_batch_size()).collect();
    batches.sort_unstable();
    batches.dedup();
    batches
}

fn color(batch: usize, batches: &[usize]) -> plotters::style::RGBColor {
    let index = batches.iter().position(|known| *known == batch).unwrap_or(0);
    theme::ordered(index, batches.len())
}

/// Colour by effective batch, form by precision, small where the trial stopped early.
fn mark(top: Option<u32>, trial: &Scored<'_>, batches: &[usize]) -> Mark {
    let is_top = Some(trial.rung) == top;
    Mark {
        shape: marks::precision_shape(trial.hyperparams.precision),
        color: color(trial.hyperparams.batch.effective_batch_size(), batches),
        size: if is_top { 12 } else { 7 },
    }
}

fn legend(report: &StudyReport, scored: &[Scored<'_>], batches: &[usize], y: &Axis) -> Vec<(Mark, String)> {
    let dot = |color, size| Mark { shape: Shape::Dot, color, size };
    let mut legend: Vec<_> = named(batches)
        .into_iter()
        .map(|batch| (dot(color(batch, batches), 12), format!("effective batch {batch}")))
        .collect();
    let top = report.top_rung();
    if scored.iter().any(|trial| Some(trial.rung) != top) {
        legend.push((dot(INK, 7), "small: stopped at a lower rung".to_owned()));
    }
    let used = |precision: &Precision| scored.iter().any(|trial| trial.hyperparams.precision == *precision);
    let precisions: Vec<Precision> = Precision::ALL.into_iter().filter(used).collect();
    if precisions.len() > 1 {
        for precision in precisions {
            let mark = Mark { shape: marks::precision_shape(precision), color: INK, size: 12 };
            legend.push((mark, precision.to_string()));
        }
    }
    if let Some(best) = marks::best(report, scored) {
        legend
            .push((marks::BEST, format!("best: {}", numbers::learning_rate(best.hyperparams.learning_rate))));
    }
    legend.extend(marks::drawn_entry(scored));
    legend.extend(marks::above_entry(scored, y));
    legend.extend(marks::failure_legend(report));
    legend
}

/// The batches the legend names: all of a few, else some from the smallest to the largest.
fn named(batches: &[usize]) -> Vec<usize> {
    if batches.len() <= NAMED {
        return batches.to_vec();
    }
    (0..NAMED).map(|index| batches[index * (batches.len() - 1) / (NAMED - 1)]).collect()
}
