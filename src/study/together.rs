//! Which devices of a study share its full run: each has a copy of the model and an equal share of every step.

use super::StudyEvent;
use super::driver::Driver;
use crate::device;
use crate::space::{BatchPlan, DeviceSpec, Study};
use crate::trial::Outcome;

impl Driver<'_> {
    /// The slots whose devices train beside that of `slot` in a run of `plan` with which no other runs; says so where
    /// the study has several.
    ///
    /// As many as can share a step evenly: so the step is what it would be on one of them.
    pub(super) fn companions(&mut self, slot: usize, plan: BatchPlan) -> Vec<usize> {
        if !is_wanted(self.study) {
            return Vec::new();
        }
        let slots = 0..self.under_way.len();
        let slots: Vec<(DeviceSpec, bool)> =
            slots.map(|slot| (self.device_of(slot), self.is_in_service(slot))).collect();
        let mut others = others(slot, &slots);
        let devices = others.len() + 1;
        let (ranks, each) = plan.shared_by_most(devices);
        if devices > 1 {
            self.emit(StudyEvent::Together { ranks, devices, each });
        }
        others.truncate(ranks - 1);
        others
    }
}

/// A slot of every other device in service than that of slot `own`, in their order. A slot of the processor is as good
/// as a device.
fn others(own: usize, slots: &[(DeviceSpec, bool)]) -> Vec<usize> {
    let mut chosen = vec![own];
    for (slot, (device, is_in_service)) in slots.iter().enumerate() {
        let is_taken = |chosen: &usize| *chosen == slot || !device.is_cpu() && slots[*chosen].0 == *device;
        if *is_in_service && !chosen.iter().any(is_taken) {
            chosen.push(slot);
        }
    }
    chosen.split_off(1)
}

/// Whether several devices are to share the full run. Cards do where this build lets them sum among themselves;
/// the processor's slots have the same cores, so that nothing is gained by it but a test.
fn is_wanted(study: &Study) -> bool {
    let of_itself = || !study.device.is_cpu() && device::has_nccl();
    // What a foreign trainer or a job of Slurm has, others decide.
    study.trainer.is_none()
        && study.executor.is_local()
        && study.train.data_parallel.unwrap_or_else(of_itself)
}

/// Whether a run that several devices shared may have ended so because they did. A night must not be lost to cards that
/// do not find each other, or to what their connection holds beside the run.
pub(super) const fn may_go_on_alone(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Finished | Outcome::Diverged { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_card_in_service_shares_a_run_once_and_so_does_every_slot_of_the_processor() {
        let others = |own: usize, typed: &[&str]| {
            let slot = |text: &&str| (text.trim_end_matches('!').parse().unwrap(), !text.ends_with('!'));
            super::others(own, &typed.iter().map(slot).collect::<Vec<_>>())
        };
        assert_eq!(others(0, &["cuda:0"]), [0; 0]);
        assert_eq!(others(1, &["cuda:0", "cuda:1", "cuda:3"]), [0, 2]);
        assert_eq!(others(0, &["cuda:0", "cuda:1!", "cuda:3"]), [2]);
        let shared = ["cuda:0:8GiB", "cuda:1:8GiB", "cuda:0:8GiB", "cuda:1:8GiB"];
        assert_eq!(others(0, &shared), [1]);
        assert_eq!(others(2, &shared), [1]);
        assert_eq!(others(1, &["cpu", "cpu", "cpu"]), [0, 2]);
    }

    #[test]
    fn it_is_asked_for_or_goes_without_saying_only_for_cards_that_sum_among_themselves() {
        let wanted = |device: &str, asked: Option<bool>| {
            let mut study = Study::with_defaults();
            study.device = device.parse().unwrap();
            study.train.data_parallel = asked;
            is_wanted(&study)
        };
        for device in ["cpu", "cuda:0"] {
            assert!(wanted(device, Some(true)) && !wanted(device, Some(false)));
        }
        assert!(!wanted("cpu", None));
        assert_eq!(wanted("cuda:0", None), device::has_nccl());
    }
}
