//! Stage 1: the base model and the tokenized data set are there and fit each other.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::origin::{model_digest, source_digest};
use super::{Stage, StudyError, StudyEvent};
use crate::arch::{self, ModelConfig};
use crate::data::{self, CleaningReport, Tokenizer};
use crate::model;
use crate::quantize;
use crate::space::{ModelSettings, NewModel};

pub(super) const DATA: &str = "data";
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
    /// Digest of the source alone.
    pub source_digest: String,
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
    /// Digest of configuration, weights and tokenizer.
    pub digest: String,
}

impl Driver<'_> {
    /// Makes or checks the base model, and cleans, splits and tokenizes the data.
    ///
    /// # Errors
    /// Anything wrong with model or data, before any trial is run.
    pub fn prepare(&mut self) -> Result<(), StudyError> {
        self.emit(StudyEvent::Stage(Stage::Prepare));
        if let Some(examples) = self.study.own_examples() {
            return self.prepare_own(examples);
        }
        let folder = self.locate_base()?;
        if let ModelSettings::New(new) = self.study.model {
            self.make_base(&new, &folder)?;
        }
        let config = model::read_config(&folder)?;
        if let Some(lora) = &self.study.train.lora {
            model::check_targets(lora, &config)?;
        }
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
        let digest = model_digest(folder)?;
        if let Some(known) = self.store.fact::<ModelFacts>(MODEL)? {
            self.unchanged(&known.digest, &digest, folder)?;
            return Ok(known);
        }
        // A damaged file is found now, not in the first trial.
        model::check_weights(folder, config)?;
        let facts = ModelFacts {
            parameters: arch::parameter_count(config),
            vocab_size: config.vocab_size,
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            digest,
        };
        self.store.set_fact(MODEL, &facts)?;
        Ok(facts)
    }

    fn data_facts(&mut self, folder: &Path, config: &ModelConfig) -> Result<DataFacts, StudyError> {
        let source = &self.study.data.source;
        let source_digest = source_digest(&self.study.data)?;
        if let Some(known) = self.store.fact::<DataFacts>(DATA)? {
            self.unchanged(&known.source_digest, &source_digest, source)?;
            if self.layout.dataset().exists() {
                return Ok(known);
            }
        }
        let tokenizer = Tokenizer::from_folder(folder)?;
        tokenizer.check_against(config)?;
        let dataset = data::prepare(&self.study.data, self.study.seed, &tokenizer, config)?;
        data::cache::write(&dataset, &self.layout.dataset())?;
        let facts = DataFacts {
            splits: [dataset.train.len(), dataset.validation.len(), dataset.test.len()],
            report: dataset.report,
            digest: dataset.digest,
            source_digest,
        };
        self.store.set_fact(DATA, &facts)?;
        Ok(facts)
    }

    pub(super) fn unchanged(&self, known: &str, now: &str, file: &Path) -> Result<(), StudyError> {
        if known == now {
            return Ok(());
        }
        Err(StudyError::Changed { file: file.to_owned(), output: self.layout.root().to_owned() })
    }

    /// Random weights and a tokenizer trained on the study's own text.
    fn make_base(&self, new: &NewModel, folder: &Path) -> Result<(), StudyError> {
        // Without the fact the folder may be of an earlier study file, corrected before it began.
        if self.has_base()? && folder.join(model::WEIGHTS_FILE).exists() {
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

    /// Whether a base model has been found sound, so that the study rests on it.
    pub(super) fn has_base(&self) -> Result<bool, StudyError> {
        Ok(self.store.fact::<ModelFacts>(MODEL)?.is_some())
    }

    /// Facts of the data set.
    pub(super) fn known_data(&self) -> Result<DataFacts, StudyError> {
        self.store.fact(DATA)?.ok_or(StudyError::NotPrepared)
    }
}

/// Facts of data and model, for the report.
pub(super) fn known_facts(
    store: &crate::store::Store,
) -> Result<(Option<DataFacts>, Option<ModelFacts>), StudyError> {
    Ok((store.fact(DATA)?, store.fact(MODEL)?))
}
