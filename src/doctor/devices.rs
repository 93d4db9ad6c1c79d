//! What a device can be shown to do: each line is one child, or two, on the tiny model.

use std::time::{Duration, Instant};

use super::Interrupted;
use super::check::{Check, Subject};
use super::child::{Ran, ending, run};
use super::gradients::{self, Gradients};
use super::memory_of_runs::{self, Free, Tolerance};
use super::tiny::Tiny;
use super::training;
use crate::device::nvml;
use crate::executor::Executor;
use crate::memory::highest;
use crate::space::{DeviceSpec, Precision};
use crate::train;
use crate::trial::TrialSpec;
use crate::units::Bytes;

/// After so long no further child begins: all is to be done within two minutes.
const TIME: Duration = Duration::from_secs(80);

/// One line about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Starts,
    Training(Precision),
    Gradients(Precision),
    Coverage,
    Cap,
    Peak,
    Pool,
}

const LINES: [Line; 11] = [
    Line::Starts,
    Line::Training(Precision::F32),
    Line::Training(Precision::Bf16),
    Line::Training(Precision::F16),
    Line::Gradients(Precision::F32),
    Line::Gradients(Precision::Bf16),
    Line::Gradients(Precision::F16),
    Line::Coverage,
    Line::Cap,
    Line::Peak,
    Line::Pool,
];

impl Line {
    fn subject(self, device: &str) -> Subject {
        let of = |id: &str, title: &str| Subject::of(device, id, title);
        match self {
            Self::Starts => of("starts", "a child computes"),
            Self::Training(precision) => {
                of(&format!("training.{precision}"), &format!("training in {precision}"))
            }
            Self::Gradients(Precision::F32) if device == "cpu" => {
                of("gradients.f32", "kernels against tensor operations")
            }
            Self::Gradients(precision) => {
                of(&format!("gradients.{precision}"), &format!("gradients in {precision}"))
            }
            Self::Coverage => of("coverage", "every weight gets a gradient"),
            Self::Cap => of("cap", "out of memory, and on"),
            Self::Peak => of("peak", "predicted against measured peak"),
            Self::Pool => of("pool", "NVML against the pool"),
        }
    }

    /// A processor has no pool.
    fn is_for(self, device: &DeviceSpec) -> bool {
        !(device.is_cpu() && self == Self::Pool)
    }
}

/// Every line about cards, of which none can be looked at.
pub(super) fn not_checked(device: &str, why: &str) -> Vec<Check> {
    LINES.into_iter().map(|line| line.subject(device).not_checked(why)).collect()
}

/// What the processor gave, in f32: that by which cards are judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    losses: Vec<f64>,
    gradients: Gradients,
}

/// What all devices are looked at with.
pub(super) struct Bench<'a> {
    pub(super) executor: &'a mut dyn Executor,
    pub(super) tiny: &'a Tiny,
    /// Hears what is looked at now.
    pub(super) begins: &'a mut dyn FnMut(&str),
    pub(super) started: Instant,
}

/// What was found out about a device so far.
#[derive(Default)]
pub(super) struct OnDevice {
    pub(super) checks: Vec<Check>,
    /// In the words of the child that first ran on it.
    pub(super) description: Option<String>,
    losses: Vec<f64>,
    gradients: Option<Gradients>,
    probe: Option<Ran>,
    free: Free,
}

impl OnDevice {
    /// By which other devices are judged.
    pub(super) fn reference(self) -> Reference {
        Reference { losses: self.losses, gradients: self.gradients.unwrap_or_default() }
    }
}

impl Bench<'_> {
    /// Every line about one device, beside what the processor gave.
    pub(super) fn examine(
        &mut self,
        device: DeviceSpec,
        reference: Option<&Reference>,
    ) -> Result<OnDevice, Interrupted> {
        let mut found = OnDevice::default();
        for line in LINES.into_iter().filter(|line| line.is_for(&device)) {
            let subject = line.subject(&device.name());
            let has_started = line == Line::Starts || found.gradients.is_some();
            let check = if !has_started {
                subject.not_checked("no child computes on this device")
            } else if self.started.elapsed() > TIME {
                subject.not_checked("the time for these checks is used up")
            } else {
                (self.begins)(subject.title());
                self.line(line, subject, device, reference, &mut found)?
            };
            found.checks.push(check);
        }
        Ok(found)
    }

    fn line(
        &mut self,
        line: Line,
        subject: Subject,
        device: DeviceSpec,
        reference: Option<&Reference>,
        found: &mut OnDevice,
    ) -> Result<Check, Interrupted> {
        Ok(match line {
            Line::Starts => self.starts(subject, device, found)?,
            Line::Training(precision) => {
                let place = self.tiny.place(&format!("{}-{precision}", device.name().replace(':', "-")));
                let ran = self.run(&self.tiny.training(device, precision, &place))?;
                if reference.is_none() && precision == Precision::F32 {
                    found.losses = ran.losses();
                    return Ok(training::verdict(subject, precision, &ran, None));
                }
                let right = reference.map_or(&found.losses, |reference| &reference.losses);
                training::verdict(subject, precision, &ran, Some(right))
            }
            Line::Gradients(precision) => self.agreement(subject, precision, device, reference, found)?,
            Line::Coverage => {
                let place = self.tiny.place(&format!("{}-adapters", device.name().replace(':', "-")));
                let adapters = self.run(&self.tiny.adapters(device, &place))?;
                let own = found.gradients.as_ref().ok_or_else(|| "there are no gradients".to_owned());
                gradients::coverage(subject, own, &adapters)
            }
            Line::Cap => self.cap(subject, device, found)?,
            Line::Peak => match &found.probe {
                Some(probe) => {
                    let predicted = self.predicted(device);
                    let tolerance = if device.is_cpu() { Tolerance::PROCESSOR } else { Tolerance::CARD };
                    memory_of_runs::peak(subject, predicted, probe, tolerance)
                }
                None => subject.not_checked("no probe has run on this device"),
            },
            Line::Pool => match &found.probe {
                Some(probe) => memory_of_runs::pool(subject, found.free, probe.measurement.peak_bytes()),
                None => subject.not_checked("no probe has run on this device"),
            },
        })
    }

    fn run(&mut self, spec: &TrialSpec) -> Result<Ran, Interrupted> {
        run(self.executor, "doctor", spec, &mut |_| {})
    }

    /// Gradients of the tiny model by a child, and how that ended.
    fn gradients(
        &mut self,
        device: DeviceSpec,
        precision: Precision,
        composed: bool,
    ) -> Result<(Ran, Result<Gradients, String>), Interrupted> {
        let file = self.tiny.place("gradients.safetensors");
        // What an earlier child left must not be taken for this one's.
        let _ = std::fs::remove_file(&file);
        let ran = self.run(&self.tiny.gradients(device, precision, &file, composed))?;
        let gradients = if ran.has_finished() {
            train::read_gradients(&file, &self.tiny.model()).map_err(|error| error.to_string())
        } else {
            Err(ending(&ran.outcome))
        };
        Ok((ran, gradients))
    }

    /// The first child: if it does not compute, no other will.
    fn starts(
        &mut self,
        subject: Subject,
        device: DeviceSpec,
        found: &mut OnDevice,
    ) -> Result<Check, Interrupted> {
        let (ran, gradients) = self.gradients(device, Precision::F32, false)?;
        Ok(match gradients {
            Ok(gradients) => {
                let name = ran.measurement.device;
                found.gradients = Some(gradients);
                found.description = Some(name.clone());
                subject.ok(name)
            }
            Err(why) => {
                let fix = if device.is_cpu() {
                    "is there room in the folder for temporary files (TMPDIR), and is this program where it was?"
                } else {
                    "does the driver fit the toolkit this was built with, and CUDA_COMPUTE_CAP the card? \
                     `nvidia-smi` lists the cards"
                };
                subject.problem(why, fix)
            }
        })
    }

    /// On the processor f32 is held against the operations a card would use; all else against the processor's f32.
    fn agreement(
        &mut self,
        subject: Subject,
        precision: Precision,
        device: DeviceSpec,
        reference: Option<&Reference>,
        found: &OnDevice,
    ) -> Result<Check, Interrupted> {
        let nothing = Gradients::new();
        let own = found.gradients.as_ref().unwrap_or(&nothing);
        let right = reference.map_or(own, |reference| &reference.gradients);
        Ok(match (precision, reference) {
            (Precision::F32, Some(_)) => gradients::agreement(subject, precision, Ok(own), right),
            (Precision::F32, None) => {
                let (_, composed) = self.gradients(device, precision, true)?;
                gradients::agreement(subject, precision, composed.as_ref().map_err(String::clone), own)
            }
            _ => {
                let (_, narrow) = self.gradients(device, precision, false)?;
                gradients::agreement(subject, precision, narrow.as_ref().map_err(String::clone), right)
            }
        })
    }

    fn predicted(&self, device: DeviceSpec) -> Bytes {
        highest(&self.tiny.predicted(device)).peak_bytes
    }

    /// A run that has half of what it needs, then the same with all of it.
    fn cap(
        &mut self,
        subject: Subject,
        device: DeviceSpec,
        found: &mut OnDevice,
    ) -> Result<Check, Interrupted> {
        let half = Bytes(self.predicted(device).0 / 2);
        let scratch = self.tiny.place("scratch");
        let capped = self.run(&self.tiny.probe(with_cap(device, half), &scratch))?;
        let free = || match device {
            DeviceSpec::Cuda { card, .. } => nvml::free(card),
            DeviceSpec::Cpu { .. } => None,
        };
        let (before, mut least) = (free(), None);
        let spec = self.tiny.probe(device, &scratch);
        let next = run(self.executor, "doctor", &spec, &mut |_| {
            least = least.into_iter().chain(free()).min();
        })?;
        found.free = Free { before, least, after: free() };
        let check = memory_of_runs::cap(subject, half, &capped, &next);
        found.probe = Some(next);
        Ok(check)
    }
}

const fn with_cap(device: DeviceSpec, cap: Bytes) -> DeviceSpec {
    match device {
        DeviceSpec::Cpu { .. } => DeviceSpec::Cpu { cap: Some(cap) },
        DeviceSpec::Cuda { card, .. } => DeviceSpec::Cuda { card, cap: Some(cap) },
    }
}
