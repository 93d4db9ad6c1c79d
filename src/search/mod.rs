//! DECIDE: what to probe, what to suggest, what to promote. Pure functions of what is known.
//!
//! Nothing here touches a clock, a file, a device or a global random generator; so a study that
//! was killed goes on with the suggestion it would have made.

mod batch_size;
mod halving;
mod plan;
mod sobol;

pub use batch_size::{Boundary, FrontierPoint, NextProbe, frontier_point, next_probe};
pub use halving::{Action, next_action, rung_steps};
pub use plan::{fastest_plan, feasible_plan};
pub use sobol::{Suggestion, suggest};
