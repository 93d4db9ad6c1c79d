//! The default sampler: where it begins, and where it gets.

use super::super::super::{Failure, Fidelity, Observations, Problem, State};
use super::super::sobol::sobol_point;
use super::super::{GaussianProcess, Sampler, Sobol};
use super::{INTERLEAVE, is_initial, reflected};
use crate::search::surrogate::{PriorMean, SurrogateSettings, Term};
use crate::space::{Dimension, Domain, SearchSpace, UnitPoint};

const BOTTOM: [f64; 3] = [0.2, 0.7, 0.4];

fn problem(domains: Vec<Domain>, seed: u64) -> Problem {
    let dimension = |(index, domain)| Dimension { name: format!("h{index}"), domain, condition: None };
    let dimensions = domains.into_iter().enumerate().map(dimension).collect();
    let space = SearchSpace { dimensions, constraints: vec![] };
    Problem { space, fidelity: Fidelity::full_only(), seed, first: vec![] }
}

fn cube(seed: u64) -> Problem {
    problem(vec![Domain::Float { low: 0.0, high: 1.0, log: false }; 3], seed)
}

fn bowl(point: &[f64]) -> f64 {
    point.iter().zip(BOTTOM).map(|(unit, best)| (unit - best) * (unit - best)).sum()
}

/// The points of so many trials, each with its value at once.
fn run(
    sampler: &mut GaussianProcess,
    problem: &Problem,
    trials: u32,
    value: impl Fn(&[f64]) -> Option<f64>,
) -> Vec<UnitPoint> {
    let mut seen = Observations::default();
    for _ in 0..trials {
        let Some(point) = sampler.suggest(problem, &seen) else { break };
        let value = value(&point);
        let id = seen.start(point, 0);
        let trial = seen.trial_mut(id).unwrap();
        trial.curve.extend(value.map(|value| (1.0, value)));
        trial.state = if value.is_some() { State::Ended } else { State::Failed(Failure::OutOfMemory) };
    }
    seen.trials().iter().map(|trial| trial.point.clone()).collect()
}

fn plain() -> GaussianProcess {
    GaussianProcess::new(SurrogateSettings::default(), true)
}

#[test]
fn the_first_trial_is_the_middle_and_more_of_the_sequence_follow_than_there_are_dimensions() {
    let problem = cube(3);
    let points = run(&mut plain(), &problem, 7, |point| Some(bowl(point)));
    assert_eq!(points[0], [0.5; 3]);
    for (index, point) in points[..6].iter().enumerate().skip(1) {
        assert_eq!(*point, sobol_point(3, index, 0, 3));
    }
    assert_ne!(points[6], sobol_point(3, 6, 0, 3));
    assert_eq!([5, 6].map(|id| is_initial(&problem, id)), [true, false]);
    let many = self::problem(vec![Domain::Float { low: 0.0, high: 1.0, log: false }; 20], 3);
    assert_eq!([6, 7].map(|id| is_initial(&many, id)), [true, false], "but not without an end");
    let (rate, fixed) =
        (Domain::Float { low: 0.0, high: 1.0, log: false }, Domain::Categorical(vec![1.into()]));
    let one = self::problem(vec![rate, fixed], 3);
    assert_eq!([3, 4].map(|id| is_initial(&one, id)), [true, false], "what is fixed does not count");
}

#[test]
fn values_without_an_order_have_no_middle() {
    let kinds = || Domain::Categorical((0..3).map(serde_json::Value::from).collect());
    let first = |seed| plain().suggest(&problem(vec![kinds()], seed), &Observations::default()).unwrap();
    let points: Vec<UnitPoint> = (0..20).map(first).collect();
    assert!(points.iter().any(|point| *point != points[0]));
}

#[test]
fn with_something_expected_the_first_trial_is_where_most_is() {
    let domain = Domain::Float { low: 1e-6, high: 1e-2, log: true };
    let term = |dimension, best| Term {
        dimension,
        best,
        spread: 0.0,
        below: 1.0,
        above: 1.0,
        drift: 0.0,
        tilts: vec![],
    };
    let prior = Some(PriorMean { terms: vec![term(0, -3.0), term(1, -5.0)] });
    for seed in 0..5 {
        let settings = SurrogateSettings { prior: prior.clone(), ..SurrogateSettings::default() };
        let problem = problem(vec![domain.clone(); 2], seed);
        let first = GaussianProcess::new(settings, true).suggest(&problem, &Observations::default()).unwrap();
        assert!((first[0] - 0.75).abs() < 0.1 && (first[1] - 0.25).abs() < 0.1, "{first:?}");
    }
}

#[test]
fn now_and_then_a_trial_is_of_the_sequence_whatever_is_believed() {
    let turn = INTERLEAVE - 1;
    let after_turn = |interleaves| {
        let mut sampler = GaussianProcess::new(SurrogateSettings::default(), interleaves);
        run(&mut sampler, &cube(5), turn + 1, |point| Some(bowl(point))).pop().unwrap()
    };
    let of_sequence = sobol_point(5, turn as usize, 0, 3);
    assert_eq!(after_turn(true), of_sequence);
    assert_ne!(after_turn(false), of_sequence);
}

#[test]
fn the_bottom_of_a_bowl_is_found_in_twenty_five_trials() {
    let is_near = |point: &UnitPoint| point.iter().zip(BOTTOM).all(|(unit, best)| (unit - best).abs() < 0.05);
    let found = (0..10).filter(|seed| {
        let points = run(&mut plain(), &cube(*seed), 25, |point| Some(bowl(point)));
        is_near(points.iter().min_by(|a, b| bowl(a).total_cmp(&bowl(b))).unwrap())
    });
    let found = found.count();
    assert!(found >= 8, "{found} of 10");
}

/// The smallest distance of a point to one of the others, along the dimension where it is largest.
fn distance(others: &[UnitPoint], point: &UnitPoint) -> f64 {
    let far = |other: &UnitPoint| {
        other.iter().zip(point).map(|(other, own)| (other - own).abs()).fold(0.0, f64::max)
    };
    others.iter().map(far).fold(f64::INFINITY, f64::min)
}

/// The same of all suggestions that rest on what was seen.
fn closest(points: &[UnitPoint]) -> f64 {
    let rests = |index: &usize| *index > 6 && index % INTERLEAVE as usize != INTERLEAVE as usize - 1;
    let those = (0..points.len()).filter(rests);
    those.map(|index| distance(&points[..index], &points[index])).fold(f64::INFINITY, f64::min)
}

/// What a run's seed does.
fn luck(point: &[f64]) -> f64 {
    0.05 * (1e4 * point.iter().sum::<f64>()).sin()
}

#[test]
fn where_runs_have_luck_no_trial_is_a_copy_of_another_and_where_they_have_none_it_may_come_close() {
    let noisy = run(&mut plain(), &cube(2), 30, |point| Some(bowl(point) + luck(point)));
    assert!(closest(&noisy) > 0.02, "{}", closest(&noisy));
    let certain = run(&mut plain(), &cube(2), 30, |point| Some(bowl(point)));
    assert!(closest(&certain) < 0.02, "{}", closest(&certain));
}

#[test]
fn several_that_start_at_once_are_not_neighbours() {
    let fidelity = Fidelity { levels: vec![1.0, 9.0], resume: true };
    let near = (0..24).filter(|seed| {
        let problem = Problem { fidelity: fidelity.clone(), ..cube(*seed) };
        let mut seen = Observations::default();
        for point in run(&mut plain(), &cube(*seed), 12, |point| Some(bowl(point) + luck(point))) {
            let (value, short) = (bowl(&point), bowl(&point) + 10.0 * luck(&point));
            let id = seen.start(point, 1);
            let trial = seen.trial_mut(id).unwrap();
            // Short runs tell so little that one beside another might as well run.
            trial.curve = if id % 2 == 0 { vec![(1.0, short), (9.0, value)] } else { vec![(1.0, short)] };
            trial.state = if id % 2 == 0 { State::Ended } else { State::Paused };
        }
        for _ in 0..4 {
            let point = plain().suggest(&problem, &seen).unwrap();
            seen.start(point, 0);
        }
        let points: Vec<UnitPoint> = seen.trials().iter().map(|trial| trial.point.clone()).collect();
        (13..16).any(|index| distance(&points[12..index], &points[index]) < 0.1)
    });
    let near = near.count();
    assert!(near < 6, "{near} of 24");
}

#[test]
fn where_trials_fail_fewer_are_suggested_than_by_chance() {
    // A third of the space needs too much memory, which the values of the rest don't tell.
    let fits = |point: &[f64]| point[0] < 0.67;
    let value = |point: &[f64]| fits(point).then(|| bowl(point));
    let failed = |seed| {
        let points = run(&mut plain(), &cube(seed), 40, value);
        points.iter().filter(|point| !fits(point)).count()
    };
    let failed: usize = (0..6).map(failed).sum();
    assert!(failed < 70, "{failed} of 240 failed; by chance it would be 80");
}

#[test]
fn a_space_with_an_end_is_tried_to_its_end() {
    let kinds = Domain::Categorical((0..3).map(serde_json::Value::from).collect());
    let problem = problem(vec![kinds, Domain::Int { low: 1, high: 4, log: true }], 0);
    let points = run(&mut plain(), &problem, 100, |point| Some(point[1]));
    assert_eq!(points.len(), 12);
}

#[test]
fn a_move_beyond_an_edge_comes_back() {
    for (beyond, inside) in [(-0.25, 0.25), (1.25, 0.75), (0.5, 0.5), (2.25, 0.25), (-1.5, 0.5)] {
        assert_eq!(reflected(beyond), inside);
    }
}

#[test]
fn the_sequence_is_the_sampler_of_that_name() {
    let mut seen = Observations::default();
    seen.start(vec![0.5; 3], 0);
    assert_eq!(plain().suggest(&cube(9), &seen), Sobol.suggest(&cube(9), &seen));
}
