//! What is published of the best hyperparameters, and which of a space's are meant.
//!
//! Fine-tuning of all weights: 2e-5 at 7·10⁹ parameters (Taori et al. 2023, Alpaca; Hugging Face's recipes), higher for
//! smaller models (5e-5 is Hugging Face's default from the time of 10⁸) and for shorter runs (Bjorck et al. 2025).
//! Adapters: 2e-4 (Dettmers et al. 2023, table 9; Biderman et al. 2024: ten times the rate of all weights), lower where
//! the rank is large. Effective batch 16 in all of them, more where there are more tokens. The best rate rises with the
//! batch (exponent 0.21–0.39 at fixed tokens; 0.3 here). Training from nothing: Li et al. 2025 (Step Law).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::past::Shift;
use super::surrogate::{PriorMean, Term, Tilt, compressed};
use crate::space::{SearchSpace, textbook};

/// Names of the peak learning rate.
const LEARNING_RATE: [&str; 9] = [
    "learning_rate",
    "lr",
    "peak_learning_rate",
    "peak_lr",
    "max_lr",
    "max_learning_rate",
    "init_lr",
    "base_lr",
    "learning_rate_init",
];
/// Names of the examples an optimizer step sees, the surest first.
const BATCH: [&str; 9] = [
    "effective_batch_size",
    "global_batch_size",
    "total_batch_size",
    "train_batch_size",
    "batch_size",
    "batch",
    "bs",
    "per_device_train_batch_size",
    "micro_batch_size",
];
/// Names of what says that adapters are trained.
const METHOD: [&str; 6] = ["method", "finetuning_type", "adapter", "peft", "lora", "use_lora"];
const PARAMETERS: [&str; 7] =
    ["model_parameters", "parameters", "n_parameters", "num_parameters", "params", "n_params", "model_size"];
const TOKENS: [&str; 5] = ["tokens", "train_tokens", "training_tokens", "dataset_tokens", "n_tokens"];
const SEQUENCE: [&str; 4] = ["sequence_length", "max_length", "max_seq_length", "seq_len"];
const RANK: [&str; 4] = ["lora_rank", "rank", "r", "lora_r"];

/// A wrong rate by so many decades below or above costs as much as a median run.
const BELOW: f64 = 0.9;
const ABOVE: f64 = 0.7;
/// The best rate of a task lies so many decades beside the published one (standard deviation; a quarter to a half do
/// equally well on the tuning tables of `benches/peers/search`).
const RATE_SPREAD: f64 = 0.3;
/// What a wrong batch costs, likewise.
const BATCH_WIDTH: f64 = 1.2;
/// How the best rate falls with the size of the model and with the tokens of the run. Bjorck et al. 2025 found 0.23 and
/// 0.32 where training begins from nothing; with these the best rates of the tuning sweeps of `benches/peers/search`, of
/// 3·10⁶ and 1.3·10⁸ parameters over 8·10³ to 4·10⁴ tokens, lie within 0.12 decades at the best batch of each.
const RATE_BY_SIZE: f64 = 0.2;
const RATE_BY_TOKENS: f64 = 0.2;
/// How the best rate of adapters falls with their rank, from the usual one: half of what the tuning sweep of ranks says,
/// where alpha is in proportion to the rank, since with a fixed alpha it hardly falls (Schulman et al. 2025).
const RATE_BY_RANK: f64 = 0.25;
const USUAL_RANK: f64 = 16.0;
/// The textbook's rates and batch are for models of about so many parameters, and for about so many tokens (Alpaca's
/// three epochs).
const USUAL_PARAMETERS: f64 = 7e9;
const USUAL_TOKENS: f64 = 1e7;
/// How the best batch grows with the tokens: weaker than the 0.57 of Step Law, which is for training from nothing. A
/// short run reads fewer, so it likes a smaller batch.
const BATCH_BY_TOKENS: f64 = 0.2;
/// How the best rate rises with the batch.
const RATE_BY_BATCH: f64 = 0.3;
/// No law is followed beyond: Adam moves a weight by about the rate in a step (Kingma and Ba 2015, section 2.1), and this
/// is as much as the weights of a new model differ from nought (standard deviation, GPT-2).
const HIGHEST_RATE: f64 = 0.02;
/// A space's bounds are an opinion too: the best is expected so far inside them.
const INSIDE: f64 = 0.15;

/// How a model is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All weights of a pretrained model.
    Full,
    /// Adapters.
    Lora,
    /// All weights, from random ones.
    Pretraining,
}

/// What a user tells of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How it is trained.
    pub method: Option<Method>,
    /// Parameters of the model.
    pub parameters: Option<f64>,
    /// Tokens of the full run.
    pub tokens: Option<f64>,
    /// Tokens of an example.
    pub sequence_length: Option<f64>,
    /// Rank of the adapters, where all runs have the same.
    pub lora_rank: Option<f64>,
}

impl Facts {
    /// From names and values, with the names that told nothing: a context may hold a person's notes too.
    #[must_use]
    pub fn of(context: &Map<String, Value>) -> (Self, Vec<String>) {
        let mut facts = Self::default();
        let told = |facts: &mut Self, name: &str, value: &Value| {
            let number = number_of(value).filter(|number| *number > 0.0 && number.is_finite());
            match name.to_lowercase().as_str() {
                name if METHOD.contains(&name) => set(&mut facts.method, method_of(value)),
                name if PARAMETERS.contains(&name) => set(&mut facts.parameters, number),
                name if TOKENS.contains(&name) => set(&mut facts.tokens, number),
                name if SEQUENCE.contains(&name) => set(&mut facts.sequence_length, number),
                name if RANK.contains(&name) => set(&mut facts.lora_rank, number),
                _ => false,
            }
        };
        let unknown = context.iter().filter(|(name, value)| !told(&mut facts, name, value));
        let unknown = unknown.map(|(name, _)| name.clone()).collect();
        // A method that is told is surer than one that follows from a rank.
        facts.method = facts.method.or(facts.lora_rank.map(|_| Method::Lora));
        (facts, unknown)
    }
}

/// Takes what was told, and says whether something was.
fn set<T>(fact: &mut Option<T>, told: Option<T>) -> bool {
    let is_told = told.is_some();
    *fact = told.or(fact.take());
    is_told
}

/// A number, or text such as "350M".
fn number_of(value: &Value) -> Option<f64> {
    let Some(text) = value.as_str() else { return value.as_f64() };
    let text = text.trim().to_uppercase();
    let units = [("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)];
    let unit = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (digits, factor) = unit.unwrap_or((&text, 1.0));
    digits.trim().parse::<f64>().ok().map(|number| number * factor)
}

fn method_of(value: &Value) -> Option<Method> {
    let text = value.as_str().unwrap_or_default().to_lowercase();
    match (value, text.as_str()) {
        (Value::Bool(true), _) | (_, "lora" | "qlora" | "dora" | "rslora" | "adapter" | "peft") => {
            Some(Method::Lora)
        }
        (Value::Bool(false), _) | (_, "full" | "none" | "sft" | "finetune" | "finetuning") => {
            Some(Method::Full)
        }
        (_, "pretrain" | "pretraining" | "scratch") => Some(Method::Pretraining),
        _ => None,
    }
}

/// What is expected of full runs in this space; none where nothing is told of the task.
#[must_use]
pub(super) fn expected(space: &SearchSpace, facts: &Facts, shift: Shift) -> Option<PriorMean> {
    let has_rank = space.position(&RANK).is_some();
    if *facts == Facts::default() && !has_rank {
        return None;
    }
    let method = facts.method.unwrap_or(if has_rank { Method::Lora } else { Method::Full });
    let [rate, batch, rank] = [&LEARNING_RATE[..], &BATCH, &RANK].map(|names| named(space, names));
    // A rank that is searched is no fact.
    let lora_rank = facts.lora_rank.filter(|_| !has_rank);
    let facts = Facts { method: Some(method), lora_rank, ..*facts };
    let typical_batch = best_batch(method, &facts).log10() + shift.batch;
    let rate = rate.map(|dimension| Term {
        dimension,
        best: inside(space, dimension, best_rate(method, &facts).log10() + shift.learning_rate),
        spread: RATE_SPREAD,
        below: BELOW,
        above: ABOVE,
        drift: 0.0,
        tilts: tilts(space, (batch, typical_batch), rank),
    });
    let batch = batch.map(|dimension| Term {
        dimension,
        best: inside(space, dimension, typical_batch),
        spread: 0.0,
        below: BATCH_WIDTH,
        above: BATCH_WIDTH,
        drift: BATCH_BY_TOKENS,
        tilts: vec![],
    });
    let terms: Vec<Term> = rate.into_iter().chain(batch).collect();
    (!terms.is_empty()).then_some(PriorMean { terms })
}

/// How the best rate moves with the batch, whose typical decimal logarithm is given, and with the rank.
fn tilts(space: &SearchSpace, (batch, typical): (Option<usize>, f64), rank: Option<usize>) -> Vec<Tilt> {
    let by_batch = batch.map(|dimension| Tilt {
        dimension,
        exponent: RATE_BY_BATCH,
        from: inside(space, dimension, typical),
    });
    let by_rank = rank.map(|dimension| Tilt { dimension, exponent: -RATE_BY_RANK, from: USUAL_RANK.log10() });
    by_batch.into_iter().chain(by_rank).collect()
}

/// The published rate of a task at this batch.
pub(super) fn published_rate(facts: &Facts, batch: f64) -> f64 {
    let typical = published_batch(facts);
    best_rate(facts.method.unwrap_or(Method::Full), facts) * (batch / typical).powf(RATE_BY_BATCH)
}

/// The published batch of a task, in examples.
pub(super) fn published_batch(facts: &Facts) -> f64 {
    best_batch(facts.method.unwrap_or(Method::Full), facts)
}

/// What is expected of a run so many decades above the best rate and the best batch.
pub(super) fn bowl(rate: f64, batch: f64) -> f64 {
    let rate = rate / if rate > 0.0 { ABOVE } else { BELOW };
    compressed(rate.powi(2) + (batch / BATCH_WIDTH).powi(2) - 1.0)
}

/// The published rate for a model of this size, a run of this length and adapters of this rank.
fn best_rate(method: Method, facts: &Facts) -> f64 {
    let over = |fact: Option<f64>, usual: f64| fact.unwrap_or(usual) / usual;
    let scale = over(facts.parameters, USUAL_PARAMETERS).powf(-RATE_BY_SIZE)
        * over(facts.tokens, USUAL_TOKENS).powf(-RATE_BY_TOKENS);
    let rate = match method {
        Method::Full => textbook::FULL_LEARNING_RATE * scale,
        Method::Lora => {
            textbook::LORA_LEARNING_RATE * scale * over(facts.lora_rank, USUAL_RANK).powf(-RATE_BY_RANK)
        }
        Method::Pretraining => {
            let parameters = facts.parameters.unwrap_or(1e9);
            1.79 * parameters.powf(-0.713) * facts.tokens.unwrap_or(20.0 * parameters).powf(0.307)
        }
    };
    rate.min(HIGHEST_RATE)
}

/// The published effective batch, in examples.
fn best_batch(method: Method, facts: &Facts) -> f64 {
    match (method, facts.tokens) {
        (Method::Pretraining, Some(tokens)) => {
            0.58 * tokens.powf(0.571) / facts.sequence_length.unwrap_or(2048.0)
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        (_, tokens) => {
            let more = tokens.map_or(1.0, |tokens| (tokens / USUAL_TOKENS).powf(BATCH_BY_TOKENS));
            textbook::EFFECTIVE_BATCH_SIZE as f64 * more.clamp(0.25, 4.0)
        }
    }
}

/// The first of these names that is a hyperparameter.
fn named(space: &SearchSpace, names: &[&str]) -> Option<usize> {
    let is = |name: &str| {
        space
            .dimensions
            .iter()
            .position(|one| one.name.to_lowercase() == name && one.domain.number(0.5).is_some())
    };
    names.iter().find_map(|name| is(name))
}

/// The nearest value well inside the bounds, as decimal logarithms.
fn inside(space: &SearchSpace, dimension: usize, best: f64) -> f64 {
    let domain = &space.dimensions[dimension].domain;
    let edge = |unit| domain.number(unit).filter(|number| *number > 0.0).map(f64::log10);
    match (edge(0.0), edge(1.0)) {
        (Some(low), Some(high)) if low < high => {
            let width = INSIDE * (high - low);
            best.clamp(low + width, high - width)
        }
        _ => best,
    }
}

#[cfg(test)]
mod tests;
