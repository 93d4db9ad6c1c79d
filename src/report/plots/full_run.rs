//! Training and validation loss of the full run.

use super::axis::{Axis, is_drawable};
use super::canvas::{Drawn, Mark, Shape};
use super::chart::Chart;
use super::theme::{self, BLUE, VERMILLION};
use crate::report::StudyReport;
use crate::report::numbers;
use crate::trial::Measurement;

/// What it shows.
pub(super) const TITLE: &str = "Loss of the full run";
/// Points of the smoothed curve; more could not be seen.
const CURVE_POINTS: usize = 400;
/// Steps up to which each one is drawn behind the smoothed curve.
const RAW_STEPS: usize = 2_000;

/// The SVG; `None` where no step was taken and nothing evaluated.
pub(super) fn draw(report: &StudyReport) -> Drawn<Option<String>> {
    let (trained, evals) = points(report);
    let window = 1 + 2 * (trained.len() / 50);
    let smooth = smoothed(&trained, window);
    let raw = if window > 1 && trained.len() <= RAW_STEPS { trained.as_slice() } else { &[] };
    let (places, losses): (Vec<f64>, Vec<f64>) = smooth.iter().chain(raw).chain(&evals).copied().unzip();
    let (Some(x), Some(y)) =
        (Axis::counts("optimizer step", &places), Axis::loss("loss, nats per token", &losses))
    else {
        return Ok(None);
    };
    let legend = legend(&trained, &evals, window);
    let chart = Chart { title: TITLE, x, y, legend, has_strip: false };
    let svg = chart.draw(|canvas| {
        canvas.line(raw, theme::faint(BLUE, 2, 0.3))?;
        canvas.line(&smooth, theme::stroke(BLUE, 5))?;
        if let [only] = smooth.as_slice() {
            canvas.mark(only.0, only.1, Mark { shape: Shape::Dot, color: BLUE, size: 9 })?;
        }
        canvas.line(&evals, theme::stroke(VERMILLION, 5))?;
        for (step, loss) in evals.iter().filter(|(_, loss)| !canvas.y.is_above(*loss)) {
            canvas.mark(*step, *loss, EVAL)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

const EVAL: Mark = Mark { shape: Shape::Dot, color: VERMILLION, size: 9 };

fn legend(trained: &[(f64, f64)], evals: &[(f64, f64)], window: usize) -> Vec<(Mark, String)> {
    let mut legend = Vec::new();
    if !trained.is_empty() {
        let how = if window > 1 { format!(" (mean of {window} steps)") } else { String::new() };
        legend.push((Mark { shape: Shape::Line, color: BLUE, size: 0 }, format!("training loss{how}")));
    }
    if !evals.is_empty() {
        legend.push((EVAL, "validation loss".to_owned()));
    }
    legend
}

type Points = Vec<(f64, f64)>;

/// Training losses and validation losses by step.
fn points(report: &StudyReport) -> (Points, Points) {
    let of_best = report.best_trial().into_iter().flat_map(|trial| &trial.rungs);
    let runs: Vec<&Measurement> = match &report.full_run {
        Some(run) => vec![run],
        None => of_best.map(|record| &record.measurement).collect(),
    };
    let steps = runs.iter().flat_map(|run| &run.steps).map(|step| (step.step, step.loss_nats));
    let evals = runs.iter().flat_map(|run| &run.evals).map(|eval| (eval.step, eval.loss_nats));
    (in_order(steps), in_order(evals))
}

fn in_order(points: impl Iterator<Item = (usize, f64)>) -> Points {
    let mut points: Points = points
        .map(|(step, loss)| (numbers::float(step), loss))
        .filter(|(step, loss)| is_drawable(*step) && is_drawable(*loss))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|later, earlier| later.0.total_cmp(&earlier.0).is_eq());
    points
}

/// The mean of `window` points around each, at no more than [`CURVE_POINTS`] of them.
fn smoothed(points: &[(f64, f64)], window: usize) -> Points {
    let stride = points.len() / CURVE_POINTS + 1;
    (0..points.len())
        .step_by(stride)
        .map(|middle| {
            let start = middle.saturating_sub(window / 2);
            let around = &points[start..(middle + window / 2 + 1).min(points.len())];
            let mean = around.iter().map(|point| point.1).sum::<f64>() / numbers::float(around.len());
            (points[middle].0, mean)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_constant_and_bounds_the_number_of_points() {
        let points: Points = (0..100_000).map(|step| (f64::from(step), 2.0)).collect();
        let smooth = smoothed(&points, 2500);
        assert!(smooth.len() <= CURVE_POINTS && smooth.iter().all(|point| (point.1 - 2.0).abs() < 1e-9));
    }

    #[test]
    fn steps_repeated_after_an_interruption_are_drawn_once() {
        assert_eq!(in_order([(1, 4.0), (2, 3.0), (2, 3.0), (3, f64::NAN)].into_iter()).len(), 2);
    }
}
