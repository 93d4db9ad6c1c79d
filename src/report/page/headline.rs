//! The numbers that matter, first.

use maud::{Markup, html};

use crate::report::numbers;
use crate::report::summary::reached;
use crate::report::{FrontierRow, StudyReport, TunedModel};
use crate::trial::Trial;
use crate::units::Bytes;

/// Rows of the frontier that a card has room for.
const MOST_ROWS: usize = 3;

/// Name of the study, and what it was about in one line.
pub(super) fn header(report: &StudyReport) -> Markup {
    html! {
        header {
            h1 { (report.study) }
            p {
                (report.model.source) " (" (numbers::parameters(report.model.parameters)) " parameters) on "
                (report.data.source) " · " (report.provenance.device) " · " (report.provenance.date)
            }
        }
    }
}

/// One card a question.
pub(super) fn cards(report: &StudyReport) -> Markup {
    html! {
        section.cards {
            (loss(report))
            (best(report))
            (micro_batch(report))
            (effort(report))
        }
    }
}

fn card(question: &str, answer: &Markup, notes: &[Markup]) -> Markup {
    html! {
        div.card {
            h2 { (question) }
            p.answer { (answer) }
            @for note in notes { p.note { (note) } }
        }
    }
}

fn loss(report: &StudyReport) -> Markup {
    let question = "Test loss, base → tuned";
    let Some(tuned) = &report.tuned else {
        return card(question, &html! { "–" }, &[html! { "The full run has not been tested yet." }]);
    };
    let (base, after) = (tuned.base_test_loss_nats, tuned.test_loss_nats);
    let change = html! {
        (numbers::difference(after - base)) " nats per token"
        @if after >= base { ": no improvement" }
    };
    let perplexity = html! {
        "perplexity " (numbers::perplexity(base)) " → " (numbers::perplexity(after))
        ", on " (numbers::count(report.data.test)) " examples no trial has seen"
    };
    let mut notes = vec![change, perplexity];
    notes.extend(report.cut_short.as_ref().map(|cut| html! { (cut) }));
    notes.extend(smallest(report, tuned));
    card(question, &html! { (numbers::loss(base)) " → " strong { (numbers::loss(after)) } }, &notes)
}

/// The smallest quantized file and what it costs.
fn smallest(report: &StudyReport, tuned: &TunedModel) -> Option<Markup> {
    let row = report.quantized.iter().min_by_key(|row| row.bytes)?;
    Some(html! {
        "smallest file: " (row.gguf_type) ", " (row.bytes) " (" (size_ratio(row.bytes, tuned.bytes)) "), "
        (numbers::difference(row.test_loss_nats - tuned.test_loss_nats)) " nats"
    })
}

/// A file's size next to that of the tuned model.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
pub(super) fn size_ratio(bytes: Bytes, tuned: Bytes) -> String {
    if tuned.0 == 0 { "–".to_owned() } else { numbers::ratio(bytes.0 as f64 / tuned.0 as f64) }
}

fn best(report: &StudyReport) -> Markup {
    let question = "Best hyperparameters";
    let Some(trial) = report.best_trial() else {
        return card(question, &html! { "–" }, &[html! { "No trial has been chosen." }]);
    };
    let batch = trial.hyperparams.batch;
    let answer =
        html! { "learning rate " strong { (numbers::learning_rate(trial.hyperparams.learning_rate)) } };
    let plan = html! {
        "effective batch " (batch.effective_batch_size()) " (micro-batch " (batch.micro_batch_size)
        " × accumulation " (batch.gradient_accumulation_steps) "), " (trial.hyperparams.precision)
    };
    card(question, &answer, &[plan, origin(trial)])
}

fn origin(trial: &Trial) -> Markup {
    html! {
        "trial " (trial.id)
        @if let Some(reached) = reached(trial) {
            ", validation loss " (numbers::loss(reached.loss_nats)) " at rung " (reached.rung)
        }
    }
}

fn micro_batch(report: &StudyReport) -> Markup {
    let question = "Largest micro-batch that fits";
    let answer = html! {
        @for (index, row) in shown(report).enumerate() {
            @if index > 0 { " · " }
            @if row.is_lower_bound { "≥ " }
            strong { (numbers::count(row.max_micro_batch_size)) } " " small { (row.setting) }
        }
        @if report.frontier.is_empty() { "–" }
    };
    let knees = html! {
        @for (index, row) in shown(report).enumerate() {
            @if index > 0 { " · " } @else { "saturates at " }
            (numbers::count(row.knee_micro_batch_size)) " (" (row.setting) ", "
            (numbers::rate(row.tokens_per_second)) " tokens/s)"
        }
    };
    let cap = html! {
        @match report.provenance.cap {
            Some(cap) => { "under a cap of " (cap) },
            None => "no cap was set",
        }
    };
    card(question, &answer, &[knees, cap])
}

/// The first rows are those of the trials.
fn shown(report: &StudyReport) -> impl Iterator<Item = &FrontierRow> {
    report.frontier.iter().take(MOST_ROWS)
}

fn effort(report: &StudyReport) -> Markup {
    let trials = &report.history.trials;
    let failed = trials.iter().filter(|trial| trial.has_failed()).count();
    let rungs: usize = trials.iter().map(|trial| trial.rungs.len()).sum();
    let answer = html! { strong { (numbers::count(trials.len())) } @if trials.len() == 1 { " trial" } @else { " trials" } };
    let parts = html! {
        (numbers::count(rungs)) " rungs run, " (numbers::count(failed)) " failed, "
        (numbers::count(report.probes.len())) " probes"
    };
    let time = html! { (numbers::duration(report.provenance.wall_seconds)) " in all" };
    let mut notes = vec![parts, time];
    notes.extend(report.stopped.as_ref().map(|reason| html! { "stopped: " (reason) }));
    card("What it took", &answer, &notes)
}
