//! The largest micro-batch that fits, and the smallest that is nearly as fast as any.
//!
//! Peak bytes are affine in the micro-batch within each phase, so two probes give lines; the
//! largest feasible size is where the first line crosses the cap. That size is then *run*: what is
//! returned has been tried and has passed.

use serde::{Deserialize, Serialize};

use crate::space::Precision;
use crate::trial::{Outcome, PhasePeak, ProbeRecord};
use crate::units::Bytes;

/// From one rung of the ladder to the next. Four gives enough points for a throughput curve; the
/// jump to the edge is by prediction, not by the ladder.
const LADDER: usize = 4;
/// A micro-batch within this share of the best throughput is "nearly as fast".
const KNEE: f64 = 0.95;

/// What to do next for one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextProbe {
    /// Run this micro-batch.
    Probe(usize),
    /// The boundary is known: the largest micro-batch that was run and passed, if any did.
    Done(Option<usize>),
}

/// How it is known that nothing larger fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// A larger size was run and refused.
    Refused,
    /// The next size is over the cap by the lines through the probes.
    Predicted,
    /// It is not known: the search ended at the largest size worth trying.
    Limit,
}

/// One row of the feasibility frontier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// Setting.
    pub precision: Precision,
    /// Largest micro-batch that was run and passed.
    pub max_micro_batch: usize,
    /// How it is known that nothing larger fits.
    pub boundary: Boundary,
    /// Smallest probed micro-batch within 5 % of the best throughput.
    pub knee_micro_batch: usize,
    /// Peak of the largest.
    pub peak_bytes: Bytes,
    /// Best throughput among the probes.
    pub tokens_per_second: f64,
    /// Probes that were run.
    pub probes: usize,
}

/// The next probe of one setting, given the `probes` it has had.
///
/// `budget` is the bytes a probe may hold, `limit` the largest size worth trying.
#[must_use]
pub fn next_probe(probes: &[&ProbeRecord], budget: Option<Bytes>, limit: usize) -> NextProbe {
    let largest_passed = passed(probes).map(|probe| probe.micro_batch_size).max().unwrap_or(0);
    let refused = probes.iter().filter(|probe| probe.outcome != Outcome::Finished);
    let smallest_refused = refused.map(|probe| probe.micro_batch_size).min().unwrap_or(limit + 1);
    if smallest_refused <= largest_passed + 1 {
        return NextProbe::Done((largest_passed > 0).then_some(largest_passed));
    }
    // What lies strictly between is open.
    let (low, high) = (largest_passed + 1, smallest_refused - 1);
    let ladder = (largest_passed * LADDER).clamp(1, limit);
    let next = match predicted_max(probes, budget) {
        Some(edge) if edge < low => return NextProbe::Done(Some(largest_passed)),
        Some(edge) => ladder.min(edge),
        None => ladder,
    };
    if next > high {
        // A refusal contradicts the prediction: halve what is open.
        return NextProbe::Probe(usize::midpoint(low, high));
    }
    NextProbe::Probe(next.max(low))
}

fn passed<'a>(probes: &'a [&ProbeRecord]) -> impl Iterator<Item = &'a ProbeRecord> {
    probes.iter().copied().filter(|probe| probe.outcome == Outcome::Finished)
}

/// Where the first phase's line crosses the budget; `None` with fewer than two probes or no budget.
fn predicted_max(probes: &[&ProbeRecord], budget: Option<Bytes>) -> Option<usize> {
    let budget = budget?;
    let mut by_size: Vec<&ProbeRecord> = passed(probes).collect();
    by_size.sort_by_key(|probe| probe.micro_batch_size);
    let [.., below, above] = by_size.as_slice() else { return None };
    let crossing = |peak: &PhasePeak| {
        let start = below.measurement.peaks.iter().find(|other| other.phase == peak.phase)?;
        let rise = peak.peak_bytes.0.checked_sub(start.peak_bytes.0).filter(|rise| *rise > 0)?;
        let run = (above.micro_batch_size - below.micro_batch_size) as u64;
        let room = budget.saturating_sub(peak.peak_bytes).0;
        // room / (rise / run), in integers wide enough for terabytes.
        let more = u128::from(room) * u128::from(run) / u128::from(rise);
        usize::try_from(more).ok().map(|more| above.micro_batch_size.saturating_add(more))
    };
    above.measurement.peaks.iter().filter_map(crossing).min()
}

/// The frontier's row for one setting that was searched up to `limit`; `None` if nothing fitted.
#[must_use]
pub fn frontier_point(precision: Precision, probes: &[&ProbeRecord], limit: usize) -> Option<FrontierPoint> {
    let largest = passed(probes).max_by_key(|probe| probe.micro_batch_size)?;
    let speeds: Vec<(usize, f64)> = passed(probes)
        .filter_map(|probe| Some((probe.micro_batch_size, probe.measurement.tokens_per_second()?)))
        .collect();
    let best = speeds.iter().map(|(_, speed)| *speed).fold(0.0, f64::max);
    let knee = speeds.iter().filter(|(_, speed)| *speed >= KNEE * best).map(|(size, _)| *size).min();
    let refused = probes.iter().any(|probe| probe.micro_batch_size > largest.micro_batch_size);
    let boundary = match refused {
        true => Boundary::Refused,
        false if largest.micro_batch_size >= limit => Boundary::Limit,
        false => Boundary::Predicted,
    };
    Some(FrontierPoint {
        precision,
        max_micro_batch: largest.micro_batch_size,
        boundary,
        knee_micro_batch: knee.unwrap_or(largest.micro_batch_size),
        peak_bytes: largest.measurement.peak_bytes(),
        tokens_per_second: best,
        probes: probes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Measurement, Phase, StepPoint};
    use proptest::prelude::*;

    /// Two phases: one flat and high, one that grows.
    fn probe(size: usize, flat: u64, fixed: u64, slope: u64, budget: u64) -> ProbeRecord {
        let growing = fixed + slope * size as u64;
        let peak = |phase, bytes| PhasePeak { phase, peak_bytes: Bytes(bytes) };
        let fits = growing.max(flat) <= budget;
        let refusal = Outcome::OutOfMemory { requested: None, live: Bytes(budget), cap: Some(Bytes(budget)) };
        ProbeRecord {
            precision: Precision::F32,
            micro_batch_size: size,
            outcome: if fits { Outcome::Finished } else { refusal },
            measurement: Measurement {
                peaks: vec![peak(Phase::Optimizer, flat), peak(Phase::Backward, growing)],
                ..Measurement::default()
            },
        }
    }

    fn search(
        make: impl Fn(usize) -> ProbeRecord,
        budget: Option<u64>,
        limit: usize,
    ) -> (Option<usize>, Vec<usize>) {
        let mut probes: Vec<ProbeRecord> = Vec::new();
        loop {
            let known: Vec<&ProbeRecord> = probes.iter().collect();
            match next_probe(&known, budget.map(Bytes), limit) {
                NextProbe::Done(max) => {
                    return (max, probes.iter().map(|probe| probe.micro_batch_size).collect());
                }
                NextProbe::Probe(size) => probes.push(make(size)),
            }
            assert!(probes.len() < 64, "the search does not end: {probes:?}");
        }
    }

    #[test]
    fn an_affine_memory_is_found_without_running_out_of_it() {
        let (max, sizes) = search(|size| probe(size, 300, 100, 27, 1100), Some(1100), 1000);
        assert_eq!(max, Some(37));
        assert_eq!(sizes, [1, 4, 16, 37]);
    }

    proptest! {
        #[test]
        fn the_largest_size_is_run_and_right_for_every_affine_memory(
            fixed in 0u64..5_000, slope in 1u64..500, flat in 0u64..5_000, budget in 1u64..50_000, limit in 1usize..300,
        ) {
            let (max, sizes) = search(|size| probe(size, flat, fixed, slope, budget), Some(budget), limit);
            let truth = (1..=limit).rev().find(|size| (fixed + slope * *size as u64).max(flat) <= budget);
            prop_assert_eq!(max, truth);
            prop_assert!(max.is_none_or(|max| sizes.contains(&max)));
        }

        #[test]
        fn the_largest_size_is_right_for_every_monotone_device_without_a_known_cap(truth in 0usize..300, limit in 1usize..300) {
            let make = |size: usize| probe(size, 0, 0, 1, truth as u64);
            let (max, _) = search(make, None, limit);
            let expected = truth.min(limit);
            prop_assert_eq!(max, (expected > 0).then_some(expected));
        }
    }

    #[test]
    fn the_knee_is_the_smallest_size_that_is_nearly_as_fast() {
        let timed = |size: usize, seconds: f64| {
            let mut record = probe(size, 0, 0, 1, 100);
            let step = StepPoint {
                step: 1,
                loss_nats: 1.0,
                learning_rate: 0.0,
                grad_norm: Some(0.0),
                update_ratio: None,
                noise: None,
                tokens: 100,
                seconds,
            };
            record.measurement.steps.push(step);
            record
        };
        let probes = [timed(1, 2.0), timed(4, 1.02), timed(16, 1.0)];
        let point = frontier_point(Precision::F32, &probes.iter().collect::<Vec<_>>(), 99).unwrap();
        assert_eq!((point.max_micro_batch, point.knee_micro_batch, point.probes), (16, 4, 3));
    }

    #[test]
    fn how_the_boundary_is_known_is_told_apart() {
        let boundary = |sizes: &[usize], limit| {
            let probes: Vec<ProbeRecord> = sizes.iter().map(|size| probe(*size, 0, 0, 1, 20)).collect();
            frontier_point(Precision::F32, &probes.iter().collect::<Vec<_>>(), limit)
                .map(|point| point.boundary)
        };
        assert_eq!(boundary(&[1, 16, 21], 99), Some(Boundary::Refused));
        assert_eq!(boundary(&[1, 16, 20], 99), Some(Boundary::Predicted));
        assert_eq!(boundary(&[1, 16], 16), Some(Boundary::Limit));
        assert_eq!(boundary(&[21], 99), None);
    }
}
