//! A prediction of memory, corrected by what probes have measured.
//!
//! Each phase's peak is predicted by shapes, and the difference to what was measured is a line in the micro-batch:
//! a constant after one probe, through the last and one clearly smaller after that. Without a prediction that line is the peak
//! itself, which is affine in the micro-batch as long as one moment of the phase holds the most.

use crate::trial::{Outcome, Phase, PhasePeak, ProbeRecord};
use crate::units::Bytes;

/// A prediction that misses the first probe by more than this part of it is not trusted alone.
const TOLERANCE: u64 = 8;

/// Peaks of each phase of a run at a micro-batch size; empty where nothing predicts them.
pub type Predict<'a> = dyn Fn(usize) -> Vec<PhasePeak> + 'a;

/// What is known of the memory of one setting.
pub struct Calibrated<'a> {
    predict: &'a Predict<'a>,
    /// Probes that passed, the smallest first.
    passed: Vec<&'a ProbeRecord>,
}

/// The difference of one phase between prediction and measurement.
struct Residual {
    at: i128,
    bytes: i128,
    rise: i128,
    run: i128,
}

impl Residual {
    /// At another size, rounded up.
    fn extended(&self, size: usize) -> i128 {
        let more = self.rise * (size as i128 - self.at);
        self.bytes + if more > 0 { (more + self.run - 1) / self.run } else { more / self.run }
    }
}

impl<'a> Calibrated<'a> {
    /// From the probes of one setting.
    #[must_use]
    pub fn new(predict: &'a Predict<'a>, probes: &[&'a ProbeRecord]) -> Self {
        let mut passed: Vec<&ProbeRecord> =
            probes.iter().copied().filter(|probe| probe.outcome == Outcome::Finished).collect();
        passed.sort_by_key(|probe| probe.micro_batch_size);
        Self { predict, passed }
    }

    /// Whether lines go through two sizes that were run.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        self.passed.len() >= 2
    }

    /// Whether the lines may be extended to sizes far from those that were run: they go through two of them,
    /// or the one that was run is nearly as predicted.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let [only] = self.passed.as_slice() else { return true };
        let measured = only.measurement.peak_bytes().0;
        let predicted = (self.predict)(only.micro_batch_size);
        let predicted = predicted.iter().map(|peak| peak.peak_bytes.0).max().unwrap_or(0);
        measured.abs_diff(predicted) <= measured / TOLERANCE
    }

    /// The largest peak of a training step at `size`; none where nothing tells it.
    #[must_use]
    pub fn training_peak(&self, size: usize) -> Option<PhasePeak> {
        self.peaks(size, |phase| phase != Phase::Evaluate).into_iter().max_by_key(|peak| peak.peak_bytes)
    }

    /// The peak of an evaluation at `size`.
    #[must_use]
    pub fn evaluation_peak(&self, size: usize) -> Option<Bytes> {
        self.peaks(size, |phase| phase == Phase::Evaluate).first().map(|peak| peak.peak_bytes)
    }

    /// Every phase that `is_wanted`, at `size`.
    #[must_use]
    pub fn peaks(&self, size: usize, is_wanted: impl Fn(Phase) -> bool) -> Vec<PhasePeak> {
        let predicted = (self.predict)(size);
        if predicted.is_empty() && self.passed.len() < 2 {
            return vec![];
        }
        let phases = Phase::ALL.into_iter().filter(|phase| is_wanted(*phase));
        let corrected = |phase| {
            let residual = self.residual(phase);
            let own = bytes_of(&predicted, phase);
            if own.is_none() && residual.is_none() {
                return None;
            }
            let bytes = own.unwrap_or(0) + residual.map_or(0, |residual| residual.extended(size));
            Some(PhasePeak { phase, peak_bytes: Bytes(u64::try_from(bytes).unwrap_or(0)) })
        };
        phases.filter_map(corrected).collect()
    }

    fn residual(&self, phase: Phase) -> Option<Residual> {
        let size = |probe: &ProbeRecord| match phase {
            Phase::Evaluate => probe.eval_micro_batch_size,
            _ => probe.micro_batch_size,
        };
        let difference = |probe: &ProbeRecord| {
            let measured = bytes_of(&probe.measurement.peaks, phase)?;
            Some(measured - bytes_of(&(self.predict)(size(probe)), phase).unwrap_or(0))
        };
        let last = self.passed.last()?;
        let (at, bytes) = (size(last) as i128, difference(last)?);
        let smaller = |share| move |probe: &&&ProbeRecord| size(probe) * 4 < size(last) * share;
        let before = self.passed.iter().rev();
        let before = before.clone().find(smaller(3)).or_else(|| before.clone().find(smaller(4)));
        let line = before.and_then(|before| Some((bytes - difference(before)?, at - size(before) as i128)));
        let (rise, run) = line.unwrap_or((0, 1));
        Some(Residual { at, bytes, rise, run })
    }

    /// The largest size up to `limit` whose training step holds at most `budget`; none where nothing tells it.
    #[must_use]
    pub fn edge(&self, budget: Bytes, limit: usize) -> Option<usize> {
        largest(limit, |size| Some(self.training_peak(size)?.peak_bytes <= budget))
    }

    /// The same of an evaluation.
    #[must_use]
    pub fn evaluation_edge(&self, budget: Bytes, limit: usize) -> Option<usize> {
        largest(limit, |size| Some(self.evaluation_peak(size)? <= budget))
    }
}

/// The largest size that fits, if all below it fit as well.
fn largest(limit: usize, fits: impl Fn(usize) -> Option<bool>) -> Option<usize> {
    let (mut low, mut high) = (0, limit + 1);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if fits(middle)? { low = middle } else { high = middle }
    }
    Some(low)
}

fn bytes_of(peaks: &[PhasePeak], phase: Phase) -> Option<i128> {
    peaks.iter().find(|peak| peak.phase == phase).map(|peak| i128::from(peak.peak_bytes.0))
}
