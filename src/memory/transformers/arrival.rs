//! How a 4-bit model arrives on the device, before PEFT prepares it.

use std::collections::VecDeque;

use super::dtype::Dtype;
use super::linear::Nf4;
use super::setup::{TransformersSetup, Weights};
use super::tape::Tape;
use super::tensor::Tensor;
use crate::arch::{LayerPart, ModelConfig};

/// bitsandbytes' part of loading: weights arrive in 16 bits, sorted by name; a matrix is quantized
/// and goes, all else stays until PEFT widens it. On the CPU only what stays is counted.
pub(super) fn quantize(
    tape: &Tape,
    config: &ModelConfig,
    setup: &TransformersSetup,
    parts: &[LayerPart],
) -> (VecDeque<Nf4>, VecDeque<Tensor>) {
    let Weights::Nf4 { double_quantized, compute } = setup.weights else { return Default::default() };
    let compute = compute.map_or(Dtype::F32, Dtype::half);
    let arrive = |n| tape.on_card.then(|| tape.make(n, compute));
    drop(warm_up(tape, config, parts, compute));
    let (d, v) = (config.hidden_size as u64, config.vocab_size as u64);
    let last = config.num_hidden_layers;
    let mut halves = Vec::new();
    let mut quantized = Vec::new();
    // Each with its place in the model: embedding, layers, norm, head.
    if !config.tie_word_embeddings {
        halves.push(((last + 2, 0), arrive(v * d)));
    }
    halves.push(((0, 0), arrive(v * d)));
    let mut by_name: Vec<usize> = (0..parts.len()).collect();
    by_name.sort_by_key(|&part| &parts[part].name);
    for place in (1..=last).flat_map(|layer| by_name.iter().map(move |&part| (layer, part))) {
        let part = &parts[place.1];
        let arrived = arrive(elements(part));
        if is_quantized(part) {
            quantized.push((place, Nf4::new(tape, elements(part), double_quantized, compute)));
        } else {
            halves.push((place, arrived));
        }
    }
    halves.push(((last + 1, 0), arrive(d)));
    halves.sort_by_key(|(place, _)| *place);
    quantized.sort_by_key(|(place, _)| *place);
    let halves = halves.into_iter().filter_map(|(_, half)| half).collect();
    (quantized.into_iter().map(|(_, codes)| codes).collect(), halves)
}

/// Transformers asks for the whole model at once before it loads, so that the driver is asked once
/// (`caching_allocator_warmup`).
fn warm_up(tape: &Tape, config: &ModelConfig, parts: &[LayerPart], compute: Dtype) -> Option<Tensor> {
    let bytes = |part: &LayerPart| {
        if is_quantized(part) { elements(part) / 2 } else { elements(part) * compute.size() }
    };
    let layer: u64 = parts.iter().map(bytes).sum();
    let tables = if config.tie_word_embeddings { 1 } else { 2 };
    let rest = (config.vocab_size as u64 * tables + 1) * config.hidden_size as u64 * compute.size();
    let n = layer * config.num_hidden_layers as u64 + rest;
    tape.on_card.then(|| tape.make(n, Dtype::Byte))
}

fn is_quantized(part: &LayerPart) -> bool {
    part.shape.len() == 2 && !part.is_bias
}

/// Values of a weight.
pub(super) fn elements(part: &LayerPart) -> u64 {
    part.shape.iter().map(|&size| size as u64).product()
}
