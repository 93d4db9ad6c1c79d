//! What the real run does at its worst, in a few steps: the measurement behind `fit`.

use std::fs;
use std::path::Path;

use super::TrainError;
use super::session::Session;
use crate::data::{Example, longest_first};
use crate::device::Device;
use crate::trial::{Event, TrialSpec};

/// Optimizer steps on the longest examples, an evaluation of the longest, a checkpoint.
///
/// # Errors
/// Files that can't be read, a device that fails or is full.
pub fn probe(
    spec: &TrialSpec,
    device: &dyn Device,
    steps: usize,
    scratch: &Path,
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    let mut session = Session::open(spec, device, None, emit)?;
    let effective = spec.hyperparams.batch.effective_batch_size();
    let worst = cycled(&longest_first(&session.dataset.train), effective);
    let mut updates = 0;
    while updates < steps {
        // An update that was skipped has shown nothing of the optimizer, so a step is added for it.
        updates += usize::from(session.step(&worst, emit)?.grad_norm.is_some());
    }
    let longest = longest_first(&session.dataset.validation);
    let validation: Vec<Example> = cycled(&longest, spec.train.eval_micro_batch_size)
        .into_iter()
        .map(|index| session.dataset.validation[index].clone())
        .collect();
    session.evaluate(&validation, emit)?;
    session.save(scratch, emit)?;
    // The measurement is what counts; a file that can't be removed costs only disk.
    let _ = fs::remove_dir_all(scratch);
    Ok(())
}

/// The first `n` indices; a small set is repeated, so that the size asked for is the size run.
fn cycled(indices: &[usize], n: usize) -> Vec<usize> {
    indices.iter().copied().cycle().take(n).collect()
}
