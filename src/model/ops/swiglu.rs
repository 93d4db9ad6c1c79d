//! SwiGLU: silu(gate) · up. Shapes: all [n, f].

use candle_core::{DType, Result, Tensor};

use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels;

/// silu(gate) · up.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !has_kernels(gate.device()) {
        return composed(gate, up);
    }
    for_element!(gate.dtype(), T => {
        let y = read::<T, _>(gate, |gate| read(up, |up| Ok(kernels::swiglu(gate, up))))?;
        Tensor::from_vec(y, gate.shape(), gate.device())
    })
}

/// (dgate, dup).
///
/// On the CPU they are written over `gate` and `up`: nobody else may hold those.
pub(crate) fn swiglu_backward(dy: &Tensor, gate: Tensor, up: Tensor) -> Result<(Tensor, Tensor)> {
    if !has_kernels(gate.device()) {
        return composed_backward(dy, &gate, &up);
    }
    for_element!(gate.dtype(), T => read::<T, _>(dy, |dy| mutate(&gate, |gate| mutate(&up, |up| {
        kernels::swiglu_backward(dy, gate, up);
        Ok(())
    }))))?;
    Ok((gate, up))
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

pub(super) fn composed(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (wide, up) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?);
    (&wide * sigmoid(&wide)? * up)?.to_dtype(gate.dtype())
}

pub(super) fn composed_backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    let dtype = gate.dtype();
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    let (dy, gate, up) = (wide(dy)?, wide(gate)?, wide(up)?);
    let s = sigmoid(&gate)?;
    let silu = (&gate * &s)?;
    let dup = (&dy * &silu)?.to_dtype(dtype)?;
    let slope = (&s + (silu * (1.0 - &s)?)?)?;
    Ok(((dy * up * slope)?.to_dtype(dtype)?, dup))
}
