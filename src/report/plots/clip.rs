//! Cutting a line off where it leaves the frame upwards.

type Point = (f64, f64);

/// The parts of the line through `points` that lie at or below `high`.
pub(super) fn below(points: &[Point], high: f64) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = Vec::new();
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (start, end) = match (from.1 <= high, to.1 <= high) {
            (true, true) => (from, to),
            (true, false) => (from, crossing(from, to, high)),
            (false, true) => (crossing(from, to, high), to),
            (false, false) => continue,
        };
        match runs.last_mut() {
            Some(run) if run.last() == Some(&start) => run.push(end),
            _ => runs.push(vec![start, end]),
        }
    }
    runs
}

fn crossing(from: Point, to: Point, high: f64) -> Point {
    let share = (high - from.1) / (to.1 - from.1);
    (from.0 + share * (to.0 - from.0), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_leaves_and_taken_up_where_it_returns() {
        let points = [(0.0, 1.0), (1.0, 3.0), (2.0, 3.0), (3.0, 1.0), (4.0, 1.0)];
        let expected = vec![vec![(0.0, 1.0), (0.5, 2.0)], vec![(2.5, 2.0), (3.0, 1.0), (4.0, 1.0)]];
        assert_eq!(below(&points, 2.0), expected);
    }

    #[test]
    fn a_single_point_is_no_line() {
        assert!(below(&[(0.0, 0.0)], 1.0).is_empty());
    }
}
