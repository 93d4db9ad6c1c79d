//! The lines a program may send.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::spelling::nearest;

/// One line.
pub(super) enum Request {
    /// Start a search.
    Init(Box<Init>),
    /// What is to be run next?
    Ask,
    /// A run measured something.
    Tell(Tell),
    /// What is the best so far?
    Best,
}

const OPERATIONS: [&str; 4] = ["init", "ask", "tell", "best"];

/// The start of a search.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Init {
    #[expect(dead_code, reason = "it told that this is an init")]
    op: String,
    #[serde(deserialize_with = "distinct")]
    pub space: Map<String, Value>,
    #[serde(default)]
    pub constraints: Vec<ProductRequest>,
    #[serde(default)]
    pub direction: Direction,
    pub fidelity: Option<FidelityRequest>,
    #[serde(default)]
    pub seed: u64,
    pub sampler: Option<String>,
    pub pruner: Option<String>,
    pub context: Option<Map<String, Value>>,
    #[serde(default)]
    pub suggest_first: Vec<Map<String, Value>>,
    #[serde(default)]
    pub ablate: Vec<Ablation>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    #[default]
    Minimize,
    Maximize,
}

/// Levels of fidelity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FidelityRequest {
    pub levels: Vec<f64>,
    #[serde(default = "yes")]
    pub resume: bool,
}

fn yes() -> bool {
    true
}

/// The product of hyperparameters is bounded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProductRequest {
    pub product: Vec<String>,
    pub equals: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// A part that is left out, to see what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ablation {
    Prior,
    Cost,
    Interleave,
    Forecast,
}

/// What a run measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tell {
    #[expect(dead_code, reason = "it told that this is a tell")]
    op: String,
    pub id: u64,
    #[serde(default)]
    pub points: Vec<(f64, Option<f64>)>,
    pub outcome: ToldOutcome,
    pub seconds: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToldOutcome {
    Completed,
    Running,
    OutOfMemory,
    Diverged,
    Failed,
}

/// A line that is its operation and no more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    #[expect(dead_code, reason = "it told what this is")]
    op: String,
}

/// An object whose names are all different: of two with one name the first would be lost without a word.
fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    struct Distinct;
    impl<'de> Visitor<'de> for Distinct {
        type Value = Map<String, Value>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("an object with a hyperparameter by each name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = Map::new();
            while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                if map.contains_key(&name) {
                    return Err(A::Error::custom(format!("`{name}` is there twice")));
                }
                map.insert(name, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Distinct)
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Request, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("this is no JSON object: {error}"))?;
    let object = value.as_object().ok_or_else(|| format!("this is no JSON object: {value}"))?;
    let known = format!("one of `{}`", OPERATIONS.join("`, `"));
    let operation = object.get("op").ok_or_else(|| format!("`op` is missing; it is {known}"))?;
    let operation = operation.as_str().ok_or_else(|| format!("`op` is {operation}; it is {known}"))?;
    let told = |error: serde_json::Error| format!("in `{operation}`: {error}");
    match operation {
        "init" => serde_json::from_str(line).map(|init| Request::Init(Box::new(init))).map_err(told),
        "ask" => serde_json::from_str(line).map(|_: Bare| Request::Ask).map_err(told),
        "tell" => serde_json::from_str(line).map(Request::Tell).map_err(told),
        "best" => serde_json::from_str(line).map(|_: Bare| Request::Best).map_err(told),
        other => Err(nearest(other, OPERATIONS).map_or_else(
            || format!("`op` is `{other}`; it is {known}"),
            |near| format!("`op` is `{other}`; did you mean `{near}`?"),
        )),
    }
}
