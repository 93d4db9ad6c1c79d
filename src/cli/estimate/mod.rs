//! `estimate`: what cards that are not here would do with a run.

mod asked;
mod own;
mod table;
mod transformers;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::args::{EstimateOptions, StackName};
use super::exit::NOTHING_FITS;
use super::print;
use crate::memory::gpu::{self, Gpu};
use crate::memory::roofline::{self, Estimate, Run};
use crate::memory::{Answer, Stack, answer};
use asked::{Asked, Point};

/// One setting on one card.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Who trains.
    stack: &'static str,
    /// What varies between the settings of a study.
    setting: String,
    #[serde(flatten)]
    answer: Answer,
    /// Tokens in a second, by the roofline: an estimate.
    tokens_per_second: f64,
    /// Hours of the full run, where its tokens are known.
    hours: Option<f64>,
    /// Tokens of the full run.
    tokens: Option<u64>,
    /// What of the run the card can't do as asked.
    warnings: Vec<String>,
    #[serde(skip)]
    card: Gpu,
}

/// Answers for every setting and card, prints, and says by the exit code whether anything fits.
pub(super) fn run(options: &EstimateOptions) -> Result<ExitCode> {
    let asked = Asked::read(options)?;
    let cards = gpu::select(&options.gpu, &asked.cards)?;
    let mut rows = Vec::new();
    for point in &asked.points {
        for card in &cards {
            rows.push(row(options, &asked, point, card)?);
        }
    }
    // What fits comes first, the fastest first.
    rows.sort_by(|a, b| {
        b.answer.fits.cmp(&a.answer.fits).then(b.tokens_per_second.total_cmp(&a.tokens_per_second))
    });
    if options.json {
        rows.iter().try_for_each(|row| print(&serde_json::to_string(row)?))?;
    } else {
        print(&table::text(&asked, &rows))?;
    }
    let any = rows.iter().any(|row| row.answer.fits);
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::from(NOTHING_FITS) })
}

fn row(options: &EstimateOptions, asked: &Asked, point: &Point, card: &Gpu) -> Result<Row> {
    let stack: Box<dyn Stack + '_> = match options.stack {
        StackName::Diapason => Box::new(own::stack(options, asked, point)?),
        StackName::Transformers => Box::new(transformers::stack(options, asked, point)?),
    };
    let answer = answer(&*stack, card, options.micro_batch, options.margin, asked.limit);
    let estimate = speed(options, asked, point, card, answer.micro_batch_size);
    let tokens = asked.tokens;
    Ok(Row {
        stack: match options.stack {
            StackName::Diapason => "diapason",
            StackName::Transformers => "transformers",
        },
        setting: point.name.clone(),
        tokens_per_second: estimate.tokens_per_second,
        hours: tokens.map(|tokens| estimate.hours(tokens)),
        tokens,
        warnings: estimate.warnings.iter().map(ToString::to_string).chain(stack.warnings(card)).collect(),
        answer,
        card: card.clone(),
    })
}

fn speed(
    options: &EstimateOptions,
    asked: &Asked,
    point: &Point,
    card: &Gpu,
    micro_batch: usize,
) -> Estimate {
    let operations = match options.stack {
        StackName::Diapason => roofline::Operations::Composed,
        StackName::Transformers => roofline::Operations::Fused,
    };
    let run = Run {
        config: &asked.config,
        precision: point.precision,
        optimizer: point.optimizer,
        lora: point.lora.as_ref(),
        recompute: point.gradient_checkpointing,
        micro_batch,
        sequence_length: point.length,
        gradient_accumulation_steps: asked.accumulation,
        operations,
    };
    roofline::estimate(&run, card)
}
