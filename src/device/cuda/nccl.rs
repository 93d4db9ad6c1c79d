//! Sums over cards by NCCL: the one file that knows of it.
//!
//! Nobody has run it on a card yet. Each rank's thread holds one communicator; sums are queued on the
//! stream of its tensors, so that what is read from them later waits for the sum by itself. NCCL
//! adds up once and gives all cards the same bits.

use candle_core::cuda_backend::CudaStorage;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Tensor, bail};

use crate::device::ranks::{Rank, RankError};

/// Bytes of the number by which the ranks of a run find each other.
const ID_BYTES: usize = 128;

/// One rank's connection with all others.
#[derive(Debug)]
pub(in crate::device) struct Nccl(Comm);

impl Nccl {
    /// Connects the card of `rank` with the others'. It returns when all are connected.
    pub(in crate::device) fn connect(rank: &Rank, device: &Device) -> std::result::Result<Self, RankError> {
        let failed = |reason: &dyn std::fmt::Debug| RankError::Connect(format!("{reason:?}"));
        let stream = device.as_cuda_device()?.cuda_stream();
        // NCCL takes the card that is current for the thread.
        stream.context().bind_to_thread().map_err(|error| failed(&error))?;
        let own = if rank.is_first() {
            Id::new().map_err(|error| failed(&error.0))?.internal().map(f64::from).to_vec()
        } else {
            vec![0.0; ID_BYTES]
        };
        let id = Id::uninit(bytes_of(&rank.agreed(own)?));
        let comm = Comm::from_rank(stream, rank.number(), rank.count(), id);
        comm.map(Self).map_err(|error| failed(&error.0))
    }

    /// Puts the sum over all cards into each of `tensors`, in place; all ranks call it with the same shapes.
    pub(in crate::device) fn add_up(&self, tensors: &[Tensor]) -> Result<()> {
        tensors.iter().try_for_each(|tensor| tensor.inplace_op1(self))
    }
}

/// The bytes as C has them, from the numbers they went around as.
#[expect(clippy::cast_possible_truncation, reason = "each number was made of one byte")]
fn bytes_of(numbers: &[f64]) -> [core::ffi::c_char; ID_BYTES] {
    std::array::from_fn(|index| numbers.get(index).map_or(0, |number| *number as core::ffi::c_char))
}

impl InplaceOp1 for Nccl {
    fn name(&self) -> &'static str {
        "sum over cards"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("NCCL was given a tensor of the processor")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a strided tensor cannot be summed in place over cards")
        };
        let mut values = storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        match self.0.all_reduce_in_place(&mut values, &ReduceOp::Sum) {
            Ok(_) => Ok(()),
            Err(NcclError(reason)) => bail!("NCCL does not add up: {reason:?}"),
        }
    }
}
