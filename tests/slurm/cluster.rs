//! A made-up cluster, and a driver that has it on its path.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::{Ran, TinyStudy, diapason};

const FAKE: &str = include_str!("fake.sh");
/// Whoever waits for a job waits no longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where the jobs of one study are.
pub(crate) struct Cluster {
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        for name in ["sbatch", "squeue", "scancel", "scontrol"] {
            fs::write(programs.join(name), FAKE).unwrap();
            fs::set_permissions(programs.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// A file of the cluster.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn word(&self, id: usize, what: &str) -> String {
        fs::read_to_string(self.path(&format!("{id}/{what}"))).unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn state(&self, id: usize) -> String {
        self.word(id, "state")
    }

    /// The names of all jobs, each without what tells studies apart; the first has number 1.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = (1..).map(|id| self.word(id, "name")).take_while(|name| !name.is_empty());
        names.map(|name| name.splitn(3, '-').nth(2).unwrap().to_owned()).collect()
    }

    /// Waits for the first job of this name, and until its program has said that it has started.
    pub(crate) fn wait_for(&self, study: &TinyStudy, name: &str) -> usize {
        let asked = Instant::now();
        let events = study.path(&format!("results/slurm/{name}/events.jsonl"));
        loop {
            assert!(asked.elapsed() < PATIENCE, "{name} never ran: {:?}", self.names());
            let has_started = fs::read_to_string(&events).is_ok_and(|said| said.contains("started"));
            if let Some(index) = self.names().iter().position(|other| other == name)
                && has_started
            {
                return index + 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a job is over.
    pub(crate) fn wait_for_end(&self, id: usize) -> String {
        let asked = Instant::now();
        while matches!(self.state(id).as_str(), "RUNNING" | "PENDING") {
            assert!(asked.elapsed() < PATIENCE, "job {id} does not end");
            thread::sleep(Duration::from_millis(5));
        }
        self.state(id)
    }

    /// The process of a job.
    pub(crate) fn process(&self, id: usize) -> Pid {
        Pid::from_raw(self.word(id, "pid").parse().unwrap()).unwrap()
    }

    /// Ends a job as Slurm does in such a state.
    pub(crate) fn end(&self, id: usize, state: &str, code: &str) {
        for (what, value) in [("code", code), ("state", state)] {
            fs::write(self.path(&format!("{id}/{what}")), value).unwrap();
        }
        kill_process(self.process(id), Signal::KILL).unwrap();
    }

    /// Runs one of the cluster's commands.
    pub(crate) fn call(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.path("bin").join(program));
        assert!(command.args(arguments).env("FAKE_SLURM", self.folder.path()).status().unwrap().success());
    }

    /// Starts `diapason ARGUMENTS study.toml` on a machine that has this cluster.
    pub(crate) fn drive(&self, study: &TinyStudy, arguments: &[&str]) -> Driver {
        let path = std::env::var("PATH").unwrap();
        self.drive_with(&format!("{}:{path}", self.path("bin").display()), study, arguments)
    }

    /// The same on a machine that finds programs where `path` says.
    pub(crate) fn drive_with(&self, path: &str, study: &TinyStudy, arguments: &[&str]) -> Driver {
        let mut command = diapason(arguments);
        command.arg("study.toml").current_dir(study.path("")).env("FAKE_SLURM", self.folder.path());
        command.env("PATH", path);
        Driver(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

/// A driver at work.
pub(crate) struct Driver(Child);

impl Driver {
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        self.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        Ran { code: self.0.wait().unwrap().code(), stdout, stderr }
    }
}

/// Four trials in two rungs of some seconds, or `epochs` times as fast, all with the same batch.
pub(crate) fn study(epochs: i64, slots: i64) -> TinyStudy {
    TinyStudy::new()
        .set(
            "space",
            toml::toml! {
                micro_batch_size = 4
                gradient_accumulation_steps = 1
                learning_rate = { low = 3e-4, high = 3e-2, log = true }
            },
        )
        .set(
            "search",
            toml::toml! {
                trials = 4 rungs = 2 reduction_factor = 2 max_micro_batch_size = 4 confirm = { candidates = 1 }
            },
        )
        .set("train", toml::toml! { epochs = epochs evaluations = 8 })
        .set("quantize.types", toml::Value::Array(vec![]))
        .set("executor", toml::toml! { kind = "slurm" slots = slots poll_seconds = 0.2 })
}
