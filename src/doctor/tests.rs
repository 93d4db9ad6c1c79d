//! What is made of children's answers, which a fake gives.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::devices::{Bench, Reference};
use super::*;
use crate::executor::{ExecutorError, Heard, Job};
use crate::trial::{Outcome, Task, TrialSpec};

/// Ends every run as it is told, without running anything.
struct Fake {
    end: fn(&TrialSpec) -> Option<Outcome>,
    waiting: VecDeque<Heard>,
    asked: Vec<TrialSpec>,
}

impl Fake {
    fn new(end: fn(&TrialSpec) -> Option<Outcome>) -> Self {
        Self { end, waiting: VecDeque::new(), asked: vec![] }
    }
}

impl Executor for Fake {
    fn start(&mut self, job: &Job<'_>) -> Result<(), ExecutorError> {
        self.asked.push(job.spec.clone());
        let outcome = (self.end)(job.spec).ok_or(ExecutorError::Interrupted)?;
        self.waiting.push_back(Heard::Ended(outcome));
        Ok(())
    }

    fn next(&mut self, _: Option<Duration>) -> Result<Option<(usize, Heard)>, ExecutorError> {
        Ok(self.waiting.pop_front().map(|heard| (0, heard)))
    }

    fn abandon(&mut self) {}
}

const CARD: DeviceSpec = DeviceSpec::cuda(0);

fn crash() -> Outcome {
    Outcome::Crashed { signal: None, exit_code: Some(127), stderr_tail: "libcuda.so.1: no".to_owned() }
}

fn examined(fake: &mut Fake, started: Instant) -> Result<Vec<Check>, Interrupted> {
    let tiny = Tiny::make().unwrap();
    let mut bench = Bench { executor: fake, tiny: &tiny, begins: &mut |_| {}, started };
    Ok(bench.examine(CARD, Some(&Reference::default()))?.checks)
}

#[test]
fn a_card_whose_first_child_dies_is_a_problem_and_nothing_more_is_tried() {
    let mut fake = Fake::new(|_| Some(crash()));
    let checks = examined(&mut fake, Instant::now()).unwrap();
    assert_eq!(fake.asked.len(), 1);
    assert!(matches!(fake.asked[0].task, Task::Gradients { composed: false, .. }));
    assert_eq!((checks[0].id.as_str(), checks[0].verdict), ("cuda.0.starts", Verdict::Problem));
    assert!(checks[0].measured.contains("exit code 127: libcuda.so.1"), "{}", checks[0].measured);
    assert!(checks.len() == 11 && checks[1..].iter().all(|check| check.verdict == Verdict::NotChecked));
}

#[test]
fn a_child_that_finished_without_its_file_is_a_problem() {
    let checks = examined(&mut Fake::new(|_| Some(Outcome::Finished)), Instant::now()).unwrap();
    assert_eq!(checks[0].verdict, Verdict::Problem);
    assert!(checks[0].measured.contains("gradients.safetensors"), "{}", checks[0].measured);
}

#[test]
fn no_child_begins_when_the_time_is_used_up() {
    let Some(long_ago) = Instant::now().checked_sub(Duration::from_mins(2)) else { return };
    let mut fake = Fake::new(|_| Some(crash()));
    let checks = examined(&mut fake, long_ago).unwrap();
    assert!(fake.asked.is_empty());
    assert!(checks.iter().all(|check| check.verdict == Verdict::NotChecked));
}

#[test]
fn the_wish_to_stop_ends_an_examination() {
    assert_eq!(examined(&mut Fake::new(|_| None), Instant::now()).unwrap_err(), Interrupted);
}

#[test]
fn what_needs_a_card_is_listed_with_the_reason() {
    let checks = devices::not_checked("cuda", "needs a card");
    let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
    for id in
        ["cuda.training.bf16", "cuda.gradients.f32", "cuda.coverage", "cuda.cap", "cuda.peak", "cuda.pool"]
    {
        assert!(ids.contains(&id), "{id}: {ids:?}");
    }
    assert!(checks.iter().all(|check| check.measured == "needs a card"));
}
