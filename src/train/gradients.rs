//! The gradient of every weight from one pass, in a file: two devices, or two paths of one, can be compared by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device as Candle, Tensor};

use super::TrainError;
use super::session::decoder;
use crate::arch::parameters;
use crate::data::{self, Example, collate, longest_first};
use crate::device::Device;
use crate::model::{self, Gradients, TensorFiles, elsewhere};
use crate::trial::{EvalEvent, Event, TrialSpec};

/// What a loss in f16 is multiplied by: gradients of a fresh model neither vanish nor overflow. The other precisions
/// need no such factor.
const LOSS_SCALE: f32 = 1024.0;

/// Writes the gradients of one micro-batch of the longest examples to `file` and says their loss.
///
/// With `composed` also a processor takes the path of devices without kernels.
///
/// # Errors
/// Files that can't be read or written, a device that fails or is full.
pub fn gradients(
    spec: &TrialSpec,
    device: &dyn Device,
    file: &Path,
    composed: bool,
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    if composed {
        return elsewhere::pretended(|| pass(spec, device, file, emit));
    }
    pass(spec, device, file, emit)
}

fn pass(
    spec: &TrialSpec,
    device: &dyn Device,
    file: &Path,
    emit: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    let dataset = data::cache::read(&spec.dataset)?;
    let model = decoder(spec, model::read_config(&spec.model)?, None, device)?;
    emit(Event::Started {
        device: device.describe(),
        dtype: spec.hyperparams.precision.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        resumed_at_step: 0,
        parameters: model.trainable().map(|(spec, _)| spec.elements() as u64).sum(),
        overhead_bytes: device.overhead(),
    });
    let started = Instant::now();
    let longest = longest_first(&dataset.train).into_iter().map(|index| &dataset.train[index]);
    let examples: Vec<&Example> = longest.take(spec.hyperparams.batch.micro_batch_size).collect();
    let batch = collate(&examples);
    #[expect(clippy::cast_precision_loss, reason = "a micro-batch has fewer than 2^24 tokens")]
    let mean = 1.0 / batch.scored_tokens.max(1) as f32;
    let factor = if model.scales_loss() { LOSS_SCALE } else { 1.0 };
    let mut sums = Gradients::zeros(&model)?;
    let nats = model.accumulate(&batch, factor * mean, &mut sums, &mut |_| Ok(()))?;
    let scaled = |sum: &Tensor| (sum / f64::from(factor))?.to_device(&Candle::Cpu);
    let gradients = sums.buffers().iter().map(scaled).collect::<candle_core::Result<Vec<Tensor>>>()?;
    device.synchronize()?;
    let names = model.trainable().map(|(spec, _)| spec.name.as_str());
    let named: Vec<(&str, &Tensor)> = names.zip(&gradients).collect();
    model::write_tensors(file, &named, DType::F32, &[])?;
    emit(Event::Eval(EvalEvent {
        step: 0,
        loss_nats: nats * f64::from(mean),
        tokens: batch.scored_tokens as u64,
        seconds: started.elapsed().as_secs_f64(),
    }));
    Ok(())
}

/// The gradients in a `file` that [`gradients`] wrote; none for a weight of the model in `folder` that it lacks.
///
/// # Errors
/// One of the files can't be read.
pub fn read_gradients(file: &Path, folder: &Path) -> Result<BTreeMap<String, Option<Vec<f32>>>, TrainError> {
    let files = TensorFiles::open(file)?;
    let config = model::read_config(folder)?;
    let read = |name: String| {
        if !files.names().any(|known| known == name) {
            return Ok((name, None));
        }
        let values = files.load(&name, &Candle::Cpu)?.flatten_all()?.to_vec1()?;
        Ok((name, Some(values)))
    };
    parameters(&config).into_iter().map(|spec| read(spec.name)).collect()
}
