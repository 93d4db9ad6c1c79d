//! What a card shows: live tensors, and what PyTorch's allocator and the driver take beside them.

use super::pool::Pool;
use super::replay::trace;
use super::setup::TransformersSetup;
use super::trace::Event;
use crate::arch::ModelConfig;
use crate::trial::{Phase, PhasePeak};
use crate::units::Bytes;

/// What a process takes on a card before the first tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardModel {
    /// CUDA's context with the kernels that were loaded.
    pub context: Bytes,
    /// Workspace of one cuBLAS handle. The forward and the backward thread have a handle each.
    pub product_workspace: Bytes,
    /// Memory that a process sees; none: without end.
    pub visible: Option<Bytes>,
}

/// What a training process takes on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePeak {
    /// `torch.cuda.max_memory_allocated()` of each phase: live tensors in blocks, and workspaces.
    pub allocated: Vec<PhasePeak>,
    /// `torch.cuda.max_memory_reserved()` after two steps: what the allocator took from the driver.
    pub reserved: Bytes,
    /// CUDA's context.
    pub context: Bytes,
    /// Whether the card's visible memory was enough, for training and for the evaluation. Near the
    /// edge the allocator gives back what it has cached, so less than it would like is enough.
    pub fits: bool,
}

impl CardModel {
    /// Assumptions for a compute capability.
    ///
    /// The context of a T4 was measured as 140.9 MiB with PyTorch 2.10 to 2.14 (fitcheck-llm 0.3.1,
    /// `data/measurements`); of others nothing as exact is known, and newer cards load more
    /// kernels: 500 MiB are assumed. Workspaces: `CublasHandlePool.cpp`,
    /// `parseChosenWorkspaceSize`: 8320 KiB, and 32 MiB from compute capability 9.0 on.
    #[must_use]
    pub const fn of(capability: (u32, u32)) -> Self {
        let context =
            if capability.0 == 7 && capability.1 == 5 { Bytes(147_718_144) } else { Bytes::mib(500) };
        let product_workspace = if capability.0 >= 9 { Bytes::mib(32) } else { Bytes(8320 << 10) };
        Self { context, product_workspace, visible: None }
    }

    /// The same with so much memory to be seen, such as 14,912 MiB of a T4.
    #[must_use]
    pub const fn with_visible(self, visible: Bytes) -> Self {
        Self { visible: Some(visible), ..self }
    }
}

impl DevicePeak {
    /// The most that was allocated.
    #[must_use]
    pub fn live(&self) -> Bytes {
        self.allocated.iter().map(|peak| peak.peak_bytes).max().unwrap_or_default()
    }

    /// What the card's own tools show for the process while it trains.
    #[must_use]
    pub fn total(&self) -> Bytes {
        Bytes(self.reserved.0 + self.context.0)
    }
}

/// Replays a run on PyTorch's caching allocator.
///
/// The allocator's part is the difference between [`DevicePeak::reserved`] and the live tensors of
/// [`super::replay`]; it follows from the order of allocations alone and takes no factor for
/// fragmentation.
#[must_use]
pub fn device_peak(config: &ModelConfig, setup: &TransformersSetup, card: CardModel) -> DevicePeak {
    let mut on_card = OnCard::new(card);
    for event in trace(config, setup) {
        on_card.take(event);
    }
    on_card.finish(card.context)
}

/// The allocator, with what of a trace it has seen.
struct OnCard {
    pool: Pool,
    blocks: Vec<Option<usize>>,
    allocated: Vec<PhasePeak>,
    phase: Phase,
    reserved_in_training: Bytes,
    workspace: Bytes,
    has_workspace: [bool; 2],
}

impl OnCard {
    fn new(card: CardModel) -> Self {
        Self {
            pool: Pool::within(card.visible.map(|visible| visible.saturating_sub(card.context))),
            blocks: Vec::new(),
            allocated: Vec::new(),
            phase: Phase::Load,
            reserved_in_training: Bytes(0),
            workspace: card.product_workspace,
            has_workspace: [false; 2],
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Enter(phase) => self.enter(phase),
            Event::Allocate { bytes, .. } => {
                let block = (bytes > 0).then(|| self.pool.allocate(bytes));
                self.blocks.push(block);
            }
            Event::Release { id } => {
                if let Some(block) = self.blocks.get_mut(id).and_then(Option::take) {
                    self.pool.release(block);
                }
            }
        }
        self.note();
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase == Phase::Load {
            self.pool.empty_cache();
        }
        self.phase = phase;
        if phase == Phase::Evaluate {
            self.reserved_in_training = self.pool.peak_reserved();
        }
        let thread = match phase {
            Phase::Forward => 0,
            Phase::Backward => 1,
            _ => return,
        };
        if !std::mem::replace(&mut self.has_workspace[thread], true) {
            self.pool.allocate(self.workspace.0);
        }
    }

    fn note(&mut self) {
        let now = self.pool.peak_allocated();
        self.pool.forget_allocated_peak();
        let phase = self.phase;
        match self.allocated.iter_mut().find(|peak| peak.phase == phase) {
            Some(known) => known.peak_bytes = known.peak_bytes.max(now),
            None => self.allocated.push(PhasePeak { phase, peak_bytes: now }),
        }
    }

    fn finish(self, context: Bytes) -> DevicePeak {
        DevicePeak {
            allocated: self.allocated,
            reserved: self.reserved_in_training,
            fits: self.pool.was_enough(),
            context,
        }
    }
}
