//! What a person chose: how weights are stored, what is trained, and how a step is run.

use crate::arch::ModelConfig;

/// How one trains with Transformers, PEFT and PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformersSetup {
    /// How the model's weights are stored.
    pub weights: Weights,
    /// Whether the forward pass runs under `torch.autocast` (`bf16=True` and `fp16=True` of the
    /// `Trainer`), which casts the inputs of matrix products to 16 bits.
    pub autocast: Option<HalfPrecision>,
    /// What is trained.
    pub method: Method,
    /// Whether layers are computed a second time in the backward pass (`use_reentrant=False`).
    pub gradient_checkpointing: bool,
    /// Who computes attention.
    pub attention: Attention,
    /// Who updates the weights.
    pub optimizer: Optimizer,
    /// Who runs the steps.
    pub training_loop: TrainingLoop,
    /// Whether gradients of an earlier micro-batch are alive when the next one begins.
    pub accumulates_gradients: bool,
    /// Which device's kernels: they keep other things.
    pub kernels: Kernels,
    /// Sequences at once (`b`).
    pub micro_batch_size: usize,
    /// Tokens of each (`s`).
    pub sequence_length: usize,
}

/// A type of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfPrecision {
    /// `torch.bfloat16`
    Bf16,
    /// `torch.float16`
    F16,
}

/// How a model's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// `dtype=torch.float32`
    F32,
    /// `dtype=torch.bfloat16` or `torch.float16`, for training in that type without a 32-bit copy.
    Half(HalfPrecision),
    /// bitsandbytes' NF4, after PEFT's `prepare_model_for_kbit_training`: matrices of layers are
    /// 4-bit codes, everything else (embedding, head, norms) is 32 bits wide.
    Nf4 {
        /// Whether the scales of the blocks are quantized themselves.
        double_quantized: bool,
        /// `bnb_4bit_compute_dtype`; none: `float32`.
        compute: Option<HalfPrecision>,
    },
}

/// What is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Every weight.
    Full,
    /// Two thin matrices beside each of some linear layers; they are 32 bits wide, as PEFT makes
    /// them (`autocast_adapter_dtype`).
    Lora {
        /// Rank (`r`).
        rank: usize,
        /// Names of the layers, such as `q_proj`.
        targets: Vec<String>,
        /// Whether `lora_dropout` is above 0.
        dropout: bool,
    },
}

/// Who computes attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// `attn_implementation="eager"`: each step a tensor of its own.
    Eager,
    /// `attn_implementation="sdpa"` with its best kernel: on the CPU the flash kernel, on a card
    /// from compute capability 8.0 on `FlashAttention`, below it the memory-efficient kernel with
    /// keys and values repeated for every query head.
    Sdpa,
    /// `sdpa` where no kernel takes the inputs: PyTorch's composition of products and softmax; see
    /// [`TransformersSetup::falls_back_to_math`].
    SdpaMath,
}

/// Who updates the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// `torch.optim.AdamW` as it comes on a card: the `foreach` loop, which holds a temporary as
    /// large as all that is trained.
    AdamW,
    /// `adamw_torch_fused`, the `Trainer`'s default: no temporaries.
    AdamWFused,
    /// bitsandbytes' `AdamW8bit`: states of tensors from 4096 values on are bytes with a scale for
    /// each 256.
    AdamW8bit,
    /// The same in memory that the driver pages out to the host: none of it counted.
    PagedAdamW8bit,
}

/// Who runs the steps: what stays alive between forward pass and update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingLoop {
    /// `out = model(…); out.loss.backward(); optimizer.step()`: the logits live until the step ends.
    Script,
    /// `transformers.Trainer`: only the loss lives on. Under autocast the logits that a model
    /// returns are copied to 32 bits first.
    Trainer,
}

/// Whose kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// PyTorch's on the CPU: what the fixture was measured with.
    Cpu,
    /// PyTorch's on a card of a compute capability (major, minor).
    Cuda(u32, u32),
}

impl Kernels {
    pub(super) const fn on_card(self) -> bool {
        matches!(self, Self::Cuda(..))
    }

    /// Whether `FlashAttention` runs on it.
    pub(super) const fn have_flash(self) -> bool {
        matches!(self, Self::Cuda(major, _) if major >= 8)
    }
}

impl TransformersSetup {
    /// Whether Transformers as it comes runs [`Attention::Sdpa`] as [`Attention::SdpaMath`], without
    /// a word, on batches without padding.
    ///
    /// If queries have more heads than keys and no padding is masked, it leaves the repeating of
    /// heads to the kernel, and on a card only `FlashAttention` does that: not below compute
    /// capability 8.0, and not for 32-bit inputs such as those of a 4-bit model without autocast
    /// (huggingface/transformers#48633). Memory then grows with the square of the sequence.
    #[must_use]
    pub fn falls_back_to_math(&self, config: &ModelConfig) -> bool {
        let is_grouped = config.num_key_value_heads < config.num_attention_heads && config.head_dim <= 256;
        let is_flash = self.kernels.have_flash() && self.is_half();
        self.attention == Attention::Sdpa && self.kernels.on_card() && is_grouped && !is_flash
    }

    /// Whether attention's inputs are 16 bits wide.
    pub(super) const fn is_half(&self) -> bool {
        self.autocast.is_some() || matches!(self.weights, Weights::Half(_))
    }

    /// `b·s`
    pub(super) const fn tokens(&self) -> u64 {
        self.micro_batch_size as u64 * self.sequence_length as u64
    }
}
