//! One rung of a trial, or the full run: steps, evaluations, checkpoints.

use std::cell::RefCell;
use std::path::Path;

use super::TrainError;
use super::session::Session;
use crate::data::{Example, StepPlan};
use crate::device::{Device, Rank};
use crate::model::{self, TensorFiles};
use crate::trial::{Event, Power, TrialSpec};

/// Where the adapters alone are kept, inside the folder of the model they are merged into.
const ADAPTER_FOLDER: &str = "adapter";

/// The arguments of [`crate::trial::Task::Train`].
#[derive(Clone, Copy, Debug)]
pub struct TrainTask<'a> {
    /// Optimizer step after which to stop.
    pub stop_at_step: usize,
    /// Steps between evaluations.
    pub evaluate_every: usize,
    /// Folder of the checkpoint to resume from and to write.
    pub checkpoint: &'a Path,
    /// Folder for the weights of the best evaluation.
    pub best: Option<&'a Path>,
    /// Whether the last evaluation is told example by example.
    pub examples: bool,
}

/// Trains to a step, resuming from the task's checkpoint where there is one; one that has come further trains no step,
/// and its weights are kept where none have been.
///
/// # Errors
/// Files that can't be read, a device that fails or is full, a loss that is no longer finite.
pub fn train(
    spec: &TrialSpec,
    task: TrainTask<'_>,
    device: &dyn Device,
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    train_as(spec, task, (device, Rank::alone()), emit)
}

/// The same as one of several ranks, all of which have the same task. The first alone speaks and writes files.
///
/// How many ranks there are is no part of a checkpoint: a run may go on with another number of them.
///
/// # Errors
/// As [`train`]; the ranks can't share a step evenly, or another has ended.
pub fn train_as(
    spec: &TrialSpec,
    task: TrainTask<'_>,
    (device, rank): (&dyn Device, Rank),
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    let is_heard = rank.is_first();
    let emit = &mut |event: Event| {
        if is_heard {
            emit(event);
        }
    };
    let mut session = Session::open(spec, (device, rank), Some(task.checkpoint), emit)?;
    let said = RefCell::new(said_before(&mut session, task.stop_at_step));
    said.borrow().iter().for_each(|event| emit(event.clone()));
    let before = power_of(&said.borrow());
    let mut tell = |event: Event| {
        remember(&mut said.borrow_mut(), &event);
        emit(event);
    };
    let emit = &mut |event: Event| {
        let power = device.power().filter(|_| matches!(event, Event::Eval(_)));
        tell(event);
        if let Some(power) = power {
            tell(Event::Power(before.and(&power)));
        }
    };
    let validation = validation(&session);
    let lengths: Vec<usize> = session.dataset.train.iter().map(|example| example.input_ids.len()).collect();
    let plan = StepPlan::new(&lengths, spec.hyperparams.batch.effective_batch_size(), spec.train.seed);
    while session.progress.step < task.stop_at_step {
        session.step(&plan.examples(session.progress.step), emit)?;
        let step = session.progress.step;
        if step.is_multiple_of(task.evaluate_every.max(1)) || step == task.stop_at_step {
            let each = task.examples && step == task.stop_at_step;
            let loss_nats = session.evaluate(&validation, each, emit)?;
            if let Some(folder) = task.best {
                keep_if_best(&mut session, loss_nats, folder)?;
            }
            // After the best weights, so that a restart never believes in a best it has not.
            session.progress.said.clone_from(&said.borrow());
            session.save(task.checkpoint, emit)?;
        }
    }
    // A run that was cut before its first evaluation is asked once more, for the weights it has.
    if let Some(folder) = task.best
        && session.progress.best_loss_nats.is_none()
    {
        let loss_nats = session.evaluate(&validation, false, emit)?;
        keep_if_best(&mut session, loss_nats, folder)?;
    }
    Ok(())
}

/// What a child on the way to the same stop has said up to the checkpoint; nothing in a new rung.
fn said_before(session: &mut Session, stop_at_step: usize) -> Vec<Event> {
    let progress = &mut session.progress;
    let said = std::mem::take(&mut progress.said);
    let is_same_rung = progress.stop_at_step == stop_at_step;
    progress.stop_at_step = stop_at_step;
    if is_same_rung { said } else { Vec::new() }
}

/// Keeps what a driver that did not hear it is told again.
fn remember(said: &mut Vec<Event>, event: &Event) {
    match event {
        // The later one holds all of the earlier.
        Event::Power(_) => said.retain(|known| !matches!(known, Event::Power(_))),
        Event::Step(_) | Event::Eval(_) | Event::Examples(_) | Event::Memory { .. } => {}
        _ => return,
    }
    said.push(event.clone());
}

/// What the attempts before have drawn.
fn power_of(said: &[Event]) -> Power {
    let power = said.iter().rev().find_map(|event| match event {
        Event::Power(power) => Some(power.clone()),
        _ => None,
    });
    power.unwrap_or_default()
}

fn keep_if_best(session: &mut Session, loss_nats: f64, folder: &Path) -> Result<(), TrainError> {
    if session.progress.best_loss_nats.is_some_and(|best| best <= loss_nats) {
        return Ok(());
    }
    session.progress.best_loss_nats = Some(loss_nats);
    if !session.engine.rank().is_first() {
        return Ok(());
    }
    let base = &session.spec.model;
    let dtype = TensorFiles::of_model(base)?.dtype();
    let model = session.engine.model();
    model::write_model(folder, model, dtype, base)?;
    if model.adapters().is_some() {
        model::write_adapter(&folder.join(ADAPTER_FOLDER), model, &base.display().to_string())?;
    }
    Ok(())
}

/// The same examples in every evaluation of a study.
fn validation(session: &Session) -> Vec<Example> {
    session.dataset.validation.iter().take(session.spec.train.validation_examples).cloned().collect()
}
