//! How a job is asked for, and what `sbatch` answers. Pure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::folder::RunFolder;
use crate::fingerprint::Fingerprint;
use crate::space::{DeviceSpec, SlurmSettings};
use crate::units::Bytes;

/// Beside the cap, which counts what the program asks for, its own code and stacks and what the allocator wastes.
const BESIDE_THE_CAP: Bytes = Bytes(512 << 20);

/// 48 bits: enough to tell the studies of one user apart.
const PREFIX_DIGITS: usize = 12;

/// The words of a controller that has no time, or is away, or waits for others of our jobs to end.
const PASSING: [&str; 13] = [
    "Unable to contact slurm controller",
    "Connection refused",
    "Connection reset",
    "connect failure",
    "connection failure",
    "timed out",
    "temporarily",
    "Transport endpoint",
    "Zero Bytes were transmitted",
    "MaxSubmitJob",
    "Unexpected message received",
    "in standby mode",
    "DNS SRV lookup failed",
];

/// What all jobs of a study have in common.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) settings: SlurmSettings,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) threads: Option<usize>,
}

/// What `sbatch` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The job has this number.
    Accepted(u64),
    /// It will do later.
    NotNow,
    /// It never will.
    Refused(String),
}

impl Request {
    /// Arguments of `sbatch`.
    ///
    /// Of two jobs of one name the second waits for the end of the first (`singleton`), so that never two write one
    /// checkpoint, whatever was killed when.
    pub(super) fn arguments(&self, name: &str, folder: &RunFolder, device: &DeviceSpec) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = [
            "--parsable",
            "--requeue",
            "--open-mode=append",
            "--dependency=singleton",
            &format!("--job-name={name}"),
        ]
        .iter()
        .map(OsString::from)
        .collect();
        arguments.push(stream("--output=", &folder.events()));
        arguments.push(stream("--error=", &folder.stderr()));
        arguments.extend(self.wishes(device));
        arguments.push(folder.script().into());
        arguments
    }

    /// What the job is to run on, and the user's own flags.
    pub(super) fn wishes(&self, device: &DeviceSpec) -> Vec<OsString> {
        let settings = &self.settings;
        let options = [
            ("partition", settings.partition.clone()),
            ("account", settings.account.clone()),
            ("gres", settings.gres.clone()),
            ("time", settings.time.clone()),
            ("cpus-per-task", self.threads.map(|threads| threads.to_string())),
            ("mem", self.memory(device)),
        ];
        let options = options.into_iter().filter_map(|(key, value)| Some(format!("--{key}={}", value?)));
        options.map(OsString::from).chain(settings.flags.iter().map(OsString::from)).collect()
    }

    /// A run on the processor has a cap, by which Slurm can be told what it needs.
    fn memory(&self, device: &DeviceSpec) -> Option<String> {
        let is_told = self.settings.flags.iter().any(|flag| flag.starts_with("--mem"));
        let cap = device.cap().filter(|_| device.is_cpu() && !is_told)?;
        Some(format!("{}M", (cap.0 + BESIDE_THE_CAP.0).div_ceil(1 << 20)))
    }

    /// The job: the same child as on the driver's machine, with its specification in a file.
    pub(super) fn script(&self, folder: &RunFolder) -> String {
        let words = self.arguments.iter().map(String::as_str).map(quoted);
        let child = std::iter::once(quoted(&self.program.to_string_lossy())).chain(words);
        format!(
            "#!/bin/sh\n\
             # Ends the line that a killed attempt may have left half written.\n\
             echo\n\
             export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592\n\
             export MALLOC_TOP_PAD_=67108864 MALLOC_ARENA_MAX=1\n\
             # Not every cluster binds a job to its processors.\n\
             export RAYON_NUM_THREADS=\"${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}\"\n\
             exec {} < {}\n",
            child.collect::<Vec<_>>().join(" "),
            quoted(&folder.spec().to_string_lossy()),
        )
    }
}

/// In a path of an option Slurm takes `%` for the start of a pattern.
fn stream(option: &str, path: &Path) -> OsString {
    format!("{option}{}", path.to_string_lossy().replace('%', "%%")).into()
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A name that no other study's run has, and that each driver of this study gives again.
pub(super) fn job_prefix(study_folder: &Path) -> String {
    let mut fingerprint = Fingerprint::default();
    fingerprint.part(study_folder.as_os_str().as_encoded_bytes());
    let mut hex = fingerprint.hex();
    hex.truncate(PREFIX_DIGITS);
    format!("diapason-{hex}-")
}

/// Reads the answer of `sbatch --parsable`: `12`, or `12;cluster`.
pub(super) fn answer(succeeded: bool, stdout: &str, stderr: &str) -> Answer {
    let number = stdout.lines().last().and_then(|line| line.split(';').next()?.trim().parse().ok());
    match number {
        Some(id) if succeeded => Answer::Accepted(id),
        _ if is_passing(stderr) => Answer::NotNow,
        _ => Answer::Refused(said(stderr)),
    }
}

/// Whether a command failed for a reason that will pass.
pub(super) fn is_passing(stderr: &str) -> bool {
    PASSING.iter().any(|words| stderr.contains(words))
}

/// What a command of Slurm said, without its own name before each line.
pub(super) fn said(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| line.split_once(": error: ").map_or(line, |(_, text)| text).trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "nothing at all".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(flags: &[&str]) -> Request {
        Request {
            settings: SlurmSettings {
                partition: Some("gpu".to_owned()),
                account: None,
                gres: Some("gpu:1".to_owned()),
                time: Some("01:00:00".to_owned()),
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                poll_seconds: 5.0,
            },
            program: "/opt/it's/diapason".into(),
            arguments: vec!["worker".to_owned()],
            threads: Some(4),
        }
    }

    fn arguments(flags: &[&str], device: &str) -> Vec<String> {
        let folder = RunFolder::new("/a/50%/run".into());
        let arguments = request(flags).arguments("name", &folder, &device.parse().unwrap());
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn a_job_asks_for_what_the_study_says_and_for_the_memory_of_its_cap() {
        let arguments = arguments(&["--qos=low"], "cpu:1GiB");
        for expected in [
            "--job-name=name",
            "--partition=gpu",
            "--gres=gpu:1",
            "--time=01:00:00",
            "--cpus-per-task=4",
            "--mem=1536M",
            "--qos=low",
            "--output=/a/50%%/run/events.jsonl",
        ] {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {arguments:?}");
        }
        assert_eq!(arguments.last().map(String::as_str), Some("/a/50%/run/job.sh"));
        assert!(!arguments.iter().any(|argument| argument.starts_with("--account")));
    }

    #[test]
    fn memory_is_asked_for_once_and_not_where_a_card_has_the_cap() {
        let asked = |arguments: Vec<String>| arguments.iter().filter(|one| one.starts_with("--mem")).count();
        assert_eq!(asked(arguments(&["--mem-per-cpu=2G"], "cpu:1GiB")), 1);
        assert_eq!(asked(arguments(&[], "cuda:0:8GiB")), 0);
    }

    #[test]
    fn the_script_quotes_what_a_shell_would_take_apart() {
        let script = request(&[]).script(&RunFolder::new("/a b".into()));
        assert!(script.ends_with("exec '/opt/it'\\''s/diapason' 'worker' < '/a b/spec.json'\n"), "{script}");
    }

    #[test]
    fn an_answer_is_a_number_a_no_or_a_later() {
        assert_eq!(answer(true, "12\n", ""), Answer::Accepted(12));
        assert_eq!(answer(true, "12;tune\n", "sbatch: warning\n"), Answer::Accepted(12));
        for stderr in [
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: …\n",
        ] {
            assert_eq!(answer(false, "", stderr), Answer::NotNow, "{stderr}");
        }
        let stderr = "sbatch: error: invalid partition specified: nix\n\
                      sbatch: error: Batch job submission failed: Invalid partition name specified\n";
        let expected =
            "invalid partition specified: nix; Batch job submission failed: Invalid partition name specified";
        assert_eq!(answer(false, "", stderr), Answer::Refused(expected.to_owned()));
        assert_eq!(answer(true, "", ""), Answer::Refused("nothing at all".to_owned()));
    }
}
