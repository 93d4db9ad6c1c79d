//! The words all others speak: what one run is asked, what it says, and how it ended. Pure.
//!
//! A trial is one configuration; it runs in one or more *rungs*, each a child process that is
//! given a [`TrialSpec`] on its standard input and answers with [`Event`]s, one JSON object a
//! line. The driver folds the events into a [`RungRecord`]; records make the [`History`].

mod event;
mod history;
mod noise;
mod outcome;
mod power;
mod spec;
mod totals;

pub use event::{EvalEvent, Event, ExampleLosses, FailureClass, Phase, SpeedPoint, StepEvent};
pub use history::{Confirmation, History, ProbeRecord, RunKey, RungRecord, Trial, TrialId};
pub use noise::NoiseSample;
pub use outcome::{EvalPoint, Measurement, Outcome, PhasePeak, StepPoint};
pub use power::{Power, Slowdown};
pub use spec::{Task, TrainSpec, TrialSpec};
pub use totals::Totals;
