//! From bytes that are alive to what a card's own tools show, term by term.
//!
//! device = live + context + workspaces + rounding. Live bytes are those of tensors, as a replay for a card
//! gives them; each other term is stated with its source, for none of them was measured on a card by us.

use serde::Serialize;

use super::Gpu;
use crate::units::Bytes;

/// What one run takes of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DevicePeak {
    /// Tensors.
    pub live: Bytes,
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
        Bytes(self.live.0 + self.context.0 + self.workspaces.0 + self.rounding.0)
    }
}

/// What `live` bytes of tensors come to on `gpu`.
#[must_use]
pub fn device_peak(gpu: &Gpu, live: Bytes) -> DevicePeak {
    let (context, workspaces) = (context(gpu), workspaces(gpu));
    DevicePeak { live, context, workspaces, rounding: rounding(live) }
}

/// Bytes of a context where neither card nor architecture is known: within what was seen, 141 to 1,343 MiB.
pub const UNKNOWN_CONTEXT: Bytes = Bytes::mib(600);

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
