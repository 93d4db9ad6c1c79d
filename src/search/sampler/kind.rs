//! From the name of a sampler to the sampler.

use super::super::surrogate::SurrogateSettings;
use super::{GaussianProcess, Grid, Random, Sampler, Sobol, Tpe};
use crate::space::SamplerKind;

impl SamplerKind {
    /// A sampler of this kind with its defaults.
    #[must_use]
    pub fn build(self) -> Box<dyn Sampler> {
        match self {
            Self::Random => Box::new(Random),
            Self::Sobol => Box::new(Sobol),
            Self::Grid => Box::new(Grid::default()),
            Self::Tpe => Box::new(Tpe::default()),
            Self::Gp => Box::new(GaussianProcess::new(SurrogateSettings::default(), true)),
        }
    }
}
