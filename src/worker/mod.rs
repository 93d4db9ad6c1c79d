//! The child's side of the trial protocol: one specification in, events out.
//!
//! The child never touches the database; it says everything on standard output, one JSON object a
//! line, and ends with exactly one last word. A refusal of memory on the CPU is said by the
//! allocator itself, because nothing may be allocated any more.

mod launch;
mod ranks;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

pub use launch::launch;

use crate::arch;
use crate::data;
use crate::device::{self, Device, RankError};
use crate::model::{self, Decoder, ModelError};
use crate::quantize::{self, GgufModel};
use crate::space::Precision;
use crate::train::{self, ProbeTask, TrainError, TrainTask};
use crate::trial::{EvalEvent, Event, FailureClass, Task, TrialSpec};

/// Exit code of a child whose driver is gone.
const UNHEARD: i32 = 1;

/// Reads a [`TrialSpec`] from `input`, does it, and writes [`Event`]s to `output`.
///
/// The process ends at the first event that can't be written. Where `output` is written to a `file`, nobody has to
/// listen at the moment: the child outlives its driver, and what the driver decides by is on the disk when it goes on.
///
/// # Errors
/// Only when the last word can't be written: everything else is a last word.
pub fn run(input: impl Read, output: &mut dyn Write, file: Option<&File>) -> io::Result<()> {
    if file.is_none() {
        die_with_parent();
    }
    let mut emit = |event: Event| {
        let synced = file.filter(|_| matches!(event, Event::Eval(_) | Event::Checkpoint { .. }));
        if write_line(output, &event).and_then(|()| synced.map_or(Ok(()), File::sync_data)).is_err() {
            // Nobody listens: to go on would hold the device, and write checkpoints, beside the
            // child of the next driver. Deep inside a run there is no way back from here.
            std::process::exit(UNHEARD);
        }
    };
    let last_word = obey(input, &mut emit);
    write_line(output, &last_word)?;
    file.map_or(Ok(()), File::sync_all)
}

/// A driver that is killed must leave no child behind that holds the device.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Where the kernel refuses, or the driver died before this line, the child ends at its
        // next event.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
}

fn write_line(output: &mut dyn Write, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn obey(input: impl Read, emit: &mut dyn FnMut(Event)) -> Event {
    let spec: TrialSpec = match serde_json::from_reader(input) {
        Ok(spec) => spec,
        Err(error) => return failed(FailureClass::Internal, &format!("not a trial specification: {error}")),
    };
    // Before the cap is in force: under a very small one the next allocation is refused.
    device::allocator::arm_last_word();
    if let Task::Train { also_on, .. } = &spec.task
        && !also_on.is_empty()
    {
        let also_on = also_on.clone();
        return ranks::train(spec, &also_on, emit);
    }
    let device = match device::open(&spec.device) {
        Ok(device) => device,
        Err(error) => return failed(FailureClass::Device, &error),
    };
    let done = match &spec.task {
        Task::Evaluate => evaluate(&spec, &*device, emit),
        Task::Gradients { file, composed } => train::gradients(&spec, &*device, file, *composed, emit),
        Task::Probe { steps, max_length, timed, scratch } => {
            let task = ProbeTask { steps: *steps, max_length: *max_length, timed, scratch };
            train::probe(&spec, &*device, task, emit)
        }
        task @ Task::Train { .. } => {
            train_task(task).map_or(Ok(()), |task| train::train(&spec, task, &*device, emit))
        }
    };
    done.map_or_else(|error| last_word(&error, &*device), |()| Event::Finished)
}

/// What is trained, where it is asked to train.
fn train_task(task: &Task) -> Option<TrainTask<'_>> {
    let Task::Train { stop_at_step, evaluate_every, checkpoint, best, examples, .. } = task else {
        return None;
    };
    Some(TrainTask {
        stop_at_step: *stop_at_step,
        evaluate_every: *evaluate_every,
        checkpoint,
        best: best.as_deref(),
        examples: *examples,
    })
}

/// Loss of a model folder or a GGUF file on the test split.
fn evaluate(spec: &TrialSpec, device: &dyn Device, emit: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
    let started = std::time::Instant::now();
    let dataset = data::cache::read(&spec.dataset)?;
    let model = load_model(&spec.model, spec.hyperparams.precision, device)?;
    let evaluation = train::evaluate(&model, &dataset.test, spec.train.eval_micro_batch_size)?;
    device.synchronize()?;
    emit(Event::Eval(EvalEvent {
        step: 0,
        loss_nats: evaluation.loss_nats(),
        tokens: evaluation.tokens,
        seconds: started.elapsed().as_secs_f64(),
    }));
    Ok(())
}

/// Loads a model folder, or a GGUF file by its ending, to be evaluated.
///
/// # Errors
/// The files are missing, damaged or of an architecture we do not have.
pub fn load_model(path: &Path, precision: Precision, device: &dyn Device) -> Result<Decoder, TrainError> {
    device.check_precision(precision)?;
    if quantize::is_gguf(path) {
        return load_gguf(path, precision, device);
    }
    let config = model::read_config(path)?;
    let weights = model::read_frozen_weights(path, &config, None, device.candle())?;
    Ok(Decoder::frozen(config, weights, precision, device.candle())?)
}

fn load_gguf(file: &Path, precision: Precision, device: &dyn Device) -> Result<Decoder, TrainError> {
    let GgufModel { config, mut tensors } =
        quantize::read(file).map_err(|error| TrainError::Gguf(error.to_string()))?;
    let missing = |name: &str| TrainError::Gguf(format!("{}: tensor `{name}` is missing", file.display()));
    let weights = arch::parameters(&config)
        .iter()
        .map(|spec| tensors.remove(&spec.name).ok_or_else(|| missing(&spec.name)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Decoder::frozen(config, weights, precision, device.candle())?)
}

fn failed(class: FailureClass, message: &dyn std::fmt::Display) -> Event {
    Event::Failed { class, message: message.to_string() }
}

fn out_of_memory(device: &dyn Device) -> Event {
    Event::OutOfMemory { requested: None, live: device.live().unwrap_or_default(), cap: device.cap() }
}

fn last_word(error: &TrainError, device: &dyn Device) -> Event {
    match error {
        TrainError::Diverged { step } => Event::Diverged { step: *step },
        TrainError::Model(ModelError::Tensor(tensor)) if device::is_out_of_memory(tensor) => {
            out_of_memory(device)
        }
        TrainError::Model(ModelError::Tensor(_)) | TrainError::Device(_) => {
            failed(FailureClass::Device, error)
        }
        TrainError::Ranks(RankError::Sum(tensor)) if device::is_out_of_memory(tensor) => {
            out_of_memory(device)
        }
        TrainError::Ranks(RankError::Sum(_) | RankError::Connect(_)) => failed(FailureClass::Device, error),
        TrainError::Model(ModelError::Gradient { .. })
        | TrainError::MicroBatches { .. }
        | TrainError::Uneven { .. }
        | TrainError::Threads(_)
        | TrainError::Ranks(RankError::Left { .. } | RankError::OutOfStep) => {
            failed(FailureClass::Internal, error)
        }
        TrainError::Model(_) | TrainError::Gguf(_) => failed(FailureClass::Model, error),
        TrainError::Data(_) => failed(FailureClass::Data, error),
        TrainError::Checkpoint { .. } => failed(FailureClass::Checkpoint, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_specification_still_gets_a_last_word() {
        let mut output = Vec::new();
        run(&b"{\"device\":"[..], &mut output, None).unwrap();
        let line = String::from_utf8(output).unwrap();
        let event: Event = serde_json::from_str(line.trim()).unwrap();
        assert!(matches!(event, Event::Failed { class: FailureClass::Internal, .. }), "{line}");
    }
}
