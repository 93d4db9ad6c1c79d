//! Names beside points, placed so that none covers another name or a point.

use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Drawn, Frame, Place};
use super::theme::{self, INK, MUTED, TEXT};

/// Longest name; the table has the whole of it.
const NAME_CHARS: usize = 16;
/// Distances from the point that are tried, nearest first.
const DISTANCES: [i32; 4] = [24, 60, 110, 170];

/// Free space on each side of a name.
const GAP: i32 = 7;
/// Distance between the places of a leader line that are checked.
const LEADER_STEP: usize = 8;

/// A rectangle that is taken: left, top, right, bottom.
type Taken = (i32, i32, i32, i32);

/// The places that are taken so far.
pub(super) struct Labels {
    frame: Frame,
    taken: Vec<Taken>,
}

/// Where a name goes: its middle, and the places its leader line runs through.
struct Spot {
    middle: Place,
    leader: Vec<Place>,
}

impl Labels {
    /// No names yet; the points themselves are taken.
    pub(super) fn new(frame: Frame, points: &[Place]) -> Self {
        let taken = points.iter().map(|point| around(*point, 14, 14)).collect();
        Self { frame, taken }
    }

    /// Keeps names off a line over the whole width.
    pub(super) fn keep_off(&mut self, height: i32) {
        self.taken.push((self.frame.left, height - 3, self.frame.right, height + 3));
    }

    /// Writes `name` beside the point; leaves it out where there is no room at all.
    pub(super) fn draw(&mut self, canvas: &Canvas<'_>, name: &str, point: Place) -> Drawn {
        let name: String = name.chars().take(NAME_CHARS).collect();
        let Some(spot) = self.take(point, theme::text_width(&name, TEXT) / 2) else { return Ok(()) };
        if let Some(end) = spot.leader.last() {
            canvas.path(vec![point, *end], theme::stroke(MUTED, 2))?;
        }
        canvas.text(&name, &theme::text(TEXT, INK, HPos::Center), spot.middle)
    }

    /// Takes the nearest free spot for a name of that half width.
    fn take(&mut self, point: Place, half_width: i32) -> Option<Spot> {
        // Above, right, below, left, then the diagonals.
        const SIDES: [(i32, i32); 8] = [(0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1)];
        let (half_width, half_height) = (half_width + GAP, TEXT * 6 / 10);
        let spot = DISTANCES.into_iter().find_map(|distance| {
            SIDES.into_iter().find_map(|(right, down)| {
                let x = point.0 + right * (distance + half_width);
                let y = point.1 + down * (distance + half_height);
                let name = around((x, y), half_width, half_height);
                let leader = if distance == DISTANCES[0] { Vec::new() } else { leader(point, name) };
                let free = self.is_inside(name) && self.is_free(name) && self.is_clear(point, &leader);
                free.then_some(Spot { middle: (x, y), leader })
            })
        })?;
        self.taken.push(around(spot.middle, half_width, half_height));
        self.taken.extend(spot.leader.iter().map(|place| around(*place, 2, 2)));
        Some(spot)
    }

    fn is_inside(&self, wanted: Taken) -> bool {
        let Frame { left, right, top, bottom } = self.frame;
        wanted.0 >= left && wanted.1 >= top && wanted.2 <= right && wanted.3 <= bottom
    }

    fn is_free(&self, wanted: Taken) -> bool {
        self.taken.iter().all(|taken| !overlap(*taken, wanted))
    }

    /// Whether a leader line meets nothing once it has left its own point.
    fn is_clear(&self, point: Place, leader: &[Place]) -> bool {
        let outside = leader.iter().filter(|place| !overlap(around(point, 16, 16), around(**place, 2, 2)));
        outside.into_iter().all(|place| self.is_free(around(*place, 2, 2)))
    }
}

/// The places from `point` to the nearest edge of `name`.
fn leader(point: Place, name: Taken) -> Vec<Place> {
    let (x, y) = (point.0.clamp(name.0, name.2), point.1.clamp(name.1, name.3));
    let length = (x - point.0).abs().max((y - point.1).abs()).max(1);
    let between =
        |done: i32| (point.0 + (x - point.0) * done / length, point.1 + (y - point.1) * done / length);
    (0..length).step_by(LEADER_STEP).map(between).chain([(x, y)]).collect()
}

const fn around((x, y): Place, half_width: i32, half_height: i32) -> Taken {
    (x - half_width, y - half_height, x + half_width, y + half_height)
}

const fn overlap(a: Taken, b: Taken) -> bool {
    a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_points_at_one_place_do_not_cover_each_other() {
        let frame = Frame { left: 0, right: 1000, top: 0, bottom: 600 };
        let points = [(500, 300); 12];
        let mut labels = Labels::new(frame, &points);
        let names: Vec<Taken> = points
            .iter()
            .filter_map(|point| labels.take(*point, 60))
            .map(|spot| around(spot.middle, 60, 18))
            .collect();
        assert!(names.len() >= 4, "{} names found room", names.len());
        for (index, name) in names.iter().enumerate() {
            assert!(names[index + 1..].iter().all(|other| !overlap(*name, *other)));
        }
    }
}
