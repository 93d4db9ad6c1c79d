//! Ask and tell: whole searches, in every order that things may happen in, and worked examples.

mod examples;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::random::Stream;
use super::super::testing::{domain, fidelity, space};
use super::{Answer, Outcome, Tuner, TunerSettings};
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
                Event::Asked(Answer::Exhausted | Answer::Wait) => {}
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
