//! One hyperparameter of any kind, and its map to and from the unit interval.

use serde_json::Value;

/// The coordinate of a hyperparameter that does not take part.
pub const INACTIVE: f64 = 0.5;

/// What values a hyperparameter may take.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// A real number in `[low, high]`.
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Whether equal steps are equal factors.
        log: bool,
    },
    /// A whole number in `[low, high]`.
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value.
        high: i64,
        /// Whether equal steps are equal factors.
        log: bool,
    },
    /// Values with an order: neighbours in the list are alike.
    Ordinal(Vec<Value>),
    /// Values without an order.
    Categorical(Vec<Value>),
}

/// When a hyperparameter takes part: another one has one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Position of the other dimension, which stands before.
    pub on: usize,
    /// Its values under which this one takes part.
    pub values: Vec<Value>,
}

/// A named hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// Its name, as a user wrote it.
    pub name: String,
    /// What it may be.
    pub domain: Domain,
    /// When it takes part; always where there is none.
    pub condition: Option<Condition>,
}

impl Domain {
    /// The value at `unit` ∈ [0, 1].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a rounded number between two whole ones")]
    pub fn at(&self, unit: f64) -> Value {
        match self {
            Self::Float { low, high, log } => Value::from(scale(*low, *high, *log, unit).clamp(*low, *high)),
            Self::Int { low, high, log } => {
                let (from, to) = cell_edges(*low, *high);
                Value::from((scale(from, to, *log, unit).round() as i64).clamp(*low, *high))
            }
            Self::Ordinal(choices) | Self::Categorical(choices) => choices[cell(unit, choices.len())].clone(),
        }
    }

    /// Where `value` lies in the unit interval; none if it is not in the domain.
    #[must_use]
    pub fn unit(&self, value: &Value) -> Option<f64> {
        match self {
            Self::Float { low, high, log } => {
                let number = value.as_f64().filter(|number| (*low..=*high).contains(number))?;
                Some(unscale(*low, *high, *log, number))
            }
            Self::Int { low, high, log } => {
                let number = whole(value).filter(|number| (*low..=*high).contains(number))?;
                let (from, to) = cell_edges(*low, *high);
                Some(unscale(from, to, *log, as_float(number)))
            }
            Self::Ordinal(choices) | Self::Categorical(choices) => {
                let index = choices.iter().position(|choice| is_same(choice, value))?;
                Some(middle(index, choices.len()))
            }
        }
    }

    /// The coordinate of the value at `unit`: the same for all that mean the same value.
    #[must_use]
    pub fn snapped(&self, unit: f64) -> f64 {
        match self {
            Self::Float { low, high, .. } if low < high => unit.clamp(0.0, 1.0),
            _ => self.unit(&self.at(unit)).unwrap_or(INACTIVE),
        }
    }

    /// The number at `unit`, where the value is one.
    #[must_use]
    pub fn number(&self, unit: f64) -> Option<f64> {
        self.at(unit).as_f64()
    }

    /// How many values there are; none for a continuum.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Float { low, high, .. } => (low >= high).then_some(1),
            Self::Int { low, high, .. } => Some(high.abs_diff(*low).saturating_add(1)),
            Self::Ordinal(choices) | Self::Categorical(choices) => Some(choices.len() as u64),
        }
    }

    /// Whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether neighbours in the unit interval are alike.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Self::Categorical(_))
    }
}

fn scale(low: f64, high: f64, log: bool, unit: f64) -> f64 {
    let unit = unit.clamp(0.0, 1.0);
    if log { (low.ln() + unit * (high.ln() - low.ln())).exp() } else { low + unit * (high - low) }
}

fn unscale(low: f64, high: f64, log: bool, value: f64) -> f64 {
    if low >= high {
        return INACTIVE;
    }
    let share = if log { (value / low).ln() / (high / low).ln() } else { (value - low) / (high - low) };
    share.clamp(0.0, 1.0)
}

/// Every whole number has a cell of one unit.
fn cell_edges(low: i64, high: i64) -> (f64, f64) {
    (as_float(low) - 0.5, as_float(high) + 0.5)
}

#[expect(clippy::cast_precision_loss, reason = "hyperparameters stay below 2^53")]
fn as_float(number: i64) -> f64 {
    number as f64
}

fn whole(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is small")]
    let rounded = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(rounded))
}

/// Whether two values mean the same: 8 and 8.0 do.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

/// Which of `count` equal cells `unit` lies in.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "unit lies in [0, 1] and choices are few"
)]
fn cell(unit: f64, count: usize) -> usize {
    ((unit.max(0.0) * count as f64) as usize).min(count.saturating_sub(1))
}

#[expect(clippy::cast_precision_loss, reason = "choices are few")]
fn middle(index: usize, count: usize) -> f64 {
    (index as f64 + 0.5) / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_middle_of_a_log_domain_is_its_geometric_mean() {
        let domain = Domain::Float { low: 1e-4, high: 1e-2, log: true };
        assert!((domain.number(0.5).unwrap() - 1e-3).abs() < 1e-9);
        assert!((domain.unit(&json!(1e-3)).unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn whole_numbers_share_the_interval_equally_on_a_linear_scale() {
        let domain = Domain::Int { low: 1, high: 4, log: false };
        let values: Vec<Value> = [0.0, 0.2, 0.3, 0.6, 0.9, 1.0].map(|unit| domain.at(unit)).to_vec();
        assert_eq!(values, [json!(1), json!(1), json!(2), json!(3), json!(4), json!(4)]);
    }

    #[test]
    fn a_value_outside_has_no_coordinate() {
        assert_eq!(Domain::Int { low: 1, high: 4, log: true }.unit(&json!(5)), None);
        assert_eq!(Domain::Int { low: 1, high: 4, log: true }.unit(&json!(2.5)), None);
        assert_eq!(Domain::Categorical(vec![json!("a")]).unit(&json!("b")), None);
        assert_eq!(Domain::Ordinal(vec![json!(8), json!(16)]).unit(&json!(16.0)), Some(0.75));
    }

    fn domain() -> impl Strategy<Value = Domain> {
        prop_oneof![
            (1e-6f64..1.0, 1.0f64..1e4, any::<bool>()).prop_map(|(low, factor, log)| Domain::Float {
                low,
                high: low * factor,
                log
            }),
            (1i64..50, 0i64..500, any::<bool>()).prop_map(|(low, more, log)| Domain::Int {
                low,
                high: low + more,
                log
            }),
            (1usize..9).prop_map(|n| Domain::Ordinal((0..n).map(Value::from).collect())),
            (1usize..9).prop_map(|n| Domain::Categorical((0..n).map(|i| json!(i.to_string())).collect())),
        ]
    }

    proptest! {
        #[test]
        fn a_value_and_its_coordinate_map_to_each_other(domain in domain(), unit in 0.0f64..=1.0) {
            let value = domain.at(unit);
            let back = domain.unit(&value).unwrap();
            prop_assert!((0.0..=1.0).contains(&back));
            prop_assert_eq!(domain.snapped(back).to_bits(), domain.snapped(domain.snapped(back)).to_bits());
            let again = domain.at(back);
            if let (Some(a), Some(b)) = (value.as_f64(), again.as_f64()) {
                prop_assert!((a / b - 1.0).abs() < 1e-9 || (a - b).abs() < 1e-12);
            } else {
                prop_assert_eq!(value, again);
            }
        }
    }
}
