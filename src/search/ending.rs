//! What follows a search, and how long it takes: so much of the time up to a deadline the search leaves.
//!
//! Every part is a count times what one was measured to take, and stretched, because a machine that others use is not
//! always as fast as it was. The full run is stretched less: one that takes longer still is cut, and its best weights
//! are there. What follows it must not be.

/// How much longer than measured the full run may take.
const SLACK_OF_TRAINING: f64 = 1.25;
/// The same of all that follows.
const SLACK: f64 = 1.5;
/// Plots and page.
const REPORT_SECONDS: f64 = 5.0;

/// What is left to be done once the search has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ending {
    /// The full run of the best, as far as one is known.
    pub full_run: Option<FullRun>,
    /// Models that are still to be judged on the test split.
    pub judgements: usize,
    /// What judging one takes, its start included.
    pub seconds_per_judgement: f64,
    /// Files that are still to be quantized.
    pub exports: usize,
    /// What writing one takes.
    pub seconds_per_export: f64,
}

/// The part of a full run that has not been trained yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FullRun {
    /// Optimizer steps.
    pub steps: usize,
    /// What one takes, with its share of the evaluations on the way.
    pub seconds_per_step: f64,
    /// What an evaluation takes.
    pub seconds_per_evaluation: f64,
}

impl Ending {
    /// Seconds of all of it; a full run that is longer than `most` is expected to be cut there.
    #[must_use]
    pub fn seconds(&self, most: f64) -> f64 {
        let full_run = self.full_run.map_or(0.0, |run| SLACK_OF_TRAINING * run.seconds());
        full_run.min(most.max(0.0)) + self.after_training()
    }

    /// Seconds from the end of the full run on: its weights are kept, judged and quantized, and the page is drawn.
    #[must_use]
    pub fn after_training(&self) -> f64 {
        // A run that is cut before its first evaluation is judged once more, so that its weights can be kept.
        let keeping =
            self.full_run.map_or(0.0, |run| run.seconds_per_evaluation) + self.seconds_per_judgement;
        SLACK * (keeping + self.judging() + float(self.exports) * self.seconds_per_export) + REPORT_SECONDS
    }

    /// Seconds that one more file takes, written and judged, with the page that follows.
    #[must_use]
    pub fn one_file(&self) -> f64 {
        SLACK * (self.seconds_per_export + self.seconds_per_judgement) + REPORT_SECONDS
    }

    fn judging(&self) -> f64 {
        float(self.judgements) * self.seconds_per_judgement
    }
}

impl FullRun {
    fn seconds(&self) -> f64 {
        float(self.steps) * self.seconds_per_step
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: FullRun = FullRun { steps: 100, seconds_per_step: 2.4, seconds_per_evaluation: 10.0 };
    const ENDING: Ending = Ending {
        full_run: Some(FULL),
        judgements: 3,
        seconds_per_judgement: 20.0,
        exports: 2,
        seconds_per_export: 30.0,
    };

    fn check(told: f64, expected: f64) {
        assert!((told - expected).abs() < 1e-9, "{told} is not {expected}");
    }

    /// By hand: 1.5 · (10 + 20 + 3·20 + 2·30) + 5 after the training, and 1.25 · 100 · 2.4 for it.
    #[test]
    fn every_part_counts_and_is_stretched() {
        check(ENDING.after_training(), 230.0);
        check(ENDING.seconds(f64::INFINITY), 530.0);
        check(ENDING.one_file(), 80.0);
    }

    #[test]
    fn a_full_run_that_is_too_long_is_cut_and_what_follows_it_is_not() {
        check(ENDING.seconds(100.0), 330.0);
        check(ENDING.seconds(-1.0), 230.0);
    }

    #[test]
    fn where_nothing_is_known_there_is_the_page() {
        check(Ending::default().seconds(f64::INFINITY), REPORT_SECONDS);
    }
}
