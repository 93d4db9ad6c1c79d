//! Validation loss of every trial as it trained; the best one stands out.

use super::axis::{Axis, is_drawable};
use super::canvas::{Canvas, Drawn, Mark, Shape};
use super::chart::Chart;
use super::marks;
use super::theme::{self, CONTEXT, SKY, VERMILLION};
use crate::report::StudyReport;
use crate::report::numbers;
use crate::report::shown;
use crate::report::summary::reached;
use crate::trial::{Trial, TrialId};

/// What it shows.
pub(super) const TITLE: &str = "Learning curves of the trials";

/// Beyond so many curves only the best one's evaluations are marked: the others would be one blot.
const DOTTED: usize = 40;

struct Curve {
    id: TrialId,
    reached_top: bool,
    /// Training examples seen, and loss.
    points: Vec<(f64, f64)>,
}

/// The SVG; `None` where no trial was evaluated.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let curves = curves(report);
    let points = curves.iter().flat_map(|curve| &curve.points);
    let (seen, losses): (Vec<f64>, Vec<f64>) = points.copied().unzip();
    // Steps are not comparable between batch sizes; examples are.
    let (Some(x), Some(y)) =
        (Axis::counts("training examples seen", &seen), Axis::loss(marks::VALIDATION_LOSS, &losses))
    else {
        return Ok(None);
    };
    let (best, others): (Vec<&Curve>, Vec<&Curve>) =
        curves.iter().partition(|curve| Some(curve.id) == report.best);
    let (top, lower): (Vec<&Curve>, Vec<&Curve>) = others.into_iter().partition(|curve| curve.reached_top);
    let mut legend = legend(&best, &top, &lower);
    legend.extend(cut(report.history.trials.len(), curves.len()));
    let dotted = curves.len() <= DOTTED;
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        lower.iter().try_for_each(|curve| draw_curve(canvas, curve, &LOWER, dotted))?;
        top.iter().try_for_each(|curve| draw_curve(canvas, curve, &TOP, dotted))?;
        best.iter().try_for_each(|curve| draw_curve(canvas, curve, &BEST, true))
    })?;
    Ok(Some(svg))
}

struct Style {
    mark: Mark,
    width: u32,
    opacity: f64,
}

const LOWER: Style =
    Style { mark: Mark { shape: Shape::Dot, color: CONTEXT, size: 5 }, width: 3, opacity: 0.7 };
const TOP: Style = Style { mark: Mark { shape: Shape::Dot, color: SKY, size: 7 }, width: 4, opacity: 0.9 };
const BEST: Style =
    Style { mark: Mark { shape: Shape::Dot, color: VERMILLION, size: 10 }, width: 6, opacity: 1.0 };

/// A curve of a single evaluation has nothing but its point to show.
fn draw_curve(canvas: &Canvas<'_>, curve: &Curve, style: &Style, dotted: bool) -> Drawn {
    canvas.line(&curve.points, theme::faint(style.mark.color, style.width, style.opacity))?;
    if !dotted && curve.points.len() > 1 {
        return Ok(());
    }
    let shown = curve.points.iter().filter(|(_, loss)| !canvas.y.is_above(*loss));
    for (seen, loss) in shown {
        canvas.mark(*seen, *loss, style.mark)?;
    }
    Ok(())
}

fn legend(best: &[&Curve], top: &[&Curve], lower: &[&Curve]) -> Vec<(Mark, String)> {
    let line = |style: &Style| Mark { shape: Shape::Line, ..style.mark };
    let mut legend = Vec::new();
    legend.extend(best.first().map(|curve| (line(&BEST), format!("best: trial {}", curve.id))));
    legend.extend(top.first().map(|_| (line(&TOP), "reached the highest rung".to_owned())));
    legend.extend(lower.first().map(|_| (line(&LOWER), "stopped or failed before it".to_owned())));
    legend
}

/// The entry that says that others are not drawn.
fn cut(trials: usize, drawn: usize) -> Option<(Mark, String)> {
    let (drawn, of) = (numbers::count(drawn), numbers::count(trials));
    (trials > shown::CURVES).then(|| (marks::NONE, format!("the best {drawn} of {of} trials")))
}

fn curves(report: &StudyReport) -> Vec<Curve> {
    let top = report.top_rung();
    let curve = |trial: &Trial| Curve {
        id: trial.id,
        reached_top: top.is_some() && reached(trial).map(|got| got.rung) == top,
        points: points(trial),
    };
    let trials = shown::curves(&report.history, report.best);
    let trials = trials.into_iter().filter_map(|id| report.history.trials.get(id as usize));
    trials.map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

fn points(trial: &Trial) -> Vec<(f64, f64)> {
    let batch = numbers::float(trial.hyperparams.batch.effective_batch_size());
    let evals = trial.rungs.iter().flat_map(|record| &record.measurement.evals);
    let mut points: Vec<(f64, f64)> = evals
        .map(|eval| (numbers::float(eval.step) * batch, eval.loss_nats))
        .filter(|(seen, loss)| is_drawable(*seen) && is_drawable(*loss))
        .collect();
    // A rung that was repeated after an interruption evaluates the same steps again.
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|later, earlier| later.0.total_cmp(&earlier.0).is_eq());
    points
}
