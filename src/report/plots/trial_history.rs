//! Loss of each trial in the order of suggestion, and how the best one improved.

use super::axis::Axis;
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::marks::{self, Scored};
use super::theme::{self, INK};
use crate::report::StudyReport;
use crate::report::numbers;

/// What it shows.
pub(super) const TITLE: &str = "Trials in the order they were suggested";

/// The SVG; `None` where no trial has a loss.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let scored = marks::scored(report);
    let Some(y) = Axis::loss(marks::VALIDATION_LOSS, &marks::losses(&scored)) else { return Ok(None) };
    let failures = marks::failures(report);
    let rungs = marks::rungs(&scored);
    let best = best_so_far(report, &scored);
    let chart = Chart {
        title: TITLE,
        x: Axis::trial_numbers(report.history.trials.len()),
        has_strip: !failures.is_empty(),
        legend: legend(report, &scored, &rungs, &y),
        y,
    };
    let size = marks::dot_size(scored.len());
    let svg = chart.draw(|canvas| {
        canvas.line(&best, theme::stroke(INK, 4))?;
        for trial in marks::drawn(&scored) {
            canvas.mark(f64::from(trial.id), trial.loss_nats, rung_mark(trial.rung, &rungs, size))?;
        }
        for (trial, mark) in &failures {
            canvas.mark_failure(f64::from(trial.id), *mark)?;
        }
        marks::best(report, &scored)
            .map_or(Ok(()), |best| canvas.mark(f64::from(best.id), best.loss_nats, marks::BEST))
    })?;
    Ok(Some(svg))
}

fn rung_mark(rung: u32, rungs: &[u32], size: i32) -> Mark {
    let from_top = rungs.iter().rev().position(|known| *known == rung).unwrap_or(0);
    Mark { shape: Shape::Dot, color: theme::ordered(from_top, rungs.len()), size }
}

fn legend(report: &StudyReport, scored: &[Scored<'_>], rungs: &[u32], y: &Axis) -> Vec<(Mark, String)> {
    let size = marks::dot_size(scored.len());
    let name =
        |rung: u32| if rungs.len() == 1 { "finished".to_owned() } else { format!("reached rung {rung}") };
    let mut legend: Vec<_> =
        rungs.iter().rev().map(|rung| (rung_mark(*rung, rungs, size), name(*rung))).collect();
    if let Some(best) = marks::best(report, scored) {
        legend.push((marks::BEST, format!("best: trial {}, {}", best.id, numbers::loss(best.loss_nats))));
    }
    let line = Mark { shape: Shape::Line, color: INK, size: 0 };
    let meaning = if rungs.len() == 1 { "best so far" } else { "best so far at the highest rung" };
    legend.push((line, meaning.to_owned()));
    legend.extend(marks::drawn_entry(scored));
    legend.extend(marks::above_entry(scored, y));
    legend.extend(marks::failure_legend(report));
    legend
}

/// Steps through the lowest loss so far, of those trials that reached the highest rung.
fn best_so_far(report: &StudyReport, scored: &[Scored<'_>]) -> Vec<(f64, f64)> {
    let top = report.top_rung();
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for trial in scored.iter().filter(|trial| Some(trial.rung) == top) {
        let lowest = steps.last().map_or(f64::INFINITY, |last| last.1);
        if trial.loss_nats < lowest {
            if lowest.is_finite() {
                steps.push((f64::from(trial.id), lowest));
            }
            steps.push((f64::from(trial.id), trial.loss_nats));
        }
    }
    if let Some(last) = steps.last().copied() {
        steps.push((numbers::float(report.history.trials.len()) - 0.5, last.1));
    }
    steps
}
