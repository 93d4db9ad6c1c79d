//! What is said of an event that moves no bar: one line, or a few.

use super::progress::{name, title};
use super::tables;
use crate::study::StudyEvent;
use crate::units::grouped;

/// The line of an event; none where a bar or nothing shows it.
pub(super) fn sentence(event: StudyEvent<'_>) -> Option<String> {
    Some(match event {
        StudyEvent::Stage(stage) => format!("\n{}", title(stage)),
        StudyEvent::ModelReady { parameters, folder } => {
            format!("  model  {} · {} parameters", folder.display(), grouped(parameters))
        }
        StudyEvent::DataReady { report, splits: [train, validation, test] } => format!(
            "  data   {report}\n         {train} to train on, {validation} to validate, {test} to test"
        ),
        StudyEvent::OwnData { examples } => {
            format!("  model and data are the trainer's own: {examples} examples an epoch")
        }
        StudyEvent::LessFree { free, cap } => {
            format!("  {free} of the cap's {cap} are free: the next probe may hold no more")
        }
        StudyEvent::Frontier(frontier) => tables::frontier(frontier),
        StudyEvent::Retried { trials } => format!("  failed trials to be tried again: {trials}"),
        StudyEvent::Waits { run, free, needed } => {
            format!("  {}  waits: it needs {needed}, others leave {free} free", name(run))
        }
        StudyEvent::GaveUp { trials, bytes } => {
            let of = if trials == 1 { "the least promising trial" } else { "the least promising trials" };
            format!("  the disk is short: removed {trials} checkpoints of {of}, {bytes}")
        }
        StudyEvent::Together { ranks: 1, devices, each } => format!(
            "  the full run has one of {devices} devices: no number of them can share a step of {} examples evenly",
            each.effective_batch_size()
        ),
        StudyEvent::Together { ranks, devices, each } => format!(
            "  the full run has {ranks} of {devices} devices: {} × {} examples a step on each",
            each.micro_batch_size, each.gradient_accumulation_steps
        ),
        StudyEvent::OutOfService { device, failures, reason } => {
            format!("  {device} is out of service: {failures} runs in a row failed: {reason}")
        }
        StudyEvent::CutOff { run } => format!("  {}  cut off: its time is up", name(run)),
        StudyEvent::CutShort(cut) => format!("  {cut}"),
        StudyEvent::LeftOut { what, why } => format!("  left out: {what}: {why}"),
        StudyEvent::Stopped(reason) => format!("  stopped: {reason}"),
        StudyEvent::Decided(decision) => format!("  {decision}"),
        StudyEvent::Evaluated { name, loss_nats } => format!("  {name:<8} test loss {loss_nats:.4}"),
        StudyEvent::Quantized { path, bytes, warnings } => {
            let mut lines = vec![format!("  {} · {bytes}", path.display())];
            lines.extend(warnings.iter().map(|warning| format!("  warning: {warning}")));
            lines.join("\n")
        }
        StudyEvent::ReportWritten(page) => format!("  {}", page.display()),
        _ => return None,
    })
}
