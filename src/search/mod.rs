//! DECIDE: what to probe, what to suggest, what to promote. Pure functions of what is known.
//!
//! Nothing here touches a clock, a file, a device or a global random generator; so a study that
//! was killed goes on with the suggestion it would have made.

mod batch_size;
mod calibrated;
mod confirm;
mod frontier;
mod halving;
mod plan;
mod sobol;
mod stopping;
#[cfg(test)]
mod testing;

pub use batch_size::{NextProbe, next_probe};
pub use calibrated::{Calibrated, Predict};
pub use confirm::{Comparison, Contest, Decision, Rerun, Standing, Verdict, Won, compare, standing};
pub use frontier::{Boundary, CurvePoint, FrontierPoint, Provenance, frontier_point};
pub use halving::{Action, next_action, rung_steps};
pub use plan::{fastest_plan, feasible_plan};
pub use sobol::{Suggestion, suggest};
pub use stopping::{Progress, StopReason, StopRules};
