//! What the real run does at its worst, in a few steps: the measurement behind `fit`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::TrainError;
use super::session::Session;
use crate::data::{Example, longest_first};
use crate::device::{Device, Rank};
use crate::trial::{Event, SpeedPoint, TrialSpec};

/// A smaller micro-batch is timed over at least so many examples after a step that only warms up.
const TIMED_EXAMPLES: usize = 16;

/// What a probe does besides the step it measures.
#[derive(Clone, Copy, Debug)]
pub struct ProbeTask<'a> {
    /// Optimizer steps on the longest examples.
    pub steps: usize,
    /// Longer examples are cut to so many tokens.
    pub max_length: Option<usize>,
    /// Smaller micro-batches that are timed at the end.
    pub timed: &'a [usize],
    /// Folder for the checkpoint that is part of the measurement.
    pub scratch: &'a Path,
}

/// Optimizer steps on the longest examples, an evaluation of the longest, a checkpoint; then the speed of
/// smaller micro-batches, which hold less.
///
/// # Errors
/// Files that can't be read, a device that fails or is full.
pub fn probe(
    spec: &TrialSpec,
    device: &dyn Device,
    task: ProbeTask<'_>,
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    let mut session = Session::open(spec, (device, Rank::alone()), None, emit)?;
    if let Some(tokens) = task.max_length {
        session.dataset.cut_to(tokens);
    }
    let order = longest_first(&session.dataset.train);
    let worst = cycled(&order, spec.hyperparams.batch.effective_batch_size());
    let mut updates = 0;
    while updates < task.steps {
        // An update that was skipped has shown nothing of the optimizer, so a step is added for it.
        updates += usize::from(session.step(&worst, emit)?.grad_norm.is_some());
    }
    let longest = longest_first(&session.dataset.validation);
    let validation: Vec<Example> = cycled(&longest, spec.train.eval_micro_batch_size)
        .into_iter()
        .map(|index| session.dataset.validation[index].clone())
        .collect();
    session.evaluate(&validation, false, emit)?;
    session.save(task.scratch, emit)?;
    // The measurement is what counts; a file that can't be removed costs only disk.
    let _ = fs::remove_dir_all(task.scratch);
    task.timed.iter().try_for_each(|micro| {
        let point = speed(&mut session, &order, *micro)?;
        emit(Event::Timed(point));
        Ok(())
    })
}

/// The speed of optimizer steps of so small micro-batches; what they say is not heard.
fn speed(session: &mut Session, order: &[usize], micro_batch_size: usize) -> Result<SpeedPoint, TrainError> {
    let accumulation = session.spec.hyperparams.batch.gradient_accumulation_steps;
    let examples = cycled(order, micro_batch_size * accumulation);
    session.micro_batch_size = micro_batch_size;
    session.step(&examples, &mut |_| {})?;
    let (mut tokens, started) = (0, Instant::now());
    for _ in 0..TIMED_EXAMPLES.div_ceil(examples.len().max(1)) {
        session.step(&examples, &mut |event| {
            if let Event::Step(step) = event {
                tokens += step.tokens;
            }
        })?;
    }
    Ok(SpeedPoint { micro_batch_size, tokens, seconds: started.elapsed().as_secs_f64() })
}

/// The first `n` indices; a small set is repeated, so that the size asked for is the size run.
fn cycled(indices: &[usize], n: usize) -> Vec<usize> {
    indices.iter().copied().cycle().take(n).collect()
}
