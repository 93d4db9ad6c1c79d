//! The circuit breaker: when failing runs say that a device or the set-up is broken, not a configuration. Pure.

use super::error::describe;
use crate::space::DeviceSpec;
use crate::trial::{FailureClass, History, Outcome, RungRecord};

/// So many failures alike, of a device on which nothing has run yet, are no accident: a wrong path, a missing
/// library, a card that is gone. Two can be two unlucky configurations.
const ALIKE: usize = 3;
/// The same where no two need be alike.
const UNLIKE: usize = 6;
/// So many in a row of a device that has worked: some configurations crash, and eight in a row hardly do.
const IN_A_ROW: usize = 8;

/// What makes two failures alike. Running out of memory and divergence are none: they tell of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Failed(FailureClass),
    Crashed(Option<i32>, Option<i32>),
    TimedOut,
}

impl Class {
    const fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Finished | Outcome::OutOfMemory { .. } | Outcome::Diverged { .. } => None,
            Outcome::Failed { class, .. } => Some(Self::Failed(*class)),
            Outcome::Crashed { signal, exit_code, .. } => Some(Self::Crashed(*signal, *exit_code)),
            Outcome::TimedOut { .. } => Some(Self::TimedOut),
        }
    }
}

/// One device, whatever its number of slots.
#[derive(Clone, Debug)]
struct Health {
    device: DeviceSpec,
    has_worked: bool,
    /// Failures since it last worked.
    failures: Vec<Class>,
    in_service: bool,
}

/// What is to be done after a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    GoOn,
    /// Nothing more is run on the device of the run.
    Retire {
        /// Runs that failed there in a row.
        failures: usize,
        /// What the last one said.
        reason: String,
    },
    /// No device is left.
    Stop {
        /// Runs that failed in a row on the last of them.
        failures: usize,
        /// What the last one said.
        reason: String,
        /// Whether anything has ever run: if not, the set-up is wrong.
        has_worked: bool,
    },
}

/// The devices of a study and how their runs have gone.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    devices: Vec<Health>,
}

impl Breaker {
    /// What is known at the start: after failures alone, in which nothing was trained, each device may fail once.
    pub(super) fn new(slots: &[DeviceSpec], history: &History) -> Self {
        let ended = || history.trials.iter().flat_map(|trial| &trial.rungs);
        let works = |record: &RungRecord| {
            Class::of(&record.outcome).is_none() || record.measurement.totals().steps > 0
        };
        let has_worked = ended().any(works);
        let known = ended().filter_map(|record| Class::of(&record.outcome)).take(ALIKE - 1);
        let failures: Vec<Class> = if has_worked { vec![] } else { known.collect() };
        let mut devices: Vec<Health> = Vec::new();
        for device in slots {
            if !devices.iter().any(|known| known.device == *device) {
                let (device, failures) = (*device, failures.clone());
                devices.push(Health { device, has_worked, failures, in_service: true });
            }
        }
        Self { devices }
    }

    /// Whether runs may begin on a device.
    pub(super) fn is_in_service(&self, device: &DeviceSpec) -> bool {
        self.devices.iter().all(|known| known.device != *device || known.in_service)
    }

    /// Takes the end of a run on `device`; one that `has_trained` shows that the set-up works, however it ended.
    pub(super) fn record(&mut self, device: &DeviceSpec, outcome: &Outcome, has_trained: bool) -> Verdict {
        let Some(health) = self.devices.iter_mut().find(|known| known.device == *device) else {
            return Verdict::GoOn;
        };
        health.has_worked |= has_trained;
        let Some(class) = Class::of(outcome) else {
            (health.has_worked, health.failures) = (true, vec![]);
            return Verdict::GoOn;
        };
        health.failures.push(class);
        if !health.is_broken() {
            return Verdict::GoOn;
        }
        health.in_service = false;
        let (failures, reason) = (health.failures.len(), describe(outcome));
        if self.devices.iter().any(|known| known.in_service) {
            return Verdict::Retire { failures, reason };
        }
        let has_worked = self.devices.iter().any(|known| known.has_worked);
        Verdict::Stop { failures, reason, has_worked }
    }
}

impl Health {
    fn is_broken(&self) -> bool {
        let are_alike = self.failures.windows(2).all(|two| two[0] == two[1]);
        self.failures.len()
            >= match (self.has_worked, are_alike) {
                (true, _) => IN_A_ROW,
                (false, true) => ALIKE,
                (false, false) => UNLIKE,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{BatchPlan, Hyperparams, Precision};
    use crate::trial::{Measurement, Totals, Trial};

    fn crash(signal: i32) -> Outcome {
        Outcome::Crashed { signal: Some(signal), exit_code: None, stderr_tail: "no".to_owned() }
    }

    fn cards(count: usize) -> Vec<DeviceSpec> {
        (0..count).map(DeviceSpec::cuda).collect()
    }

    /// After how many ends of `outcomes` on the first of so many cards something is done, and what.
    fn trips(cards_there: usize, outcomes: &[Outcome]) -> Option<(usize, Verdict)> {
        let cards = cards(cards_there);
        let mut breaker = Breaker::new(&cards, &History::default());
        let verdicts = outcomes.iter().map(|outcome| breaker.record(&cards[0], outcome, false));
        (1..).zip(verdicts).find(|(_, verdict)| *verdict != Verdict::GoOn)
    }

    fn stop(failures: usize, has_worked: bool) -> Verdict {
        Verdict::Stop { failures, reason: "a crash by signal 9: no".to_owned(), has_worked }
    }

    #[test]
    fn the_first_failures_stop_the_study_sooner_if_they_are_alike() {
        assert_eq!(trips(1, &vec![crash(9); 9]), Some((3, stop(3, false))));
        let unlike: Vec<Outcome> = [6, 9].repeat(4).into_iter().map(crash).collect();
        assert_eq!(trips(1, &unlike), Some((6, stop(6, false))));
        let silent = vec![Outcome::TimedOut { seconds: 1, stderr_tail: String::new() }; 9];
        assert!(matches!(trips(1, &silent), Some((3, Verdict::Stop { .. }))));
    }

    #[test]
    fn what_a_configuration_suffers_is_no_failure_of_the_device() {
        assert_eq!(trips(1, &vec![Outcome::Diverged { step: 1 }; 99]), None);
        let now_and_then = [vec![crash(9); 2], vec![Outcome::Finished], vec![crash(9); 5]];
        assert_eq!(trips(1, &vec![now_and_then.concat(); 9].concat()), None);
    }

    #[test]
    fn a_device_that_has_worked_is_given_more_time() {
        let outcomes = [vec![Outcome::Finished], vec![crash(9); 20]].concat();
        assert_eq!(trips(1, &outcomes), Some((9, stop(8, true))));
    }

    #[test]
    fn runs_that_died_while_they_trained_are_no_sign_of_a_wrong_set_up() {
        let cards = cards(1);
        let mut breaker = Breaker::new(&cards, &History::default());
        let verdicts: Vec<Verdict> = (0..8).map(|_| breaker.record(&cards[0], &crash(9), true)).collect();
        assert!(verdicts[..7].iter().all(|verdict| *verdict == Verdict::GoOn));
        assert_eq!(verdicts[7], stop(8, true));
    }

    #[test]
    fn after_failures_of_an_earlier_command_a_device_may_fail_once_unless_they_had_trained() {
        let earlier = |steps| {
            let measurement =
                Measurement { condensed: Totals { steps, ..Totals::default() }, ..Measurement::default() };
            let rungs = vec![RungRecord { rung: 0, stop_at_step: 9, outcome: crash(9), measurement }];
            let batch = BatchPlan { micro_batch_size: 1, gradient_accumulation_steps: 1 };
            let hyperparams = Hyperparams { precision: Precision::F32, batch, learning_rate: 1e-3 };
            History { trials: (0..3).map(|id| Trial { id, hyperparams, rungs: rungs.clone() }).collect() }
        };
        let cards = cards(1);
        let first = |steps| Breaker::new(&cards, &earlier(steps)).record(&cards[0], &crash(9), false);
        assert_eq!((first(0), first(1)), (stop(3, false), Verdict::GoOn));
    }

    #[test]
    fn a_broken_device_is_put_out_of_service_while_there_is_another_and_the_last_one_stops_the_study() {
        let cards = cards(2);
        let mut breaker = Breaker::new(&[cards[0], cards[1], cards[0]], &History::default());
        let fail = |breaker: &mut Breaker, card: usize| -> Vec<bool> {
            (0..3).map(|_| breaker.record(&cards[card], &crash(9), false) == Verdict::GoOn).collect()
        };
        assert_eq!(fail(&mut breaker, 0), [true, true, false]);
        assert!(!breaker.is_in_service(&cards[0]) && breaker.is_in_service(&cards[1]));
        assert_eq!(fail(&mut breaker, 1), [true, true, false]);
        assert!(!breaker.is_in_service(&cards[1]));
    }
}
