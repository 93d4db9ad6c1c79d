//! Gated activations: act(gate) · up. Shapes: all [n, f].

use candle_core::{DType, Result, Tensor};

use super::storage::{for_element, has_kernels, mutate, read};
use crate::arch::Activation;
use crate::model::kernels;

/// act(gate) · up.
pub(crate) fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if !has_kernels(gate.device()) {
        return composed(gate, up, activation);
    }
    for_element!(gate.dtype(), T => {
        let y = read::<T, _>(gate, |gate| read(up, |up| Ok(kernels::gated(gate, up, activation))))?;
        Tensor::from_vec(y, gate.shape(), gate.device())
    })
}

/// (dgate, dup).
///
/// On the CPU they are written over `gate` and `up`: nobody else may hold those.
pub(crate) fn gated_backward(
    dy: &Tensor,
    gate: Tensor,
    up: Tensor,
    activation: Activation,
) -> Result<(Tensor, Tensor)> {
    if !has_kernels(gate.device()) {
        return composed_backward(dy, &gate, &up, activation);
    }
    for_element!(gate.dtype(), T => read::<T, _>(dy, |dy| mutate(&gate, |gate| mutate(&up, |up| {
        kernels::gated_backward(dy, gate, up, activation);
        Ok(())
    }))))?;
    Ok((gate, up))
}

/// 2·√(2/π) and the cubic's factor: gelu(x) = x·σ(A·(x + B·x³)).
const GELU: (f64, f64) = (1.595_769_121_605_730_7, 0.044_715);

/// σ(z) of each gate; see [`kernels::gated`].
fn sigmoid(gate: &Tensor, activation: Activation) -> Result<Tensor> {
    let (a, b) = GELU;
    let z = match activation {
        Activation::Silu => gate.clone(),
        Activation::GeluTanh => ((gate.sqr()?.affine(a * b, a)?) * gate)?,
    };
    (z.neg()?.exp()? + 1.0)?.recip()
}

pub(super) fn composed(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (wide, up) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?);
    (&wide * sigmoid(&wide, activation)? * up)?.to_dtype(gate.dtype())
}

pub(super) fn composed_backward(
    dy: &Tensor,
    gate: &Tensor,
    up: &Tensor,
    activation: Activation,
) -> Result<(Tensor, Tensor)> {
    let dtype = gate.dtype();
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    let (dy, gate, up) = (wide(dy)?, wide(gate)?, wide(up)?);
    let s = sigmoid(&gate, activation)?;
    let active = (&gate * &s)?;
    let dup = (&dy * &active)?.to_dtype(dtype)?;
    let mut inner = (active * (1.0 - &s)?)?;
    if activation == Activation::GeluTanh {
        let (a, b) = GELU;
        inner = (inner * gate.sqr()?.affine(3.0 * a * b, a)?)?;
    }
    let slope = (&s + inner)?;
    Ok(((dy * up * slope)?.to_dtype(dtype)?, dup))
}
