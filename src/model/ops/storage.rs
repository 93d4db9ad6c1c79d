//! Slices of CPU tensors, for kernels.

use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};

use crate::model::kernels::Element;

/// Calls `f` with the values of a contiguous CPU tensor.
pub(crate) fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a kernel was given a tensor of another device") };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a strided tensor")
    };
    f(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Calls `f` with the values of a contiguous CPU tensor, to be changed in place.
///
/// Whoever else holds this tensor, or a view of it, sees the change; `f` must not read it.
pub(crate) fn mutate<T: Element>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Mutate(Cell::new(Some(f)), PhantomData))
}

/// [`mutate`] with a gradient buffer that a frozen weight has not.
pub(super) fn mutate_wanted(
    buffer: Option<&Tensor>,
    f: impl FnOnce(Option<&mut [f32]>) -> Result<()>,
) -> Result<()> {
    match buffer {
        Some(buffer) => mutate(buffer, |buffer| f(Some(buffer))),
        None => f(None),
    }
}

/// Adds to a gradient buffer on any device.
pub(super) fn add_to(buffer: &Tensor, addend: &Tensor) -> Result<()> {
    let addend = addend.to_dtype(buffer.dtype())?;
    buffer.slice_set(&(buffer + addend)?, 0, 0)
}

struct Mutate<T, F>(Cell<Option<F>>, PhantomData<T>);

impl<T: Element, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Mutate<T, F> {
    fn name(&self) -> &'static str {
        "mutate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some(values) = T::of_storage(storage) else {
            bail!("a kernel for {:?} was given a tensor of another type", T::DTYPE)
        };
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a strided buffer") };
        match self.0.take() {
            Some(f) => f(&mut values[start..end]),
            None => bail!("an in-place operation ran twice"),
        }
    }
}

/// Runs `$body` with `$t` bound to the element type of `$dtype`.
macro_rules! for_element {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => candle_core::bail!("activations in {other:?} are not supported"),
        }
    };
}
pub(super) use for_element;
