//! A meter beside a run: energy, clocks and heat of its card, looked at again and again.
//!
//! It never disturbs the run. A card that falls off the bus, or a driver that is unloaded, ends the meter; what it has
//! measured until then stays.

use std::ffi::{OsStr, OsString};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError as Cause;
use nvml_wrapper::{Device, Nvml};

use super::facts::{slowdowns, watts};
use super::library_or_default;
use crate::trial::Power;

/// Pause between two looks: a card's power sensor is an average over about as long.
pub const PACE: Duration = Duration::from_secs(1);

/// A card that is being metered, until the value is dropped.
#[derive(Debug)]
pub struct Meter {
    measured: Arc<Mutex<Measured>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Measured {
    /// None until the first look: there is nothing to be told.
    power: Option<Power>,
    /// Whether no more will come.
    has_ended: bool,
}

/// One look at a card.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// The card's own counter, in joules; older cards have none.
    counter: Option<f64>,
    watts: Option<f64>,
}

impl Meter {
    /// Begins to meter the card with this UUID; `library` is a path in place of the driver's own library.
    #[must_use]
    pub fn start(library: Option<&OsStr>, uuid: &str, pace: Duration) -> Self {
        let measured = Arc::new(Mutex::new(Measured::default()));
        let (stop, stopped) = channel();
        let (library, uuid, shared) = (library_or_default(library), uuid.to_owned(), Arc::clone(&measured));
        let thread = thread::spawn(move || {
            // What can't be metered is not told; why not, `doctor` says.
            let _ = watch(&library, &uuid, &shared, &|| {
                stopped.recv_timeout(pace) == Err(RecvTimeoutError::Timeout)
            });
            lock(&shared).has_ended = true;
        });
        Self { measured, stop: Some(stop), thread: Some(thread) }
    }

    /// What was measured since it began; none where the card tells no power.
    #[must_use]
    pub fn read(&self) -> Option<Power> {
        lock(&self.measured).power.clone()
    }

    /// Whether nothing more will be measured: the card or its driver is gone, or never told.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        lock(&self.measured).has_ended
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A panic of another thread leaves numbers that are as good as before.
fn lock(measured: &Mutex<Measured>) -> std::sync::MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at a card as long as `goes_on` says so, which waits between two looks.
fn watch(
    library: &OsString,
    uuid: &str,
    measured: &Mutex<Measured>,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), Cause> {
    let nvml = Nvml::builder().lib_path(library).init()?;
    let device = nvml.device_by_uuid(uuid)?;
    let mut before = look(&device)?;
    while goes_on() {
        let now = look(&device)?;
        if let Some(joules) = joules(&before, &now) {
            let span = Power { joules, seconds: (now.at - before.at).as_secs_f64(), ..state(&device) };
            let mut measured = lock(measured);
            measured.power = Some(measured.power.take().unwrap_or_default().and(&span));
        }
        before = now;
    }
    Ok(())
}

/// What a card does not have is none; a card that is gone ends the watch.
fn look(device: &Device<'_>) -> Result<Look, Cause> {
    #[expect(clippy::cast_precision_loss, reason = "millijoules since the driver was loaded, far below 2^53")]
    let counter = told(device.total_energy_consumption())?.map(|millijoules| millijoules as f64 / 1e3);
    Ok(Look { at: Instant::now(), counter, watts: told(device.power_usage())?.map(watts) })
}

fn told<T>(answer: Result<T, Cause>) -> Result<Option<T>, Cause> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error @ (Cause::GpuLost | Cause::Uninitialized | Cause::DriverNotLoaded)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn state(device: &Device<'_>) -> Power {
    Power {
        mean_sm_mhz: device.clock_info(Clock::SM).ok().map(f64::from),
        max_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        slowed: device.current_throttle_reasons().map(slowdowns).unwrap_or_default(),
        ..Power::default()
    }
}

/// By the card's counter; else by its power at both looks, as if it had changed evenly between them.
fn joules(before: &Look, now: &Look) -> Option<f64> {
    // A counter begins anew when the driver is loaded again.
    let counted =
        before.counter.zip(now.counter).map(|(before, now)| now - before).filter(|joules| *joules >= 0.0);
    let seconds = (now.at - before.at).as_secs_f64();
    counted.or_else(|| Some(f64::midpoint(before.watts?, now.watts?) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(seconds: u64, counter: Option<f64>, watts: Option<f64>, began: Instant) -> Look {
        Look { at: began + Duration::from_secs(seconds), counter, watts }
    }

    #[test]
    fn energy_is_the_counters_or_that_of_the_power_between_two_looks() {
        let began = Instant::now();
        let at = |seconds, counter, watts| look(seconds, counter, watts, began);
        let of = |before: Look, now: Look| joules(&before, &now);
        assert_eq!(of(at(0, Some(5.0), Some(9.0)), at(2, Some(8.0), Some(9.0))), Some(3.0));
        assert_eq!(of(at(0, None, Some(100.0)), at(2, None, Some(200.0))), Some(300.0));
        assert_eq!(
            of(at(0, Some(5.0), Some(10.0)), at(1, Some(0.0), Some(10.0))),
            Some(10.0),
            "a new driver"
        );
        assert_eq!(of(at(0, None, None), at(1, None, Some(1.0))), None);
    }
}
