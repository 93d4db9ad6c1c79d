//! What the search may expect beforehand: of the model, the data, and the user's past studies.

use std::path::Path;

use super::driver::Driver;
use super::{Layout, StudyError, horizon};
use crate::search::{Facts, Method, PastRun, PastStudy, Shift, Task};
use crate::space::ModelSettings;
use crate::store::Store;
use crate::trial::{History, Outcome};

const FACTS: &str = "task";

impl Driver<'_> {
    /// The task, remembered for studies that learn from this one.
    pub(super) fn task(&mut self) -> Result<Task, StudyError> {
        let facts = self.facts()?;
        self.store.set_fact(FACTS, &facts)?;
        let past: Result<Vec<PastStudy>, StudyError> =
            self.study.learn_from.iter().map(|folder| past_study(folder)).collect();
        Ok(Task { facts, shift: Shift::learnt(&past?) })
    }

    fn facts(&self) -> Result<Facts, StudyError> {
        let shapes = self.shapes()?;
        let method = match (&self.study.model, &self.study.train.lora) {
            (_, Some(_)) => Method::Lora,
            (ModelSettings::New(_), None) => Method::Pretraining,
            (ModelSettings::Source(_), None) => Method::Full,
        };
        #[expect(clippy::cast_precision_loss, reason = "about is enough")]
        let as_float = |count: u64| count as f64;
        // Of data that are a trainer's own nothing is known.
        let is_known = self.study.own_examples().is_none();
        Ok(Facts {
            method: Some(method),
            parameters: shapes.map(|shapes| as_float(shapes.parameters())),
            tokens: horizon(self.study)?.tokens.map(as_float),
            sequence_length: is_known.then(|| as_float(self.study.data.max_length as u64)),
            lora_rank: self.study.train.lora.as_ref().map(|lora| as_float(lora.rank as u64)),
        })
    }
}

/// Reads the runs of the study in `folder`.
fn past_study(folder: &Path) -> Result<PastStudy, StudyError> {
    let database = Layout::new(folder).database();
    if !database.is_file() {
        return Err(StudyError::NoPastStudy { folder: folder.to_owned() });
    }
    let store = Store::open_past(&database)?;
    let facts = store.fact(FACTS)?.unwrap_or_default();
    Ok(PastStudy { facts, runs: runs(&store.history()?) })
}

/// What each trial told at each rung; one that diverged tells too.
fn runs(history: &History) -> Vec<PastRun> {
    let records =
        history.trials.iter().flat_map(|trial| trial.rungs.iter().map(move |record| (trial, record)));
    let telling =
        records.filter(|(_, record)| matches!(record.outcome, Outcome::Finished | Outcome::Diverged { .. }));
    telling
        .map(|(trial, record)| {
            #[expect(clippy::cast_precision_loss, reason = "batches are small")]
            let effective_batch_size = trial.hyperparams.batch.effective_batch_size() as f64;
            let is_sound = record.outcome == Outcome::Finished;
            PastRun {
                learning_rate: trial.hyperparams.learning_rate,
                effective_batch_size,
                loss_nats: record.measurement.eval_loss_nats().filter(|_| is_sound),
                rung: record.rung,
            }
        })
        .collect()
}
