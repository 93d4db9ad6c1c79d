//! Soft caps (Gemma 2, 2024): s = c·tanh(z/c), so that no score or logit leaves ±c.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use super::tanh::tanh;

/// z becomes s.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
pub(super) fn soft_cap(values: &mut [f32], cap: f32) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    let inverse = 1.0 / cap;
    for value in values {
        *value = cap * tanh::<FMA>(*value * inverse);
    }
}

/// ds/dz = 1 − (s/c)² of each s.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
pub(super) fn slopes(capped: &[f32], cap: f32) -> Vec<f32> {
    let inverse = 1.0 / cap;
    let slope = |s: &f32| {
        let t = s * inverse;
        1.0 - t * t
    };
    capped.iter().map(slope).collect()
}

/// values · factors, in place.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
pub(super) fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}
