//! What NVML says of driver and cards, and what this build can do with them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::check::{Check, Subject};
use crate::device::nvml::{self, CardFacts, NvmlError};
use crate::trial::Slowdown;
use crate::units::Bytes;

/// From here on cards of every kind slow down to stay whole, or soon will.
const HOT_CELSIUS: u32 = 85;
/// Less than this share of a card that others leave is told.
const CROWDED: f64 = 0.9;

/// What was found out about cards.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// By NVML.
    pub(super) cards: Result<Vec<CardFacts>, NvmlError>,
    /// Whether this build has CUDA.
    built: bool,
    toolkit: Option<Toolkit>,
    visible: Option<String>,
}

#[derive(Clone, Debug)]
struct Toolkit {
    nvcc: PathBuf,
    release: Option<String>,
}

/// Asks NVML, and looks for a toolkit.
pub(super) fn look() -> Found {
    Found {
        cards: nvml::cards(None),
        built: cfg!(feature = "cuda"),
        toolkit: toolkit(),
        visible: env::var("CUDA_VISIBLE_DEVICES").ok(),
    }
}

fn toolkit() -> Option<Toolkit> {
    let homes = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].into_iter().filter_map(env::var_os);
    let homes = homes.map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = Path::new("/usr/local/cuda/bin").to_owned();
    let mut folders = homes.chain(env::split_paths(&path)).chain([usual]);
    let nvcc = folders.find_map(|folder| Some(folder.join("nvcc")).filter(|file| file.is_file()))?;
    let output = Command::new(&nvcc).arg("--version").stdin(Stdio::null()).output().ok();
    let release = output.and_then(|output| release_in(&String::from_utf8_lossy(&output.stdout)));
    Some(Toolkit { nvcc, release })
}

/// `13.0` of `Cuda compilation tools, release 13.0, V13.0.88`.
fn release_in(said: &str) -> Option<String> {
    let rest = said.split_once("release ")?.1;
    Some(rest.split(',').next()?.trim().to_owned())
}

impl Found {
    /// Indices of the cards that children can be given; else why there are none.
    pub(super) fn usable(&self) -> Result<Vec<usize>, String> {
        let has_cards = self.cards.as_ref().is_ok_and(|cards| !cards.is_empty());
        match (self.built, has_cards) {
            (false, true) => return Err("this build has no CUDA support".to_owned()),
            (false, false) => {
                return Err("no NVIDIA card is found, and this build has no CUDA support".to_owned());
            }
            (true, _) => {}
        }
        let hidden = || Err("CUDA_VISIBLE_DEVICES hides all cards".to_owned());
        let visible = self.visible.as_deref().map(|list| {
            list.split(',').map(str::trim).take_while(|card| !card.is_empty() && *card != "-1").count()
        });
        match (&self.cards, visible) {
            (_, Some(0)) => hidden(),
            (Ok(cards), _) if cards.is_empty() => Err("there is no NVIDIA card".to_owned()),
            (_, Some(count)) => Ok((0..count).collect()),
            (Ok(cards), None) => Ok((0..cards.len()).collect()),
            // Some drivers have CUDA and no NVML: a child will tell.
            (Err(_), None) => Ok(vec![0]),
        }
    }
}

/// The line about the driver.
pub(super) fn driver(found: &Found) -> Check {
    let subject = Subject::new("driver", "NVIDIA driver");
    match &found.cards {
        Ok(cards) => {
            let version = cards.iter().find_map(|card| card.driver.clone());
            let version = version.unwrap_or_else(|| "of a version it does not tell".to_owned());
            let plural = if cards.len() == 1 { "" } else { "s" };
            subject.ok(format!("{version}, {} card{plural}", cards.len()))
        }
        Err(absence @ NvmlError::NoLibrary { .. }) => subject.not_checked(absence.to_string()),
        Err(absence @ NvmlError::NoDriver { .. }) => {
            let fix = "the driver is installed and does not answer: `nvidia-smi` says more; after an update \
                       of the driver the machine must be started again";
            subject.warning(absence.to_string(), fix)
        }
    }
}

/// A line for each thing that NVML can't tell here.
pub(super) fn blind_spots(found: &Found) -> Vec<Check> {
    let spots = found.cards.as_ref().map(|cards| nvml::blind_spots(cards)).unwrap_or_default();
    spots
        .into_iter()
        .map(|spot| Subject::new("nvml.blind", "what NVML can't tell").not_checked(spot))
        .collect()
}

/// The line about what was built, and what could be.
pub(super) fn build(found: &Found) -> Check {
    let toolkit = found.toolkit.as_ref().map(|Toolkit { nvcc, release }| {
        let release = release.as_ref().map(|release| format!(" {release}")).unwrap_or_default();
        format!("toolkit{release} at {}", nvcc.display())
    });
    let values = json!({ "cuda": found.built, "toolkit": toolkit });
    let subject = Subject::new("cuda.build", "CUDA in this build").with_values(values);
    let has_cards = found.cards.as_ref().is_ok_and(|cards| !cards.is_empty());
    let toolkit_told = toolkit.clone().unwrap_or_else(|| "no toolkit (nvcc) found".to_owned());
    match (found.built, has_cards, toolkit.is_some()) {
        (true, _, _) => subject.ok(format!("feature `cuda` is on; {toolkit_told}")),
        (false, false, _) => {
            subject.not_checked(format!("feature `cuda` is off, and there is no card to use; {toolkit_told}"))
        }
        (false, true, true) => subject.warning(
            format!("feature `cuda` is off; {toolkit_told}"),
            "to train on the card: `cargo build --release --features cuda`",
        ),
        (false, true, false) => subject.warning(
            format!("feature `cuda` is off; {toolkit_told}"),
            "to train on the card: install a CUDA toolkit, set CUDA_HOME to it, then `cargo build --release \
             --features cuda`",
        ),
    }
}

/// The line about one card.
pub(super) fn card(card: &CardFacts) -> Check {
    let subject = Subject::new(&format!("card.{}", card.index), &format!("card {}", card.index))
        .with_values(json!(card));
    let measured = card_facts(card);
    if card.total.is_none() {
        let fix = "`nvidia-smi` says more; a card that fell off its bus comes back when the machine is \
                   started again";
        return subject.problem(measured, fix);
    }
    if card.temperature_celsius.is_some_and(|celsius| celsius >= HOT_CELSIUS) {
        return subject.warning(measured, "it is so hot that it slows down: look at its fans and at the air");
    }
    if card.uncorrected_errors.is_some_and(|errors| errors > 0) {
        let fix = "its memory has failed: what it computes may be wrong; start the machine again, and if errors come \
                   back (`nvidia-smi -q -d ECC`) have the card replaced";
        return subject.problem(measured, fix);
    }
    if card.slowed.iter().flatten().any(|slowdown| *slowdown != Slowdown::ClockSetting) {
        let fix = "`nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE` says why: air, a higher power limit, or another card";
        return subject.warning(measured, fix);
    }
    if is_crowded(card) {
        let fix = "end the programs that `nvidia-smi` lists, or choose another card: `fit` counts what is \
                   free at the moment";
        return subject.warning(measured, fix);
    }
    subject.ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "about is enough")]
fn is_crowded(card: &CardFacts) -> bool {
    let both = card.free.zip(card.total);
    both.is_some_and(|(free, total)| (free.0 as f64) < CROWDED * total.0 as f64)
}

/// A card's facts on one line; what the driver does not tell is left out. The one place where they become words.
fn card_facts(card: &CardFacts) -> String {
    let size = |bytes: Option<Bytes>| bytes.map_or("unknown".to_owned(), |bytes| bytes.to_string());
    let name = card.name.clone().unwrap_or_else(|| "a card without a name".to_owned());
    let slowed = |slowdowns: &Vec<Slowdown>| {
        let names: Vec<&str> = slowdowns.iter().map(|slowdown| slowdown.name()).collect();
        (!names.is_empty()).then(|| format!("slowed by {}", names.join(", ")))
    };
    let power = card.power_watts.map(|watts| match card.power_limit_watts {
        Some(limit) => format!("{watts:.0} of {limit:.0} W"),
        None => format!("{watts:.0} W"),
    });
    let facts = [
        Some(name),
        card.compute_capability.as_ref().map(|capability| format!("compute capability {capability}")),
        card.total.map(|total| total.to_string()),
        card.free.map(|free| format!("{free} free")),
        card.other_processes
            .filter(|count| *count > 0)
            .map(|count| format!("{count} other processes hold {}", size(card.used_by_others))),
        card.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        power,
        card.sm_mhz.map(|mhz| format!("{mhz} MHz")),
        card.slowed.as_ref().and_then(slowed),
        card.uncorrected_errors
            .filter(|errors| *errors > 0)
            .map(|errors| format!("{errors} errors of its memory that could not be corrected")),
        card.mig.filter(|mig| *mig).map(|_| "divided into slices (MIG)".to_owned()),
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn l4() -> CardFacts {
        CardFacts {
            index: 1,
            name: Some("NVIDIA L4".to_owned()),
            total: Some(Bytes::gib(20)),
            free: Some(Bytes::gib(18)),
            temperature_celsius: Some(41),
            ..CardFacts::default()
        }
    }

    fn found(cards: Result<Vec<CardFacts>, NvmlError>, built: bool, visible: Option<&str>) -> Found {
        Found { cards, built, toolkit: None, visible: visible.map(str::to_owned) }
    }

    fn absent() -> NvmlError {
        NvmlError::NoLibrary { reason: "libnvidia-ml.so.1: no such file".to_owned() }
    }

    #[test]
    fn a_card_is_shown_with_what_is_known_of_it() {
        let check = card(&l4());
        assert_eq!(check.measured, "NVIDIA L4 · 20.0 GiB · 18.0 GiB free · 41 °C");
        let all = CardFacts {
            compute_capability: Some("8.9".to_owned()),
            power_watts: Some(70.4),
            power_limit_watts: Some(72.0),
            sm_mhz: Some(2040),
            slowed: Some(vec![Slowdown::PowerCap, Slowdown::Heat]),
            uncorrected_errors: Some(2),
            mig: Some(true),
            ..l4()
        };
        assert_eq!(
            card(&all).measured,
            "NVIDIA L4 · compute capability 8.9 · 20.0 GiB · 18.0 GiB free · 41 °C · 70 of 72 W · 2040 MHz · slowed by \
             power cap, heat · 2 errors of its memory that could not be corrected · divided into slices (MIG)"
        );
        assert_eq!((check.id.as_str(), check.verdict), ("card.1", Verdict::Ok));
    }

    #[test]
    fn a_card_that_is_hot_crowded_or_gone_is_told_with_what_to_do() {
        let of = |card: &CardFacts| super::card(card).verdict;
        let hot = |celsius| of(&CardFacts { temperature_celsius: Some(celsius), ..l4() });
        assert_eq!((hot(HOT_CELSIUS - 1), hot(HOT_CELSIUS)), (Verdict::Ok, Verdict::Warning));
        assert_eq!(of(&CardFacts { free: Some(Bytes(Bytes::gib(18).0 - 1)), ..l4() }), Verdict::Warning);
        assert_eq!(of(&CardFacts { free: None, ..l4() }), Verdict::Ok);
        let errors = |count| of(&CardFacts { uncorrected_errors: Some(count), ..l4() });
        assert_eq!((errors(0), errors(1)), (Verdict::Ok, Verdict::Problem));
        let slowed = |slowdown| of(&CardFacts { slowed: Some(vec![slowdown]), ..l4() });
        assert_eq!((slowed(Slowdown::ClockSetting), slowed(Slowdown::Heat)), (Verdict::Ok, Verdict::Warning));
        assert_eq!(of(&CardFacts { index: 1, ..CardFacts::default() }), Verdict::Problem);
    }

    #[test]
    fn only_cards_that_are_visible_to_a_cuda_build_can_be_used() {
        let two = || Ok(vec![l4(), l4()]);
        assert_eq!(found(two(), true, None).usable(), Ok(vec![0, 1]));
        assert_eq!(found(two(), true, Some("1")).usable(), Ok(vec![0]));
        assert_eq!(found(two(), true, Some("GPU-a,GPU-b")).usable(), Ok(vec![0, 1]));
        assert_eq!(found(Err(absent()), true, None).usable(), Ok(vec![0]));
        for (found, why) in [
            (found(two(), false, None), "this build has no CUDA support"),
            (found(Err(absent()), false, None), "no NVIDIA card is found, and"),
            (found(two(), true, Some("")), "hides"),
            (found(two(), true, Some("-1")), "hides"),
            (found(Ok(vec![]), true, None), "no NVIDIA card"),
        ] {
            assert!(found.usable().unwrap_err().contains(why), "{found:?}");
        }
    }

    #[test]
    fn a_card_that_the_build_cannot_use_is_a_warning_with_the_build_command() {
        let with = |toolkit: bool, built| {
            let toolkit = toolkit.then(|| Toolkit { nvcc: "/cuda/bin/nvcc".into(), release: None });
            build(&Found { toolkit, ..found(Ok(vec![l4()]), built, None) })
        };
        assert_eq!(with(false, true).verdict, Verdict::Ok);
        assert!(with(true, false).fix.unwrap().contains("--features cuda"));
        assert!(with(false, false).fix.unwrap().contains("install a CUDA toolkit"));
        assert_eq!(build(&found(Err(absent()), false, None)).verdict, Verdict::NotChecked);
    }

    #[test]
    fn a_driver_that_does_not_answer_is_told_from_one_that_is_not_there() {
        let silent = NvmlError::NoDriver { library: "lib".to_owned(), reason: "mismatch".to_owned() };
        assert_eq!(driver(&found(Err(silent), false, None)).verdict, Verdict::Warning);
        assert_eq!(driver(&found(Err(absent()), false, None)).verdict, Verdict::NotChecked);
        assert_eq!(driver(&found(Ok(vec![l4()]), false, None)).verdict, Verdict::Ok);
    }

    #[test]
    fn the_release_of_a_toolkit_is_read_from_what_its_compiler_says() {
        let said =
            "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/compiler.36424714_0\n";
        assert_eq!(release_in(said).as_deref(), Some("13.0"));
        assert_eq!(release_in("no compiler"), None);
    }
}
