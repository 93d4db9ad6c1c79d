//! From the name of a pruner to the pruner.

use super::{Asha, Forecast, Halving, Hyperband, Median, Pruner, Unpruned};
use crate::space::PrunerKind;

impl PrunerKind {
    /// A pruner of this kind with its defaults.
    #[must_use]
    pub fn build(self) -> Box<dyn Pruner> {
        match self {
            Self::None => Box::new(Unpruned),
            Self::Halving => Box::new(Halving::default()),
            Self::Asha => Box::new(Asha::default()),
            Self::Hyperband => Box::new(Hyperband),
            Self::Median => Box::new(Median::default()),
            Self::Forecast => Box::new(Forecast),
        }
    }
}
