//! Whether one candidate is better than another, by what each validation example lost in both.
//!
//! A loss per token is a ratio: nats of all examples over their scored tokens. The bootstrap draws
//! examples with replacement, the same for both candidates, so what an example is like by itself
//! cancels; where a candidate ran with several seeds, it also draws runs. The interval lies between
//! percentiles of the differences so drawn.
//!
//! A mean of `m` runs drawn from `m` varies by only (m − 1)/m of what it should, which matters where
//! `m` is 2: deviations from their mean are stretched by √(m / (m − 1)). With a single run the
//! interval tells of the examples alone, not of what another seed would change; that is for the
//! caller to allow for.
//!
//! Sources: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentiles);
//! Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 2.2.2 (ratios) and 3.8
//! (two levels).

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// Enough for the ends of a 95 % interval to be within some hundredths of its width.
const RESAMPLES: usize = 4000;

/// One candidate's loss next to another's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How much lower the first one's loss is, in nats per token.
    pub difference_nats: f64,
    /// Lower end of the interval of this difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What a comparison says of the first candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its loss is lower.
    Better,
    /// Its loss is higher.
    Worse,
    /// The examples can't tell.
    Tie,
}

/// Compares two candidates on the same examples, whose scored `tokens` are the same in every run.
///
/// Each candidate has one or more runs, each with the nats that every example lost, summed over its tokens.
/// `confidence` is that of the interval, such as 0.95. None where there is nothing to compare: no run,
/// no scored token, another number of examples, or a loss that is no finite number.
#[must_use]
pub fn compare(
    first: &[&[f64]],
    second: &[&[f64]],
    tokens: &[u32],
    confidence: f64,
    seed: u64,
) -> Option<Comparison> {
    let is_sound = |run: &&[f64]| run.len() == tokens.len() && run.iter().all(|nats| nats.is_finite());
    let are_sound = |runs: &[&[f64]]| !runs.is_empty() && runs.iter().all(is_sound);
    let scored: f64 = tokens.iter().copied().map(f64::from).sum();
    if !(are_sound(first) && are_sound(second) && scored > 0.0) {
        return None;
    }
    let total = |runs: &[&[f64]]| mean(&runs.iter().map(|run| run.iter().sum()).collect::<Vec<f64>>());
    let difference_nats = (total(second) - total(first)) / scored;
    let mut drawn = resampled(first, second, tokens, &mut ChaCha8Rng::seed_from_u64(seed));
    drawn.sort_by(f64::total_cmp);
    let (low, high) = (drawn[tail(confidence)], drawn[drawn.len() - 1 - tail(confidence)]);
    Some(Comparison { difference_nats, low, high, verdict: verdict(low, high) })
}

/// How many of the differences lie below the interval, and as many above it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a few thousand"
)]
fn tail(confidence: f64) -> usize {
    let share = (1.0 - confidence).clamp(0.0, 0.9) / 2.0;
    (share * RESAMPLES as f64) as usize
}

/// Differences of the losses over examples, and runs, drawn anew.
fn resampled(first: &[&[f64]], second: &[&[f64]], tokens: &[u32], rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut sums = (vec![0.0; first.len()], vec![0.0; second.len()]);
    let mut draw = || {
        sums.0.fill(0.0);
        sums.1.fill(0.0);
        let mut scored = 0.0;
        for _ in 0..tokens.len() {
            let example = below(tokens.len(), rng);
            scored += f64::from(tokens[example]);
            add(&mut sums.0, first, example);
            add(&mut sums.1, second, example);
        }
        let difference = mean_of_drawn(&sums.1, rng) - mean_of_drawn(&sums.0, rng);
        // Where only examples without a scored token were drawn, nothing differs.
        difference / f64::max(scored, 1.0)
    };
    (0..RESAMPLES).map(|_| draw()).collect()
}

fn add(sums: &mut [f64], runs: &[&[f64]], example: usize) {
    for (sum, run) in sums.iter_mut().zip(runs) {
        *sum += run[example];
    }
}

/// The mean of as many runs as there are, drawn with replacement and stretched away from their mean.
fn mean_of_drawn(sums: &[f64], rng: &mut ChaCha8Rng) -> f64 {
    let (count, all) = (float(sums.len()), mean(sums));
    if sums.len() < 2 {
        return all;
    }
    let drawn: f64 = (0..sums.len()).map(|_| sums[below(sums.len(), rng)]).sum();
    all + (count / (count - 1.0)).sqrt() * (drawn / count - all)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn float(count: usize) -> f64 {
    count as f64
}

/// A number below `bound`, each as likely within 2⁻³².
fn below(bound: usize, rng: &mut ChaCha8Rng) -> usize {
    let product = u64::from(rng.next_u32()) * bound as u64;
    usize::try_from(product >> 32).unwrap_or(0)
}

impl Comparison {
    /// With an interval that also allows for luck of so large a margin, independent of the examples.
    pub(super) fn allowing_for(self, margin: f64) -> Self {
        let low = self.difference_nats - (self.difference_nats - self.low).hypot(margin);
        let high = self.difference_nats + (self.high - self.difference_nats).hypot(margin);
        Self { low, high, verdict: verdict(low, high), ..self }
    }
}

fn verdict(low: f64, high: f64) -> Verdict {
    match () {
        () if low > 0.0 => Verdict::Better,
        () if high < 0.0 => Verdict::Worse,
        () => Verdict::Tie,
    }
}

impl fmt::Display for Comparison {
    /// `0.012 ± 0.004`, with a decimal more for each power of ten that the interval is narrower.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let margin = (self.high - self.low) / 2.0;
        let decimals = 3 + [1e-3, 1e-4, 1e-5].into_iter().filter(|step| margin < *step).count();
        write!(f, "{:.decimals$} ± {margin:.decimals$}", self.difference_nats.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::{ChaCha8Rng, Comparison, SeedableRng, Verdict, compare, float, resampled};
    use proptest::prelude::*;
    use rand_chacha::rand_core::RngCore as _;

    const TEN: [u32; 200] = [10; 200];

    /// Numbers that are normally distributed (Box and Muller 1958).
    fn normal(count: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut unit = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
        let mut one = || (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
        (0..count).map(|_| one()).collect()
    }

    /// Examples of ten tokens: what they lose by themselves, and `shift` plus `spread` times noise.
    fn run(shift: f64, spread: f64, seed: u64) -> Vec<f64> {
        let noise = normal(200, seed);
        let own = (0..).map(|index: u32| 30.0 + f64::from(index % 17));
        noise.iter().zip(own).map(|(noise, own)| own + 10.0 * (shift + spread * noise)).collect()
    }

    fn slices(runs: &[Vec<f64>]) -> Vec<&[f64]> {
        runs.iter().map(Vec::as_slice).collect()
    }

    fn check(first: &[Vec<f64>], second: &[Vec<f64>]) -> Comparison {
        compare(&slices(first), &slices(second), &TEN, 0.95, 1).unwrap()
    }

    #[test]
    fn the_interval_of_normal_differences_is_that_of_the_normal_distribution() {
        let (first, second) = (run(0.0, 0.0, 0), run(0.02, 0.05, 7));
        let each: Vec<f64> = first.iter().zip(&second).map(|(a, b)| (b - a) / 10.0).collect();
        let mean = each.iter().sum::<f64>() / 200.0;
        let variance = each.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 199.0;
        let margin = 1.96 * (variance / 200.0).sqrt();
        let found = check(&[first], &[second]);
        assert!((found.difference_nats - mean).abs() < 1e-12, "{found:?}");
        let close = |end: f64, expected: f64| (end - expected).abs() < 0.1 * margin;
        assert!(close(found.low, mean - margin) && close(found.high, mean + margin), "{found:?} {margin}");
        assert_eq!(found.verdict, Verdict::Better);
    }

    #[test]
    fn what_examples_are_like_by_themselves_cancels() {
        let found = check(&[run(0.0, 0.0, 0)], &[run(1e-6, 0.0, 0)]);
        assert_eq!(found.verdict, Verdict::Better, "{found:?}");
        assert!(found.high - found.low < 1e-9, "{found:?}");
    }

    #[test]
    fn equal_runs_tie() {
        let same = || vec![run(0.0, 0.3, 1), run(0.0, 0.3, 2)];
        assert_eq!(check(&same(), &same()).verdict, Verdict::Tie);
        let found = check(&same()[..1], &same()[..1]);
        let zero = Comparison { difference_nats: 0.0, low: 0.0, high: 0.0, verdict: Verdict::Tie };
        assert_eq!(found, zero);
    }

    #[test]
    fn runs_that_differ_by_their_seeds_widen_the_interval_as_they_should() {
        // Examples agree, so all variance is that of the seeds: s²/m for each candidate.
        let shifted = |shifts: [f64; 2]| shifts.map(|shift| run(shift, 0.0, 0)).to_vec();
        let (first, second) = (shifted([0.0, 0.04]), shifted([0.08, 0.12]));
        let found = check(&first, &second);
        assert!((found.difference_nats - 0.08).abs() < 1e-12);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let drawn = resampled(&slices(&first), &slices(&second), &TEN, &mut rng);
        let mean = drawn.iter().sum::<f64>() / float(drawn.len());
        let variance = drawn.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / float(drawn.len());
        // s² of {0, 0.04} is 8e-4; two candidates of two runs each: 2 · 8e-4 / 2.
        assert!((variance / 8e-4 - 1.0).abs() < 0.05, "{variance}");
        assert_eq!(found.verdict, Verdict::Better);
    }

    #[test]
    fn a_long_example_counts_by_its_tokens() {
        let (first, second): (&[f64], &[f64]) = (&[1.0, 90.0], &[2.0, 90.0]);
        let found = compare(&[first], &[second], &[1, 99], 0.95, 0).unwrap();
        assert!((found.difference_nats - 0.01).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn luck_that_is_allowed_for_widens_the_interval_as_independent_noise_does() {
        let found = Comparison { difference_nats: 0.05, low: 0.02, high: 0.08, verdict: Verdict::Better };
        let wider = found.allowing_for(0.04);
        assert!((wider.low - 0.0).abs() < 1e-12 && (wider.high - 0.1).abs() < 1e-12, "{wider:?}");
        assert_eq!(found.allowing_for(0.05).verdict, Verdict::Tie);
        assert_eq!(found.allowing_for(0.0), found);
    }

    #[test]
    fn where_there_is_nothing_to_compare_nothing_is_said() {
        let run: &[f64] = &[1.0, 2.0];
        assert!(compare(&[run], &[run], &[1, 1], 0.95, 0).is_some());
        for (first, second, tokens) in [
            (vec![], vec![run], &[1, 1][..]),
            (vec![run], vec![run], &[1]),
            (vec![run], vec![run], &[0, 0]),
            (vec![run], vec![&[1.0, f64::NAN][..]], &[1, 1]),
            (vec![&[][..]], vec![&[][..]], &[]),
        ] {
            assert_eq!(compare(&first, &second, tokens, 0.95, 0), None, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_difference_is_written_with_its_margin_and_enough_digits() {
        let text = |difference_nats, low, high| {
            Comparison { difference_nats, low, high, verdict: Verdict::Better }.to_string()
        };
        assert_eq!(text(0.0123, 0.0083, 0.0163), "0.012 ± 0.004");
        assert_eq!(text(-0.0123, -0.0163, -0.0083), "0.012 ± 0.004");
        assert_eq!(text(0.000_52, 0.000_32, 0.000_72), "0.0005 ± 0.0002");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_other_way_round_says_the_opposite(
            losses in prop::collection::vec((0.0..9.0f64, 0.0..9.0f64, 1u32..40), 1..30), seed: u64
        ) {
            let first: Vec<f64> = losses.iter().map(|(one, ..)| *one).collect();
            let second: Vec<f64> = losses.iter().map(|(_, other, _)| *other).collect();
            let tokens: Vec<u32> = losses.iter().map(|(.., tokens)| *tokens).collect();
            let there = compare(&[&first], &[&second], &tokens, 0.95, seed).unwrap();
            let back = compare(&[&second], &[&first], &tokens, 0.95, seed).unwrap();
            prop_assert!(there.low <= there.high);
            for (one, other) in [(there.low, back.high), (there.high, back.low)] {
                prop_assert!((one + other).abs() < 1e-12);
            }
            prop_assert_eq!(there.verdict == Verdict::Better, back.verdict == Verdict::Worse);
            prop_assert_eq!(there, compare(&[&first], &[&second], &tokens, 0.95, seed).unwrap());
        }

        #[test]
        fn an_interval_of_95_per_cent_misses_the_truth_in_about_one_case_of_twenty(seed in 0u64..1000) {
            let misses = (0..100).filter(|case| {
                let (first, second) = (run(0.0, 0.0, 0), run(0.0, 0.1, seed * 1000 + case));
                check(&[first], &[second]).verdict != Verdict::Tie
            });
            // P(more than 15 of 100 at 5 %) is 4e-5.
            prop_assert!(misses.count() <= 15);
        }
    }
}
