//! What a run drew from the wall, and what held its card back meanwhile.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Energy and limits of one card over a span of time.
///
/// A child says it as of the beginning of its rung, so that the last line counts and a line that is read twice
/// counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Energy of the whole card, whoever used it: NVML knows no shares.
    pub joules: f64,
    /// The span.
    pub seconds: f64,
    /// Mean clock of the streaming multiprocessors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_sm_mhz: Option<f64>,
    /// The hottest the chip was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_celsius: Option<u32>,
    /// All that slowed the card at any time of the span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowed: Vec<Slowdown>,
}

/// What lowers a card's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slowdown {
    /// The power it may draw.
    PowerCap,
    /// Its temperature.
    Heat,
    /// The power supply has asked for less.
    PowerBrake,
    /// The hardware's own protection, for a reason it does not tell.
    Hardware,
    /// Another card, to which its clocks are tied.
    SyncBoost,
    /// Clocks that somebody has set.
    ClockSetting,
}

impl Slowdown {
    /// For tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerCap => "power cap",
            Self::Heat => "heat",
            Self::PowerBrake => "power brake",
            Self::Hardware => "hardware protection",
            Self::SyncBoost => "sync boost",
            Self::ClockSetting => "clock setting",
        }
    }
}

impl fmt::Display for Slowdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Power {
    /// Of this span and a later one together.
    #[must_use]
    pub fn and(&self, later: &Self) -> Self {
        let seconds = self.seconds + later.seconds;
        let weighted = |power: &Self| power.mean_sm_mhz.map(|mhz| (mhz * power.seconds, power.seconds));
        let of_both = weighted(self).into_iter().chain(weighted(later));
        let (sum, weight) = of_both.fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let mut slowed = [self.slowed.as_slice(), &later.slowed].concat();
        slowed.sort_unstable();
        slowed.dedup();
        Self {
            joules: self.joules + later.joules,
            seconds,
            mean_sm_mhz: (weight > 0.0).then(|| sum / weight),
            max_celsius: self.max_celsius.max(later.max_celsius),
            slowed,
        }
    }

    /// Mean power; none of no time.
    #[must_use]
    pub fn watts(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.joules / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spans_are_one_with_all_that_slowed_either() {
        let first = Power {
            joules: 100.0,
            seconds: 1.0,
            mean_sm_mhz: Some(1000.0),
            max_celsius: Some(60),
            slowed: vec![Slowdown::Heat],
        };
        let second = Power {
            joules: 500.0,
            seconds: 3.0,
            mean_sm_mhz: Some(2000.0),
            max_celsius: None,
            slowed: vec![Slowdown::PowerCap, Slowdown::Heat],
        };
        let both = first.and(&second);
        assert_eq!((both.joules, both.watts(), both.mean_sm_mhz), (600.0, Some(150.0), Some(1750.0)));
        assert_eq!(
            (both.max_celsius, both.slowed.as_slice()),
            (Some(60), &[Slowdown::PowerCap, Slowdown::Heat][..])
        );
        assert_eq!(Power::default().and(&first), first);
        assert_eq!(Power::default().watts(), None);
    }
}
