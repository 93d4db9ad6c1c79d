//! How one rung ended, and what it measured.
//!
//! Outcomes are data, not errors: running out of memory is an observation the search learns from.

use serde::{Deserialize, Serialize};

use super::noise::critical_batch_size;
use super::{EvalEvent, Event, ExampleLosses, FailureClass, Phase, Power, SpeedPoint, StepEvent, Totals};
use crate::units::Bytes;

/// The end of one child process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Everything asked for was done.
    Finished,
    /// The device refused memory.
    OutOfMemory {
        /// Bytes of the refused allocation, where known.
        requested: Option<Bytes>,
        /// Bytes alive at that moment.
        live: Bytes,
        /// The cap, where there is one.
        cap: Option<Bytes>,
    },
    /// Loss or gradient ceased to be finite.
    Diverged {
        /// Step at which it was seen.
        step: usize,
    },
    /// The child said why it stopped.
    Failed {
        /// Kind of failure.
        class: FailureClass,
        /// Its message.
        message: String,
    },
    /// The child died without a last word.
    Crashed {
        /// Signal that ended it.
        signal: Option<i32>,
        /// Exit code, if it exited.
        exit_code: Option<i32>,
        /// The end of its standard error.
        stderr_tail: String,
    },
    /// The child was silent past its deadline and was killed.
    TimedOut {
        /// Seconds of silence allowed.
        seconds: u64,
        /// The end of its standard error; empty in what older versions recorded.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stderr_tail: String,
    },
}

impl Outcome {
    /// The name used in tables, the JSON summary and the database.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Diverged { .. } => "diverged",
            Self::Failed { .. } => "failed",
            Self::Crashed { .. } => "crashed",
            Self::TimedOut { .. } => "timed_out",
        }
    }

    /// Whether it tells of the machine, not of the configuration: such a run is worth trying again.
    #[must_use]
    pub const fn blames_the_machine(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Crashed { .. } | Self::TimedOut { .. })
    }

    /// The outcome a child's last word stands for.
    #[must_use]
    pub fn from_last_word(event: &Event) -> Option<Self> {
        match event {
            Event::Finished => Some(Self::Finished),
            Event::OutOfMemory { requested, live, cap } => {
                Some(Self::OutOfMemory { requested: *requested, live: *live, cap: *cap })
            }
            Event::Diverged { step } => Some(Self::Diverged { step: *step }),
            Event::Failed { class, message } => {
                Some(Self::Failed { class: *class, message: message.clone() })
            }
            _ => None,
        }
    }
}

/// A training step kept for the curves.
pub type StepPoint = StepEvent;
/// An evaluation kept for the curves.
pub type EvalPoint = EvalEvent;

/// The peak of one phase over a whole rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhasePeak {
    /// Which phase.
    pub phase: Phase,
    /// Most bytes alive within it.
    pub peak_bytes: Bytes,
}

/// What a rung measured, folded from its events.
///
/// In a history of many runs it is *condensed*: the last evaluation is there as a point, and what the others
/// sum up to. What is computed from it is the same either way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Device in words, as the child named it.
    pub device: String,
    /// Version of the crate that ran.
    pub version: String,
    /// Every optimizer step.
    pub steps: Vec<StepPoint>,
    /// Every evaluation.
    pub evals: Vec<EvalPoint>,
    /// One entry a phase that ran.
    pub peaks: Vec<PhasePeak>,
    /// Speeds of other micro-batches, in a probe.
    #[serde(default)]
    pub timed: Vec<SpeedPoint>,
    /// The last evaluation, example by example, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<ExampleLosses>,
    /// What the device held besides tensors when the child began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead_bytes: Option<Bytes>,
    /// Most bytes the device had set aside for tensors in any phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<Bytes>,
    /// What its device drew, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// What the points before those in `steps` and `evals` sum up to; nothing where every point is here.
    #[serde(default, skip_serializing_if = "Totals::is_empty")]
    pub condensed: Totals,
}

impl Measurement {
    /// Adds one event of the child.
    pub fn fold(&mut self, event: &Event) {
        match event {
            Event::Started { device, version, overhead_bytes, .. } => {
                self.overhead_bytes = *overhead_bytes;
                self.device.clone_from(device);
                self.version.clone_from(version);
            }
            Event::Step(step) => self.steps.push(*step),
            Event::Eval(eval) => self.evals.push(*eval),
            Event::Timed(speed) => self.timed.push(*speed),
            Event::Examples(examples) => self.examples = Some(examples.clone()),
            Event::Memory { phase, peak_bytes, reserved_bytes, .. } => {
                self.raise_peak(*phase, *peak_bytes);
                self.reserved_bytes = self.reserved_bytes.max(*reserved_bytes);
            }
            Event::Power(power) => self.power = Some(power.clone()),
            _ => {}
        }
    }

    fn raise_peak(&mut self, phase: Phase, peak_bytes: Bytes) {
        match self.peaks.iter_mut().find(|peak| peak.phase == phase) {
            Some(known) => known.peak_bytes = known.peak_bytes.max(peak_bytes),
            None => self.peaks.push(PhasePeak { phase, peak_bytes }),
        }
    }

    /// Without its points, phases and examples; only the last evaluation stays one.
    #[must_use]
    pub fn condense(&self) -> Self {
        let earlier = &self.evals[..self.evals.len().saturating_sub(1)];
        Self {
            device: self.device.clone(),
            version: self.version.clone(),
            overhead_bytes: self.overhead_bytes,
            reserved_bytes: self.reserved_bytes,
            power: self.power.clone(),
            evals: self.evals.last().copied().into_iter().collect(),
            condensed: earlier.iter().fold(self.stepped(), Totals::with_eval),
            ..Self::default()
        }
    }

    /// A condensed measurement with all of its evaluations again.
    #[must_use]
    pub fn with_evals(self, evals: Vec<EvalPoint>) -> Self {
        let condensed = Totals { evals: 0, seconds: self.condensed.step_seconds, ..self.condensed };
        Self { evals, condensed, ..self }
    }

    /// What all steps and evaluations sum up to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.evals.iter().fold(self.stepped(), Totals::with_eval)
    }

    fn stepped(&self) -> Totals {
        let totals = Totals { peak_bytes: self.peak_bytes(), ..self.condensed };
        self.steps.iter().fold(totals, Totals::with_step)
    }

    /// The most bytes alive in any phase.
    #[must_use]
    pub fn peak_bytes(&self) -> Bytes {
        let peaks = self.peaks.iter().map(|peak| peak.peak_bytes);
        peaks.max().unwrap_or_default().max(self.condensed.peak_bytes)
    }

    /// The same without evaluations, whose size is another choice.
    #[must_use]
    pub fn training_peak_bytes(&self) -> Bytes {
        let training = self.peaks.iter().filter(|peak| peak.phase != Phase::Evaluate);
        training.map(|peak| peak.peak_bytes).max().unwrap_or_default()
    }

    /// Tokens trained per second of stepping; the first step (warm-up) is left out when there is another.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.stepped().tokens_per_second()
    }

    /// The batch size in examples that the noise of the gradients implies, where steps of several
    /// micro-batches told of it.
    #[must_use]
    pub fn critical_batch_size(&self) -> Option<f64> {
        critical_batch_size(self.stepped().noise())
    }

    /// Seconds of stepping and evaluating.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.totals().seconds
    }

    /// Loss of the last evaluation.
    #[must_use]
    pub fn eval_loss_nats(&self) -> Option<f64> {
        self.evals.last().map(|eval| eval.loss_nats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::NoiseSample;

    #[test]
    fn the_highest_peak_of_a_phase_is_kept() {
        let mut measurement = Measurement::default();
        for peak in [5, 9, 7] {
            measurement.fold(&Event::Memory {
                phase: Phase::Loss,
                peak_bytes: Bytes(peak),
                live_bytes: Bytes(1),
                reserved_bytes: Some(Bytes(2 * peak)),
            });
        }
        assert_eq!(measurement.reserved_bytes, Some(Bytes(18)));
        assert_eq!(measurement.peaks, [PhasePeak { phase: Phase::Loss, peak_bytes: Bytes(9) }]);
        assert_eq!(measurement.peak_bytes(), Bytes(9));
    }

    #[test]
    fn a_condensed_measurement_tells_the_same_to_the_last_bit() {
        let whole = Measurement {
            steps: (1..60).map(step).collect(),
            evals: (1..7).map(|n| eval(10 * n)).collect(),
            peaks: vec![PhasePeak { phase: Phase::Loss, peak_bytes: Bytes(9) }],
            ..Measurement::default()
        };
        for whole in [whole.clone(), Measurement { steps: vec![step(1)], ..whole }, Measurement::default()] {
            let condensed = whole.condense();
            assert!(condensed.steps.is_empty() && condensed.peaks.is_empty() && condensed.evals.len() < 2);
            let told = |of: &Measurement| {
                let bits = [of.tokens_per_second(), of.critical_batch_size(), of.eval_loss_nats()]
                    .map(|value| value.map(f64::to_bits));
                (bits, of.seconds().to_bits(), of.totals(), of.peak_bytes())
            };
            assert_eq!(told(&condensed), told(&whole));
            assert_eq!(told(&condensed.clone().with_evals(whole.evals.clone())), told(&whole));
            assert_eq!(condensed.condense(), condensed);
        }
    }

    fn step(step: usize) -> StepPoint {
        let value = f64::from(u32::try_from(step).unwrap()) / 7.0;
        StepEvent {
            step,
            loss_nats: value,
            learning_rate: 0.1,
            grad_norm: None,
            update_ratio: None,
            noise: (step.is_multiple_of(2))
                .then_some(NoiseSample { squared_gradient: value / 3.0, trace: value }),
            tokens: 100 + step as u64,
            seconds: value,
        }
    }

    fn eval(step: usize) -> EvalPoint {
        EvalPoint { step, loss_nats: 1.0 / 3.0, tokens: 9, seconds: 0.1 }
    }

    #[test]
    fn an_event_survives_its_line_of_json() {
        let event = Event::OutOfMemory { requested: Some(Bytes(3)), live: Bytes(2), cap: None };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"event":"out_of_memory","requested":3,"live":2,"cap":null}"#);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn a_step_whose_update_was_skipped_has_no_norm_on_its_line() {
        let event = |norm: &str| {
            let line = format!(
                r#"{{"event":"step","step":2,"loss_nats":3.5,"learning_rate":0.25{norm},"tokens":7,"seconds":0.5}}"#
            );
            serde_json::from_str::<Event>(&line).unwrap()
        };
        let norm = |event: &Event| match event {
            Event::Step(step) => step.grad_norm,
            _ => Some(f64::NAN),
        };
        assert_eq!(norm(&event(r#","grad_norm":1.5"#)), Some(1.5));
        let skipped = event(r#","grad_norm":null"#);
        assert_eq!(norm(&skipped), None);
        assert_eq!(event(""), skipped, "a program that knows no norm may leave it out");
        assert!(serde_json::to_string(&skipped).unwrap().contains(r#""grad_norm":null"#));
    }
}
