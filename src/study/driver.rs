//! One study being driven: its settings, its memory, the executor and the listener.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Instant;

use super::breaker::Breaker;
use super::confirm::Reserved;
use super::deadline::Deadline;
use super::layout::Layout;
use super::{StudyError, StudyEvent, leftovers};
use crate::device;
use crate::executor::Executor;
use crate::fingerprint::Fingerprint;
use crate::hub::Hub;
use crate::quantize;
use crate::space::{DeviceSpec, ExecutorSettings, ModelSettings, ModelSource, Study};
use crate::store::{Chronicle, Lock, Store};
use crate::trial::{History, RunKey};
use crate::units::Bytes;

const WALL_SECONDS: &str = "wall_seconds";
const CAPPED_DEVICE: &str = "capped_device";

/// Whoever wants to know what happens.
pub type Listener<'a> = dyn FnMut(StudyEvent<'_>) + 'a;

/// Drives one study. Only one driver at a time can hold a study's folder.
pub struct Driver<'a> {
    pub(super) study: &'a Study,
    pub(super) layout: Layout,
    pub(super) store: Store,
    /// What the store holds of trials, as far as it was read.
    pub(super) chronicle: RefCell<Chronicle>,
    /// What comparing the best will take.
    pub(super) reserved: RefCell<Option<Reserved>>,
    /// Bytes of the largest checkpoint there has been, once they were looked at.
    pub(super) largest_checkpoint: Cell<Option<Bytes>>,
    /// The device with the cap that holds for the whole study.
    pub(super) device: DeviceSpec,
    /// Where models are fetched that are named by a hub id.
    pub(super) hub: Hub,
    /// The folder of the base model, once it is there.
    pub(super) base: Option<PathBuf>,
    /// By when what is to be done.
    pub(super) deadline: Option<Deadline>,
    /// When what is under way ends, whatever it has reached.
    pub(super) cut_off: Option<f64>,
    /// When the driver was opened, by the executor's clock.
    pub(super) opened_at: f64,
    /// What runs in each of the executor's slots.
    pub(super) under_way: Vec<Option<RunKey>>,
    /// How often a run that is to begin has waited for memory.
    pub(super) pauses: usize,
    /// Which devices are out of service.
    pub(super) breaker: Breaker,
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
    /// Another driver holds the folder, the study file has changed since the study began, the
    /// database can't be used, or this build has no such device.
    pub fn open(
        study: &'a Study,
        executor: &'a mut dyn Executor,
        listener: &'a mut Listener<'a>,
    ) -> Result<Self, StudyError> {
        if study.trainer.is_none() {
            device::check_built(&study.device)?;
        }
        let layout = Layout::new(&study.output);
        let lock = Lock::acquire(layout.root())?;
        // What a run that has outlived its driver is writing is no leftover.
        if !executor.has_left_runs() {
            leftovers::remove(&layout);
        }
        let mut store = Store::open(&layout.database())?;
        if store.identity()?.is_some() {
            begin(study, &store)?;
        } else {
            store.forget_facts()?;
        }
        let device = capped_device(study, &mut store)?;
        let seconds_before = known_wall_seconds(&store)?;
        Ok(Self {
            study,
            layout,
            store,
            chronicle: RefCell::default(),
            reserved: RefCell::default(),
            largest_checkpoint: Cell::default(),
            device,
            hub: Hub::from_env(),
            base: None,
            deadline: None,
            cut_off: None,
            opened_at: executor.now(),
            under_way: vec![None; executor.slots()],
            pauses: 0,
            breaker: Breaker::new(&study.slots, &History::default()),
            executor,
            listener,
            started: Instant::now(),
            seconds_before,
            _lock: lock,
        })
    }

    /// Fetches models from `hub` instead of the one the environment's variables name.
    #[must_use]
    pub fn with_hub(mut self, hub: Hub) -> Self {
        self.hub = hub;
        self
    }

    /// Is done by a moment.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Deadline>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Fixes the study file: model and data have been found sound, and all results rest on them.
    ///
    /// Until then the file may be corrected without another name or an empty folder.
    pub(super) fn begin(&self) -> Result<(), StudyError> {
        begin(self.study, &self.store)
    }

    pub(super) fn emit(&mut self, event: StudyEvent<'_>) {
        (self.listener)(event);
    }

    /// Whether the user asked to stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.executor.is_interrupted()
    }

    pub(super) fn executor(&self) -> &dyn Executor {
        self.executor
    }

    /// The three parts a running child needs at once.
    pub(super) fn parts(&mut self) -> (&mut dyn Executor, &mut Store, &mut Listener<'a>) {
        (self.executor, &mut self.store, self.listener)
    }

    /// The folder of the base model.
    pub(super) fn base_model(&self) -> PathBuf {
        match (&self.base, &self.study.model) {
            (Some(folder), _) => folder.clone(),
            (None, ModelSettings::Source(source)) if quantize::is_gguf(&source.path) => {
                self.layout.unpacked_base()
            }
            (None, ModelSettings::Source(source)) => source.path.clone(),
            (None, ModelSettings::New(_)) => self.layout.new_base(),
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

impl Drop for Driver<'_> {
    /// However the loop has ended, no run goes on without it.
    fn drop(&mut self) {
        self.executor.abandon();
    }
}

fn begin(study: &Study, store: &Store) -> Result<(), StudyError> {
    let mut fingerprint = Fingerprint::default();
    fingerprint.part(definition(&placeless(study)).as_bytes());
    Ok(store.begin(&fingerprint.hex(), &definition(study))?)
}

fn definition(study: &Study) -> String {
    serde_json::to_string(study).unwrap_or_default()
}

/// What must not change between two commands of a study.
///
/// Cards that are only estimated are no part of it, nor when the search stops, nor where and how many trials run at
/// the same time, nor how many devices share a run: what has been found stays true where more is asked for. Nor is where files lie: the same study file can be typed as `a.toml` and `./a.toml`,
/// and a study can be moved. What they hold is compared in the first stage.
fn placeless(study: &Study) -> Study {
    let mut study = study.clone();
    study.output.clear();
    study.disk_quota = None;
    study.data.source.clear();
    if let Some(trainer) = &mut study.trainer {
        trainer.silence_minutes = 0.0;
    }
    study.gpu.clear();
    study.slots.truncate(1);
    study.train.data_parallel = None;
    study.executor = ExecutorSettings::Local;
    (study.search.trials, study.search.hours, study.search.plateau_nats) = (0, None, None);
    if let ModelSettings::Source(source) = &mut study.model {
        *source = ModelSource::default();
    }
    study
}

/// A CPU without a cap gets the memory that is free when the study begins, an equal share for each slot: a probe
/// must never drive the machine out of memory. It is remembered, so that a resumed study meets the same cap.
fn capped_device(study: &Study, store: &mut Store) -> Result<DeviceSpec, StudyError> {
    let known = known_device(study, store)?;
    if known != (DeviceSpec::Cpu { cap: None }) {
        return Ok(known);
    }
    let free = device::open(&DeviceSpec::Cpu { cap: None })?.free();
    let cap = free.map(|free| Bytes(free.0 / study.slots.len().max(1) as u64));
    let device = DeviceSpec::Cpu { cap };
    store.set_fact(CAPPED_DEVICE, &device)?;
    Ok(device)
}

/// The device with the cap a study remembers.
pub(super) fn known_device(study: &Study, store: &Store) -> Result<DeviceSpec, StudyError> {
    Ok(store.fact(CAPPED_DEVICE)?.unwrap_or(study.device))
}

/// Seconds the study had been driven when they were last saved.
pub(super) fn known_wall_seconds(store: &Store) -> Result<f64, StudyError> {
    Ok(store.fact(WALL_SECONDS)?.unwrap_or(0.0))
}
