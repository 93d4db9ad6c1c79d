//! What children do, injected with small shell scripts.

mod trainers;

use std::time::Instant;

use super::super::run_to_end;
use super::super::testing::spec;
use super::*;
use crate::trial::{Event, Outcome, Phase};

fn local(script: &str, silence: Duration, stop: &Arc<AtomicBool>) -> Local {
    Local::new("sh".into(), vec!["-c".to_owned(), script.to_owned()], silence, Arc::clone(stop))
}

/// Runs one script to its end, with what it said.
fn end_of(local: &mut Local) -> Result<(Outcome, Vec<Event>), ExecutorError> {
    let mut events = Vec::new();
    let (name, spec) = ("run", spec(Task::Evaluate));
    let job = Job { slot: 0, name, spec: &spec, is_alone: true };
    let outcome = run_to_end(local, &job, &mut |event| events.push(event.clone()))?;
    Ok((outcome, events))
}

fn run(script: &str) -> (Outcome, Vec<Event>) {
    end_of(&mut local(script, Duration::from_secs(1), &Arc::default())).unwrap()
}

fn crash(signal: Option<i32>, exit_code: Option<i32>, text: &str) -> Outcome {
    Outcome::Crashed { signal, exit_code, stderr_tail: text.to_owned() }
}

#[test]
fn garbage_on_standard_output_is_passed_over() {
    let (outcome, events) = run(
        r#"echo hello; echo '{"event":"memory","phase":"loss","peak_bytes":7,"live_bytes":1}'; echo '{"event":"finished"}'"#,
    );
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(
        events,
        [Event::Memory {
            phase: Phase::Loss,
            peak_bytes: Bytes(7),
            live_bytes: Bytes(1),
            reserved_bytes: None
        }]
    );
}

#[test]
fn a_child_without_a_last_word_has_crashed_and_its_stderr_is_kept() {
    assert_eq!(run("echo oh no >&2; exit 3").0, crash(None, Some(3), "oh no"));
    assert_eq!(run("kill -ABRT $$").0, crash(Some(6), None, ""));
    assert_eq!(run("echo half >&2; kill -KILL $$").0, crash(Some(9), None, "half"));
    assert_eq!(run(r#"printf '{"event":"fin'"#).0, crash(None, Some(0), ""));
}

#[test]
fn a_trial_is_told_how_many_threads_it_has() {
    let mut local = local("exit ${RAYON_NUM_THREADS:-0}", Duration::from_secs(9), &Arc::default());
    local = local.with_threads(Some(3));
    let (outcome, _) = end_of(&mut local).unwrap();
    assert!(matches!(outcome, Outcome::Crashed { exit_code: Some(3), .. }), "{outcome:?}");
}

#[test]
fn a_last_word_counts_even_if_the_child_then_aborts() {
    let (outcome, _) =
        run(r#"echo '{"event":"out_of_memory","requested":5,"live":9,"cap":10}'; kill -ABRT $$"#);
    let expected = Outcome::OutOfMemory { requested: Some(Bytes(5)), live: Bytes(9), cap: Some(Bytes(10)) };
    assert_eq!(outcome, expected);
}

#[test]
fn a_silent_child_is_killed_with_its_grandchildren() {
    let started = Instant::now();
    let stuck = Outcome::TimedOut { seconds: 1, stderr_tail: "stuck".to_owned() };
    assert_eq!(run("echo stuck >&2; sleep 60 & sleep 60").0, stuck);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_child_that_has_exited_is_not_waited_for_because_a_grandchild_holds_the_pipe() {
    let patient = |script: &str| {
        let started = Instant::now();
        let (outcome, _) = end_of(&mut local(script, Duration::from_mins(10), &Arc::default())).unwrap();
        assert!(started.elapsed() < Duration::from_mins(1), "{script}");
        outcome
    };
    assert_eq!(patient("echo oh no >&2; sleep 300 & exit 3"), crash(None, Some(3), "oh no"));
    // One that has left the group can't be killed with it.
    assert_eq!(patient("echo oh no >&2; setsid sleep 70 & sleep 0.2; exit 3"), crash(None, Some(3), "oh no"));
}

#[test]
fn a_child_that_died_of_a_request_to_all_is_no_crash() {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let mut asking = local("kill -INT $$", Duration::from_mins(10), &stop);
    asking.wish.hearsay = Duration::from_mins(10);
    // The driver hears of it when the child is dead already; were it not waited for, this would be a crash.
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        asked.store(true, Ordering::Relaxed);
    });
    assert!(matches!(end_of(&mut asking), Err(ExecutorError::Interrupted)));
    later.join().unwrap();
    let mut alone = local("kill -INT $$", Duration::from_mins(10), &Arc::default());
    assert_eq!(end_of(&mut alone).unwrap().0, crash(Some(2), None, ""));
}

#[test]
fn the_wish_to_stop_ends_a_running_child() {
    let stop = Arc::new(AtomicBool::new(false));
    let mut local = local(
        r#"echo '{"event":"memory","phase":"loss","peak_bytes":7,"live_bytes":1}'; sleep 300"#,
        Duration::from_mins(10),
        &stop,
    );
    let spec = spec(Task::Evaluate);
    local.start(&Job { slot: 0, name: "run", spec: &spec, is_alone: true }).unwrap();
    assert!(matches!(local.next(None).unwrap(), Some((0, Heard::Event(_)))));
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(local.next(None), Err(ExecutorError::Interrupted)));
    assert!(local.slots.iter().all(Option::is_none));
    assert!(matches!(end_of(&mut local), Err(ExecutorError::Interrupted)));
}

/// Two runs of `script`, of which each is told its slot by its task, and all that was heard.
fn both(script: &str) -> Vec<(usize, Heard)> {
    let mut local = local(script, Duration::from_mins(1), &Arc::default()).with_slots(2);
    let spec = spec(Task::Evaluate);
    for (slot, name) in ["one", "other"].into_iter().enumerate() {
        local.start(&Job { slot, name, spec: &spec, is_alone: false }).unwrap();
    }
    std::iter::from_fn(|| local.next(None).unwrap()).collect()
}

#[test]
fn two_slots_run_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    // Each makes its mark and waits for that of the other.
    let script = format!(
        r#"mkdir {here}/a 2>/dev/null && other=b || {{ mkdir {here}/b; other=a; }}
           until [ -e {here}/$other ]; do sleep 0.02; done; echo '{{"event":"finished"}}'"#
    );
    let mut heard = both(&script);
    heard.sort_by_key(|(slot, _)| *slot);
    assert_eq!(heard, [0, 1].map(|slot| (slot, Heard::Ended(Outcome::Finished))));
}

#[test]
fn a_talkative_child_does_not_drown_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let word = r#"{"event":"memory","phase":"loss","peak_bytes":7,"live_bytes":1}"#;
    // Both have said much before anybody listens.
    let script =
        format!("yes '{word}' | head -n 500; mkdir {here}/a 2>/dev/null || mkdir {here}/b; sleep 300");
    let mut local = local(&script, Duration::from_mins(10), &Arc::default()).with_slots(2);
    let spec = spec(Task::Evaluate);
    for (slot, name) in ["one", "other"].into_iter().enumerate() {
        local.start(&Job { slot, name, spec: &spec, is_alone: false }).unwrap();
    }
    while !folder.path().join("b").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(300));
    let heard: Vec<usize> = (0..300).map(|_| local.next(None).unwrap().unwrap().0).collect();
    assert!(heard.contains(&0) && heard.contains(&1), "{heard:?}");
}

#[test]
fn with_nothing_under_way_a_wait_is_a_pause_or_nothing() {
    let mut local = local("exit", Duration::from_mins(1), &Arc::default());
    assert_eq!(local.next(None).unwrap(), None);
    let asked = Instant::now();
    assert_eq!(local.next(Some(Duration::from_millis(50))).unwrap(), None);
    assert!(asked.elapsed() >= Duration::from_millis(50));
}

#[test]
fn slots_share_the_processors_unless_a_run_is_alone() {
    let all = thread::available_parallelism().unwrap().get();
    let local = local("exit", Duration::from_mins(1), &Arc::default());
    assert_eq!((local.threads(false), local.threads(true)), (None, None));
    let local = local.with_slots(2);
    assert_eq!((local.threads(false), local.threads(true)), (Some((all / 2).max(1)), None));
    let local = local.with_threads(Some(5));
    assert_eq!((local.threads(false), local.threads(true)), (Some(5), Some(5)));
}
