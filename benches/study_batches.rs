//! The batches of a study that has run, for another program that shall train on the same.
//!
//! `cargo bench --bench study_batches -- STUDY.toml OUT` writes `OUT/batches.json`: `steps`, the examples
//! of each optimizer step in their order, and `validation`; an example is its `input_ids` and, as long,
//! its `targets`, null where nothing is scored. Of a study with adapters their first values are written
//! to `OUT/adapter` too, as PEFT reads them. Used by `tests/peers/smollm2_record.py`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use diapason::data::{Example, IGNORED, StepPlan, cache, collate};
use diapason::model::{Decoder, read_config, read_frozen_weights, write_adapter};
use diapason::space::{BatchDomain, ModelSettings, Study};
use diapason::study::Layout;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// Study file with one batch size, which has run.
    study: PathBuf,
    /// Folder to write to.
    out: PathBuf,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let Arguments { study: file, out, .. } = Arguments::parse();
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let study = Study::from_toml(&text, &file)?;
    fs::create_dir_all(&out)?;
    fs::write(out.join("batches.json"), batches(&study)?.to_string())?;
    write_first_adapters(&study, &out.join("adapter"))
}

fn batches(study: &Study) -> Result<Value> {
    let dataset = cache::read(&Layout::new(&study.output).dataset())?;
    let BatchDomain::Explicit(plans) = &study.space.batch else {
        anyhow::bail!("the study must name `space.micro_batch_size` and `gradient_accumulation_steps`")
    };
    let lengths: Vec<usize> = dataset.train.iter().map(|example| example.input_ids.len()).collect();
    let effective = plans.first().context("a batch size")?.effective_batch_size();
    let plan = StepPlan::new(&lengths, effective, study.seed);
    let step = |step| plan.examples(step).iter().map(|index| example(&dataset.train[*index])).collect();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few steps"
    )]
    let count = (plan.steps_per_epoch() as f64 * study.train.epochs).ceil() as usize;
    // A study ends a step later where an epoch leaves examples over.
    let steps: Vec<Vec<Value>> = (0..=count).map(step).collect();
    let validation: Vec<Value> =
        dataset.validation.iter().take(study.search.validation_examples).map(example).collect();
    Ok(json!({ "steps": steps, "validation": validation }))
}

fn example(example: &Example) -> Value {
    let batch = collate(&[example]);
    let targets = batch.targets.iter().map(|target| (*target != IGNORED).then_some(*target));
    json!({ "input_ids": batch.input_ids, "targets": targets.collect::<Vec<_>>() })
}

fn write_first_adapters(study: &Study, folder: &std::path::Path) -> Result<()> {
    let (Some(lora), ModelSettings::Source(source)) = (&study.train.lora, &study.model) else {
        return Ok(());
    };
    let (config, device) = (read_config(&source.path)?, candle_core::Device::Cpu);
    let weights = read_frozen_weights(&source.path, &config, None, &device)?;
    let model = Decoder::frozen(config, weights, study.space.precision[0], &device)?;
    let model = model.with_adapters(lora, study.seed)?;
    Ok(write_adapter(folder, &model, &source.path.display().to_string())?)
}
