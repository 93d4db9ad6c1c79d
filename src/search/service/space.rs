//! The space as a program sends it, checked.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::request::ProductRequest;
use crate::space::{Condition, Dimension, Domain, ProductConstraint, SearchSpace};

/// One hyperparameter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DimensionRequest {
    #[serde(rename = "type")]
    kind: Kind,
    low: Option<f64>,
    high: Option<f64>,
    log: Option<bool>,
    /// What there is of them counts, whatever the bounds say.
    choices: Option<Vec<Value>>,
    /// Whether neighbours in `choices` are alike; numbers are unless it says no.
    ordered: Option<bool>,
    /// It takes part only where others have one of these values.
    when: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Float,
    Int,
    Categorical,
    Ordinal,
}

/// The space, in the order of the names, what others depend on first.
pub(super) fn checked(
    space: &Map<String, Value>,
    constraints: &[ProductRequest],
) -> Result<SearchSpace, String> {
    if space.is_empty() {
        return Err("`space` is empty; give at least one hyperparameter".to_owned());
    }
    let mut open = Vec::new();
    for (name, value) in space {
        let request = serde_json::from_value::<DimensionRequest>(value.clone());
        open.push((name.as_str(), request.map_err(|error| format!("in `space.{name}`: {error}"))?));
    }
    let mut dimensions: Vec<Dimension> = Vec::new();
    while !open.is_empty() {
        let is_ready = |(_, request): &(&str, DimensionRequest)| {
            let others = request.when.iter().flat_map(Map::keys);
            others.into_iter().all(|other| dimensions.iter().any(|known| known.name == *other))
        };
        let Some(position) = open.iter().position(is_ready) else {
            return Err(format!("`space.{}.when` names no hyperparameter, or itself in a circle", open[0].0));
        };
        let (name, request) = open.remove(position);
        let condition = condition(name, &request, &dimensions)?;
        let domain = domain(&request).map_err(|error| format!("`space.{name}` {error}"))?;
        dimensions.push(Dimension { name: name.to_owned(), domain, condition });
    }
    let mut checked = SearchSpace { dimensions, constraints: vec![] };
    let constraints = constraints.iter().map(|request| constraint(request, &checked));
    checked.constraints = constraints.collect::<Result<_, _>>()?;
    Ok(checked)
}

fn condition(
    name: &str,
    request: &DimensionRequest,
    known: &[Dimension],
) -> Result<Option<Condition>, String> {
    let Some(when) = &request.when else { return Ok(None) };
    let mut parts = when.iter();
    let (Some((other, values)), None) = (parts.next(), parts.next()) else {
        return Err(format!("`space.{name}.when` names several hyperparameters or none; name one"));
    };
    let on = known.iter().position(|dimension| dimension.name == *other);
    let on = on.ok_or_else(|| format!("`space.{name}.when` names `{other}`, which is no hyperparameter"))?;
    if known[on].domain.len().is_none() {
        return Err(format!("`space.{name}.when` names `{other}`, which has no list of values"));
    }
    let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
    if values.is_empty() {
        return Err(format!("`space.{name}.when` has no value of `{other}`"));
    }
    match values.iter().find(|value| known[on].domain.unit(value).is_none()) {
        Some(value) => Err(format!("`space.{name}.when` has {value}, which `{other}` can't be")),
        None => Ok(Some(Condition { on, values })),
    }
}

fn domain(request: &DimensionRequest) -> Result<Domain, String> {
    if let Some(choices) = &request.choices {
        return listed(request, choices);
    }
    let (Some(low), Some(high)) = (request.low, request.high) else {
        return Err("has neither `choices` nor both `low` and `high`".to_owned());
    };
    if !(low.is_finite() && high.is_finite() && low <= high) {
        return Err(format!("has low {low} and high {high}; low may not be above high"));
    }
    let log = request.log.unwrap_or(false);
    let width = if log { high / low } else { high - low };
    if log && low <= 0.0 {
        return Err(format!("has low {low}; on a logarithmic scale it must be above 0"));
    }
    if !width.is_finite() {
        return Err(format!("has low {low} and high {high}; they are too far apart"));
    }
    if request.ordered.is_some() {
        return Err("has `ordered` without `choices`".to_owned());
    }
    match request.kind {
        Kind::Float => Ok(Domain::Float { low, high, log }),
        Kind::Int if low.fract() == 0.0 && high.fract() == 0.0 && low.abs().max(high.abs()) < 9e15 => {
            #[expect(clippy::cast_possible_truncation, reason = "whole and small, as was just looked at")]
            let (low, high) = (low as i64, high as i64);
            Ok(Domain::Int { low, high, log })
        }
        Kind::Int => Err(format!("has low {low} and high {high}; an int has whole bounds")),
        Kind::Categorical | Kind::Ordinal => Err("has no `choices`".to_owned()),
    }
}

fn listed(request: &DimensionRequest, choices: &[Value]) -> Result<Domain, String> {
    if choices.is_empty() {
        return Err("has empty `choices`; give at least one".to_owned());
    }
    // 8 and 8.0 are the same number.
    let is_same = |a: &Value, b: &Value| a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64());
    let is_known = |(index, one): &(usize, &Value)| choices[..*index].iter().any(|known| is_same(known, one));
    if let Some((_, twice)) = choices.iter().enumerate().find(is_known) {
        return Err(format!("has {twice} twice in `choices`"));
    }
    let numbers: Option<Vec<f64>> = choices.iter().map(Value::as_f64).collect();
    if matches!(request.kind, Kind::Float | Kind::Int) && numbers.is_none() {
        return Err("has `choices` that are no numbers; its type is `categorical`".to_owned());
    }
    let is_ordered = request.ordered.unwrap_or(numbers.is_some() || request.kind == Kind::Ordinal);
    let mut choices = choices.to_vec();
    if !is_ordered {
        return Ok(Domain::Categorical(choices));
    }
    if numbers.is_some() {
        choices.sort_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
    }
    Ok(Domain::Ordinal(choices))
}

fn constraint(request: &ProductRequest, space: &SearchSpace) -> Result<ProductConstraint, String> {
    let position = |name: &String| {
        space
            .position(&[name])
            .ok_or_else(|| format!("`constraints` name `{name}`, which is no hyperparameter"))
    };
    let of = request.product.iter().map(position).collect::<Result<Vec<usize>, String>>()?;
    let text = of.iter().map(|index| &space.dimensions[*index]).find(|one| !has_numbers(&one.domain));
    if let Some(text) = text {
        return Err(format!("`constraints` name `{}`, whose values are no numbers", text.name));
    }
    let is_bounded = request.equals.or(request.low).or(request.high).is_some();
    let is_twice = request.equals.is_some() && request.low.or(request.high).is_some();
    let low = request.equals.or(request.low).unwrap_or(f64::NEG_INFINITY);
    let high = request.equals.or(request.high).unwrap_or(f64::INFINITY);
    if of.is_empty() || !is_bounded || is_twice || low > high {
        return Err("a constraint needs `product` with names, and `equals`, or `low` up to `high`".to_owned());
    }
    Ok(ProductConstraint { of, low, high })
}

fn has_numbers(domain: &Domain) -> bool {
    match domain {
        Domain::Float { .. } | Domain::Int { .. } => true,
        Domain::Ordinal(choices) | Domain::Categorical(choices) => choices.iter().all(Value::is_number),
    }
}
