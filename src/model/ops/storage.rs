//! Which tensors kernels work on, and their values as slices.

use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};

use crate::model::kernels::Element;

/// Whether kernels work on the tensors of `device`; else operations are composed of candle's.
pub(crate) fn has_kernels(device: &Device) -> bool {
    device.is_cpu() && !elsewhere::is_pretended()
}

/// Refuses what kernels can't work on: an operation that did not ask is a defect.
fn check_device(device: &Device) -> Result<()> {
    if has_kernels(device) { Ok(()) } else { bail!("a kernel was given a tensor of another device") }
}

/// Calls `f` with the values of a contiguous CPU tensor.
pub(crate) fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    check_device(tensor.device())?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a kernel was given a tensor of another device") };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a strided tensor")
    };
    f(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// What can be changed in place: values of a number format, and codes of one byte.
pub(crate) trait InPlace: WithDType {
    /// The values of a CPU tensor of this format.
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl<T: Element> InPlace for T {
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        Element::of_storage(storage)
    }
}

impl InPlace for u8 {
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::U8(codes) = storage { Some(codes) } else { None }
    }
}

/// Calls `f` with the values of a contiguous CPU tensor, to be changed in place.
///
/// Whoever else holds this tensor, or a view of it, sees the change; `f` must not read it.
pub(crate) fn mutate<T: InPlace>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
    check_device(tensor.device())?;
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

struct Mutate<T, F>(Cell<Option<F>>, PhantomData<T>);

impl<T: InPlace, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Mutate<T, F> {
    fn name(&self) -> &'static str {
        "mutate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some(values) = <T as InPlace>::of_storage(storage) else {
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
            candle_core::DType::F16 => {
                type $t = half::f16;
                $body
            }
            other => candle_core::bail!("values in {other:?} are not supported"),
        }
    };
}
pub(super) use for_element;

/// Runs `$body`, which has a result, with `$m` bound to the matrix `$w` as kernels read it.
macro_rules! with_operand {
    ($w:expr, $m:ident => $body:expr) => {
        match $w {
            $crate::model::stored::MatrixRef::Plain(w) => {
                let (o, i) = w.dims2()?;
                $crate::model::ops::storage::for_element!(w.dtype(), W => read::<W, _>(w, |w| {
                    let $m = $crate::model::kernels::Matrix::new(w, o, i);
                    $body
                }))
            }
            $crate::model::stored::MatrixRef::Blocks(w) => {
                $crate::model::ops::storage::for_block!(w.dtype(), B => w.read(|bytes| {
                    let $m = $crate::model::kernels::BlockMatrix::<B>::new(bytes, w.size());
                    $body
                }))
            }
        }
    };
}
pub(super) use with_operand;

/// Runs `$body` with `$b` bound to the block of `$dtype`.
macro_rules! for_block {
    ($dtype:expr, $b:ident => $body:expr) => {
        match $dtype {
            candle_core::quantized::GgmlDType::Q8_0 => {
                type $b = candle_core::quantized::k_quants::BlockQ8_0;
                $body
            }
            candle_core::quantized::GgmlDType::Q5_0 => {
                type $b = candle_core::quantized::k_quants::BlockQ5_0;
                $body
            }
            candle_core::quantized::GgmlDType::Q4_0 => {
                type $b = candle_core::quantized::k_quants::BlockQ4_0;
                $body
            }
            candle_core::quantized::GgmlDType::Q4K => {
                type $b = candle_core::quantized::k_quants::BlockQ4K;
                $body
            }
            other => candle_core::bail!("blocks of {other:?} are not supported"),
        }
    };
}
pub(super) use for_block;

/// The other devices' path on a processor: for tests, and for `doctor` where there is no card.
pub(crate) mod elsewhere {
    use std::cell::Cell;

    thread_local! {
        static PRETENDED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn is_pretended() -> bool {
        PRETENDED.get()
    }

    /// Runs `work` as if tensors lay on a device without kernels: asking for a kernel is an error.
    ///
    /// It holds for operations begun by this thread.
    pub(crate) fn pretended<R>(work: impl FnOnce() -> R) -> R {
        struct Undo(bool);
        impl Drop for Undo {
            fn drop(&mut self) {
                PRETENDED.set(self.0);
            }
        }
        let _undo = Undo(PRETENDED.replace(true));
        work()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn error(result: Result<()>) -> String {
        result.unwrap_err().to_string()
    }

    /// The door to a tensor's memory, both ways.
    fn doors(tensor: &Tensor) -> [Result<()>; 2] {
        [read::<f32, _>(tensor, |_| Ok(())), mutate::<f32>(tensor, |_| Ok(()))]
    }

    #[test]
    fn a_tensor_of_another_device_a_view_and_another_type_are_refused_by_name() {
        let tensor = Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap();
        assert!(doors(&tensor).into_iter().all(|result| result.is_ok()));
        for result in elsewhere::pretended(|| doors(&tensor)) {
            assert!(error(result).contains("another device"));
        }
        for result in doors(&tensor.t().unwrap()) {
            assert!(error(result).contains("strided"));
        }
        for result in doors(&tensor.to_dtype(DType::BF16).unwrap()) {
            let error = error(result);
            assert!(error.contains("another type") || error.contains("unexpected dtype"), "{error}");
        }
    }

    #[test]
    fn what_is_pretended_ends_with_the_work_even_if_it_panics() {
        let panicked = std::panic::catch_unwind(|| elsewhere::pretended(|| panic!("expected")));
        assert!(panicked.is_err() && has_kernels(&Device::Cpu));
        assert!(!elsewhere::pretended(|| has_kernels(&Device::Cpu)));
    }
}
