//! Before a run begins: whether the memory it needs is free, for another program may have come to its device.

use std::time::Duration;

use super::driver::Driver;
use super::fit::known_frontier;
use super::{StudyError, StudyEvent};
use crate::search::FrontierPoint;
use crate::space::Hyperparams;
use crate::trial::RunKey;
use crate::units::Bytes;

/// Pause between two looks at memory that others hold.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// After so many, five minutes, a run begins all the same: what is free is an estimate, and only a run can tell.
const PAUSES: usize = 30;

impl Driver<'_> {
    /// Whether a run may begin in a slot; while it may not, the caller listens for [`PAUSE`] and asks again.
    ///
    /// While others of the study run, it waits for them without an end.
    pub(super) fn has_room(
        &mut self,
        slot: usize,
        run: RunKey,
        hyperparams: &Hyperparams,
    ) -> Result<bool, StudyError> {
        let (device, own) = (self.device_of(slot), self.study.trained_as(hyperparams.precision));
        let frontier = known_frontier(&self.store)?;
        let row = frontier.iter().find(|row| row.setting == own);
        let needed = row.map(|row| needed(row, hyperparams.batch.micro_batch_size));
        let overhead = self.store.probed_overhead()?;
        let free = self.parts().0.free(&device, overhead);
        let short = free.zip(needed).filter(|(free, needed)| free < needed);
        let Some((free, needed)) = short.filter(|_| self.pauses < PAUSES) else {
            self.pauses = 0;
            return Ok(true);
        };
        if self.pauses == 0 {
            self.emit(StudyEvent::Waits { run, free, needed });
        }
        // Runs of the study itself end some time; of others nobody knows.
        let is_alone = self.under_way.iter().all(Option::is_none);
        self.pauses = if is_alone { self.pauses + 1 } else { 1 };
        Ok(false)
    }
}

/// Most bytes of a run with this micro-batch: those of the next size whose peak is known.
fn needed(row: &FrontierPoint, micro_batch_size: usize) -> Bytes {
    let known = row.curve.iter().filter(|point| point.micro_batch_size >= micro_batch_size);
    let nearest = known.min_by_key(|point| point.micro_batch_size).and_then(|point| point.peak_bytes);
    nearest.unwrap_or(row.peak_bytes)
}
