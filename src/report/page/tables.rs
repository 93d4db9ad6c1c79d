//! A table in its frame, and the feasibility frontier.

use maud::{Markup, html};

use crate::report::numbers;
use crate::report::{FrontierRow, StudyReport};
use crate::space::Precision;
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

/// What fits, by precision.
pub(super) fn frontier(report: &StudyReport) -> Markup {
    let columns = [
        "precision",
        "largest micro-batch#",
        "saturates at#",
        "peak at the largest#",
        "of the cap#",
        "tokens/s where it saturates#",
        "probes#",
    ];
    let nothing: Vec<Precision> =
        Precision::ALL.into_iter().filter(|precision| fits_nothing(report, *precision)).collect();
    html! {
        section {
            h2 { "What fits" }
            @if report.frontier.is_empty() && nothing.is_empty() {
                p.absent { "No micro-batch has been probed." }
            } @else {
                (table(&columns, &html! {
                    @for row in &report.frontier { (frontier_row(report, row)) }
                    @for precision in nothing { (nothing_row(report, precision)) }
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
            th scope="row" { (row.precision) }
            td.n {
                @if row.is_lower_bound { "≥ " }
                (numbers::count(row.max_micro_batch_size))
            }
            td.n { (numbers::count(row.knee_micro_batch_size)) }
            td.n { (row.peak_bytes) }
            td.n { (share_of_cap(report, row)) }
            td.n { (numbers::rate(row.tokens_per_second)) }
            td.n { (numbers::count(row.probes)) }
        }
    }
}

fn nothing_row(report: &StudyReport, precision: Precision) -> Markup {
    let probes = report.probes.iter().filter(|probe| probe.precision == precision).count();
    html! {
        tr {
            th scope="row" { (precision) }
            td colspan="5" { "no micro-batch fits" }
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

/// Whether the precision was probed and each probe refused.
fn fits_nothing(report: &StudyReport, precision: Precision) -> bool {
    let has_row = report.frontier.iter().any(|row| row.precision == precision);
    let mut probes = report.probes.iter().filter(|probe| probe.precision == precision).peekable();
    !has_row
        && probes.peek().is_some()
        && probes.all(|probe| matches!(probe.outcome, Outcome::OutOfMemory { .. }))
}
