//! Histories of few words, for what is decided by losses alone.

use crate::space::{
    BatchPlan, ConfirmSettings, Hyperparams, Precision, PrunerKind, SamplerKind, SearchSettings,
};
use crate::trial::{EvalPoint, History, Measurement, Outcome, RungRecord, Trial, TrialId};

/// Three rungs, each three times as long as the one below.
pub(in crate::search) const SETTINGS: SearchSettings = SearchSettings {
    trials: 9,
    rungs: 3,
    reduction_factor: 3,
    validation_examples: 1,
    max_micro_batch_size: 1,
    hours: None,
    plateau_nats: None,
    sampler: SamplerKind::Gp,
    pruner: PrunerKind::Halving,
    confirm: ConfirmSettings { candidates: 1, seeds: 1 },
};

fn record(rung: u32, loss: Option<f64>) -> RungRecord {
    let eval = |loss_nats| EvalPoint { step: 1, loss_nats, tokens: 1, seconds: 0.0 };
    RungRecord {
        rung,
        stop_at_step: 1,
        outcome: loss.map_or(Outcome::Diverged { step: 1 }, |_| Outcome::Finished),
        measurement: Measurement { evals: loss.map(eval).into_iter().collect(), ..Measurement::default() },
    }
}

/// A trial that ended its rungs with these losses, or diverged.
pub(in crate::search) fn trial(id: TrialId, losses: &[Option<f64>]) -> Trial {
    let batch = BatchPlan { micro_batch_size: 1, gradient_accumulation_steps: 1 };
    Trial {
        id,
        hyperparams: Hyperparams { precision: Precision::F32, batch, learning_rate: 1e-3 },
        rungs: (0..).zip(losses).map(|(rung, loss)| record(rung, *loss)).collect(),
    }
}

/// These trials, and others that were worse, nine in all.
pub(in crate::search) fn nine(mut trials: Vec<Trial>) -> History {
    for id in u32::try_from(trials.len()).unwrap()..9 {
        trials.push(trial(id, &[Some(9.0)]));
    }
    History { trials }
}
