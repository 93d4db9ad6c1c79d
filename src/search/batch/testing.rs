//! A device whose memory follows a formula.

use super::{NextProbe, next_probe};
use crate::space::{HardwareSetting, Precision};
use crate::trial::{Measurement, Outcome, Phase, PhasePeak, ProbeRecord};
use crate::units::Bytes;

/// Two phases: one flat, one that grows, perhaps faster from a size on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) flat: u64,
    pub(super) fixed: u64,
    pub(super) slope: u64,
    /// From this size on so much more a size.
    pub(super) bend: Option<(usize, u64)>,
}

impl Memory {
    pub(super) fn peaks(&self, size: usize) -> Vec<PhasePeak> {
        let more = self.bend.map_or(0, |(at, more)| more * size.saturating_sub(at) as u64);
        let growing = self.fixed + self.slope * size as u64 + more;
        let peak = |phase, bytes| PhasePeak { phase, peak_bytes: Bytes(bytes) };
        vec![
            peak(Phase::Optimizer, self.flat),
            peak(Phase::Backward, growing),
            peak(Phase::Evaluate, size as u64),
        ]
    }

    pub(super) fn peak(&self, size: usize) -> u64 {
        let training = |peak: &PhasePeak| (peak.phase != Phase::Evaluate).then_some(peak.peak_bytes.0);
        self.peaks(size).iter().filter_map(training).max().unwrap_or(0)
    }

    /// What a probe under a cap of so many bytes records.
    pub(super) fn probe(&self, size: usize, cap: u64) -> ProbeRecord {
        let refusal = Outcome::OutOfMemory { requested: None, live: Bytes(cap), cap: Some(Bytes(cap)) };
        ProbeRecord {
            setting: HardwareSetting::plain(Precision::F32),
            micro_batch_size: size,
            eval_micro_batch_size: size,
            budget: Some(Bytes(cap)),
            outcome: if self.peak(size) <= cap { Outcome::Finished } else { refusal },
            measurement: Measurement { peaks: self.peaks(size), ..Measurement::default() },
        }
    }
}

/// What the search finds, and the sizes it probes.
pub(super) fn search(
    memory: &Memory,
    budget: Option<u64>,
    limit: usize,
    predicted: Option<&Memory>,
) -> (Option<usize>, Vec<usize>) {
    search_on(memory, budget.unwrap_or(u64::MAX), budget, limit, predicted)
}

/// The same on a device whose cap the search may not know.
pub(super) fn search_on(
    memory: &Memory,
    cap: u64,
    budget: Option<u64>,
    limit: usize,
    predicted: Option<&Memory>,
) -> (Option<usize>, Vec<usize>) {
    let predict = |size| predicted.map_or_else(Vec::new, |memory| memory.peaks(size));
    let mut probes: Vec<ProbeRecord> = Vec::new();
    loop {
        let known: Vec<&ProbeRecord> = probes.iter().collect();
        match next_probe(&known, budget.map(Bytes), limit, &predict) {
            NextProbe::Done(max) => {
                return (max, probes.iter().map(|probe| probe.micro_batch_size).collect());
            }
            NextProbe::Probe(size) => probes.push(memory.probe(size, cap)),
        }
        assert!(probes.len() < 64, "the search does not end: {probes:?}");
    }
}
