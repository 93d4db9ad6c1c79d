//! Quasi-random search: a scrambled Sobol sequence, which leaves smaller holes than chance does.
//!
//! 1. Trial number n takes point n of the sequence (Sobol 1967), Owen-scrambled by the seed (Burley 2020).
//! 2. The point is snapped; if it is forbidden or tried, the next ones of the sequence are looked at.
//! 3. After [`SKIPS`] of them the search for a point goes on in another scrambling from point n on, so that
//!    the work of a trial does not grow with the number of trials before it.
//! 4. Where that keeps failing, any point that is allowed and new will do.
//!
//! The sequence has 2¹⁶ points of 256 dimensions; beyond either it goes on with another scrambling, which
//! shuffles the points too, so that no dimension repeats another.

use super::super::random::Stream;
use super::super::{Observations, Problem};
use super::{Sampler, fresh, streams};
use crate::space::UnitPoint;

/// How far the sequence is followed before it is scrambled anew.
const SKIPS: usize = 256;
/// How often it is scrambled anew for one trial.
const SCRAMBLINGS: usize = 16;
/// Points of the sequence.
const LENGTH: usize = 1 << 16;

/// Points of a scrambled Sobol sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sobol;

impl Sampler for Sobol {
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
        let number = seen.next_id() as usize;
        let tries = (0..SCRAMBLINGS).flat_map(|round| (0..SKIPS).map(move |skip| (number + skip, round)));
        let points = tries.map(|(index, round)| sobol_point(problem.seed, index, round, problem.space.len()));
        let rare = || {
            let mut stream = Stream::new(problem.seed, streams::SOBOL | number as u64);
            fresh::any(problem, seen, &mut stream)
        };
        fresh::first(problem, seen, points).or_else(rare)
    }
}

/// Point `index` of scrambling `round`.
pub(super) fn sobol_point(seed: u64, index: usize, round: usize, dimensions: usize) -> UnitPoint {
    (0..dimensions).map(|dimension| coordinate(seed, index, round, dimension)).collect()
}

fn coordinate(seed: u64, index: usize, round: usize, dimension: usize) -> f64 {
    let width = sobol_burley::NUM_DIMENSIONS as usize;
    let (lap, index) = (index / LENGTH, index % LENGTH);
    let (block, dimension) = (dimension / width, dimension % width);
    // Laps, rounds and blocks are few: each has bits of its own.
    let scrambling = (lap as u64) | (round as u64) << 20 | (block as u64) << 26;
    let scrambling = seed ^ (seed >> 32) ^ (scrambling.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
    #[expect(clippy::cast_possible_truncation, reason = "remainders, and a seed that is folded on purpose")]
    let (index, dimension, seed) = (index as u32, dimension as u32, scrambling as u32);
    f64::from(sobol_burley::sample(index, dimension, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `cells` equal cells a coordinate lies in.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn cell(unit: f64, cells: u32) -> usize {
        (unit * f64::from(cells)) as usize
    }

    /// A (0, m, 2)-net: each of the 2^m boxes of every shape holds one of the first 2^m points.
    fn is_net(points: &[UnitPoint], of: [usize; 2]) -> bool {
        [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)].into_iter().all(|(wide, high)| {
            let mut boxes: Vec<usize> = points
                .iter()
                .map(|point| cell(point[of[0]], wide) * high as usize + cell(point[of[1]], high))
                .collect();
            boxes.sort_unstable();
            boxes == (0..16).collect::<Vec<usize>>()
        })
    }

    #[test]
    fn each_block_of_sixteen_points_has_one_in_every_box_of_a_sixteenth() {
        for seed in 0..20 {
            let points: Vec<UnitPoint> = (0..64).map(|index| sobol_point(seed, index, 0, 2)).collect();
            for block in points.chunks(16) {
                assert!(is_net(block, [0, 1]), "seed {seed}: {block:?}");
            }
        }
    }

    /// The unscrambled sequence starts 0, 1/2, 3/4, 1/4 in the first dimension; a scrambling keeps who shares a
    /// half and who shares a quarter (Owen 1995).
    #[test]
    fn the_first_points_are_those_of_sobol_up_to_scrambling() {
        for seed in 0..20 {
            let halves: Vec<usize> = (0..4).map(|index| cell(sobol_point(seed, index, 0, 1)[0], 2)).collect();
            assert_ne!(halves[0], halves[1]);
            assert_ne!(halves[2], halves[3]);
            let mut quarters: Vec<usize> =
                (0..4).map(|index| cell(sobol_point(seed, index, 0, 1)[0], 4)).collect();
            quarters.sort_unstable();
            assert_eq!(quarters, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn the_sequence_goes_on_beyond_its_points_and_its_dimensions() {
        let points: Vec<UnitPoint> = (LENGTH - 2..LENGTH + 2).map(|i| sobol_point(7, i, 0, 600)).collect();
        for (index, point) in points.iter().enumerate() {
            assert!(point.iter().all(|unit| (0.0..1.0).contains(unit)));
            assert_ne!(point[0].to_bits(), point[256].to_bits());
            assert_ne!(point[0].to_bits(), point[512].to_bits());
            assert!(points[..index].iter().all(|other| other != point));
        }
        let apart: Vec<UnitPoint> = (0..16).map(|index| sobol_point(7, index, 0, 257)).collect();
        let halves = apart.iter().filter(|point| cell(point[0], 2) == cell(point[256], 2)).count();
        assert!((2..15).contains(&halves), "dimension 256 follows dimension 0 in {halves} of 16");
        assert_ne!(sobol_point(7, 3, 0, 2), sobol_point(7, LENGTH + 3, 0, 2));
        assert_ne!(sobol_point(7, 3, 0, 2), sobol_point(7, 3, 1, 2));
    }
}
