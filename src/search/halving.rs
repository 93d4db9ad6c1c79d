//! Successive halving (Jamieson and Talwalkar 2016): many short runs, few long ones.
//!
//! Rungs are prefixes of the full run, so a promoted trial goes on from its checkpoint. The last
//! rung is the full run itself and belongs to the winner; it is not decided here.

use crate::space::SearchSettings;
use crate::trial::{History, Trial, TrialId};

/// What the study does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Suggest a new trial.
    Suggest,
    /// Run a rung of a trial, from its checkpoint if it has one.
    Run {
        /// Which trial.
        trial: TrialId,
        /// Which rung.
        rung: u32,
    },
    /// Wait for a run that is under way: what is next depends on it.
    Wait,
    /// Every rung below the full run is done.
    Finish,
}

/// Rungs that have begun and not ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun<'a> {
    /// Those that run at the moment.
    pub under_way: &'a [(TrialId, u32)],
    /// Those that a driver which was killed has left: they go on before anything else.
    pub cut: &'a [(TrialId, u32)],
}

/// The next action, given everything that ended.
///
/// `forecasts`, one a trial, say who is promoted; where there are none, the losses of the rung below do.
#[must_use]
pub fn next_action(
    history: &History,
    begun: Begun<'_>,
    settings: &SearchSettings,
    forecasts: Option<&[f64]>,
) -> Action {
    let runs = |trial: &Trial, rung: u32| begun.under_way.contains(&(trial.id, rung));
    // The full run belongs to the winner, unless all runs are full ones.
    let is_searched = |rung: u32| rung == 0 || rung + 1 < settings.rungs;
    if let Some((trial, rung)) = begun.cut.iter().copied().find(|(_, rung)| is_searched(*rung)) {
        return Action::Run { trial, rung };
    }
    if let Some(trial) = history.trials.iter().find(|trial| trial.rungs.is_empty() && !runs(trial, 0)) {
        return Action::Run { trial: trial.id, rung: 0 };
    }
    if history.trials.len() < settings.trials + history.retries() {
        return Action::Suggest;
    }
    for rung in 1..settings.rungs.saturating_sub(1) {
        let running = |of: u32| begun.under_way.iter().filter(|(_, other)| *other == of).count();
        if begun.under_way.iter().any(|(_, lower)| lower + 1 < rung) {
            return Action::Wait;
        }
        let places = places(entered(history, rung - 1) + running(rung - 1), settings);
        // Whatever those that run will turn out to be, each can only come before as many as they are.
        let sure = places.saturating_sub(running(rung - 1));
        // A place is taken once: forecasts that change afterwards send no others in.
        let is_full = entered(history, rung) + running(rung) >= places;
        let waiting = ranked(history, forecasts, rung - 1)
            .into_iter()
            .take(sure)
            .find(|trial| !has_run(trial, rung) && !runs(trial, rung))
            .filter(|_| !is_full);
        if let Some(trial) = waiting {
            return Action::Run { trial: trial.id, rung };
        }
        if running(rung - 1) > 0 {
            return Action::Wait;
        }
    }
    if begun.under_way.is_empty() { Action::Finish } else { Action::Wait }
}

/// Optimizer steps of the promotions that are still to come if no further trial does.
#[must_use]
pub fn steps_of_promotions(history: &History, total_steps: usize, settings: &SearchSettings) -> usize {
    let ended = |rung: u32| history.trials.iter().filter(|trial| has_run(trial, rung)).count();
    let mut entered = history.trials.len() - history.retries();
    let mut steps = 0;
    for rung in 1..settings.rungs.saturating_sub(1) {
        entered = places(entered, settings);
        let of_one = rung_steps(total_steps, rung, settings) - rung_steps(total_steps, rung - 1, settings);
        steps += entered.saturating_sub(ended(rung)) * of_one;
    }
    steps
}

fn has_run(trial: &Trial, rung: u32) -> bool {
    trial.rungs.iter().any(|record| record.rung == rung)
}

/// Those that finished a rung, the most promising first.
fn ranked<'a>(history: &'a History, forecasts: Option<&[f64]>, rung: u32) -> Vec<&'a Trial> {
    let finished = history.trials.iter().filter_map(|trial| {
        let loss = trial.loss_at(rung)?;
        let forecast = forecasts.and_then(|forecasts| forecasts.get(trial.id as usize).copied());
        Some((trial, forecast.unwrap_or(loss)))
    });
    let mut finished: Vec<(&Trial, f64)> = finished.collect();
    finished.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.id.cmp(&b.0.id)));
    finished.into_iter().map(|(trial, _)| trial).collect()
}

/// Trials of which a rung has ended; one that was tried again takes no second place.
pub(super) fn entered(history: &History, rung: u32) -> usize {
    let counts = |trial: &&Trial| has_run(trial, rung) && history.retry_of(trial).is_none();
    history.trials.iter().filter(counts).count()
}

/// Places of the rung above one that so many have entered.
pub(super) fn places(entered: usize, settings: &SearchSettings) -> usize {
    (entered / settings.reduction_factor).max(1)
}

/// Optimizer step at which `rung` stops: each rung is η times as long as the one below, the last is
/// the full horizon.
#[must_use]
pub fn rung_steps(total_steps: usize, rung: u32, settings: &SearchSettings) -> usize {
    let below = settings.rungs.saturating_sub(1).saturating_sub(rung);
    let share = settings.reduction_factor.saturating_pow(below).max(1);
    total_steps.div_ceil(share).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::history::{SETTINGS, nine, trial};
    use super::*;

    #[test]
    fn a_study_first_fills_the_lowest_rung() {
        assert_eq!(next_action(&History::default(), Begun::default(), &SETTINGS, None), Action::Suggest);
        let fresh = History { trials: vec![trial(0, &[])] };
        assert_eq!(next_action(&fresh, Begun::default(), &SETTINGS, None), Action::Run { trial: 0, rung: 0 });
    }

    #[test]
    fn the_best_third_is_promoted_and_failed_trials_are_not() {
        let start =
            vec![trial(0, &[None]), trial(1, &[Some(3.0)]), trial(2, &[Some(1.0)]), trial(3, &[Some(2.0)])];
        assert_eq!(
            next_action(&nine(start), Begun::default(), &SETTINGS, None),
            Action::Run { trial: 2, rung: 1 }
        );
        let done = vec![
            trial(0, &[None]),
            trial(1, &[Some(3.0), Some(2.5)]),
            trial(2, &[Some(1.0), None]),
            trial(3, &[Some(2.0), Some(1.5)]),
        ];
        let history = nine(done);
        assert_eq!(next_action(&history, Begun::default(), &SETTINGS, None), Action::Finish);
        assert_eq!(history.best().unwrap().0.id, 3);
    }

    #[test]
    fn what_is_under_way_is_not_begun_twice_and_who_goes_on_whatever_it_turns_out_to_be_does_not_wait_for_it()
    {
        let act = |history: &History, under_way: &[(TrialId, u32)], cut: &[(TrialId, u32)]| {
            next_action(history, Begun { under_way, cut }, &SETTINGS, None)
        };
        let two = History { trials: vec![trial(0, &[]), trial(1, &[])] };
        assert_eq!(act(&two, &[(0, 0)], &[]), Action::Run { trial: 1, rung: 0 });
        assert_eq!(act(&two, &[(0, 0), (1, 0)], &[]), Action::Suggest);
        let nine = nine(vec![trial(0, &[]), trial(1, &[Some(3.0)]), trial(2, &[Some(1.0)])]);
        // Three places, and one that runs: the best two are sure of theirs.
        assert_eq!(act(&nine, &[(0, 0)], &[]), Action::Run { trial: 2, rung: 1 });
        assert_eq!(act(&nine, &[(0, 0), (2, 1)], &[]), Action::Run { trial: 1, rung: 1 });
        assert_eq!(act(&nine, &[(0, 0), (2, 1), (1, 1)], &[]), Action::Wait);
        let mut all = nine;
        all.trials[0] = trial(0, &[Some(2.0)]);
        assert_eq!(act(&all, &[(2, 1)], &[]), Action::Run { trial: 0, rung: 1 });
        assert_eq!(act(&all, &[(2, 1), (0, 1), (1, 1)], &[]), Action::Wait);
    }

    #[test]
    fn a_rung_that_was_cut_goes_on_first_even_if_others_are_better_by_now_unless_it_is_the_full_run() {
        let all = nine(vec![trial(0, &[Some(3.0), Some(2.0)])]);
        let act = |cut: &[(TrialId, u32)]| next_action(&all, Begun { under_way: &[], cut }, &SETTINGS, None);
        assert_eq!(act(&[(8, 1)]), Action::Run { trial: 8, rung: 1 });
        assert_eq!(act(&[(0, 2)]), Action::Run { trial: 1, rung: 1 });
    }

    #[test]
    fn the_places_of_a_rung_are_taken_once_even_if_forecasts_change_afterwards() {
        let promoted = (0..3).map(|id| trial(id, &[Some(1.0), Some(1.0)])).collect();
        let history = nine(promoted);
        let mut forecasts = [0.0; 9];
        forecasts[..3].fill(5.0);
        let act = |history: &History, under_way: &[(TrialId, u32)]| {
            next_action(history, Begun { under_way, cut: &[] }, &SETTINGS, Some(&forecasts))
        };
        assert_eq!(act(&history, &[]), Action::Finish);
        let mut two = history.clone();
        two.trials[2] = trial(2, &[Some(1.0)]);
        assert_eq!(act(&two, &[]), Action::Run { trial: 3, rung: 1 });
        assert_eq!(act(&two, &[(2, 1)]), Action::Wait);
    }

    #[test]
    fn a_study_whose_trials_all_failed_still_ends() {
        let history = History { trials: (0..9).map(|id| trial(id, &[None])).collect() };
        assert_eq!(next_action(&history, Begun::default(), &SETTINGS, None), Action::Finish);
        assert!(history.best().is_none());
    }

    #[test]
    fn rungs_are_prefixes_whose_last_is_the_full_run() {
        let steps: Vec<usize> = (0..3).map(|rung| rung_steps(100, rung, &SETTINGS)).collect();
        assert_eq!(steps, [12, 34, 100]);
    }
}
