//! The noise of gradients, and the batch size at which it stops to matter.

use serde::{Deserialize, Serialize};

/// What one optimizer step tells of the noise of its gradient: unbiased, and far too noisy by itself.
///
/// Source: `McCandlish` et al. 2018, An Empirical Model of Large-Batch Training, appendix A.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseSample {
    /// Estimate of |G|², the squared norm of the true gradient; negative where noise is larger.
    pub squared_gradient: f64,
    /// Estimate of tr(Σ), the variance of the gradient of one example, summed over all weights.
    pub trace: f64,
}

/// The critical batch size in examples: tr(Σ)/|G|², of the sums of all samples.
///
/// A batch much smaller gains in progress what it grows in size; one much larger gains hardly any.
/// None where the samples do not tell the gradient from its noise.
pub(super) fn critical_batch_size(sums: NoiseSample) -> Option<f64> {
    let size = sums.trace / sums.squared_gradient;
    (sums.squared_gradient > 0.0 && size.is_finite() && size > 0.0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(samples: &[(f64, f64)]) -> Option<f64> {
        let (squared_gradient, trace) =
            samples.iter().fold((0.0, 0.0), |sums, one| (sums.0 + one.0, sums.1 + one.1));
        critical_batch_size(NoiseSample { squared_gradient, trace })
    }

    #[test]
    fn it_is_the_ratio_of_the_means_and_not_the_mean_of_ratios() {
        assert_eq!(size(&[(-1.0, 10.0), (3.0, 30.0)]), Some(20.0));
    }

    #[test]
    fn samples_that_tell_nothing_give_no_size() {
        for samples in [&[][..], &[(-1.0, 5.0)], &[(0.0, 5.0)], &[(1.0, -5.0)], &[(1.0, f64::NAN)]] {
            assert_eq!(size(samples), None, "{samples:?}");
        }
    }
}
