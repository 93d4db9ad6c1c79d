//! Who runs the trials of a study, and how many at the same time.

use super::{Check, Checked, many, slots};
use crate::space::study_file::{ExecutorSection, StudyFile};
use crate::space::{CardName, DeviceSpec, ExecutorSettings, SlurmSettings};

/// More jobs than this at the same time are a slip of the finger.
const MOST_JOBS: usize = 1024;
/// Often enough to see the end of a job that lasts minutes, seldom enough for a controller with thousands of them.
const POLL_SECONDS: f64 = 5.0;
/// Options by which the driver finds a job and its files again; each in its short form, too.
const OWN_FLAGS: [&str; 15] = [
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--error",
    "-e",
    "--open-mode",
    "--dependency",
    "-d",
    "--array",
    "-a",
    "--wait",
    "-W",
    "--parsable",
    "--wrap",
];

/// The executor, and the device of each of its slots.
pub(super) fn executor(check: &Check<'_>, file: &StudyFile) -> Checked<(ExecutorSettings, Vec<DeviceSpec>)> {
    let section = &file.executor;
    match section.kind.as_deref() {
        None | Some("local") => {
            only_slurms(check, section)?;
            Ok((ExecutorSettings::Local, slots::slots(check, &file.study)?))
        }
        Some("slurm") => slurm(check, file),
        Some(other) => check.wrong("executor.kind", format!("`{other}`"), "use `local` or `slurm`"),
    }
}

/// A key that would be passed over in silence is an error.
fn only_slurms(check: &Check<'_>, section: &ExecutorSection) -> Checked<()> {
    let set = [
        ("slots", section.slots.is_some()),
        ("partition", section.partition.is_some()),
        ("account", section.account.is_some()),
        ("gres", section.gres.is_some()),
        ("time", section.time.is_some()),
        ("flags", section.flags.is_some()),
        ("poll_seconds", section.poll_seconds.is_some()),
    ];
    match set.iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => {
            let right = "it is of use only with `kind = \"slurm\"`; on this machine `study.slots` says how many \
                         trials run at the same time";
            check.wrong(&format!("executor.{key}"), "set without Slurm", right)
        }
        None => Ok(()),
    }
}

fn slurm(check: &Check<'_>, file: &StudyFile) -> Checked<(ExecutorSettings, Vec<DeviceSpec>)> {
    let section = &file.executor;
    let settings = SlurmSettings {
        partition: word(check, "executor.partition", section.partition.as_ref())?,
        account: word(check, "executor.account", section.account.as_ref())?,
        gres: word(check, "executor.gres", section.gres.as_ref())?,
        time: time(check, section.time.as_ref())?,
        flags: flags(check, section)?,
        poll_seconds: poll_seconds(check, section.poll_seconds)?,
    };
    let device = device(check, file, &settings)?;
    let slots = section.slots.unwrap_or(1);
    if !(1..=MOST_JOBS).contains(&slots) {
        return check.wrong("executor.slots", slots, "give the number of jobs at the same time");
    }
    Ok((ExecutorSettings::Slurm(settings), vec![device; slots]))
}

/// Each job sees what Slurm gives it, and calls a card its first.
fn device(check: &Check<'_>, file: &StudyFile, settings: &SlurmSettings) -> Checked<DeviceSpec> {
    if file.study.slots.is_some() {
        let right = "with Slurm `executor.slots` says how many jobs run at the same time";
        return check.wrong("study.slots", "set beside `executor.kind = \"slurm\"`", right);
    }
    let devices = slots::slots(check, &file.study)?;
    let wrong = |value: &str, right: &str| check.wrong("study.device", value.to_owned(), right);
    let is_card =
        |flag: &String| flag.starts_with("--gres") || flag.starts_with("--gpus") || flag.starts_with("-G");
    match devices.as_slice() {
        [DeviceSpec::Cpu { cap: None }] => wrong(
            "`cpu` without a cap",
            "how much memory a compute node has is not known here: write one, such as \"cpu:8GiB\"",
        ),
        [DeviceSpec::Cuda { card: CardName::Index(0), .. }]
            if settings.gres.is_none() && !settings.flags.iter().any(is_card) =>
        {
            wrong("a card, but the jobs ask for none", "add `gres = \"gpu:1\"` to `[executor]`")
        }
        [device @ (DeviceSpec::Cpu { .. } | DeviceSpec::Cuda { card: CardName::Index(0), .. })] => {
            Ok(*device)
        }
        _ => wrong(
            "another card than the first",
            "a job sees its card as \"cuda:0\", whichever Slurm gives it",
        ),
    }
}

/// A word that Slurm takes as one.
fn word(check: &Check<'_>, key: &str, value: Option<&String>) -> Checked<Option<String>> {
    match value {
        Some(text) if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) => {
            check.wrong(key, format!("`{text}`"), "give the name alone, as after `sbatch`'s option")
        }
        value => Ok(value.cloned()),
    }
}

fn time(check: &Check<'_>, value: Option<&String>) -> Checked<Option<String>> {
    match value {
        Some(text) if !is_time(text) => {
            let right = "write minutes, \"hours:minutes:seconds\" or \"days-hours:minutes:seconds\", such as \"02:00:00\"";
            check.wrong("executor.time", format!("`{text}`"), right)
        }
        value => Ok(value.cloned()),
    }
}

/// As `sbatch --time` has it: minutes, minutes:seconds, hours:minutes:seconds, each of these after `days-`.
fn is_time(text: &str) -> bool {
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let numbers: Vec<&str> = days.into_iter().chain(rest.split(':')).collect();
    let is_number =
        |part: &&str| !part.is_empty() && part.len() < 7 && part.bytes().all(|byte| byte.is_ascii_digit());
    rest.split(':').count() <= 3
        && numbers.iter().all(is_number)
        && numbers.iter().any(|part| !part.trim_matches('0').is_empty())
}

fn flags(check: &Check<'_>, section: &ExecutorSection) -> Checked<Vec<String>> {
    let flags = section.flags.as_ref().map(many).unwrap_or_default();
    let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    if let Some(own) = flags.iter().find(|flag| OWN_FLAGS.contains(&name(flag).as_str())) {
        let right = "by this option the driver finds its jobs and their files again: leave it out";
        return check.wrong("executor.flags", format!("`{own}`"), right);
    }
    match flags.iter().find(|flag| !flag.starts_with('-') || flag.contains(char::is_whitespace)) {
        Some(flag) => {
            let right = "give each option of `sbatch` as one text, such as \"--qos=low\"";
            check.wrong("executor.flags", format!("`{flag}`"), right)
        }
        None => Ok(flags),
    }
}

fn poll_seconds(check: &Check<'_>, value: Option<f64>) -> Checked<f64> {
    match value.unwrap_or(POLL_SECONDS) {
        seconds if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        seconds => check.wrong("executor.poll_seconds", seconds, "it must lie between 0.1 and 600"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::space::Study;

    fn study(device: &str, executor: &str) -> Result<Study, String> {
        let text = format!(
            "[study]\n{device}\n[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n[executor]\n{executor}\n"
        );
        Study::from_toml(&text, Path::new("tiny.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_children_are_the_drivers_own() {
        assert_eq!(study("", "").unwrap().executor, ExecutorSettings::Local);
        assert_eq!(study("slots = 2", "kind = 'local'").unwrap().slots.len(), 2);
        let definition = serde_json::to_value(study("", "").unwrap()).unwrap();
        assert_eq!(definition.get("executor"), None, "a local study is defined as before there was another");
    }

    #[test]
    fn a_study_on_slurm_has_as_many_slots_as_jobs_each_with_the_first_card() {
        let study = study(
            "device = 'cuda:0'",
            "kind = 'slurm'\nslots = 3\npartition = 'gpu'\ngres = 'gpu:1'\ntime = '1-02:00:00'\nflags = '--qos=low'",
        )
        .unwrap();
        assert_eq!(study.slots, [DeviceSpec::cuda(0); 3]);
        let ExecutorSettings::Slurm(slurm) = study.executor else { panic!("{:?}", study.executor) };
        assert_eq!((slurm.partition.as_deref(), slurm.gres.as_deref()), (Some("gpu"), Some("gpu:1")));
        assert_eq!((slurm.time.as_deref(), slurm.flags), (Some("1-02:00:00"), vec!["--qos=low".to_owned()]));
    }

    #[test]
    fn times_are_those_of_sbatch() {
        for text in ["90", "90:30", "02:00:00", "1-0", "1-12:30", "1-12:30:00"] {
            assert!(is_time(text), "{text}");
        }
        for text in ["", "2h", "0", "1:2:3:4", "-1", "1-", ":30", "00:00:00", "9999999"] {
            assert!(!is_time(text), "{text}");
        }
    }

    #[test]
    fn what_slurm_would_not_take_is_refused_with_what_would_be_right() {
        let cpu = "device = 'cpu:1GiB'";
        for (device, executor, words) in [
            (cpu, "kind = 'pbs'", "use `local` or `slurm`"),
            (cpu, "partition = 'gpu'", "`executor.partition` is set without Slurm"),
            ("", "kind = 'slurm'", "cpu:8GiB"),
            ("device = 'cuda:0'", "kind = 'slurm'", "gres = \"gpu:1\""),
            ("device = 'cuda:1'", "kind = 'slurm'\ngres = 'gpu:1'", "cuda:0"),
            ("device = ['cuda:0', 'cuda:1']", "kind = 'slurm'\ngres = 'gpu:1'", "cuda:0"),
            ("device = 'cpu:1GiB'\nslots = 2", "kind = 'slurm'", "executor.slots"),
            (cpu, "kind = 'slurm'\nslots = 0", "executor.slots"),
            (cpu, "kind = 'slurm'\ntime = '2 hours'", "02:00:00"),
            (cpu, "kind = 'slurm'\npartition = '--all'", "executor.partition"),
            (cpu, "kind = 'slurm'\nflags = ['--output=x']", "leave it out"),
            (cpu, "kind = 'slurm'\nflags = ['-J', 'x']", "leave it out"),
            (cpu, "kind = 'slurm'\nflags = ['--qos low']", "--qos=low"),
            (cpu, "kind = 'slurm'\npoll_seconds = 0", "executor.poll_seconds"),
        ] {
            let error = study(device, executor).unwrap_err();
            assert!(error.contains(words) && error.contains("hint:"), "{executor}: {error}");
        }
    }
}
