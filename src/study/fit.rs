//! Stage 2: the feasibility frontier, by running.

use super::driver::Driver;
use super::error::describe;
use super::{Stage, StudyError, StudyEvent};
use crate::search::{FrontierPoint, NextProbe, frontier_point, next_probe};
use crate::space::{BatchPlan, DeviceSpec, Hyperparams, Precision};
use crate::trial::{Outcome, ProbeRecord, Task};
use crate::units::Bytes;

const FRONTIER: &str = "frontier";
/// How much lower than the study's cap that of a probe is.
///
/// What passed must still pass when threads happen to hold their scratch memory at the same moment.
pub const PROBE_MARGIN: Bytes = Bytes::mib(8);
/// A probe times at least so many examples after its first step, which only warms up.
const TIMED_EXAMPLES: usize = 32;

impl Driver<'_> {
    /// Finds the largest micro-batch of each precision, and where throughput saturates.
    ///
    /// # Errors
    /// Nothing fits at all, or trials can't be run.
    pub fn fit(&mut self) -> Result<Vec<FrontierPoint>, StudyError> {
        if let Some(known) = self.store.fact::<Vec<FrontierPoint>>(FRONTIER)? {
            return Ok(known);
        }
        self.emit(StudyEvent::Stage(Stage::Fit));
        for precision in self.study.space.precision.clone() {
            self.fit_precision(precision)?;
        }
        let probes = self.store.probes()?;
        let limit = self.largest_worth_trying()?;
        let frontier: Vec<FrontierPoint> = self
            .study
            .space
            .precision
            .iter()
            .filter_map(|precision| frontier_point(*precision, &of(&probes, *precision), limit))
            .collect();
        if frontier.is_empty() {
            let reason = probes.last().map(|probe| describe(&probe.outcome)).unwrap_or_default();
            return Err(StudyError::NothingFits { reason, cap: self.device.cap() });
        }
        self.store.set_fact(FRONTIER, &frontier)?;
        self.save_wall_seconds()?;
        self.emit(StudyEvent::Frontier(&frontier));
        Ok(frontier)
    }

    /// More examples than the training split has can't be in one micro-batch.
    fn largest_worth_trying(&self) -> Result<usize, StudyError> {
        Ok(self.study.search.max_micro_batch_size.min(self.known_data()?.splits[0]))
    }

    fn fit_precision(&mut self, precision: Precision) -> Result<(), StudyError> {
        let device = self.probe_device();
        let limit = self.largest_worth_trying()?;
        loop {
            let probes = self.store.probes()?;
            let NextProbe::Probe(size) = next_probe(&of(&probes, precision), device.cap(), limit) else {
                return Ok(());
            };
            self.emit(StudyEvent::ProbeStarted { precision, micro_batch_size: size });
            let record = self.probe(device, precision, size)?;
            self.store.record_probe(&record)?;
            self.save_wall_seconds()?;
            self.emit(StudyEvent::ProbeEnded(&record));
        }
    }

    fn probe(
        &mut self,
        device: DeviceSpec,
        precision: Precision,
        size: usize,
    ) -> Result<ProbeRecord, StudyError> {
        // A step of one micro-batch has no gradient buffers where nothing is clipped and no loss scaled; one
        // of several has.
        let has_gradients = self.study.train.max_grad_norm.is_some() || precision.scales_loss();
        let steps = if has_gradients { 1 } else { 2 };
        let batch = BatchPlan { micro_batch_size: size, gradient_accumulation_steps: steps };
        let hyperparams = Hyperparams { precision, batch, learning_rate: self.study.space.learning_rate.low };
        let steps = 1 + TIMED_EXAMPLES.div_ceil(size);
        let task = Task::Probe { steps, scratch: self.layout.scratch() };
        let spec = self.spec(device, hyperparams, task)?;
        let (outcome, measurement) = self.measure(&spec)?;
        // One that ran out of memory in the middle of its checkpoint has left part of it.
        let _ = std::fs::remove_dir_all(self.layout.scratch());
        match outcome {
            // A probe answers whether the size fits; any other failure would be the same in a trial.
            Outcome::Finished | Outcome::OutOfMemory { .. } | Outcome::TimedOut { .. } => {
                Ok(ProbeRecord { precision, micro_batch_size: size, outcome, measurement })
            }
            outcome => Err(StudyError::Run {
                what: format!("the probe of micro-batch {size} in {precision}"),
                outcome,
            }),
        }
    }

    fn probe_device(&self) -> DeviceSpec {
        let below = |cap: Bytes| cap.saturating_sub(PROBE_MARGIN);
        match self.device {
            DeviceSpec::Cpu { cap } => DeviceSpec::Cpu { cap: cap.map(below) },
            DeviceSpec::Cuda { index, cap } => DeviceSpec::Cuda { index, cap: cap.map(below) },
        }
    }
}

fn of(probes: &[ProbeRecord], precision: Precision) -> Vec<&ProbeRecord> {
    probes.iter().filter(|probe| probe.precision == precision).collect()
}

/// The frontier a study remembers.
pub(super) fn known_frontier(store: &crate::store::Store) -> Result<Vec<FrontierPoint>, StudyError> {
    Ok(store.fact(FRONTIER)?.unwrap_or_default())
}
