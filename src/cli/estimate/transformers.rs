//! A point as Transformers, PEFT and PyTorch train it.

use anyhow::Result;

use super::asked::{Asked, Point};
use crate::arch::ModelConfig;
use crate::cli::args::{AttentionName, EstimateOptions, LoopName};
use crate::cli::usage::UsageError;
use crate::memory::Stack;
use crate::memory::gpu::{DevicePeak, Gpu};
use crate::memory::transformers::{
    self, Attention, CardModel, HalfPrecision, Kernels, Method, Optimizer, TrainingLoop, TransformersSetup,
    Weights,
};
use crate::space::{ALL_LINEAR, BlockFormat, LoraSettings, Precision};
use crate::trial::PhasePeak;
use crate::units::Bytes;

/// Compute capability of a card that has none: kernels of a recent one.
const RECENT: (u8, u8) = (8, 0);

const FALLS_BACK: &str = "without padding, Transformers leaves shared key heads to a kernel that this card or \
    precision has not, and PyTorch then holds all scores: more memory than told here \
    (huggingface/transformers#48633)";

/// Memory of PyTorch.
pub(super) struct PyTorch<'a> {
    config: &'a ModelConfig,
    setup: TransformersSetup,
}

impl PyTorch<'_> {
    fn setup(&self, micro_batch_size: usize, gpu: &Gpu) -> TransformersSetup {
        let (major, minor) = capability(gpu);
        TransformersSetup { kernels: Kernels::Cuda(major, minor), micro_batch_size, ..self.setup.clone() }
    }

    fn on_card(&self, micro_batch_size: usize, gpu: &Gpu) -> transformers::DevicePeak {
        self.on(micro_batch_size, gpu, CardModel::of(capability(gpu)))
    }

    fn on(&self, micro_batch_size: usize, gpu: &Gpu, card: CardModel) -> transformers::DevicePeak {
        transformers::device_peak(self.config, &self.setup(micro_batch_size, gpu), card)
    }
}

impl Stack for PyTorch<'_> {
    /// As `torch.cuda.max_memory_allocated` counts them: tensors in blocks of 512 bytes, and workspaces.
    fn live_peaks(&self, micro_batch_size: usize, gpu: &Gpu) -> Vec<PhasePeak> {
        self.on_card(micro_batch_size, gpu).allocated
    }

    fn device_peak(&self, micro_batch_size: usize, gpu: &Gpu) -> DevicePeak {
        let peak = self.on_card(micro_batch_size, gpu);
        let live = peak.live();
        let rounding = peak.reserved.saturating_sub(live);
        DevicePeak { live, context: peak.context, workspaces: Bytes(0), rounding }
    }

    /// By the allocator, which gives back what it has cached before it gives up; the evaluation counts too.
    fn fits(&self, micro_batch_size: usize, gpu: &Gpu, margin: Bytes) -> bool {
        let card = CardModel::of(capability(gpu)).with_visible(gpu.visible.saturating_sub(margin));
        self.on(micro_batch_size, gpu, card).fits
    }

    fn warnings(&self, gpu: &Gpu) -> Vec<String> {
        let falls_back = self.setup(1, gpu).falls_back_to_math(self.config);
        falls_back.then(|| FALLS_BACK.to_owned()).into_iter().collect()
    }
}

fn capability(gpu: &Gpu) -> (u32, u32) {
    let (major, minor) = gpu.compute_capability.unwrap_or(RECENT);
    (major.into(), minor.into())
}

/// The setup of a point.
pub(super) fn stack<'a>(
    options: &EstimateOptions,
    asked: &'a Asked,
    point: &'a Point,
) -> Result<PyTorch<'a>> {
    let half = half_of(point.precision);
    let weights = weights(options, point, half)?;
    let is_trainer = options.training_loop == LoopName::Trainer;
    // With 32-bit weights 16-bit arithmetic is autocast's; the Trainer switches it on for any weights.
    let autocast = half.filter(|_| is_trainer || weights == Weights::F32);
    let setup = TransformersSetup {
        weights,
        autocast,
        method: point.lora.as_ref().map_or(Method::Full, |lora| method(lora, &asked.config)),
        gradient_checkpointing: point.gradient_checkpointing,
        attention: match options.attention {
            AttentionName::Eager => Attention::Eager,
            AttentionName::Sdpa => Attention::Sdpa,
        },
        optimizer: optimizer(&options.optimizer)?,
        training_loop: if is_trainer { TrainingLoop::Trainer } else { TrainingLoop::Script },
        accumulates_gradients: asked.accumulation > 1,
        kernels: Kernels::Cuda(RECENT.0.into(), RECENT.1.into()),
        micro_batch_size: 1,
        sequence_length: point.length,
    };
    Ok(PyTorch { config: &asked.config, setup })
}

const fn half_of(precision: Precision) -> Option<HalfPrecision> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(HalfPrecision::Bf16),
        Precision::F16 => Some(HalfPrecision::F16),
    }
}

fn method(lora: &LoraSettings, config: &ModelConfig) -> Method {
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let fused = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"];
    let is_all = lora.targets.iter().any(|target| target == ALL_LINEAR);
    let targets = match (is_all, config.traits.fused) {
        (true, true) => fused.map(str::to_owned).to_vec(),
        (true, false) => all.map(str::to_owned).to_vec(),
        (false, _) => lora.targets.clone(),
    };
    Method::Lora { rank: lora.rank, targets, dropout: lora.dropout > 0.0 }
}

/// How the weights are loaded: a base of adapters in the precision of the step, what is trained whole in 32 bits.
fn weights(options: &EstimateOptions, point: &Point, half: Option<HalfPrecision>) -> Result<Weights> {
    let quantized = point.lora.as_ref().and_then(|lora| lora.quantize_base);
    let nf4 = |double_quantized| Weights::Nf4 { double_quantized, compute: half };
    Ok(match options.base_weights.as_deref() {
        Some("f32") => Weights::F32,
        Some("bf16") => Weights::Half(HalfPrecision::Bf16),
        Some("f16" | "fp16") => Weights::Half(HalfPrecision::F16),
        Some("nf4" | "nf4-double") if point.lora.is_none() => {
            return Err(UsageError::plain("`nf4` can't be trained itself", "add `--method lora`").into());
        }
        Some("nf4") => nf4(false),
        Some("nf4-double") => nf4(true),
        Some(other) => {
            let problem = format!("Transformers keeps no base in `{other}`");
            return Err(UsageError::plain(&problem, "use `f32`, `bf16`, `f16`, `nf4` or `nf4-double`").into());
        }
        // What a study keeps in blocks of four bits is nearest to NF4.
        None if quantized.is_some_and(|format| format != BlockFormat::Q8_0) => nf4(false),
        None if point.lora.is_some() => half.map_or(Weights::F32, Weights::Half),
        None => Weights::F32,
    })
}

fn optimizer(name: &str) -> Result<Optimizer> {
    Ok(match name {
        "adamw" | "adamw_torch" => Optimizer::AdamW,
        "adamw_fused" | "adamw_torch_fused" => Optimizer::AdamWFused,
        "adamw_8bit" | "adamw_bnb_8bit" => Optimizer::AdamW8bit,
        "paged_adamw_8bit" => Optimizer::PagedAdamW8bit,
        other => {
            let problem = format!("`{other}` is no optimizer that is known of Transformers");
            let hint = "use `adamw`, `adamw_fused`, `adamw_8bit` or `paged_adamw_8bit`";
            return Err(UsageError::plain(&problem, hint).into());
        }
    })
}
