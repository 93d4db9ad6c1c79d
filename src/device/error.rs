//! Why a device can't be opened or asked.

use crate::space::CardName;
use crate::units::Bytes;

/// What went wrong between this program and a device. Out of memory is not among them: that is an
/// outcome, see [`is_out_of_memory`](super::is_out_of_memory).
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A card was asked of a build for processors.
    #[error(
        "device cuda:{card}: this build has no CUDA support\n  \
         hint: build it with `cargo build --release --features cuda` where a CUDA toolkit (nvcc) is \
         installed, or write `device = \"cpu\"`"
    )]
    NotBuiltForCuda {
        /// The card that was asked for.
        card: CardName,
    },
    /// A cap on the processor's memory, in a process that does not count it.
    #[error(
        "device cpu: a cap of {cap} can't be kept, the allocator of this process does not count\n  \
         hint: declare `#[global_allocator] static ALLOCATOR: diapason::device::CountingAllocator` in \
         the program, or leave out the cap"
    )]
    CapNotKept {
        /// The cap that was asked for.
        cap: Bytes,
    },
    /// The card can't be used.
    #[error(
        "device cuda:{card}: {reason}\n  \
         hint: `nvidia-smi` lists the cards; indices count from 0 and CUDA_VISIBLE_DEVICES hides cards"
    )]
    Open {
        /// The card that was asked for.
        card: CardName,
        /// What the driver said.
        reason: String,
    },
    /// A number format that the card does not have.
    #[error(
        "device {device}: bf16 needs compute capability {}.{}, this card has {}.{}\n  \
         hint: write `precision = \"f16\"`, whose loss is scaled, or \"f32\" in [space]",
        needed.0, needed.1, capability.0, capability.1
    )]
    NoBfloat16 {
        /// Which device.
        device: String,
        /// From which compute capability on cards have it.
        needed: (i32, i32),
        /// That of the card.
        capability: (i32, i32),
    },
    /// An opened device did not answer.
    #[error("device {device}: {call}: {reason}")]
    Call {
        /// Which device.
        device: String,
        /// What was asked of it.
        call: &'static str,
        /// What the driver said.
        reason: String,
    },
}
