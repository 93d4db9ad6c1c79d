//! Values as text for a person.

use std::fmt::Write;

use crate::search::FrontierPoint;
use crate::space::Hyperparams;
use crate::study::Summary;

/// One configuration on one line.
pub(super) fn point(hyperparams: &Hyperparams) -> String {
    let batch = hyperparams.batch;
    format!(
        "{:<5} batch {:>3} = {} × {}  learning rate {:.2e}",
        hyperparams.precision,
        batch.effective_batch_size(),
        batch.micro_batch_size,
        batch.gradient_accumulation_steps,
        hyperparams.learning_rate,
    )
}

/// The feasibility frontier.
pub(super) fn frontier(frontier: &[FrontierPoint]) -> String {
    let names: Vec<String> = frontier.iter().map(|point| point.setting.to_string()).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("setting".len());
    let mut text = format!("  {:<wide$}  largest  eval  knee       peak  tokens/s  probes", "setting");
    for (point, name) in frontier.iter().zip(names) {
        let _ = write!(
            text,
            "\n  {name:<wide$}  {:>7}  {:>4}  {:>4}  {:>9}  {:>8.0}  {:>6}",
            point.max_micro_batch,
            point.max_eval_micro_batch,
            point.knee_micro_batch,
            point.peak_bytes.to_string(),
            point.tokens_per_second,
            point.probes,
        );
    }
    text
}

/// What a study found.
pub(super) fn summary(summary: &Summary) -> String {
    let mut text = format!("\n{} on {}\n", summary.study, summary.device);
    if !summary.frontier.is_empty() {
        let _ = writeln!(text, "\n{}", frontier(&summary.frontier));
    }
    if !summary.trials.is_empty() {
        let counts: Vec<String> = summary
            .trials
            .iter()
            .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
            .collect();
        let _ = writeln!(text, "\n  trials     {}", counts.join(", "));
    }
    if let Some(best) = &summary.best {
        let point = point(&best.hyperparameters);
        let _ = writeln!(
            text,
            "  best       trial {}: {point}  eval loss {:.4}",
            best.trial, best.eval_loss_nats
        );
    }
    if let Some(confirmation) = &summary.confirmation {
        let runs = confirmation.runs.len();
        let by = if runs == 0 { String::new() } else { format!(", {runs} runs by other seeds") };
        let _ = writeln!(text, "  confirmed  {}{by}", confirmation.sentence);
    }
    if let Some(cut) = &summary.cut_short {
        let _ = writeln!(text, "  cut short  {cut}");
    }
    if let Some(reason) = &summary.stopped {
        let _ = writeln!(text, "  stopped    {reason}");
    }
    if let Some(losses) = &summary.test_loss_nats {
        let (base, tuned) = (losses.base, losses.tuned);
        let _ = writeln!(
            text,
            "  test loss  {base:.4} → {tuned:.4} nats per token (perplexity {:.1} → {:.1})",
            base.exp(),
            tuned.exp()
        );
        for file in &summary.quantized {
            let cost = file.test_loss_nats - tuned;
            let _ = writeln!(
                text,
                "  {:<9}  {:.4} ({cost:+.4})  {:>9}  {}",
                file.gguf_type,
                file.test_loss_nats,
                file.bytes.to_string(),
                file.path.display()
            );
        }
    }
    if let Some(report) = &summary.report {
        let _ = writeln!(text, "  report     {}", report.display());
    }
    let _ = write!(text, "  time       {:.0} s", summary.wall_seconds);
    text
}
