//! What every sampler promises; a new one is a line of the table.

mod conformance;
mod finite;

use super::super::surrogate::SurrogateSettings;
use super::{GaussianProcess, Grid, Random, Sampler, SamplerKind, Sobol, Tpe};

/// A sampler by name.
struct Entry {
    name: &'static str,
    build: fn() -> Box<dyn Sampler>,
}

const SAMPLERS: &[Entry] = &[
    Entry { name: "random", build: || Box::new(Random) },
    Entry { name: "sobol", build: || Box::new(Sobol) },
    Entry { name: "grid", build: || Box::new(Grid::default()) },
    Entry { name: "tpe", build: || Box::new(Tpe::default()) },
    Entry { name: "gp", build: || Box::new(GaussianProcess::new(SurrogateSettings::default(), true)) },
];

#[test]
fn every_sampler_is_in_the_table() {
    let names: Vec<&str> = SAMPLERS.iter().map(|sampler| sampler.name).collect();
    assert_eq!(names, SamplerKind::ALL.map(SamplerKind::name));
}
