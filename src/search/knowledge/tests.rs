//! Names, published values, and what is made of them.

use serde_json::{Value, json};

use super::super::past::Shift;
use super::super::surrogate::PriorMean;
use super::{Facts, Method};
use crate::space::{Dimension, Domain, SearchSpace};

/// With nothing learnt from past studies.
fn expected(space: &SearchSpace, facts: &Facts) -> Option<PriorMean> {
    super::expected(space, facts, Shift::default())
}

fn facts(context: Value) -> Facts {
    let Value::Object(context) = context else { unreachable!("{context} is no object") };
    let (facts, unknown) = Facts::of(&context);
    assert_eq!(unknown, [""; 0]);
    facts
}

fn log(name: &str, low: f64, high: f64) -> Dimension {
    Dimension { name: name.to_owned(), domain: Domain::Float { low, high, log: true }, condition: None }
}

fn space(dimensions: Vec<Dimension>) -> SearchSpace {
    SearchSpace { dimensions, constraints: vec![] }
}

fn rate() -> SearchSpace {
    space(vec![log("learning_rate", 1e-8, 1.0)])
}

/// The best value expected of dimension `dimension`.
fn best(prior: Option<&PriorMean>, dimension: usize) -> f64 {
    let terms = &prior.unwrap().terms;
    10f64.powf(terms.iter().find(|term| term.dimension == dimension).unwrap().best)
}

fn near(actual: f64, expected: f64) {
    assert!((actual / expected - 1.0).abs() < 1e-3, "{actual} is not {expected}");
}

#[test]
fn sizes_are_understood_in_words_and_numbers() {
    for (told, meant) in [
        (json!("1.3B"), 1.3e9),
        (json!("350M"), 3.5e8),
        (json!(" 7 b "), 7e9),
        (json!("2T"), 2e12),
        (json!("82k"), 8.2e4),
        (json!("1e9"), 1e9),
        (json!(124_000_000), 1.24e8),
    ] {
        near(facts(json!({"model_parameters": told})).parameters.unwrap(), meant);
    }
}

#[test]
fn every_fact_has_its_other_names() {
    for name in ["model_parameters", "n_params", "NUM_PARAMETERS", "model_size"] {
        assert_eq!(facts(json!({name: 5})).parameters, Some(5.0), "{name}");
    }
    for name in ["tokens", "train_tokens", "Dataset_Tokens"] {
        assert_eq!(facts(json!({name: "3K"})).tokens, Some(3e3), "{name}");
    }
    assert_eq!(facts(json!({"max_seq_length": 512})).sequence_length, Some(512.0));
    for name in ["lora_rank", "rank", "r", "lora_r"] {
        assert_eq!(facts(json!({name: 8})).lora_rank, Some(8.0), "{name}");
    }
    for context in [
        json!({"method": "LoRA"}),
        json!({"method": "qlora"}),
        json!({"peft": true}),
        json!({"lora_rank": 8}),
        json!({"finetuning_type": "lora"}),
    ] {
        assert_eq!(facts(context.clone()).method, Some(Method::Lora), "{context}");
    }
    assert_eq!(facts(json!({"method": "full"})).method, Some(Method::Full));
    assert_eq!(facts(json!({"use_lora": false})).method, Some(Method::Full));
    assert_eq!(facts(json!({"method": "pretrain"})).method, Some(Method::Pretraining));
}

#[test]
fn a_method_that_is_told_is_surer_than_a_rank() {
    for rank in ["lora_rank", "rank", "r"] {
        assert_eq!(facts(json!({"method": "full", rank: 8})).method, Some(Method::Full), "{rank}");
    }
}

#[test]
fn what_tells_nothing_is_named() {
    let context = json!({
        "notes": "mine", "tokens": "many", "parameters": -1, "model_size": "infB", "method": "magic",
        "n_params": 1e9, "max_length": null,
    });
    let (facts, unknown) = Facts::of(context.as_object().unwrap());
    assert_eq!(unknown, ["max_length", "method", "model_size", "notes", "parameters", "tokens"]);
    assert_eq!(facts, Facts { parameters: Some(1e9), ..Facts::default() });
}

#[test]
fn where_nothing_is_told_nothing_is_expected() {
    assert_eq!(expected(&rate(), &Facts::default()), None);
    let strange = space(vec![log("temperature", 0.1, 10.0)]);
    assert_eq!(expected(&strange, &facts(json!({"method": "lora"}))), None);
    // A rank among the hyperparameters tells of adapters.
    let ranked = space(vec![log("lr", 1e-8, 1.0), log("lora_rank", 1.0, 64.0)]);
    near(best(expected(&ranked, &Facts::default()).as_ref(), 0), 2e-4);
}

/// Taori et al. 2023 and Dettmers et al. 2023; Biderman et al. 2024 for the factor.
#[test]
fn adapters_learn_ten_times_as_fast_as_all_weights() {
    let of = |method: &str| {
        let told = facts(json!({"method": method, "parameters": "7B"}));
        best(expected(&rate(), &told).as_ref(), 0)
    };
    near(of("full"), 2e-5);
    near(of("lora"), 2e-4);
}

/// By the exponents of 0.2: a hundredth of the size or of the tokens is a factor of 10⁰·⁴ = 2.5119.
#[test]
fn smaller_models_and_shorter_runs_learn_faster() {
    let of = |size: &str, tokens: &str| {
        best(expected(&rate(), &facts(json!({"parameters": size, "tokens": tokens}))).as_ref(), 0)
    };
    near(of("7B", "10M"), 2e-5);
    near(of("70M", "10M"), 2e-5 * 2.5119);
    near(of("7B", "100K"), 2e-5 * 2.5119);
    near(of("7B", "1B"), 2e-5 / 2.5119);
}

/// 16⁰·²⁵ = 2.
#[test]
fn adapters_of_a_larger_rank_learn_slower() {
    let told = |rank: u32| facts(json!({"lora_rank": rank}));
    near(best(expected(&rate(), &told(16)).as_ref(), 0), 2e-4);
    near(best(expected(&rate(), &told(256)).as_ref(), 0), 1e-4);
    // Among the hyperparameters it moves the best rate, and one that is told besides is no fact.
    let searched = space(vec![log("lr", 1e-8, 1.0), log("lora_rank", 1.0, 256.0)]);
    let prior = expected(&searched, &told(256)).unwrap();
    near(best(Some(&prior), 0), 2e-4);
    let at = |rate: f64, rank: f64| prior.at(&searched, &[(rate.log10() + 8.0) / 8.0, rank], 1.0).mean;
    near(at(2e-4, 0.5), -1.0);
    near(at(1e-4, 1.0), -1.0);
    assert!(at(2e-4, 1.0) > -0.95);
}

/// Li et al. 2025: η = 1.79·N⁻⁰·⁷¹³·D⁰·³⁰⁷ and B = 0.58·D⁰·⁵⁷¹ tokens. N = 10⁹ and D = 10¹¹ by hand:
/// 1.79·10⁻⁶·⁴¹⁷·10³·³⁷⁷ = 1.79·10⁻³·⁰⁴⁰ = 1.6325·10⁻³, and 0.58·10⁶·²⁸¹/2048 = 540.9 examples.
#[test]
fn training_from_nothing_follows_the_step_law() {
    let space = space(vec![log("peak_lr", 1e-8, 1.0), log("batch_size", 1.0, 1e6)]);
    let told = facts(json!({"method": "pretraining", "parameters": "1B", "tokens": "100B", "seq_len": 2048}));
    let prior = expected(&space, &told);
    near(best(prior.as_ref(), 0), 1.6325e-3);
    near(best(prior.as_ref(), 1), 540.9);
}

/// 3·10³ parameters are far below those of the step law's experiments, which would say 0.08.
#[test]
fn no_law_is_followed_beyond_what_adam_can_bear() {
    let toy = json!({"method": "pretraining", "parameters": 3e3, "tokens": 5e3});
    near(best(expected(&rate(), &facts(toy)).as_ref(), 0), 0.02);
}

#[test]
fn a_best_value_lies_well_inside_the_bounds() {
    for (low, high) in [(1e-3, 1e-1), (1e-9, 1e-7), (1e-5, 1e-3)] {
        let space = space(vec![log("lr", low, high)]);
        let best = best(expected(&space, &facts(json!({"method": "full"}))).as_ref(), 0);
        assert!(best > low * 1.2 && best < high / 1.2, "{best} in {low}–{high}");
    }
}

#[test]
fn bounds_without_logarithms_clamp_nothing() {
    let domain = Domain::Float { low: 0.0, high: 1.0, log: false };
    let space = space(vec![Dimension { name: "lr".to_owned(), domain, condition: None }]);
    near(best(expected(&space, &facts(json!({"method": "full"}))).as_ref(), 0), 2e-5);
}

#[test]
fn the_surest_name_is_taken_and_the_rate_moves_with_the_batch() {
    let dimensions =
        vec![log("micro_batch_size", 1.0, 64.0), log("Batch_Size", 1.0, 512.0), log("LR", 1e-7, 1e-1)];
    let prior = expected(&space(dimensions), &facts(json!({"method": "lora"}))).unwrap();
    let of: Vec<usize> = prior.terms.iter().map(|term| term.dimension).collect();
    assert_eq!(of, [2, 1]);
    let [tilt] = prior.terms[0].tilts[..] else { unreachable!("{prior:?}") };
    assert_eq!(tilt.dimension, 1);
    // The range of measured exponents, weaker than the square root.
    assert!((0.21..0.39).contains(&tilt.exponent));
    near(best(Some(&prior), 1), 16.0);
}

#[test]
fn the_best_rate_of_a_task_may_lie_beside_the_published_one() {
    let prior = expected(&rate(), &facts(json!({"method": "lora"}))).unwrap();
    let doubt = |decades: f64| {
        let unit = (prior.terms[0].best + decades + 8.0) / 8.0;
        prior.at(&rate(), &[unit], 1.0).doubts[1]
    };
    assert!(doubt(-0.3) > 0.1 && doubt(0.3) < -0.1, "{} {}", doubt(-0.3), doubt(0.3));
    assert!(doubt(-3.0).abs() < 1e-3, "far from it nothing is said");
}

#[test]
fn a_short_run_likes_a_smaller_batch() {
    let space = space(vec![log("batch_size", 1.0, 1e4)]);
    let prior = expected(&space, &facts(json!({"method": "full"}))).unwrap();
    let worse_when_short = |decades: f64| {
        let unit = (prior.terms[0].best + decades) / 4.0;
        prior.at(&space, &[unit], 0.1).mean - prior.at(&space, &[unit], 1.0).mean
    };
    assert!(worse_when_short(0.5) > 0.05 && worse_when_short(-0.5) < -0.05);
}
