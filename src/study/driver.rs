//! One study being driven: its settings, its memory, the executor and the listener.

use std::path::PathBuf;
use std::time::Instant;

use super::layout::Layout;
use super::{StudyError, StudyEvent, leftovers};
use crate::device;
use crate::executor::Executor;
use crate::fingerprint::Fingerprint;
use crate::space::{DeviceSpec, ModelSettings, Study};
use crate::store::{Lock, Store};

const WALL_SECONDS: &str = "wall_seconds";
const CAPPED_DEVICE: &str = "capped_device";

/// Whoever wants to know what happens.
pub type Listener<'a> = dyn FnMut(StudyEvent<'_>) + 'a;

/// Drives one study. Only one driver at a time can hold a study's folder.
pub struct Driver<'a> {
    pub(super) study: &'a Study,
    pub(super) layout: Layout,
    pub(super) store: Store,
    /// The device with the cap that holds for the whole study.
    pub(super) device: DeviceSpec,
    executor: &'a mut dyn Executor,
    listener: &'a mut Listener<'a>,
    started: Instant,
    seconds_before: f64,
    _lock: Lock,
}

impl<'a> Driver<'a> {
    /// Opens the study's folder and memory, or goes on with them.
    ///
    /// # Errors
    /// Another driver holds the folder, the study file has changed since the study began, or the
    /// database can't be used.
    pub fn open(
        study: &'a Study,
        executor: &'a mut dyn Executor,
        listener: &'a mut Listener<'a>,
    ) -> Result<Self, StudyError> {
        let layout = Layout::new(&study.output);
        let lock = Lock::acquire(layout.root())?;
        leftovers::remove(&layout);
        let mut store = Store::open(&layout.database())?;
        store.begin(&identity(study), &definition(study))?;
        let device = capped_device(study, &mut store)?;
        let seconds_before = known_wall_seconds(&store)?;
        Ok(Self {
            study,
            layout,
            store,
            device,
            executor,
            listener,
            started: Instant::now(),
            seconds_before,
            _lock: lock,
        })
    }

    pub(super) fn emit(&mut self, event: StudyEvent<'_>) {
        (self.listener)(event);
    }

    /// The three parts a running child needs at once.
    pub(super) fn parts(&mut self) -> (&mut dyn Executor, &mut Store, &mut Listener<'a>) {
        (self.executor, &mut self.store, self.listener)
    }

    /// The folder of the base model.
    pub(super) fn base_model(&self) -> PathBuf {
        match &self.study.model {
            ModelSettings::Folder(folder) => folder.clone(),
            ModelSettings::New(_) => self.layout.new_base(),
        }
    }

    /// Seconds this study has been driven, earlier commands included.
    pub(super) fn wall_seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Makes the time spent so far durable.
    pub(super) fn save_wall_seconds(&mut self) -> Result<(), StudyError> {
        let seconds = self.wall_seconds();
        Ok(self.store.set_fact(WALL_SECONDS, &seconds)?)
    }
}

fn definition(study: &Study) -> String {
    serde_json::to_string(study).unwrap_or_default()
}

/// What must not change between two commands of a study.
///
/// Where files lie is no part of it: the same study file can be typed as `a.toml` and `./a.toml`,
/// and a study can be moved. What they hold is compared in the first stage.
fn identity(study: &Study) -> String {
    let mut placeless = study.clone();
    placeless.output = PathBuf::new();
    placeless.data.source = PathBuf::new();
    if let ModelSettings::Folder(folder) = &mut placeless.model {
        folder.clear();
    }
    let mut fingerprint = Fingerprint::default();
    fingerprint.part(definition(&placeless).as_bytes());
    fingerprint.hex()
}

/// A CPU without a cap gets the memory that is free when the study begins: a probe must never
/// drive the machine out of memory. It is remembered, so that a resumed study meets the same cap.
fn capped_device(study: &Study, store: &mut Store) -> Result<DeviceSpec, StudyError> {
    if study.device != (DeviceSpec::Cpu { cap: None }) {
        return Ok(study.device);
    }
    if let Some(known) = store.fact(CAPPED_DEVICE)? {
        return Ok(known);
    }
    let device = DeviceSpec::Cpu { cap: device::open(&DeviceSpec::Cpu { cap: None })?.free() };
    store.set_fact(CAPPED_DEVICE, &device)?;
    Ok(device)
}

/// Seconds the study had been driven when they were last saved.
pub(super) fn known_wall_seconds(store: &Store) -> Result<f64, StudyError> {
    Ok(store.fact(WALL_SECONDS)?.unwrap_or(0.0))
}
