//! One child process on this machine at a time.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use super::command::Programs;
use super::tail::Tail;
use super::voice::Voice;
use super::{Executor, ExecutorError};
use crate::space::TrainerSettings;
use crate::trial::{Event, Outcome, TrialSpec};

/// How often the wish to stop is looked at while a child is silent.
const POLL: Duration = Duration::from_millis(100);

/// Signals by which people and service managers ask a program to end: HUP, INT, TERM.
const REQUESTS: [i32; 3] = [1, 2, 15];
/// How long after such a death of its child the driver may take to hear of the request itself.
const HEARSAY: Duration = Duration::from_secs(1);

/// Re-executes a program as `PROGRAM worker` for each specification, or a foreign trainer in its place.
pub struct Local {
    programs: Programs,
    silence: Duration,
    stop: Arc<AtomicBool>,
}

impl Local {
    /// Runs trials as `program arguments…`; a child silent for `silence` is killed; `stop` is the
    /// user's wish to end.
    #[must_use]
    pub const fn new(
        program: PathBuf,
        arguments: Vec<String>,
        silence: Duration,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { programs: Programs::new(program, arguments), silence, stop }
    }

    /// Gives each trial so many threads; without it, one for every processor.
    #[must_use]
    pub const fn with_threads(mut self, threads: Option<usize>) -> Self {
        self.programs.set_threads(threads);
        self
    }

    /// Lets a foreign `trainer` train and probe. A `launcher` starts it as `LAUNCHER launch -- COMMAND`, and is what
    /// holds it to its cap and lets it die with the driver.
    #[must_use]
    pub fn with_trainer(mut self, trainer: Option<TrainerSettings>, launcher: Option<PathBuf>) -> Self {
        self.programs.set_trainer(trainer, launcher);
        self
    }

    /// How long a child that obeys `spec` may say nothing.
    fn silence(&self, spec: &TrialSpec) -> Duration {
        let minutes = self.programs.trainer(spec).map(|trainer| trainer.silence_minutes);
        minutes.map_or(self.silence, |minutes| Duration::from_secs_f64(60.0 * minutes))
    }
}

impl Executor for Local {
    fn run(&mut self, spec: &TrialSpec, on_event: &mut dyn FnMut(&Event)) -> Result<Outcome, ExecutorError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ExecutorError::Interrupted);
        }
        let mut child = self.programs.command(spec).spawn().map_err(ExecutorError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            let spec = serde_json::to_vec(spec).map_err(|error| ExecutorError::Start(error.into()))?;
            // A child that died before it read its task is classified by how it died.
            let _ = stdin.write_all(&spec);
        }
        let tail = child.stderr.take().map(Tail::of);
        let mut voice = Voice::of(child.stdout.take(), self.programs.trainer(spec), spec);
        let silence = self.silence(spec);
        let (heard, status) = match self.listen(&mut voice, silence, on_event) {
            Heard::EndOfOutput => self.wait_a_while(&mut child, &mut voice, silence, on_event)?,
            heard => (heard, None),
        };
        // What is left of the group, grandchildren included, must not hold memory or the pipes.
        kill_group(&child);
        let status = status.map_or_else(|| child.wait().map_err(ExecutorError::Start), Ok)?;
        let stderr_tail = tail.map(Tail::finish).unwrap_or_default();
        match heard {
            Heard::Interrupt => Err(ExecutorError::Interrupted),
            Heard::LastWord(outcome) => Ok(outcome),
            Heard::Silence => Ok(Outcome::TimedOut { seconds: silence.as_secs() }),
            Heard::EndOfOutput if self.was_asked_to_end(status) => Err(ExecutorError::Interrupted),
            Heard::EndOfOutput => Ok(hand_on(voice.rest(), on_event)
                .or_else(|| voice.ending(spec, status, &stderr_tail))
                .unwrap_or_else(|| crashed(status, stderr_tail))),
        }
    }

    fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Local {
    /// Whether the child died of a signal that was meant for the driver, too.
    ///
    /// A service manager ends all processes of a study at once, and Ctrl-C reaches a child that has
    /// not yet left the driver's group. The driver may hear of it later than the child has died.
    fn was_asked_to_end(&self, status: ExitStatus) -> bool {
        if !signal_of(status).is_some_and(|signal| REQUESTS.contains(&signal)) {
            return false;
        }
        let died = Instant::now();
        while !self.stop.load(Ordering::Relaxed) && died.elapsed() < HEARSAY {
            thread::sleep(POLL / 10);
        }
        self.stop.load(Ordering::Relaxed)
    }
}

/// Why listening ended.
enum Heard {
    LastWord(Outcome),
    EndOfOutput,
    Silence,
    Interrupt,
}

impl Local {
    /// What becomes of a child that closed its output: its end, unless it goes on silently. A foreign one may go on
    /// for long that writes its words to a file of its own, and metrics to another.
    fn wait_a_while(
        &self,
        child: &mut Child,
        voice: &mut Voice,
        silence: Duration,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<(Heard, Option<ExitStatus>), ExecutorError> {
        let mut last_heard = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(ExecutorError::Start)? {
                return Ok((Heard::EndOfOutput, Some(status)));
            }
            let news = voice.news(POLL);
            if !news.is_empty() {
                last_heard = Instant::now();
            }
            if let Some(outcome) = hand_on(news, on_event) {
                return Ok((Heard::LastWord(outcome), None));
            }
            if self.is_interrupted() {
                return Ok((Heard::Interrupt, None));
            }
            if last_heard.elapsed() > silence {
                return Ok((Heard::EndOfOutput, None));
            }
            thread::sleep(POLL / 10);
        }
    }

    fn listen(&self, voice: &mut Voice, silence: Duration, on_event: &mut dyn FnMut(&Event)) -> Heard {
        let mut last_heard = Instant::now();
        loop {
            match voice.hear(POLL) {
                Ok(event) => {
                    if let Some(outcome) = event.as_ref().and_then(Outcome::from_last_word) {
                        return Heard::LastWord(outcome);
                    }
                    event.iter().for_each(&mut *on_event);
                    last_heard = Instant::now();
                }
                Err(RecvTimeoutError::Disconnected) => return Heard::EndOfOutput,
                Err(RecvTimeoutError::Timeout) if last_heard.elapsed() > silence => {
                    return Heard::Silence;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                return Heard::Interrupt;
            }
        }
    }
}

/// Hands on events, up to a last word.
fn hand_on(events: Vec<Event>, on_event: &mut dyn FnMut(&Event)) -> Option<Outcome> {
    for event in events {
        if let Some(outcome) = Outcome::from_last_word(&event) {
            return Some(outcome);
        }
        on_event(&event);
    }
    None
}

fn crashed(status: ExitStatus, stderr_tail: String) -> Outcome {
    Outcome::Crashed { signal: signal_of(status), exit_code: status.code(), stderr_tail }
}

fn signal_of(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    return None;
}

fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // An error means that the group has already ended.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::testing::{spec, train, trainer};
    use super::*;
    use crate::space::{MetricsForm, MetricsKeys, MetricsSettings, Template};
    use crate::trial::{Phase, Task};
    use crate::units::Bytes;

    fn run(script: &str) -> (Outcome, Vec<Event>) {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let mut local = Local::new("sh".into(), arguments, Duration::from_secs(1), Arc::default());
        let mut events = Vec::new();
        let outcome = local.run(&spec(Task::Evaluate), &mut |event| events.push(event.clone())).unwrap();
        (outcome, events)
    }

    #[test]
    fn garbage_on_standard_output_is_passed_over() {
        let (outcome, events) = run(
            r#"echo hello; echo '{"event":"memory","phase":"loss","peak_bytes":7,"live_bytes":1}'; echo '{"event":"finished"}'"#,
        );
        assert_eq!(outcome, Outcome::Finished);
        assert_eq!(
            events,
            [Event::Memory { phase: Phase::Loss, peak_bytes: Bytes(7), live_bytes: Bytes(1) }]
        );
    }

    #[test]
    fn a_child_without_a_last_word_has_crashed_and_its_stderr_is_kept() {
        let crash = |signal, exit_code, text: &str| Outcome::Crashed {
            signal,
            exit_code,
            stderr_tail: text.to_owned(),
        };
        assert_eq!(run("echo oh no >&2; exit 3").0, crash(None, Some(3), "oh no"));
        assert_eq!(run("kill -ABRT $$").0, crash(Some(6), None, ""));
        assert_eq!(run(r#"printf '{"event":"fin'"#).0, crash(None, Some(0), ""));
    }

    #[test]
    fn a_trial_is_told_how_many_threads_it_has() {
        let arguments = vec!["-c".to_owned(), "exit ${RAYON_NUM_THREADS:-0}".to_owned()];
        let local = Local::new("sh".into(), arguments, Duration::from_secs(9), Arc::default());
        let outcome = local.with_threads(Some(3)).run(&spec(Task::Evaluate), &mut |_| {}).unwrap();
        assert!(matches!(outcome, Outcome::Crashed { exit_code: Some(3), .. }), "{outcome:?}");
    }

    #[test]
    fn a_silent_child_is_killed_with_its_grandchildren() {
        let started = Instant::now();
        assert_eq!(run("sleep 60 & sleep 60").0, Outcome::TimedOut { seconds: 1 });
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_last_word_counts_even_if_the_child_then_aborts() {
        let (outcome, _) =
            run(r#"echo '{"event":"out_of_memory","requested":5,"live":9,"cap":10}'; kill -ABRT $$"#);
        let expected =
            Outcome::OutOfMemory { requested: Some(Bytes(5)), live: Bytes(9), cap: Some(Bytes(10)) };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_child_that_died_of_a_request_to_all_is_no_crash() {
        let run = |stop: bool| {
            let arguments = vec!["-c".to_owned(), "sleep 0.3; kill -INT $$".to_owned()];
            let asked = Arc::new(AtomicBool::new(false));
            let mut local = Local::new("sh".into(), arguments, Duration::from_secs(9), Arc::clone(&asked));
            let later = thread::spawn(move || {
                thread::sleep(Duration::from_millis(600));
                asked.store(stop, Ordering::Relaxed);
            });
            let ended = local.run(&spec(Task::Evaluate), &mut |_| {});
            later.join().unwrap();
            ended
        };
        assert!(matches!(run(true), Err(ExecutorError::Interrupted)));
        assert!(matches!(run(false), Ok(Outcome::Crashed { signal: Some(2), .. })));
    }

    #[test]
    fn the_wish_to_stop_ends_a_running_child() {
        let stop = Arc::new(AtomicBool::new(true));
        let mut local = Local::new("sleep".into(), vec!["60".to_owned()], Duration::from_secs(99), stop);
        assert!(matches!(local.run(&spec(Task::Evaluate), &mut |_| {}), Err(ExecutorError::Interrupted)));
    }

    /// A script in place of a trainer, whose metrics file is `m.jsonl` or `trainer_state.json` in its folder.
    fn run_trainer(script: &str, file: Option<&str>) -> (Outcome, Vec<Event>) {
        let folder = tempfile::tempdir().unwrap();
        let typed = |text: &str| Template::parse(text).unwrap();
        let script = script.replace('{', "{{").replace('}', "}}");
        let metrics = file.map(|file| MetricsSettings {
            file: typed(&format!("{{checkpoint}}/{file}")),
            form: if file.ends_with('l') { MetricsForm::Lines } else { MetricsForm::TrainerState },
            keys: MetricsKeys::default(),
        });
        let settings = TrainerSettings {
            command: ["sh", "-c", &script, "{checkpoint}"].map(typed).to_vec(),
            metrics,
            silence_minutes: 2.0 / 60.0,
            ..trainer(&[])
        };
        let mut local = Local::new("false".into(), vec![], Duration::from_secs(99), Arc::default())
            .with_trainer(Some(settings), None);
        let mut events = Vec::new();
        let spec = train(4, folder.path().to_str().unwrap());
        let outcome = local.run(&spec, &mut |event| events.push(event.clone())).unwrap();
        (outcome, events)
    }

    /// The evaluations of a run.
    fn evals(events: &[Event]) -> Vec<(usize, f64)> {
        let eval = |event: &Event| match event {
            Event::Eval(eval) => Some((eval.step, eval.loss_nats)),
            _ => None,
        };
        events.iter().filter_map(eval).collect()
    }

    #[test]
    fn a_trainer_gets_the_specification_and_its_events_are_heard() {
        let script = r#"grep -q '"stop_at_step":4' && echo loading... && echo '{"event":"eval","step":4,"loss_nats":2.5}' &&
            echo '{"event":"finished"}'; sleep 9"#;
        let (outcome, events) = run_trainer(script, None);
        assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(4, 2.5)]));
    }

    #[test]
    fn a_trainer_that_writes_metrics_has_finished_when_it_has_told_an_evaluation_at_its_last_step() {
        let script = |last: usize| {
            format!(
                r#"cd $0; echo '{{"step":2,"eval_loss":3.0}}' > m.jsonl; printf '{{"step":{last},"ev' >> m.jsonl; sleep 0.4;
                printf 'al_loss":2.0}}' >> m.jsonl"#
            )
        };
        let (outcome, events) = run_trainer(&script(4), Some("m.jsonl"));
        assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(2, 3.0), (4, 2.0)]));
        let (outcome, events) = run_trainer(&script(3), Some("m.jsonl"));
        assert_eq!(outcome, crashed(ExitStatus::default(), String::new()), "{events:?}");
    }

    #[test]
    fn a_trainer_that_closes_its_output_is_still_heard_by_its_metrics() {
        let script = r#"exec > $0/log 2>&1; cd $0
            for n in 1 2 3 4; do sleep 0.7; echo "{\"step\":$n,\"eval_loss\":$n}" >> m.jsonl; done"#;
        let (outcome, events) = run_trainer(script, Some("m.jsonl"));
        assert_eq!(
            (outcome, evals(&events).len()),
            (Outcome::Finished, 4),
            "2.8 s, of which 2 may be silent"
        );
    }

    #[test]
    fn a_state_that_is_written_anew_while_the_trainer_runs_tells_each_entry_once() {
        let script = r#"cd $0; echo '{"log_history":[{"step":2,"eval_loss":3.0}]}' > trainer_state.json; sleep 0.4;
            mkdir checkpoint-4;
            echo '{"log_history":[{"step":2,"eval_loss":3.0},{"step":4,"eval_loss":2.0}]}' > checkpoint-4/trainer_state.json"#;
        let (outcome, events) = run_trainer(script, Some("trainer_state.json"));
        assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(2, 3.0), (4, 2.0)]));
    }

    #[test]
    fn a_trainer_that_is_refused_memory_says_so_in_its_own_words() {
        let script = "echo 'RuntimeError: DefaultCPUAllocator: can'\"'\"'t allocate memory: you tried to allocate 9 bytes.' >&2; exit 1";
        let (outcome, _) = run_trainer(script, None);
        assert!(matches!(outcome, Outcome::OutOfMemory { requested: Some(Bytes(9)), .. }), "{outcome:?}");
        let (outcome, _) = run_trainer("echo 'ValueError: no' >&2; exit 1", None);
        assert!(matches!(outcome, Outcome::Crashed { exit_code: Some(1), .. }), "{outcome:?}");
    }

    #[test]
    fn a_loss_that_is_no_number_ends_a_trainer_at_once() {
        let script = r#"echo '{"step":3,"loss":NaN}' > $0/m.jsonl; while :; do sleep 0.1; echo alive; done"#;
        assert_eq!(run_trainer(script, Some("m.jsonl")).0, Outcome::Diverged { step: 3 });
    }

    #[test]
    fn what_a_trainer_prints_is_a_sign_of_life_and_silence_is_none() {
        let script = r#"for n in 1 2 3 4 5 6 7 8; do sleep 0.4; echo $n; done; echo '{"event":"finished"}'"#;
        assert_eq!(run_trainer(script, None).0, Outcome::Finished);
        assert_eq!(run_trainer("sleep 60", None).0, Outcome::TimedOut { seconds: 2 });
    }
}
