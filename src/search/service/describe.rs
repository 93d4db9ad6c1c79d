//! What is expected beforehand, told to the program that asked.

use serde_json::{Map, Value, json};

use super::super::surrogate::PriorMean;
use crate::space::SearchSpace;

/// The best value expected of each hyperparameter.
pub(super) fn prior(space: &SearchSpace, prior: &PriorMean) -> Value {
    let term = |term: &super::super::surrogate::Term| {
        let name = space.dimensions[term.dimension].name.clone();
        (name, json!(10f64.powf(term.best)))
    };
    Value::Object(prior.terms.iter().map(term).collect::<Map<String, Value>>())
}
