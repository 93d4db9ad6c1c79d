//! A table in its frame, and the feasibility frontier.

use std::collections::HashSet;

use maud::{Markup, html};

use crate::report::numbers;
use crate::report::{FrontierRow, StudyReport};
use crate::space::HardwareSetting;
use crate::trial::Outcome;

/// A table that scrolls by itself where it is wider than the page. Numeric columns end in `#`.
pub(super) fn table(columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column.strip_suffix('#') {
                                Some(name) => th.n scope="col" { (name) },
                                None => th scope="col" { (column) },
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// What fits, by setting.
pub(super) fn frontier(report: &StudyReport) -> Markup {
    let columns = [
        "setting",
        "largest micro-batch#",
        "in evaluation#",
        "saturates at#",
        "peak at the largest#",
        "of the cap#",
        "tokens/s where it saturates#",
        "probes#",
    ];
    let nothing = without_row(report);
    html! {
        section {
            h2 { "What fits" }
            @if report.frontier.is_empty() && nothing.is_empty() {
                p.absent { "No micro-batch has been probed." }
            } @else {
                (table(&columns, &html! {
                    @for row in &report.frontier { (frontier_row(report, row)) }
                    @for setting in nothing { (nothing_row(report, setting)) }
                }))
                p.note {
                    "Every size shown was run at the longest examples, with an optimizer step, an evaluation and a checkpoint."
                    @if report.frontier.iter().any(|row| row.is_lower_bound) {
                        " ≥: the search ended there, at the largest size worth trying."
                    }
                }
            }
        }
    }
}

fn frontier_row(report: &StudyReport, row: &FrontierRow) -> Markup {
    html! {
        tr {
            th scope="row" { (row.setting) }
            td.n {
                @if row.is_lower_bound { "≥ " }
                (numbers::count(row.max_micro_batch_size))
            }
            td.n { (numbers::count(row.max_eval_micro_batch_size)) }
            td.n { (numbers::count(row.knee_micro_batch_size)) }
            td.n { (row.peak_bytes) }
            td.n { (share_of_cap(report, row)) }
            td.n { (numbers::rate(row.tokens_per_second)) }
            td.n { (numbers::count(row.probes)) }
        }
    }
}

fn nothing_row(report: &StudyReport, setting: HardwareSetting) -> Markup {
    let probes = report.probes.iter().filter(|probe| probe.setting == setting).count();
    html! {
        tr {
            th scope="row" { (setting) }
            td colspan="6" { "no micro-batch fits" }
            td.n { (numbers::count(probes)) }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
fn share_of_cap(report: &StudyReport, row: &FrontierRow) -> String {
    match report.provenance.cap {
        Some(cap) if cap.0 > 0 => {
            format!("{} %", numbers::scaled(100.0 * row.peak_bytes.0 as f64 / cap.0 as f64, 0))
        }
        _ => "–".to_owned(),
    }
}

/// The settings that were probed and each probe refused.
fn without_row(report: &StudyReport) -> Vec<HardwareSetting> {
    let mut settings: Vec<HardwareSetting> = report.probes.iter().map(|probe| probe.setting).collect();
    let mut seen = HashSet::new();
    settings.retain(|setting| seen.insert(*setting));
    let has_row = |setting| report.frontier.iter().any(|row| row.setting == setting);
    let refused = |setting| {
        let mut own = report.probes.iter().filter(|probe| probe.setting == setting);
        own.all(|probe| matches!(probe.outcome, Outcome::OutOfMemory { .. }))
    };
    settings.retain(|setting| !has_row(*setting) && refused(*setting));
    settings
}
