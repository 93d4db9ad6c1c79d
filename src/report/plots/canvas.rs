//! What a plot is drawn on: an SVG with places for values, and the marks put there.

use std::io;

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::prelude::{Circle, PathElement, Polygon, RGBColor, Rectangle, SVGBackend, ShapeStyle};
use plotters::style::TextStyle;

use super::axis::{Axis, is_drawable};
use super::clip;
use super::theme;

/// What drawing gives.
pub(super) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;
/// A place in drawing units, from the top left.
pub(super) type Place = (i32, i32);

/// A sign that stands for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    /// Its form.
    pub(super) shape: Shape,
    /// Its colour.
    pub(super) color: RGBColor,
    /// Half its width.
    pub(super) size: i32,
}

/// Forms that can be told apart without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Filled circle.
    Dot,
    /// Circle with the paper's colour inside.
    Ring,
    /// Square on its corner, with the paper's colour inside.
    Diamond,
    /// Circle around another mark.
    Halo,
    /// ×.
    Cross,
    /// Filled triangle that points up.
    Triangle,
    /// Hollow square.
    Square,
    /// A piece of line, for the legend.
    Line,
    /// A piece of dashed line, for the legend.
    Dashes,
}

/// The frame of the axes in drawing units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Left edge.
    pub(super) left: i32,
    /// Right edge.
    pub(super) right: i32,
    /// Upper edge.
    pub(super) top: i32,
    /// Lower edge.
    pub(super) bottom: i32,
}

/// An SVG with axes.
pub(super) struct Canvas<'a> {
    pub(super) area: DrawingArea<SVGBackend<'a>, Shift>,
    pub(super) x: &'a Axis,
    pub(super) y: &'a Axis,
    pub(super) frame: Frame,
    /// Height of the strip for failures, where there is one.
    pub(super) strip: Option<i32>,
}

impl Canvas<'_> {
    /// Where the values lie.
    pub(super) fn place(&self, x: f64, y: f64) -> Place {
        let Frame { left, right, top, bottom } = self.frame;
        (along(left, right, self.x.share(x)), along(bottom, top, self.y.share(y)))
    }

    /// Puts `mark` at the values; at the upper edge, as a triangle, where they lie above it.
    pub(super) fn mark(&self, x: f64, y: f64, mark: Mark) -> Drawn {
        let shape = if self.y.is_above(y) { Shape::Triangle } else { mark.shape };
        self.mark_at(self.place(x, y), Mark { shape, ..mark })
    }

    /// Puts `mark` into the strip for failures.
    pub(super) fn mark_failure(&self, x: f64, mark: Mark) -> Drawn {
        let (left, _) = self.place(x, 0.0);
        self.strip.map_or(Ok(()), |strip| self.mark_at((left, strip), mark))
    }

    /// A line through the values, cut off where it leaves the frame upwards.
    pub(super) fn line(&self, points: &[(f64, f64)], style: ShapeStyle) -> Drawn {
        let drawable: Vec<_> =
            points.iter().copied().filter(|(x, y)| is_drawable(*x) && is_drawable(*y)).collect();
        for run in clip::below(&drawable, self.y.high()) {
            let places: Vec<Place> = run.into_iter().map(|(x, y)| self.place(x, y)).collect();
            self.path(places, style)?;
        }
        Ok(())
    }

    /// A dashed line over the whole width at `y`.
    pub(super) fn dashed_across(&self, y: f64, color: RGBColor) -> Drawn {
        let (_, height) = self.place(0.0, y);
        self.dashes((self.frame.left, height), self.frame.right, color)
    }

    /// Puts `mark` at a place.
    pub(super) fn mark_at(&self, at: Place, mark: Mark) -> Drawn {
        let Mark { shape, color, size } = mark;
        let (x, y) = at;
        match shape {
            Shape::Dot => self.area.draw(&Circle::new(at, size, theme::fill(color))),
            Shape::Ring => {
                self.area.draw(&Circle::new(at, size, theme::fill(theme::PAPER)))?;
                self.area.draw(&Circle::new(at, size, theme::stroke(color, 4)))
            }
            Shape::Diamond => {
                let size = size * 5 / 4;
                let mut corners =
                    vec![(x, y - size), (x + size, y), (x, y + size), (x - size, y), (x, y - size)];
                self.area.draw(&Polygon::new(corners.clone(), theme::fill(theme::PAPER)))?;
                // A little further, so that the first corner is closed.
                corners.push((x + 2, y - size + 2));
                self.path(corners, theme::stroke(color, 4))
            }
            Shape::Halo => self.area.draw(&Circle::new(at, size, theme::stroke(color, 4))),
            Shape::Cross => {
                self.path(vec![(x - size, y - size), (x + size, y + size)], theme::stroke(color, 5))?;
                self.path(vec![(x - size, y + size), (x + size, y - size)], theme::stroke(color, 5))
            }
            Shape::Triangle => {
                let corners = vec![(x, y - size), (x - size, y + size), (x + size, y + size)];
                self.area.draw(&Polygon::new(corners, theme::fill(color)))
            }
            Shape::Square => self.path(
                vec![
                    (x - size, y - size),
                    (x + size, y - size),
                    (x + size, y + size),
                    (x - size, y + size),
                    (x - size, y - size - 2),
                ],
                theme::stroke(color, 4),
            ),
            Shape::Line => self.path(vec![(x - size, y), (x + size, y)], theme::stroke(color, 5)),
            Shape::Dashes => self.dashes((x - size, y), x + size, color),
        }
    }

    fn dashes(&self, from: Place, to: i32, color: RGBColor) -> Drawn {
        const DASH: i32 = 14;
        const PERIOD: usize = 22;
        let (left, height) = from;
        (left..to).step_by(PERIOD).try_for_each(|start| {
            self.path(vec![(start, height), ((start + DASH).min(to), height)], theme::stroke(color, 4))
        })
    }

    /// A line through places.
    pub(super) fn path(&self, places: Vec<Place>, style: ShapeStyle) -> Drawn {
        self.area.draw(&PathElement::new(places, style))
    }

    /// A filled rectangle.
    pub(super) fn block(&self, corners: [Place; 2], color: RGBColor) -> Drawn {
        self.area.draw(&Rectangle::new(corners, theme::fill(color)))
    }

    /// A text.
    pub(super) fn text(&self, text: &str, style: &TextStyle<'_>, at: Place) -> Drawn {
        self.area.draw_text(text, style, at)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a frame that is some hundred units wide")]
fn along(from: i32, to: i32, share: f64) -> i32 {
    from + (f64::from(to - from) * share).round() as i32
}
