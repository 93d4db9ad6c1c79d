//! Title, legend, axes and grid around what a plot shows.
//!
//! From top to bottom: title, legend, title of the y axis, strip for failures, frame, tick labels,
//! title of the x axis. The legend has rows of its own, so it never covers a point.

use plotters::prelude::{IntoDrawingArea, SVGBackend};
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, Frame, Mark, Place, Shape};
use super::theme::{self, FRAME_HEIGHT, GRID, INK, MUTED, TEXT, TITLE, WIDTH};

const EDGE: i32 = 24;
const ROW: i32 = 46;
/// The y axis's title and the gap between it and the label of a tick at the frame's top.
const Y_TITLE: i32 = 78;
const STRIP: i32 = 76;
const BELOW_FRAME: i32 = 124;
/// Room of a legend entry's mark, and between two entries.
const MARK_ROOM: i32 = 60;
const GAP: i32 = 34;
/// Longest label of a legend entry; what is longer ends in `…`.
const LABEL_CHARS: usize = 64;

/// A plot without its points.
pub(super) struct Chart {
    /// What it shows, in a few words.
    pub(super) title: &'static str,
    /// Horizontal axis.
    pub(super) x: Axis,
    /// Vertical axis.
    pub(super) y: Axis,
    /// Marks and what they mean.
    pub(super) legend: Vec<(Mark, String)>,
    /// Whether there is a strip for trials that have no loss.
    pub(super) has_strip: bool,
}

impl Chart {
    /// The SVG with what `body` draws.
    pub(super) fn draw(&self, body: impl FnOnce(&Canvas<'_>) -> Drawn) -> Drawn<String> {
        let entries = self.place_legend();
        let rows = entries.last().map_or(0, |(row, ..)| row + 1);
        let top = EDGE + TITLE + 20 + rows * ROW + Y_TITLE + if self.has_strip { STRIP } else { 0 };
        let frame = Frame { left: self.left(), right: self.right(), top, bottom: top + FRAME_HEIGHT };
        let mut svg = String::new();
        let height = (frame.bottom + BELOW_FRAME).unsigned_abs();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            let strip = self.has_strip.then(|| top - STRIP / 2 - 10);
            let canvas = Canvas { area, x: &self.x, y: &self.y, frame, strip };
            self.draw_surroundings(&canvas, &entries)?;
            body(&canvas)?;
            canvas.area.present()?;
        }
        Ok(svg)
    }

    /// Room for the widest label of the y axis.
    fn left(&self) -> i32 {
        let labels = self.y.ticks.iter().map(|tick| theme::text_width(&tick.label, TEXT));
        let strip = if self.has_strip { theme::text_width("failed", TEXT) } else { 0 };
        EDGE + labels.max().unwrap_or(0).max(strip) + 16
    }

    /// Room for the half of the last label of the x axis that reaches over the frame.
    fn right(&self) -> i32 {
        let last = self.x.ticks.last().map_or(0, |tick| theme::text_width(&tick.label, TEXT) / 2);
        WIDTH.cast_signed() - EDGE - last
    }

    /// Row, left edge, mark and text of each legend entry.
    fn place_legend(&self) -> Vec<(i32, i32, Mark, String)> {
        let (mut row, mut left) = (0, EDGE);
        let mut placed = Vec::new();
        for (mark, label) in &self.legend {
            let label = shortened(label);
            let width = MARK_ROOM + theme::text_width(&label, TEXT);
            if left > EDGE && left + width > WIDTH.cast_signed() - EDGE {
                (row, left) = (row + 1, EDGE);
            }
            placed.push((row, left, *mark, label));
            left += width + GAP;
        }
        placed
    }

    fn draw_surroundings(&self, canvas: &Canvas<'_>, entries: &[(i32, i32, Mark, String)]) -> Drawn {
        let (width, height) = canvas.area.dim_in_pixel();
        canvas.block([(0, 0), (width.cast_signed(), height.cast_signed())], theme::PAPER)?;
        canvas.text(self.title, &theme::bold(TITLE, INK, HPos::Left), (EDGE, EDGE + TITLE / 2))?;
        for (row, left, mark, label) in entries {
            let middle = EDGE + TITLE + 20 + row * ROW + ROW / 2;
            let size = if matches!(mark.shape, Shape::Line | Shape::Dashes) { 22 } else { mark.size };
            canvas.mark_at((left + 24, middle), Mark { size, ..*mark })?;
            canvas.text(label, &theme::text(TEXT, INK, HPos::Left), (left + MARK_ROOM, middle))?;
        }
        self.draw_axes(canvas)
    }

    fn draw_axes(&self, canvas: &Canvas<'_>) -> Drawn {
        let Frame { left, right, top, bottom } = canvas.frame;
        let above = top - if self.has_strip { STRIP } else { 0 };
        let muted = |anchor| theme::text(TEXT, MUTED, anchor);
        canvas.text(&self.y.title, &muted(HPos::Left), (EDGE, above - 44))?;
        for tick in &self.y.ticks {
            let (_, height) = canvas.place(0.0, tick.at);
            canvas.path(vec![(left, height), (right, height)], theme::stroke(GRID, 2))?;
            canvas.text(&tick.label, &muted(HPos::Right), (left - 14, height))?;
        }
        for tick in &self.x.ticks {
            let (place, _) = canvas.place(tick.at, 0.0);
            canvas.path(vec![(place, top), (place, bottom)], theme::stroke(GRID, 2))?;
            canvas.path(vec![(place, bottom), (place, bottom + 8)], theme::stroke(MUTED, 2))?;
            canvas.text(&tick.label, &muted(HPos::Center), (place, bottom + 30))?;
        }
        if let Some(strip) = canvas.strip {
            canvas.text("failed", &muted(HPos::Right), (left - 14, strip))?;
            canvas.path(vec![(left, top), (right, top)], theme::stroke(GRID, 2))?;
        }
        let baseline: [Place; 2] = [(left, bottom), (right, bottom)];
        canvas.path(baseline.to_vec(), theme::stroke(MUTED, 2))?;
        canvas.text(&self.x.title, &muted(HPos::Center), (i32::midpoint(left, right), bottom + 84))
    }
}

fn shortened(label: &str) -> String {
    let label = crate::report::outcomes::printable(label);
    if label.chars().count() <= LABEL_CHARS {
        return label;
    }
    label.chars().take(LABEL_CHARS - 1).chain(['…']).collect()
}
