//! Facts about NVIDIA cards from the driver's management library, loaded at run time.
//!
//! NVML needs neither CUDA nor a build with the `cuda` feature. It is asked for facts only: what a
//! trial uses is measured by the pool, because NVML's numbers per process are missing under WSL2
//! and on MIG slices.

mod facts;
mod meter;

use std::ffi::{OsStr, OsString};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError as Cause;

pub use self::facts::{CardFacts, blind_spots};
pub use self::meter::{Meter, PACE};
use crate::space::CardName;
use crate::units::Bytes;

/// Name under which the driver installs the library.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };

/// Why there are no facts. A study goes on without them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NvmlError {
    /// No such library, or one that is not NVML: no NVIDIA driver is installed.
    #[error("NVML not found: {reason}; {WITHOUT}")]
    NoLibrary {
        /// What the loader said, with the name of the library.
        reason: String,
    },
    /// The library is there, but the driver does not answer it.
    #[error("NVML does not answer: {library}: {reason}; {WITHOUT}")]
    NoDriver {
        /// Name or path of the library.
        library: String,
        /// What the library said.
        reason: String,
    },
}

const WITHOUT: &str = "memory is measured by the pool, temperature and power are unknown";

/// All cards of the machine; `library` is a path in place of the driver's own library.
///
/// # Errors
/// When there is no library or its driver does not answer. A single fact that is missing is `None`.
pub fn cards(library: Option<&OsStr>) -> Result<Vec<CardFacts>, NvmlError> {
    let library = library_or_default(library);
    let error = |cause| absence(&library, &cause);
    let nvml = Nvml::builder().lib_path(&library).init().map_err(error)?;
    let driver = nvml.sys_driver_version().ok();
    let count = nvml.device_count().map_err(error)?;
    Ok((0..count).map(|index| facts::card(&nvml, index, driver.clone())).collect())
}

/// What nobody uses of a card as CUDA names it; `None` where NVML or the numbering can't be told.
#[must_use]
pub fn free(card: CardName) -> Option<Bytes> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let cards = cards(None).ok()?;
    match card {
        CardName::Index(index) => place(&cards, index, visible.as_deref())?.free,
        CardName::Uuid { .. } => {
            let name = card.to_string();
            cards.into_iter().find(|card| card.uuid.as_deref() == Some(&name))?.free
        }
    }
}

/// The card that CUDA gives a number, by what `CUDA_VISIBLE_DEVICES` lists: numbers, or beginnings of UUIDs that are
/// one card's alone.
fn place<'a>(cards: &'a [CardFacts], index: usize, visible: Option<&str>) -> Option<&'a CardFacts> {
    let Some(visible) = visible else { return cards.get(index) };
    let named = visible.split(',').nth(index)?.trim();
    if let Ok(number) = named.parse::<usize>() {
        return cards.get(number);
    }
    let is_named = |card: &&CardFacts| {
        !named.is_empty() && card.uuid.as_deref().is_some_and(|uuid| uuid.starts_with(named))
    };
    let mut found = cards.iter().filter(is_named);
    found.next().filter(|_| found.next().is_none())
}

fn library_or_default(library: Option<&OsStr>) -> OsString {
    library.unwrap_or(OsStr::new(LIBRARY)).to_owned()
}

fn absence(library: &OsStr, cause: &Cause) -> NvmlError {
    let reason = cause.to_string();
    match cause {
        Cause::LibloadingError(_) | Cause::LibraryNotFound => NvmlError::NoLibrary { reason },
        _ => NvmlError::NoDriver { library: library.to_string_lossy().into_owned(), reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(index: u32) -> CardFacts {
        CardFacts { index, uuid: Some(format!("GPU-{index}abc")), ..CardFacts::default() }
    }

    #[test]
    fn a_card_is_found_by_what_cuda_visible_devices_says_of_it() {
        let cards = [card(0), card(1), card(2)];
        let of = |index, visible| place(&cards, index, visible).map(|card| card.index);
        assert_eq!((of(1, None), of(3, None)), (Some(1), None));
        assert_eq!((of(0, Some("2,0")), of(1, Some("2, 0")), of(2, Some("2,0"))), (Some(2), Some(0), None));
        assert_eq!((of(0, Some("GPU-1a")), of(1, Some("GPU-1a,2"))), (Some(1), Some(2)));
        assert_eq!((of(0, Some("GPU-")), of(0, Some("MIG-1"))), (None, None), "not one card");
        assert_eq!((of(0, Some("")), of(0, Some("-1"))), (None, None), "all are hidden");
    }
}
