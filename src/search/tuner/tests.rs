//! Ask and tell: whole searches, in every order that things may happen in.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::random::Stream;
use super::super::testing::{domain, fidelity, space};
use super::{Answer, Outcome, Tuner, TunerSettings};
use crate::search::pruner::PrunerKind;
use crate::search::sampler::SamplerKind;
use crate::search::{Failure, Fidelity, Problem, State};
use crate::space::{Dimension, Domain, SearchSpace};
use crate::trial::TrialId;

fn problem(seed: u64) -> Problem {
    let dimension = |index: usize| Dimension {
        name: format!("h{index}"),
        domain: Domain::Float { low: 0.0, high: 1.0, log: false },
        condition: None,
    };
    let space = SearchSpace { dimensions: (0..2).map(dimension).collect(), constraints: vec![] };
    let fidelity = Fidelity { levels: vec![1.0, 3.0, 9.0], resume: true };
    Problem { space, fidelity, seed, first: vec![] }
}

/// A search over any space.
fn problems() -> impl Strategy<Value = Problem> {
    (space(domain(), 3), fidelity(), any::<u64>()).prop_map(|(space, fidelity, seed)| Problem {
        space,
        fidelity,
        seed,
        first: vec![],
    })
}

fn tuner(problem: &Problem) -> Tuner {
    Tuner::new(problem.clone(), TunerSettings::default())
}

/// What a run told.
#[derive(Clone, Debug)]
struct Told {
    id: TrialId,
    points: Vec<(f64, f64)>,
    outcome: Outcome,
}

impl Told {
    fn to(&self, tuner: &mut Tuner) {
        tuner.tell(self.id, &self.points, self.outcome, None);
    }
}

/// What happens in a search, in its order.
#[derive(Clone, Debug)]
enum Event {
    Asked(Answer),
    Told(Told),
}

/// A run to `level` that ends in one of many ways; values are whole numbers.
fn end(tuner: &Tuner, id: TrialId, level: usize, stream: &mut Stream) -> Told {
    let levels = &tuner.problem().fidelity.levels;
    let failures = [Failure::OutOfMemory, Failure::Diverged, Failure::Failed];
    let mut value = || f64::from(u32::try_from(stream.below(1000)).unwrap());
    let points = levels[..=level].iter().map(|length| (*length, value())).collect();
    match stream.below(6) {
        0 => Told { id, points: vec![], outcome: Outcome::Failed(failures[stream.below(3)]) },
        // It ends before it gets there.
        1 => Told { id, points: vec![(levels[0] * 0.7, 1.0)], outcome: Outcome::Completed },
        _ => Told { id, points, outcome: Outcome::Completed },
    }
}

/// A search with up to three open runs, whose values `change` maps.
fn search(tuner: &mut Tuner, asks: usize, chance: u64, change: impl Fn(f64) -> f64) -> Vec<Event> {
    let mut stream = Stream::new(chance, 0);
    let (mut events, mut open) = (vec![], vec![]);
    for _ in 0..asks {
        let answer = tuner.ask();
        if let Answer::Run { id, level } = answer {
            open.push((id, level));
        }
        events.push(Event::Asked(answer));
        while !open.is_empty() && (open.len() == 3 || stream.below(2) == 0) {
            let (id, level) = open.swap_remove(stream.below(open.len()));
            let mut told = end(tuner, id, level, &mut stream);
            for point in &mut told.points {
                point.1 = change(point.1);
            }
            told.to(tuner);
            events.push(Event::Told(told));
        }
    }
    events
}

/// Runs one trial to where it was asked to.
fn complete(tuner: &mut Tuner, value: f64) -> (TrialId, usize) {
    let Answer::Run { id, level } = tuner.ask() else { unreachable!("there is always a point") };
    tuner.tell(id, &[(tuner.problem().fidelity.levels[level], value)], Outcome::Completed, None);
    (id, level)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_search_that_is_fed_its_log_again_asks_the_same(problem in problems(), asks in 1usize..20, chance: u64) {
        let mut first = tuner(&problem);
        let log = search(&mut first, asks, chance, |value| value);
        let mut again = tuner(&problem);
        for event in log {
            match event {
                Event::Asked(answer) => prop_assert_eq!(again.ask(), answer),
                Event::Told(told) => told.to(&mut again),
            }
        }
        prop_assert_eq!(again.seen(), first.seen());
        prop_assert_eq!(again.ask(), first.ask());
        prop_assert_eq!(again.expected_gain(), first.expected_gain());
    }

    /// Another program's trials, or those of an earlier search, count as one's own.
    #[test]
    fn a_search_that_takes_up_trials_goes_on_as_the_one_that_made_them(
        problem in problems(), asks in 1usize..16, chance: u64
    ) {
        let mut first = tuner(&problem);
        search(&mut first, asks, chance, |value| value);
        let mut second = tuner(&problem);
        for trial in first.seen().trials() {
            let (level, outcome) = match trial.state {
                State::Running(level) => (level, Outcome::Running),
                State::Failed(failure) => (0, Outcome::Failed(failure)),
                State::Paused => (trial.level(&problem).unwrap(), Outcome::Completed),
                State::Ended => (problem.fidelity.top(), Outcome::Completed),
            };
            let id = second.start(trial.point.clone(), level);
            second.tell(id, &trial.curve, outcome, None);
        }
        prop_assert_eq!(second.seen(), first.seen());
        prop_assert_eq!(second.ask(), first.ask());
    }

    #[test]
    fn nothing_that_runs_or_failed_is_asked_again(problem in problems(), asks in 1usize..25, chance: u64) {
        let mut searching = tuner(&problem);
        let (mut closed, mut running) = (BTreeSet::new(), BTreeSet::new());
        for event in search(&mut searching, asks, chance, |value| value) {
            match event {
                Event::Asked(Answer::Run { id, level }) => {
                    prop_assert!(level <= problem.fidelity.top());
                    prop_assert!(!closed.contains(&id) && running.insert(id), "{id}");
                }
                Event::Asked(Answer::Exhausted) => {}
                Event::Told(told) => {
                    running.remove(&told.id);
                    if matches!(told.outcome, Outcome::Failed(_)) {
                        closed.insert(told.id);
                    }
                }
            }
        }
        let points = searching.seen().trials().iter().map(|trial| format!("{:?}", trial.point));
        prop_assert_eq!(points.collect::<BTreeSet<_>>().len(), searching.seen().trials().len());
    }

    /// A power of two and whole numbers keep values exact, so that ties stay ties.
    #[test]
    fn neither_unit_nor_zero_of_the_objective_matters_to_a_whole_search(
        problem in problems(), asks in 1usize..20, chance: u64, power in -3i32..8, shift in -1000i32..1000
    ) {
        let answers = |change: &dyn Fn(f64) -> f64| {
            let events = search(&mut tuner(&problem), asks, chance, change);
            events.into_iter().filter_map(|event| match event {
                Event::Asked(answer) => Some(answer),
                Event::Told(_) => None,
            }).collect::<Vec<Answer>>()
        };
        let changed = answers(&|value| value * 2f64.powi(power) + f64::from(shift));
        prop_assert_eq!(answers(&|value| value), changed);
    }

    #[test]
    fn the_order_in_which_points_are_told_is_harmless(
        order in Just(vec![1.0, 2.0, 3.0, 5.0, 9.0]).prop_shuffle(), cut in 0usize..5
    ) {
        let problem = problem(1);
        let (mut straight, mut shuffled) = (tuner(&problem), tuner(&problem));
        straight.ask();
        shuffled.ask();
        let points = |lengths: &[f64]| lengths.iter().map(|length| (*length, 10.0 - length)).collect::<Vec<_>>();
        straight.tell(0, &points(&[1.0, 2.0, 3.0, 5.0, 9.0]), Outcome::Completed, None);
        // The first tell may hold the full run already: what comes late is taken all the same.
        shuffled.tell(0, &points(&order[..cut]), Outcome::Running, None);
        shuffled.tell(0, &points(&order[cut..]), Outcome::Completed, None);
        prop_assert_eq!(straight.seen(), shuffled.seen());
    }
}

#[test]
fn what_the_user_wants_first_comes_first_and_in_its_order() {
    let first = vec![vec![0.9, 0.1], vec![0.2, 0.3], vec![0.5, 0.5]];
    for sampler in SamplerKind::ALL {
        for pruner in [PrunerKind::None, PrunerKind::Forecast] {
            let settings = TunerSettings { sampler, pruner, ..TunerSettings::default() };
            let mut tuner = Tuner::new(Problem { first: first.clone(), ..problem(2) }, settings);
            // A pruner may let others go on in between, and a grid has an end.
            for value in 0..40 {
                let Answer::Run { id, level } = tuner.ask() else { break };
                let length = tuner.problem().fidelity.levels[level];
                tuner.tell(id, &[(length, f64::from(value))], Outcome::Completed, None);
            }
            let trials = tuner.seen().trials().iter().take(3);
            let asked: Vec<Vec<f64>> = trials.map(|trial| trial.point.clone()).collect();
            assert_eq!(asked, first, "{sampler:?} {pruner:?}");
        }
    }
}

#[test]
fn several_open_asks_are_different_points() {
    let mut tuner = tuner(&problem(3));
    for value in 0..12 {
        complete(&mut tuner, f64::from(value % 5));
    }
    let ids: BTreeSet<TrialId> = (0..8)
        .map(|_| match tuner.ask() {
            Answer::Run { id, .. } => id,
            Answer::Exhausted => unreachable!("a continuum has no end"),
        })
        .collect();
    assert_eq!(ids.len(), 8);
}

#[test]
fn a_point_that_is_told_twice_counts_once() {
    let mut tuner = tuner(&problem(4));
    tuner.ask();
    tuner.tell(0, &[(1.0, 5.0), (1.0, 6.0)], Outcome::Running, Some(2.0));
    tuner.tell(0, &[(1.0, 7.0), (3.0, 4.0)], Outcome::Running, None);
    let trial = &tuner.seen().trials()[0];
    assert_eq!(trial.curve, [(1.0, 5.0), (3.0, 4.0)]);
    assert_eq!((trial.seconds, trial.state), (Some(2.0), State::Running(2)));
}

#[test]
fn what_is_no_number_means_divergence_and_what_is_no_length_nothing() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut tuner = tuner(&problem(5));
        tuner.ask();
        tuner.tell(0, &[(1.0, 5.0), (3.0, value)], Outcome::Completed, None);
        let trial = &tuner.seen().trials()[0];
        assert_eq!((trial.curve.len(), trial.state), (1, State::Failed(Failure::Diverged)));
    }
    let mut tuner = tuner(&problem(5));
    tuner.ask();
    let lengths = [f64::NAN, f64::INFINITY, 0.0, -1.0].map(|length| (length, 1.0));
    tuner.tell(0, &lengths, Outcome::Running, None);
    assert!(tuner.seen().trials()[0].curve.is_empty());
    // Nobody has number 7.
    tuner.tell(7, &[(1.0, 1.0)], Outcome::Completed, None);
    assert_eq!(tuner.seen().trials().len(), 1);
}

#[test]
fn a_trial_rests_where_it_was_asked_to_go_and_ends_at_the_full_run() {
    let mut tuner = tuner(&problem(6));
    let states = |tuner: &Tuner| tuner.seen().trials().iter().map(|trial| trial.state).collect::<Vec<_>>();
    assert_eq!(complete(&mut tuner, 1.0), (0, 2));
    let (_, level) = complete(&mut tuner, 2.0);
    assert!(level < 2);
    tuner.ask();
    tuner.tell(2, &[(0.5, 1.0)], Outcome::Completed, None);
    // It came to an end of its own.
    assert_eq!(states(&tuner), [State::Ended, State::Paused, State::Ended]);
}

#[test]
fn a_promising_trial_goes_on_under_its_number() {
    let mut tuner = tuner(&problem(7));
    let mut levels = vec![0usize; 30];
    for value in 0..30u32 {
        let Answer::Run { id, level } = tuner.ask() else { unreachable!("there is always a point") };
        if level > levels[id as usize] {
            levels[id as usize] = level;
        }
        // Every second trial is far better than the others.
        let value = if id % 2 == 0 { -10.0 } else { f64::from(value) };
        tuner.tell(id, &[(tuner.problem().fidelity.levels[level], value)], Outcome::Completed, None);
    }
    let went_on = (1..30).filter(|id| levels[*id] > 0);
    assert!(went_on.clone().count() > 0);
    assert!(went_on.filter(|id| id % 2 == 0).count() > 0);
}

#[test]
fn where_everything_was_tried_it_is_over_and_a_gain_is_not_expected() {
    let mut problem = problem(8);
    problem.space.dimensions.truncate(1);
    problem.space.dimensions[0].domain = Domain::Int { low: 1, high: 3, log: false };
    let mut tuner = tuner(&problem);
    for asks in 0..20 {
        match tuner.ask() {
            Answer::Run { id, level } => {
                let length = problem.fidelity.levels[level];
                tuner.tell(id, &[(length, f64::from(id))], Outcome::Completed, None);
            }
            Answer::Exhausted => {
                assert!(asks >= 3);
                assert_eq!(tuner.seen().trials().len(), 3);
                assert_eq!(tuner.expected_gain(), None);
                return;
            }
        }
    }
    unreachable!("three points have an end");
}
