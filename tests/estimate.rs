//! `diapason estimate` as it is typed.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod common;

use serde_json::Value;

use common::{Ran, TinyStudy, diapason};

/// One line of JSON for each answer.
fn answers(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ask(study: &TinyStudy, arguments: &[&str]) -> Ran {
    let mut command = diapason(&["estimate"]);
    Ran::of(command.current_dir(study.path("")).args(arguments).output().unwrap())
}

fn number(answer: &Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap()
}

#[test]
fn one_point_is_answered_for_each_card_in_both_stacks_from_the_configuration_alone() {
    let study = TinyStudy::new();
    std::fs::remove_file(study.path("base/model.safetensors")).unwrap();
    let point = "--model base --gpu t4,a100-80 --seq-len 64 --micro-batch 3 --precision f16 --method lora \
                 --lora-rank 4 --lora-targets q_proj,v_proj --gradient-checkpointing --attention sdpa \
                 --optimizer adamw --json";
    for (stack, base) in [("diapason", "q8_0"), ("transformers", "nf4")] {
        let mut arguments: Vec<&str> = point.split_whitespace().filter(|word| *word != "\\").collect();
        arguments.extend(["--stack", stack, "--base-weights", base]);
        let ran = ask(&study, &arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let answers = answers(&ran);
        assert_eq!(answers.len(), 2);
        for answer in &answers {
            assert_eq!((&answer["stack"], number(answer, "micro_batch_size")), (&Value::from(stack), 3));
            assert!(answer["fits"] == true && number(answer, "max_micro_batch") >= 3, "{answer}");
            assert_eq!(number(answer, "margin_bytes"), 256 << 20);
            let warned = answer["warnings"].to_string().contains("shared key heads");
            assert_eq!(warned, stack == "transformers", "a 4-bit base has 32-bit queries: {answer}");
            let live = number(answer, "live_peak_bytes");
            assert!(live < number(answer, "device_peak_bytes"), "{answer}");
            let phases = answer["by_phase"].as_object().unwrap();
            assert_eq!(phases.values().map(|bytes| bytes.as_u64().unwrap()).max(), Some(live));
        }
    }
}

#[test]
fn a_study_is_answered_for_each_of_its_settings_and_its_own_card() {
    let study = TinyStudy::new()
        .set("fit.gradient_checkpointing", vec![false, true])
        .set("gpu.tiny.memory", "700MiB")
        .set("gpu.tiny.bandwidth_gb_per_s", 100.0)
        .set("gpu.tiny.f32_tflops", 1.0)
        .set("gpu.tiny.compute_capability", "8.6");
    let ran = ask(&study, &["study.toml", "--gpu", "tiny,rtx-3090", "--margin", "64MiB", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let answers = answers(&ran);
    assert_eq!(answers.len(), 8, "two precisions, with and without checkpointing, two cards");
    let of = |gpu: &str| answers.iter().filter(|answer| answer["gpu"] == gpu).count();
    assert_eq!((of("tiny"), of("rtx-3090")), (4, 4));
    for answer in &answers {
        assert!(answer["hours"].as_f64().unwrap() > 0.0 && number(answer, "tokens") > 0, "{answer}");
    }
    let ran = ask(&study, &["study.toml", "--gpu", "all"]);
    assert!(ran.code == Some(0) && ran.stdout.lines().count() > 28 * 4, "{}", ran.stdout);
    assert!(ran.stdout.contains("estimates of a roofline"), "{}", ran.stdout);
}

#[test]
fn what_fits_nowhere_has_its_own_code_and_what_is_unknown_is_named() {
    let study = TinyStudy::new();
    let full = ask(&study, &["--model", "base", "--gpu", "t4", "--margin", "20GiB", "--json"]);
    assert_eq!(full.code, Some(3), "{}", full.stderr);
    assert_eq!(answers(&full)[0]["fits"], false);
    for (arguments, told) in [
        (vec!["--model", "base", "--gpu", "l5"], "`l4`"),
        (vec!["--model", "base", "--gpu", "t4", "--precision", "fp8"], "`--precision`"),
        (vec!["--model", "base", "--gpu", "t4", "--optimizer", "lion"], "`adamw_8bit`"),
        (vec!["--model", "base", "--gpu", "t4", "--base-weights", "nf4", "--method", "lora"], "transformers"),
        (vec!["--model", "base", "--gpu", "t4", "--method", "lora", "--lora-targets", "c_attn"], "`q_proj`"),
        (vec!["--model", "nowhere", "--gpu", "t4"], "nowhere"),
    ] {
        let ran = ask(&study, &arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told) && ran.stderr.contains("hint:"), "{told}: {}", ran.stderr);
    }
}
