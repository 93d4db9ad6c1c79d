//! How likely does a trial fail at a point? A smoothed share of the failures near it.
//!
//! P(fail) = (u·a + Σ k over failures)/(a + Σ k over all) with a narrow kernel k: near nothing it is the usual share of failures, near
//! a failure it is high. Nothing is assumed of why trials fail.
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
    let (mut failed, mut all) = (USUAL * EVIDENCE, EVIDENCE);
    for (other, has_failed) in ended {
        let squared: f64 = distances.squared(point, other).sum();
        let weight = (-squared / (2.0 * WIDTH * WIDTH)).exp();
        all += weight;
        failed += if *has_failed { weight } else { 0.0 };
    }
    failed / all
}
