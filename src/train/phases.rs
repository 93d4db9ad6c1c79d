//! Which phase of the work holds how many bytes at its peak.

use crate::device::{Device, DeviceError};
use crate::trial::{Event, Phase};
use crate::units::Bytes;

/// Watches the device's high-water mark phase by phase and reports each that rises.
///
/// Of several ranks only the first watches: those of the processor have one mark together.
pub(super) struct Phases<'a> {
    device: &'a dyn Device,
    watches: bool,
    current: Phase,
    peaks: [Bytes; Phase::ALL.len()],
}

impl<'a> Phases<'a> {
    /// Begins in [`Phase::Load`].
    pub(super) fn new(device: &'a dyn Device, watches: bool) -> Result<Self, DeviceError> {
        if watches {
            device.reset_peak()?;
        }
        Ok(Self { device, watches, current: Phase::Load, peaks: [Bytes(0); Phase::ALL.len()] })
    }

    /// Ends the current phase and begins `next`.
    pub(super) fn enter(&mut self, next: Phase, emit: &mut dyn FnMut(Event)) -> Result<(), DeviceError> {
        if !self.watches {
            return Ok(());
        }
        let peak_bytes = self.device.peak()?;
        let known = &mut self.peaks[self.current as usize];
        if peak_bytes > *known {
            *known = peak_bytes;
            let (live_bytes, reserved_bytes) = (self.device.live()?, self.device.reserved_peak()?);
            emit(Event::Memory { phase: self.current, peak_bytes, live_bytes, reserved_bytes });
        }
        self.device.reset_peak()?;
        self.current = next;
        Ok(())
    }
}
