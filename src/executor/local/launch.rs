//! How a child is started: its program, its environment, its standard streams.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::executor::{ExecutorError, Job};
use crate::space::DeviceSpec;
use crate::trial::TrialSpec;

/// Which cards a CUDA program sees, and in which order.
const VISIBLE_CARDS: &str = "CUDA_VISIBLE_DEVICES";

/// A program that speaks the trial protocol.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) threads: Option<usize>,
}

impl Launch {
    /// Starts a child and gives it its task.
    pub(super) fn start(&self, job: &Job<'_>, threads: Option<usize>) -> Result<Child, ExecutorError> {
        let mut child = self.command(&job.spec.device, threads).spawn().map_err(ExecutorError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            let spec = serde_json::to_vec(&seen_by_the_child(job.spec));
            let spec = spec.map_err(|error| ExecutorError::Start(error.into()))?;
            // A child that died before it read its task is classified by how it died.
            let _ = stdin.write_all(&spec);
        }
        Ok(child)
    }

    fn command(&self, device: &DeviceSpec, threads: Option<usize>) -> Command {
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
        if let Some(threads) = threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        if let DeviceSpec::Cuda { index, .. } = device {
            let outer = std::env::var(VISIBLE_CARDS).ok();
            command.env(VISIBLE_CARDS, visible_card(*index, outer.as_deref()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: killing it reaches grandchildren, and Ctrl-C does not.
            command.process_group(0);
        }
        command
    }
}

/// The one card a child sees, in the words of the driver's own list of cards, which may hold identities.
fn visible_card(index: usize, outer: Option<&str>) -> String {
    let of_outer = outer.and_then(|outer| outer.split(',').nth(index)).map(str::trim);
    of_outer.filter(|name| !name.is_empty()).map_or_else(|| index.to_string(), str::to_owned)
}

/// A child that sees one card calls it the first.
fn seen_by_the_child(spec: &TrialSpec) -> TrialSpec {
    let device = match spec.device {
        DeviceSpec::Cuda { cap, .. } => DeviceSpec::Cuda { index: 0, cap },
        device @ DeviceSpec::Cpu { .. } => device,
    };
    TrialSpec { device, ..spec.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_the_card_of_its_slot_in_the_words_of_the_drivers_own_list() {
        for (index, outer, expected) in [
            (1, None, "1"),
            (1, Some("2,5"), "5"),
            (0, Some("GPU-a, GPU-b"), "GPU-a"),
            (1, Some("GPU-a, GPU-b"), "GPU-b"),
            (1, Some("3"), "1"),
        ] {
            assert_eq!(visible_card(index, outer), expected, "cuda:{index} of {outer:?}");
        }
    }
}
