//! What lies where in a study's output folder.

use std::path::{Path, PathBuf};

use crate::trial::{RunKey, TrialId};

/// The paths of one study's results.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The study's memory.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("study.db")
    }

    /// The tokenized data set.
    #[must_use]
    pub fn dataset(&self) -> PathBuf {
        self.root.join("data.safetensors")
    }

    /// The base model, where the study makes one.
    #[must_use]
    pub fn new_base(&self) -> PathBuf {
        self.root.join("base")
    }

    /// The base model, where the study's source is a GGUF file that it was unpacked from.
    #[must_use]
    pub fn unpacked_base(&self) -> PathBuf {
        self.root.join("base-from-gguf")
    }

    /// The checkpoints of all trials.
    #[must_use]
    pub fn trials(&self) -> PathBuf {
        self.root.join("trials")
    }

    /// The checkpoint of a trial.
    #[must_use]
    pub fn checkpoint(&self, trial: TrialId) -> PathBuf {
        self.trials().join(trial.to_string())
    }

    /// The checkpoint of a run: the rungs of a trial share one, each other seed has its own below it.
    #[must_use]
    pub fn checkpoint_of(&self, run: RunKey) -> PathBuf {
        let own = self.checkpoint(run.trial);
        run.seed.map_or(own.clone(), |seed| own.join(format!("seed-{seed}")))
    }

    /// The model of a trial that was a full run.
    #[must_use]
    pub fn trial_model(&self, trial: TrialId) -> PathBuf {
        self.checkpoint(trial).join("model")
    }

    /// A folder for files that only a measurement needs.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// The fine-tuned model in the Hugging Face layout.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The quantized files.
    #[must_use]
    pub fn gguf_folder(&self) -> PathBuf {
        self.root.join("gguf")
    }

    /// The report's pictures.
    #[must_use]
    pub fn plots(&self) -> PathBuf {
        self.root.join("plots")
    }

    /// A quantized file.
    #[must_use]
    pub fn gguf(&self, study: &str, gguf_type: &str) -> PathBuf {
        self.gguf_folder().join(format!("{study}-{gguf_type}.gguf"))
    }
}
