//! Does a run fit a card, and how large may its micro-batch be?

use std::collections::BTreeMap;

use serde::Serialize;

use super::gpu::{self, DevicePeak, Gpu};
use super::{BatchShape, Machine, TrainingSetup, highest, replay};
use crate::trial::PhasePeak;
use crate::units::Bytes;

/// A way to train, of which bytes are asked for any micro-batch.
pub trait Stack {
    /// Most bytes of live tensors in each phase of a run.
    fn live_peaks(&self, micro_batch_size: usize, gpu: &Gpu) -> Vec<PhasePeak>;

    /// What the card's own tools would show.
    fn device_peak(&self, micro_batch_size: usize, gpu: &Gpu) -> DevicePeak;

    /// Whether it runs where `margin` is to stay free.
    fn fits(&self, micro_batch_size: usize, gpu: &Gpu, margin: Bytes) -> bool {
        self.device_peak(micro_batch_size, gpu).total().0 + margin.0 <= gpu.visible.0
    }

    /// What a user should know about this way on that card.
    fn warnings(&self, _: &Gpu) -> Vec<String> {
        vec![]
    }
}

/// This program's own core on a card.
#[derive(Clone, Debug)]
pub struct OwnCore<'a> {
    /// How a model is trained.
    pub setup: TrainingSetup<'a>,
    /// Inputs of each example.
    pub length: usize,
}

impl Stack for OwnCore<'_> {
    fn live_peaks(&self, micro_batch_size: usize, _: &Gpu) -> Vec<PhasePeak> {
        let batch = BatchShape::equal(micro_batch_size, self.length);
        replay(&self.setup, Machine::Card, &batch, &batch)
    }

    fn device_peak(&self, micro_batch_size: usize, gpu: &Gpu) -> DevicePeak {
        gpu::device_peak(gpu, highest(&self.live_peaks(micro_batch_size, gpu)).peak_bytes)
    }
}

/// What one card would do with a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The card's name as it is typed.
    pub gpu: String,
    /// Its memory.
    pub visible_bytes: Bytes,
    /// The micro-batch that the bytes are of: the one asked for, or the largest that fits, or 1.
    pub micro_batch_size: usize,
    /// Most bytes of live tensors.
    pub live_peak_bytes: Bytes,
    /// Most bytes that the card's own tools would show.
    pub device_peak_bytes: Bytes,
    /// What of them is not live tensors.
    pub beside_tensors: Beside,
    /// Most bytes of live tensors in each phase.
    pub by_phase: BTreeMap<&'static str, Bytes>,
    /// Whether the micro-batch fits with the margin.
    pub fits: bool,
    /// The largest that does; 0: not even one example.
    pub max_micro_batch: usize,
    /// Bytes that are to stay free.
    pub margin_bytes: Bytes,
}

/// The terms of a device's peak that are no live tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// The driver's part of a process.
    pub context_bytes: Bytes,
    /// What libraries of products take.
    pub workspace_bytes: Bytes,
    /// What the allocator holds beyond what is in use.
    pub rounding_bytes: Bytes,
}

/// What `gpu` would do with a run of `micro_batch_size`, or of the largest up to `limit` that fits.
#[must_use]
pub fn answer(
    stack: &dyn Stack,
    gpu: &Gpu,
    micro_batch_size: Option<usize>,
    margin: Bytes,
    limit: usize,
) -> Answer {
    let max_micro_batch = largest(limit, |size| stack.fits(size, gpu, margin));
    let size = micro_batch_size.unwrap_or_else(|| max_micro_batch.max(1));
    let device = stack.device_peak(size, gpu);
    let by_phase = stack.live_peaks(size, gpu);
    Answer {
        gpu: gpu.name.clone(),
        visible_bytes: gpu.visible,
        micro_batch_size: size,
        live_peak_bytes: highest(&by_phase).peak_bytes,
        device_peak_bytes: device.total(),
        beside_tensors: Beside {
            context_bytes: device.context,
            workspace_bytes: device.workspaces,
            rounding_bytes: device.rounding,
        },
        by_phase: by_phase.iter().map(|peak| (peak.phase.name(), peak.peak_bytes)).collect(),
        fits: size <= max_micro_batch,
        max_micro_batch,
        margin_bytes: margin,
    }
}

/// The largest size up to `limit` that fits, if all below it fit as well: doubled, then halved.
fn largest(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, 1);
    while high <= limit && fits(high) {
        (low, high) = (high, high * 2);
    }
    high = high.min(limit + 1);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ModelConfig;
    use crate::space::{Optimizer, Precision};

    #[test]
    fn the_largest_is_found_whatever_it_is() {
        for truth in 0..70 {
            assert_eq!(largest(64, |size| size <= truth), truth.min(64));
        }
    }

    #[test]
    fn the_answer_holds_at_its_own_largest_micro_batch_and_not_beyond() {
        let json = r#"{"model_type":"llama","vocab_size":32000,"hidden_size":2048,"intermediate_size":5632,
            "num_hidden_layers":22,"num_attention_heads":32,"num_key_value_heads":4}"#;
        let config = ModelConfig::from_json(json).unwrap();
        let setup = TrainingSetup {
            config: &config,
            precision: Precision::Bf16,
            lora: None,
            file_bytes: 2,
            optimizer: Optimizer::AdamW,
            gradient_checkpointing: true,
            keeps_gradients: true,
        };
        let stack = OwnCore { setup, length: 512 };
        let gpu = gpu::find("rtx-4090").unwrap();
        let margin = Bytes::mib(256);
        let found = answer(&stack, &gpu, None, margin, 4096);
        assert!(found.fits && found.max_micro_batch > 1, "{found:?}");
        assert!(found.device_peak_bytes.0 + margin.0 <= gpu.visible.0);
        let more = answer(&stack, &gpu, Some(found.max_micro_batch + 1), margin, 4096);
        assert!(!more.fits && more.device_peak_bytes.0 + margin.0 > gpu.visible.0);
        let beside = found.beside_tensors;
        let sum = beside.context_bytes.0 + beside.workspace_bytes.0 + beside.rounding_bytes.0;
        assert_eq!(found.live_peak_bytes.0 + sum, found.device_peak_bytes.0);
        let small = answer(&stack, &gpu::find("t4").unwrap(), None, margin, 4096);
        assert_eq!((small.fits, small.max_micro_batch, small.micro_batch_size), (false, 0, 1));
    }
}
