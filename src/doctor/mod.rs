//! Is this machine sound? Every part that a study needs is looked at, and shown to work by using it.
//!
//! [`examine`] trains a tiny model in children of its own, on each device there is: its losses and gradients are held
//! against the processor's, memory is refused to it on purpose, and what it holds is held against what was
//! predicted. Each file has one group of checks: what is measured, and a pure function that judges it. What can't
//! be looked at on this machine is listed with the reason.
//!
//! It changes nothing: what it writes lies in a temporary folder, and is removed. Nothing is printed.

mod bundle;
mod check;
mod child;
mod devices;
mod disk;
mod driver;
mod gradients;
mod hub;
mod memory;
mod memory_of_runs;
mod processor;
mod report;
mod secrets;
mod slurm;
mod study;
#[cfg(test)]
mod tests;
mod tiny;
mod training;

use std::path::Path;
use std::time::Instant;

pub use bundle::bundle;
pub use check::{Check, Verdict};
pub use report::Report;
pub use secrets::Secrets;

use crate::device;
use crate::executor::Executor;
use crate::hub::{Access, Hub};
use crate::space::{DeviceSpec, Study};
use check::Subject;
use devices::Bench;
use tiny::Tiny;

/// The user asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing is left behind")]
pub struct Interrupted;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The study that is to run here, if there is one.
    pub study: Option<&'a Study>,
    /// Where results go.
    pub folder: &'a Path,
    /// Where models come from.
    pub hub: &'a Hub,
}

/// One examination under way.
struct Examination<'a> {
    order: Order<'a>,
    executor: &'a mut dyn Executor,
    /// Hears what is looked at now.
    begins: &'a mut dyn FnMut(&str),
    started: Instant,
    report: Report,
}

/// Looks at everything, one after the other; `begins` hears the name of each check before it.
///
/// # Errors
/// The user asked to stop.
pub fn examine(
    order: Order<'_>,
    executor: &mut dyn Executor,
    begins: &mut dyn FnMut(&str),
) -> Result<Report, Interrupted> {
    let report = Report::default();
    let mut examination = Examination { order, executor, begins, started: Instant::now(), report };
    let free = examination.machine()?;
    let cards = examination.cards()?;
    examination.devices(&cards)?;
    let access = examination.hub()?;
    examination.begin("Slurm")?;
    examination.report.checks.push(slurm::look(order.study));
    if let Some(study) = order.study {
        examination.study(study, &cards, &access, free)?;
    }
    examination.report.seconds = examination.started.elapsed().as_secs_f64();
    Ok(examination.report)
}

impl Examination<'_> {
    fn begin(&mut self, title: &str) -> Result<(), Interrupted> {
        if self.executor.is_interrupted() {
            return Err(Interrupted);
        }
        (self.begins)(title);
        Ok(())
    }

    /// Processor, memory and disk; how much is free on the disk.
    fn machine(&mut self) -> Result<Option<crate::units::Bytes>, Interrupted> {
        self.begin("processor and memory")?;
        let found = processor::look();
        self.report.checks.extend([processor::instructions(&found), processor::threads(&found)]);
        if let Ok(cpu) = device::open(&DeviceSpec::Cpu { cap: None }) {
            self.report.set_processor(&*cpu);
            self.report.checks.push(memory::verdict(memory::look(&*cpu)));
        }
        self.begin("disk")?;
        let found = disk::look(self.order.folder);
        self.report.checks.extend([disk::room(&found), disk::writing(&found)]);
        Ok(found.free())
    }

    /// Driver, build and cards; the indices of those that can be used, or why there are none.
    fn cards(&mut self) -> Result<Result<Vec<usize>, String>, Interrupted> {
        self.begin("driver and cards")?;
        let found = driver::look();
        self.report.checks.extend([driver::driver(&found), driver::build(&found)]);
        self.report.checks.extend(found.cards.iter().flatten().map(driver::card));
        self.report.checks.extend(driver::blind_spots(&found));
        let usable = found.usable();
        self.report.set_cards(found.cards);
        Ok(usable)
    }

    /// The processor, then each card beside it.
    fn devices(&mut self, cards: &Result<Vec<usize>, String>) -> Result<(), Interrupted> {
        self.begin("a tiny model")?;
        let tiny = match Tiny::make() {
            Ok(tiny) => tiny,
            Err(error) => {
                let measured = format!("no tiny model can be written: {error}");
                let check = Subject::new("tiny", "temporary folder");
                self.report
                    .checks
                    .push(check.problem(measured, "set TMPDIR to a folder with 100 MiB of room"));
                return Ok(());
            }
        };
        let (executor, begins) = (&mut *self.executor, &mut *self.begins);
        let mut bench = Bench { executor, tiny: &tiny, begins, started: self.started };
        let mut processor = bench.examine(DeviceSpec::Cpu { cap: None }, None)?;
        self.report.checks.append(&mut processor.checks);
        let reference = processor.reference();
        match cards {
            Ok(cards) => {
                for index in cards {
                    let device = DeviceSpec::cuda(*index);
                    let card = bench.examine(device, Some(&reference))?;
                    self.report.add_card(card);
                }
            }
            Err(why) => {
                self.report.set_no_cuda(why);
                self.report.checks.extend(devices::not_checked("cuda", &format!("needs a card: {why}")));
            }
        }
        Ok(())
    }

    fn hub(&mut self) -> Result<Access, Interrupted> {
        self.begin("model hub")?;
        let (settings, access) = (self.order.hub.settings(), self.order.hub.access());
        self.report.set_hub(settings, &access);
        let checks = [hub::reach(settings, &access), hub::token(settings, &access), hub::cache(settings)];
        self.report.checks.extend(checks);
        Ok(access)
    }

    fn study(
        &mut self,
        study: &Study,
        cards: &Result<Vec<usize>, String>,
        access: &Access,
        free: Option<crate::units::Bytes>,
    ) -> Result<(), Interrupted> {
        self.begin("the study's model")?;
        let (model, config) = study::base(study, self.order.hub, access);
        self.report.checks.extend([study::devices(study, cards), model]);
        self.begin("the study's data")?;
        self.report.checks.push(study::rows(study));
        self.report.checks.extend(study::trainer(study));
        self.report.checks.push(study::room(study, config.as_ref(), free));
        Ok(())
    }
}
