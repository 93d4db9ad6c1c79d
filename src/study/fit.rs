//! Stage 2: the feasibility frontier, by prediction and by running.

use super::driver::Driver;
use super::error::{TooLarge, describe};
use super::predicted::{Prediction, Shapes};
use super::{Stage, StudyError, StudyEvent};
use crate::device;
use crate::memory::highest;
use crate::search::{Calibrated, FrontierPoint, NextProbe, frontier_point, next_probe};
use crate::space::{BatchDomain, BatchPlan, DeviceSpec, HardwareSetting, Hyperparams};
use crate::trial::{Outcome, PhasePeak, ProbeRecord, Task};
use crate::units::Bytes;

const FRONTIER: &str = "frontier";
/// A probe times at least so many examples after its first step, which only warms up.
const TIMED_EXAMPLES: usize = 32;
/// More examples at once than so many times those of training are hardly faster to evaluate.
const EVALUATED_PER_TRAINED: usize = 4;
/// Evaluations are tried up to this share of what a probe may hold: they are no aim in themselves, and one that
/// fails would cost the probe.
const EVALUATION_SHARE: (u64, u64) = (9, 10);

impl Driver<'_> {
    /// Finds the largest micro-batch of each setting, and where throughput saturates.
    ///
    /// # Errors
    /// Nothing fits at all, or trials can't be run.
    pub fn fit(&mut self) -> Result<Vec<FrontierPoint>, StudyError> {
        if let Some(known) = self.store.fact::<Vec<FrontierPoint>>(FRONTIER)? {
            return Ok(known);
        }
        if self.study.trainer.as_ref().is_some_and(|trainer| !trainer.probes) {
            let (what, why) = ("the largest micro-batch", "`trainer.probes` is false");
            self.emit(StudyEvent::LeftOut { what, why });
            return Ok(self.given_frontier());
        }
        self.emit(StudyEvent::Stage(Stage::Fit));
        let shapes = self.shapes()?;
        let limit = self.largest_worth_trying()?;
        let mut frontier = Vec::new();
        for setting in self.study.hardware_settings() {
            let prediction = self.prediction(shapes.as_ref(), setting);
            let predict =
                |size| prediction.as_ref().map_or_else(Vec::new, |prediction| prediction.peaks(size));
            self.fit_setting(setting, limit, &predict)?;
            let probes = self.store.probes()?;
            frontier.extend(frontier_point(setting, &of(&probes, setting), limit, &predict));
        }
        if frontier.is_empty() {
            return Err(self.nothing_fits(shapes.as_ref())?);
        }
        self.store.set_fact(FRONTIER, &frontier)?;
        self.save_wall_seconds()?;
        self.emit(StudyEvent::Frontier(&frontier));
        Ok(frontier)
    }

    /// What this program's own step will hold; of a foreign trainer's nothing is known beforehand.
    fn prediction<'a>(&self, shapes: Option<&'a Shapes>, setting: HardwareSetting) -> Option<Prediction<'a>>
    where
        Self: 'a,
    {
        let shapes = shapes.filter(|_| self.study.trainer.is_none())?;
        Some(shapes.predict(self.study, setting, accumulation(self.study.train.max_grad_norm, setting)))
    }

    /// More examples than the training split has can't be in one micro-batch.
    fn largest_worth_trying(&self) -> Result<usize, StudyError> {
        Ok(self.study.search.max_micro_batch_size.min(self.known_data()?.splits[0]))
    }

    fn fit_setting(
        &mut self,
        setting: HardwareSetting,
        limit: usize,
        predict: &dyn Fn(usize) -> Vec<PhasePeak>,
    ) -> Result<(), StudyError> {
        loop {
            let probes = self.store.probes()?;
            let budget = self.budget()?;
            let known = of(&probes, setting);
            let NextProbe::Probe(micro_batch_size) = next_probe(&known, budget, limit, predict) else {
                return Ok(());
            };
            let calibrated = Calibrated::new(predict, &known);
            let sizes = Sizes {
                micro_batch_size,
                eval_micro_batch_size: self.evaluation(
                    &calibrated,
                    budget,
                    micro_batch_size,
                    known.is_empty(),
                ),
                timed: if known.is_empty() { vec![] } else { smaller(micro_batch_size) },
            };
            self.emit(StudyEvent::ProbeStarted { setting, micro_batch_size });
            let record = self.probe(setting, sizes, budget)?;
            self.store.record_probe(&record)?;
            self.save_wall_seconds()?;
            self.emit(StudyEvent::ProbeEnded(&record));
        }
    }

    /// How many examples a probe evaluates at once: the first as many as it trains, the others as many as fit.
    fn evaluation(
        &self,
        calibrated: &Calibrated,
        budget: Option<Bytes>,
        micro_batch_size: usize,
        is_first: bool,
    ) -> usize {
        let most = self.study.search.validation_examples.clamp(1, EVALUATED_PER_TRAINED * micro_batch_size);
        let (share, of) = EVALUATION_SHARE;
        let edge = budget.and_then(|budget| calibrated.evaluation_edge(Bytes(budget.0 / of * share), most));
        edge.filter(|_| !is_first).unwrap_or(micro_batch_size).clamp(1, most)
    }

    /// What the next probe may hold: the memory that is free at the moment or the cap, less the margin.
    fn budget(&mut self) -> Result<Option<Bytes>, StudyError> {
        let overhead = self.store.probed_overhead()?;
        // Slurm's jobs run on other machines, of whose free memory nothing is known here.
        let is_local = self.study.executor.is_local();
        let free = if is_local { device::free_for_a_child(&self.device, overhead) } else { None };
        let cap = self.device.cap();
        if let (Some(cap), Some(free)) = (cap, free)
            && free < cap
        {
            self.emit(StudyEvent::LessFree { free, cap });
        }
        let most = cap.into_iter().chain(free).min();
        Ok(most.map(|most| most.saturating_sub(self.study.fit.margin.0)))
    }

    fn probe(
        &mut self,
        setting: HardwareSetting,
        sizes: Sizes,
        budget: Option<Bytes>,
    ) -> Result<ProbeRecord, StudyError> {
        let Sizes { micro_batch_size, eval_micro_batch_size, timed } = sizes;
        let gradient_accumulation_steps = accumulation(self.study.train.max_grad_norm, setting);
        let hyperparams = Hyperparams {
            precision: setting.precision,
            batch: BatchPlan { micro_batch_size, gradient_accumulation_steps },
            learning_rate: self.study.space.learning_rate.low,
        };
        let steps = 1 + TIMED_EXAMPLES.div_ceil(micro_batch_size);
        let scratch = self.layout.scratch();
        let task = Task::Probe { steps, max_length: setting.max_length, timed, scratch };
        let mut spec = self.spec(within(self.device, budget), hyperparams, task)?;
        spec.train.gradient_checkpointing = setting.gradient_checkpointing;
        spec.train.lora = self.study.lora_of(setting);
        spec.train.eval_micro_batch_size = eval_micro_batch_size;
        let name = format!("probe-{}", self.store.probes()?.len());
        let (outcome, measurement) = self.measure(&name, &self.told(spec)?, false)?;
        // One that ran out of memory in the middle of its checkpoint has left part of it.
        let _ = std::fs::remove_dir_all(self.layout.scratch());
        match outcome {
            // A probe answers whether the size fits; any other failure would be the same in a trial.
            Outcome::Finished | Outcome::OutOfMemory { .. } | Outcome::TimedOut { .. } => Ok(ProbeRecord {
                setting,
                micro_batch_size,
                eval_micro_batch_size,
                budget,
                outcome,
                measurement,
            }),
            outcome => Err(StudyError::Run {
                what: format!("the probe of micro-batch {micro_batch_size} in {setting}"),
                outcome,
            }),
        }
    }

    /// Why not even one example fits, and what would help.
    /// Why not one point of the space can be run.
    pub(super) fn nothing_listed_fits(
        &mut self,
        frontier: &[FrontierPoint],
    ) -> Result<StudyError, StudyError> {
        let largest = frontier.iter().map(|row| row.max_micro_batch).max();
        let listed = match &self.study.space.batch {
            BatchDomain::Explicit(plans) => plans.iter().map(|plan| plan.micro_batch_size).min(),
            BatchDomain::Effective(_) => None,
        };
        let listed = listed.zip(largest).filter(|(smallest, largest)| smallest > largest);
        if let Some((smallest, largest)) = listed {
            return Ok(StudyError::ListedTooLarge { smallest, largest, cap: self.device.cap() });
        }
        let shapes = self.shapes()?;
        self.nothing_fits(shapes.as_ref())
    }

    fn nothing_fits(&mut self, shapes: Option<&Shapes>) -> Result<StudyError, StudyError> {
        let probes = self.store.probes()?;
        let reason = probes.last().map(|probe| describe(&probe.outcome)).unwrap_or_default();
        let own = self.study.trained_as(self.study.space.precision[0]);
        let prediction = self.prediction(shapes, own);
        let too_large = self.budget()?.zip(prediction.as_ref()).map(|(budget, prediction)| {
            let PhasePeak { phase, peak_bytes } = highest(&prediction.peaks(1));
            TooLarge { phase, peak_bytes, budget, advice: prediction.advice(budget, Bytes(0)) }
        });
        let (cap, margin) = (self.device.cap(), self.study.fit.margin.0);
        Ok(StudyError::NothingFits { reason, cap, margin, too_large })
    }
}

/// What one probe runs.
struct Sizes {
    micro_batch_size: usize,
    eval_micro_batch_size: usize,
    timed: Vec<usize>,
}

/// A step of one micro-batch has no gradient buffers where nothing is clipped and no loss scaled; one of several has.
const fn accumulation(max_grad_norm: Option<f64>, setting: HardwareSetting) -> usize {
    if max_grad_norm.is_some() || setting.precision.scales_loss() { 1 } else { 2 }
}

/// Half, a quarter and so on in fours, and one, which tells the most of what a step takes whatever its size.
fn smaller(size: usize) -> Vec<usize> {
    let fours = std::iter::successors(Some(size / 4), |size| Some(size / 4)).take_while(|size| *size > 1);
    std::iter::once(size / 2).filter(|half| *half > 1).chain(fours).chain((size > 1).then_some(1)).collect()
}

fn within(device: DeviceSpec, budget: Option<Bytes>) -> DeviceSpec {
    match device {
        DeviceSpec::Cpu { .. } => DeviceSpec::Cpu { cap: budget },
        DeviceSpec::Cuda { card, .. } => DeviceSpec::Cuda { card, cap: budget },
    }
}

fn of(probes: &[ProbeRecord], setting: HardwareSetting) -> Vec<&ProbeRecord> {
    probes.iter().filter(|probe| probe.setting == setting).collect()
}

/// The frontier a study remembers.
pub(super) fn known_frontier(store: &crate::store::Store) -> Result<Vec<FrontierPoint>, StudyError> {
    Ok(store.fact(FRONTIER)?.unwrap_or_default())
}
