//! The largest micro-batch that fits: which size is probed next.
//!
//! One small probe calibrates the prediction, the next is run at the edge it gives. That size is then proven: it
//! ran and passed, and one more was refused or is over the cap by the calibrated lines. Where a refusal contradicts
//! them, sizes below it are tried in steps that grow, then halved; so the answer is right for every memory that
//! grows with the size.

use super::calibrated::{Calibrated, Predict};
use crate::trial::{Outcome, ProbeRecord};
use crate::units::Bytes;

/// The first probe is so many times smaller than the predicted edge: far from it, should the prediction be wrong,
/// and near enough to measure what grows.
const CALIBRATION: usize = 8;
/// From one probe to the next where nothing predicts the edge.
const LADDER: usize = 4;
/// How the steps below a refusal grow that no line explains.
const GALLOP: usize = 4;

/// What to do next for one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextProbe {
    /// Run this micro-batch.
    Probe(usize),
    /// The boundary is known: the largest micro-batch that was run and passed, if any did.
    Done(Option<usize>),
}

/// The next probe of one setting, given the `probes` it has had.
///
/// `budget` is the bytes a probe may hold, `limit` the largest size worth trying.
#[must_use]
pub fn next_probe(
    probes: &[&ProbeRecord],
    budget: Option<Bytes>,
    limit: usize,
    predict: &Predict<'_>,
) -> NextProbe {
    let known = Known::of(probes, limit);
    if known.low > known.high {
        return NextProbe::Done((known.largest_passed > 0).then_some(known.largest_passed));
    }
    let calibrated = Calibrated::new(predict, probes);
    let edge = budget.filter(|_| calibrated.is_sound()).and_then(|budget| calibrated.edge(budget, limit));
    match edge {
        // One probe alone can't tell how fast memory grows: then one more is run, whatever is predicted of it.
        Some(edge) if calibrated.has_lines() && edge <= known.largest_passed => {
            NextProbe::Done(Some(known.largest_passed))
        }
        Some(edge) if probes.is_empty() => NextProbe::Probe((edge / CALIBRATION).clamp(1, limit)),
        Some(edge) if edge <= known.high => NextProbe::Probe(edge.max(known.low)),
        // A refusal contradicts the lines.
        Some(_) => NextProbe::Probe(known.below_the_refusal()),
        None if known.refusals == 0 => {
            NextProbe::Probe((known.largest_passed * LADDER).clamp(known.low, known.high))
        }
        None => NextProbe::Probe(usize::midpoint(known.low, known.high)),
    }
}

/// What the probes alone say.
struct Known {
    largest_passed: usize,
    refusals: usize,
    /// What is open.
    low: usize,
    high: usize,
}

impl Known {
    fn of(probes: &[&ProbeRecord], limit: usize) -> Self {
        let sizes = |passed: bool| {
            let of_kind = probes.iter().filter(move |probe| (probe.outcome == Outcome::Finished) == passed);
            of_kind.map(|probe| probe.micro_batch_size)
        };
        let largest_passed = sizes(true).max().unwrap_or(0);
        let refusals = sizes(false).filter(|size| *size > largest_passed).count();
        let smallest_refused = sizes(false).min().unwrap_or(limit + 1).min(limit + 1);
        Self { largest_passed, refusals, low: largest_passed + 1, high: smallest_refused - 1 }
    }

    fn below_the_refusal(&self) -> usize {
        let step = GALLOP.saturating_pow(u32::try_from(self.refusals.saturating_sub(1)).unwrap_or(u32::MAX));
        match (self.high + 1).checked_sub(step) {
            Some(size) if size >= self.low => size,
            _ => usize::midpoint(self.low, self.high),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::search::batch::testing::{Memory, search};
    use proptest::prelude::*;

    #[test]
    fn an_affine_memory_is_found_in_three_probes_and_with_a_prediction_in_two() {
        let memory = Memory { flat: 300, fixed: 100, slope: 27, bend: None };
        assert_eq!(search(&memory, Some(1100), 1000, None), (Some(37), vec![1, 4, 37]));
        let (max, sizes) = search(&memory, Some(1100), 1000, Some(&memory));
        assert_eq!((max, sizes), (Some(37), vec![4, 37]));
    }

    #[test]
    fn a_prediction_that_misses_a_constant_share_costs_no_probe_more() {
        let memory = Memory { flat: 300, fixed: 180, slope: 27, bend: None };
        let predicted = Memory { fixed: 100, ..memory };
        assert_eq!(search(&memory, Some(1100), 1000, Some(&predicted)), (Some(34), vec![4, 34]));
    }

    #[test]
    fn a_single_probe_that_passed_is_no_proof_that_the_next_size_does_not() {
        let memory = Memory { flat: 0, fixed: 4199, slope: 265, bend: None };
        let predicted = Memory { slope: 411, ..memory };
        assert_eq!(search(&memory, Some(4729), 2, Some(&predicted)), (Some(2), vec![1, 2]));
        assert_eq!(search(&memory, Some(4700), 9, Some(&predicted)), (Some(1), vec![1, 2]));
    }

    proptest! {
        #[test]
        fn the_largest_size_is_run_and_right_for_every_affine_memory_and_whatever_is_predicted(
            fixed in 0u64..5_000, slope in 1u64..500, flat in 0u64..5_000, budget in 1u64..50_000,
            limit in 1usize..300, wrong in 0.2f64..5.0, is_predicted: bool,
        ) {
            let memory = Memory { flat, fixed, slope, bend: None };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let predicted = Memory { slope: (slope as f64 * wrong) as u64, ..memory };
            let (max, sizes) = search(&memory, Some(budget), limit, is_predicted.then_some(&predicted));
            let truth = (1..=limit).rev().find(|size| memory.peak(*size) <= budget);
            prop_assert_eq!(max, truth);
            prop_assert!(max.is_none_or(|max| sizes.contains(&max)));
        }

        #[test]
        fn the_largest_size_is_right_for_every_monotone_device_without_a_known_cap(
            truth in 0usize..300, limit in 1usize..300,
        ) {
            let memory = Memory { flat: 0, fixed: 0, slope: 1, bend: None };
            let (max, sizes) = crate::search::batch::testing::search_on(&memory, truth as u64, None, limit, None);
            let expected = truth.min(limit);
            prop_assert_eq!(max, (expected > 0).then_some(expected));
            prop_assert!(sizes.len() <= 16, "{sizes:?}");
        }

        #[test]
        fn the_largest_size_is_found_where_memory_bends(
            slope in 1u64..50, more in 0u64..50, at in 1usize..100, budget in 100u64..9_000,
        ) {
            let memory = Memory { flat: 0, fixed: 50, slope, bend: Some((at, more)) };
            let straight = Memory { bend: None, ..memory };
            let truth = (1..=200).rev().find(|size| memory.peak(*size) <= budget);
            for predicted in [None, Some(&straight), Some(&memory)] {
                prop_assert_eq!(search(&memory, Some(budget), 200, predicted).0, truth);
            }
        }
    }

    /// Two probes and no refusal each: a prediction by shapes is off by a constant and little more.
    #[test]
    fn with_a_prediction_that_is_nearly_right_two_hundred_random_settings_take_few_probes() {
        let (mut probes, mut refusals, settings) = (0, 0, 200u64);
        for seed in 0..settings {
            let random = |salt: u64, below: u64| (seed * 2_654_435_761 + salt * 40_503) % 999_983 % below;
            let memory = Memory {
                flat: random(1, 9_000),
                fixed: random(2, 9_000),
                slope: 1 + random(3, 400),
                bend: None,
            };
            let predicted = Memory { fixed: memory.fixed * 9 / 10, ..memory };
            let budget = memory.peak(1 + usize::try_from(random(4, 300)).unwrap()) + random(5, memory.slope);
            let (max, sizes) = search(&memory, Some(budget), 1000, Some(&predicted));
            let truth = (1..=1000).rev().find(|size| memory.peak(*size) <= budget);
            assert_eq!(max, truth);
            probes += sizes.len();
            refusals += sizes.iter().filter(|size| memory.peak(**size) > budget).count();
        }
        assert!(probes <= 500 && refusals <= 20, "{probes} probes, {refusals} refusals");
    }
}
