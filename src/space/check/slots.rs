//! Which devices a study names, and how many trials run at the same time on each.

use super::{Check, Checked, many};
use crate::space::study_file::{StudyFile, StudySection};
use crate::space::{DeviceSpec, ExecutorSettings, ParseDeviceError};

/// More processes than this on one device are a slip of the finger.
const MOST_SLOTS: usize = 256;

/// The device of each slot; at least one. The devices come in turn, so that few trials lie on as many of them as
/// there are.
pub(super) fn slots(check: &Check<'_>, section: &StudySection) -> Checked<Vec<DeviceSpec>> {
    let typed = section.device.as_ref().map_or_else(|| vec!["cpu".to_owned()], many);
    let each = section.slots.unwrap_or(1);
    if !(1..=MOST_SLOTS).contains(&each) {
        return check.wrong(
            "study.slots",
            each,
            "give the number of trials that a device runs at the same time",
        );
    }
    let devices = typed.iter().map(|text| device(check, text)).collect::<Checked<Vec<_>>>()?;
    let Some(first) = devices.first().copied() else {
        return check.wrong(
            "study.device",
            "an empty list",
            "name a device, such as \"cpu:4GiB\" or \"cuda:0\"",
        );
    };
    let named = || format!("`{}`", typed.join("`, `"));
    if devices.iter().any(|device| device.is_cpu() != first.is_cpu()) {
        return check.wrong(
            "study.device",
            named(),
            "a trial may run on any of them: name cards or the processor",
        );
    }
    if devices.iter().any(|device| device.cap() != first.cap()) {
        return check.wrong(
            "study.device",
            named(),
            "a trial must fit on each of them: give all the smallest cap",
        );
    }
    let slots: Vec<DeviceSpec> = std::iter::repeat_n(devices, each).flatten().collect();
    let is_shared = |device: &DeviceSpec| slots.iter().filter(|other| *other == device).count() > 1;
    if !first.is_cpu() && first.cap().is_none() && slots.iter().any(is_shared) {
        let right = "trials that share a card need a cap each, such as \"cuda:0:8GiB\"";
        return check.wrong("study.device", named(), right);
    }
    Ok(slots)
}

/// Who asks for several devices in one run must have them, and leave the run to this program on this machine.
pub(super) fn sharing(
    check: &Check<'_>,
    file: &StudyFile,
    executor: &ExecutorSettings,
    slots: &[DeviceSpec],
) -> Checked<()> {
    let right = match file.train.data_parallel {
        Some(true) if file.trainer.is_some() => {
            "a foreign trainer shares its run itself: start it by `torchrun` or `accelerate launch` in `trainer.command`"
        }
        Some(true) if !executor.is_local() => {
            "a job of Slurm trains on one device here; for more, let a `[trainer]` start `torchrun`"
        }
        Some(true) if slots.iter().all(|slot| !slot.is_cpu() && *slot == slots[0]) || slots.len() == 1 => {
            "name several devices in `study.device`, such as [\"cuda:0\", \"cuda:1\"]"
        }
        _ => return Ok(()),
    };
    check.wrong("train.data_parallel", true, right)
}

fn device(check: &Check<'_>, text: &str) -> Checked<DeviceSpec> {
    text.parse().or_else(|error: ParseDeviceError| {
        check.wrong("study.device", format!("`{text}`"), &error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::space::{DeviceSpec, Study};

    fn slots(lines: &str) -> Result<Vec<String>, String> {
        let text = format!("[study]\n{lines}\n[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n");
        let study = Study::from_toml(&text, Path::new("tiny.toml")).map_err(|error| error.to_string())?;
        assert_eq!(study.device, study.slots[0]);
        Ok(study.slots.into_iter().map(<String as From<DeviceSpec>>::from).collect())
    }

    #[test]
    fn one_device_is_one_slot_unless_more_are_asked_for() {
        assert_eq!(slots("").unwrap(), ["cpu"]);
        assert_eq!(slots("device = 'cuda:1'").unwrap(), ["cuda:1"]);
        assert_eq!(slots("device = 'cpu:2GiB'\nslots = 2").unwrap(), ["cpu:2GiB", "cpu:2GiB"]);
        assert_eq!(slots("device = ['cuda:0', 'cuda:1']").unwrap(), ["cuda:0", "cuda:1"]);
        let shared = slots("device = ['cuda:0:8GiB', 'cuda:1:8GiB']\nslots = 2").unwrap();
        assert_eq!(shared, ["cuda:0:8GiB", "cuda:1:8GiB", "cuda:0:8GiB", "cuda:1:8GiB"]);
    }

    #[test]
    fn devices_on_which_a_trial_could_not_run_alike_are_refused_with_what_would_be_right() {
        for (lines, words) in [
            ("device = ['cuda:0', 'cpu']", "cards or the processor"),
            ("device = ['cpu:1GiB', 'cpu:2GiB']", "the smallest cap"),
            ("device = []", "name a device"),
            ("device = ['cuda:0', 'gpu']", "is not a device"),
            ("device = 'cuda:0'\nslots = 2", "cuda:0:8GiB"),
            ("device = ['cuda:0', 'cuda:0']", "cuda:0:8GiB"),
            ("slots = 0", "study.slots"),
            ("slots = 1000", "study.slots"),
        ] {
            let error = slots(lines).unwrap_err();
            assert!(error.contains(words) && error.contains("hint:"), "{lines}: {error}");
        }
    }

    #[test]
    fn several_devices_share_a_run_only_where_there_are_several_and_the_run_is_ours() {
        let sharing = |lines: &str, more: &str| {
            let text = format!(
                "[study]\n{lines}\n[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n\
                 [train]\ndata_parallel = true\n{more}"
            );
            let study = Study::from_toml(&text, Path::new("tiny.toml")).map_err(|error| error.to_string())?;
            Ok::<_, String>(study.train.data_parallel)
        };
        for lines in ["device = ['cuda:0', 'cuda:1']", "device = 'cpu:1GiB'\nslots = 2"] {
            assert_eq!(sharing(lines, ""), Ok(Some(true)));
        }
        let trainer = "[trainer]\ncommand = ['python', 'train.py']\n";
        let slurm = "[executor]\nkind = 'slurm'\nslots = 2\ngres = 'gpu:1'\n";
        for (lines, more, words) in [
            ("", "", "name several devices"),
            ("device = 'cuda:0:8GiB'\nslots = 2", "", "name several devices"),
            ("device = ['cuda:0', 'cuda:1']", trainer, "torchrun"),
            ("device = 'cuda:0'", slurm, "Slurm"),
        ] {
            let error = sharing(lines, more).unwrap_err();
            assert!(error.contains(words) && error.contains("train.data_parallel"), "{lines}: {error}");
        }
    }

    #[test]
    fn a_study_of_one_slot_is_defined_as_before_there_were_slots() {
        let definition = |slots: usize| {
            let study = Study { slots: vec![DeviceSpec::Cpu { cap: None }; slots], ..Study::with_defaults() };
            serde_json::to_value(study).unwrap()
        };
        assert_eq!(definition(1).get("slots"), None);
        assert!(definition(2).get("slots").is_some());
    }
}
