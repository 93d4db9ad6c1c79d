//! One run under way: its files, its job, and what is heard of it.

use std::time::{Duration, Instant};

use super::event_file::{EventFile, tail};
use super::folder::RunFolder;
use super::state::{Record, Row, Stage};
use super::verdict::{Past, Verdict, verdict};
use crate::executor::Heard;
use crate::space::DeviceSpec;
use crate::trial::{Event, Outcome};

/// Pause between two looks into a file.
const LOOK: Duration = Duration::from_millis(250);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An earlier driver's job has said its last word; no job is needed.
    Done,
    /// It needs a job.
    ToSubmit,
    /// One is being asked for.
    Submitting,
    /// It has one.
    Job {
        id: u64,
        stage: Stage,
        /// When it was first seen to be over.
        over_since: Option<Instant>,
    },
}

/// A run in a slot.
pub(super) struct Run {
    /// Name of its jobs.
    pub(super) name: String,
    pub(super) folder: RunFolder,
    pub(super) device: DeviceSpec,
    pub(super) spec: Vec<u8>,
    pub(super) place: Place,
    /// A living job of this name does what is asked.
    pub(super) may_adopt: bool,
    /// Jobs of this name that do something else.
    pub(super) others: Vec<u64>,
    /// Its files are those of this run.
    pub(super) has_begun: bool,
    /// A list asked for after this moment must have shown that there is no job; any list at the start, for nobody
    /// else submits jobs of this study.
    pub(super) listed_after: Option<Instant>,
    events: EventFile,
    heard: Instant,
    past: Past,
    end: Option<Outcome>,
}

impl Run {
    /// A run that is to be begun, or found again where its files hold the same specification.
    pub(super) fn new(
        name: String,
        folder: RunFolder,
        device: DeviceSpec,
        spec: Vec<u8>,
        may_be_found: bool,
    ) -> Self {
        let is_known = may_be_found && folder.is_of(&spec);
        let place = if is_known && folder.has_ended() { Place::Done } else { Place::ToSubmit };
        let events = EventFile::new(folder.events()).with_pace(LOOK);
        let past = Past { cap: device.cap(), ..Past::default() };
        Self {
            name,
            folder,
            device,
            spec,
            place,
            may_adopt: is_known,
            others: vec![],
            has_begun: false,
            listed_after: None,
            events,
            heard: Instant::now(),
            past,
            end: None,
        }
    }

    /// What is heard of it, if there is anything: what was said comes before how it ended.
    pub(super) fn look(&mut self) -> Option<Heard> {
        // Until then the file may be that of a job nobody asks about any more.
        if matches!(self.place, Place::ToSubmit | Place::Submitting) {
            return None;
        }
        if self.end.is_some() {
            self.events.hurry();
        }
        let Some(event) = self.events.next() else { return self.end.take().map(Heard::Ended) };
        self.heard = Instant::now();
        match &event {
            Event::Checkpoint { .. } => self.past.has_progressed = true,
            Event::Memory { peak_bytes, .. } => self.past.peak = self.past.peak.max(*peak_bytes),
            _ => {}
        }
        Some(Outcome::from_last_word(&event).map_or(Heard::Event(event), Heard::Ended))
    }

    /// Takes a job.
    pub(super) fn has_job(&mut self, id: u64, stage: Stage) {
        (self.place, self.has_begun, self.heard) =
            (Place::Job { id, stage, over_since: None }, true, Instant::now());
    }

    /// Takes what a list of all jobs says.
    pub(super) fn listed(&mut self, rows: &[Row], now: Instant) {
        let Place::Job { id, over_since, .. } = self.place else { return };
        let stage = rows.iter().find(|row| row.id == id).map(|row| row.stage);
        let over_since = match stage {
            Some(Stage::Waits | Stage::Runs) => None,
            // One that is not listed any more is over, too.
            Some(Stage::Over(_)) | None => over_since.or(Some(now)),
        };
        if stage != Some(Stage::Runs) {
            self.heard = now;
        }
        self.place = Place::Job { id, stage: stage.unwrap_or(Stage::Waits), over_since };
    }

    /// The job to be asked about: it has been over for `settle`, in which a last word would have come.
    pub(super) fn job_in_doubt(&self, settle: Duration, now: Instant) -> Option<u64> {
        match self.place {
            Place::Job { id, over_since: Some(since), .. }
                if self.end.is_none() && now.duration_since(since) >= settle =>
            {
                Some(id)
            }
            _ => None,
        }
    }

    /// Takes what is known of its job; whether that must be cancelled.
    pub(super) fn inspected(&mut self, id: u64, record: Option<&Record>, silence: Duration) -> bool {
        let mut past = self.past.clone();
        past.stderr_tail = tail(&self.folder.stderr());
        past.seconds = self.heard.elapsed().min(silence).as_secs();
        match verdict(id, record, &past) {
            Verdict::Wait => {
                let stage = record.map_or(Stage::Waits, |record| record.stage);
                self.place = Place::Job { id, stage, over_since: None };
                false
            }
            Verdict::Again => {
                let in_vain = if self.past.has_progressed { 0 } else { self.past.in_vain + 1 };
                self.past = Past { in_vain, has_progressed: false, ..self.past.clone() };
                self.place = Place::ToSubmit;
                self.others.push(id);
                false
            }
            Verdict::Ended(outcome) => {
                self.end = Some(outcome);
                true
            }
        }
    }

    /// The job of a run that has been silent for too long; with it the run has ended.
    pub(super) fn silent_job(&mut self, silence: Duration) -> Option<u64> {
        match self.place {
            Place::Job { id, stage: Stage::Runs, over_since: None }
                if self.end.is_none() && self.heard.elapsed() > silence =>
            {
                let stderr_tail = tail(&self.folder.stderr());
                self.end = Some(Outcome::TimedOut { seconds: silence.as_secs(), stderr_tail });
                Some(id)
            }
            _ => None,
        }
    }

    /// The number of its job.
    pub(super) const fn job(&self) -> Option<u64> {
        match self.place {
            Place::Job { id, .. } => Some(id),
            _ => None,
        }
    }
}
