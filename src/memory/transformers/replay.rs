//! A run by shapes: load, train two steps, evaluate.

use super::dtype::Dtype;
use super::linear::Run;
use super::load::load;
use super::model::{Model, Output};
use super::optimizer;
use super::setup::{TrainingLoop, TransformersSetup};
use super::tape::{Mode, Tape};
use super::tensor::Tensor;
use super::trace::{Event, Recorder};
use crate::arch::ModelConfig;
use crate::memory::Ledger;
use crate::trial::{Phase, PhasePeak};

/// Most bytes of live tensors in each phase of a run.
///
/// Phases: `load` is what lies on the device before the first step, on a card with 4-bit weights
/// also what came before they were quantized; `forward` the embedding and the layers; `loss` the
/// head and the cross-entropy; `backward`; `optimizer` the update; `evaluate` a forward pass without
/// gradients on a batch of the same size. Bytes are those of the storages PyTorch asks its allocator
/// for, unrounded; what the allocator and the driver add is [`super::device_peak`]'s.
#[must_use]
pub fn replay(config: &ModelConfig, setup: &TransformersSetup) -> Vec<PhasePeak> {
    peaks(&trace(config, setup))
}

/// Everything that is allocated and released in a run.
pub(super) fn trace(config: &ModelConfig, setup: &TransformersSetup) -> Vec<Event> {
    let recorder = Recorder::default();
    recorder.enter(Phase::Load);
    let tape = Tape::new(recorder.clone(), setup.kernels.on_card());
    let model = load(&tape, config, setup);
    let tokens = tape.make(setup.tokens(), Dtype::Long);
    let mut states = Vec::new();
    // The first step makes the optimizer's states; in the second one they are there from the start.
    for _ in 0..2 {
        train(&tape, &model, setup, &tokens, &mut states);
    }
    evaluate(&tape, &model, setup, &tokens);
    recorder.events()
}

fn peaks(events: &[Event]) -> Vec<PhasePeak> {
    let ledger = Ledger::new(Phase::Load);
    let mut alive = Vec::new();
    for event in events {
        match *event {
            Event::Enter(phase) => ledger.enter(phase),
            Event::Allocate { bytes, .. } => alive.push(Some(ledger.hold(bytes))),
            Event::Release { id } => drop(alive.get_mut(id).and_then(Option::take)),
        }
    }
    ledger.peaks()
}

fn train(tape: &Tape, model: &Model, setup: &TransformersSetup, tokens: &Tensor, states: &mut Vec<Tensor>) {
    let micro_batches = if setup.accumulates_gradients { 2 } else { 1 };
    let mut held = None;
    for _ in 0..micro_batches {
        held = Some(micro_step(tape, model, setup, tokens));
    }
    tape.recorder.enter(Phase::Optimizer);
    if states.is_empty() {
        *states = optimizer::states(tape, setup.optimizer, &model.trained);
    }
    optimizer::step(tape, setup.optimizer, &model.trained);
    drop(held);
    optimizer::zero_grad(&model.trained);
}

/// Logits and the model's input.
type Held = (Tensor, Option<Tensor>);

/// Forward and backward; what the loop still holds then is returned.
fn micro_step(tape: &Tape, model: &Model, setup: &TransformersSetup, tokens: &Tensor) -> Option<Held> {
    let recorder = &tape.recorder;
    recorder.enter(Phase::Forward);
    tape.mode.set(Mode::Recording);
    let output = forward(tape, model, setup, true, tokens, &|| recorder.enter(Phase::Loss));
    tape.mode.set(Mode::NoGrad);
    let Output { loss, logits, input } = output;
    // The graph behind the loss knows its leaves, the input among them, gradient included.
    let held = (setup.training_loop == TrainingLoop::Script).then(|| (logits.detached(), input.clone()));
    drop(logits);
    recorder.enter(Phase::Backward);
    tape.backward(loss);
    optimizer::settle(&model.trained);
    held
}

fn evaluate(tape: &Tape, model: &Model, setup: &TransformersSetup, tokens: &Tensor) {
    tape.recorder.enter(Phase::Evaluate);
    tape.mode.set(Mode::NoGrad);
    drop(forward(tape, model, setup, false, tokens, &|| {}));
}

fn forward(
    tape: &Tape,
    model: &Model,
    setup: &TransformersSetup,
    training: bool,
    tokens: &Tensor,
    enter_loss: &dyn Fn(),
) -> Output {
    let run = Run { autocast: setup.autocast.map(Dtype::half), training };
    let mut output = model.forward(tape, run, tokens, enter_loss);
    if setup.autocast.is_some() && setup.training_loop == TrainingLoop::Trainer {
        // accelerate's `convert_outputs_to_fp32`.
        output.logits = tape.cast(&output.logits, Dtype::F32);
    }
    tape.casts.borrow_mut().clear();
    output
}
