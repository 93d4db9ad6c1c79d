//! The names of the pruners of a search.

use std::str::FromStr;

use serde::Serialize;

use crate::spelling;

/// Which pruner a search uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrunerKind {
    /// Every trial runs in full.
    None,
    /// Successive halving.
    Halving,
    /// Asynchronous successive halving.
    Asha,
    /// Several halvings.
    Hyperband,
    /// The median stopping rule.
    Median,
    /// The surrogate's forecast; the default.
    Forecast,
}

/// A name that no pruner has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no pruner{hint}; there are {known}")]
pub struct UnknownPruner {
    name: String,
    hint: String,
    known: String,
}

impl PrunerKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Halving, Self::Asha, Self::Hyperband, Self::Median, Self::Forecast];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Halving => "halving",
            Self::Asha => "asha",
            Self::Hyperband => "hyperband",
            Self::Median => "median",
            Self::Forecast => "auto",
        }
    }
}

impl FromStr for PrunerKind {
    type Err = UnknownPruner;

    fn from_str(name: &str) -> Result<Self, UnknownPruner> {
        let names = Self::ALL.map(Self::name);
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownPruner {
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
    fn every_pruner_is_found_by_its_name() {
        for kind in PrunerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_slip_is_told_with_the_name_that_was_meant() {
        let told = |name: &str| name.parse::<PrunerKind>().unwrap_err().to_string();
        let known = "there are none, halving, asha, hyperband, median, auto";
        assert_eq!(told("hyperbnad"), format!("`hyperbnad` is no pruner, maybe `hyperband`; {known}"));
        assert_eq!(told("successive"), format!("`successive` is no pruner; {known}"));
    }
}
