//! Stage 6: from what the store remembers to plots and a page.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::confirm::{decide, known_decision};
use super::deadline::known_cut;
use super::driver::{Driver, known_device};
use super::fit::known_frontier;
use super::foreign::OWN_DATA;
use super::origin::{HubOrigin, known_origin};
use super::prepare::{DataFacts, ModelFacts, known_facts};
use super::quantize::{FinishFacts, known_finish};
use super::stop::known_stop;
use super::summary::device_in_words;
use super::{Layout, Stage, StudyError, StudyEvent};
use crate::report::{
    self, ConfirmationTable, ContestRow, DataSummary, FrontierRow, ModelSummary, Provenance, QuantizedRow,
    Setting, StudyReport, TunedModel,
};
use crate::search::{Boundary, Contest};
use crate::space::{DeviceSpec, ModelSettings, Study};
use crate::store::Store;
use crate::trial::{History, TrialId};

impl Driver<'_> {
    /// Draws the plots and writes the page.
    ///
    /// # Errors
    /// The database can't be read or a file can't be written.
    pub fn report(&mut self) -> Result<PathBuf, StudyError> {
        self.emit(StudyEvent::Stage(Stage::Report));
        self.save_wall_seconds()?;
        let report = build(self.study, &self.store, self.device, &self.layout)?;
        let page = report::write(&report, self.layout.root())?;
        // Once more, so that the time of a later command starts behind the one told at the end.
        self.save_wall_seconds()?;
        self.emit(StudyEvent::ReportWritten(&page));
        Ok(page)
    }
}

/// Writes the report of a study that another process may be driving; reads only.
///
/// # Errors
/// There is no study yet, the database can't be read, or a file can't be written.
pub fn read_report(study: &Study) -> Result<PathBuf, StudyError> {
    let layout = Layout::new(&study.output);
    let store = Store::open_read_only(&layout.database())?;
    let report = build(study, &store, known_device(study, &store)?, &layout)?;
    Ok(report::write(&report, layout.root())?)
}

fn build(
    study: &Study,
    store: &Store,
    device: DeviceSpec,
    layout: &Layout,
) -> Result<StudyReport, StudyError> {
    let mut history = store.history()?;
    let (data, model) = known_facts(store)?;
    let finish = known_finish(store)?;
    let frontier = known_frontier(store)?.into_iter().map(|point| FrontierRow {
        setting: point.setting,
        max_micro_batch_size: point.max_micro_batch,
        is_lower_bound: point.boundary == Boundary::Limit,
        max_eval_micro_batch_size: point.max_eval_micro_batch,
        knee_micro_batch_size: point.knee_micro_batch,
        peak_bytes: point.peak_bytes,
        tokens_per_second: point.tokens_per_second,
        probes: point.probes,
    });
    let best = decide(study, store, &history)?.map(|decision| decision.winner);
    read_curves(store, &mut history, best)?;
    Ok(StudyReport {
        study: study.name.clone(),
        provenance: provenance(study, store, device, &history)?,
        model: model_summary(study, model, known_origin(study, store)?),
        data: data_summary(study, data),
        frontier: frontier.collect(),
        probes: store.probes()?,
        best,
        confirmation: confirmation(store)?,
        stopped: known_stop(store)?.map(|reason| reason.to_string()),
        untested: study.own_examples().map(|_| format!("No model is tested: {OWN_DATA}.")),
        cut_short: known_cut(store)?.map(|cut| cut.to_string()),
        history,
        full_run: None,
        tuned: tuned(&finish, layout),
        quantized: finish.quantized.into_iter().map(quantized_row).collect(),
        settings: settings(study),
    })
}

/// The points of the curves that are drawn: every point of the best trial, evaluations of the others.
fn read_curves(store: &Store, history: &mut History, best: Option<TrialId>) -> Result<(), StudyError> {
    for id in report::curves(history, best) {
        for record in history.trials.get_mut(id as usize).into_iter().flat_map(|trial| &mut trial.rungs) {
            let run = (id, record.rung);
            record.measurement = if Some(id) == best {
                store.partial(run)?
            } else {
                std::mem::take(&mut record.measurement).with_evals(store.evals(run)?)
            };
        }
    }
    Ok(())
}

fn confirmation(store: &Store) -> Result<Option<ConfirmationTable>, StudyError> {
    let row = |contest: &Contest| ContestRow {
        leader: contest.leader,
        rival: contest.rival,
        runs: contest.runs,
        difference_nats: contest.comparison.difference_nats,
        low: contest.comparison.low,
        high: contest.comparison.high,
    };
    let runs = store.confirmations()?;
    let Some(decision) = known_decision(store)? else {
        let sentence = "not decided yet".to_owned();
        let begun = !runs.is_empty();
        return Ok(begun.then_some(ConfirmationTable { sentence, contests: Vec::new(), runs }));
    };
    let contests = decision.contests.iter().map(row).collect();
    Ok(Some(ConfirmationTable { sentence: decision.to_string(), contests, runs }))
}

fn quantized_row(file: super::QuantizedFile) -> QuantizedRow {
    QuantizedRow {
        gguf_type: file.gguf_type,
        path: shown(&file.path),
        bytes: file.bytes,
        test_loss_nats: file.test_loss_nats,
    }
}

fn provenance(
    study: &Study,
    store: &Store,
    device: DeviceSpec,
    history: &History,
) -> Result<Provenance, StudyError> {
    let begun = store.identity()?.map(|identity| identity.created_at).unwrap_or_default();
    Ok(Provenance {
        device: device_in_words(store, history)?.unwrap_or_else(|| device.to_string()),
        cap: device.cap(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: study.seed,
        date: begun.chars().take("2026-01-01".len()).collect(),
        wall_seconds: super::driver::known_wall_seconds(store)?,
    })
}

fn model_summary(study: &Study, facts: Option<ModelFacts>, origin: Option<HubOrigin>) -> ModelSummary {
    let source = match (&study.model, origin) {
        (ModelSettings::Source(_), Some(origin)) => origin.to_string(),
        (ModelSettings::Source(source), None) => shown(&source.path),
        (ModelSettings::New(_), _) => "made anew".to_owned(),
    };
    let facts = facts.unwrap_or_default();
    ModelSummary {
        source,
        digest: facts.digest,
        parameters: facts.parameters,
        vocabulary: facts.vocab_size,
        layers: facts.layers,
        hidden: facts.hidden_size,
    }
}

fn data_summary(study: &Study, facts: Option<DataFacts>) -> DataSummary {
    let DataFacts { report, splits: [train, validation, test], digest, .. } = facts.unwrap_or_default();
    DataSummary {
        source: shown(&study.data.source),
        digest,
        rows_read: report.rows_read,
        empty: report.empty,
        duplicate: report.duplicate,
        too_long: report.too_long,
        kept: report.kept,
        train,
        validation,
        test,
    }
}

fn tuned(finish: &FinishFacts, layout: &Layout) -> Option<TunedModel> {
    let losses = finish.losses()?;
    Some(TunedModel {
        path: shown(&layout.model()),
        bytes: finish.tuned_bytes,
        base_test_loss_nats: losses.base,
        test_loss_nats: losses.tuned,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Every setting of the study by its key, and whether it is what a file that sets nothing gets.
fn settings(study: &Study) -> Vec<Setting> {
    let defaults = serde_json::to_value(Study::with_defaults()).unwrap_or_default();
    let own = serde_json::to_value(study).unwrap_or_default();
    let mut settings = Vec::new();
    flatten("", &own, &defaults, &mut settings);
    settings
}

fn flatten(key: &str, value: &Value, default: &Value, settings: &mut Vec<Setting>) {
    if let Value::Object(map) = value {
        for (name, value) in map {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            flatten(&key, value, &default[name], settings);
        }
        return;
    }
    // A line end as a value must be seen, so only plain words go without quotes.
    let plain = value.as_str().filter(|text| !text.is_empty() && !text.contains(char::is_control));
    let text = plain.map_or_else(|| value.to_string(), str::to_owned);
    // What stands beside the tables of a checked study is the table `[study]` of its file.
    let key = if key.contains('.') { key.to_owned() } else { format!("study.{key}") };
    settings.push(Setting { key, value: text, is_default: value == default });
}
