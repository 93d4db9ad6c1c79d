//! Silence of a job, which only a clock tells: the driver against a double of Slurm's commands.
//!
//! Processes, files and ends of jobs: `tests/slurm/`.

use std::ffi::OsString;
use std::io;
use std::sync::Mutex;

use super::clerk::Said;
use super::*;
use crate::executor::testing::train;
use crate::trial::Outcome;

const SILENCE: Duration = Duration::from_millis(400);
const POLL_SECONDS: f64 = 0.02;
/// A controller that takes longer for its answer than a job may be silent.
const SLOW: Duration = Duration::from_millis(600);
/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(10);
const JOB: u64 = 7;
const TIMED_OUT: Heard =
    Heard::Ended(Outcome::TimedOut { seconds: SILENCE.as_secs(), stderr_tail: String::new() });

/// A cluster that takes one job, which says nothing.
#[derive(Default)]
struct Cluster {
    name: String,
    lists: usize,
    /// In lists up to this one the job waits.
    waits_for: usize,
    /// When a list first said that it runs.
    runs_since: Option<Instant>,
    /// Lists after this one are not answered.
    away_after: Option<usize>,
    cancelled: Vec<String>,
}

impl Cluster {
    fn answer(&mut self, program: &str, arguments: &[OsString]) -> Said {
        let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let stdout = match program {
            "sbatch" => {
                let name = words.iter().find_map(|word| word.strip_prefix("--job-name="));
                name.unwrap().clone_into(&mut self.name);
                JOB.to_string()
            }
            "squeue" => {
                self.lists += 1;
                if self.away_after.is_some_and(|last| self.lists > last) {
                    return Said { stderr: "Connection refused".to_owned(), ..Said::default() };
                }
                if self.name.is_empty() {
                    String::new()
                } else if self.lists <= self.waits_for {
                    format!("{JOB}|{}|PENDING|Priority\n", self.name)
                } else {
                    self.runs_since.get_or_insert_with(Instant::now);
                    format!("{JOB}|{}|RUNNING|None\n", self.name)
                }
            }
            "scancel" => {
                self.cancelled.extend(words);
                String::new()
            }
            other => panic!("{other} is not asked for"),
        };
        Said { succeeded: true, stdout, stderr: String::new() }
    }
}

struct Scene {
    cluster: Arc<Mutex<Cluster>>,
    slurm: Slurm,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(cluster: Cluster) -> Self {
        Self::with_lists_after(Duration::ZERO, cluster)
    }

    /// With a controller that takes so long for a list.
    fn with_lists_after(pause: Duration, cluster: Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = SlurmSettings {
            partition: None,
            account: None,
            gres: None,
            time: None,
            flags: vec![],
            poll_seconds: POLL_SECONDS,
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let asked = Arc::clone(&cluster);
        let runner = move |program: &str, arguments: &[OsString]| -> io::Result<Said> {
            if program == "squeue" {
                thread::sleep(pause);
            }
            Ok(asked.lock().unwrap().answer(program, arguments))
        };
        let slurm = Slurm::new(settings, folder.path(), "child".into(), vec![], SILENCE, Arc::default())
            .with_runner(Arc::new(runner));
        Self { cluster, slurm, _folder: folder }
    }

    /// Starts the job, and says what is heard within a time.
    fn watch(&mut self, how_long: Duration) -> Option<(usize, Heard)> {
        let spec = train(4, "checkpoint");
        let job = Job { slot: 0, name: "trial-0-rung-0", spec: &spec, is_alone: true };
        self.slurm.start(&job).unwrap();
        self.slurm.next(Some(how_long)).unwrap()
    }

    fn cancelled(&self) -> Vec<String> {
        self.cluster.lock().unwrap().cancelled.clone()
    }
}

#[test]
fn a_job_that_runs_in_silence_is_cancelled_and_its_run_has_timed_out() {
    let mut scene = Scene::new(Cluster::default());
    assert_eq!(scene.watch(LONG), Some((0, TIMED_OUT)));
    // The driver goes on with other runs, and the card of this one must be free for them.
    let began = Instant::now();
    while scene.cancelled().is_empty() && began.elapsed() < LONG {
        scene.slurm.next(Some(POLL)).unwrap();
    }
    assert_eq!(scene.cancelled(), [JOB.to_string()]);
}

#[test]
fn a_silent_job_is_cancelled_even_where_the_driver_ends_at_once() {
    // The clerk waits for the second list at that moment, so that the wish to cancel waits, too.
    let mut scene = Scene::with_lists_after(SILENCE * 5 / 8, Cluster::default());
    assert_eq!(scene.watch(LONG), Some((0, TIMED_OUT)));
    scene.slurm.abandon();
    assert_eq!(scene.cancelled(), [JOB.to_string()]);
}

#[test]
fn silence_in_the_queue_means_nothing() {
    let mut scene = Scene::with_lists_after(SLOW, Cluster { waits_for: usize::MAX, ..Cluster::default() });
    assert_eq!(scene.watch(2 * SLOW), None);
    assert!(scene.cancelled().is_empty());
}

#[test]
fn the_time_in_the_queue_is_not_held_against_a_job_that_then_runs() {
    let mut scene = Scene::new(Cluster { waits_for: 8, ..Cluster::default() });
    assert_eq!(scene.watch(LONG), Some((0, TIMED_OUT)));
    let ran = scene.cluster.lock().unwrap().runs_since.unwrap().elapsed();
    // It begins between two lists.
    assert!(ran >= SILENCE / 2, "cancelled {ran:?} after its start");
}

#[test]
fn while_the_controller_is_away_no_silence_is_held_against_a_job() {
    let mut scene = Scene::new(Cluster { away_after: Some(2), ..Cluster::default() });
    assert_eq!(scene.watch(3 * SILENCE), None);
    assert!(scene.cancelled().is_empty());
}
