//! Who wins, from histories written by hand.

use super::{Standing, Verdict, Won, standing};
use crate::space::{BatchPlan, ConfirmSettings, Hyperparams, Precision};
use crate::trial::{
    Confirmation, EvalPoint, ExampleLosses, History, Measurement, Outcome, Phase, PhasePeak, RungRecord,
    StepPoint, Trial, TrialId,
};
use crate::units::Bytes;

const SETTINGS: ConfirmSettings = ConfirmSettings { candidates: 3, seeds: 2 };
/// The study's; the first of the others is one more.
const SEED: u64 = 17;

/// Forty examples of ten tokens around `loss`; every other one loses `apart` more, the rest as much less.
fn record(loss: f64, apart: f64) -> RungRecord {
    let sign = |index: usize| if index.is_multiple_of(2) { 1.0 } else { -1.0 };
    let nats: Vec<f64> = (0..40).map(|index| 10.0 * (loss + sign(index) * apart)).collect();
    let eval = EvalPoint { step: 9, loss_nats: loss, tokens: 400, seconds: 1.0 };
    let step = StepPoint {
        step: 9,
        loss_nats: loss,
        learning_rate: 1e-3,
        grad_norm: None,
        update_ratio: None,
        noise: None,
        tokens: 1000,
        seconds: 4.0,
    };
    RungRecord {
        rung: 1,
        stop_at_step: 9,
        outcome: Outcome::Finished,
        measurement: Measurement {
            steps: vec![step],
            evals: vec![eval],
            peaks: vec![PhasePeak { phase: Phase::Backward, peak_bytes: Bytes(1000) }],
            examples: Some(ExampleLosses { nats, tokens: vec![10; 40] }),
            ..Measurement::default()
        },
    }
}

fn trial(id: TrialId, loss: f64, apart: f64) -> Trial {
    let batch = BatchPlan { micro_batch_size: 1, gradient_accumulation_steps: 8 };
    Trial {
        id,
        hyperparams: Hyperparams { precision: Precision::F32, batch, learning_rate: 1e-3 },
        rungs: vec![record(loss, apart)],
    }
}

fn history(trials: impl IntoIterator<Item = Trial>) -> History {
    History { trials: trials.into_iter().collect() }
}

/// With a plan of its own, that takes so many seconds a step.
fn costing(mut trial: Trial, seconds: f64) -> Trial {
    trial.hyperparams.batch.micro_batch_size = 8 + trial.id as usize;
    trial.rungs[0].measurement.steps[0].seconds = seconds;
    trial
}

fn again(trial: TrialId, seed: u64, record: RungRecord) -> Confirmation {
    Confirmation { trial, seed, record }
}

fn stands(history: &History, confirmations: &[Confirmation]) -> Standing {
    standing(history, confirmations, SETTINGS, SEED).unwrap()
}

fn next(standing: &Standing) -> Option<(TrialId, u64)> {
    standing.next.first().map(|rerun| (rerun.run.trial, rerun.run.seed.unwrap()))
}

/// Three that can't be told apart: their examples disagree by far more than their losses.
fn close() -> History {
    history([trial(0, 2.02, 0.5), trial(1, 2.0, 0.0), trial(2, 2.01, -0.5), trial(3, 2.5, 0.0)])
}

#[test]
fn nobody_wins_before_a_trial_has_finished() {
    assert_eq!(standing(&History::default(), &[], SETTINGS, SEED), None);
}

#[test]
fn a_clear_leader_wins_at_once() {
    let found = stands(&history([trial(0, 2.1, 0.0), trial(1, 2.0, 0.1)]), &[]);
    assert_eq!((found.decision.winner, found.decision.won, found.next), (1, Won::Clearly, vec![]));
    assert_eq!(found.decision.to_string(), "trial 1 beats trial 0 by 0.100 ± 0.033 nats");
    assert!(found.seconds_left == 0.0);
}

#[test]
fn those_that_tie_run_again_in_the_order_of_their_losses() {
    let (history, mut done) = (close(), Vec::new());
    for (trial, seconds) in [(1, 15.0), (2, 10.0), (0, 5.0)] {
        let found = stands(&history, &done);
        assert_eq!((next(&found), found.seconds_left), (Some((trial, 18)), seconds));
        let rerun = found.next[0];
        assert_eq!((rerun.run.rung, rerun.stop_at_step), (1, 9));
        done.push(again(trial, 18, record(2.0, 0.0)));
    }
    let found = stands(&history, &done);
    assert_eq!(next(&found), None);
    assert_eq!(found.decision.contests.len(), 2);
    assert!(found.decision.contests.iter().all(|contest| contest.runs == [2, 2]));
}

#[test]
fn a_round_that_is_not_complete_decides_nothing() {
    // By its first other seed the leader would be far behind; but the rivals have not run by it.
    let done = [again(1, 18, record(3.0, 0.0))];
    assert_eq!(stands(&close(), &done).decision, stands(&close(), &[]).decision);
}

#[test]
fn another_seed_can_turn_the_order_round() {
    let history = history([trial(0, 2.01, 0.5), trial(1, 2.0, 0.0)]);
    let done = [again(1, 18, record(2.4, 0.0)), again(0, 18, record(2.0, -0.5))];
    let found = stands(&history, &done).decision;
    assert_eq!((found.contests[0].leader, found.contests[0].rival), (0, 1));
    assert!((found.contests[0].comparison.difference_nats - 0.195).abs() < 1e-9);
    // A run of 2.0 and one of 2.4 are too far apart to say more.
    assert_eq!(found.contests[0].comparison.verdict, Verdict::Tie);
}

#[test]
fn of_a_tie_the_clearly_fastest_wins_else_the_lowest_loss() {
    for (seconds, winner, won) in [
        ([4.0, 4.0], 1, Won::LowerLoss),
        ([3.5, 4.0], 0, Won::Cheaper),
        ([3.8, 4.0], 1, Won::LowerLoss),
        ([4.0, 3.5], 1, Won::Cheaper),
    ] {
        let history =
            history([costing(trial(0, 2.01, 0.5), seconds[0]), costing(trial(1, 2.0, 0.0), seconds[1])]);
        let found = stands(&history, &[]).decision;
        assert_eq!((found.winner, found.won), (winner, won), "{seconds:?}");
    }
}

#[test]
fn candidates_of_one_plan_cost_the_same_whatever_the_clock_says() {
    let mut history = close();
    history.trials[0].rungs[0].measurement.steps[0].seconds = 0.1;
    assert_eq!(stands(&history, &[]).decision.won, Won::LowerLoss);
}

#[test]
fn who_diverges_by_another_seed_is_out_and_a_crash_is_no_sign() {
    let history = history([trial(0, 2.01, 0.5), trial(1, 2.0, 0.0)]);
    let ended = |outcome| RungRecord { outcome, measurement: Measurement::default(), ..record(0.0, 0.0) };
    let rival = || again(0, 18, record(2.0, 0.5));
    let found = stands(&history, &[again(1, 18, ended(Outcome::Diverged { step: 1 })), rival()]);
    assert_eq!((found.decision.winner, found.decision.won, found.next), (0, Won::Steadier, vec![]));
    let found = stands(
        &history,
        &[again(1, 18, ended(Outcome::TimedOut { seconds: 1, stderr_tail: String::new() })), rival()],
    );
    assert_eq!((found.decision.contests[0].runs, found.next), ([1, 2], vec![]));
}

#[test]
fn what_did_not_tell_of_its_examples_is_not_compared() {
    let mut history = close();
    history.trials[2].rungs[0].measurement.examples = None;
    let rivals = |history: &History| -> Vec<TrialId> {
        stands(history, &[]).decision.contests.iter().map(|contest| contest.rival).collect()
    };
    assert_eq!(rivals(&history), [0]);
    history.trials[1].rungs[0].measurement.examples = None;
    let found = stands(&history, &[]);
    assert_eq!((found.decision.winner, found.decision.won, found.next), (1, Won::Unrivalled, vec![]));
}

#[test]
fn only_the_highest_rung_is_compared_and_what_failed_later_is_not() {
    let mut history = close();
    let mut higher = record(1.9, 0.0);
    higher.rung = 2;
    history.trials[2].rungs.push(higher.clone());
    let found = stands(&history, &[]);
    assert_eq!((found.decision.winner, found.decision.won), (2, Won::Unrivalled));
    higher.outcome = Outcome::Diverged { step: 3 };
    history.trials[2].rungs[1] = higher;
    let found = stands(&history, &[]).decision;
    assert!(found.winner != 2 && found.contests.iter().all(|contest| contest.rival != 2));
}

#[test]
fn several_rivals_widen_each_interval() {
    let few = history([trial(0, 2.1, 0.0), trial(1, 2.0, 0.1)]);
    let many = history([trial(0, 2.1, 0.0), trial(1, 2.0, 0.1), trial(2, 2.2, 0.0)]);
    let width = |history: &History| {
        let comparison = stands(history, &[]).decision.contests[0].comparison;
        comparison.high - comparison.low
    };
    assert!(width(&many) > 1.05 * width(&few));
}
