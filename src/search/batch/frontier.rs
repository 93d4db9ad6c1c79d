//! One row of the feasibility frontier: what fits, how fast it is, and how each number is known.

use serde::{Deserialize, Serialize};

use super::calibrated::{Calibrated, Predict};
use super::saturation::Saturation;
use crate::space::HardwareSetting;
use crate::trial::{Outcome, PhasePeak, ProbeRecord};
use crate::units::Bytes;

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

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// It was run.
    Measured,
    /// It lies between two that were run.
    Interpolated,
    /// It follows from shapes, corrected by what was run.
    Predicted,
}

/// One micro-batch size of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Examples at once.
    pub micro_batch_size: usize,
    /// Most bytes of a training step.
    pub peak_bytes: Option<Bytes>,
    /// How they are known.
    pub peak_is: Provenance,
    /// Throughput, where it is known.
    pub tokens_per_second: Option<f64>,
    /// How that is known.
    pub speed_is: Provenance,
}

/// One row of the feasibility frontier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// Setting.
    #[serde(flatten)]
    pub setting: HardwareSetting,
    /// Largest micro-batch that was run and passed.
    pub max_micro_batch: usize,
    /// How it is known that nothing larger fits.
    pub boundary: Boundary,
    /// By how many bytes the next size is over what a probe may hold, where it was not run.
    pub next_over_by: Option<Bytes>,
    /// Largest evaluation that was run and passed beside the state of training.
    pub max_eval_micro_batch: usize,
    /// Smallest micro-batch within 5 % of the largest one's throughput, by the curve through what was timed.
    pub knee_micro_batch: usize,
    /// Most bytes of a training step of the largest micro-batch.
    pub peak_bytes: Bytes,
    /// Most bytes of each phase, that of the evaluation at its own size.
    pub phases: Vec<PhasePeak>,
    /// Best throughput among the sizes that were timed.
    pub tokens_per_second: f64,
    /// Memory and speed against the micro-batch.
    pub curve: Vec<CurvePoint>,
    /// Probes that were run.
    pub probes: usize,
}

/// The frontier's row for one setting that was searched up to `limit`; `None` if nothing fitted.
#[must_use]
pub fn frontier_point(
    setting: HardwareSetting,
    probes: &[&ProbeRecord],
    limit: usize,
    predict: &Predict<'_>,
) -> Option<FrontierPoint> {
    let passed = || probes.iter().copied().filter(|probe| probe.outcome == Outcome::Finished);
    let largest = passed().max_by_key(|probe| probe.micro_batch_size)?;
    let calibrated = Calibrated::new(predict, probes);
    let max = largest.micro_batch_size;
    let refused = probes.iter().any(|probe| probe.micro_batch_size > max);
    let boundary = match refused {
        true => Boundary::Refused,
        false if max >= limit => Boundary::Limit,
        false => Boundary::Predicted,
    };
    let next = calibrated.training_peak(max + 1).zip(largest.budget);
    let next_over_by = next.map(|(peak, budget)| peak.peak_bytes.saturating_sub(budget));
    let speeds = speeds(probes);
    let best = speeds.iter().map(|(_, speed)| *speed).fold(0.0, f64::max);
    Some(FrontierPoint {
        setting,
        max_micro_batch: max,
        boundary,
        next_over_by: next_over_by.filter(|_| boundary == Boundary::Predicted),
        max_eval_micro_batch: passed().map(|probe| probe.eval_micro_batch_size).max().unwrap_or(1),
        knee_micro_batch: Saturation::of(&speeds).map_or(max, |curve| curve.knee(max)),
        peak_bytes: largest.measurement.training_peak_bytes(),
        phases: largest.measurement.peaks.clone(),
        tokens_per_second: best,
        curve: curve(max, &calibrated, probes, &speeds),
        probes: probes.len(),
    })
}

/// What was timed, by rising micro-batch.
pub(super) fn speeds(probes: &[&ProbeRecord]) -> Vec<(usize, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
    let beside = |probe: &ProbeRecord| {
        let timed = probe.measurement.timed.iter().filter(|point| point.seconds > 0.0);
        timed.map(|point| (point.micro_batch_size, point.tokens as f64 / point.seconds)).collect::<Vec<_>>()
    };
    let passed = || probes.iter().filter(|probe| probe.outcome == Outcome::Finished);
    let own =
        passed().filter_map(|probe| Some((probe.micro_batch_size, probe.measurement.tokens_per_second()?)));
    let mut speeds: Vec<(usize, f64)> = own.chain(passed().flat_map(|probe| beside(probe))).collect();
    speeds.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    speeds.dedup_by_key(|(size, _)| *size);
    speeds
}

/// Linear between what was timed, flat outside; none where nothing was.
#[expect(clippy::cast_precision_loss, reason = "micro-batches are far below 2^52")]
pub(super) fn interpolated(speeds: &[(usize, f64)], size: usize) -> Option<f64> {
    let above = speeds.iter().position(|(timed, _)| *timed >= size);
    match (speeds, above) {
        ([], _) => None,
        (_, Some(0)) => Some(speeds[0].1),
        (_, None) => speeds.last().map(|(_, speed)| *speed),
        (_, Some(above)) => {
            let ((x0, y0), (x1, y1)) = (speeds[above - 1], speeds[above]);
            Some(y0 + (y1 - y0) * (size - x0) as f64 / (x1 - x0) as f64)
        }
    }
}

/// What was run or timed, and the powers of two between.
fn curve(
    max: usize,
    calibrated: &Calibrated,
    probes: &[&ProbeRecord],
    speeds: &[(usize, f64)],
) -> Vec<CurvePoint> {
    let doublings = std::iter::successors(Some(1), |size| Some(size * 2)).take_while(|size| *size <= max);
    let timed = speeds.iter().map(|(size, _)| *size);
    let mut sizes: Vec<usize> = doublings.chain(timed).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let point = |size| {
        let run =
            |probe: &&&ProbeRecord| probe.micro_batch_size == size && probe.outcome == Outcome::Finished;
        let measured = probes.iter().find(run).map(|probe| probe.measurement.training_peak_bytes());
        let is_timed = speeds.iter().any(|(timed, _)| *timed == size);
        CurvePoint {
            micro_batch_size: size,
            peak_bytes: measured.or_else(|| calibrated.training_peak(size).map(|peak| peak.peak_bytes)),
            peak_is: if measured.is_some() { Provenance::Measured } else { Provenance::Predicted },
            tokens_per_second: interpolated(speeds, size),
            speed_is: if is_timed { Provenance::Measured } else { Provenance::Interpolated },
        }
    };
    sizes.into_iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::Provenance::{Interpolated, Measured, Predicted};
    use super::*;
    use crate::search::batch::testing::Memory;
    use crate::space::Precision;
    use crate::trial::SpeedPoint;

    const MEMORY: Memory = Memory { flat: 0, fixed: 0, slope: 1, bend: None };

    fn row(probes: &[ProbeRecord], limit: usize) -> Option<FrontierPoint> {
        let probes: Vec<&ProbeRecord> = probes.iter().collect();
        frontier_point(HardwareSetting::plain(Precision::F32), &probes, limit, &|_| vec![])
    }

    fn timed(size: usize, speeds: &[(usize, f64)]) -> ProbeRecord {
        let mut record = MEMORY.probe(size, 100);
        let point = |(micro_batch_size, speed): &(usize, f64)| SpeedPoint {
            micro_batch_size: *micro_batch_size,
            tokens: 1000,
            seconds: 1000.0 / speed,
        };
        record.measurement.timed = speeds.iter().map(point).collect();
        record
    }

    #[test]
    fn the_knee_comes_from_all_that_was_timed_and_is_no_larger_than_what_fits() {
        // By 1/100 + 0.02/m seconds per 1,000 tokens: within 5 % of the speed at 16 from 11 on.
        let speed = |m: f64| 1000.0 / (10.0 + 20.0 / m);
        let probes = [timed(1, &[(1, speed(1.0))]), timed(16, &[(4, speed(4.0)), (16, speed(16.0))])];
        let point = row(&probes, 99).unwrap();
        assert_eq!((point.max_micro_batch, point.knee_micro_batch, point.probes), (16, 11, 2));
    }

    #[test]
    fn each_number_of_the_curve_says_how_it_is_known() {
        let point = row(&[timed(2, &[]), timed(8, &[(1, 50.0), (8, 100.0)])], 99).unwrap();
        let told: Vec<_> = point.curve.iter().map(|p| (p.micro_batch_size, p.peak_is, p.speed_is)).collect();
        let expected = [
            (1, Predicted, Measured),
            (2, Measured, Interpolated),
            (4, Predicted, Interpolated),
            (8, Measured, Measured),
        ];
        assert_eq!(told, expected);
        assert_eq!(point.curve[2].peak_bytes, Some(Bytes(4)));
    }

    #[test]
    fn how_the_boundary_is_known_is_told_apart() {
        let boundary = |sizes: &[usize], limit| {
            let probes: Vec<ProbeRecord> = sizes.iter().map(|size| MEMORY.probe(*size, 20)).collect();
            row(&probes, limit).map(|point| (point.boundary, point.next_over_by))
        };
        assert_eq!(boundary(&[1, 16, 21], 99), Some((Boundary::Refused, None)));
        assert_eq!(boundary(&[1, 16, 20], 99), Some((Boundary::Predicted, Some(Bytes(1)))));
        assert_eq!(boundary(&[1, 16], 16), Some((Boundary::Limit, None)));
        assert_eq!(boundary(&[21], 99), None);
    }
}
