//! A study at one moment as lines of text.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::tables;
use crate::store::{EndedRun, RunningRun};
use crate::study::{Look, Plan, RungState};
use crate::trial::{Outcome, RunKey};

/// Cells of a bar.
const BAR: usize = 16;

/// All of it; times of day as clocks show them in `zone`.
pub(super) fn lines(look: &Look, zone: &TimeZone) -> Vec<String> {
    let mut lines = vec![head(look), String::new(), row("trials", &trials(look))];
    lines.extend(look.rungs.iter().map(rung));
    if let Some(best) = &look.summary.best {
        let point = tables::point(&best.hyperparameters);
        lines.push(row("best", &format!("trial {}  {point}  loss {:.4}", best.trial, best.eval_loss_nats)));
    }
    lines.push(row("memory", &memory(look)));
    lines.push(row("time", &time(look)));
    if !look.failures.is_empty() {
        let failures = look.failures.iter().map(|(name, count)| format!("{count} {name}"));
        lines.push(row("failures", &failures.collect::<Vec<_>>().join(", ")));
    }
    if let Some(reason) = &look.summary.stopped {
        lines.push(row("stopped", &reason.to_string()));
    }
    lines.extend(section("runs", look.running.iter().map(running)));
    lines.extend(section("log", look.log.iter().map(|one| ended(one, zone))));
    lines
}

fn head(look: &Look) -> String {
    let driven = look
        .driver
        .map_or_else(|| "nobody runs it".to_owned(), |process| format!("process {process} runs it"));
    format!("{} on {} · {driven}", look.summary.study, look.summary.device)
}

fn row(name: &str, text: &str) -> String {
    format!("  {name:<9} {text}")
}

/// An empty line, and the name before the first of the entries.
fn section(name: &str, entries: impl Iterator<Item = String>) -> Vec<String> {
    let named = entries.enumerate().map(|(place, text)| row(if place == 0 { name } else { "" }, &text));
    let mut lines: Vec<String> = named.collect();
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn trials(look: &Look) -> String {
    let counts = &look.summary.trials;
    let known: usize = counts.values().sum();
    let named = counts.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
    let named = named.collect::<Vec<_>>().join(", ");
    let colon = if known == 0 { "" } else { ": " };
    format!("{known} of {}{colon}{named}", look.plan.trials)
}

fn rung(state: &RungState) -> String {
    let RungState { rung, finished, failed, best_loss_nats } = state;
    let best = best_loss_nats.map(|loss| format!(", lowest loss {loss:.4}")).unwrap_or_default();
    let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
    row(&format!("rung {rung}"), &format!("{finished} finished{failed}{best}"))
}

fn memory(look: &Look) -> String {
    let most = look.memory.peak_bytes;
    let most = if most.0 == 0 { "no trial has run".to_owned() } else { format!("{most} at the most") };
    look.memory.cap_bytes.map_or_else(|| most.clone(), |cap| format!("{most}, cap {cap}"))
}

fn time(look: &Look) -> String {
    let Plan { hours, run_seconds, seconds_left, .. } = look.plan;
    let limit = hours.map(|hours| format!(" of {}", span(hours * 3600.0))).unwrap_or_default();
    let until = match seconds_left {
        Some(0.0) => ", the search begins nothing more".to_owned(),
        Some(left) => format!(", {} until the search begins nothing more", span(left)),
        None => String::new(),
    };
    format!("{} of driving, {}{limit} of runs{until}", span(look.summary.wall_seconds), span(run_seconds))
}

/// In its two largest units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a range that fits")]
fn span(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, 1e15) as u64;
    match (whole / 3_600, whole / 60) {
        (0, 0) => format!("{whole} s"),
        (0, minutes) => format!("{minutes} min {} s", whole % 60),
        (hours, minutes) => format!("{hours} h {} min", minutes % 60),
    }
}

fn running(run: &RunningRun) -> String {
    let step = run.step.map_or(0, |step| step.step);
    let filled = (BAR * step / run.stop_at_step.max(1)).min(BAR);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
    let loss = run.eval_loss_nats.map(|loss| format!("  loss {loss:.4}"));
    let loss = loss.or_else(|| run.step.map(|step| format!("  train loss {:.4}", step.loss_nats)));
    let speed = run.tokens_per_second.map(|speed| format!("  {speed:.0} tokens/s")).unwrap_or_default();
    let peak = if run.peak_bytes.0 == 0 { String::new() } else { format!("  {}", run.peak_bytes) };
    let again = if run.attempts > 1 { format!("  start {}", run.attempts) } else { String::new() };
    format!(
        "{}  {bar} {step}/{}{}{speed}{peak}{again}",
        name(run.run),
        run.stop_at_step,
        loss.unwrap_or_default()
    )
}

/// One line of the log.
pub(super) fn ended(one: &EndedRun, zone: &TimeZone) -> String {
    let what = match (one.run, one.micro_batch_size) {
        (Some(run), _) => name(run),
        (None, Some(size)) => format!("probe of micro-batch {size}"),
        (None, None) => "probe".to_owned(),
    };
    let loss = one.eval_loss_nats.filter(|_| one.outcome == Outcome::Finished && one.run.is_some());
    let loss = loss.map(|loss| format!(", loss {loss:.4}")).unwrap_or_default();
    format!(
        "{}  {what}  {}{loss}{}",
        clock(&one.ended_at, zone),
        one.outcome.name().replace('_', " "),
        why(&one.outcome)
    )
}

/// The last line of what a failed run said.
fn why(outcome: &Outcome) -> String {
    let (Outcome::Failed { message: text, .. } | Outcome::Crashed { stderr_tail: text, .. }) = outcome else {
        return String::new();
    };
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let plain = last.trim().replace(char::is_control, " ");
    if plain.is_empty() { plain } else { format!(": {plain}") }
}

fn clock(moment: &str, zone: &TimeZone) -> String {
    let parsed: Result<Timestamp, _> = moment.parse();
    parsed.map_or_else(|_| moment.to_owned(), |at| at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string())
}

fn name(run: RunKey) -> String {
    let seed = run.seed.map(|seed| format!(" seed {seed}")).unwrap_or_default();
    format!("trial {} rung {}{seed}", run.trial, run.rung)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::FailureClass;
    use crate::units::Bytes;

    #[test]
    fn a_run_is_told_with_its_bar_loss_speed_and_peak() {
        let run = RunningRun {
            run: (3, 1).into(),
            device: "cpu".to_owned(),
            started_at: String::new(),
            attempts: 2,
            stop_at_step: 40,
            step: None,
            eval_loss_nats: Some(3.25),
            tokens_per_second: Some(449.7),
            peak_bytes: Bytes::gib(1),
        };
        let text = running(&run);
        assert_eq!(
            text,
            "trial 3 rung 1  ░░░░░░░░░░░░░░░░ 0/40  loss 3.2500  450 tokens/s  1.00 GiB  start 2"
        );
    }

    #[test]
    fn the_log_tells_what_ended_when_how_and_why() {
        let zone = TimeZone::posix("XXX-2").unwrap();
        let one = EndedRun {
            ended_at: "2026-11-28T21:59:58.250Z".to_owned(),
            run: Some((3, 1).into()),
            micro_batch_size: None,
            outcome: Outcome::Finished,
            eval_loss_nats: Some(2.5),
        };
        assert_eq!(ended(&one, &zone), "23:59:58  trial 3 rung 1  finished, loss 2.5000");
        let message = "long story\n\u{1b}[31mno such file\n\n".to_owned();
        let failed = Outcome::Failed { class: FailureClass::Data, message };
        let text = ended(&EndedRun { outcome: failed, ..one.clone() }, &zone);
        assert_eq!(text, "23:59:58  trial 3 rung 1  failed:  [31mno such file");
        let probe = EndedRun { run: None, micro_batch_size: Some(8), ..one };
        assert_eq!(ended(&probe, &zone), "23:59:58  probe of micro-batch 8  finished");
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [(59.9, "59 s"), (61.0, "1 min 1 s"), (7_260.0, "2 h 1 min"), (-1.0, "0 s")] {
            assert_eq!(span(seconds), text);
        }
    }
}
