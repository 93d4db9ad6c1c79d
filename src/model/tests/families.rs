//! Every family: by both paths, with adapters on whatever linear layers it has, with recomputation.

use super::super::elsewhere;
use super::*;

#[test]
fn both_paths_agree_on_every_family_with_and_without_adapters() {
    for config in families() {
        for adapters in [false, true] {
            let model = decoder_of(config.clone(), adapters, Precision::F32);
            let kind = format!("{}, adapters: {adapters}", config.traits.architecture);
            let ((ours, gradients), (plain, others)) = (pass(&model), elsewhere::pretended(|| pass(&model)));
            assert!((ours / plain - 1.0).abs() < 1e-5, "{kind}: {ours}, not {plain}");
            for ((name, ours), (_, plain)) in gradients.iter().zip(&others) {
                let off = off(ours, plain);
                assert!(off < 1e-4, "{kind}: the gradient of {name} is off by {off:e}");
            }
        }
    }
}

#[test]
fn recomputation_changes_no_bit_of_any_family_s_gradients() {
    for config in families() {
        for precision in Precision::ALL {
            let run = |recompute| {
                let model = decoder_of(config.clone(), true, precision).with_recomputation(recompute);
                let (loss, gradients) = pass(&model);
                let bits = |(name, values): (String, Vec<f32>)| {
                    (name, values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                };
                (loss.to_bits(), gradients.into_iter().map(bits).collect::<Vec<_>>())
            };
            assert_eq!(run(false), run(true), "{} in {precision}", config.traits.architecture);
        }
    }
}

/// A window, a base or frequencies that depend on length must not see what else is in the batch.
#[test]
fn neighbors_in_a_batch_change_no_loss_of_any_family() {
    for config in families() {
        let model = decoder_of(config.clone(), false, Precision::F32);
        let together = model.losses(&batch()).unwrap();
        for sequence in batch().sequences {
            let alone = Batch {
                input_ids: batch().input_ids[sequence.clone()].to_vec(),
                targets: batch().targets[sequence.clone()].to_vec(),
                sequences: std::iter::once(0..sequence.len()).collect(),
                scored_tokens: 1,
            };
            let alone = model.losses(&alone).unwrap();
            let same = alone.iter().zip(&together[sequence]).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(same, "{}", config.traits.architecture);
        }
    }
}

#[test]
fn every_family_begins_with_norms_that_multiply_by_one_and_biases_of_zero() {
    for config in families() {
        let offset = config.traits.norm_offset;
        let model = Decoder::random(config, 3, Precision::F32, &Device::Cpu).unwrap();
        for (spec, weight) in model.trainable().filter(|(spec, _)| !spec.is_matrix()) {
            let right = if spec.is_bias() { 0.0 } else { 1.0 - offset };
            assert!(
                values(weight).iter().all(|value| f64::from(*value).to_bits() == right.to_bits()),
                "{}",
                spec.name
            );
        }
    }
}
