//! An exact fake: memory, speed and loss follow written formulas, and nothing is trained.
//!
//! The whole program above the executor is tested on it in milliseconds.

use super::{Executor, ExecutorError};
use crate::space::Precision;
use crate::trial::{EvalEvent, Event, Outcome, Phase, StepEvent, Task, TrialSpec};
use crate::units::Bytes;

/// A device and a model as formulas.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// Bytes that do not depend on the micro-batch.
    pub fixed: Bytes,
    /// Bytes of one example in f32; bf16 takes half.
    pub per_example: Bytes,
    /// Learning rate with the lowest loss.
    pub best_learning_rate: f64,
    /// Learning rate from which on training diverges.
    pub diverges_at: f64,
    /// How many specifications were run.
    pub runs: usize,
    /// Interrupts instead of running once so many were run.
    pub interrupt_after: Option<usize>,
}

impl Synthetic {
    /// Bytes a micro-batch holds at its peak.
    #[must_use]
    pub fn peak(&self, precision: Precision, micro_batch_size: usize) -> Bytes {
        let per_example = match precision {
            Precision::F32 => self.per_example.0,
            Precision::Bf16 => self.per_example.0 / 2,
        };
        Bytes(self.fixed.0 + per_example * micro_batch_size as u64)
    }

    /// Evaluation loss after `step` of `total` steps: a valley in the logarithm of the learning
    /// rate, reached as training goes on.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "step counts stay below 2^53")]
    pub fn loss(&self, learning_rate: f64, step: usize, total: usize) -> f64 {
        let distance = (learning_rate / self.best_learning_rate).ln();
        let progress = step as f64 / total.max(1) as f64;
        2.0 + 0.1 * distance * distance + 2.0 * (-3.0 * progress).exp()
    }

    fn train(&self, spec: &TrialSpec, stop_at_step: usize, on_event: &mut dyn FnMut(&Event)) -> Outcome {
        let learning_rate = spec.hyperparams.learning_rate;
        if learning_rate >= self.diverges_at {
            return Outcome::Diverged { step: 1 };
        }
        let loss_nats = self.loss(learning_rate, stop_at_step, spec.train.total_steps);
        let step = step_event(stop_at_step, loss_nats, learning_rate, spec);
        on_event(&Event::Step(step));
        on_event(&Event::Eval(EvalEvent { step: stop_at_step, loss_nats, tokens: 100, seconds: 0.1 }));
        Outcome::Finished
    }
}

/// Twice the micro-batch is faster, up to eight.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn step_event(step: usize, loss_nats: f64, learning_rate: f64, spec: &TrialSpec) -> StepEvent {
    let seconds = 1.0 / spec.hyperparams.batch.micro_batch_size.min(8) as f64;
    StepEvent { step, loss_nats, learning_rate, grad_norm: 1.0, tokens: 1000, seconds }
}

impl Executor for Synthetic {
    fn run(&mut self, spec: &TrialSpec, on_event: &mut dyn FnMut(&Event)) -> Result<Outcome, ExecutorError> {
        if self.interrupt_after.is_some_and(|limit| self.runs >= limit) {
            return Err(ExecutorError::Interrupted);
        }
        self.runs += 1;
        let peak = self.peak(spec.hyperparams.precision, spec.hyperparams.batch.micro_batch_size);
        if let Some(cap) = spec.device.cap().filter(|cap| peak > *cap) {
            return Ok(Outcome::OutOfMemory { requested: None, live: cap, cap: Some(cap) });
        }
        on_event(&Event::Memory { phase: Phase::Backward, peak_bytes: peak, live_bytes: self.fixed });
        Ok(match &spec.task {
            Task::Probe { steps, .. } => {
                on_event(&Event::Step(step_event(*steps, 4.0, 0.0, spec)));
                Outcome::Finished
            }
            Task::Train { stop_at_step, .. } => self.train(spec, *stop_at_step, on_event),
            Task::Evaluate => {
                on_event(&Event::Eval(EvalEvent { step: 0, loss_nats: 3.0, tokens: 100, seconds: 0.1 }));
                Outcome::Finished
            }
        })
    }
}
