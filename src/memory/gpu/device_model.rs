//! From bytes that are alive to what a card's own tools show, term by term.
//!
//! device = live + composed + context + workspaces + rounding. Live bytes are those of the core with its own
//! kernels; each other term is stated with its source, for none of them was measured on a card by us.
//! Shapes: n positions of a micro-batch, f the MLP's width, h heads, g key heads, t positions of a sequence.

use serde::Serialize;

use super::Gpu;
use crate::arch::ModelConfig;
use crate::space::Precision;
use crate::units::Bytes;

/// What one run takes of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DevicePeak {
    /// Tensors, as a replay or a measurement on the CPU counts them.
    pub live: Bytes,
    /// Intermediate results of operations for which the card has no kernel of ours.
    pub composed: Bytes,
    /// The driver's part of a process, before its first tensor.
    pub context: Bytes,
    /// What cuBLAS gets by itself.
    pub workspaces: Bytes,
    /// What the pool holds beyond what is in use.
    pub rounding: Bytes,
}

impl DevicePeak {
    /// What the card's own tools show.
    #[must_use]
    pub const fn total(&self) -> Bytes {
        Bytes(self.live.0 + self.composed.0 + self.context.0 + self.workspaces.0 + self.rounding.0)
    }
}

/// What is computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Number format of activations.
    pub precision: Precision,
    /// Sequences of a micro-batch.
    pub micro_batch: usize,
    /// Positions of each.
    pub sequence_length: usize,
}

/// What `live` bytes of tensors, with `composed` ones, come to on `gpu`.
#[must_use]
pub fn device_peak(gpu: &Gpu, live: Bytes, composed: Bytes) -> DevicePeak {
    let (context, workspaces) = (context(gpu), workspaces(gpu));
    DevicePeak { live, composed, context, workspaces, rounding: rounding(Bytes(live.0 + composed.0)) }
}

/// Most bytes of tensors, composed ones among them, that leave `margin` free on `gpu`.
#[must_use]
pub fn budget(gpu: &Gpu, margin: Bytes) -> Bytes {
    let fixed = Bytes(context(gpu).0 + workspaces(gpu).0 + margin.0);
    let room = gpu.visible.saturating_sub(fixed).0;
    // What is rounded up by a share and to whole chunks, taken back; the last step takes no more than two.
    let mut live = room / CHUNK * CHUNK / (SLACK + 1) * SLACK;
    while live > 0 && live + rounding(Bytes(live)).0 > room {
        live = live.saturating_sub(CHUNK);
    }
    Bytes(live)
}

/// Bytes of a context where neither card nor architecture is known: within what was seen, 141 to 1,343 MiB.
const UNKNOWN_CONTEXT: Bytes = Bytes::mib(600);

/// Bytes of a process that has opened the card and done little else.
///
/// Sources: 7.0: `PyCUDA` on a Titan V, 320 MiB (pytorch/pytorch #28394). 7.5: 141 MiB on a T4 with CUDA
/// 12.8 (fitcheck-llm). 8.6: 256 MiB on an RTX 3090 (invoke-ai/InvokeAI #9413). 8.9: 426 MiB on an RTX 6000
/// Ada (unslothai/unsloth-zoo #1053). With eager loading it is far more: 1,343 MB on a V100.
fn context(gpu: &Gpu) -> Bytes {
    gpu.context.unwrap_or(match gpu.compute_capability {
        Some((7, 0)) => Bytes::mib(320),
        Some((7, 5)) => Bytes::mib(141),
        Some((8, 6)) => Bytes::mib(256),
        Some((8, 9)) => Bytes::mib(426),
        _ => UNKNOWN_CONTEXT,
    })
}

/// Bytes of the one workspace of the one handle candle makes.
///
/// Source: what cuBLAS's reference recommends for `cublasSetWorkspace`, 32 MiB on Hopper and 4 MiB before
/// (quoted in pytorch/pytorch #120925); the two of Blackwell from memory, not re-read.
fn workspaces(gpu: &Gpu) -> Bytes {
    match gpu.compute_capability {
        Some((9 | 10, _)) => Bytes::mib(32),
        Some((12, _)) => Bytes::mib(12),
        _ => Bytes::mib(4),
    }
}

/// The pool gets memory in chunks: the smallest reservation is 32 MiB (from memory, not re-read).
const CHUNK: u64 = 32 << 20;
/// One part in so many that lies between tensors. An assumption: the driver can move chunks together
/// where addresses are virtual, but sizes differ from step to step. Each tensor is rounded up to 512
/// bytes too, which for the few thousand there are is within it.
const SLACK: u64 = 64;

fn rounding(used: Bytes) -> Bytes {
    let held = (used.0 + used.0 / SLACK).next_multiple_of(CHUNK);
    Bytes(held - used.0)
}

/// Bytes of one f32.
const WIDE: u64 = 4;
/// f32 copies of the scores in the backward pass of attention: p, dp, their difference and their product.
const SCORES: u64 = 4;
/// Most scores alive at once, unless one sequence has more: those of `model::ops::attention`.
const SCORES_ALIVE: u64 = 1 << 26;
/// f32 copies as large as the gate in its backward pass: the sigmoid, the active gate, and three steps.
const GATES: u64 = 5;
/// Inputs of it that are made f32 where they are not.
const WIDENED: u64 = 3;

/// Intermediate results of the backward pass where kernels of ours are missing, at their highest.
///
/// On a card attention and the gated MLP are composed of candle's operations, each of which makes a new
/// tensor; on the CPU they write over their inputs. Norms and rotations have far smaller ones.
#[must_use]
pub fn composed_temporaries(config: &ModelConfig, step: StepShape) -> Bytes {
    Bytes(scores(config, step).max(gates(config, step)))
}

fn scores(config: &ModelConfig, step: StepShape) -> u64 {
    let (t, h) = (step.sequence_length as u64, config.num_attention_heads as u64);
    let of_sequence = t * t * h;
    let together = (SCORES_ALIVE / of_sequence.max(1)).clamp(1, step.micro_batch.max(1) as u64);
    let mask = of_sequence / config.num_key_value_heads as u64;
    WIDE * (SCORES * together * of_sequence + mask)
}

fn gates(config: &ModelConfig, step: StepShape) -> u64 {
    let n = (step.micro_batch * step.sequence_length) as u64;
    let copies = if step.precision == Precision::F32 { GATES } else { GATES + WIDENED };
    WIDE * copies * n * config.intermediate_size as u64
}
