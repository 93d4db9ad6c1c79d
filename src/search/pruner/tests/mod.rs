//! What every pruner promises, and worked examples of each; a new one is a line of the table.

mod conformance;
mod examples;
mod forecast;

use super::{Asha, Forecast, Halving, Hyperband, Median, Pruner, PrunerKind, Unpruned};

/// A pruner by name.
struct Entry {
    name: &'static str,
    build: fn() -> Box<dyn Pruner>,
}

const PRUNERS: &[Entry] = &[
    Entry { name: "none", build: || Box::new(Unpruned) },
    Entry { name: "halving", build: || Box::new(Halving::default()) },
    Entry { name: "asha", build: || Box::new(Asha::default()) },
    Entry { name: "hyperband", build: || Box::new(Hyperband) },
    Entry { name: "median", build: || Box::new(Median::default()) },
    Entry { name: "auto", build: || Box::new(Forecast) },
];

#[test]
fn every_pruner_is_in_the_table() {
    let names: Vec<&str> = PRUNERS.iter().map(|pruner| pruner.name).collect();
    assert_eq!(names, PrunerKind::ALL.map(PrunerKind::name));
}
