//! The plots of a report, one a file, as SVG text.
//!
//! Plotters writes the SVG; ranges, ticks and places are our own, because its own range code
//! does not end on an empty range and knows no font's width.

mod axis;
mod canvas;
mod chart;
mod clip;
mod full_run;
mod labels;
mod learning_curves;
mod learning_rate;
mod marks;
mod memory;
mod probes;
mod size_and_loss;
mod theme;
mod throughput;
mod ticks;
mod trial_history;

use self::canvas::Drawn;
use super::{ReportError, StudyReport};

/// What is known of a plot before it is drawn.
#[derive(Debug)]
pub(super) struct About {
    /// Name of its file without the ending.
    pub(super) file: &'static str,
    /// What it shows, for those who can't see it.
    pub(super) name: &'static str,
    /// How to read it.
    pub(super) caption: &'static str,
    /// What the page says where there is nothing to show.
    pub(super) absent: &'static str,
    draw: fn(&StudyReport) -> Drawn<Option<String>>,
}

/// A plot, or the fact that there is nothing to show.
#[derive(Debug)]
pub(super) struct Figure {
    /// Which plot.
    pub(super) about: &'static About,
    /// Its SVG.
    pub(super) svg: Option<String>,
}

const PLOTS: [About; 7] = [
    About {
        file: "size-and-loss",
        name: size_and_loss::TITLE,
        caption: "Down and to the left is better: a smaller file that predicts held-out text as well.",
        absent: "No model has been tested yet.",
        draw: size_and_loss::draw,
    },
    About {
        file: "full-run",
        name: full_run::TITLE,
        caption: "Training loss is measured before each update, validation loss on held-out examples.",
        absent: "No full run has been recorded yet.",
        draw: full_run::draw,
    },
    About {
        file: "trial-history",
        name: trial_history::TITLE,
        caption: "Each trial at the highest rung it finished. Losses of different rungs are not comparable: a higher rung has trained longer.",
        absent: "No trial has finished a rung.",
        draw: trial_history::draw,
    },
    About {
        file: "learning-rate",
        name: learning_rate::TITLE,
        caption: "Where the valley lies, and how it moves with the effective batch.",
        absent: "No trial has finished a rung.",
        draw: learning_rate::draw,
    },
    About {
        file: "learning-curves",
        name: learning_curves::TITLE,
        caption: "Over examples rather than optimizer steps, so that batch sizes can be compared.",
        absent: "No trial has been evaluated.",
        draw: learning_curves::draw,
    },
    About {
        file: "memory",
        name: memory::TITLE,
        caption: "Every point was run. A cross marks what the device refused: at the least it would have held, or at the upper edge.",
        absent: "No probe has measured memory.",
        draw: memory::draw,
    },
    About {
        file: "throughput",
        name: throughput::TITLE,
        caption: "A ring marks the smallest micro-batch that saturates the device; a larger one only costs memory.",
        absent: "No probe has been timed.",
        draw: throughput::draw,
    },
];

/// Every plot in the order of the page.
pub(super) fn all(report: &StudyReport) -> Result<Vec<Figure>, ReportError> {
    PLOTS.iter().map(|about| figure(about, report)).collect()
}

fn figure(about: &'static About, report: &StudyReport) -> Result<Figure, ReportError> {
    let drawn = (about.draw)(report);
    let svg = drawn.map_err(|error| ReportError::Plot { plot: about.file, message: error.to_string() })?;
    Ok(Figure { about, svg: svg.map(|svg| finished(&svg, about)) })
}

/// Shown at half the drawing's units, with a name for those who can't see it.
fn finished(svg: &str, about: &About) -> String {
    let Some((head, rest)) = svg.split_once("viewBox=") else { return svg.to_owned() };
    let height: u32 = head.split('"').nth(3).and_then(|height| height.parse().ok()).unwrap_or(theme::WIDTH);
    let (width, height) = (theme::WIDTH / theme::UNITS_PER_PIXEL, height / theme::UNITS_PER_PIXEL);
    format!(r#"<svg role="img" aria-label="{}" width="{width}" height="{height}" viewBox={rest}"#, about.name)
}

/// Rules that let a dark page replace the neutral colours of inlined plots.
pub(super) fn dark_rules() -> String {
    let rule = |(name, color): (&str, plotters::style::RGBColor)| {
        let hex = format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2);
        format!(
            "svg [fill=\"{hex}\"]{{fill:var(--plot-{name})}}svg [stroke=\"{hex}\"]{{stroke:var(--plot-{name})}}"
        )
    };
    theme::THEMED.map(rule).concat()
}
