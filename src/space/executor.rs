//! Where the children of a study run.

use serde::Serialize;

/// Who starts the children.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ExecutorSettings {
    /// The driver itself, on its own machine.
    #[default]
    Local,
    /// Slurm, on whatever machine it has.
    Slurm(SlurmSettings),
}

impl ExecutorSettings {
    /// Whether children share the driver's machine.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }
}

/// What each job asks Slurm for, in Slurm's own words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlurmSettings {
    /// Partition; that of the cluster where none is named.
    pub partition: Option<String>,
    /// Account that is charged.
    pub account: Option<String>,
    /// Generic resources, such as `gpu:1`.
    pub gres: Option<String>,
    /// Time limit of a job.
    pub time: Option<String>,
    /// Further options of `sbatch`.
    pub flags: Vec<String>,
    /// Seconds between two questions to the controller.
    pub poll_seconds: f64,
}
