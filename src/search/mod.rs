//! DECIDE: what to probe, what to suggest, what to promote. Pure functions of what is known.
//!
//! Nothing here touches a clock, a file, a device or a global random generator; so a study that
//! was killed goes on with the suggestion it would have made.

mod batch;
mod confirm;
mod ending;
mod halving;
mod keeping;
mod knowledge;
mod normal;
mod observed;
mod past;
mod plane;
mod problem;
pub mod pruner;
mod random;
pub mod sampler;
mod service;
mod stopping;
pub mod surrogate;
#[cfg(test)]
mod testing;
mod tuner;

pub use batch::{
    Boundary, Calibrated, CurvePoint, FrontierPoint, NextProbe, Predict, Provenance, fastest_plan,
    feasible_plan, frontier_point, next_probe,
};
pub use confirm::{Comparison, Contest, Decision, Rerun, Standing, Verdict, Won, compare, standing};
pub use ending::{Ending, FullRun};
pub use halving::{Action, Begun, next_action, rung_steps, steps_of_promotions};
pub use keeping::{Standpoint, Use, checkpoint_uses};
pub use knowledge::{Facts, Method};
pub use observed::{Failure, Observations, Observed, State};
pub use past::{PastRun, PastStudy, Shift};
pub use plane::{Plane, Suggestion, Task};
pub use problem::{Fidelity, Problem};
pub use service::Service;
pub use stopping::{Progress, StopReason, StopRules};
pub use tuner::{Answer, Outcome as Told, Tuner, TunerSettings};
