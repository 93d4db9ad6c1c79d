//! Configurations of published models, and what is refused.

use serde_json::{Value, json};

use super::*;

/// SmolLM2-135M.
fn smol() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "tie_word_embeddings": true, "rope_theta": 100_000,
        "rope_scaling": null, "eos_token_id": 2, "rms_norm_eps": 1e-5
    })
}

/// Sizes that every family takes, of an architecture and with some keys more.
fn of(architecture: &str, more: Value) -> Result<ModelConfig, ConfigError> {
    let mut config = json!({
        "architectures": [architecture], "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let Value::Object(more) = more else { panic!("no object") };
    config.as_object_mut().unwrap().extend(more);
    ModelConfig::from_json(&config.to_string())
}

fn windows(config: &ModelConfig) -> Vec<Option<usize>> {
    (0..config.num_hidden_layers).map(|layer| config.window(layer)).collect()
}

#[test]
fn a_llama_configuration_is_read_with_the_defaults_of_hugging_face() {
    let config = ModelConfig::from_json(&smol().to_string()).unwrap();
    assert_eq!((config.head_dim, config.key_value_width()), (64, 192));
    assert_eq!(config.max_position_embeddings, 2048);
    assert!(config.traits.are_plain());
    assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    // SmolLM2-135M has this many by its model card's safetensors index.
    assert_eq!(parameter_count(&config), 134_515_008);
}

#[test]
fn another_architecture_is_named_with_what_is_supported() {
    for found in ["BertForMaskedLM", "MixtralForCausalLM", "Gemma3ForConditionalGeneration"] {
        let error = of(found, json!({})).unwrap_err().to_string();
        assert!(error.contains(found) && error.contains("LlamaForCausalLM"), "{error}");
        assert!(error.contains("Gemma3ForCausalLM") && error.contains("Phi3ForCausalLM"), "{error}");
    }
}

#[test]
fn a_feature_that_is_not_implemented_is_refused() {
    for (key, value) in [
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 8})),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8})),
        ("rope_parameters", json!({"rope_type": "dynamic", "factor": 8})),
        ("hidden_act", json!("gelu")),
        ("num_key_value_heads", json!(4)),
    ] {
        let mut config = smol();
        config[key] = value;
        let error = ModelConfig::from_json(&config.to_string()).unwrap_err();
        assert!(matches!(error, ConfigError::Feature { .. }), "{key}: {error}");
    }
    let error = of("Gemma3ForCausalLM", json!({"use_bidirectional_attention": true})).unwrap_err();
    assert!(error.to_string().contains("causal"), "{error}");
    let long = json!({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}});
    assert!(of("Phi3ForCausalLM", long).unwrap_err().to_string().contains("short_factor"));
}

#[test]
fn a_key_that_is_missing_or_of_another_type_is_named() {
    let mut config = smol();
    config.as_object_mut().unwrap().remove("hidden_size");
    assert!(ModelConfig::from_json(&config.to_string()).unwrap_err().to_string().contains("`hidden_size`"));
    config["hidden_size"] = json!("wide");
    let error = ModelConfig::from_json(&config.to_string()).unwrap_err().to_string();
    assert!(error.contains("`hidden_size` is \"wide\"") && error.contains("whole number"), "{error}");
}

#[test]
fn each_family_is_local_where_transformers_makes_it() {
    let case = |architecture, more, right: [Option<usize>; 4]| {
        assert_eq!(windows(&of(architecture, more).unwrap()), right, "{architecture}");
    };
    let (none, all) = ([None; 4], [Some(8); 4]);
    case("LlamaForCausalLM", json!({"sliding_window": 8}), none);
    case("MistralForCausalLM", json!({"sliding_window": 8}), all);
    case("MistralForCausalLM", json!({"sliding_window": null}), none);
    case("MistralForCausalLM", json!({}), [Some(4096); 4]);
    case("Phi3ForCausalLM", json!({"sliding_window": 8}), all);
    case("Phi3ForCausalLM", json!({}), none);
    for qwen in ["Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
        case(qwen, json!({"sliding_window": 8, "max_window_layers": 2}), none);
        let on = json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 2});
        case(qwen, on, [None, None, Some(8), Some(8)]);
        let named = ["sliding_attention", "full_attention", "full_attention", "full_attention"];
        let on = json!({"use_sliding_window": true, "sliding_window": 8, "layer_types": named});
        case(qwen, on, [Some(8), None, None, None]);
    }
    case("Gemma2ForCausalLM", json!({"sliding_window": 8}), [Some(8), None, Some(8), None]);
    case("Gemma3ForCausalLM", json!({"sliding_window": 8}), all);
    let pattern = json!({"sliding_window": 8, "sliding_window_pattern": 3});
    case("Gemma3ForCausalLM", pattern, [Some(8), Some(8), None, Some(8)]);
}

#[test]
fn rotary_settings_are_read_in_the_old_spelling_and_in_that_of_transformers_5() {
    let old = json!({
        "rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}
    });
    let new = json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    }});
    let [old, new] = [old, new].map(|more| of("Gemma3ForCausalLM", more).unwrap());
    assert_eq!(old, new);
    assert_eq!((old.rope_theta, old.traits.local_rope_theta), (5e5, Some(2e4)));
    assert_eq!(old.traits.rope_scaling, RopeScaling::Linear { factor: 8.0 });
    let bare = of("Gemma3ForCausalLM", json!({})).unwrap();
    assert_eq!((bare.rope_theta, bare.traits.local_rope_theta), (1e6, Some(1e4)));
}

#[test]
fn what_is_written_again_is_what_was_read_with_the_type_of_the_weights() {
    for family in &family::FAMILIES {
        let more = json!({
            "dtype": "float16", "eos_token_id": [1, 106], "attention_dropout": 0.0, "sliding_window": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e4},
        });
        let config = of(family.architecture, more).unwrap();
        let text = config.to_json_of("float32");
        assert_eq!(ModelConfig::from_json(&text).unwrap(), config, "{}", family.architecture);
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["torch_dtype"], "float32");
        assert_eq!(written["eos_token_id"], json!([1, 106]));
        assert_eq!(written["attention_dropout"], json!(0.0));
        assert_eq!(written["model_type"], family.model_type);
        assert!(written.get("dtype").is_none() && written.get("rope_theta").is_none());
    }
}

#[test]
fn a_cap_that_is_absent_is_the_family_s_and_one_that_is_null_is_none() {
    let caps = |more| {
        let config = of("Gemma2ForCausalLM", more).unwrap();
        (config.traits.attention_cap, config.traits.logit_cap)
    };
    assert_eq!(caps(json!({})), (Some(50.0), Some(30.0)));
    assert_eq!(
        caps(json!({"attn_logit_softcapping": null, "final_logit_softcapping": 5})),
        (None, Some(5.0))
    );
    assert!(of("Gemma2ForCausalLM", json!({"final_logit_softcapping": 0})).is_err());
}

/// Counts of the safetensors indices on the hub.
#[test]
fn the_count_of_a_published_model_of_each_family_is_right() {
    let count = |config: Value| parameter_count(&ModelConfig::from_json(&config.to_string()).unwrap());
    let sizes = |model_type: &str, [v, d, f, l, h, g, k]: [usize; 7], tied: bool| {
        json!({"model_type": model_type, "vocab_size": v, "hidden_size": d, "intermediate_size": f,
            "num_hidden_layers": l, "num_attention_heads": h, "num_key_value_heads": g, "head_dim": k,
            "tie_word_embeddings": tied})
    };
    for (model_type, size, tied, right) in [
        ("llama", [128_256, 2048, 8192, 16, 32, 8, 64], true, 1_235_814_400),
        ("mistral", [32_000, 4096, 14_336, 32, 32, 8, 128], false, 7_241_732_096),
        ("qwen2", [151_936, 896, 4864, 24, 14, 2, 64], true, 494_032_768),
        ("qwen3", [151_936, 1024, 3072, 28, 16, 8, 128], true, 596_049_920),
        ("gemma2", [256_000, 2304, 9216, 26, 8, 4, 256], true, 2_614_341_888),
        ("gemma3_text", [262_144, 1152, 6912, 26, 4, 1, 256], true, 999_885_952),
        ("phi3", [32_064, 3072, 8192, 32, 32, 32, 96], false, 3_821_079_552),
    ] {
        assert_eq!(count(sizes(model_type, size, tied)), right, "{model_type}");
    }
}
