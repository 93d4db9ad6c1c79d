//! What is known about a device besides its memory.

use serde::{Deserialize, Serialize};

use super::nvml::CardFacts;

/// Facts for the report and `doctor`; nothing is decided on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Facts {
    /// A processor.
    Cpu(CpuFacts),
    /// An NVIDIA card, as NVML knows it.
    Card(Box<CardFacts>),
    /// A device about which nothing could be learnt, and why.
    Unknown {
        /// For a person to read.
        reason: String,
    },
}

/// Facts about the processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFacts {
    /// Model name, where the system tells it.
    pub model: Option<String>,
    /// Threads this process may run at once.
    pub threads: usize,
}
