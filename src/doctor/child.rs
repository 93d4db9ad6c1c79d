//! One child that is run to its end, and what is said of how it ended.

use super::Interrupted;
use crate::executor::{Executor, ExecutorError, Job, run_to_end};
use crate::trial::{Event, FailureClass, Measurement, Outcome, TrialSpec};

/// What a child told and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) measurement: Measurement,
}

/// Runs a specification in a child of its own; a child that can't even be started has failed.
pub(super) fn run(
    executor: &mut dyn Executor,
    name: &str,
    spec: &TrialSpec,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Ran, Interrupted> {
    let mut measurement = Measurement::default();
    let job = Job { slot: 0, name, spec, is_alone: true };
    let ended = run_to_end(executor, &job, &mut |event| {
        measurement.fold(event);
        on_event(event);
    });
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(ExecutorError::Interrupted) => return Err(Interrupted),
        Err(error) => Outcome::Failed { class: FailureClass::Internal, message: error.to_string() },
    };
    Ok(Ran { outcome, measurement })
}

impl Ran {
    pub(super) fn has_finished(&self) -> bool {
        self.outcome == Outcome::Finished
    }

    /// Training losses, step by step, then that of the evaluation.
    pub(super) fn losses(&self) -> Vec<f64> {
        let Measurement { steps, evals, .. } = &self.measurement;
        let steps = steps.iter().map(|step| step.loss_nats);
        steps.chain(evals.iter().map(|eval| eval.loss_nats)).collect()
    }
}

/// How a run ended, on one line.
pub(super) fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "finished".to_owned(),
        Outcome::OutOfMemory { live, cap, .. } => {
            let cap = cap.map(|cap| format!(" of {cap}")).unwrap_or_default();
            format!("out of memory at {live}{cap}")
        }
        Outcome::Diverged { step } => format!("diverged at step {step}"),
        Outcome::Failed { class, message } => {
            format!("failed ({}): {}", class.name(), first_line(message))
        }
        Outcome::Crashed { signal, exit_code, stderr_tail } => {
            let signal = signal.map(|signal| format!(" by signal {signal}"));
            let code = exit_code.map(|code| format!(" with exit code {code}"));
            let how = signal.or(code).unwrap_or_default();
            format!("crashed{how}: {}", last_line(stderr_tail))
        }
        Outcome::TimedOut { seconds, stderr_tail } => {
            format!("silent for {seconds} s: {}", last_line(stderr_tail))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or("it does not say why")
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn every_ending_is_one_line() {
        let oom = Outcome::OutOfMemory { requested: None, live: Bytes::mib(9), cap: Some(Bytes::mib(10)) };
        let failed =
            |message: &str| Outcome::Failed { class: FailureClass::Device, message: message.to_owned() };
        let crashed = |signal, exit_code, tail: &str| Outcome::Crashed {
            signal,
            exit_code,
            stderr_tail: tail.to_owned(),
        };
        for (outcome, expected) in [
            (oom, "out of memory at 9.00 MiB of 10.0 MiB"),
            (failed("cuda:0: no\n  hint: yes"), "failed (device): cuda:0: no"),
            (crashed(Some(11), None, ""), "crashed by signal 11: it does not say why"),
            (
                crashed(None, Some(127), "a\nlibcuda.so.1: no\n"),
                "crashed with exit code 127: libcuda.so.1: no",
            ),
        ] {
            assert_eq!(ending(&outcome), expected);
        }
    }
}
