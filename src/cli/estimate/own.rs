//! A point as this program trains it.

use anyhow::Result;

use super::asked::{Asked, Point};
use crate::cli::args::EstimateOptions;
use crate::cli::usage::UsageError;
use crate::memory::{OwnCore, TrainingSetup};
use crate::space::Optimizer;

/// Memory of our own core.
pub(super) fn stack<'a>(
    options: &EstimateOptions,
    asked: &'a Asked,
    point: &'a Point,
) -> Result<OwnCore<'a>> {
    if options.base_weights.as_deref().is_some_and(|name| name.starts_with("nf4")) {
        let hint = "use `q4_k`, or add `--stack transformers`";
        return Err(UsageError::plain("`nf4` is a format of bitsandbytes", hint).into());
    }
    if options.study.is_none() {
        let name = &options.optimizer;
        name.parse::<Optimizer>().map_err(|_| {
            UsageError::plain(&format!("`{name}` is no optimizer of this program"), OPTIMIZER)
        })?;
    }
    let setup = TrainingSetup {
        config: &asked.config,
        precision: point.precision,
        lora: point.lora.as_ref(),
        file_bytes: asked.file_bytes,
        optimizer: point.optimizer,
        gradient_checkpointing: point.gradient_checkpointing,
        keeps_gradients: TrainingSetup::keeps_gradients(
            point.precision,
            asked.accumulation,
            asked.max_grad_norm,
        ),
    };
    Ok(OwnCore { setup, length: point.length.saturating_sub(1).max(1) })
}

const OPTIMIZER: &str = "use `adamw` or `adamw_8bit`";
