//! A search as a service: one JSON object a line in, one out, for programs in any language.
//!
//! `init` starts a search, `ask` gives a trial to run and how far, or tells to wait for those under way, `tell` says what
//! a trial measured. An error is an answer of its own and changes nothing.

mod describe;
mod request;
mod space;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::knowledge::{Facts, expected};
use super::past::Shift;
use super::pruner::PrunerKind;
use super::sampler::SamplerKind;
use super::surrogate::PriorMean;
use super::tuner::{Answer, Outcome, Tuner, TunerSettings};
use super::{Failure, Fidelity, Problem};
use crate::trial::TrialId;
use request::{Ablation, Direction, Init, Request, Tell, ToldOutcome};

/// The service between two lines.
#[derive(Default)]
pub struct Service {
    search: Option<Running>,
}

/// A search that was started.
struct Running {
    tuner: Tuner,
    /// 1 where small values are good, −1 where large ones are.
    sign: f64,
}

/// What is wrong with a line, in a user's words.
type Complaint = String;

impl Service {
    /// A service that no search was started in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer to one line, without its line end.
    pub fn answer(&mut self, line: &str) -> String {
        let answer = self.answered(line).unwrap_or_else(|complaint| json!({ "error": complaint }));
        answer.to_string()
    }

    fn answered(&mut self, line: &str) -> Result<Value, Complaint> {
        match request::parse(line)? {
            Request::Init(init) => self.init(&init),
            Request::Ask => Ok(self.running()?.ask()),
            Request::Tell(tell) => self.running()?.tell(&tell),
            Request::Best => Ok(self.running()?.best()),
        }
    }

    fn running(&mut self) -> Result<&mut Running, Complaint> {
        self.search.as_mut().ok_or_else(|| "no search was started; `init` comes first".to_owned())
    }

    fn init(&mut self, init: &Init) -> Result<Value, Complaint> {
        let space = space::checked(&init.space, &init.constraints)?;
        let (facts, ignored) = init.context.as_ref().map(Facts::of).unwrap_or_default();
        let settings = settings(init, expected(&space, &facts, Shift::default()))?;
        let answer = json!({
            "ignored": ignored,
            "ok": true,
            "sampler": settings.sampler.name(),
            "pruner": settings.pruner.name(),
            "prior": settings.surrogate.prior.as_ref().map(|prior| describe::prior(&space, prior)),
        });
        let fidelity = fidelity(init)?;
        let first: Result<_, _> = init.suggest_first.iter().map(|values| space.point(values)).collect();
        let first: Vec<_> = first.map_err(|error| format!("in `suggest_first`: {error}"))?;
        let first = first.iter().map(|point| space.snapped(point)).collect();
        let problem = Problem { space, fidelity, seed: init.seed, first };
        let sign = if init.direction == Direction::Maximize { -1.0 } else { 1.0 };
        self.search = Some(Running { tuner: Tuner::new(problem, settings), sign });
        Ok(answer)
    }
}

fn settings(init: &Init, prior: Option<PriorMean>) -> Result<TunerSettings, Complaint> {
    let mut settings = TunerSettings::default();
    if let Some(name) = &init.sampler {
        settings.sampler = name.parse::<SamplerKind>().map_err(|error| error.to_string())?;
    }
    if let Some(name) = &init.pruner {
        settings.pruner = name.parse::<PrunerKind>().map_err(|error| error.to_string())?;
    }
    settings.surrogate.prior = prior;
    for ablation in &init.ablate {
        match ablation {
            Ablation::Prior => settings.surrogate.prior = None,
            Ablation::Cost => settings.weighs_cost = false,
            Ablation::Interleave => settings.interleaves = false,
            Ablation::Forecast => settings.surrogate.ignores_fidelity = true,
        }
    }
    Ok(settings)
}

fn fidelity(init: &Init) -> Result<Fidelity, Complaint> {
    let Some(asked) = &init.fidelity else { return Ok(Fidelity::full_only()) };
    let levels = asked.levels.clone();
    let is_rising = levels.is_sorted_by(|low, high| low < high);
    if !is_rising || levels.first().is_none_or(|lowest| *lowest <= 0.0) {
        return Err(format!(
            "`fidelity.levels` is {levels:?}; give rising lengths above 0, such as [1, 3, 9]"
        ));
    }
    Ok(Fidelity { levels, resume: asked.resume })
}

impl Running {
    fn ask(&mut self) -> Value {
        match self.tuner.ask() {
            Answer::Run { id, level } => {
                let problem = self.tuner.problem();
                let values = problem.space.values(&self.tuner.seen().trials()[id as usize].point);
                json!({ "id": id, "hyperparameters": values, "until_fidelity": problem.fidelity.levels[level] })
            }
            Answer::Wait => json!({ "wait": true, "reason": "who goes on depends on the trials under way" }),
            Answer::Exhausted => json!({ "finished": true, "reason": self.end() }),
        }
    }

    fn end(&self) -> &'static str {
        match self.tuner.seen().trials() {
            [] => "no point of the space was found that fulfils the constraints",
            _ => "every point of the space was tried",
        }
    }

    fn tell(&mut self, tell: &Tell) -> Result<Value, Complaint> {
        let id = TrialId::try_from(tell.id).ok().filter(|id| *id < self.tuner.seen().next_id());
        let id = id.ok_or_else(|| format!("there is no trial {}; `id` is one that `ask` gave", tell.id))?;
        if !self.tuner.seen().trials()[id as usize].is_running() {
            return Err(format!("trial {id} is not running; `ask` gives it again if it is to go on"));
        }
        let points = tell
            .points
            .iter()
            .map(|(length, value)| Some((*length, value.filter(|v| v.is_finite())? * self.sign)));
        let points: Option<Vec<(f64, f64)>> = points.collect();
        let outcome = match (tell.outcome, &points) {
            // A loss that is no number is what divergence means.
            (_, None) | (ToldOutcome::Diverged, _) => Outcome::Failed(Failure::Diverged),
            (ToldOutcome::Running, _) => Outcome::Running,
            (ToldOutcome::Completed, _) => Outcome::Completed,
            (ToldOutcome::OutOfMemory, _) => Outcome::Failed(Failure::OutOfMemory),
            (ToldOutcome::Failed, _) => Outcome::Failed(Failure::Failed),
        };
        let points = points.unwrap_or_default();
        self.check(tell, outcome)?;
        self.tuner.tell(id, &points, outcome, tell.seconds);
        Ok(json!({ "ok": true }))
    }

    /// Whether what was told can be.
    fn check(&self, tell: &Tell, outcome: Outcome) -> Result<(), Complaint> {
        // Whole steps may end a little beyond a level.
        const BEYOND: f64 = 1.01;
        let levels = &self.tuner.problem().fidelity.levels;
        let (lowest, full) = (levels[0], levels[levels.len() - 1]);
        let lengths = || tell.points.iter().map(|(length, _)| *length);
        if let Some(length) = lengths().find(|length| *length <= 0.0) {
            return Err(format!("a point's fidelity is {length}; it must be a number above 0"));
        }
        // Where all runs are full ones, nobody was told what a length is.
        if let Some(length) = lengths().find(|length| levels.len() > 1 && *length > full * BEYOND) {
            return Err(format!(
                "a point's fidelity is {length}; the full run is {full}, see `fidelity.levels`"
            ));
        }
        if let Some(seconds) = tell.seconds.filter(|seconds| *seconds < 0.0) {
            return Err(format!("`seconds` is {seconds}; it can't be below 0"));
        }
        let reached = lengths().fold(self.told(tell.id), f64::max);
        if outcome == Outcome::Completed && reached <= 0.0 {
            return Err(
                "a completed run has no `points`; give at least its last [fidelity, value]".to_owned()
            );
        }
        if outcome == Outcome::Completed && self.tuner.problem().fidelity.reached(reached).is_none() {
            return Err(format!(
                "a completed run has reached fidelity {reached}, below the lowest of `fidelity.levels`, {lowest}"
            ));
        }
        Ok(())
    }

    /// How far the trial had got before.
    fn told(&self, id: u64) -> f64 {
        let trial = usize::try_from(id).ok().and_then(|id| self.tuner.seen().trials().get(id));
        trial.map_or(0.0, super::Observed::length)
    }

    fn best(&self) -> Value {
        let problem = self.tuner.problem();
        self.tuner.seen().incumbent(problem).map_or(json!({ "id": null }), |(trial, level, value)| {
            json!({
                "id": trial.id,
                "hyperparameters": problem.space.values(&trial.point),
                "fidelity": problem.fidelity.levels[level],
                "value": value * self.sign,
            })
        })
    }
}
