//! How the winner was told from the next best.

use maud::{Markup, html};

use super::tables::table;
use crate::report::numbers;
use crate::report::{ConfirmationTable, ContestRow, StudyReport, outcomes};
use crate::trial::{Confirmation, Outcome};
use crate::units::grouped;

/// Sentence and tables; nothing where there was nothing to compare.
pub(super) fn section(report: &StudyReport) -> Markup {
    html! {
        @if let Some(confirmation) = &report.confirmation {
            section {
                h2 { "Confirmation" }
                p { (sentence(&confirmation.sentence)) }
                @if !confirmation.contests.is_empty() { (contests(confirmation)) }
                @if !confirmation.runs.is_empty() { (runs(confirmation)) }
            }
        }
    }
}

/// It begins with a capital letter here.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn contests(confirmation: &ConfirmationTable) -> Markup {
    let columns = ["leader", "rival", "runs of each#", "leader lower by#", "interval#", ""];
    html! {
        (table(&columns, &html! { @for row in &confirmation.contests { (contest(row)) } }))
        p.note {
            "Nats per token on the same validation examples, in pairs. The interval holds the true difference in 95 of 100 cases, by drawing examples, and runs where there are several, anew. Where one of both ran but once, it allows for what another seed changed in runs of the quickstart."
        }
    }
}

fn contest(row: &ContestRow) -> Markup {
    let [leader, rival] = row.runs;
    html! {
        tr {
            th scope="row" { "trial " (row.leader) }
            td { "trial " (row.rival) }
            td.n { (numbers::count(leader)) " and " (numbers::count(rival)) }
            td.n { (numbers::scaled(row.difference_nats, 4)) }
            td.n { (numbers::scaled(row.low, 4)) " … " (numbers::scaled(row.high, 4)) }
            td { (bar(row)) }
        }
    }
}

/// Half the width of the drawing, in its units, and its height.
const HALF: f64 = 100.0;
const HEIGHT: f64 = 20.0;

/// The interval as a line with the difference as a dot, beside a stroke at zero.
fn bar(row: &ContestRow) -> Markup {
    let ends = [row.low, row.high, row.difference_nats];
    let furthest = ends.into_iter().map(f64::abs).fold(0.0, f64::max);
    if !(ends.into_iter().all(f64::is_finite) && furthest > 0.0) {
        return html! {};
    }
    let place = |nats: f64| format!("{:.1}", HALF + 0.95 * HALF * nats / furthest);
    let middle = HEIGHT / 2.0;
    let name = format!("interval of trial {} against trial {}", row.leader, row.rival);
    html! {
        svg role="img" aria-label=(name) width=(2.0 * HALF) height=(HEIGHT) viewBox=(format!("0 0 {} {HEIGHT}", 2.0 * HALF)) {
            line x1=(HALF) x2=(HALF) y1="0" y2=(HEIGHT) stroke="currentColor" stroke-dasharray="2 3" {}
            line x1=(place(row.low)) x2=(place(row.high)) y1=(middle) y2=(middle) stroke="currentColor" stroke-width="2" {}
            circle cx=(place(row.difference_nats)) cy=(middle) r="4" fill="currentColor" {}
        }
    }
}

fn runs(confirmation: &ConfirmationTable) -> Markup {
    let columns = ["trial#", "rung#", "seed#", "loss#", "outcome"];
    html! {
        (table(&columns, &html! { @for one in &confirmation.runs { (run(one)) } }))
        p.note { "The same once more from the beginning, by another seed." }
    }
}

fn run(one: &Confirmation) -> Markup {
    let loss = one.record.measurement.eval_loss_nats().filter(|_| one.record.outcome == Outcome::Finished);
    html! {
        tr {
            td.n { (one.trial) }
            td.n { (one.record.rung) }
            td.n { (grouped(one.seed)) }
            td.n { (loss.map_or_else(|| "–".to_owned(), numbers::loss)) }
            td { (outcomes::describe(&one.record.outcome)) }
        }
    }
}
