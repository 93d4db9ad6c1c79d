//! Trials as points: how far they got, how they failed, and the marks that say so in each plot.

use super::axis::{Axis, is_drawable};
use super::canvas::{Mark, Shape};
use super::theme::{GREEN, INK, MUTED, PURPLE, VERMILLION};
use crate::report::StudyReport;
use crate::report::shown;
use crate::report::summary::reached;
use crate::space::{Hyperparams, Precision};
use crate::trial::{Outcome, Trial, TrialId};

/// Title of the axis of validation losses.
pub(super) const VALIDATION_LOSS: &str = "validation loss, nats per token";

/// Around the best trial.
pub(super) const BEST: Mark = Mark { shape: Shape::Halo, color: INK, size: 20 };

/// Of a line of the legend that explains no mark.
pub(super) const NONE: Mark = Mark { shape: Shape::Dot, color: INK, size: 0 };

/// A trial with a loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scored<'a> {
    /// Its number.
    pub(super) id: TrialId,
    /// The highest rung it finished.
    pub(super) rung: u32,
    /// Its loss there.
    pub(super) loss_nats: f64,
    /// Its configuration.
    pub(super) hyperparams: &'a Hyperparams,
}

/// The trials that finished a rung, in the order of suggestion.
pub(super) fn scored(report: &StudyReport) -> Vec<Scored<'_>> {
    let trials = report.history.trials.iter();
    trials
        .filter_map(|trial| {
            let got = reached(trial).filter(|got| is_drawable(got.loss_nats))?;
            Some(Scored {
                id: trial.id,
                rung: got.rung,
                loss_nats: got.loss_nats,
                hyperparams: &trial.hyperparams,
            })
        })
        .collect()
}

/// Their losses.
pub(super) fn losses(scored: &[Scored<'_>]) -> Vec<f64> {
    scored.iter().map(|trial| trial.loss_nats).collect()
}

/// The rungs that occur, lowest first.
pub(super) fn rungs(scored: &[Scored<'_>]) -> Vec<u32> {
    let mut rungs: Vec<u32> = scored.iter().map(|trial| trial.rung).collect();
    rungs.sort_unstable();
    rungs.dedup();
    rungs
}

/// The best trial, if it has a loss.
pub(super) fn best<'a>(report: &StudyReport, scored: &[Scored<'a>]) -> Option<Scored<'a>> {
    let best = report.best?;
    scored.iter().find(|trial| trial.id == best).copied()
}

/// Trials whose last rung failed, and the mark of the failure; of very many an even choice.
pub(super) fn failures(report: &StudyReport) -> Vec<(&Trial, Mark)> {
    let trials = report.history.trials.iter();
    let failures: Vec<_> =
        trials.filter_map(|trial| Some((trial, failure_mark(&trial.last()?.outcome)?.0))).collect();
    let stride = shown::stride(failures.len());
    failures.into_iter().step_by(stride).collect()
}

/// The trials that get a mark: all, or of very many an even choice.
pub(super) fn drawn<'a, 'b>(scored: &'b [Scored<'a>]) -> impl Iterator<Item = &'b Scored<'a>> {
    scored.iter().step_by(shown::stride(scored.len()))
}

/// The entry that says that not all are drawn.
pub(super) fn drawn_entry(scored: &[Scored<'_>]) -> Option<(Mark, String)> {
    let stride = shown::stride(scored.len());
    (stride > 1).then(|| (NONE, format!("one of {stride} trials is drawn")))
}

/// One entry for each kind of failure that occurs.
pub(super) fn failure_legend(report: &StudyReport) -> Vec<(Mark, String)> {
    let mut entries: Vec<(Mark, String)> = Vec::new();
    for record in report.history.trials.iter().filter_map(Trial::last) {
        if let Some((mark, name)) = failure_mark(&record.outcome)
            && entries.iter().all(|(_, known)| known != name)
        {
            entries.push((mark, name.to_owned()));
        }
    }
    entries
}

fn failure_mark(outcome: &Outcome) -> Option<(Mark, &'static str)> {
    let (shape, color, name) = match outcome {
        Outcome::Finished => return None,
        Outcome::OutOfMemory { .. } => (Shape::Cross, VERMILLION, "out of memory"),
        Outcome::Diverged { .. } => (Shape::Triangle, PURPLE, "diverged"),
        Outcome::Failed { .. } => (Shape::Square, MUTED, "failed"),
        Outcome::Crashed { .. } => (Shape::Cross, INK, "crashed"),
        Outcome::TimedOut { .. } => (Shape::Square, GREEN, "timed out"),
    };
    Some((Mark { shape, color, size: 11 }, name))
}

/// The entry that explains triangles at the upper edge, where there are any.
pub(super) fn above_entry(scored: &[Scored<'_>], y: &Axis) -> Option<(Mark, String)> {
    let above = scored.iter().filter(|trial| y.is_above(trial.loss_nats)).count();
    let mark = Mark { shape: Shape::Triangle, color: INK, size: 11 };
    (above > 0).then(|| (mark, format!("at the upper edge: higher than shown ({above})")))
}

/// Filled for full precision, hollow for half: a ring for bf16, a diamond for f16.
pub(super) const fn precision_shape(precision: Precision) -> Shape {
    match precision {
        Precision::F32 => Shape::Dot,
        Precision::Bf16 => Shape::Ring,
        Precision::F16 => Shape::Diamond,
    }
}

/// Smaller where there are many.
pub(super) const fn dot_size(points: usize) -> i32 {
    if points > 80 { 8 } else { 11 }
}
