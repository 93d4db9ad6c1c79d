//! One child process on this machine at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::tail::Tail;
use super::{Executor, ExecutorError};
use crate::trial::{Event, Outcome, TrialSpec};

/// How often the wish to stop is looked at while a child is silent.
const POLL: Duration = Duration::from_millis(100);

/// Signals by which people and service managers ask a program to end: HUP, INT, TERM.
const REQUESTS: [i32; 3] = [1, 2, 15];
/// How long after such a death of its child the driver may take to hear of the request itself.
const HEARSAY: Duration = Duration::from_secs(1);

/// Re-executes a program as `PROGRAM worker` for each specification.
pub struct Local {
    program: PathBuf,
    arguments: Vec<String>,
    silence: Duration,
    stop: Arc<AtomicBool>,
    threads: Option<usize>,
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
        Self { program, arguments, silence, stop, threads: None }
    }

    /// Gives each trial so many threads; without it, one for every processor.
    #[must_use]
    pub fn with_threads(self, threads: Option<usize>) -> Self {
        Self { threads, ..self }
    }

    fn start(&self) -> Result<Child, ExecutorError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Freed tensors go back to the allocator instead of the kernel: without this every large
        // tensor is mapped, zeroed and unmapped again in every step.
        for (name, value) in [
            ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
            ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
            ("MALLOC_TOP_PAD_", "67108864"),
            // One arena: what one thread frees another can use.
            ("MALLOC_ARENA_MAX", "1"),
        ] {
            command.env(name, value);
        }
        if let Some(threads) = self.threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: killing it reaches grandchildren, and Ctrl-C does not.
            command.process_group(0);
        }
        command.spawn().map_err(ExecutorError::Start)
    }
}

impl Executor for Local {
    fn run(&mut self, spec: &TrialSpec, on_event: &mut dyn FnMut(&Event)) -> Result<Outcome, ExecutorError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ExecutorError::Interrupted);
        }
        let mut child = self.start()?;
        if let Some(mut stdin) = child.stdin.take() {
            let spec = serde_json::to_vec(spec).map_err(|error| ExecutorError::Start(error.into()))?;
            // A child that died before it read its task is classified by how it died.
            let _ = stdin.write_all(&spec);
        }
        let tail = child.stderr.take().map(Tail::of);
        let events = read_events(&mut child);
        let heard = self.listen(&events, on_event);
        let status = match heard {
            Heard::EndOfOutput => self.wait_a_while(&mut child)?,
            _ => None,
        };
        // What is left of the group, grandchildren included, must not hold memory or the pipes.
        kill_group(&child);
        let status = status.map_or_else(|| child.wait().map_err(ExecutorError::Start), Ok)?;
        let stderr_tail = tail.map(Tail::finish).unwrap_or_default();
        match heard {
            Heard::Interrupt => Err(ExecutorError::Interrupted),
            Heard::LastWord(outcome) => Ok(outcome),
            Heard::Silence => Ok(Outcome::TimedOut { seconds: self.silence.as_secs() }),
            Heard::EndOfOutput if self.was_asked_to_end(status) => Err(ExecutorError::Interrupted),
            Heard::EndOfOutput => Ok(crashed(status, stderr_tail)),
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

    /// The exit status of a child that closed its output, unless it goes on silently.
    fn wait_a_while(&self, child: &mut Child) -> Result<Option<ExitStatus>, ExecutorError> {
        let closed = Instant::now();
        loop {
            match child.try_wait().map_err(ExecutorError::Start)? {
                None if closed.elapsed() < self.silence => thread::sleep(POLL / 10),
                status => return Ok(status),
            }
        }
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
    fn listen(&self, events: &Receiver<Event>, on_event: &mut dyn FnMut(&Event)) -> Heard {
        let mut last_heard = Instant::now();
        loop {
            match events.recv_timeout(POLL) {
                Ok(event) => {
                    if let Some(outcome) = Outcome::from_last_word(&event) {
                        return Heard::LastWord(outcome);
                    }
                    on_event(&event);
                    last_heard = Instant::now();
                }
                Err(RecvTimeoutError::Disconnected) => return Heard::EndOfOutput,
                Err(RecvTimeoutError::Timeout) if last_heard.elapsed() > self.silence => {
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

/// Lines that are no events (a library that prints, half a line at the end) are passed over.
fn read_events(child: &mut Child) -> Receiver<Event> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if let Ok(event) = serde_json::from_slice(&line)
                    && sender.send(event).is_err()
                {
                    return;
                }
            }
        });
    }
    receiver
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
    use super::*;
    use crate::trial::Phase;
    use crate::units::Bytes;

    fn spec() -> TrialSpec {
        let json = r#"{"device":"cpu","model":"m","dataset":"d","hyperparams":{"precision":"f32","micro_batch_size":1,
            "gradient_accumulation_steps":1,"learning_rate":1e-3},"train":{"seed":0,"total_steps":1,"schedule":"linear",
            "warmup_fraction":0.0,"weight_decay":0.0,"max_grad_norm":1.0,"gradient_checkpointing":false,"validation_examples":1,"eval_micro_batch_size":1},
            "task":{"kind":"evaluate"}}"#;
        serde_json::from_str(json).unwrap()
    }

    fn run(script: &str) -> (Outcome, Vec<Event>) {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let mut local = Local::new("sh".into(), arguments, Duration::from_secs(1), Arc::default());
        let mut events = Vec::new();
        let outcome = local.run(&spec(), &mut |event| events.push(event.clone())).unwrap();
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
        let outcome = local.with_threads(Some(3)).run(&spec(), &mut |_| {}).unwrap();
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
            let ended = local.run(&spec(), &mut |_| {});
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
        assert!(matches!(local.run(&spec(), &mut |_| {}), Err(ExecutorError::Interrupted)));
    }
}
