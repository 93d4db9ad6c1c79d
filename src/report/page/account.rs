//! The account: what became of the data, which settings were used, where the numbers come from.

use maud::{Markup, html};

use super::tables::table;
use crate::report::numbers;
use crate::report::{Setting, StudyReport};
use crate::units::grouped;

/// What became of the rows.
pub(super) fn data(report: &StudyReport) -> Markup {
    let data = &report.data;
    if data.kept == 0 && data.train > 0 {
        let examples = numbers::count(data.train);
        return html! {
            section { h2 { "Data" } p { "The data are the trainer's own: " (examples) " examples an epoch." } }
        };
    }
    let rows = [
        ("rows read", data.rows_read, ""),
        ("empty", data.empty, "dropped"),
        ("duplicate", data.duplicate, "dropped"),
        ("too long", data.too_long, "dropped"),
        ("kept", data.kept, ""),
        ("training", data.train, "trains the model"),
        ("validation", data.validation, "steers the search"),
        ("test", data.test, "seen only at the end"),
    ];
    html! {
        section {
            h2 { "Data" }
            (table(&["rows", "number#", "what became of them"], &html! {
                @for (name, number, fate) in rows {
                    tr {
                        th scope="row" { (name) }
                        td.n { (numbers::count(number)) }
                        td { (fate) }
                    }
                }
            }))
        }
    }
}

/// Every setting, with those left at their defaults marked.
pub(super) fn settings(report: &StudyReport) -> Markup {
    html! {
        section {
            h2 { "Settings" }
            @if report.settings.is_empty() {
                p.absent { "No settings were recorded." }
            } @else {
                (table(&["key", "value", "from"], &html! {
                    @for setting in &report.settings { (setting_row(setting)) }
                }))
            }
        }
    }
}

fn setting_row(setting: &Setting) -> Markup {
    html! {
        tr {
            th.path scope="row" { (setting.key) }
            td.path { (setting.value) }
            td { @if setting.is_default { span.default { "default" } } @else { "study file" } }
        }
    }
}

/// Seed, device, version, digests and date.
pub(super) fn provenance(report: &StudyReport) -> Markup {
    let (provenance, model) = (&report.provenance, &report.model);
    let cap = provenance.cap.map_or_else(|| "none".to_owned(), |cap| cap.to_string());
    let shape = format!(
        "{} parameters, vocabulary {}, {} layers of width {}",
        grouped(model.parameters),
        numbers::count(model.vocabulary),
        numbers::count(model.layers),
        numbers::count(model.hidden)
    );
    let rows = [
        ("seed", provenance.seed.to_string()),
        ("device", provenance.device.clone()),
        ("memory cap", cap),
        ("diapason", provenance.version.clone()),
        ("date", provenance.date.clone()),
        ("wall-clock time", numbers::duration(provenance.wall_seconds)),
        ("base model", model.source.clone()),
        ("its shape", shape),
        ("its digest", model.digest.clone()),
        ("data", report.data.source.clone()),
        ("its digest", report.data.digest.clone()),
    ];
    html! {
        section {
            h2 { "Provenance" }
            dl {
                @for (name, value) in rows { dt { (name) } dd { (value) } }
            }
        }
    }
}
