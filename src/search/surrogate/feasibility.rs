//! How likely does a trial fail at a point? A smoothed share of the failures near it.
//!
//! P(fail) = (u·a + Σ k over failures)/(a + Σ k over all) with a narrow kernel k: near nothing it is the usual share
//! of failures, near a failure it is high. The usual share u is that of the hyperparameter which, looked at alone in
//! the same way, tells most of failures: often a single one decides, a batch that needs too much memory or a rate
//! that is too high, and then its failures tell of all points beyond, however far apart they lie.
//!
//! Source: a kernel-weighted Beta-Bernoulli estimate (Goetschalckx et al. 2011, Continuous Correlated Beta Processes).

use super::super::Observations;
use super::kernel::Distances;

/// The kernel falls to 0.6 in this distance.
const WIDTH: f64 = 0.12;
/// How many trials' worth of evidence stands against failure beforehand.
const EVIDENCE: f64 = 1.0;
/// So many of either kind are looked at, the latest.
const MOST: usize = 128;
/// The share of failures that is expected beforehand.
const USUAL: f64 = 0.1;

/// ln P(no failure) at each of `points`.
pub(crate) fn log_soundness(distances: &Distances, seen: &Observations, points: &[&[f64]]) -> Vec<f64> {
    if !seen.trials().iter().any(super::super::Observed::has_failed) {
        return vec![0.0; points.len()];
    }
    let ended = |has_failed| {
        let of_kind =
            seen.trials().iter().rev().filter(move |trial| {
                trial.has_failed() == has_failed && (has_failed || !trial.curve.is_empty())
            });
        of_kind.map(move |trial| (trial.point.as_slice(), has_failed)).take(MOST)
    };
    let ended: Vec<(&[f64], bool)> = ended(true).chain(ended(false)).collect();
    points.iter().map(|point| (1.0 - share_near(distances, &ended, point)).ln()).collect()
}

fn share_near(distances: &Distances, ended: &[(&[f64], bool)], point: &[f64]) -> f64 {
    let mut alone = vec![Tally::default(); point.len()];
    let mut together = Tally::default();
    for (other, has_failed) in ended {
        let mut weight = 1.0;
        for (tally, squared) in alone.iter_mut().zip(distances.squared(point, other)) {
            let own = (-squared / (2.0 * WIDTH * WIDTH)).exp();
            tally.add(own, *has_failed);
            weight *= own;
        }
        together.add(weight, *has_failed);
    }
    let usual = alone.iter().map(|tally| tally.share(USUAL)).fold(USUAL, f64::max);
    together.share(usual)
}

/// Weights of trials.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failed: f64,
    all: f64,
}

impl Tally {
    fn add(&mut self, weight: f64, has_failed: bool) {
        self.all += weight;
        self.failed += if has_failed { weight } else { 0.0 };
    }

    /// The share of failures, if it is usually `usual`.
    fn share(self, usual: f64) -> f64 {
        (usual * EVIDENCE + self.failed) / (EVIDENCE + self.all)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests {
    use super::super::super::{Failure, State};
    use super::super::testing::{add, distances};
    use super::*;
    use proptest::prelude::*;

    const FAILED: State = State::Failed(Failure::OutOfMemory);

    fn soundness(seen: &Observations, points: &[f64]) -> Vec<f64> {
        let views: Vec<&[f64]> = points.chunks(1).collect();
        log_soundness(&distances(1), seen, &views)
    }

    #[test]
    fn where_nothing_has_failed_nothing_is_held_against_a_point() {
        let mut seen = Observations::default();
        add(&mut seen, &[0.5], &[(1.0, 1.0)], State::Ended);
        assert_eq!(soundness(&seen, &[0.5, 0.9]), [0.0, 0.0]);
    }

    /// By hand: the kernel is 1 at the failure itself and nothing far from it.
    #[test]
    fn near_a_failure_it_is_unlikely_to_go_well_and_far_from_it_as_usual() {
        let mut seen = Observations::default();
        add(&mut seen, &[0.1], &[], FAILED);
        let told = soundness(&seen, &[0.1, 0.1 + WIDTH, 0.99]);
        let share = |kernel: f64| {
            let alone = (USUAL * EVIDENCE + kernel) / (EVIDENCE + kernel);
            (alone * EVIDENCE + kernel) / (EVIDENCE + kernel)
        };
        let expected = [1.0, (-0.5f64).exp(), 0.0].map(|kernel| (1.0 - share(kernel)).ln());
        for (told, expected) in told.iter().zip(expected) {
            assert!((told - expected).abs() < 1e-3, "{told} is not {expected}");
        }
    }

    #[test]
    fn runs_that_went_well_speak_for_their_neighbours_and_those_on_their_way_do_not() {
        let mut seen = Observations::default();
        add(&mut seen, &[0.5], &[], FAILED);
        let alone = soundness(&seen, &[0.52])[0];
        add(&mut seen, &[0.54], &[], State::Running(0));
        assert_eq!(soundness(&seen, &[0.52])[0], alone);
        add(&mut seen, &[0.54], &[(1.0, 1.0)], State::Ended);
        assert!(soundness(&seen, &[0.52])[0] > alone);
    }

    #[test]
    fn a_hyperparameter_that_decides_alone_tells_of_points_far_from_every_failure() {
        let mut seen = Observations::default();
        for index in 0..8 {
            let other = f64::from(index) / 8.0;
            add(&mut seen, &[0.9, other, 1.0 - other], &[], FAILED);
            add(&mut seen, &[0.1, other, 1.0 - other], &[(1.0, 1.0)], State::Ended);
        }
        let points: [&[f64]; 2] = [&[0.9, 0.1, 0.1], &[0.1, 0.1, 0.1]];
        let told = log_soundness(&distances(3), &seen, &points);
        assert!(told[0] < told[1] - 1.0, "{told:?}");
    }

    proptest! {
        #[test]
        fn it_is_the_logarithm_of_a_share(
            trials in prop::collection::vec((0.0f64..1.0, any::<bool>()), 0..40), point in 0.0f64..1.0
        ) {
            let mut seen = Observations::default();
            for (at, has_failed) in trials {
                add(&mut seen, &[at], &[(1.0, 1.0)], if has_failed { FAILED } else { State::Ended });
            }
            let told = soundness(&seen, &[point])[0];
            prop_assert!(told <= 0.0 && told.is_finite());
        }
    }
}
