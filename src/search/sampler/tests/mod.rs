//! What every sampler promises; a new one is a line of the table.

mod conformance;
mod finite;

use super::{Grid, Random, Sampler, Sobol, Tpe};

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
];
