//! What of a run a card can't do as it was asked.

use std::fmt;

use serde::Serialize;

use super::Run;
use crate::memory::gpu::Gpu;
use crate::space::Precision;

/// Something to be said beside an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The precision is computed by conversion, at the speed of f32.
    NoArithmetic(Precision),
    /// The card does not run CUDA, so this program does not run on it.
    NoCuda,
    /// Products of so few rows keep no card busy.
    FewTokens,
}

/// Products of fewer rows than this keep no card busy; see `HALF_FULL_TOKENS`.
const FEW: f64 = 512.0;

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArithmetic(precision) => write!(
                f,
                "the card has no {precision} arithmetic (compute capability below 8.0): it would compute as \
                 fast as in f32; use f16"
            ),
            Self::NoCuda => write!(f, "the card does not run CUDA: this program would not run on it"),
            Self::FewTokens => write!(
                f,
                "a micro-batch of fewer than {FEW} tokens keeps the card half idle; a larger one would be faster"
            ),
        }
    }
}

pub(super) fn of(run: &Run, gpu: &Gpu) -> Vec<Warning> {
    let candidates = [
        (!gpu.supports(run.precision), Warning::NoArithmetic(run.precision)),
        (!gpu.runs_cuda(), Warning::NoCuda),
        (run.tokens() < FEW, Warning::FewTokens),
    ];
    candidates.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning).collect()
}
