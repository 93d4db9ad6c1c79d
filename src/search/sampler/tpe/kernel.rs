//! The kernels of one hyperparameter: how likely is a coordinate near that of a trial?

use super::super::super::{normal, random::Stream};
use crate::space::Domain;

/// A family of kernels, as wide for all trials.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    /// A normal kernel cut to the unit interval, for values with an order.
    Normal {
        /// Its standard deviation before the cut.
        width: f64,
    },
    /// Aitchison and Aitken 1976, for values without.
    Categorical {
        /// How many values there are.
        choices: usize,
        /// The chance of another value than the trial's.
        elsewhere: f64,
        /// The logarithm of the chance of the trial's value, and that of each other one.
        logs: (f64, f64),
    },
}

impl Kernel {
    /// The kernel for the coordinates of trials, in `dimensions` dimensions.
    pub(super) fn fitted(domain: &Domain, units: &[f64], dimensions: usize) -> Self {
        match domain {
            Domain::Categorical(choices) => Self::categorical(choices.len(), units.len()),
            _ => Self::Normal { width: width(units, dimensions).max(half_a_cell(domain)) },
        }
    }

    /// As if every value had been seen once more (Laplace): few trials say little.
    #[expect(clippy::cast_precision_loss, reason = "choices and trials are few")]
    fn categorical(choices: usize, trials: usize) -> Self {
        let elsewhere = choices.saturating_sub(1) as f64 / (trials + choices) as f64;
        let logs = ((1.0 - elsewhere).ln(), (elsewhere / others(choices)).ln());
        Self::Categorical { choices, elsewhere, logs }
    }

    /// What the logarithm at `center` needs and does not depend on the coordinate.
    pub(super) fn log_scale(self, center: f64) -> f64 {
        match self {
            Self::Normal { width } => {
                let inside = normal::cumulative((1.0 - center) / width) - normal::cumulative(-center / width);
                -(width * std::f64::consts::TAU.sqrt() * inside).ln()
            }
            Self::Categorical { .. } => 0.0,
        }
    }

    /// The logarithm of the density at `unit` of the kernel at `center`, without its scale.
    pub(super) fn log_shape(self, center: f64, unit: f64) -> f64 {
        match self {
            Self::Normal { width } => -0.5 * ((unit - center) / width).powi(2),
            Self::Categorical { logs, .. } if unit.to_bits() == center.to_bits() => logs.0,
            Self::Categorical { logs, .. } => logs.1,
        }
    }

    /// The logarithm of the prior density: all values alike.
    pub(super) fn log_prior(self) -> f64 {
        match self {
            Self::Normal { .. } => 0.0,
            Self::Categorical { choices, .. } => -(1.0 + others(choices)).ln(),
        }
    }

    /// A coordinate by chance, near `center`.
    pub(super) fn draw(self, center: f64, stream: &mut Stream) -> f64 {
        match self {
            // At least a third of a kernel lies inside, so this ends soon.
            Self::Normal { width } => loop {
                let unit = center + width * stream.normal();
                if (0.0..=1.0).contains(&unit) {
                    return unit;
                }
            },
            Self::Categorical { elsewhere, .. } if stream.uniform() >= elsewhere => center,
            Self::Categorical { choices, .. } => {
                let step = 1 + stream.below(choices - 1);
                #[expect(clippy::cast_precision_loss, reason = "choices are few")]
                let unit = center + step as f64 / choices as f64;
                unit - unit.floor()
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "choices are few")]
fn others(choices: usize) -> f64 {
    choices.saturating_sub(1) as f64
}

/// Scott's rule (1992) on the spread of the trials; not below the magic clip of Bergstra et al. 2011, the
/// width that n kernels side by side would have, nor above half the interval.
#[expect(clippy::cast_precision_loss, reason = "trials and dimensions are few")]
fn width(units: &[f64], dimensions: usize) -> f64 {
    const NARROWEST: f64 = 0.01;
    let count = units.len().max(1) as f64;
    let mean = units.iter().sum::<f64>() / count;
    let spread = (units.iter().map(|unit| (unit - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scott = 1.06 * spread * count.powf(-1.0 / (dimensions as f64 + 4.0));
    scott.clamp((1.0 / (1.0 + count)).max(NARROWEST), 0.5)
}

/// A kernel that is narrower than the cell of a value would tell values apart that are neighbours.
#[expect(clippy::cast_precision_loss, reason = "only few values make a wide cell")]
fn half_a_cell(domain: &Domain) -> f64 {
    domain.len().map_or(0.0, |count| 0.5 / count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assert_near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    /// ```python
    /// from scipy.stats import truncnorm
    /// for c, w, x in ((.2, .1, .25), (0, .5, .9), (.95, .05, .99), (.5, .3, .1)):
    ///     print(truncnorm(-c / w, (1 - c) / w, loc=c, scale=w).logpdf(x))
    /// ```
    #[test]
    fn normal_kernels_are_the_truncated_ones_of_scipy() {
        let known = [
            (0.2, 0.1, 0.25, 1.281_659_469_118_337),
            (0.0, 0.5, 0.9, -1.106_076_259_792_391_9),
            (0.95, 0.05, 0.99, 1.929_547_519_372_767_4),
            (0.5, 0.3, 0.1, -0.503_392_414_050_579_9),
        ];
        for (center, width, unit, log) in known {
            let kernel = Kernel::Normal { width };
            assert_near(kernel.log_scale(center) + kernel.log_shape(center, unit), log);
        }
    }

    /// Three choices, four trials: 2 / 7 of the chance lies elsewhere, half of it at each other choice.
    #[test]
    fn categorical_kernels_are_those_of_aitchison_and_aitken() {
        let kernel = Kernel::categorical(3, 4);
        let units = [1.0 / 6.0, 0.5, 5.0 / 6.0];
        assert_near(kernel.log_shape(units[1], units[1]), (5.0f64 / 7.0).ln());
        assert_near(kernel.log_shape(units[1], units[0]), (1.0f64 / 7.0).ln());
        assert_near(kernel.log_prior(), (1.0f64 / 3.0).ln());
        let sum: f64 = units.iter().map(|unit| kernel.log_shape(units[2], *unit).exp()).sum();
        assert_near(sum, 1.0);
    }

    #[test]
    fn draws_follow_the_density() {
        let mut stream = Stream::new(3, 0);
        let kernel = Kernel::Normal { width: 0.3 };
        let below = (0..20_000).filter(|_| kernel.draw(0.1, &mut stream) < 0.25).count();
        let share = |x: f64| normal::cumulative((x - 0.1) / 0.3);
        let wanted = 20_000.0 * (share(0.25) - share(0.0)) / (share(1.0) - share(0.0));
        let below = f64::from(u32::try_from(below).unwrap());
        assert!((below - wanted).abs() < 300.0, "{below} of 20000, not {wanted}");
        let kernel = Kernel::categorical(4, 4);
        let domain = Domain::Categorical((0..4).map(|choice| json!(choice)).collect());
        let mut counts = [0u32; 4];
        for _ in 0..8_000 {
            counts[usize::try_from(domain.at(kernel.draw(0.375, &mut stream)).as_u64().unwrap()).unwrap()] +=
                1;
        }
        // 5 / 8 at the trial's own choice and 1 / 8 at each other: 5000 and 1000.
        let wanted = [1000u32, 5000, 1000, 1000];
        assert!(counts.iter().zip(wanted).all(|(count, wanted)| count.abs_diff(wanted) < 200), "{counts:?}");
    }

    #[test]
    fn a_width_has_its_bounds() {
        let float = Domain::Float { low: 0.0, high: 1.0, log: false };
        let width = |domain: &Domain, units: &[f64]| match Kernel::fitted(domain, units, 1) {
            Kernel::Normal { width } => width,
            Kernel::Categorical { .. } => unreachable!("the domain has an order"),
        };
        assert_near(width(&float, &[]), 0.5);
        assert_near(width(&float, &[0.4; 4]), 0.2);
        assert_near(width(&float, &[0.4; 999]), 0.01);
        assert_near(width(&Domain::Ordinal(vec![json!(1), json!(2)]), &[0.25; 999]), 0.25);
    }
}
