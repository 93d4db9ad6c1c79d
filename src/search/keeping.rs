//! What a trial's checkpoint is still good for, so that a disk holds no more of them than the search needs.
//!
//! A trial whose checkpoint is gone can still go on: from its first step. So what is told here is never about
//! what can be found, only about the time it would take.

use super::halving::{self, places};
use crate::space::SearchSettings;
use crate::trial::{History, Trial, TrialId};

/// What may go on from a trial's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Nothing: the trial has failed, or others have taken all places of the next rung.
    Spent,
    /// The next rung or the full run, if those before it fall behind.
    Possible {
        /// The rung it has reached: the higher, the more work is in it.
        rung: u32,
        /// How many stand before it. Reversed: the greater a use, the more it is worth.
        before: std::cmp::Reverse<usize>,
    },
    /// What runs now, or what goes on from here as things stand.
    Needed,
}

/// How far a search has come, besides its history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standpoint<'a> {
    /// Rungs that have begun and not ended.
    pub open: &'a [(TrialId, u32)],
    /// What is forecast of each trial's full run, where forecasts say who is promoted.
    pub forecasts: Option<&'a [f64]>,
    /// Whether forecasts will say it, even if there are none yet.
    pub is_forecast: bool,
    /// Whether nobody is suggested or promoted any more.
    pub is_over: bool,
}

/// The use of each trial's checkpoint, in the order of trials.
///
/// While a forecast decides who goes on, any trial of a rung may until its places are taken; where losses decide, one
/// that has fallen out of the places never comes back, for others can only come before it.
#[must_use]
pub fn checkpoint_uses(history: &History, standpoint: Standpoint<'_>, settings: &SearchSettings) -> Vec<Use> {
    let top = history.top_rung();
    let judge = Judge { history, standpoint, settings, top };
    let rungs: Vec<Vec<Use>> = (0..settings.rungs).map(|rung| judge.of_rung(rung)).collect();
    let of_trial = |trial: &Trial| match trial.last() {
        _ if standpoint.open.iter().any(|(open, _)| *open == trial.id) => Use::Needed,
        None => Use::Needed,
        Some(_) if trial.has_failed() => Use::Spent,
        Some(record) => rungs
            .get(record.rung as usize)
            .and_then(|uses| uses.get(trial.id as usize).copied())
            .unwrap_or(Use::Spent),
    };
    history.trials.iter().map(of_trial).collect()
}

struct Judge<'a> {
    history: &'a History,
    standpoint: Standpoint<'a>,
    settings: &'a SearchSettings,
    top: Option<u32>,
}

impl Judge<'_> {
    /// The use of every trial as if `rung` were the last it has finished.
    fn of_rung(&self, rung: u32) -> Vec<Use> {
        let order = self.order(rung);
        let mut uses = vec![Use::Spent; self.history.trials.len()];
        if self.is_left_behind(rung) {
            return uses;
        }
        let (needed, possible) = self.counts(rung);
        for (before, trial) in order.into_iter().enumerate().take(possible) {
            let is_needed = before < needed;
            uses[trial as usize] = if is_needed {
                Use::Needed
            } else {
                Use::Possible { rung, before: std::cmp::Reverse(before) }
            };
        }
        uses
    }

    /// Whether nothing goes on from this rung, whoever is best there.
    fn is_left_behind(&self, rung: u32) -> bool {
        let full = self.settings.rungs.saturating_sub(1);
        let is_below_top = self.top.is_some_and(|top| rung < top);
        if rung >= full {
            return false;
        }
        let is_trained = self.history.trials.iter().any(|trial| trial.loss_at(full).is_some());
        if self.standpoint.is_over {
            return is_below_top || is_trained;
        }
        // The full run takes its one from the highest rung.
        is_below_top && rung + 1 < full && self.taken(rung + 1) >= self.places_at_the_end(rung + 1)
    }

    /// How many of the best go on as things stand, and how many can at all.
    fn counts(&self, rung: u32) -> (usize, usize) {
        let all = self.history.trials.len();
        let candidates = self.settings.confirm.candidates.max(1);
        let full = self.settings.rungs.saturating_sub(1);
        if rung >= full {
            // A full run that has ended only waits for the comparison.
            return (candidates, candidates);
        }
        if rung + 1 == full || self.standpoint.is_over {
            return (candidates, all);
        }
        let left = self.places_at_the_end(rung + 1).saturating_sub(self.taken(rung + 1));
        if left == 0 {
            // All that went on have failed: the best of those that did not are the best there are.
            return (candidates, all);
        }
        (left, if self.standpoint.is_forecast { all } else { left })
    }

    /// Trials that finished `rung`, the most promising first.
    fn order(&self, rung: u32) -> Vec<TrialId> {
        let forecast = |trial: &Trial, loss: f64| {
            let forecasts = self.standpoint.forecasts?;
            forecasts.get(trial.id as usize).copied().or(Some(loss))
        };
        let mut ranked = self.history.ranked(rung);
        for (trial, value) in &mut ranked {
            *value = forecast(trial, *value).unwrap_or(*value);
        }
        ranked.retain(|(trial, _)| trial.last().is_some_and(|record| record.rung == rung));
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.id.cmp(&b.0.id)));
        ranked.into_iter().map(|(trial, _)| trial.id).collect()
    }

    fn taken(&self, rung: u32) -> usize {
        halving::entered(self.history, rung)
    }

    /// Places of a rung when all have run that will.
    fn places_at_the_end(&self, rung: u32) -> usize {
        let mut entered = self.settings.trials.max(self.taken(0));
        for above in 1..=rung {
            entered = places(entered, self.settings).max(self.taken(above));
        }
        entered
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::super::testing::history::{SETTINGS, nine, trial};
    use super::*;
    use crate::space::SearchSettings;

    fn uses(history: &History, standpoint: Standpoint<'_>) -> Vec<Use> {
        checkpoint_uses(history, standpoint, &SETTINGS)
    }

    fn of(history: &History, standpoint: Standpoint<'_>, id: usize) -> Use {
        uses(history, standpoint)[id]
    }

    fn possible(rung: u32, before: usize) -> Use {
        Use::Possible { rung, before: Reverse(before) }
    }

    const BY_LOSS: Standpoint<'static> =
        Standpoint { open: &[], forecasts: None, is_forecast: false, is_over: false };
    const BY_FORECAST: Standpoint<'static> = Standpoint { is_forecast: true, ..BY_LOSS };
    const OVER: Standpoint<'static> = Standpoint { is_over: true, ..BY_FORECAST };

    /// Losses 1, 2, 3 … of the first rung.
    fn first_rungs(count: u32) -> History {
        History { trials: (0..count).map(|id| trial(id, &[Some(f64::from(id + 1))])).collect() }
    }

    #[test]
    fn by_losses_who_has_fallen_out_of_the_places_of_the_next_rung_never_comes_back() {
        // Nine will have entered, so three go on; the fourth best of four is out already.
        let history = first_rungs(4);
        assert_eq!(uses(&history, BY_LOSS), [Use::Needed, Use::Needed, Use::Needed, Use::Spent]);
    }

    #[test]
    fn by_forecasts_anyone_may_go_on_until_the_places_are_taken() {
        let history = first_rungs(4);
        assert_eq!(of(&history, BY_FORECAST, 3), possible(0, 3));
        let forecasts = [4.0, 3.0, 2.0, 1.0];
        let forecast = Standpoint { forecasts: Some(&forecasts), ..BY_FORECAST };
        assert_eq!(of(&history, forecast, 3), Use::Needed);
        assert_eq!(of(&history, forecast, 0), possible(0, 3));
        let losses = |id: u32| [Some(f64::from(id)), Some(1.0)];
        let promoted = (0..3).map(|id| trial(id, &losses(id))).collect();
        let history = nine(promoted);
        assert_eq!(of(&history, BY_FORECAST, 8), Use::Spent);
        // The rung below the full run: each could be the winner, if those before it fail.
        assert_eq!(uses(&history, BY_FORECAST)[..3], [Use::Needed, possible(1, 1), possible(1, 2)]);
    }

    #[test]
    fn where_all_that_went_on_have_failed_the_best_of_the_others_are_kept() {
        let failed = (0..3).map(|id| trial(id, &[Some(1.0), None])).collect();
        let history = nine(failed);
        for standpoint in [BY_LOSS, BY_FORECAST, OVER] {
            assert_eq!(uses(&history, standpoint)[..4], [Use::Spent, Use::Spent, Use::Spent, Use::Needed]);
            assert_eq!(of(&history, standpoint, 4), possible(0, 1));
        }
    }

    #[test]
    fn what_has_not_ended_is_needed_and_what_has_failed_is_not() {
        let history = History { trials: vec![trial(0, &[None]), trial(1, &[]), trial(2, &[Some(9.0)])] };
        assert_eq!(uses(&history, BY_LOSS), [Use::Spent, Use::Needed, Use::Needed]);
        let mut history = first_rungs(9);
        history.trials[0] = trial(0, &[Some(1.0), Some(1.0)]);
        assert_eq!(of(&history, OVER, 8), Use::Spent);
        assert_eq!(of(&history, Standpoint { open: &[(8, 1)], ..OVER }, 8), Use::Needed);
    }

    #[test]
    fn after_the_full_run_its_own_checkpoint_alone_is_left() {
        let mut history = first_rungs(9);
        history.trials[0] = trial(0, &[Some(1.0), Some(1.0), Some(1.0)]);
        history.trials[1] = trial(1, &[Some(2.0), Some(2.0)]);
        assert_eq!(uses(&history, OVER)[..3], [Use::Needed, Use::Spent, Use::Spent]);
    }

    #[test]
    fn where_all_runs_are_full_ones_the_candidates_wait_for_their_comparison() {
        let settings = SearchSettings { rungs: 1, ..SETTINGS };
        let uses = checkpoint_uses(&first_rungs(3), BY_FORECAST, &settings);
        assert_eq!(uses, [Use::Needed, Use::Spent, Use::Spent]);
    }

    #[test]
    fn the_higher_rung_and_the_better_place_are_worth_more() {
        assert!(Use::Needed > possible(1, 7));
        assert!(possible(1, 7) > possible(0, 0));
        assert!(possible(0, 0) > possible(0, 1));
        assert!(possible(0, 9) > Use::Spent);
    }
}
