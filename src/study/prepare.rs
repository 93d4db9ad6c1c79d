//! Stage 1: the base model and the tokenized data set are there and fit each other.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::{Stage, StudyError, StudyEvent};
use crate::arch::{self, ModelConfig};
use crate::data::{self, CleaningReport, Tokenizer};
use crate::fingerprint::Fingerprint;
use crate::model;
use crate::quantize;
use crate::space::{ModelSettings, NewModel};

const DATA: &str = "data";
const MODEL: &str = "model";

/// What the study remembers of its data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DataFacts {
    /// What cleaning did.
    pub report: CleaningReport,
    /// Examples of train, validation and test.
    pub splits: [usize; 3],
    /// Digest of source, settings and tokenizer.
    pub digest: String,
}

/// What the study remembers of its base model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelFacts {
    /// Trainable parameters.
    pub parameters: u64,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width.
    pub hidden_size: usize,
    /// Digest of configuration and weights.
    pub digest: String,
}

impl Driver<'_> {
    /// Makes or checks the base model, and cleans, splits and tokenizes the data.
    ///
    /// # Errors
    /// Anything wrong with model or data, before any trial is run.
    pub fn prepare(&mut self) -> Result<(), StudyError> {
        self.emit(StudyEvent::Stage(Stage::Prepare));
        let folder = self.base_model();
        if let ModelSettings::New(new) = self.study.model {
            self.make_base(&new, &folder)?;
        }
        let config = model::read_config(&folder)?;
        let facts = self.model_facts(&folder, &config)?;
        self.emit(StudyEvent::ModelReady { parameters: facts.parameters, folder: &folder });
        let facts = self.data_facts(&folder, &config)?;
        self.emit(StudyEvent::DataReady { report: &facts.report, splits: facts.splits });
        if !self.study.quantize.types.is_empty() {
            quantize::check_tokenizer(&folder, &config).map_err(StudyError::NoGguf)?;
        }
        self.begin()?;
        self.save_wall_seconds()
    }

    fn model_facts(&mut self, folder: &Path, config: &ModelConfig) -> Result<ModelFacts, StudyError> {
        if let Some(known) = self.store.fact(MODEL)? {
            return Ok(known);
        }
        // Reading every weight once finds a damaged file now, not in the first trial.
        let weights = model::read_weights(folder, config)?;
        drop(weights);
        let facts = ModelFacts {
            parameters: arch::parameter_count(config),
            vocab_size: config.vocab_size,
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            digest: model_digest(folder)?,
        };
        self.store.set_fact(MODEL, &facts)?;
        Ok(facts)
    }

    fn data_facts(&mut self, folder: &Path, config: &ModelConfig) -> Result<DataFacts, StudyError> {
        if let Some(known) = self.store.fact(DATA)?
            && self.layout.dataset().exists()
        {
            return Ok(known);
        }
        let tokenizer = Tokenizer::from_folder(folder)?;
        tokenizer.check_against(config)?;
        let dataset = data::prepare(&self.study.data, self.study.seed, &tokenizer, config)?;
        data::cache::write(&dataset, &self.layout.dataset())?;
        let facts = DataFacts {
            splits: [dataset.train.len(), dataset.validation.len(), dataset.test.len()],
            report: dataset.report,
            digest: dataset.digest,
        };
        self.store.set_fact(DATA, &facts)?;
        Ok(facts)
    }

    /// Random weights and a tokenizer trained on the study's own text.
    fn make_base(&self, new: &NewModel, folder: &Path) -> Result<(), StudyError> {
        // Without the fact the folder may be of an earlier study file, corrected before it began.
        if self.store.fact::<ModelFacts>(MODEL)?.is_some() && folder.join(model::WEIGHTS_FILE).exists() {
            return Ok(());
        }
        let (rows, _) = data::clean(data::read_rows(&self.study.data)?);
        let texts = rows.into_iter().map(|row| row.prompt.unwrap_or_default() + &row.completion);
        let tokenizer = Tokenizer::train_bpe(texts, new.vocab_size)?;
        let end_token = tokenizer.token_id(data::END_TOKEN).unwrap_or_default();
        let vocabulary = NewModel { vocab_size: tokenizer.vocab_size(), ..*new };
        // Room for contexts longer than those it is trained on costs nothing: positions are rotary.
        let config = ModelConfig::new(&vocabulary, 4 * self.study.data.max_length, end_token)?;
        tokenizer.save(folder)?;
        Ok(model::write_random(folder, &config, self.study.seed)?)
    }

    /// Facts of the data set.
    pub(super) fn known_data(&self) -> Result<DataFacts, StudyError> {
        self.store.fact(DATA)?.ok_or(StudyError::NoBest)
    }
}

/// Facts of data and model, for the report.
pub(super) fn known_facts(
    store: &crate::store::Store,
) -> Result<(Option<DataFacts>, Option<ModelFacts>), StudyError> {
    Ok((store.fact(DATA)?, store.fact(MODEL)?))
}

fn model_digest(folder: &Path) -> Result<String, StudyError> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|source| StudyError::Io { file: folder.to_owned(), source })?;
    names.retain(|name: &std::path::PathBuf| {
        name.extension().is_some_and(|extension| extension == "safetensors")
            || name.file_name().is_some_and(|name| name == model::CONFIG_FILE)
    });
    names.sort();
    let mut fingerprint = Fingerprint::default();
    for name in names {
        fingerprint.file(&name).map_err(|source| StudyError::Io { file: name, source })?;
    }
    Ok(fingerprint.hex())
}
