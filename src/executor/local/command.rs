//! What is started for a specification: this program as a worker, or a foreign trainer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::space::TrainerSettings;
use crate::trial::{Task, TrialSpec};

/// A trial's program, by what is to be done.
pub(super) struct Programs {
    /// This program, and how it is told to be a worker.
    own: (PathBuf, Vec<String>),
    foreign: Option<Foreign>,
}

/// A foreign trainer, and what starts it.
struct Foreign {
    settings: TrainerSettings,
    /// A program that becomes another: it sees to it that the trainer dies with the driver, and to its cap.
    launcher: Option<PathBuf>,
}

impl Programs {
    pub(super) const fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self { own: (program, arguments), foreign: None }
    }

    pub(super) fn set_trainer(&mut self, trainer: Option<TrainerSettings>, launcher: Option<PathBuf>) {
        self.foreign = trainer.map(|settings| Foreign { settings, launcher });
    }

    /// The trainer that a specification is for; none where it is for this program.
    ///
    /// A foreign trainer knows neither our test split nor GGUF files, so models are evaluated here.
    pub(super) fn trainer(&self, spec: &TrialSpec) -> Option<&TrainerSettings> {
        let foreign = self.foreign.as_ref().filter(|_| spec.task.is_of_trainers());
        foreign.map(|foreign| &foreign.settings)
    }

    /// The program for `spec` with its arguments.
    pub(super) fn command(&self, spec: &TrialSpec) -> Command {
        match &self.foreign {
            Some(foreign) if spec.task.is_of_trainers() => foreign.command(spec),
            _ => self.worker(),
        }
    }

    fn worker(&self) -> Command {
        let (program, arguments) = &self.own;
        let mut command = Command::new(program);
        command.args(arguments);
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
        command
    }
}

impl Foreign {
    fn command(&self, spec: &TrialSpec) -> Command {
        let mut words: Vec<OsString> =
            self.settings.command.iter().map(|word| word.filled(|name| value(name, spec)).into()).collect();
        if let Some(launcher) = &self.launcher {
            words.splice(0..0, launch(launcher, spec));
        }
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(folder(&self.settings.folder));
        command
    }
}

/// A folder without a name is the working folder.
fn folder(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// A card's memory is bounded by who allocates it; only the processor's is bounded from outside.
fn launch(launcher: &Path, spec: &TrialSpec) -> Vec<OsString> {
    let cap = spec.device.cap().filter(|_| spec.device.is_cpu());
    let cap = cap.map(|cap| format!("--cap={}", cap.exact()));
    let words = ["launch".to_owned()].into_iter().chain(cap).chain(["--".to_owned()]);
    std::iter::once(launcher.into()).chain(words.map(OsString::from)).collect()
}

/// What a placeholder of the study file stands for in a run.
///
/// Where a probe has no value of its own it is what makes a short run of its size: its steps, its scratch folder.
fn value(name: &str, spec: &TrialSpec) -> String {
    let (point, train) = (&spec.hyperparams, &spec.train);
    let lora = train.lora.as_ref();
    match name {
        "learning_rate" => point.learning_rate.to_string(),
        "precision" => point.precision.to_string(),
        "micro_batch_size" => point.batch.micro_batch_size.to_string(),
        "gradient_accumulation_steps" => point.batch.gradient_accumulation_steps.to_string(),
        "effective_batch_size" => point.batch.effective_batch_size().to_string(),
        "seed" => train.seed.to_string(),
        "total_steps" => train.total_steps.to_string(),
        "schedule" => train.schedule.to_string(),
        "warmup_fraction" => train.warmup_fraction.to_string(),
        "warmup_steps" => train.warmup_steps().to_string(),
        "weight_decay" => train.weight_decay.to_string(),
        // Hugging Face and PyTorch users write 0 for no clipping.
        "max_grad_norm" => train.max_grad_norm.unwrap_or(0.0).to_string(),
        "gradient_checkpointing" => train.gradient_checkpointing.to_string(),
        "validation_examples" => train.validation_examples.to_string(),
        "eval_micro_batch_size" => train.eval_micro_batch_size.to_string(),
        "lora_rank" => lora.map(|lora| lora.rank.to_string()).unwrap_or_default(),
        "lora_alpha" => lora.map(|lora| lora.alpha.to_string()).unwrap_or_default(),
        "model" => spec.model.display().to_string(),
        "dataset" => spec.dataset.display().to_string(),
        "device" => spec.device.name(),
        _ => value_of_task(name, &spec.task),
    }
}

fn value_of_task(name: &str, task: &Task) -> String {
    let (kind, stop, every) = match task {
        Task::Probe { steps, .. } => ("probe", *steps, *steps),
        Task::Train { stop_at_step, evaluate_every, .. } => ("train", *stop_at_step, *evaluate_every),
        Task::Gradients { .. } => ("gradients", 0, 0),
        Task::Evaluate => ("evaluate", 0, 0),
    };
    let folder = task.folder().unwrap_or(Path::new(""));
    match name {
        "stop_at_step" => stop.to_string(),
        "evaluate_every" => every.to_string(),
        "checkpoint" => folder.display().to_string(),
        "best" => match task {
            Task::Train { best: Some(best), .. } => best.display().to_string(),
            // Nothing is kept of this run: the place is as good as any.
            _ => folder.join("best").display().to_string(),
        },
        _ => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::executor::testing::{probe, spec, train, trainer};
    use crate::space::{PLACEHOLDERS, Template};

    fn words(command: &Command) -> Vec<&OsStr> {
        std::iter::once(command.get_program()).chain(command.get_args()).collect()
    }

    fn foreign(typed: &[&str], launcher: Option<&str>) -> Programs {
        let mut programs = Programs::new("diapason".into(), vec!["worker".to_owned()]);
        programs.set_trainer(Some(trainer(typed)), launcher.map(PathBuf::from));
        programs
    }

    #[test]
    fn a_trial_is_given_to_the_trainer_with_its_arguments_filled_in() {
        let programs =
            foreign(&["python", "t.py", "--lr={learning_rate}", "{stop_at_step}/{total_steps}"], None);
        let command = programs.command(&train(7, "results/trials/0"));
        assert_eq!(words(&command), ["python", "t.py", "--lr=0.001", "7/9"]);
        assert_eq!(command.get_current_dir(), Some(Path::new(".")));
    }

    #[test]
    fn a_probe_is_a_short_run_in_its_scratch_folder() {
        let programs = foreign(&["t", "{task}", "{checkpoint}", "{stop_at_step}", "{best}"], None);
        let command = programs.command(&probe(3, "scratch"));
        assert_eq!(words(&command), ["t", "probe", "scratch", "3", "scratch/best"]);
    }

    #[test]
    fn evaluations_stay_with_this_program() {
        let programs = foreign(&["t"], None);
        assert_eq!(words(&programs.command(&spec(Task::Evaluate))), ["diapason", "worker"]);
        assert!(programs.trainer(&spec(Task::Evaluate)).is_none());
    }

    #[test]
    fn a_launcher_stands_in_front_and_is_told_the_cap_of_a_processor() {
        let programs = foreign(&["t", "x"], Some("diapason"));
        let launched = |device: &str| {
            let command = programs.command(&TrialSpec { device: device.parse().unwrap(), ..probe(1, "s") });
            words(&command).iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(launched("cpu:1MiB"), ["diapason", "launch", "--cap=1MiB", "--", "t", "x"]);
        assert_eq!(launched("cuda:0:8GiB"), ["diapason", "launch", "--", "t", "x"]);
    }

    #[test]
    fn every_placeholder_stands_for_something() {
        let mut train = train(7, "results/trials/0");
        train.train.lora = Some(crate::space::LoraSettings::of_rank(4));
        for name in PLACEHOLDERS {
            let filled = Template::parse(&format!("{{{name}}}")).unwrap().filled(|name| value(name, &train));
            assert!(!filled.is_empty(), "{name}");
            assert_eq!(filled == "train", name == "task", "{name} is {filled}");
        }
    }
}
