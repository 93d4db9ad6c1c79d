//! A joint density over a space: the mean of one product of kernels a trial, and of one uniform one.

use super::super::super::{Observed, random::Stream};
use super::kernel::Kernel;
use crate::space::{INACTIVE, SearchSpace, UnitPoint};

/// A mixture with a component for each of some trials and one for the prior.
pub(super) struct Density<'a> {
    space: &'a SearchSpace,
    kernels: Vec<Kernel>,
    components: Vec<Component<'a>>,
}

/// The product of kernels at one trial.
struct Component<'a> {
    center: &'a [f64],
    /// The kernel's scale in each dimension; none where the trial has no value, and the prior stands for it.
    log_scales: Vec<Option<f64>>,
}

impl<'a> Density<'a> {
    /// The density of these trials.
    pub(super) fn new(space: &'a SearchSpace, trials: &[&'a Observed]) -> Self {
        let active: Vec<Vec<bool>> = trials.iter().map(|trial| active(space, &trial.point)).collect();
        let fitted = |dimension: usize| {
            let taking_part = trials.iter().zip(&active).filter(|(_, active)| active[dimension]);
            let units: Vec<f64> = taking_part.map(|(trial, _)| trial.point[dimension]).collect();
            Kernel::fitted(&space.dimensions[dimension].domain, &units, space.len())
        };
        let kernels: Vec<Kernel> = (0..space.len()).map(fitted).collect();
        let component = |(trial, active): (&&'a Observed, &Vec<bool>)| {
            let scale = |(kernel, unit): (&Kernel, &f64)| kernel.log_scale(*unit);
            let scales = kernels.iter().zip(&trial.point).map(scale);
            let log_scales = scales.zip(active).map(|(scale, active)| active.then_some(scale)).collect();
            Component { center: &trial.point, log_scales }
        };
        let components = trials.iter().zip(&active).map(component).collect();
        Self { space, kernels, components }
    }

    /// The logarithm of the density at a snapped point, over the dimensions that take part there.
    pub(super) fn log(&self, point: &[f64]) -> f64 {
        let active = active(self.space, point);
        let dimensions: Vec<usize> = (0..point.len()).filter(|dimension| active[*dimension]).collect();
        let prior = dimensions.iter().map(|dimension| self.kernels[*dimension].log_prior()).sum();
        let mut sum = LogSum::of(prior);
        for component in &self.components {
            sum.add(self.log_component(component, point, &dimensions));
        }
        sum.log_mean()
    }

    fn log_component(&self, component: &Component<'_>, point: &[f64], dimensions: &[usize]) -> f64 {
        let factor = |dimension: &usize| {
            let kernel = self.kernels[*dimension];
            component.log_scales[*dimension].map_or(kernel.log_prior(), |scale| {
                scale + kernel.log_shape(component.center[*dimension], point[*dimension])
            })
        };
        dimensions.iter().map(factor).sum()
    }

    /// A snapped point by chance.
    pub(super) fn draw(&self, stream: &mut Stream) -> UnitPoint {
        // The last one is the prior.
        let component = self.components.get(stream.below(self.components.len() + 1));
        let mut point = Vec::with_capacity(self.kernels.len());
        for (index, kernel) in self.kernels.iter().enumerate() {
            point.push(INACTIVE);
            if self.space.is_active(index, &point) {
                let here = component.filter(|component| component.log_scales[index].is_some());
                let unit = match here {
                    Some(component) => kernel.draw(component.center[index], stream),
                    None => stream.uniform(),
                };
                point[index] = self.space.dimensions[index].domain.snapped(unit);
            }
        }
        point
    }
}

fn active(space: &SearchSpace, point: &[f64]) -> Vec<bool> {
    (0..space.len()).map(|dimension| space.is_active(dimension, point)).collect()
}

/// A sum of numbers of which only logarithms fit into a float.
struct LogSum {
    greatest: f64,
    sum: f64,
    count: f64,
}

impl LogSum {
    fn of(log: f64) -> Self {
        Self { greatest: log, sum: 1.0, count: 1.0 }
    }

    fn add(&mut self, log: f64) {
        self.count += 1.0;
        if log > self.greatest {
            self.sum *= (self.greatest - log).exp();
            self.greatest = log;
        }
        self.sum += (log - self.greatest).exp();
    }

    fn log_mean(&self) -> f64 {
        self.greatest + (self.sum / self.count).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::Observations;
    use super::*;
    use crate::space::{Condition, Dimension, Domain};
    use serde_json::json;

    fn dimension(domain: Domain, condition: Option<Condition>) -> Dimension {
        Dimension { name: String::new(), domain, condition }
    }

    fn float() -> Domain {
        Domain::Float { low: 0.0, high: 1.0, log: false }
    }

    fn abc() -> Domain {
        Domain::Categorical(vec![json!("a"), json!("b"), json!("c")])
    }

    fn seen(points: &[[f64; 2]]) -> Observations {
        let mut seen = Observations::default();
        for point in points {
            seen.start(point.to_vec(), 0);
        }
        seen
    }

    fn category(index: u32) -> f64 {
        (f64::from(index) + 0.5) / 3.0
    }

    /// ```python
    /// import numpy as np
    /// from scipy.stats import truncnorm
    /// xs, cs, n = [.2, .3, .7], [0, 0, 2], 3
    /// w = min(max(1.06 * np.std(xs) * n ** (-1 / (2 + 4)), 1 / (1 + n)), .5)
    /// l = 2 / (n + 3)
    /// kernel = lambda x: truncnorm(-x / w, (1 - x) / w, loc=x, scale=w)
    /// for x, c in ((.25, 0), (.7, 1), (.9, 2)):
    ///     kernels = sum(kernel(a).pdf(x) * (1 - l if b == c else l / 2) for a, b in zip(xs, cs))
    ///     print(np.log((1 / 3 + kernels) / (n + 1)))
    /// ```
    #[test]
    fn a_joint_density_is_the_one_of_scipy() {
        let space = SearchSpace {
            dimensions: vec![dimension(float(), None), dimension(abc(), None)],
            constraints: vec![],
        };
        let seen = seen(&[[0.2, category(0)], [0.3, category(0)], [0.7, category(2)]]);
        let density = Density::new(&space, &seen.trials().iter().collect::<Vec<_>>());
        let known = [
            (0.25, 0, -0.321_925_602_782_526_3),
            (0.7, 1, -1.655_138_150_578_161_5),
            (0.9, 2, -1.177_294_639_984_597_4),
        ];
        for (x, choice, log) in known {
            let ours = density.log(&[x, category(choice)]);
            assert!((ours - log).abs() < 1e-12, "{ours} is not {log}");
        }
    }

    /// The midpoint rule over what takes part: both branches of a condition together hold all the chance.
    #[test]
    fn the_density_of_a_space_with_a_condition_integrates_to_one() {
        let condition = Condition { on: 0, values: vec![json!("b"), json!("c")] };
        let space = SearchSpace {
            dimensions: vec![dimension(abc(), None), dimension(float(), Some(condition))],
            constraints: vec![],
        };
        let seen =
            seen(&[[category(1), 0.05], [category(0), INACTIVE], [category(2), 0.9], [category(1), 0.6]]);
        let density = Density::new(&space, &seen.trials().iter().collect::<Vec<_>>());
        let mut sum = density.log(&[category(0), INACTIVE]).exp();
        for choice in [1, 2] {
            let middles = (0..2000).map(|cell| (f64::from(cell) + 0.5) / 2000.0);
            sum += middles.map(|unit| density.log(&[category(choice), unit]).exp()).sum::<f64>() / 2000.0;
        }
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn a_sum_of_what_is_too_small_for_a_float_keeps_its_logarithm() {
        let mut sum = LogSum::of(-2000.0);
        sum.add(-1990.0);
        sum.add(-1990.0);
        let wanted = -1990.0 + ((2.0 + (-10.0f64).exp()) / 3.0).ln();
        assert!((sum.log_mean() - wanted).abs() < 1e-12);
    }

    #[test]
    fn draws_are_snapped_points_that_gather_where_trials_are() {
        let space = SearchSpace {
            dimensions: vec![dimension(float(), None), dimension(abc(), None)],
            constraints: vec![],
        };
        let points: Vec<[f64; 2]> = (0..30).map(|n| [0.2 + f64::from(n) / 3000.0, category(2)]).collect();
        let seen = seen(&points);
        let density = Density::new(&space, &seen.trials().iter().collect::<Vec<_>>());
        let mut stream = Stream::new(5, 0);
        let draws: Vec<UnitPoint> = (0..500).map(|_| density.draw(&mut stream)).collect();
        assert!(draws.iter().all(|point| space.snapped(point) == *point));
        let near = draws.iter().filter(|point| (point[0] - 0.2).abs() < 0.15).count();
        assert!(near > 450, "{near} of 500");
    }
}
