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
    /// Every rung below the full run is done.
    Finish,
}

/// The next action, given everything that ended.
///
/// `forecasts`, one a trial, say who is promoted; where there are none, the losses of the rung below do.
#[must_use]
pub fn next_action(history: &History, settings: &SearchSettings, forecasts: Option<&[f64]>) -> Action {
    if let Some(trial) = history.trials.iter().find(|trial| trial.rungs.is_empty()) {
        return Action::Run { trial: trial.id, rung: 0 };
    }
    if history.trials.len() < settings.trials {
        return Action::Suggest;
    }
    for rung in 1..settings.rungs.saturating_sub(1) {
        let waiting =
            promoted(history, settings, forecasts, rung).into_iter().find(|trial| !has_run(trial, rung));
        if let Some(trial) = waiting {
            return Action::Run { trial: trial.id, rung };
        }
    }
    Action::Finish
}

fn has_run(trial: &Trial, rung: u32) -> bool {
    trial.rungs.iter().any(|record| record.rung == rung)
}

/// The best 1/η of those that finished the rung below, at least one.
fn promoted<'a>(
    history: &'a History,
    settings: &SearchSettings,
    forecasts: Option<&[f64]>,
    rung: u32,
) -> Vec<&'a Trial> {
    let finished = history.trials.iter().filter_map(|trial| {
        let loss = trial.loss_at(rung - 1)?;
        let forecast = forecasts.and_then(|forecasts| forecasts.get(trial.id as usize).copied());
        Some((trial, forecast.unwrap_or(loss)))
    });
    let mut finished: Vec<(&Trial, f64)> = finished.collect();
    finished.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.id.cmp(&b.0.id)));
    let entered = history.trials.iter().filter(|trial| has_run(trial, rung - 1)).count();
    let places = (entered / settings.reduction_factor).max(1);
    finished.into_iter().take(places).map(|(trial, _)| trial).collect()
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
    use super::*;
    use crate::space::{BatchPlan, ConfirmSettings, Hyperparams, Precision, PrunerKind, SamplerKind};
    use crate::trial::{EvalPoint, Measurement, Outcome, RungRecord};

    const SETTINGS: SearchSettings = SearchSettings {
        trials: 9,
        rungs: 3,
        reduction_factor: 3,
        validation_examples: 1,
        max_micro_batch_size: 1,
        hours: None,
        plateau_nats: None,
        sampler: SamplerKind::Gp,
        pruner: PrunerKind::Halving,
        confirm: ConfirmSettings { candidates: 1, seeds: 1 },
    };

    fn record(rung: u32, loss: Option<f64>) -> RungRecord {
        let eval = |loss_nats| EvalPoint { step: 1, loss_nats, tokens: 1, seconds: 0.0 };
        RungRecord {
            rung,
            stop_at_step: 1,
            outcome: loss.map_or(Outcome::Diverged { step: 1 }, |_| Outcome::Finished),
            measurement: Measurement {
                evals: loss.map(eval).into_iter().collect(),
                ..Measurement::default()
            },
        }
    }

    fn trial(id: TrialId, losses: &[Option<f64>]) -> Trial {
        let batch = BatchPlan { micro_batch_size: 1, gradient_accumulation_steps: 1 };
        Trial {
            id,
            hyperparams: Hyperparams { precision: Precision::F32, batch, learning_rate: 1e-3 },
            rungs: (0..).zip(losses).map(|(rung, loss)| record(rung, *loss)).collect(),
        }
    }

    fn nine(mut trials: Vec<Trial>) -> History {
        for id in u32::try_from(trials.len()).unwrap()..9 {
            trials.push(trial(id, &[Some(9.0)]));
        }
        History { trials }
    }

    #[test]
    fn a_study_first_fills_the_lowest_rung() {
        assert_eq!(next_action(&History::default(), &SETTINGS, None), Action::Suggest);
        let fresh = History { trials: vec![trial(0, &[])] };
        assert_eq!(next_action(&fresh, &SETTINGS, None), Action::Run { trial: 0, rung: 0 });
    }

    #[test]
    fn the_best_third_is_promoted_and_failed_trials_are_not() {
        let start =
            vec![trial(0, &[None]), trial(1, &[Some(3.0)]), trial(2, &[Some(1.0)]), trial(3, &[Some(2.0)])];
        assert_eq!(next_action(&nine(start), &SETTINGS, None), Action::Run { trial: 2, rung: 1 });
        let done = vec![
            trial(0, &[None]),
            trial(1, &[Some(3.0), Some(2.5)]),
            trial(2, &[Some(1.0), None]),
            trial(3, &[Some(2.0), Some(1.5)]),
        ];
        let history = nine(done);
        assert_eq!(next_action(&history, &SETTINGS, None), Action::Finish);
        assert_eq!(history.best().unwrap().0.id, 3);
    }

    #[test]
    fn a_study_whose_trials_all_failed_still_ends() {
        let history = History { trials: (0..9).map(|id| trial(id, &[None])).collect() };
        assert_eq!(next_action(&history, &SETTINGS, None), Action::Finish);
        assert!(history.best().is_none());
    }

    #[test]
    fn rungs_are_prefixes_whose_last_is_the_full_run() {
        let steps: Vec<usize> = (0..3).map(|rung| rung_steps(100, rung, &SETTINGS)).collect();
        assert_eq!(steps, [12, 34, 100]);
    }
}
