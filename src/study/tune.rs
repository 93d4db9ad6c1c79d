//! Stage 3: the learning plane, by short trials.

use std::time::Duration;

use super::breaker::Breaker;
use super::disk::Shortage;
use super::driver::Driver;
use super::room::PAUSE;
use super::under_way::Ask;
use super::{Stage, StudyError, StudyEvent};
use crate::search::{
    Action, Begun, FrontierPoint, Plane, Progress, StopReason, Suggestion, Task, feasible_plan, next_action,
};
use crate::space::{Hyperparams, PrunerKind};
use crate::trial::{History, Outcome, Trial, TrialId};

/// What the sweep knows besides the history.
struct Sweep {
    task: Task,
    frontier: Vec<FrontierPoint>,
    /// Why no further trial is suggested.
    enough: Option<StopReason>,
    /// Whether the stage was announced.
    announced: bool,
}

/// What the sweep does next.
enum Step {
    /// Begins a rung in a free slot.
    Begin(TrialId, u32),
    /// Adds a trial, which then waits to be begun.
    Add(Hyperparams),
    /// Finds that the space has no more points.
    Exhausted,
    /// Waits for a run that is under way.
    Wait,
    /// Ends.
    Stop(StopReason),
}

impl Driver<'_> {
    /// Runs every rung below the full run, as far as the study's rules allow, and compares the best.
    ///
    /// # Errors
    /// Trials can't be run, or all fail for a reason that more trials will not mend.
    pub fn tune(&mut self) -> Result<(), StudyError> {
        let frontier = self.fit()?;
        self.judge_early()?;
        let task = self.task()?;
        let history = self.history()?;
        self.breaker = Breaker::new(&self.study.slots, &history);
        let mut sweep = Sweep { task, frontier, enough: self.known_plateau()?, announced: false };
        let reason = loop {
            let history = self.history()?;
            let step = self.next_step(&mut sweep, &history)?;
            if !matches!(step, Step::Wait | Step::Stop(_)) {
                self.announce(&mut sweep)?;
            }
            match step {
                Step::Begin(trial, rung) => {
                    if let Some(reason) = self.begin_trial(&history.trials[trial as usize], rung)? {
                        break reason;
                    }
                }
                Step::Add(hyperparams) => self.add_trial(&history, &hyperparams)?,
                Step::Exhausted if history.trials.is_empty() => {
                    return Err(self.nothing_listed_fits(&sweep.frontier)?);
                }
                // A small space can have fewer points than the trials asked for.
                Step::Exhausted => {
                    sweep.enough = Some(StopReason::Exhausted { trials: history.trials.len() });
                }
                Step::Wait => {
                    self.plan_search(&history)?;
                    self.hear_trial(None)?;
                }
                Step::Stop(reason) => break reason,
            }
        };
        self.cut_off = None;
        self.stops(reason)?;
        self.remove_spent()?;
        self.confirm()
    }

    /// Adds each trial once more that the machine failed: history keeps the one that failed as it is.
    ///
    /// # Errors
    /// The database refuses.
    pub fn retry_failed(&mut self) -> Result<usize, StudyError> {
        let history = self.history()?;
        let again: Vec<Hyperparams> = history.to_retry().map(|trial| trial.hyperparams).collect();
        for (hyperparams, id) in again.iter().zip(history.trials.len()..) {
            self.store.add_trial(TrialId::try_from(id).unwrap_or(TrialId::MAX), hyperparams)?;
        }
        self.emit(StudyEvent::Retried { trials: again.len() });
        Ok(again.len())
    }

    /// A function of what the store remembers and of what runs; where no slot is free, nothing is decided.
    fn next_step(&mut self, sweep: &mut Sweep, history: &History) -> Result<Step, StudyError> {
        if self.free_slot().is_none() {
            return Ok(Step::Wait);
        }
        let rules = self.stop_rules();
        let (under_way, cut) = (self.rungs_under_way(), self.cut_rungs()?);
        let begun = Begun { under_way: &under_way, cut: &cut };
        let mut plane = Plane::new(self.study, &sweep.task, history);
        let next = self.next_trial(&mut plane, history, begun, &sweep.frontier);
        let progress = self.progress(history, next.and_then(|(_, gain)| gain))?;
        let of_one = expected_seconds(history, Action::Suggest);
        sweep.enough = sweep.enough.or_else(|| rules.has_enough(&progress));
        sweep.enough = sweep.enough.or_else(|| rules.is_late(&with_run(progress, of_one)));
        let mut settings = self.study.search;
        if sweep.enough.is_some() {
            settings.trials = history.trials.len() - history.retries();
        }
        // Nobody is promoted before all have run, and a forecast of each of many takes its time.
        let all_suggested = history.trials.len() >= settings.trials + history.retries();
        let has_begun = |trial: &Trial| !trial.rungs.is_empty() || under_way.contains(&(trial.id, 0));
        let all_ran = all_suggested && history.trials.iter().all(has_begun);
        let promotes = all_ran && settings.pruner == PrunerKind::Forecast;
        let forecasts = promotes.then(|| plane.forecasts());
        let step = match next_action(history, begun, &settings, forecasts.as_deref()) {
            Action::Wait => Step::Wait,
            Action::Finish => {
                let all = StopReason::Trials { trials: progress.trials };
                Step::Stop(sweep.enough.unwrap_or(all))
            }
            action => {
                match (rules.time_is_up(&with_run(progress, expected_seconds(history, action))), action) {
                    // What runs has been paid for.
                    (Some(_), _) if !under_way.is_empty() => Step::Wait,
                    (Some(reason), _) => Step::Stop(reason),
                    (None, Action::Run { trial, rung }) => Step::Begin(trial, rung),
                    (None, _) => next.map_or(Step::Exhausted, |(hyperparams, _)| Step::Add(hyperparams)),
                }
            }
        };
        Ok(step)
    }

    fn announce(&mut self, sweep: &mut Sweep) -> Result<(), StudyError> {
        if !sweep.announced {
            self.emit(StudyEvent::Stage(Stage::Tune));
            self.goes_on(sweep.enough)?;
            sweep.announced = true;
        }
        Ok(())
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
        begun: Begun<'_>,
        frontier: &[FrontierPoint],
    ) -> Option<(Hyperparams, Option<f64>)> {
        let waits = |trial: &Trial| trial.rungs.is_empty() && !begun.under_way.contains(&(trial.id, 0));
        if history.trials.iter().any(waits) {
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

    /// Begins a rung, or waits for what it needs; says why the search ends if that can't come.
    fn begin_trial(&mut self, trial: &Trial, rung: u32) -> Result<Option<StopReason>, StudyError> {
        let Some(slot) = self.free_slot() else { return Ok(None) };
        let run = (trial.id, rung).into();
        if !self.has_room(slot, run, &trial.hyperparams)? {
            self.hear_trial(Some(PAUSE))?;
            return Ok(None);
        }
        // With a single rung the trials are full runs, and any of them may be the winner.
        let is_full = rung + 1 == self.study.search.rungs;
        let best = is_full.then(|| self.layout.trial_model(trial.id));
        if let Some(Shortage { needed, left }) = self.make_room(run)? {
            if self.under_way.iter().all(Option::is_none) {
                return Ok(Some(StopReason::Disk { needed, left }));
            }
            // When what runs has ended, less is needed.
            self.hear_trial(None)?;
            return Ok(None);
        }
        let stop_at_step = self.stop_of(trial, rung)?;
        let ask = Ask {
            run,
            hyperparams: &trial.hyperparams,
            stop_at_step,
            best,
            is_alone: false,
            also_on: Vec::new(),
        };
        self.begin_run(slot, ask)?;
        Ok(None)
    }

    fn hear_trial(&mut self, patience: Option<Duration>) -> Result<(), StudyError> {
        if let Some(ended) = self.hear_end(patience)? {
            self.end_and_judge(&ended)?;
            self.remove_spent()?;
        }
        Ok(())
    }
}

/// A run that can't end before the time is up does not begin.
fn with_run(progress: Progress, seconds: f64) -> Progress {
    Progress { ending_seconds: progress.ending_seconds + seconds, ..progress }
}

/// What the action's run will take about: the mean of what others took for the same rung.
fn expected_seconds(history: &History, action: Action) -> f64 {
    let rung = match action {
        Action::Run { rung, .. } => rung,
        _ => 0,
    };
    let records = history.trials.iter().filter_map(|trial| trial.finished(rung));
    let seconds: Vec<f64> = records.map(|record| record.measurement.seconds()).collect();
    #[expect(clippy::cast_precision_loss, reason = "runs are few")]
    let count = seconds.len().max(1) as f64;
    seconds.iter().sum::<f64>() / count
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
