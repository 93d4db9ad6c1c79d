//! The hardware plane: which micro-batch is probed next, and how an effective batch is run.

mod batch_size;
mod calibrated;
mod frontier;
mod plan;
mod saturation;
#[cfg(test)]
mod testing;

pub use batch_size::{NextProbe, next_probe};
pub use calibrated::{Calibrated, Predict};
pub use frontier::{Boundary, CurvePoint, FrontierPoint, Provenance, frontier_point};
pub use plan::{fastest_plan, feasible_plan};
