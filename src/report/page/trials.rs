//! All trials, best first.

use maud::{Markup, html};

use super::tables::table;
use crate::report::StudyReport;
use crate::report::{numbers, outcomes, shown};
use crate::trial::{Outcome, Power, Trial};
use crate::units::Bytes;

/// The table of trials: highest rung first, then lowest loss; those without a loss at the end.
pub(super) fn section(report: &StudyReport) -> Markup {
    let rungs = rungs(report);
    let losses: Vec<String> = rungs.iter().map(|rung| format!("loss at rung {rung}#")).collect();
    let mut columns =
        vec!["trial#", "precision", "effective batch#", "micro × accumulation#", "learning rate#"];
    columns.extend(losses.iter().map(String::as_str));
    let tells_noise = report.history.trials.iter().any(|trial| trial.critical_batch_size().is_some());
    if tells_noise {
        columns.push("critical batch#");
    }
    columns.extend(["tokens/s#", "peak#"]);
    let powers: Vec<Power> = report.history.trials.iter().filter_map(Trial::power).collect();
    let tells = Tells { noise: tells_noise, power: !powers.is_empty() };
    if tells.power {
        columns.push("energy#");
    }
    columns.push("outcome");
    html! {
        section {
            h2 { "Trials" }
            @if report.history.trials.is_empty() {
                p.absent { "No trial has been suggested yet." }
            } @else {
                div.tall {
                    (table(&columns, &html! {
                        @for trial in shown::ranked(&report.history).into_iter().take(shown::ROWS) { (row(report, trial, &rungs, tells)) }
                    }))
                }
                p.note {
                    @if report.history.trials.len() > shown::ROWS {
                        "The best " (numbers::count(shown::ROWS)) " of "
                        (numbers::count(report.history.trials.len())) " trials; the study's database has all of them. "
                    }
                    "Highest rung first, then lowest loss. Losses are nats per token on validation examples; a loss is kept where a later rung failed."
                    @if tells_noise {
                        " The critical batch is the effective size, in examples, up to which a larger batch nearly pays for itself, by the noise of the trial's gradients; only steps of several micro-batches tell of it. Where examples differ much in length it comes out too low."
                    }
                    @if let Some(power) = powers.into_iter().reduce(|all, one| all.and(&one)) { (energy_note(&power)) }
                }
            }
        }
    }
}

/// Columns that are there only where something stands in them.
#[derive(Clone, Copy)]
struct Tells {
    noise: bool,
    power: bool,
}

fn energy_note(power: &Power) -> Markup {
    let slowed: Vec<&str> = power.slowed.iter().map(|slowdown| slowdown.name()).collect();
    html! {
        " Energy is that of the whole card while a trial ran, " (numbers::energy(power.joules)) " for all trials"
        @if let Some(watts) = power.watts() { ", " (numbers::rate(watts)) " W on average" }
        @if let Some(celsius) = power.max_celsius { ", " (celsius) " °C at the most" }
        "."
        @if !slowed.is_empty() { " At times the card was slowed by: " (slowed.join(", ")) "." }
    }
}

/// The rungs that any trial has ended.
fn rungs(report: &StudyReport) -> Vec<u32> {
    let records = report.history.trials.iter().flat_map(|trial| &trial.rungs);
    let mut rungs: Vec<u32> = records.map(|record| record.rung).collect();
    rungs.sort_unstable();
    rungs.dedup();
    rungs
}

fn row(report: &StudyReport, trial: &Trial, rungs: &[u32], tells: Tells) -> Markup {
    let batch = trial.hyperparams.batch;
    let class =
        if Some(trial.id) == report.best { Some("best") } else { trial.has_failed().then_some("failed") };
    html! {
        tr class=[class] {
            th.n scope="row" { (trial.id) }
            td { (trial.hyperparams.precision) }
            td.n { (batch.effective_batch_size()) }
            td.n { (batch.micro_batch_size) " × " (batch.gradient_accumulation_steps) }
            td.n { (numbers::learning_rate(trial.hyperparams.learning_rate)) }
            @for rung in rungs {
                td.n { (trial.loss_at(*rung).map_or_else(String::new, numbers::loss)) }
            }
            @if tells.noise { td.n { (critical_batch(trial)) } }
            td.n { (speed(trial)) }
            td.n { (peak(trial)) }
            @if tells.power { td.n { (energy(trial)) } }
            td.outcome { (outcomes::describe_trial(trial)) @if Some(trial.id) == report.best { " · best" } }
        }
    }
}

/// To the nearest example: the estimate is no better.
fn critical_batch(trial: &Trial) -> String {
    trial.critical_batch_size().map_or_else(|| "–".to_owned(), |size| numbers::scaled(size, 0))
}

/// Throughput of the longest rung that was timed.
fn speed(trial: &Trial) -> String {
    let timed = trial.rungs.iter().max_by_key(|record| record.measurement.totals().steps);
    let speed = timed.and_then(|record| record.measurement.tokens_per_second());
    speed.map_or_else(|| "–".to_owned(), numbers::rate)
}

fn energy(trial: &Trial) -> String {
    trial.power().map_or_else(|| "–".to_owned(), |power| numbers::energy(power.joules))
}

/// The highest peak of any rung; an out-of-memory's last word where nothing else is known.
fn peak(trial: &Trial) -> String {
    let measured = trial.rungs.iter().map(|record| record.measurement.peak_bytes()).max();
    let held = trial.last().map(|record| match record.outcome {
        Outcome::OutOfMemory { live, .. } => live,
        _ => Bytes::default(),
    });
    let peak = measured.max(held).unwrap_or_default();
    if peak.0 == 0 { "–".to_owned() } else { peak.to_string() }
}
