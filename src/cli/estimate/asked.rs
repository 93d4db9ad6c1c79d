//! What was asked: the settings of a study file, or one point given by options.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;

use crate::arch::ModelConfig;
use crate::cli::args::{EstimateOptions, MethodName};
use crate::cli::progress::Progress;
use crate::cli::study;
use crate::cli::usage::UsageError;
use crate::hub::{Hub, HubEvent, Source};
use crate::memory::gpu::Gpu;
use crate::model::{self, ModelError};
use crate::quantize;
use crate::space::{BlockFormat, LoraSettings, ModelSettings, Optimizer, Precision, Study};
use crate::study::horizon;

/// A model, and the ways in which it is to be trained.
pub(super) struct Asked {
    pub(super) config: ModelConfig,
    /// Bytes of a value in the model's file.
    pub(super) file_bytes: u64,
    pub(super) points: Vec<Point>,
    pub(super) accumulation: usize,
    /// Norm to which gradients are clipped.
    pub(super) max_grad_norm: Option<f64>,
    /// Largest micro-batch worth asking for.
    pub(super) limit: usize,
    /// Tokens of the whole run.
    pub(super) tokens: Option<u64>,
    /// Whether they were counted.
    pub(super) is_counted: bool,
    /// Cards that the study file describes.
    pub(super) cards: Vec<Gpu>,
}

/// No card is faster with more.
const LARGEST: usize = 1 << 12;

/// One way.
pub(super) struct Point {
    pub(super) name: String,
    pub(super) precision: Precision,
    /// Tokens of each example.
    pub(super) length: usize,
    pub(super) gradient_checkpointing: bool,
    pub(super) lora: Option<LoraSettings>,
    pub(super) optimizer: Optimizer,
}

impl Asked {
    pub(super) fn read(options: &EstimateOptions) -> Result<Self> {
        match (&options.study, &options.model) {
            (Some(file), _) => Self::of_study(options, &study::read(file)?),
            (None, Some(model)) => Self::of_options(options, model),
            (None, None) => Err(UsageError::plain("no model", "give a study file, or `--model`").into()),
        }
    }

    fn of_study(options: &EstimateOptions, study: &Study) -> Result<Self> {
        let horizon = horizon(study)?;
        let (config, file_bytes) = match &study.model {
            ModelSettings::Source(source) => config_of(&source.typed, &source.path)?,
            ModelSettings::New(new) => (ModelConfig::new(new, 4 * study.data.max_length, 0)?, 4),
        };
        let point = |setting: crate::space::HardwareSetting| Point {
            name: setting.to_string(),
            precision: setting.precision,
            length: setting.max_length.map_or(horizon.longest, |most| most.min(horizon.longest)),
            gradient_checkpointing: setting.gradient_checkpointing,
            lora: study.lora_of(setting),
            optimizer: study.train.optimizer,
        };
        let cards = study.gpu.iter().map(|(name, section)| Gpu::from_section(name, section));
        Ok(Self {
            config,
            file_bytes,
            points: study.hardware_settings().into_iter().map(point).collect(),
            accumulation: 1,
            max_grad_norm: study.train.max_grad_norm,
            limit: study.search.max_micro_batch_size,
            tokens: options.tokens.or(horizon.tokens),
            is_counted: options.tokens.is_some() || horizon.is_counted,
            cards: cards.collect::<std::result::Result<_, _>>()?,
        })
    }

    fn of_options(options: &EstimateOptions, model: &Path) -> Result<Self> {
        let (config, file_bytes) = config_of(&model.to_string_lossy(), model)?;
        let precision: Precision =
            options.precision.parse().map_err(|error: String| UsageError::plain(&error, PRECISION))?;
        let lora = (options.method == MethodName::Lora).then(|| LoraSettings {
            dropout: options.lora_dropout,
            targets: options.lora_targets.clone(),
            ..LoraSettings::of_rank(options.lora_rank)
        });
        if let Some(lora) = &lora {
            model::check_targets(lora, &config)?;
        }
        let (file_bytes, lora) = with_base(options, file_bytes, lora)?;
        let method = lora.as_ref().map_or("full".to_owned(), |lora| format!("LoRA r={}", lora.rank));
        let again = if options.gradient_checkpointing { ", checkpointing" } else { "" };
        let point = Point {
            name: format!("{precision}, {} tokens, {method}{again}", options.seq_len),
            precision,
            length: options.seq_len,
            gradient_checkpointing: options.gradient_checkpointing,
            lora,
            // Those of the other stack are read there.
            optimizer: options.optimizer.parse().unwrap_or_default(),
        };
        Ok(Self {
            config,
            file_bytes,
            points: vec![point],
            accumulation: options.accumulation.max(1),
            // The default of a study, and of Hugging Face's Trainer.
            max_grad_norm: Some(1.0),
            limit: LARGEST,
            tokens: options.tokens,
            is_counted: true,
            cards: vec![],
        })
    }
}

const PRECISION: &str = "`--precision` is `f32`, `bf16` or `f16`";

/// How the base lies in memory, if that was said.
fn with_base(
    options: &EstimateOptions,
    file_bytes: u64,
    lora: Option<LoraSettings>,
) -> Result<(u64, Option<LoraSettings>)> {
    let Some(name) = options.base_weights.as_deref() else { return Ok((file_bytes, lora)) };
    match name {
        "f32" => Ok((4, lora)),
        "bf16" | "f16" | "fp16" => Ok((2, lora)),
        // Only the other stack has it; it is read there.
        name if name.starts_with("nf4") => Ok((file_bytes, lora)),
        name => {
            let format: BlockFormat =
                name.parse().map_err(|error: String| UsageError::plain(&error, BASE))?;
            let lora = lora.ok_or_else(|| {
                UsageError::plain("`--base-weights` without adapters", "add `--method lora`")
            })?;
            Ok((file_bytes, Some(LoraSettings { quantize_base: Some(format), ..lora })))
        }
    }
}

const BASE: &str =
    "`--base-weights` is `f32`, `bf16`, `f16`, `q8_0`, `q4_k`, `q4_0` or, with `--stack transformers`, `nf4`";

/// A model's configuration, and the bytes of a value in its file: by the weights where they are, else by what the
/// configuration says. Nothing but `config.json` is fetched.
fn config_of(typed: &str, path: &Path) -> Result<(ModelConfig, u64)> {
    let file = match Source::find(typed, path)? {
        Source::Local(file) if quantize::is_gguf(&file) => {
            return Ok((quantize::read(&file)?.config, 2));
        }
        Source::Local(path) if path.is_dir() => {
            let config = model::read_config(&path)?;
            let weights = model::TensorFiles::of_model(&path).ok();
            let stored = weights.map(|files| files.dtype().size_in_bytes() as u64);
            let bytes = stored.unwrap_or_else(|| config.stored_bytes());
            return Ok((config, bytes));
        }
        Source::Local(file) => file,
        Source::Hub(spec) => {
            let mut progress = Progress::new(false);
            let mut show = |event: HubEvent<'_>| {
                progress.hub(event);
                ControlFlow::Continue(())
            };
            let file = Hub::from_env().fetch_config(&spec, &mut show);
            progress.finish();
            file?
        }
    };
    let text =
        std::fs::read_to_string(&file).map_err(|source| ModelError::Io { file: file.clone(), source })?;
    let config = ModelConfig::from_json(&text).map_err(|source| ModelError::Config { file, source })?;
    let bytes = config.stored_bytes();
    Ok((config, bytes))
}
