//! Base, tuned and quantized models side by side.

use maud::{Markup, html};

use super::headline::size_ratio;
use super::tables::table;
use crate::report::numbers;
use crate::report::{QuantizedRow, StudyReport, TunedModel};

/// The table of models.
pub(super) fn section(report: &StudyReport) -> Markup {
    let columns = ["model", "test loss#", "Δ to tuned#", "perplexity#", "size#", "of tuned#", "file"];
    html! {
        section {
            h2 { "Models" }
            @if report.tuned.is_none() && report.quantized.is_empty() {
                p.absent { (report.untested.as_deref().unwrap_or("No model has been tested yet.")) }
            } @else {
                (table(&columns, &html! {
                    @if let Some(tuned) = &report.tuned { (base_row(tuned)) (tuned_row(tuned)) }
                    @for row in &report.quantized { (quantized_row(report.tuned.as_ref(), row)) }
                }))
                p.note { "Losses are nats per scored token on the test split." }
                @if report.quantized.is_empty() { p.note { "No quantized file was made." } }
            }
        }
    }
}

fn base_row(tuned: &TunedModel) -> Markup {
    html! {
        tr {
            th scope="row" { "base" }
            td.n { (numbers::loss(tuned.base_test_loss_nats)) }
            td.n { (numbers::difference(tuned.base_test_loss_nats - tuned.test_loss_nats)) }
            td.n { (numbers::perplexity(tuned.base_test_loss_nats)) }
            td.n { "–" }
            td.n { "–" }
            td { "–" }
        }
    }
}

fn tuned_row(tuned: &TunedModel) -> Markup {
    html! {
        tr.best {
            th scope="row" { "tuned" }
            td.n { (numbers::loss(tuned.test_loss_nats)) }
            td.n { "–" }
            td.n { (numbers::perplexity(tuned.test_loss_nats)) }
            td.n { (tuned.bytes) }
            td.n { "1.00×" }
            td.path { (tuned.path) }
        }
    }
}

fn quantized_row(tuned: Option<&TunedModel>, row: &QuantizedRow) -> Markup {
    let dash = || "–".to_owned();
    let difference =
        tuned.map_or_else(dash, |tuned| numbers::difference(row.test_loss_nats - tuned.test_loss_nats));
    let ratio = tuned.map_or_else(dash, |tuned| size_ratio(row.bytes, tuned.bytes));
    html! {
        tr {
            th scope="row" { (row.gguf_type) }
            td.n { (numbers::loss(row.test_loss_nats)) }
            td.n { (difference) }
            td.n { (numbers::perplexity(row.test_loss_nats)) }
            td.n { (row.bytes) }
            td.n { (ratio) }
            td.path { (row.path) }
        }
    }
}
