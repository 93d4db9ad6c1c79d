//! Who won and why, as data and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Comparison, Verdict};
use crate::trial::TrialId;

/// Who wins, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The trial to train in full.
    pub winner: TrialId,
    /// Why it.
    pub won: Won,
    /// The leader next to each of the other candidates.
    pub contests: Vec<Contest>,
}

/// Why a trial wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Won {
    /// There was nothing to compare it with.
    Unrivalled,
    /// What was as good failed by another seed.
    Steadier,
    /// Its loss is lower than that of every other candidate.
    Clearly,
    /// It ties with others and costs clearly fewer seconds a token.
    Cheaper,
    /// It ties with others that cost as much.
    LowerLoss,
}

/// Two candidates next to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The one with the lower loss.
    pub leader: TrialId,
    /// The other.
    pub rival: TrialId,
    /// Rung up to which both ran.
    pub rung: u32,
    /// Runs of the leader and of the rival, by different seeds.
    pub runs: [usize; 2],
    /// What their examples say.
    pub comparison: Comparison,
}

impl fmt::Display for Contest {
    /// `trial 5 beats trial 2 by 0.012 ± 0.004 nats`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leader, rival, comparison, .. } = self;
        match comparison.verdict {
            Verdict::Better => write!(f, "trial {leader} beats trial {rival} by {comparison} nats"),
            Verdict::Worse => write!(f, "trial {rival} beats trial {leader} by {comparison} nats"),
            Verdict::Tie => write!(f, "trials {leader} and {rival} differ by {comparison} nats"),
        }
    }
}

impl fmt::Display for Decision {
    /// `a tie: took the cheaper, trial 2 (trials 5 and 2 differ by 0.001 ± 0.004 nats)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let winner = self.winner;
        let contests: Vec<String> = self.contests.iter().map(Contest::to_string).collect();
        let contests = contests.join("; ");
        match self.won {
            Won::Unrivalled => write!(f, "trial {winner} has no rival"),
            Won::Clearly => f.write_str(&contests),
            Won::Steadier => write!(f, "took trial {winner}: its rival failed by another seed ({contests})"),
            Won::Cheaper => write!(f, "a tie: took the cheaper, trial {winner} ({contests})"),
            Won::LowerLoss => {
                write!(f, "a tie, and none is cheaper: took the lower loss, trial {winner} ({contests})")
            }
        }
    }
}
