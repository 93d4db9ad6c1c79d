//! From an effective batch to the micro-batch × accumulation the device runs.

use super::FrontierPoint;
use super::Provenance;
use super::frontier::interpolated;
use crate::space::{BatchDomain, BatchPlan};

/// The plan for choice `index` of the batch domain on this row of the frontier; `None` if it does not fit.
#[must_use]
pub fn feasible_plan(domain: &BatchDomain, index: usize, point: &FrontierPoint) -> Option<BatchPlan> {
    match domain {
        BatchDomain::Effective(sizes) => Some(fastest_plan(sizes[index], point)),
        BatchDomain::Explicit(plans) => {
            Some(plans[index]).filter(|plan| plan.micro_batch_size <= point.max_micro_batch)
        }
    }
}

/// A micro-batch within this share of the best throughput counts as equally fast: short probes on a
/// busy machine differ by as much.
const EQUALLY_FAST: f64 = 0.9;

/// The fastest feasible way to run an effective batch, which is kept: a smaller micro-batch raises accumulation.
///
/// Among the divisors of the effective size that fit, the largest that is equally fast by what was
/// timed, with throughput interpolated between. Memory that nobody uses is worth nothing, and
/// the largest is a choice on which noise has little hold.
#[must_use]
pub fn fastest_plan(effective_batch_size: usize, point: &FrontierPoint) -> BatchPlan {
    let timed = point.curve.iter().filter(|point| point.speed_is == Provenance::Measured);
    let speeds: Vec<(usize, f64)> =
        timed.filter_map(|point| Some((point.micro_batch_size, point.tokens_per_second?))).collect();
    let speed = |size| interpolated(&speeds, size).unwrap_or(0.0);
    let limit = point.max_micro_batch.max(1);
    let feasible =
        || (1..=effective_batch_size.min(limit)).filter(|size| effective_batch_size.is_multiple_of(*size));
    let best = feasible().map(speed).fold(0.0, f64::max);
    let chosen = feasible().filter(|size| speed(*size) >= EQUALLY_FAST * best).max().unwrap_or(1);
    BatchPlan { micro_batch_size: chosen, gradient_accumulation_steps: effective_batch_size / chosen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Boundary, CurvePoint};
    use crate::space::{HardwareSetting, Precision};
    use crate::units::Bytes;

    fn point(max_micro_batch: usize, speeds: &[(usize, f64)]) -> FrontierPoint {
        let timed = |(micro_batch_size, speed): &(usize, f64)| CurvePoint {
            micro_batch_size: *micro_batch_size,
            peak_bytes: None,
            peak_is: Provenance::Predicted,
            tokens_per_second: Some(*speed),
            speed_is: Provenance::Measured,
        };
        FrontierPoint {
            setting: HardwareSetting::plain(Precision::F32),
            max_micro_batch,
            boundary: Boundary::Predicted,
            next_over_by: None,
            max_eval_micro_batch: 1,
            knee_micro_batch: 1,
            peak_bytes: Bytes(0),
            phases: vec![],
            tokens_per_second: 0.0,
            curve: speeds.iter().map(timed).collect(),
            probes: 0,
        }
    }

    #[test]
    fn an_effective_batch_is_kept_whatever_the_micro_batch() {
        let speeds = [(1, 100.0), (4, 380.0), (16, 400.0)];
        for (max, expected) in [(16, (12, 2)), (5, (4, 6)), (1, (1, 24))] {
            let plan = fastest_plan(24, &point(max, &speeds));
            assert_eq!((plan.micro_batch_size, plan.gradient_accumulation_steps), expected);
            assert_eq!(plan.effective_batch_size(), 24);
        }
    }

    #[test]
    fn a_larger_micro_batch_that_is_clearly_slower_is_not_taken() {
        let plan = fastest_plan(16, &point(16, &[(1, 400.0), (16, 200.0)]));
        assert_eq!((plan.micro_batch_size, plan.gradient_accumulation_steps), (4, 4));
    }

    #[test]
    fn an_explicit_plan_that_does_not_fit_is_refused() {
        let plan = BatchPlan { micro_batch_size: 8, gradient_accumulation_steps: 2 };
        let domain = BatchDomain::Explicit(vec![plan]);
        assert_eq!(feasible_plan(&domain, 0, &point(8, &[])), Some(plan));
        assert_eq!(feasible_plan(&domain, 0, &point(7, &[])), None);
    }
}
