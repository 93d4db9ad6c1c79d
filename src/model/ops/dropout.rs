//! Dropout that needs no memory: what is dropped is a function of a key and a value's place.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::storage::{for_element, has_kernels, read};
use crate::model::kernels::Element;

/// Values a thread takes at once.
const GRAIN: usize = 1 << 14;

/// Which values are dropped: the same key drops the same values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// Share of the values that is dropped.
    pub share: f64,
    /// Tells one tensor, micro-batch and step from another.
    pub key: u64,
}

impl Dropout {
    /// Factor of the value at place `index`: 0 where it is dropped, else what keeps the mean.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2^32")]
    fn factor(self, index: u64) -> f32 {
        let kept = (1.0 - self.share) as f32;
        let threshold = (self.share * f64::from(u32::MAX)) as u64;
        if mixed(self.key ^ mixed(index)) >> 32 < threshold { 0.0 } else { 1.0 / kept }
    }
}

/// The finalizer of SplitMix64 (Steele et al. 2014).
pub(crate) fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// x with some of its values dropped and the others scaled up; its own gradient, given that of the output.
pub(crate) fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return composed(x, dropout);
    }
    for_element!(x.dtype(), T => {
        let out = read::<T, _>(x, |x| Ok(dropped(x, dropout)))?;
        Tensor::from_vec(out, x.shape(), x.device())
    })
}

fn dropped<T: Element>(x: &[T], dropout: Dropout) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    out.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).enumerate().for_each(|(chunk, (out, x))| {
        for (index, (out, x)) in (chunk * GRAIN..).zip(out.iter_mut().zip(x)) {
            *out = T::narrow(x.widen() * dropout.factor(index as u64));
        }
    });
    out
}

/// The factors are made on the host: a generator on the device would drop other values.
pub(super) fn composed(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    let factors: Vec<f32> = (0..x.elem_count()).map(|index| dropout.factor(index as u64)).collect();
    x * Tensor::from_vec(factors, x.shape(), x.device())?.to_dtype(x.dtype())?
}
