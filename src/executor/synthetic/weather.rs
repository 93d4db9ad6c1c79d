//! What a night brings: runs that are slower than the one before, that die, or that fall silent.

use super::noise;
use crate::trial::{Outcome, Task};

/// A night, drawn from its seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Everything follows from it.
    pub seed: u64,
    /// How many times longer than the formulas say all but probes take in the mean.
    pub pace: f64,
    /// A run takes up to so many times longer or shorter than that.
    pub slowest: f64,
    /// The share of runs that die halfway.
    pub dies: f64,
    /// The share of runs that fall silent halfway.
    pub hangs: f64,
    /// How long a driver listens to a run that is silent.
    pub silence_seconds: f64,
}

/// What it brings one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Luck {
    /// How many times longer than the formulas say it takes.
    pub(super) factor: f64,
    /// How it ends, if not as the formulas say.
    pub(super) end: Option<Outcome>,
    /// Seconds of silence before it ends.
    pub(super) silence: f64,
}

impl Weather {
    /// Always as the formulas say.
    #[must_use]
    pub const fn fair() -> Self {
        Self { seed: 0, pace: 1.0, slowest: 1.0, dies: 0.0, hangs: 0.0, silence_seconds: 0.0 }
    }

    /// What run `number` meets; only one that trains dies or falls silent.
    pub(super) fn luck(&self, number: usize, task: &Task) -> Luck {
        let trains = matches!(task, Task::Train { .. });
        let draw = |which: u64| {
            let at = self.seed.wrapping_mul(0x0100_0000_01b3) ^ (number as u64) << 8 ^ which;
            noise(at)
        };
        let pace = if matches!(task, Task::Probe { .. }) { 1.0 } else { self.pace };
        let factor = pace * self.slowest.powf(draw(1));
        let fate = f64::midpoint(draw(2), 1.0);
        if trains && fate < self.dies {
            let died =
                Outcome::Crashed { signal: Some(9), exit_code: None, stderr_tail: "Killed".to_owned() };
            return Luck { factor, end: Some(died), silence: 0.0 };
        }
        if trains && fate < self.dies + self.hangs {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few minutes")]
            let seconds = self.silence_seconds as u64;
            let silent = Outcome::TimedOut { seconds, stderr_tail: String::new() };
            return Luck { factor, end: Some(silent), silence: self.silence_seconds };
        }
        Luck { factor, end: None, silence: 0.0 }
    }
}
