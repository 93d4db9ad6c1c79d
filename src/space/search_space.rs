//! All hyperparameters of a search together: one point of them, and which points are allowed.

use serde_json::{Map, Value};

use super::dimension::{Dimension, INACTIVE};

/// Coordinates of one point, one a dimension, each in [0, 1].
pub type UnitPoint = Vec<f64>;

/// The product of some hyperparameters has to lie in an interval: micro-batch × accumulation × devices = effective.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductConstraint {
    /// Positions of the factors.
    pub of: Vec<usize>,
    /// Smallest product.
    pub low: f64,
    /// Largest product.
    pub high: f64,
}

/// What varies in a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchSpace {
    /// In the order of the user; a condition names a dimension that stands before.
    pub dimensions: Vec<Dimension>,
    /// What points have to fulfil.
    pub constraints: Vec<ProductConstraint>,
}

/// Why values are not a point of a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// A hyperparameter that takes part has no value.
    #[error("`{0}` has no value")]
    Missing(String),
    /// A value lies outside its domain.
    #[error("`{name}` is {value}, which is not in its domain")]
    Outside {
        /// Name of the hyperparameter.
        name: String,
        /// What was given.
        value: String,
    },
    /// There is no such hyperparameter.
    #[error("`{0}` is no hyperparameter of this space")]
    Unknown(String),
    /// A product is out of its interval.
    #[error("the product of {factors} is {product}, which is not in [{low}, {high}]")]
    Product {
        /// Names of the factors.
        factors: String,
        /// What they make.
        product: String,
        /// Smallest allowed.
        low: String,
        /// Largest allowed.
        high: String,
    },
}

impl SearchSpace {
    /// How many hyperparameters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dimensions.len()
    }

    /// Whether nothing varies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dimensions.is_empty()
    }

    /// Which dimension has one of these `names`.
    #[must_use]
    pub fn position(&self, names: &[&str]) -> Option<usize> {
        self.dimensions.iter().position(|dimension| names.contains(&dimension.name.as_str()))
    }

    /// The values at `point`, those that take part.
    #[must_use]
    pub fn values(&self, point: &[f64]) -> Map<String, Value> {
        let active = |(index, _): &(usize, &Dimension)| self.is_active(*index, point);
        let dimensions = self.dimensions.iter().enumerate().filter(active);
        dimensions
            .map(|(index, dimension)| (dimension.name.clone(), dimension.domain.at(point[index])))
            .collect()
    }

    /// The point that has these values.
    ///
    /// # Errors
    /// A value is missing, unknown or outside its domain, or a constraint is not fulfilled.
    pub fn point(&self, values: &Map<String, Value>) -> Result<UnitPoint, PointError> {
        if let Some(name) = values.keys().find(|name| self.position(&[name.as_str()]).is_none()) {
            return Err(PointError::Unknown(name.clone()));
        }
        let mut point = Vec::with_capacity(self.len());
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let name = || dimension.name.clone();
            point.push(INACTIVE);
            if self.is_active(index, &point) {
                let value = values.get(&dimension.name).ok_or_else(|| PointError::Missing(name()))?;
                let outside = || PointError::Outside { name: name(), value: value.to_string() };
                point[index] = dimension.domain.unit(value).ok_or_else(outside)?;
            }
        }
        match self.constraints.iter().find(|constraint| !constraint.allows(self, &point)) {
            Some(broken) => Err(broken.error(self, &point)),
            None => Ok(point),
        }
    }

    /// The one coordinate vector of all that mean the same values.
    #[must_use]
    pub fn snapped(&self, point: &[f64]) -> UnitPoint {
        let mut snapped = Vec::with_capacity(point.len());
        for (index, dimension) in self.dimensions.iter().enumerate() {
            snapped.push(INACTIVE);
            if self.is_active(index, &snapped) {
                snapped[index] = dimension.domain.snapped(point[index]);
            }
        }
        snapped
    }

    /// Whether dimension `index` takes part at `point`.
    #[must_use]
    pub fn is_active(&self, index: usize, point: &[f64]) -> bool {
        let Some(condition) = &self.dimensions[index].condition else { return true };
        let parent = &self.dimensions[condition.on].domain;
        let is_met = || condition.values.iter().any(|value| parent.unit(value) == Some(point[condition.on]));
        self.is_active(condition.on, point) && is_met()
    }

    /// Whether a snapped point fulfils every constraint.
    #[must_use]
    pub fn allows(&self, point: &[f64]) -> bool {
        self.constraints.iter().all(|constraint| constraint.allows(self, point))
    }

    /// How many points there are at most; none for a continuum.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.dimensions
            .iter()
            .try_fold(1u64, |count, dimension| Some(count.saturating_mul(dimension.domain.len()?)))
    }
}

impl ProductConstraint {
    fn product(&self, space: &SearchSpace, point: &[f64]) -> f64 {
        let taking_part = self.of.iter().filter(|index| space.is_active(**index, point));
        taking_part.filter_map(|index| space.dimensions[*index].domain.number(point[*index])).product()
    }

    fn allows(&self, space: &SearchSpace, point: &[f64]) -> bool {
        (self.low..=self.high).contains(&self.product(space, point))
    }

    fn error(&self, space: &SearchSpace, point: &[f64]) -> PointError {
        let names: Vec<&str> = self.of.iter().map(|index| space.dimensions[*index].name.as_str()).collect();
        PointError::Product {
            factors: names.join(" × "),
            product: self.product(space, point).to_string(),
            low: self.low.to_string(),
            high: self.high.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dimension::{Condition, Domain};
    use super::*;
    use serde_json::json;

    fn space() -> SearchSpace {
        let dimension =
            |name: &str, domain, condition| Dimension { name: name.to_owned(), domain, condition };
        SearchSpace {
            dimensions: vec![
                dimension("method", Domain::Categorical(vec![json!("full"), json!("lora")]), None),
                dimension(
                    "rank",
                    Domain::Int { low: 1, high: 64, log: true },
                    Some(Condition { on: 0, values: vec![json!("lora")] }),
                ),
                dimension("micro", Domain::Ordinal(vec![json!(1), json!(2), json!(4)]), None),
                dimension("accumulation", Domain::Ordinal(vec![json!(1), json!(2), json!(4)]), None),
            ],
            constraints: vec![ProductConstraint { of: vec![2, 3], low: 4.0, high: 4.0 }],
        }
    }

    fn values(value: Value) -> Map<String, Value> {
        let Value::Object(values) = value else { unreachable!("{value} is no object") };
        values
    }

    #[test]
    fn a_conditional_hyperparameter_is_there_only_where_its_condition_is_met() {
        let space = space();
        let lora = values(json!({"method": "lora", "rank": 8, "micro": 2, "accumulation": 2}));
        let full = values(json!({"method": "full", "micro": 4, "accumulation": 1}));
        for wanted in [&lora, &full] {
            let point = space.point(wanted).unwrap();
            assert_eq!(&space.values(&point), wanted);
            assert_eq!(space.snapped(&point), point);
        }
        assert_eq!(space.snapped(&[0.1, 0.9, 0.9, 0.1])[1].to_bits(), INACTIVE.to_bits());
    }

    #[test]
    fn what_is_no_point_of_the_space_is_told() {
        let told = |value: Value| space().point(&values(value)).unwrap_err().to_string();
        let missing = told(json!({"method": "lora", "micro": 2, "accumulation": 2}));
        assert_eq!(missing, "`rank` has no value");
        let outside = told(json!({"method": "lora", "rank": 65, "micro": 2, "accumulation": 2}));
        assert_eq!(outside, "`rank` is 65, which is not in its domain");
        assert_eq!(told(json!({"methods": "lora"})), "`methods` is no hyperparameter of this space");
        let product = told(json!({"method": "full", "micro": 4, "accumulation": 4}));
        assert_eq!(product, "the product of micro × accumulation is 16, which is not in [4, 4]");
    }

    #[test]
    fn points_are_counted_where_they_can_be() {
        assert_eq!(space().count(), Some(2 * 64 * 9));
    }
}
