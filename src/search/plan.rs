//! From an effective batch to the micro-batch × accumulation the device runs.

use super::FrontierPoint;
use crate::space::{BatchDomain, BatchPlan, Precision};
use crate::trial::ProbeRecord;

/// The plan for choice `index` of the batch domain in `precision`; `None` if it does not fit.
#[must_use]
pub fn feasible_plan(
    domain: &BatchDomain,
    index: usize,
    precision: Precision,
    frontier: &[FrontierPoint],
    probes: &[ProbeRecord],
) -> Option<BatchPlan> {
    let point = frontier.iter().find(|point| point.precision == precision)?;
    match domain {
        BatchDomain::Effective(sizes) => Some(fastest_plan(sizes[index], point, probes)),
        BatchDomain::Explicit(plans) => {
            Some(plans[index]).filter(|plan| plan.micro_batch_size <= point.max_micro_batch)
        }
    }
}

/// A micro-batch within this share of the best throughput counts as equally fast: short probes on a
/// busy machine differ by as much.
const EQUALLY_FAST: f64 = 0.9;

/// The fastest feasible way to run an effective batch.
///
/// Among the divisors of the effective size that fit, the largest that is equally fast by the
/// probes, with throughput interpolated between them. Memory that nobody uses is worth nothing, and
/// the largest is a choice on which noise has little hold.
#[must_use]
pub fn fastest_plan(effective_batch_size: usize, point: &FrontierPoint, probes: &[ProbeRecord]) -> BatchPlan {
    let curve = throughput_curve(point.precision, probes);
    let limit = point.max_micro_batch.max(1);
    let feasible =
        || (1..=effective_batch_size.min(limit)).filter(|size| effective_batch_size.is_multiple_of(*size));
    let best = feasible().map(|size| interpolate(&curve, size)).fold(0.0, f64::max);
    let equally_fast = feasible().filter(|size| interpolate(&curve, *size) >= EQUALLY_FAST * best);
    let chosen = equally_fast.max().unwrap_or(1);
    BatchPlan { micro_batch_size: chosen, gradient_accumulation_steps: effective_batch_size / chosen }
}

fn throughput_curve(precision: Precision, probes: &[ProbeRecord]) -> Vec<(usize, f64)> {
    let mut curve: Vec<(usize, f64)> = probes
        .iter()
        .filter(|probe| probe.precision == precision)
        .filter_map(|probe| Some((probe.micro_batch_size, probe.measurement.tokens_per_second()?)))
        .collect();
    curve.sort_by_key(|(size, _)| *size);
    curve
}

/// Linear between probes, flat outside them.
#[expect(clippy::cast_precision_loss, reason = "micro-batches are far below 2^52")]
fn interpolate(curve: &[(usize, f64)], size: usize) -> f64 {
    let above = curve.iter().position(|(probed, _)| *probed >= size);
    match (curve, above) {
        ([], _) => 0.0,
        (_, Some(0)) => curve[0].1,
        (_, None) => curve[curve.len() - 1].1,
        (_, Some(above)) => {
            let ((x0, y0), (x1, y1)) = (curve[above - 1], curve[above]);
            y0 + (y1 - y0) * (size - x0) as f64 / (x1 - x0) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Boundary;
    use crate::trial::{Measurement, Outcome, StepPoint};
    use crate::units::Bytes;

    fn probe(micro_batch_size: usize, speed: f64) -> ProbeRecord {
        let seconds = 1000.0 / speed;
        let step = StepPoint {
            step: 1,
            loss_nats: 1.0,
            learning_rate: 0.0,
            grad_norm: Some(0.0),
            update_ratio: None,
            noise: None,
            tokens: 1000,
            seconds,
        };
        let measurement = Measurement { steps: vec![step], ..Measurement::default() };
        ProbeRecord { precision: Precision::F32, micro_batch_size, outcome: Outcome::Finished, measurement }
    }

    fn point(max_micro_batch: usize) -> FrontierPoint {
        FrontierPoint {
            precision: Precision::F32,
            max_micro_batch,
            boundary: Boundary::Predicted,
            knee_micro_batch: 1,
            peak_bytes: Bytes(0),
            tokens_per_second: 0.0,
            probes: 0,
        }
    }

    #[test]
    fn an_effective_batch_is_kept_whatever_the_micro_batch() {
        let probes = [probe(1, 100.0), probe(4, 380.0), probe(16, 400.0)];
        for (max, expected) in [(16, (12, 2)), (5, (4, 6)), (1, (1, 24))] {
            let plan = fastest_plan(24, &point(max), &probes);
            assert_eq!((plan.micro_batch_size, plan.gradient_accumulation_steps), expected);
            assert_eq!(plan.effective_batch_size(), 24);
        }
    }

    #[test]
    fn a_larger_micro_batch_that_is_clearly_slower_is_not_taken() {
        let probes = [probe(1, 400.0), probe(16, 200.0)];
        let plan = fastest_plan(16, &point(16), &probes);
        assert_eq!((plan.micro_batch_size, plan.gradient_accumulation_steps), (4, 4));
    }

    #[test]
    fn an_explicit_plan_that_does_not_fit_is_refused() {
        let plan = BatchPlan { micro_batch_size: 8, gradient_accumulation_steps: 2 };
        let domain = BatchDomain::Explicit(vec![plan]);
        assert_eq!(feasible_plan(&domain, 0, Precision::F32, &[point(8)], &[]), Some(plan));
        assert_eq!(feasible_plan(&domain, 0, Precision::F32, &[point(7)], &[]), None);
        assert_eq!(feasible_plan(&domain, 0, Precision::Bf16, &[point(8)], &[]), None);
    }
}
