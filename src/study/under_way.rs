//! The runs under way: begun in a free slot, heard event by event, ended.

use std::path::PathBuf;
use std::time::Duration;

use super::breaker::Verdict;
use super::driver::Driver;
use super::{StudyError, StudyEvent};
use crate::executor::{Heard, Job};
use crate::space::{DeviceSpec, Hyperparams};
use crate::trial::{Outcome, RunKey, Task, TrialId, TrialSpec};
use crate::units::Bytes;

/// A run to be begun.
pub(super) struct Ask<'a> {
    /// Which run.
    pub(super) run: RunKey,
    /// Its configuration.
    pub(super) hyperparams: &'a Hyperparams,
    /// Where it stops.
    pub(super) stop_at_step: usize,
    /// Where the best model is kept, if it is.
    pub(super) best: Option<PathBuf>,
    /// No other runs beside it.
    pub(super) is_alone: bool,
    /// Further devices that share it.
    pub(super) also_on: Vec<DeviceSpec>,
}

impl Driver<'_> {
    /// A slot in which a run can begin, on a device that is in service.
    pub(super) fn free_slot(&self) -> Option<usize> {
        let mut fit = (0..self.under_way.len()).filter(|slot| self.is_in_service(*slot));
        fit.find(|slot| self.under_way[*slot].is_none())
    }

    /// Whether runs may begin on the device of a slot.
    pub(super) fn is_in_service(&self, slot: usize) -> bool {
        self.breaker.is_in_service(&self.place_of(slot))
    }

    /// The device of a slot as the study file names it; that of the study where an executor has more slots.
    fn place_of(&self, slot: usize) -> DeviceSpec {
        self.study.slots.get(slot).copied().unwrap_or(self.study.device)
    }

    /// The rungs that run at the moment.
    pub(super) fn rungs_under_way(&self) -> Vec<(TrialId, u32)> {
        let runs = self.under_way.iter().flatten().filter(|run| run.seed.is_none());
        runs.map(|run| (run.trial, run.rung)).collect()
    }

    /// Rungs that have begun and that no child runs: their driver was killed.
    pub(super) fn cut_rungs(&self) -> Result<Vec<(TrialId, u32)>, StudyError> {
        let running = self.rungs_under_way();
        Ok(self.store.running()?.into_iter().filter(|rung| !running.contains(rung)).collect())
    }

    /// Begins a run, or goes on with it; it is on record before its child is started.
    pub(super) fn begin_run(&mut self, slot: usize, ask: Ask<'_>) -> Result<(), StudyError> {
        let Ask { run, hyperparams, stop_at_step, is_alone, .. } = ask;
        let spec = self.spec_of(slot, ask)?;
        let total_steps = spec.train.total_steps;
        self.store.start(run, stop_at_step)?;
        self.emit(StudyEvent::RunStarted { run, slot, hyperparams, stop_at_step, total_steps });
        let name = job_name(run);
        let (executor, _, _) = self.parts();
        executor.start(&Job { slot, name: &name, spec: &spec, is_alone })?;
        self.under_way[slot] = Some(run);
        Ok(())
    }

    pub(super) fn spec_of(&self, slot: usize, ask: Ask<'_>) -> Result<TrialSpec, StudyError> {
        let total_steps = self.total_steps(ask.hyperparams.batch)?;
        let task = Task::Train {
            stop_at_step: ask.stop_at_step,
            evaluate_every: total_steps.div_ceil(self.study.train.evaluations).max(1),
            checkpoint: self.layout.checkpoint_of(ask.run),
            best: ask.best,
            examples: self.study.search.confirm.candidates > 1,
            also_on: ask.also_on,
        };
        let device = if ask.is_alone { self.lone_device(slot) } else { self.device_of(slot) };
        let mut spec = self.spec(device, *ask.hyperparams, task)?;
        spec.train.seed = ask.run.seed.unwrap_or(spec.train.seed);
        self.told(spec)
    }

    /// The device of a slot, with the cap that holds for the whole study.
    pub(super) fn device_of(&self, slot: usize) -> DeviceSpec {
        match self.place_of(slot) {
            DeviceSpec::Cuda { card, .. } => DeviceSpec::Cuda { card, cap: self.device.cap() },
            DeviceSpec::Cpu { .. } => self.device,
        }
    }

    /// The device of a run beside which no other runs: on the processor it may hold what all slots may, for its
    /// threads, which are as many as theirs together, hold scratch memory each.
    pub(super) fn lone_device(&self, slot: usize) -> DeviceSpec {
        // A job of Slurm has memory of its own, whatever runs beside it.
        let is_local = self.study.executor.is_local();
        let slots = if is_local { self.study.slots.len().max(1) as u64 } else { 1 };
        match self.device_of(slot) {
            DeviceSpec::Cpu { cap } => DeviceSpec::Cpu { cap: cap.map(|cap| Bytes(cap.0 * slots)) },
            card @ DeviceSpec::Cuda { .. } => card,
        }
    }

    /// Waits until a run has ended, nothing is heard for `patience`, or the moment has come at which all are cut
    /// off; each event is in the database before the next is read.
    ///
    /// The slot of a run that has ended is free; its rung stays open until [`Self::end_run`].
    pub(super) fn hear_end(&mut self, patience: Option<Duration>) -> Result<Option<Ended>, StudyError> {
        loop {
            if self.is_cut_off() {
                self.cut_off();
                return Ok(None);
            }
            let patience = self.patience(patience);
            let Some((slot, heard)) = self.parts().0.next(patience)? else { break };
            let run = self.under_way[slot];
            let (_, store, listener) = self.parts();
            match (heard, run) {
                (Heard::Event(event), Some(key)) => {
                    store.append(key, std::slice::from_ref(&event))?;
                    listener(StudyEvent::Child { run, event: &event });
                }
                (Heard::Ended(outcome), Some(run)) => {
                    self.under_way[slot] = None;
                    return Ok(Some(Ended { slot, run, outcome }));
                }
                (_, None) => {}
            }
        }
        if self.is_cut_off() {
            self.cut_off();
        }
        Ok(None)
    }

    /// No longer than until all runs are cut off.
    fn patience(&self, asked: Option<Duration>) -> Option<Duration> {
        let left = self.cut_off.map(|moment| (moment - self.now()).max(0.0));
        let left = left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        asked.into_iter().chain(left).min()
    }

    /// Makes a rung's or confirmation's end history, and looks whether its device is still good.
    pub(super) fn end_and_judge(&mut self, ended: &Ended) -> Result<(), StudyError> {
        let has_trained = !self.end_run(ended.run, &ended.outcome)?.steps.is_empty();
        let device = self.place_of(ended.slot);
        match self.breaker.record(&device, &ended.outcome, has_trained) {
            Verdict::GoOn => Ok(()),
            Verdict::Retire { failures, reason } => {
                self.emit(StudyEvent::OutOfService { device, failures, reason: &reason });
                Ok(())
            }
            Verdict::Stop { failures, reason, has_worked: false } => {
                Err(StudyError::AllFail { trials: failures, reason })
            }
            Verdict::Stop { failures, reason, has_worked: true } => {
                Err(StudyError::KeepsFailing { runs: failures, reason })
            }
        }
    }
}

/// A run that has ended.
pub(super) struct Ended {
    /// In which slot it ran.
    pub(super) slot: usize,
    /// Which run.
    pub(super) run: RunKey,
    /// How.
    pub(super) outcome: Outcome,
}

/// The name of a run's job: the same when the run is begun again.
fn job_name(run: RunKey) -> String {
    let seed = run.seed.map(|seed| format!("-seed-{seed}")).unwrap_or_default();
    format!("trial-{}-rung-{}{seed}", run.trial, run.rung)
}
