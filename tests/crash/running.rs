//! A driver at work, its children, and the moment at which something happens to them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Ran, TinyStudy, diapason};

/// A killed driver's child is gone after so long: the kernel kills it at once, but a machine under
/// load may take its time to run the test.
pub(crate) const ORPHAN_LIFE: Duration = Duration::from_secs(2);
/// Whoever waits for a child waits no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Four trials in three rungs of some tenths of a second: long enough to be cut, and for the loss
/// to rise again, so that the best weights are not the last.
pub(crate) fn study(epochs: i64) -> TinyStudy {
    // The micro-batch is explicit: a measured speed must not decide what is trained.
    TinyStudy::new()
        .set(
            "space",
            toml::toml! {
                precision = ["f32", "bf16"]
                micro_batch_size = 4
                gradient_accumulation_steps = [1, 2]
                learning_rate = { low = 3e-4, high = 3e-2, log = true }
            },
        )
        .set(
            "search",
            // A tie is broken by measured speed, which differs from run to run.
            toml::toml! {
                trials = 4 rungs = 3 reduction_factor = 2 max_micro_batch_size = 4 confirm = { candidates = 1 }
            },
        )
        .set("train", toml::toml! { epochs = epochs evaluations = 8 })
}

/// The same with one plan, so that speed decides nothing, and rates so close that the best two tie.
pub(crate) fn tying_study(epochs: i64) -> TinyStudy {
    study(epochs)
        .set("space.precision", "f32")
        .set("space.gradient_accumulation_steps", 1)
        .set("space.learning_rate", toml::toml! { low = 1e-3 high = 1.001e-3 })
        .set("search.confirm", toml::toml! { candidates = 2 seeds = 3 })
}

/// A driver and what it has said.
pub(crate) struct Running<'a> {
    study: &'a TinyStudy,
    child: Child,
    messages: BufReader<ChildStderr>,
    said: String,
}

impl<'a> Running<'a> {
    /// Starts `diapason run` as a shell does, in a process group of its own.
    pub(crate) fn start(study: &'a TinyStudy) -> Self {
        let mut command = diapason(&["run", "study.toml", "--json"]);
        command.current_dir(study.path("")).process_group(0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Self { study, child, messages, said: String::new() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the first line from `stage` on that contains `words`.
    pub(crate) fn wait_for(&mut self, stage: &str, words: &str) {
        let mut has_begun = false;
        loop {
            let mut line = String::new();
            let read = self.messages.read_line(&mut line).unwrap();
            assert!(read > 0, "`{words}` was never said:\n{}", self.said);
            self.said.push_str(&line);
            has_begun |= line.contains(stage);
            if has_begun && line.contains(words) {
                return;
            }
        }
    }

    /// The child that the driver is about to start.
    pub(crate) fn wait_for_child(&self) -> Pid {
        let asked = Instant::now();
        loop {
            assert!(asked.elapsed() < PATIENCE, "no child was seen:\n{}", self.said);
            if let [child] = self.children().as_slice() {
                return *child;
            }
        }
    }

    /// Waits until so many children run.
    pub(crate) fn wait_for_children(&self, count: usize) {
        let asked = Instant::now();
        while self.children().len() != count {
            assert!(asked.elapsed() < PATIENCE, "{count} children were never seen:\n{}", self.said);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the driver's children say nothing any more, for nobody reads what they say.
    pub(crate) fn wait_until_it_waits(&self) {
        // One event is recorded in a few milliseconds; a write that others keep from the database takes ten seconds.
        thread::sleep(Duration::from_secs(1));
        assert!(!self.children().is_empty(), "the rung has ended already:\n{}", self.said);
    }

    /// Whether the driver still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The processes that work in the study's folder, the driver excepted.
    fn children(&self) -> Vec<Pid> {
        let here = self.study.path("").canonicalize().unwrap();
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_ours = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == here);
            is_ours.then(|| path.file_name()?.to_str()?.parse().ok()).flatten()
        });
        numbers.filter_map(Pid::from_raw).filter(|pid| *pid != self.pid()).collect()
    }

    /// Kills the driver as a power cut would, and sees its children die with it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let killed = Instant::now();
        while !self.children().is_empty() && killed.elapsed() < ORPHAN_LIFE {
            thread::sleep(Duration::from_millis(5));
        }
        let orphans = self.children();
        for orphan in &orphans {
            kill_process(*orphan, Signal::KILL).unwrap_or_default();
        }
        assert!(orphans.is_empty(), "a child outlived its driver");
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ran {
        self.messages.read_to_string(&mut self.said).unwrap();
        let mut ran = Ran::of(self.child.wait_with_output().unwrap());
        ran.stderr = self.said;
        ran
    }
}
