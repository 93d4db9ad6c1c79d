//! From what a foreign program writes to the events of the trial protocol.

use std::time::Instant;

use serde_json::{Value, json};

use super::metrics_file::Entry;
use super::python_json;
use crate::space::MetricsKeys;
use crate::trial::{EvalEvent, Event, StepEvent};

/// What is needed to make whole events of what a program tells.
pub(super) struct Reading {
    /// Told of steps that do not tell theirs.
    learning_rate: f64,
    tokens_seen: u64,
    last_step: Instant,
}

impl Reading {
    pub(super) fn new(learning_rate: f64) -> Self {
        Self { learning_rate, tokens_seen: 0, last_step: Instant::now() }
    }

    /// The event on one line of standard output, if it is one.
    ///
    /// A loss that is no number is a divergence. What can be done without may be left out.
    pub(super) fn line(&mut self, line: &[u8]) -> Option<Event> {
        let mut event = python_json::object(line)?;
        let kind = event.get("event")?.as_str()?.to_owned();
        let is_measured = kind == "step" || kind == "eval";
        if is_measured && event.get("loss_nats") == Some(&Value::Null) {
            return Some(Event::Diverged { step: count(event.get("step")?)? });
        }
        for (key, value) in self.defaults(&kind) {
            event.entry(key).or_insert(value);
        }
        serde_json::from_value(Value::Object(event)).ok()
    }

    /// What need not be told.
    fn defaults(&mut self, kind: &str) -> Vec<(&'static str, Value)> {
        match kind {
            "started" => {
                let words = ["device", "dtype", "version"].map(|key| (key, json!("")));
                words
                    .into_iter()
                    .chain(["resumed_at_step", "parameters"].map(|key| (key, json!(0))))
                    .collect()
            }
            "step" => {
                let (rate, seconds) = (json!(self.learning_rate), json!(self.seconds()));
                vec![("tokens", json!(0)), ("learning_rate", rate), ("seconds", seconds)]
            }
            "eval" => vec![("tokens", json!(0)), ("seconds", json!(0))],
            "memory" => vec![("live_bytes", json!(0))],
            "out_of_memory" => vec![("live", json!(0))],
            _ => vec![],
        }
    }

    /// The events of new entries of a metrics file.
    ///
    /// The time since the last ones is shared out among their steps: a file that is written once in a while tells
    /// of many at once. What lay there before the program began took it no time.
    pub(super) fn entries(&mut self, entries: &[Entry], keys: &MetricsKeys, is_first: bool) -> Vec<Event> {
        let steps = entries.iter().filter(|entry| entry.contains_key(&keys.loss)).count();
        let seconds = if is_first || steps == 0 { 0.0 } else { self.seconds() / count_as_float(steps) };
        entries.iter().flat_map(|entry| self.entry(entry, keys, seconds)).collect()
    }

    fn entry(&mut self, entry: &Entry, keys: &MetricsKeys, seconds: f64) -> Vec<Event> {
        let Some(step) = entry.get(&keys.step).and_then(count) else { return vec![] };
        let number = |key: &str| entry.get(key).and_then(number);
        let tokens_seen = entry.get(&keys.tokens_seen).and_then(count).map_or(self.tokens_seen, |n| n as u64);
        let mut events = Vec::new();
        if let Some(loss) = entry.get(&keys.loss) {
            let tokens = tokens_seen.saturating_sub(self.tokens_seen);
            self.tokens_seen = tokens_seen;
            events.push(self::number(loss).map_or(Event::Diverged { step }, |loss_nats| {
                Event::Step(StepEvent {
                    step,
                    loss_nats,
                    learning_rate: number(&keys.learning_rate).unwrap_or(self.learning_rate),
                    grad_norm: number(&keys.grad_norm),
                    update_ratio: None,
                    noise: None,
                    tokens,
                    seconds,
                })
            }));
        }
        if let Some(loss) = entry.get(&keys.eval_loss) {
            let seconds = number(&keys.eval_seconds).unwrap_or(0.0);
            events.push(self::number(loss).map_or(Event::Diverged { step }, |loss_nats| {
                Event::Eval(EvalEvent { step, loss_nats, tokens: 0, seconds })
            }));
        }
        events
    }

    /// Seconds since this was last asked.
    fn seconds(&mut self) -> f64 {
        let since = std::mem::replace(&mut self.last_step, Instant::now());
        since.elapsed().as_secs_f64()
    }
}

/// A finite number; Hugging Face's Trainer also writes some as text.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then_some(number)
}

/// A whole number, which may be written as 3.0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a small whole number"
)]
fn count(value: &Value) -> Option<usize> {
    let number = number(value)?;
    (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as usize)
}

#[expect(clippy::cast_precision_loss, reason = "entries of one look are few")]
const fn count_as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(entries: &str, is_first: bool) -> Vec<Event> {
        let entries: Vec<Entry> =
            entries.lines().filter_map(|line| python_json::object(line.as_bytes())).collect();
        Reading::new(0.5).entries(&entries, &MetricsKeys::default(), is_first)
    }

    /// Two entries and an evaluation of a `trainer_state.json` that Transformers 5.24 wrote, and its last line.
    #[test]
    fn a_log_history_becomes_steps_and_evaluations() {
        let log = r#"{"epoch": 0.1, "grad_norm": 1.25, "learning_rate": 0.001, "loss": 6.5, "num_input_tokens_seen": 300, "step": 10}
            {"epoch": 0.2, "grad_norm": 1.0, "learning_rate": 0.0005, "loss": 6.25, "num_input_tokens_seen": 500, "step": 20}
            {"epoch": 0.2, "eval_loss": 6.0, "eval_runtime": 0.25, "eval_samples_per_second": 40.0, "step": 20}
            {"epoch": 0.2, "step": 20, "total_flos": 1.0, "train_loss": 6.4, "train_runtime": 3.0}"#;
        let events = events(log, true);
        let [Event::Step(first), Event::Step(second), Event::Eval(eval)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((first.step, first.tokens, first.grad_norm), (10, 300, Some(1.25)));
        assert_eq!(
            (second.step, second.tokens, second.learning_rate.to_bits()),
            (20, 200, 5e-4_f64.to_bits())
        );
        assert_eq!((first.seconds + second.seconds).to_bits(), 0, "it lay there before the program began");
        assert_eq!(*eval, EvalEvent { step: 20, loss_nats: 6.0, tokens: 0, seconds: 0.25 });
    }

    #[test]
    fn the_time_since_the_last_look_is_shared_out_among_the_new_steps() {
        let mut reading = Reading::new(0.5);
        reading.last_step = Instant::now().checked_sub(std::time::Duration::from_secs(8)).unwrap();
        let entry = |step: usize| json!({"step": step, "loss": 1.0}).as_object().unwrap().clone();
        let events = reading.entries(&[entry(1), entry(2)], &MetricsKeys::default(), false);
        for event in events {
            let Event::Step(step) = event else { panic!("{event:?}") };
            assert!((4.0..4.5).contains(&step.seconds), "{step:?}");
            assert!((step.learning_rate - 0.5).abs() < 1e-12, "the run's own");
        }
    }

    #[test]
    fn a_loss_that_is_no_number_is_a_divergence() {
        for entry in ["{\"step\": 3, \"loss\": NaN}", "{\"step\": 3, \"eval_loss\": Infinity}"] {
            assert_eq!(events(entry, false), [Event::Diverged { step: 3 }], "{entry}");
        }
        let mut reading = Reading::new(0.5);
        let line = br#"{"event": "step", "step": 3, "loss_nats": NaN}"#;
        assert_eq!(reading.line(line), Some(Event::Diverged { step: 3 }));
        let text = events("{\"step\": 3, \"loss\": \"nan\"}", false);
        assert_eq!(text, [Event::Diverged { step: 3 }], "some versions write text");
    }

    #[test]
    fn a_line_need_not_tell_all_and_one_that_is_no_event_is_none() {
        let mut reading = Reading::new(0.5);
        let line = br#"{"event": "step", "step": 3, "loss_nats": 2.5, "what": "else"}"#;
        let Some(Event::Step(step)) = reading.line(line) else { panic!() };
        assert_eq!((step.step, step.tokens, step.grad_norm), (3, 0, None));
        assert!((step.learning_rate - 0.5).abs() < 1e-12);
        assert_eq!(reading.line(br#"{"event":"finished"}"#), Some(Event::Finished));
        assert!(matches!(reading.line(br#"{"event":"started"}"#), Some(Event::Started { .. })));
        assert!(matches!(reading.line(br#"{"event":"out_of_memory"}"#), Some(Event::OutOfMemory { .. })));
        for line in [&b"epoch 1"[..], b"{\"event\":\"step\"}", b"{\"event\":\"?\"}", b"{}", b""] {
            assert_eq!(reading.line(line), None);
        }
    }
}
