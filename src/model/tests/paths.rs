//! Kernels, and candle's tensor operations as on a device without kernels.
//!
//! Where the latter are pretended to be needed, a kernel that is asked for is an error: that the
//! pass ends shows that no operation reaches one.

use super::super::elsewhere;
use super::*;

const EACH: [bool; 2] = [false, true];

#[test]
fn both_paths_give_the_same_loss_and_the_same_gradient_of_every_weight() {
    for (tied, adapters, recompute) in every_kind() {
        let model = decoder(tied, adapters, Precision::F32).with_recomputation(recompute);
        let ((ours, gradients), (plain, others)) = (pass(&model), elsewhere::pretended(|| pass(&model)));
        let kind = format!("tied: {tied}, adapters: {adapters}, recomputation: {recompute}");
        assert!((ours / plain - 1.0).abs() < 1e-5, "{kind}: {ours}, not {plain}");
        for ((name, ours), (_, plain)) in gradients.iter().zip(&others) {
            let off = off(ours, plain);
            assert!(off < 1e-4, "{kind}: the gradient of {name} is off by {off:e}");
        }
    }
}

fn every_kind() -> impl Iterator<Item = (bool, bool, bool)> {
    let two = EACH.into_iter().flat_map(|tied| EACH.map(|adapters| (tied, adapters)));
    two.flat_map(|(tied, adapters)| EACH.map(|recompute| (tied, adapters, recompute)))
}

#[test]
fn both_paths_evaluate_alike() {
    for (tied, adapters) in [(true, false), (false, true)] {
        let model = decoder(tied, adapters, Precision::F32);
        let evaluated = || (model.losses(&batch()).unwrap(), values(&model.logits(&batch()).unwrap()));
        let (ours, plain) = (evaluated(), elsewhere::pretended(evaluated));
        assert!(off(&ours.0, &plain.0) < 1e-5 && off(&ours.1, &plain.1) < 1e-5);
        let ignored: Vec<bool> =
            batch().targets.iter().map(|target| *target == crate::data::IGNORED).collect();
        assert!(ours.0.iter().zip(ignored).all(|(loss, ignored)| (*loss == 0.0) == ignored));
    }
}

/// Kernels round activations alone; tensor operations round products and logits too. candle's
/// product in bf16 or f16 on the processor is one in f32 that is rounded, as a card's is.
#[test]
fn both_paths_point_the_same_way_in_narrow_formats() {
    let kinds = [(true, false), (false, true)].into_iter();
    let each = kinds.flat_map(|(tied, adapters)| {
        [Precision::Bf16, Precision::F16].map(|narrow| (tied, adapters, narrow))
    });
    for (tied, adapters, narrow) in each {
        let model = decoder(tied, adapters, narrow);
        let ((ours, gradients), (plain, others)) = (pass(&model), elsewhere::pretended(|| pass(&model)));
        assert!((ours / plain - 1.0).abs() < 1e-2, "{ours}, not {plain}");
        for ((name, ours), (_, plain)) in gradients.iter().zip(&others) {
            let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
            let cosine = dot(ours, plain) / (dot(ours, ours) * dot(plain, plain)).sqrt();
            assert!(cosine > 0.99, "{name}: {cosine}");
        }
    }
}
