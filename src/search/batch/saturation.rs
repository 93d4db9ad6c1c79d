//! How throughput grows with the micro-batch, and where it has grown enough.
//!
//! 1. A token takes `(b^γ + (a / m)^γ)^(1/γ)` seconds at micro-batch `m`: `a` is what a step takes whatever its size,
//!    `b` the share of an example, and `γ` says how sharply one gives way to the other: added up where it is one,
//!    nearly the larger of both (a roofline) where it is large. It is the step-time model of Pollux (Qiao et al.,
//!    OSDI 2021).
//! 2. Those with the least sum of relative errors over the sizes that were timed are taken. Absolute errors, not
//!    squared: a size that was timed while the machine did something else moves nothing. In `1 / m^γ` such a curve
//!    is a line, which goes through two of the points, or through one where `a` or `b` is zero: all are tried.
//! 3. The knee is the smallest micro-batch whose throughput *by that curve* is nearly that of the largest. Where
//!    throughput is flat but for noise, noise can't carry it to the far end.

/// A micro-batch within this share of the largest one's throughput is "nearly as fast".
const NEARLY: f64 = 0.95;

/// What `γ` may be.
const SHARPNESS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

/// Seconds per token against the micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Saturation {
    /// `γ`.
    sharpness: f64,
    /// `a^γ`: what a step takes whatever its size, in seconds times examples per token.
    per_step: f64,
    /// `b^γ`: what is left of large steps, in seconds per token.
    per_example: f64,
}

impl Saturation {
    /// The curve of least relative error through `(micro-batch, tokens per second)`; none without two: one size tells
    /// of no rise.
    pub(super) fn of(speeds: &[(usize, f64)]) -> Option<Self> {
        let points: Vec<(f64, f64)> = speeds
            .iter()
            .filter(|(_, speed)| *speed > 0.0)
            .map(|(m, speed)| (float(*m), 1.0 / speed))
            .collect();
        if points.len() < 2 {
            return None;
        }
        let curves = SHARPNESS.iter().flat_map(|sharpness| Self::through_points(*sharpness, &points));
        let error =
            |curve: &Self| points.iter().map(|(m, time)| (curve.time(*m) / time - 1.0).abs()).sum::<f64>();
        curves.min_by(|one, other| error(one).total_cmp(&error(other)))
    }

    /// The curves that go through two of the points `(micro-batch, seconds per token)`, and those of one part
    /// alone that go through one.
    fn through_points(sharpness: f64, points: &[(f64, f64)]) -> Vec<Self> {
        let lines: Vec<(f64, f64)> =
            points.iter().map(|(m, time)| (m.powf(-sharpness), time.powf(sharpness))).collect();
        let curve = |per_step, per_example| Self { sharpness, per_step, per_example };
        let alone = lines.iter().flat_map(|(x, y)| [curve(0.0, *y), curve(y / x, 0.0)]);
        let pairs = lines.iter().flat_map(|one| lines.iter().map(move |other| (one, other)));
        let through = pairs.filter(|(one, other)| one.0 > other.0).map(|(one, other)| {
            let per_step = (one.1 - other.1) / (one.0 - other.0);
            curve(per_step, one.1 - per_step * one.0)
        });
        alone.chain(through.filter(|curve| curve.per_step >= 0.0 && curve.per_example >= 0.0)).collect()
    }

    fn time(self, micro_batch: f64) -> f64 {
        (self.per_example + self.per_step / micro_batch.powf(self.sharpness)).powf(1.0 / self.sharpness)
    }

    /// The smallest micro-batch that is nearly as fast as `largest`.
    pub(super) fn knee(self, largest: usize) -> usize {
        let enough = self.time(float(largest)) / NEARLY;
        (1..largest).find(|size| self.time(float(*size)) <= enough).unwrap_or(largest)
    }
}

#[expect(clippy::cast_precision_loss, reason = "micro-batches are far below 2^52")]
fn float(size: usize) -> f64 {
    size as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speeds(sizes: &[usize], time: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
        sizes.iter().map(|size| (*size, 1.0 / time(float(*size)))).collect()
    }

    #[test]
    fn an_exact_curve_is_found_and_its_knee_solved() {
        let curve = Saturation::of(&speeds(&[1, 3, 50, 200], |m| 0.01 + 0.02 / m)).unwrap();
        assert!(
            (curve.per_step - 0.02).abs() < 1e-12 && (curve.per_example - 0.01).abs() < 1e-12,
            "{curve:?}"
        );
        // 0.01 + 0.02 / m <= (0.01 + 0.02 / 200) / 0.95 from m = 31.7 on.
        assert_eq!((curve.sharpness.to_bits(), curve.knee(200)), (1_f64.to_bits(), 32));
    }

    #[test]
    fn a_roofline_saturates_where_it_bends() {
        let roofline =
            Saturation::of(&speeds(&[1, 2, 6, 8, 12, 16, 24, 32], |m| 1.0_f64.max(8.0 / m))).unwrap();
        assert!((8..=9).contains(&roofline.knee(32)), "{roofline:?}");
    }

    #[test]
    fn noise_on_a_flat_curve_does_not_carry_the_knee_away() {
        // Within 5 % of the fastest: from 3 on in the first, the largest alone in the second.
        for noisy in [
            [(1, 7_600.0), (3, 7_940.0), (12, 7_747.0), (50, 7_229.0), (100, 7_977.0), (201, 7_700.0)],
            [(1, 7_800.0), (3, 7_100.0), (12, 7_300.0), (50, 7_200.0), (100, 7_300.0), (201, 8_000.0)],
        ] {
            assert_eq!(Saturation::of(&noisy).unwrap().knee(201), 1);
        }
    }

    #[test]
    fn a_size_that_was_timed_in_a_bad_moment_moves_nothing() {
        let mut timed = speeds(&[1, 3, 12, 50, 200], |m| 0.01 + 0.02 / m);
        timed[3].1 /= 5.0;
        assert_eq!(Saturation::of(&timed).unwrap().knee(200), 32);
    }

    #[test]
    fn throughput_that_still_rises_saturates_near_the_largest() {
        let line = Saturation::of(&speeds(&[1, 2, 4, 8], |m| 1.0 / m)).unwrap();
        assert_eq!(line.knee(40), 38, "0.95 of 40");
        let faster = Saturation::of(&[(1, 100.0), (2, 300.0), (8, 2000.0)]).unwrap();
        assert_eq!(faster.knee(40), 38, "no step takes less than nothing");
        assert_eq!(Saturation::of(&[]), None);
        assert_eq!(Saturation::of(&[(7, 100.0)]), None, "one size tells of no rise");
    }
}
