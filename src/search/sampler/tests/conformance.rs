//! Properties over random spaces and random pasts.

use proptest::prelude::*;

use super::super::super::testing::{domain, past, random_past, space};
use super::super::super::{Fidelity, Observations, Problem, State};
use super::SAMPLERS;
use crate::space::{Dimension, Domain, SearchSpace, UnitPoint};

/// Why a suggestion may not be made, if so.
fn fault(problem: &Problem, seen: &Observations, point: &UnitPoint) -> Option<&'static str> {
    let values = problem.space.values(point);
    let in_cube = point.iter().all(|unit| (0.0..=1.0).contains(unit));
    match () {
        () if point.len() != problem.space.len() || !in_cube => Some("it is no point of the unit cube"),
        () if problem.space.snapped(point) != *point => Some("it is not snapped"),
        () if problem.space.point(&values).is_err() => Some("its values are not a point of the space"),
        () if !seen.is_new(point) => Some("it was tried"),
        () => None,
    }
}

/// Values times `factor` and plus `shift`.
fn changed(problem: &Problem, seen: &Observations, factor: f64, shift: f64) -> Observations {
    let mut changed = Observations::default();
    for trial in seen.trials() {
        let id = changed.start(trial.point.clone(), problem.fidelity.top());
        let new = changed.trial_mut(id).unwrap();
        *new = trial.clone();
        for point in &mut new.curve {
            point.1 = point.1 * factor + shift;
        }
    }
    changed
}

fn continua(count: usize, seed: u64) -> Problem {
    let dimension = |index: usize| Dimension {
        name: format!("h{index}"),
        domain: Domain::Float { low: 0.0, high: 1.0, log: false },
        condition: None,
    };
    let space = SearchSpace { dimensions: (0..count).map(dimension).collect(), constraints: vec![] };
    Problem { space, fidelity: Fidelity::full_only(), seed, first: vec![] }
}

proptest! {
    #[test]
    fn a_suggestion_is_a_new_point_of_the_space_and_the_same_twice(
        (problem, seen) in past(space(domain(), 5), 40)
    ) {
        for sampler in SAMPLERS {
            let suggested = (sampler.build)().suggest(&problem, &seen);
            if let Some(point) = &suggested {
                prop_assert_eq!(fault(&problem, &seen, point), None, "{}: {:?}", sampler.name, point);
            }
            prop_assert_eq!(&suggested, &(sampler.build)().suggest(&problem, &seen), "{}", sampler.name);
        }
    }

    #[test]
    fn a_sampler_that_has_answered_before_answers_as_a_new_one_does(
        (problem, seen) in past(space(domain(), 4), 25), (other, other_seen) in past(space(domain(), 4), 25)
    ) {
        for sampler in SAMPLERS {
            let mut used = (sampler.build)();
            used.suggest(&other, &other_seen);
            let fresh = (sampler.build)().suggest(&problem, &seen);
            prop_assert_eq!(used.suggest(&problem, &seen), fresh, "{}", sampler.name);
        }
    }

    #[test]
    fn four_asks_without_an_answer_give_four_points((problem, seen) in past(space(domain(), 5), 30)) {
        for sampler in SAMPLERS {
            let (mut seen, mut build) = (seen.clone(), (sampler.build)());
            for _ in 0..4 {
                let Some(point) = build.suggest(&problem, &seen) else { break };
                prop_assert_eq!(fault(&problem, &seen, &point), None, "{}: {:?}", sampler.name, point);
                seen.start(point, 0);
            }
        }
    }

    /// A power of two and whole numbers keep values exact, so that ties stay ties.
    #[test]
    fn neither_the_unit_nor_the_zero_of_the_objective_matters(
        (problem, seen) in past(space(domain(), 4), 40), power in -3i32..8, shift in -1000i32..1000
    ) {
        let other = changed(&problem, &seen, 2f64.powi(power), f64::from(shift));
        for sampler in SAMPLERS {
            let suggested = (sampler.build)().suggest(&problem, &seen);
            prop_assert_eq!(suggested, (sampler.build)().suggest(&problem, &other), "{}", sampler.name);
        }
    }

    #[test]
    fn another_seed_gives_other_points(seed: u64, other: u64, trials in 0usize..40, chance: u64) {
        prop_assume!(seed != other);
        for sampler in SAMPLERS {
            let draw = |seed: u64| {
                let (problem, mut sampler) = (continua(4, seed), (sampler.build)());
                let mut seen = random_past(&problem, trials, chance);
                (0..4).map(|_| {
                    let point = sampler.suggest(&problem, &seen).unwrap();
                    seen.start(point.clone(), 0);
                    point
                }).collect::<Vec<UnitPoint>>()
            };
            prop_assert_ne!(draw(seed), draw(other), "{}", sampler.name);
        }
    }
}

/// A bowl whose lowest point is not where anything starts.
fn bowl(point: &[f64]) -> f64 {
    point.iter().zip([0.2, 0.7, 0.4]).map(|(unit, best)| (unit - best) * (unit - best)).sum()
}

fn best_after(trials: usize, name: &str, seed: u64) -> f64 {
    let (problem, mut seen) = (continua(3, seed), Observations::default());
    let mut sampler = (SAMPLERS.iter().find(|sampler| sampler.name == name).unwrap().build)();
    for _ in 0..trials {
        let point = sampler.suggest(&problem, &seen).unwrap();
        let value = bowl(&point);
        let id = seen.start(point, 0);
        let trial = seen.trial_mut(id).unwrap();
        trial.curve.push((1.0, value));
        trial.state = State::Ended;
    }
    seen.incumbent(&problem).unwrap().2
}

#[test]
fn what_looks_at_values_finds_the_bottom_of_a_bowl_far_sooner_than_chance() {
    let median = |name: &str| {
        let mut best: Vec<f64> = (0..15).map(|seed| best_after(60, name, seed)).collect();
        best.sort_by(f64::total_cmp);
        best[7]
    };
    let (random, tpe, gp) = (median("random"), median("tpe"), median("gp"));
    assert!(tpe * 3.0 < random, "tpe {tpe:.5}, random {random:.5}");
    assert!(gp * 100.0 < random, "gp {gp:.7}, random {random:.5}");
}
