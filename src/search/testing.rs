//! Random problems and random pasts, for the properties of samplers and pruners.

pub(super) mod history;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::random::Stream;
use super::{Failure, Fidelity, Observations, Problem, State};
use crate::space::{Condition, Dimension, Domain, ProductConstraint, SearchSpace};

/// A hyperparameter of one of few values.
pub(super) fn finite_domain() -> impl Strategy<Value = Domain> {
    prop_oneof![
        (1i64..4, 0i64..5, any::<bool>()).prop_map(|(low, more, log)| Domain::Int {
            low,
            high: low + more,
            log
        }),
        (1usize..5).prop_map(|n| Domain::Ordinal((0..n).map(|i| json!(1 << i)).collect())),
        (1usize..5).prop_map(|n| Domain::Categorical((0..n).map(|i| json!(i.to_string())).collect())),
    ]
}

/// A hyperparameter of any kind.
pub(super) fn domain() -> impl Strategy<Value = Domain> {
    let float = (0.01f64..1.0, 1.0f64..1e3, any::<bool>()).prop_map(|(low, factor, log)| Domain::Float {
        low,
        high: low * factor,
        log,
    });
    let int = (1i64..50, 0i64..500, any::<bool>()).prop_map(|(low, more, log)| Domain::Int {
        low,
        high: low + more,
        log,
    });
    prop_oneof![3 => float, 2 => int, 3 => finite_domain()]
}

/// What ties hyperparameters together: for each one that is conditional the one it hangs on, and the factors
/// of a product.
type Ties = (Vec<Option<prop::sample::Index>>, Option<(prop::sample::Index, prop::sample::Index, u64)>);

/// A space of hyperparameters of this kind with conditions, and with a product that some points fulfil.
pub(super) fn space(
    domain: impl Strategy<Value = Domain>,
    at_most: usize,
) -> impl Strategy<Value = SearchSpace> {
    let conditions =
        prop::collection::vec(prop::option::weighted(0.3, any::<prop::sample::Index>()), at_most);
    let product = prop::option::weighted(0.3, any::<(prop::sample::Index, prop::sample::Index, u64)>());
    (prop::collection::vec(domain, 1..=at_most), (conditions, product))
        .prop_map(|(domains, ties)| tied(domains, &ties))
}

fn tied(domains: Vec<Domain>, (conditions, product): &Ties) -> SearchSpace {
    let mut space = SearchSpace::default();
    for (index, domain) in domains.into_iter().enumerate() {
        let on = conditions[index].filter(|_| index > 0).map(|on| on.index(index));
        let condition = on.and_then(|on| condition(&space.dimensions[on].domain, on));
        space.dimensions.push(Dimension { name: format!("h{index}"), domain, condition });
    }
    if let Some((a, b, seed)) = product {
        let point = space.snapped(&Stream::new(*seed, 0).point(space.len()));
        let of = vec![a.index(space.len()), b.index(space.len())];
        let numbers = of.iter().filter(|index| space.is_active(**index, &point));
        let product: f64 =
            numbers.filter_map(|index| space.dimensions[*index].domain.number(point[*index])).product();
        space.constraints.push(ProductConstraint { of, low: product * 0.7, high: product * 1.4 });
    }
    space
}

/// Half of the values of a hyperparameter that has few.
fn condition(parent: &Domain, on: usize) -> Option<Condition> {
    let values: Vec<Value> = match parent {
        Domain::Float { .. } => return None,
        Domain::Int { low, high, .. } => (*low..=(low + high) / 2).map(Value::from).collect(),
        Domain::Ordinal(choices) | Domain::Categorical(choices) => {
            choices[..choices.len().div_ceil(2)].to_vec()
        }
    };
    Some(Condition { on, values })
}

/// Levels, near and far from each other.
pub(super) fn fidelity() -> impl Strategy<Value = Fidelity> {
    let levels = prop_oneof![
        Just(vec![1.0]),
        Just(vec![1.0, 3.0, 9.0]),
        Just(vec![1.0, 2.0, 7.0, 30.0]),
        Just(vec![10.0, 81.0]),
        Just(vec![1.0, 2.0, 3.0, 4.0]),
    ];
    (levels, any::<bool>()).prop_map(|(levels, resume)| Fidelity { levels, resume })
}

/// A problem and what was seen of it.
pub(super) fn past(
    space: impl Strategy<Value = SearchSpace>,
    trials: usize,
) -> impl Strategy<Value = (Problem, Observations)> {
    (space, fidelity(), any::<u64>(), 0..=trials, any::<u64>()).prop_map(
        |(space, fidelity, seed, trials, chance)| {
            let problem = Problem { space, fidelity, seed, first: vec![] };
            let seen = random_past(&problem, trials, chance);
            (problem, seen)
        },
    )
}

/// Up to so many trials in every state there is; values are whole numbers.
pub(super) fn random_past(problem: &Problem, trials: usize, chance: u64) -> Observations {
    let mut stream = Stream::new(chance, 0);
    let mut seen = Observations::default();
    for _ in 0..trials * 4 {
        let point = problem.space.snapped(&stream.point(problem.space.len()));
        if seen.trials().len() < trials && seen.is_new(&point) && problem.space.allows(&point) {
            let id = seen.start(point, 0);
            let reached = stream.below(problem.fidelity.levels.len() + 1).checked_sub(1);
            tell(&mut seen, id, problem, reached, &mut stream);
        }
    }
    seen
}

fn tell(seen: &mut Observations, id: u32, problem: &Problem, reached: Option<usize>, stream: &mut Stream) {
    const FAILURES: [Failure; 3] = [Failure::OutOfMemory, Failure::Diverged, Failure::Failed];
    let top = problem.fidelity.top();
    let trial = seen.trial_mut(id).unwrap();
    for level in &problem.fidelity.levels[..reached.map_or(0, |reached| reached + 1)] {
        trial.curve.push((*level, f64::from(u32::try_from(stream.below(1000)).unwrap())));
    }
    let fails = stream.below(5) == 0;
    trial.state = match reached {
        _ if fails => State::Failed(FAILURES[stream.below(3)]),
        None => State::Running(0),
        Some(level) if level == top => State::Ended,
        Some(level) if stream.below(3) == 0 => State::Running(level + 1),
        Some(_) if stream.below(8) == 0 => State::Ended,
        Some(_) => State::Paused,
    };
}
