//! From a study file as typed to a study that cannot be wrong.
//!
//! One file for each table of the study file; every default stands there, each with its source.

mod data;
mod executor;
mod fit;
mod model;
mod quantize;
mod search;
mod slots;
mod space;
mod train;
mod trainer;

use std::fmt;
use std::path::Path;

pub use quantize::GGUF_TYPES;

use super::study_file::{OneOrMany, StudySection};
use super::{Study, StudyFile, StudyFileError, TrainSettings};
use crate::units::{Bytes, ParseBytesError};

/// No model is as wide.
const LARGEST_RANK: usize = 1 << 14;

impl Study {
    /// Checks a typed study file.
    ///
    /// Paths in the file are relative to the file's folder, as in Cargo; `output` alone is
    /// relative to the working folder and defaults to `results/NAME`.
    ///
    /// # Errors
    /// The first value that is out of range, with the key and what would be right.
    pub fn check(file: &StudyFile, path: &Path) -> Result<Self, StudyFileError> {
        let check = Check { path, folder: path.parent().unwrap_or(Path::new("")) };
        let name = check.name(&file.study)?;
        let (runner, places) = executor::executor(&check, file)?;
        slots::sharing(&check, file, &runner, &places)?;
        Ok(Self {
            seed: file.study.seed.unwrap_or(0),
            device: places[0],
            slots: places,
            executor: runner,
            threads: check.threads(&file.study)?,
            output: file.study.output.clone().unwrap_or_else(|| Path::new("results").join(&name)),
            disk_quota: check.disk_quota(&file.study)?,
            name,
            model: check.model(&file.model)?,
            data: check.data(file)?,
            space: check.space(file)?,
            search: check.search(&file.search)?,
            learn_from: file.search.learn_from.as_ref().map(many).unwrap_or_default(),
            train: TrainSettings { lora: check.lora(file.lora.as_ref())?, ..check.train(&file.train)? },
            fit: check.fit(file)?,
            quantize: check.quantize(file)?,
            trainer: check.trainer(file)?,
            gpu: file.gpu.clone(),
        })
    }

    /// What a study file gets that sets nothing but model and data.
    ///
    /// # Panics
    /// Never: a test checks it.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the text is a constant of this function, and tested")]
    pub fn with_defaults() -> Self {
        let text = "[model]\nsource = \"\"\n[data]\nsource = \"data.csv\"\n";
        Self::from_toml(text, Path::new("study.toml")).expect("the defaults are valid")
    }

    /// The text of a study file, read and checked.
    ///
    /// # Errors
    /// As [`StudyFile::parse`] and [`Study::check`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, StudyFileError> {
        Self::check(&StudyFile::parse(text, path)?, path)
    }
}

/// One study file being checked: where it is, for messages and for relative paths.
pub(super) struct Check<'a> {
    path: &'a Path,
    pub(super) folder: &'a Path,
}

pub(super) type Checked<T> = Result<T, StudyFileError>;

impl Check<'_> {
    pub(super) fn wrong<T>(&self, key: &str, value: impl fmt::Display, right: &str) -> Checked<T> {
        Err(StudyFileError {
            file: self.path.to_owned(),
            line: None,
            message: format!("`{key}` is {value}"),
            hint: Some(right.to_owned()),
        })
    }

    pub(super) fn number(&self, key: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Checked<f64> {
        if range.contains(&value) {
            return Ok(value);
        }
        self.wrong(key, value, &format!("it must lie between {} and {}", range.start(), range.end()))
    }

    pub(super) fn count(&self, key: &str, value: usize, low: usize, high: usize) -> Checked<usize> {
        if (low..=high).contains(&value) {
            return Ok(value);
        }
        self.wrong(key, value, &format!("it must lie between {low} and {high}"))
    }

    fn counts(&self, key: &str, values: &OneOrMany<usize>) -> Checked<Vec<usize>> {
        let mut sizes = many(values);
        sizes.sort_unstable();
        sizes.dedup();
        if sizes.is_empty() || sizes[0] == 0 {
            return self.wrong(
                key,
                format!("{sizes:?}"),
                "give one or more sizes of at least 1, such as [8, 16]",
            );
        }
        Ok(sizes)
    }

    fn name(&self, section: &StudySection) -> Checked<String> {
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = section.name.clone().or_else(stem).unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(good) || name.starts_with('.') {
            return self.wrong(
                "study.name",
                format!("`{name}`"),
                "use letters, digits, `-`, `_` and `.`: it names a folder",
            );
        }
        Ok(name)
    }

    fn disk_quota(&self, section: &StudySection) -> Checked<Option<Bytes>> {
        let Some(typed) = &section.disk_quota else { return Ok(None) };
        typed.parse().map(Some).or_else(|error: ParseBytesError| {
            self.wrong("study.disk_quota", format!("`{typed}`"), &error.to_string())
        })
    }

    fn threads(&self, section: &StudySection) -> Checked<Option<usize>> {
        match section.threads {
            Some(0) => self.wrong(
                "study.threads",
                "0".to_owned(),
                "a trial needs at least one thread; without the key it has one for every processor",
            ),
            threads => Ok(threads),
        }
    }
}

pub(super) fn many<T: Clone>(values: &OneOrMany<T>) -> Vec<T> {
    match values {
        OneOrMany::One(value) => vec![value.clone()],
        OneOrMany::Many(values) => values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{
        ALL_LINEAR, BatchDomain, BatchPlan, BlockFormat, DataFormat, FloatDomain, ModelSettings, ModelSource,
        Optimizer,
    };

    const MINIMAL: &str = "[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n";

    fn study(more: &str) -> Result<Study, StudyFileError> {
        Study::from_toml(&format!("{MINIMAL}{more}"), Path::new("spaces/tiny.toml"))
    }

    #[test]
    fn model_and_data_are_enough() {
        let study = study("").unwrap();
        assert_eq!(study.name, "tiny");
        assert_eq!(study.output, Path::new("results/tiny"));
        let source = ModelSource { typed: "base".to_owned(), path: "spaces/base".into() };
        assert_eq!(study.model, ModelSettings::Source(source));
        assert_eq!(study.data.format, DataFormat::Csv);
        assert_eq!(study.space.batch, BatchDomain::Effective(vec![8, 16, 32]));
    }

    #[test]
    fn the_spellings_of_hugging_face_are_understood() {
        let study = study(
            "[train]\nnum_train_epochs = 2\nwarmup_ratio = 0.1\noptim = 'adamw_bnb_8bit'\n[space]\nper_device_train_batch_size = 4\n",
        )
        .unwrap();
        assert!((study.train.epochs - 2.0).abs() < 1e-12);
        assert!((study.train.warmup_fraction - 0.1).abs() < 1e-12);
        assert_eq!(study.train.optimizer, Optimizer::AdamW8Bit);
        assert_eq!(
            study.space.batch,
            BatchDomain::Explicit(vec![BatchPlan { micro_batch_size: 4, gradient_accumulation_steps: 1 }])
        );
    }

    #[test]
    fn adapters_have_the_defaults_of_the_field_and_ten_times_the_learning_rate() {
        let plain = study("[lora]\n").unwrap();
        let rates = FloatDomain { low: 5e-5, high: 5e-3, log: true };
        assert_eq!(plain.space.learning_rate, rates);
        let all_weights = study("").unwrap().space.learning_rate;
        assert!((rates.high / all_weights.high - 10.0).abs() < 1e-9);
        let lora = plain.train.lora.unwrap();
        assert_eq!((lora.rank, lora.targets, lora.rslora), (16, vec![ALL_LINEAR.to_owned()], false));
        assert!((lora.alpha - 32.0).abs() < 1e-12 && lora.dropout == 0.0);
        let named = study("[lora]\nlora_r = 8\nlora_alpha = 4\ntarget_modules = 'q_proj'\n").unwrap();
        let lora = named.train.lora.unwrap();
        assert!(lora.rank == 8 && (lora.alpha - 4.0).abs() < 1e-12 && lora.targets == ["q_proj"]);
        assert_eq!(lora.quantize_base, None);
        let quantized = study("[lora]\nquantize_base = 'q4_k'\n").unwrap().train.lora.unwrap();
        assert_eq!(quantized.quantize_base, Some(BlockFormat::Q4K));
    }

    #[test]
    fn a_value_out_of_range_names_its_key_and_the_range() {
        for (more, key) in [
            ("[train]\nepochs = 0\n", "train.epochs"),
            ("[train]\noptimizer = 'adafactor'\n", "train.optimizer"),
            ("[space]\nprecision = 'fp8'\n", "space.precision"),
            ("[space]\nlearning_rate = { low = 1e-3, high = 1e-4 }\n", "space.learning_rate"),
            ("[space]\neffective_batch_size = []\n", "space.effective_batch_size"),
            ("[space]\ngradient_accumulation_steps = 2\n", "space.gradient_accumulation_steps"),
            ("[study]\ndevice = 'gpu'\n", "study.device"),
            ("[study]\nthreads = 0\n", "study.threads"),
            ("[lora]\nrank = 0\n", "lora.rank"),
            ("[lora]\ndropout = 1.0\n", "lora.dropout"),
            ("[lora]\ntargets = []\n", "lora.targets"),
            ("[lora]\nquantize_base = 'nf4'\n", "lora.quantize_base"),
            ("[fit]\nmax_length = [4096]\n", "fit.max_length"),
            ("[fit]\nlora_rank = ['half']\n", "fit.lora_rank"),
            ("[fit]\nmargin = '5 %'\n", "fit.margin"),
            ("[search]\nhours = 0.0\n", "search.hours"),
            ("[search]\nplateau_nats = -0.1\n", "search.plateau_nats"),
            ("[search]\nconfirm = { candidates = 0 }\n", "search.confirm.candidates"),
            ("[search]\nconfirm = { seeds = 99 }\n", "search.confirm.seeds"),
            ("[quantize]\ntypes = ['q9']\n", "quantize.types"),
        ] {
            let error = study(more).unwrap_err();
            assert!(error.message.contains(key), "{error}");
            assert!(error.hint.is_some(), "{error}");
        }
    }
}
