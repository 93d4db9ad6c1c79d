//! Which block type each tensor gets: llama.cpp's recipe for the types we write.
//!
//! Source: `llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp`; compared tensor by tensor
//! with what build b9190 chooses, for models of 2, 8 and 30 layers, tied and not.

use candle_core::quantized::GgmlDType;

use super::GgufType;
use super::names::{NamedTensor, Part};
use crate::arch::ModelConfig;

/// The block type a tensor should have and the one its shape allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub wanted: GgmlDType,
    pub taken: GgmlDType,
}

impl Choice {
    pub(super) fn is_fallback(self) -> bool {
        self.wanted != self.taken
    }
}

/// The block type of one tensor.
pub(super) fn choose(gguf_type: GgufType, tensor: &NamedTensor, config: &ModelConfig) -> Choice {
    let wanted = wanted(gguf_type, tensor, config);
    Choice { wanted, taken: fitting(wanted, tensor.columns()) }
}

fn wanted(gguf_type: GgufType, tensor: &NamedTensor, config: &ModelConfig) -> GgmlDType {
    if !tensor.is_matrix() {
        return GgmlDType::F32;
    }
    let base = gguf_type.base();
    let mixed = matches!(gguf_type, GgufType::Q4KM | GgufType::Q5KM);
    let sensitive = mixed && use_more_bits(tensor.layer, config.num_hidden_layers);
    match tensor.part {
        // The head sees every token, so it keeps 6.6 bits; a tied embedding is the head.
        Part::Head => head_type(base),
        Part::Embedding if config.tie_word_embeddings => head_type(base),
        Part::Value | Part::Down if sensitive => GgmlDType::Q6K,
        Part::Value if gguf_type == GgufType::Q4KM && is_70b(config) => GgmlDType::Q5K,
        _ => base,
    }
}

fn head_type(base: GgmlDType) -> GgmlDType {
    match base {
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::Q8_0 => base,
        _ => GgmlDType::Q6K,
    }
}

/// The first and last eighth of the layers, and every third between.
fn use_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// llama.cpp's name for 80 layers with grouped heads: eight share one value matrix there.
fn is_70b(config: &ModelConfig) -> bool {
    config.num_hidden_layers == 80 && config.num_attention_heads != config.num_key_value_heads
}

/// The wanted type where its blocks divide a row, else the next best that does.
fn fitting(wanted: GgmlDType, columns: usize) -> GgmlDType {
    if columns.is_multiple_of(wanted.block_size()) {
        return wanted;
    }
    let smaller = match wanted {
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q5K => GgmlDType::Q5_1,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        _ => GgmlDType::F16,
    };
    if columns.is_multiple_of(smaller.block_size()) { smaller } else { GgmlDType::F16 }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::config;
    use super::super::names::tensors;
    use super::*;

    fn taken(gguf_type: GgufType, config: &ModelConfig, name: &str) -> GgmlDType {
        let tensor = tensors(config).into_iter().find(|tensor| tensor.gguf == name).unwrap();
        choose(gguf_type, &tensor, config).taken
    }

    #[test]
    fn norms_stay_exact_in_every_type() {
        for kind in GgufType::ALL {
            assert_eq!(taken(kind, &config(), "blk.0.attn_norm.weight"), GgmlDType::F32);
        }
    }

    #[test]
    fn the_head_keeps_more_bits_and_the_embedding_only_where_it_is_the_head() {
        let untied = config();
        let tied = ModelConfig { tie_word_embeddings: true, ..config() };
        assert_eq!(taken(GgufType::Q4KM, &untied, "output.weight"), GgmlDType::Q6K);
        assert_eq!(taken(GgufType::Q4KM, &untied, "token_embd.weight"), GgmlDType::Q4K);
        assert_eq!(taken(GgufType::Q4_0, &tied, "token_embd.weight"), GgmlDType::Q6K);
        assert_eq!(taken(GgufType::Q8_0, &tied, "token_embd.weight"), GgmlDType::Q8_0);
    }

    /// Layers of a 30-layer model that llama.cpp b9190 gave `Q6_K` in `Q4_K_M`.
    #[test]
    fn the_sensitive_layers_are_the_outer_eighths_and_every_third() {
        let config = ModelConfig { num_hidden_layers: 30, ..config() };
        let is_q6 = |layer: &usize| {
            taken(GgufType::Q4KM, &config, &format!("blk.{layer}.attn_v.weight")) == GgmlDType::Q6K
        };
        let layers: Vec<usize> = (0..30).filter(is_q6).collect();
        assert_eq!(layers, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
        assert_eq!(taken(GgufType::Q4KM, &config, "blk.3.ffn_down.weight"), GgmlDType::Q4K);
        assert_eq!(taken(GgufType::Q5KM, &config, "blk.5.ffn_down.weight"), GgmlDType::Q6K);
        assert_eq!(taken(GgufType::Q6K, &config, "blk.3.ffn_up.weight"), GgmlDType::Q6K);
    }

    #[test]
    fn a_row_that_blocks_do_not_divide_takes_the_next_best_type() {
        for (wanted, columns, right) in [
            (GgmlDType::Q4K, 512, GgmlDType::Q4K),
            (GgmlDType::Q4K, 96, GgmlDType::Q5_0),
            (GgmlDType::Q5K, 96, GgmlDType::Q5_1),
            (GgmlDType::Q6K, 96, GgmlDType::Q8_0),
            (GgmlDType::Q6K, 100, GgmlDType::F16),
            (GgmlDType::Q4_0, 100, GgmlDType::F16),
            (GgmlDType::F16, 100, GgmlDType::F16),
        ] {
            assert_eq!(fitting(wanted, columns), right, "{wanted:?} at {columns}");
        }
    }
}
