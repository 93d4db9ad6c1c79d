//! When a search ends: as many trials as asked for, the time is up, or more is not worth it.
//!
//! A rule is looked at before a run begins, never in the middle of one: a rung that was begun is an
//! observation that has been paid for. The clock is read by whoever asks and handed in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::space::SearchSettings;
use crate::units::Bytes;

/// What ends a search; each by itself, and what is none is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRules {
    /// Most trials that are suggested.
    pub trials: usize,
    /// Most seconds of runs, over all commands of the study.
    pub seconds: Option<f64>,
    /// No run begins after this moment, in seconds since 1970.
    pub deadline: Option<f64>,
    /// What another trial must promise, in nats per token.
    pub worth_nats: Option<f64>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Trials that were suggested.
    pub trials: usize,
    /// Seconds of all ended runs.
    pub seconds: f64,
    /// The moment, in seconds since 1970.
    pub now: f64,
    /// Seconds that are kept for what follows the trials in the search itself.
    pub reserved_seconds: f64,
    /// Seconds that a deadline keeps besides: for what follows the search, and for the run that would begin now.
    pub ending_seconds: f64,
    /// Seconds that the promotions take of the trials there are.
    pub promotion_seconds: f64,
    /// What the sampler expects of another trial, in nats per token below the best; none where it has no
    /// opinion.
    pub expected_gain_nats: Option<f64>,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum StopReason {
    /// As many trials as asked for.
    Trials {
        /// So many.
        trials: usize,
    },
    /// Every point of the space that fits has been tried.
    Exhausted {
        /// So many there are.
        trials: usize,
    },
    /// The study's runs have taken the time they may.
    Hours {
        /// The limit.
        hours: f64,
    },
    /// The moment has come.
    Deadline {
        /// In seconds since 1970.
        deadline: f64,
    },
    /// The disk has no room for what another run writes.
    Disk {
        /// What it writes.
        needed: Bytes,
        /// What is left.
        left: Bytes,
    },
    /// Another trial promises less than it must.
    Plateau {
        /// What it promises.
        expected_gain_nats: f64,
        /// What it must.
        worth_nats: f64,
    },
}

impl StopRules {
    /// The rules of a study file, with a deadline from elsewhere.
    #[must_use]
    pub fn of(settings: &SearchSettings, deadline: Option<f64>) -> Self {
        Self {
            trials: settings.trials,
            seconds: settings.hours.map(|hours| hours * SECONDS_PER_HOUR),
            deadline,
            worth_nats: settings.plateau_nats,
        }
    }

    /// Why no further trial is suggested, if so; those there are go on.
    #[must_use]
    pub fn has_enough(&self, progress: &Progress) -> Option<StopReason> {
        let trials = progress.trials;
        if trials >= self.trials {
            return Some(StopReason::Trials { trials });
        }
        let (expected_gain_nats, worth_nats) = progress.expected_gain_nats.zip(self.worth_nats)?;
        let is_worth_it = expected_gain_nats >= worth_nats;
        // Without a trial there is nothing a gain could be measured from.
        (trials > 0 && !is_worth_it).then_some(StopReason::Plateau { expected_gain_nats, worth_nats })
    }

    /// Why no further trial may be suggested, if so: the time that is left is that of the promotions.
    #[must_use]
    pub fn is_late(&self, progress: &Progress) -> Option<StopReason> {
        let reserved_seconds = progress.reserved_seconds + progress.promotion_seconds;
        self.time_is_up(&Progress { reserved_seconds, ..*progress }).filter(|_| progress.trials > 0)
    }

    /// Why no run may begin, if so.
    #[must_use]
    pub fn time_is_up(&self, progress: &Progress) -> Option<StopReason> {
        let Progress { seconds, now, reserved_seconds, .. } = *progress;
        if let Some(limit) = self.seconds.filter(|limit| seconds + reserved_seconds >= *limit) {
            return Some(StopReason::Hours { hours: limit / SECONDS_PER_HOUR });
        }
        let left = reserved_seconds + progress.ending_seconds;
        let deadline = self.deadline.filter(|deadline| now + left >= *deadline)?;
        Some(StopReason::Deadline { deadline })
    }
}

impl StopReason {
    /// Whether the search could go on with more time or more room.
    #[must_use]
    pub const fn leaves_search_open(&self) -> bool {
        matches!(self, Self::Hours { .. } | Self::Deadline { .. } | Self::Disk { .. })
    }
}

const SECONDS_PER_HOUR: f64 = 3600.0;

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trials { trials } => write!(f, "{trials} trials, as many as asked for"),
            Self::Exhausted { trials } => write!(f, "all {trials} points of the space that fit were tried"),
            Self::Hours { hours } => write!(f, "runs have taken the {hours} h they may"),
            Self::Deadline { .. } => f.write_str("the time is up"),
            Self::Disk { needed, left } => {
                write!(f, "another run would write {needed}, and the disk or its quota has {left} left")
            }
            Self::Plateau { expected_gain_nats: gain, worth_nats: worth } => {
                write!(f, "another trial promises {gain:.4} nats per token, less than the {worth} it must")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: StopRules =
        StopRules { trials: 9, seconds: Some(7200.0), deadline: Some(1_000.0), worth_nats: Some(0.01) };

    /// Four trials in an hour, with time left.
    const MIDST: Progress = Progress {
        trials: 4,
        seconds: 3600.0,
        now: 500.0,
        reserved_seconds: 0.0,
        ending_seconds: 0.0,
        promotion_seconds: 0.0,
        expected_gain_nats: Some(0.02),
    };

    fn enough(progress: Progress) -> Option<StopReason> {
        RULES.has_enough(&progress)
    }

    fn up(progress: Progress) -> Option<StopReason> {
        RULES.time_is_up(&progress)
    }

    #[test]
    fn a_search_in_its_midst_goes_on() {
        assert_eq!((enough(MIDST), up(MIDST)), (None, None));
    }

    #[test]
    fn as_many_trials_as_asked_for_are_enough() {
        assert_eq!(enough(Progress { trials: 8, ..MIDST }), None);
        assert_eq!(enough(Progress { trials: 9, ..MIDST }), Some(StopReason::Trials { trials: 9 }));
    }

    #[test]
    fn a_gain_below_its_worth_is_a_plateau_and_an_unknown_one_is_not() {
        let gain = |expected_gain_nats| enough(Progress { expected_gain_nats, ..MIDST });
        assert_eq!(gain(Some(0.01)), None);
        let plateau = StopReason::Plateau { expected_gain_nats: 0.009, worth_nats: 0.01 };
        assert_eq!(gain(Some(0.009)), Some(plateau));
        assert_eq!(gain(None), None);
        assert_eq!(gain(Some(f64::NAN)).map(|_| ()), Some(()), "no number is no promise");
        assert_eq!(enough(Progress { trials: 0, expected_gain_nats: Some(0.0), ..MIDST }), None);
    }

    #[test]
    fn time_is_up_when_it_is_used_and_earlier_where_some_is_reserved() {
        let hours = Some(StopReason::Hours { hours: 2.0 });
        assert_eq!(up(Progress { seconds: 7199.0, ..MIDST }), None);
        assert_eq!(up(Progress { seconds: 7200.0, ..MIDST }), hours);
        let deadline = Some(StopReason::Deadline { deadline: 1_000.0 });
        assert_eq!(up(Progress { now: 999.0, ..MIDST }), None);
        assert_eq!(up(Progress { now: 1_000.0, ..MIDST }), deadline);
        assert_eq!(up(Progress { reserved_seconds: 500.0, ..MIDST }), deadline);
        assert_eq!(up(Progress { reserved_seconds: 3600.0, ..MIDST }), hours);
        // The hours are those of the search, the deadline may be that of everything.
        assert_eq!(up(Progress { ending_seconds: 500.0, ..MIDST }), deadline);
        assert_eq!(up(Progress { ending_seconds: 499.0, seconds: 7199.0, ..MIDST }), None);
    }

    #[test]
    fn a_trial_is_too_late_where_the_promotions_need_the_time() {
        let late =
            |promotion_seconds, trials| RULES.is_late(&Progress { trials, promotion_seconds, ..MIDST });
        assert_eq!(late(499.0, 4), None);
        assert_eq!(late(500.0, 4), Some(StopReason::Deadline { deadline: 1_000.0 }));
        assert_eq!(late(3600.0, 4), Some(StopReason::Hours { hours: 2.0 }));
        assert_eq!(late(3600.0, 0), None, "there is nothing to promote");
    }

    #[test]
    fn without_rules_nothing_but_the_number_of_trials_ends_a_search() {
        let free = StopRules { trials: 9, seconds: None, deadline: None, worth_nats: None };
        let late = Progress { seconds: 1e12, now: 1e12, expected_gain_nats: Some(0.0), ..MIDST };
        assert_eq!((free.has_enough(&late), free.time_is_up(&late)), (None, None));
    }

    #[test]
    fn a_reason_is_a_phrase_and_survives_its_json() {
        for (reason, phrase) in [
            (StopReason::Trials { trials: 9 }, "9 trials, as many as asked for"),
            (StopReason::Exhausted { trials: 4 }, "all 4 points of the space that fit were tried"),
            (StopReason::Hours { hours: 1.5 }, "runs have taken the 1.5 h they may"),
            (StopReason::Deadline { deadline: 7.0 }, "the time is up"),
        ] {
            assert_eq!(reason.to_string(), phrase);
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<StopReason>(&json).unwrap(), reason);
        }
        let plateau = StopReason::Plateau { expected_gain_nats: 0.000_52, worth_nats: 0.002 };
        let phrase = "another trial promises 0.0005 nats per token, less than the 0.002 it must";
        assert_eq!(plateau.to_string(), phrase);
    }
}
