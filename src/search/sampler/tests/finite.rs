//! A space with an end is tried to its end, and nothing twice.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::super::testing::{fidelity, finite_domain, space};
use super::super::super::{Failure, Observations, Problem, State};
use super::{Random, SAMPLERS, Sampler};
use crate::space::{Domain, SearchSpace, UnitPoint};

/// All allowed points of a finite space, written down value by value.
fn all_points(space: &SearchSpace) -> BTreeSet<Vec<u64>> {
    let mut points: Vec<UnitPoint> = vec![vec![]];
    for dimension in &space.dimensions {
        let units: Vec<f64> = match &dimension.domain {
            Domain::Float { .. } => unreachable!("a continuum has no end"),
            Domain::Int { low, high, .. } => {
                (*low..=*high).map(|n| dimension.domain.unit(&n.into()).unwrap()).collect()
            }
            Domain::Ordinal(choices) | Domain::Categorical(choices) => {
                choices.iter().map(|choice| dimension.domain.unit(choice).unwrap()).collect()
            }
        };
        let longer = |point: &UnitPoint| units.iter().map(|unit| [&point[..], &[*unit]].concat()).collect();
        points = points.iter().flat_map::<Vec<UnitPoint>, _>(longer).collect();
    }
    let snapped = points.iter().map(|point| space.snapped(point)).filter(|point| space.allows(point));
    snapped.map(|point| bits(&point)).collect()
}

fn bits(point: &[f64]) -> Vec<u64> {
    point.iter().map(|unit| unit.to_bits()).collect()
}

/// How trial number `id` ends: in every way there is.
fn end(seen: &mut Observations, id: u32, problem: &Problem) {
    let trial = seen.trial_mut(id).unwrap();
    let value = f64::from(id * 7919 % 101);
    match id % 4 {
        0 => trial.state = State::Failed(Failure::OutOfMemory),
        1 => {
            trial.curve.push((problem.fidelity.levels[0], value));
            trial.state = if problem.fidelity.top() == 0 { State::Ended } else { State::Paused };
        }
        2 => {
            trial.curve.extend(problem.fidelity.levels.iter().map(|level| (*level, value)));
            trial.state = State::Ended;
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_finite_space_is_tried_to_its_end_and_nothing_twice(
        space in space(finite_domain(), 3), fidelity in fidelity(), seed: u64, others in 0u32..8
    ) {
        let wanted = all_points(&space);
        let problem = Problem { space, fidelity, seed, first: vec![] };
        for sampler in SAMPLERS {
            let (mut build, mut seen, mut found) = ((sampler.build)(), Observations::default(), BTreeSet::new());
            // The first trials are somebody else's.
            while let Some(point) =
                if seen.next_id() < others { Random.suggest(&problem, &seen) } else { build.suggest(&problem, &seen) }
            {
                prop_assert!(wanted.contains(&bits(&point)), "{}: {:?}", sampler.name, point);
                prop_assert!(found.insert(bits(&point)), "{}: {:?} twice", sampler.name, point);
                let id = seen.start(point, 0);
                end(&mut seen, id, &problem);
            }
            prop_assert_eq!(&found, &wanted, "{}", sampler.name);
        }
    }
}
