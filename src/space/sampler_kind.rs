//! The names of the samplers of a search.

use std::str::FromStr;

use serde::Serialize;

use crate::spelling;

/// Which sampler a search uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Uniform draws.
    Random,
    /// A quasi-random sequence.
    Sobol,
    /// Every combination of a few values.
    Grid,
    /// Densities of good and bad trials.
    Tpe,
    /// Where a Gaussian process expects the largest improvement; the default.
    Gp,
}

/// A name that no sampler has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no sampler{hint}; there are {known}")]
pub struct UnknownSampler {
    name: String,
    hint: String,
    known: String,
}

impl SamplerKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Random, Self::Sobol, Self::Grid, Self::Tpe, Self::Gp];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sobol => "sobol",
            Self::Grid => "grid",
            Self::Tpe => "tpe",
            Self::Gp => "gp",
        }
    }
}

impl FromStr for SamplerKind {
    type Err = UnknownSampler;

    fn from_str(name: &str) -> Result<Self, UnknownSampler> {
        let names = Self::ALL.map(Self::name);
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownSampler {
            name: name.to_owned(),
            hint: spelling::nearest(name, names).map_or(String::new(), |near| format!(", maybe `{near}`")),
            known: names.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampler_is_found_by_its_name() {
        for kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_slip_is_told_with_the_name_that_was_meant() {
        let told = |name: &str| name.parse::<SamplerKind>().unwrap_err().to_string();
        assert_eq!(
            told("sobl"),
            "`sobl` is no sampler, maybe `sobol`; there are random, sobol, grid, tpe, gp"
        );
        assert_eq!(told("annealing"), "`annealing` is no sampler; there are random, sobol, grid, tpe, gp");
    }
}
