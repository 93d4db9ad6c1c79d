//! A study's events as lines and a progress bar on standard error.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::sentences::sentence;
use super::tables;
use crate::study::{Stage, StudyEvent};
use crate::trial::{Event, Measurement, Outcome, ProbeRecord, RunKey};
use crate::units::Bytes;

/// Where there is no terminal a long rung still shows a line now and then.
pub(super) const LINE_EVERY: Duration = Duration::from_secs(20);

/// Renders [`StudyEvent`]s.
pub(super) struct Progress {
    quiet: bool,
    pub(super) bar: ProgressBar,
    pub(super) terminal: bool,
    pub(super) last_line: Instant,
    /// The runs under way, and where each stops.
    runs: BTreeMap<RunKey, usize>,
    /// Whether there was ever more than one at a time: then each line says whose it is.
    several: bool,
}

impl Progress {
    /// Silent if `quiet`; a bar only on a terminal.
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { quiet, bar, terminal, last_line: Instant::now(), runs: BTreeMap::new(), several: false }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, event: StudyEvent<'_>) {
        if self.quiet {
            return;
        }
        match event {
            StudyEvent::Hub(event) => self.hub(event),
            StudyEvent::Unpacking { file, done, total } => self.unpacking(file, done, total),
            StudyEvent::ProbeStarted { setting, micro_batch_size } => {
                self.spin(&format!("{setting:<5}  micro-batch {micro_batch_size:>4}"));
            }
            StudyEvent::ProbeEnded(probe) => self.probe_ended(probe),
            StudyEvent::RunStarted { run, hyperparams, stop_at_step, .. } => {
                self.runs.insert(run, stop_at_step);
                self.several |= self.runs.len() > 1;
                self.start_bar(stop_at_step, format!("{}  {}", name(run), tables::point(hyperparams)));
            }
            StudyEvent::Child { run, event } => self.child(run, event),
            StudyEvent::RunEnded { run, outcome, measurement } => {
                self.runs.remove(&run);
                self.run_ended(&name(run), outcome, measurement);
            }
            StudyEvent::CutOff { run } => {
                self.runs.remove(&run);
            }
            _ => {}
        }
        if let Some(text) = sentence(event) {
            self.line(&text);
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&mut self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn line(&mut self, text: &str) {
        self.bar.finish_and_clear();
        // Nobody listens any more; the study itself goes on.
        let _ = writeln!(io::stderr(), "{text}");
        self.last_line = Instant::now();
    }

    fn start_bar(&mut self, length: usize, message: String) {
        self.bar.finish_and_clear();
        if !self.terminal || self.several {
            self.line(&format!("  {message}"));
            return;
        }
        let style = ProgressStyle::with_template("  {msg}  {bar:24} {pos}/{len} steps · {eta} left");
        self.bar = ProgressBar::new(length as u64).with_message(message);
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    /// A bar that counts bytes; where there is no terminal, one line at the beginning.
    fn unpacking(&mut self, file: &Path, done: Bytes, total: Bytes) {
        if done == Bytes(0) {
            self.bar.finish_and_clear();
            if !self.terminal {
                self.line(&format!("  unpacking {} · {total} of weights", file.display()));
                return;
            }
            let style = ProgressStyle::with_template(
                "  unpacking {msg}  {bar:24} {bytes}/{total_bytes} · {eta} left",
            );
            self.bar = ProgressBar::new(total.0).with_message(file.display().to_string());
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        self.bar.set_position(done.0);
    }

    pub(super) fn spin(&mut self, message: &str) {
        self.bar.finish_and_clear();
        if self.terminal {
            self.bar = ProgressBar::new_spinner().with_message(format!(" {message} …"));
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn child(&mut self, run: Option<RunKey>, event: &Event) {
        let horizon = run.and_then(|run| self.runs.get(&run).copied());
        let whose = run.filter(|_| self.several).map(|run| format!("{}  ", name(run))).unwrap_or_default();
        let is_bar = self.terminal && !self.several;
        match (event, horizon) {
            (Event::Started { resumed_at_step, .. }, _) => self.bar.set_position(*resumed_at_step as u64),
            (Event::Step(step), horizon) => {
                self.bar.set_position(step.step as u64);
                let is_due = !is_bar && self.last_line.elapsed() > LINE_EVERY;
                if let Some(horizon) = horizon.filter(|_| is_due) {
                    let (step, loss) = (step.step, step.loss_nats);
                    self.line(&format!("    {whose}step {step}/{horizon}  train loss {loss:.4}"));
                }
            }
            (Event::Eval(eval), Some(horizon)) if eval.step > 0 => {
                let text =
                    format!("    {whose}step {}/{horizon}  eval loss {:.4}", eval.step, eval.loss_nats);
                if is_bar {
                    self.bar.println(text);
                } else {
                    self.line(&text);
                }
            }
            _ => {}
        }
    }

    fn probe_ended(&mut self, probe: &ProbeRecord) {
        let speed = probe.measurement.tokens_per_second().unwrap_or_default();
        let result = match &probe.outcome {
            Outcome::Finished => {
                format!("{:>9}  {speed:>7.0} tokens/s", probe.measurement.training_peak_bytes().to_string())
            }
            outcome => outcome.name().replace('_', " "),
        };
        self.line(&format!("  {:<5}  micro-batch {:>4}  {result}", probe.setting, probe.micro_batch_size));
    }

    fn run_ended(&mut self, name: &str, outcome: &Outcome, measurement: &Measurement) {
        let result = match (outcome, measurement.eval_loss_nats()) {
            (Outcome::Finished, Some(loss)) => {
                let speed = measurement.tokens_per_second().unwrap_or_default();
                format!("eval loss {loss:.4}  {speed:.0} tokens/s  peak {}", measurement.peak_bytes())
            }
            (outcome, _) => outcome.name().replace('_', " "),
        };
        self.line(&format!("  {name}  {result}"));
    }
}

pub(super) fn name(run: RunKey) -> String {
    let RunKey { trial, rung, seed } = run;
    let seed = seed.map(|seed| format!(" seed {seed}")).unwrap_or_default();
    format!("trial {trial:>2} rung {rung}{seed}")
}

pub(super) const fn title(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "prepare: model and data",
        Stage::Fit => "fit: the largest micro-batch",
        Stage::Tune => "tune: precision, effective batch, learning rate",
        Stage::Confirm => "confirm: the best candidates by other seeds",
        Stage::Train => "train: the best configuration over the full horizon",
        Stage::Quantize => "quantize: GGUF files and what they cost",
        Stage::Report => "report",
    }
}
