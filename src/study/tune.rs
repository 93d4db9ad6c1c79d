//! Stage 3: the learning plane, by short trials.

use super::driver::Driver;
use super::error::describe;
use super::{Stage, StudyError, StudyEvent};
use crate::search::{Action, FrontierPoint, Plane, StopReason, Suggestion, feasible_plan, next_action};
use crate::space::{Hyperparams, PrunerKind};
use crate::trial::{History, Outcome, Trial, TrialId};

/// So many failures of the program or its set-up, and no success, end a study.
const ALIKE: usize = 3;

impl Driver<'_> {
    /// Runs every rung below the full run, as far as the study's rules allow, and compares the best.
    ///
    /// # Errors
    /// Trials can't be run, or all fail for a reason that more trials will not mend.
    pub fn tune(&mut self) -> Result<(), StudyError> {
        let frontier = self.fit()?;
        let rules = self.stop_rules();
        let mut settings = self.study.search;
        let mut enough = self.known_plateau()?;
        let mut announced = false;
        let task = self.task()?;
        let reason = loop {
            let history = self.history()?;
            let mut plane = Plane::new(self.study, &task, &history);
            let next = self.next_trial(&mut plane, &history, &frontier);
            let gain = next.and_then(|(_, gain)| gain);
            let progress = self.progress(&history, gain)?;
            enough = enough.or_else(|| rules.has_enough(&progress));
            if enough.is_some() {
                settings.trials = history.trials.len();
            }
            // Nobody is promoted before all have run, and a forecast of each of many takes its time.
            let waits = history.trials.iter().any(|trial| trial.rungs.is_empty());
            let promotes =
                !waits && history.trials.len() >= settings.trials && settings.pruner == PrunerKind::Forecast;
            let forecasts = promotes.then(|| plane.forecasts());
            let action = next_action(&history, &settings, forecasts.as_deref());
            if action == Action::Finish {
                break enough.unwrap_or(StopReason::Trials { trials: history.trials.len() });
            }
            if let Some(reason) = rules.time_is_up(&progress) {
                break reason;
            }
            if !announced {
                self.emit(StudyEvent::Stage(Stage::Tune));
                self.goes_on(enough)?;
                announced = true;
            }
            match (action, next) {
                (Action::Run { trial, rung }, _) => self.run_trial(&history.trials[trial as usize], rung)?,
                (Action::Suggest, Some((hyperparams, _))) => self.add_trial(&history, &hyperparams)?,
                (Action::Suggest | Action::Finish, _) if history.trials.is_empty() => {
                    let shapes = self.shapes()?;
                    return Err(self.nothing_fits(shapes.as_ref())?);
                }
                // A small space can have fewer points than the trials asked for.
                (Action::Suggest | Action::Finish, _) => {
                    enough = Some(StopReason::Exhausted { trials: history.trials.len() });
                }
            }
        };
        self.stops(reason)?;
        self.confirm()
    }

    fn add_trial(&mut self, history: &History, hyperparams: &Hyperparams) -> Result<(), StudyError> {
        let id = TrialId::try_from(history.trials.len()).unwrap_or(TrialId::MAX);
        Ok(self.store.add_trial(id, hyperparams)?)
    }

    /// The next configuration that fits, and the nats it is expected to gain; not asked for while a trial waits.
    fn next_trial(
        &self,
        plane: &mut Plane<'_>,
        history: &History,
        frontier: &[FrontierPoint],
    ) -> Option<(Hyperparams, Option<f64>)> {
        if history.trials.iter().any(|trial| trial.rungs.is_empty()) {
            return None;
        }
        let plan = |point: &Suggestion| self.hyperparams(point, frontier);
        let is_possible =
            |point: &Suggestion| plan(point).is_some_and(|hyperparams| !is_known(history, &hyperparams));
        let (suggestion, gain) = plane.suggest(&is_possible)?;
        Some((plan(&suggestion)?, gain))
    }

    /// How the device runs a point, if it has room for it.
    fn hyperparams(&self, point: &Suggestion, frontier: &[FrontierPoint]) -> Option<Hyperparams> {
        let own = self.study.trained_as(point.precision);
        let row = frontier.iter().find(|row| row.setting == own)?;
        let batch = feasible_plan(&self.study.space.batch, point.batch_index, row)?;
        Some(Hyperparams { precision: point.precision, batch, learning_rate: point.learning_rate })
    }

    fn run_trial(&mut self, trial: &Trial, rung: u32) -> Result<(), StudyError> {
        // With a single rung the trials are full runs, and any of them may be the winner.
        let is_full = rung + 1 == self.study.search.rungs;
        let outcome = self.run_rung(trial, rung, is_full.then(|| self.layout.trial_model(trial.id)))?;
        self.end_run((trial.id, rung), &outcome)?;
        self.stop_if_all_fail()
    }

    fn stop_if_all_fail(&self) -> Result<(), StudyError> {
        let history = self.history()?;
        let ended: Vec<&Outcome> =
            history.trials.iter().filter_map(|trial| Some(&trial.last()?.outcome)).collect();
        let broken =
            |outcome: &&&Outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Crashed { .. });
        match ended.last() {
            Some(last) if ended.len() >= ALIKE && ended.iter().all(|outcome| broken(&outcome)) => {
                Err(StudyError::AllFail { trials: ended.len(), reason: describe(last) })
            }
            _ => Ok(()),
        }
    }
}

/// Whether this point has been tried, or is at least as large as one that ran out of memory.
fn is_known(history: &History, hyperparams: &Hyperparams) -> bool {
    history.trials.iter().any(|trial| {
        let known = &trial.hyperparams;
        let too_large = matches!(trial.last().map(|rung| &rung.outcome), Some(Outcome::OutOfMemory { .. }))
            && known.precision == hyperparams.precision
            && known.batch.micro_batch_size <= hyperparams.batch.micro_batch_size;
        too_large || known == hyperparams
    })
}
