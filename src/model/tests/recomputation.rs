//! Activations made again are those that were not kept.

use super::*;

fn bits(gradients: &[(String, Vec<f32>)]) -> Vec<Vec<u32>> {
    gradients.iter().map(|(_, values)| values.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn recomputation_changes_no_bit_of_loss_or_gradient() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (tied, adapters) in [(true, false), (false, false), (true, true)] {
            let run = |recompute| pass(&decoder(tied, adapters, precision).with_recomputation(recompute));
            let ((loss, kept), (same_loss, made_again)) = (run(false), run(true));
            assert_eq!(loss.to_bits(), same_loss.to_bits());
            assert_eq!(bits(&kept), bits(&made_again), "{precision} tied: {tied}, adapters: {adapters}");
        }
    }
}
