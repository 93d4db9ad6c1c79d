//! What a run says of the energy it took, on a processor that claims to know.

use super::{EVALUATE_EVERY, Folder};
use crate::device::{self, Device, DeviceError, Facts};
use crate::space::Precision;
use crate::train::{TrainTask, train};
use crate::trial::{Event, Power};
use crate::units::Bytes;

/// Has drawn so many joules since it was opened.
#[derive(Debug)]
struct Metered {
    inner: Box<dyn Device>,
    joules: f64,
}

impl Device for Metered {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn candle(&self) -> &candle_core::Device {
        self.inner.candle()
    }

    fn total(&self) -> Option<Bytes> {
        self.inner.total()
    }

    fn free(&self) -> Option<Bytes> {
        self.inner.free()
    }

    fn cap(&self) -> Option<Bytes> {
        self.inner.cap()
    }

    fn live(&self) -> Result<Bytes, DeviceError> {
        self.inner.live()
    }

    fn peak(&self) -> Result<Bytes, DeviceError> {
        self.inner.peak()
    }

    fn reserved_peak(&self) -> Result<Option<Bytes>, DeviceError> {
        self.inner.reserved_peak()
    }

    fn overhead(&self) -> Option<Bytes> {
        Some(Bytes(7))
    }

    fn reset_peak(&self) -> Result<(), DeviceError> {
        self.inner.reset_peak()
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.inner.synchronize()
    }

    fn check_precision(&self, precision: Precision) -> Result<(), DeviceError> {
        self.inner.check_precision(precision)
    }

    fn power(&self) -> Option<Power> {
        Some(Power { joules: self.joules, seconds: 1.0, ..Power::default() })
    }

    fn facts(&self) -> Facts {
        self.inner.facts()
    }
}

/// Trains to a step in one child, and says all events.
fn child(folder: &Folder, stop_at_step: usize, joules: f64) -> Vec<Event> {
    let spec = folder.spec();
    let device = Metered { inner: device::open(&spec.device).unwrap(), joules };
    let checkpoint = folder.path("run");
    let task = TrainTask {
        stop_at_step,
        evaluate_every: EVALUATE_EVERY,
        checkpoint: &checkpoint,
        best: None,
        examples: false,
    };
    let mut events = Vec::new();
    train(&spec, task, &device, &mut |event| events.push(event)).unwrap();
    events
}

fn joules(events: &[Event]) -> Vec<f64> {
    let power = |event: &Event| match event {
        Event::Power(power) => Some(power.joules),
        _ => None,
    };
    events.iter().filter_map(power).collect()
}

#[test]
fn a_run_tells_its_energy_after_each_evaluation_and_the_next_rung_begins_anew() {
    let folder = Folder::new();
    let first = child(&folder, 4, 10.0);
    assert!(matches!(&first[0], Event::Started { overhead_bytes: Some(Bytes(7)), .. }), "{:?}", first[0]);
    assert_eq!(joules(&first), [10.0, 10.0]);
    // The same rung once more: what its attempt before has drawn is told again.
    assert_eq!(joules(&child(&folder, 4, 99.0)), [10.0]);
    assert_eq!(joules(&child(&folder, 6, 5.0)), [5.0]);
}

#[test]
fn an_attempt_that_goes_on_adds_to_what_the_one_before_has_drawn() {
    let folder = Folder::new();
    // As if it had been killed after its first evaluation: the checkpoint is on the way to the same stop.
    let cut = folder.path("run/state.safetensors");
    let mut kept = Vec::new();
    let spec = folder.spec();
    let device = Metered { inner: device::open(&spec.device).unwrap(), joules: 10.0 };
    let checkpoint = folder.path("run");
    let task = TrainTask {
        stop_at_step: 4,
        evaluate_every: EVALUATE_EVERY,
        checkpoint: &checkpoint,
        best: None,
        examples: false,
    };
    train(&spec, task, &device, &mut |event| {
        if kept.is_empty() && matches!(event, Event::Checkpoint { .. }) {
            kept = std::fs::read(&cut).unwrap();
        }
    })
    .unwrap();
    std::fs::write(&cut, &kept).unwrap();
    assert_eq!(joules(&child(&folder, 4, 3.0)), [10.0, 13.0]);
}
