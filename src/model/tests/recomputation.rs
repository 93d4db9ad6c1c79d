//! Activations made again are those that were not kept.

use super::*;

#[test]
fn recomputation_changes_no_bit_of_loss_or_gradient() {
    for precision in Precision::ALL {
        for (tied, adapters) in [(true, false), (false, false), (true, true)] {
            let run = |recompute| pass(&decoder(tied, adapters, precision).with_recomputation(recompute));
            let ((loss, kept), (same_loss, made_again)) = (run(false), run(true));
            assert_eq!(loss.to_bits(), same_loss.to_bits());
            for ((name, kept), (_, made_again)) in kept.iter().zip(&made_again) {
                assert!(is_same(kept, made_again), "{precision} tied: {tied}, adapters: {adapters}: {name}");
            }
        }
    }
}

fn is_same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
