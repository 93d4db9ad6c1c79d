//! What the tests of parity ask of our decoder.

use std::iter;
use std::path::Path;

use candle_core::Device;
use diapason::data::Batch;
use diapason::model::{self, Decoder};
use diapason::space::Precision;

/// The text.
pub(crate) const TOKENS: [u32; 12] = [1, 30, 5, 60, 2, 2, 47, 63, 0, 11, 9, 33];
/// Logits of f32 are summed in another order.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// Logits of a model folder at every position of [`TOKENS`].
pub(crate) fn ours(folder: &Path) -> Vec<Vec<f32>> {
    let config = model::read_config(folder).unwrap();
    let weights = model::read_weights(folder, &config).unwrap();
    let decoder = Decoder::new(config, weights, Precision::F32, &Device::Cpu).unwrap();
    let length = TOKENS.len();
    let batch = Batch {
        input_ids: TOKENS.to_vec(),
        targets: vec![0; length],
        sequences: iter::once(0..length).collect(),
        scored_tokens: length,
    };
    decoder.logits(&batch).unwrap().to_vec2().unwrap()
}
