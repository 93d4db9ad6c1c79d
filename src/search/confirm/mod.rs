//! Who wins: the best candidates are compared on the same examples, and run again where that is not
//! enough.
//!
//! The lowest of several losses is partly the luckiest. So before one configuration is trained in
//! full, the best few of the highest rung are compared by what each validation example lost. If the
//! leader is clearly better than each of the others, it wins. Those it can't be told from run again
//! with it, by another seed each, up to the number of seeds the study allows. What still can't be
//! told apart is called a tie, and the cheapest of it wins.
//!
//! Everything is a function of what has ended: a study that was killed in the middle of a
//! confirmation goes on with it.

mod cost;
mod decision;
mod paired;
#[cfg(test)]
mod tests;

use cost::Costs;
pub use decision::{Contest, Decision, Won};
pub use paired::{Comparison, Verdict, compare};

use crate::space::ConfirmSettings;
use crate::trial::{Confirmation, ExampleLosses, History, Outcome, RunKey, RungRecord, Trial};

/// An interval so wide holds the difference in nineteen of twenty cases; of several comparisons it is
/// widened so that all of them hold as often (Bonferroni).
const MISSES: f64 = 0.05;
/// Within this margin two runs differ by their seeds alone in nineteen of twenty cases: 1.96 · √2 · 0.0052.
///
/// The standard deviation is that of five seeds of the quickstart's best configuration (bf16, batch 8, rate
/// 1.83e-4) after a third of its run: 4.1894, 4.1884, 4.1994, 4.1892 and 4.1974 nats per token. At five times
/// its rate it is 0.015.
const LUCK_NATS: f64 = 0.0144;

/// A run that is still needed to tell candidates apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// Which run.
    pub run: RunKey,
    /// Optimizer step at which it stops.
    pub stop_at_step: usize,
}

/// How things stand between the candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Who wins by what has run.
    pub decision: Decision,
    /// What should run next to be surer: each of them, in this order.
    pub next: Vec<Rerun>,
    /// Seconds that all missing runs of further seeds will take, at the most.
    pub seconds_left: f64,
    /// Seconds that each of `next` will take about.
    pub seconds_of_one: f64,
}

/// One candidate and the runs in which it can be compared, its own first.
struct Candidate<'a> {
    trial: &'a Trial,
    record: &'a RungRecord,
    runs: Vec<&'a ExampleLosses>,
}

/// How the candidates stand; none where no trial has finished a rung.
///
/// `seed` is the study's.
#[must_use]
pub fn standing(
    history: &History,
    confirmations: &[Confirmation],
    settings: ConfirmSettings,
    seed: u64,
) -> Option<Standing> {
    let (best, _) = history.best()?;
    let mut standing = Standing {
        decision: Decision { winner: best.id, won: Won::Unrivalled, contests: Vec::new() },
        next: Vec::new(),
        seconds_left: 0.0,
        seconds_of_one: 0.0,
    };
    let costs = Costs { history, confirmations };
    let mut field = candidates(history, settings.candidates);
    for round in 1..=settings.seeds {
        if let [last] = field.as_slice()
            && round > 1
        {
            (standing.decision.winner, standing.decision.won) = (last.trial.id, Won::Steadier);
        }
        let (contests, tied) = contests(&mut field, seed);
        if contests.is_empty() {
            break;
        }
        let (winner, won) = costs.chosen(&tied);
        standing.decision = Decision { winner, won, contests };
        if tied.len() < 2 || round == settings.seeds {
            break;
        }
        let again = other_seed(seed, round);
        let missing: Vec<&Candidate<'_>> =
            tied.iter().copied().filter(|one| one.again(again).of(confirmations).is_none()).collect();
        if !missing.is_empty() {
            let later = float(settings.seeds - round - 1);
            standing.seconds_left = seconds(&missing) + later * seconds(&tied);
            standing.seconds_of_one = seconds(&missing) / float(missing.len());
            standing.next = missing.iter().map(|one| one.again(again)).collect();
            break;
        }
        field = field.into_iter().filter_map(|one| one.with(again, confirmations)).collect();
    }
    Some(standing)
}

impl<'a> Candidate<'a> {
    fn of(trial: &'a Trial, rung: u32) -> Option<Self> {
        let record = trial.finished(rung)?;
        Some(Self { trial, record, runs: vec![record.measurement.examples.as_ref()?] })
    }

    fn again(&self, seed: u64) -> Rerun {
        let run = RunKey { trial: self.trial.id, rung: self.record.rung, seed: Some(seed) };
        Rerun { run, stop_at_step: self.record.stop_at_step }
    }

    /// With its run by another seed, if it has one; none if that says that the candidate is no good.
    fn with(mut self, seed: u64, confirmations: &'a [Confirmation]) -> Option<Self> {
        match self.again(seed).of(confirmations).map(|found| (&found.outcome, &found.measurement.examples)) {
            Some((Outcome::Diverged { .. } | Outcome::OutOfMemory { .. }, _)) => return None,
            Some((Outcome::Finished, examples)) => self.runs.extend(examples),
            // A crash says nothing of the candidate, and one that was clearly worse did not run again.
            _ => {}
        }
        Some(self)
    }

    /// A single run tells nothing of what another seed would change, so it is taken from elsewhere.
    fn allowed_luck(&self, leader: &Self, found: Comparison) -> Comparison {
        let is_known = |one: &Self| one.runs.len() > 1;
        if is_known(self) && is_known(leader) { found } else { found.allowing_for(LUCK_NATS) }
    }

    fn nats(&self) -> Vec<&'a [f64]> {
        self.runs.iter().map(|run| run.nats.as_slice()).collect()
    }

    fn loss_nats(&self) -> f64 {
        self.runs.iter().map(|run| run.loss_nats()).sum::<f64>() / float(self.runs.len())
    }
}

impl Rerun {
    /// Its record, once it has ended.
    fn of(self, confirmations: &[Confirmation]) -> Option<&RungRecord> {
        confirmations.iter().find(|one| one.key() == self.run).map(|one| &one.record)
    }
}

/// The best of the highest rung that told of their examples; none where the best itself did not.
fn candidates(history: &History, most: usize) -> Vec<Candidate<'_>> {
    let Some(top) = history.top_rung() else { return Vec::new() };
    let leaders = history.leaders(most);
    if leaders.first().is_none_or(|best| Candidate::of(best, top).is_none()) {
        return Vec::new();
    }
    leaders.into_iter().filter_map(|trial| Candidate::of(trial, top)).collect()
}

/// The leader next to each of the others, and who can't be told from it, itself first.
fn contests<'f, 'a>(field: &'f mut [Candidate<'a>], seed: u64) -> (Vec<Contest>, Vec<&'f Candidate<'a>>) {
    field.sort_by(|a, b| a.loss_nats().total_cmp(&b.loss_nats()).then(a.trial.id.cmp(&b.trial.id)));
    let Some((leader, rivals)) = field.split_first() else { return (Vec::new(), Vec::new()) };
    let confidence = 1.0 - MISSES / float(rivals.len().max(1));
    let tokens = &leader.runs[0].tokens;
    let (mut contests, mut tied) = (Vec::new(), vec![leader]);
    for rival in rivals.iter().filter(|rival| rival.runs.iter().all(|run| run.tokens == *tokens)) {
        let found = compare(&leader.nats(), &rival.nats(), tokens, confidence, seed);
        let Some(comparison) = found.map(|found| rival.allowed_luck(leader, found)) else { continue };
        if comparison.verdict != Verdict::Better {
            tied.push(rival);
        }
        contests.push(Contest {
            leader: leader.trial.id,
            rival: rival.trial.id,
            rung: leader.record.rung,
            runs: [leader.runs.len(), rival.runs.len()],
            comparison,
        });
    }
    (contests, tied)
}

/// Seed number `round` beside the study's own, which is number 0; fits the database's 63 bits.
const fn other_seed(seed: u64, round: usize) -> u64 {
    seed.wrapping_add(round as u64) & (u64::MAX >> 1)
}

/// Seconds the candidates took to get where they are compared.
fn seconds(candidates: &[&Candidate<'_>]) -> f64 {
    let rungs = candidates.iter().flat_map(|one| &one.trial.rungs);
    rungs.map(|record| record.measurement.seconds()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn float(count: usize) -> f64 {
    count as f64
}
