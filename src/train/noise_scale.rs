//! The gradient noise scale, from what accumulation computes anyway.
//!
//! The mean gradient of b examples has the expected squared norm |G|² + tr(Σ)/b: that of two numbers of
//! examples gives both unknowns (`McCandlish` et al. 2018, appendix A.1). Here they are those of a step's
//! first micro-batch and of the whole step.
//!
//! It takes the examples of a step as drawn independently. They are of similar length, so what differs
//! between steps of other lengths counts as gradient, not as noise: where lengths differ much the noise
//! scale comes out too low.

use crate::trial::NoiseSample;

/// The gradient of the mean loss of some examples.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeanGradient {
    pub(super) squared_norm: f64,
    pub(super) examples: usize,
}

impl MeanGradient {
    /// That of a part of a step, whose gradient buffers hold its share of the step's mean loss.
    #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
    pub(super) fn of_part(squares: f64, examples: usize, (tokens, of_all): (usize, usize)) -> Self {
        let share = of_all as f64 / tokens as f64;
        Self { squared_norm: squares * share * share, examples }
    }
}

/// Both unknowns; none where the part is the whole or the gradients are not finite.
///
/// Both are right on average.
#[expect(clippy::cast_precision_loss, reason = "a step has far fewer than 2^52 examples")]
pub(super) fn noise_sample(part: MeanGradient, whole: MeanGradient) -> Option<NoiseSample> {
    let (b, all) = (part.examples as f64, whole.examples as f64);
    let (of_b, of_all) = (part.squared_norm, whole.squared_norm);
    let sample = NoiseSample {
        squared_gradient: (all * of_all - b * of_b) / (all - b),
        trace: (of_b - of_all) / (1.0 / b - 1.0 / all),
    };
    (part.examples < whole.examples && sample.squared_gradient.is_finite() && sample.trace.is_finite())
        .then_some(sample)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::trial::{Event, Measurement, StepEvent};

    const WEIGHTS: usize = 40;
    /// True gradient and standard deviations of the gradients of examples.
    const GRADIENT: f64 = 0.5;
    const DEVIATION: f64 = 1.5;

    /// The sum of so many examples' gradients: each is G + σ·√3·(a value uniform in [−1, 1]).
    fn sum(examples: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let one =
            |rng: &mut ChaCha8Rng| GRADIENT + DEVIATION * 3_f64.sqrt() * (2.0 * rng.random::<f64>() - 1.0);
        (0..WEIGHTS).map(|_| (0..examples).map(|_| one(rng)).sum()).collect()
    }

    fn mean(sum: &[f64], examples: usize) -> MeanGradient {
        let n = f64::from(u32::try_from(examples).unwrap());
        MeanGradient { squared_norm: sum.iter().map(|value| (value / n).powi(2)).sum(), examples }
    }

    #[test]
    fn many_steps_recover_the_known_gradient_and_its_known_noise() {
        let (b, all, mut rng) = (3, 11, ChaCha8Rng::seed_from_u64(7));
        let mut run = Measurement::default();
        for step in 1..=2000 {
            let (part, rest) = (sum(b, &mut rng), sum(all - b, &mut rng));
            let whole: Vec<f64> = part.iter().zip(rest).map(|(a, b)| a + b).collect();
            let noise = noise_sample(mean(&part, b), mean(&whole, all));
            let (loss_nats, learning_rate, grad_norm, update_ratio) = (1.0, 1.0, None, None);
            let (tokens, seconds) = (1, 1.0);
            let event =
                StepEvent { step, loss_nats, learning_rate, grad_norm, update_ratio, noise, tokens, seconds };
            run.fold(&Event::Step(event));
        }
        let samples = || run.steps.iter().filter_map(|step| step.noise);
        let average = |of: fn(NoiseSample) -> f64| samples().map(of).sum::<f64>() / 2000.0;
        let weights = f64::from(u32::try_from(WEIGHTS).unwrap());
        for (found, right) in [
            (average(|sample| sample.squared_gradient), weights * GRADIENT.powi(2)),
            (average(|sample| sample.trace), weights * DEVIATION.powi(2)),
            (run.critical_batch_size().unwrap(), (DEVIATION / GRADIENT).powi(2)),
        ] {
            assert!((found / right - 1.0).abs() < 0.03, "{found}, not {right}");
        }
    }

    #[test]
    fn a_part_that_is_the_whole_tells_nothing() {
        let whole = MeanGradient { squared_norm: 1.0, examples: 4 };
        assert_eq!(noise_sample(whole, whole), None);
        let overflown = MeanGradient { squared_norm: f64::INFINITY, examples: 2 };
        assert_eq!(noise_sample(overflown, whole), None);
    }

    #[test]
    fn the_gradient_of_a_part_is_that_of_its_own_mean_loss() {
        let part = MeanGradient::of_part(2.0, 3, (10, 40));
        assert!((part.squared_norm - 32.0).abs() < 1e-12 && part.examples == 3);
    }
}
