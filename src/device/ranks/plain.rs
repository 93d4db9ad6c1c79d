//! The plain sum of tensors over ranks: through the memory of the process, in the order of the ranks.

use candle_core::{Device, Result, Tensor, bail};

/// Values that are summed at once: scratch memory is a few of these, whatever the size of a tensor.
const PIECE: usize = 1 << 20;

/// Puts the sum of tensor `index` of all ranks into each rank's own.
///
/// The order of the sum is that of the ranks, so it is the same to the last bit in every run.
pub(super) fn add_up(of_ranks: &[&[Tensor]], index: usize) -> Result<()> {
    let tensors: Vec<Tensor> = of_ranks.iter().map(|tensors| flat(&tensors[index])).collect::<Result<_>>()?;
    let elements = tensors.first().map_or(0, Tensor::elem_count);
    for start in (0..elements).step_by(PIECE) {
        let piece = |tensor: &Tensor| fetched(&tensor.narrow(0, start, PIECE.min(elements - start))?);
        let mut sum: Option<Tensor> = None;
        for tensor in &tensors {
            let piece = piece(tensor)?;
            sum = Some(sum.map_or_else(|| piece.copy(), |sum| sum + &piece)?);
        }
        let Some(sum) = sum else { continue };
        for tensor in &tensors {
            tensor.slice_set(&sum.to_device(tensor.device())?, 0, start)?;
        }
    }
    Ok(())
}

/// The same memory in one dimension.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    if !tensor.is_contiguous() {
        bail!("a strided tensor cannot be summed in place over ranks")
    }
    tensor.flatten_all()
}

/// A view's values on the processor. A card's view is made compact first: candle would move all that it is a view of.
fn fetched(view: &Tensor) -> Result<Tensor> {
    if view.device().is_cpu() { Ok(view.clone()) } else { view.copy()?.to_device(&Device::Cpu) }
}
