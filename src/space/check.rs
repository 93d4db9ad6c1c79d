//! From a study file as typed to a study that cannot be wrong.
//!
//! Every default of a study file stands here, each with its source.

use std::fmt;
use std::path::Path;

use super::study_file::{
    ConfirmSection, DataSection, FitSection, FloatSection, LoraSection, ModelSection, OneOrMany, RankSection,
    SearchSection, SpaceSection, StudySection, TrainSection,
};
use super::{
    ALL_LINEAR, BatchDomain, BatchPlan, BlockFormat, ColumnMapping, ConfirmSettings, DataFormat,
    DataSettings, FitSettings, FloatDomain, LoraSettings, Margin, ModelSettings, ModelSource, NewModel,
    Optimizer, Precision, PrunerKind, QuantizeSettings, SamplerKind, Schedule, SearchSettings, Space, Study,
    StudyFile, StudyFileError, TrainSettings, Trained, UnknownSampler, check_executor, check_slots, textbook,
};
use crate::units::{Bytes, ParseBytesError};

/// No model is as wide.
const LARGEST_RANK: usize = 1 << 14;

/// Names of GGUF types that can be written.
pub const GGUF_TYPES: [&str; 8] = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"];

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
        let (executor, slots) = check_executor::executor(&check, file)?;
        check_slots::sharing(&check, file, &executor, &slots)?;
        Ok(Self {
            seed: file.study.seed.unwrap_or(0),
            device: slots[0],
            slots,
            executor,
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

    fn model(&self, section: &ModelSection) -> Checked<ModelSettings> {
        match (&section.source, &section.new) {
            (Some(source), None) => Ok(ModelSettings::Source(ModelSource {
                typed: source.clone(),
                path: self.folder.join(source),
            })),
            (None, Some(new)) => Ok(ModelSettings::New(NewModel {
                vocab_size: self.count("model.new.vocab_size", new.vocab_size, 260, 1 << 20)?,
                hidden_size: self.count("model.new.hidden_size", new.hidden_size, 2, 1 << 16)?,
                intermediate_size: self.count(
                    "model.new.intermediate_size",
                    new.intermediate_size,
                    1,
                    1 << 20,
                )?,
                num_hidden_layers: self.count(
                    "model.new.num_hidden_layers",
                    new.num_hidden_layers,
                    1,
                    1024,
                )?,
                num_attention_heads: self.count(
                    "model.new.num_attention_heads",
                    new.num_attention_heads,
                    1,
                    1024,
                )?,
                num_key_value_heads: new.num_key_value_heads.unwrap_or(new.num_attention_heads),
            })),
            _ => self.wrong(
                "model",
                "incomplete",
                "give either `source = \"folder or owner/name\"` or a table `[model.new]`",
            ),
        }
    }

    fn data(&self, file: &StudyFile) -> Checked<DataSettings> {
        let section = &file.data;
        let source = self.folder.join(&section.source);
        // Who reads the data knows its format: nothing here does where they are a foreign trainer's own.
        let is_own = file.trainer.as_ref().is_some_and(|trainer| trainer.examples.is_some());
        let format = if is_own { Ok(DataFormat::Text) } else { self.format(section) };
        Ok(DataSettings {
            format: format?,
            source,
            columns: self.columns(section)?,
            // A line end is what most plain completion formats put there.
            separator: section.separator.clone().unwrap_or_else(|| "\n".to_owned()),
            // Long enough for most instruction data, short enough for small cards.
            max_length: self.count("data.max_length", section.max_length.unwrap_or(512), 2, 1 << 20)?,
            // Ten per cent each is the habit of the field for small sets.
            validation_fraction: self.number(
                "data.validation_fraction",
                section.validation_fraction.unwrap_or(0.1),
                0.001..=0.5,
            )?,
            test_fraction: self.number(
                "data.test_fraction",
                section.test_fraction.unwrap_or(0.1),
                0.001..=0.4,
            )?,
        })
    }

    fn format(&self, section: &DataSection) -> Checked<DataFormat> {
        let extension = section.source.extension().map(|e| e.to_string_lossy().to_lowercase());
        let name = section.format.clone().or(extension);
        match name.as_deref() {
            Some("csv") => Ok(DataFormat::Csv),
            Some("jsonl" | "ndjson") => Ok(DataFormat::Jsonl),
            Some("text" | "txt") => Ok(DataFormat::Text),
            other => {
                let found =
                    other.map_or("not clear from the file name".to_owned(), |name| format!("`{name}`"));
                self.wrong("data.format", found, "set it to `csv`, `jsonl` or `text`")
            }
        }
    }

    fn columns(&self, section: &DataSection) -> Checked<ColumnMapping> {
        match (&section.prompt, &section.completion, &section.text) {
            (None, None, None) => Ok(ColumnMapping::Detect),
            (None, None, Some(text)) => Ok(ColumnMapping::Text(text.clone())),
            (Some(prompt), Some(completion), None) => {
                Ok(ColumnMapping::PromptCompletion { prompt: prompt.clone(), completion: completion.clone() })
            }
            _ => self.wrong("data", "mapped in two ways", "name `prompt` and `completion`, or `text` alone"),
        }
    }

    fn space(&self, file: &StudyFile) -> Checked<Space> {
        let section = &file.space;
        let default_learning_rate = match file.lora {
            Some(_) => textbook::LORA_LEARNING_RATE,
            None => textbook::FULL_LEARNING_RATE,
        };
        Ok(Space {
            precision: self.precisions(section)?,
            batch: self.batch(section)?,
            learning_rate: self.learning_rate(section, default_learning_rate)?,
            default_learning_rate,
        })
    }

    fn precisions(&self, section: &SpaceSection) -> Checked<Vec<Precision>> {
        let names = section.precision.as_ref().map_or_else(|| vec!["f32".to_owned()], many);
        let mut precisions = Vec::new();
        for name in &names {
            match name.parse::<Precision>() {
                Ok(precision) if !precisions.contains(&precision) => precisions.push(precision),
                Ok(_) => {}
                Err(error) => return self.wrong("space.precision", format!("{names:?}"), &error),
            }
        }
        if precisions.is_empty() {
            return self.wrong("space.precision", "empty", "name one or more of `f32`, `bf16`, `f16`");
        }
        Ok(precisions)
    }

    fn batch(&self, section: &SpaceSection) -> Checked<BatchDomain> {
        let accumulation_key = "space.gradient_accumulation_steps";
        match (&section.effective_batch_size, &section.micro_batch_size, &section.gradient_accumulation_steps)
        {
            (None, None, None) => Ok(BatchDomain::Effective(vec![8, 16, 32])),
            (Some(sizes), None, None) => {
                Ok(BatchDomain::Effective(self.counts("space.effective_batch_size", sizes)?))
            }
            (None, Some(micro), accumulation) => {
                let micro = self.counts("space.micro_batch_size", micro)?;
                let accumulation = accumulation.clone().unwrap_or(OneOrMany::One(1));
                let accumulation = self.counts(accumulation_key, &accumulation)?;
                let plan = |m, a| BatchPlan { micro_batch_size: m, gradient_accumulation_steps: a };
                Ok(BatchDomain::Explicit(
                    micro.iter().flat_map(|m| accumulation.iter().map(|a| plan(*m, *a))).collect(),
                ))
            }
            _ => self.wrong(
                accumulation_key,
                "given without `micro_batch_size`, or together with `effective_batch_size`",
                "list `effective_batch_size` alone, or `micro_batch_size` with `gradient_accumulation_steps`",
            ),
        }
    }

    fn learning_rate(&self, section: &SpaceSection, default: f64) -> Checked<FloatDomain> {
        let key = "space.learning_rate";
        match section.learning_rate {
            // Two decades; for all weights they lie around Hugging Face's default of 5e-5.
            None => Ok(FloatDomain { low: default / 4.0, high: default * 25.0, log: true }),
            Some(FloatSection::Fixed(value)) => {
                Ok(FloatDomain::fixed(self.number(key, value, 1e-12..=10.0)?))
            }
            Some(FloatSection::Range(range)) => {
                let low = self.number(key, range.low, 1e-12..=10.0)?;
                let high = self.number(key, range.high, low..=10.0)?;
                Ok(FloatDomain { low, high, log: range.log })
            }
        }
    }

    fn search(&self, section: &SearchSection) -> Checked<SearchSettings> {
        Ok(SearchSettings {
            trials: self.count("search.trials", section.trials.unwrap_or(9), 1, 1 << 20)?,
            rungs: u32::try_from(self.count("search.rungs", section.rungs.unwrap_or(3) as usize, 1, 16)?)
                .unwrap_or(16),
            // η = 3 minimises the bound of Li et al. 2018 (Hyperband), section 2.6.
            reduction_factor: self.count(
                "search.reduction_factor",
                section.reduction_factor.unwrap_or(3),
                2,
                16,
            )?,
            validation_examples: self.count(
                "search.validation_examples",
                section.validation_examples.unwrap_or(256),
                1,
                1 << 24,
            )?,
            max_micro_batch_size: self.count(
                "search.max_micro_batch_size",
                section.max_micro_batch_size.unwrap_or(1024),
                1,
                1 << 16,
            )?,
            // A minute at the least, a year at most.
            hours: section
                .hours
                .map(|hours| self.number("search.hours", hours, 1.0 / 60.0..=8760.0))
                .transpose()?,
            plateau_nats: section
                .plateau_nats
                .map(|worth| self.number("search.plateau_nats", worth, 0.0..=100.0))
                .transpose()?,
            sampler: self.sampler(section)?,
            pruner: self.pruner(section)?,
            confirm: self.confirm(section.confirm)?,
        })
    }

    fn sampler(&self, section: &SearchSection) -> Checked<SamplerKind> {
        let Some(name) = &section.sampler else { return Ok(SamplerKind::Gp) };
        name.parse().or_else(|error: UnknownSampler| {
            self.wrong("search.sampler", format!("`{name}`"), &error.to_string())
        })
    }

    fn pruner(&self, section: &SearchSection) -> Checked<PrunerKind> {
        let Some(name) = &section.pruner else { return Ok(PrunerKind::Forecast) };
        if let Ok(kind @ (PrunerKind::Forecast | PrunerKind::Halving)) = name.parse() {
            return Ok(kind);
        }
        let right = "a study's rungs are filled by `auto` (by forecasts) or `halving` (by losses)";
        self.wrong("search.pruner", format!("`{name}`"), right)
    }

    fn confirm(&self, section: ConfirmSection) -> Checked<ConfirmSettings> {
        let default = ConfirmSettings::default();
        let count = |key: &str, value, default| self.count(key, Option::unwrap_or(value, default), 1, 16);
        Ok(ConfirmSettings {
            candidates: count("search.confirm.candidates", section.candidates, default.candidates)?,
            seeds: count("search.confirm.seeds", section.seeds, default.seeds)?,
        })
    }

    fn train(&self, section: &TrainSection) -> Checked<TrainSettings> {
        Ok(TrainSettings {
            epochs: self.number("train.epochs", section.epochs.unwrap_or(3.0), 0.01..=10_000.0)?,
            schedule: self.schedule(section)?,
            // 3–10 % in published recipes; longer is safer for the high rates a search visits.
            warmup_fraction: self.number(
                "train.warmup_fraction",
                section.warmup_fraction.unwrap_or(0.06),
                0.0..=0.9,
            )?,
            optimizer: self.optimizer(section)?,
            // Hugging Face's and PyTorch's AdamW default.
            weight_decay: self.number(
                "train.weight_decay",
                section.weight_decay.unwrap_or(0.01),
                0.0..=10.0,
            )?,
            // Hugging Face's Trainer default; there, too, 0 means no clipping.
            max_grad_norm: Some(self.number(
                "train.max_grad_norm",
                section.max_grad_norm.unwrap_or(1.0),
                0.0..=1e9,
            )?)
            .filter(|limit| *limit > 0.0),
            gradient_checkpointing: section.gradient_checkpointing.unwrap_or(false),
            evaluations: self.count("train.evaluations", section.evaluations.unwrap_or(8), 1, 100_000)?,
            lora: None,
            data_parallel: section.data_parallel,
        })
    }

    fn lora(&self, section: Option<&LoraSection>) -> Checked<Option<LoraSettings>> {
        let Some(section) = section else { return Ok(None) };
        let rank = self.count("lora.rank", section.rank.unwrap_or(16), 1, LARGEST_RANK)?;
        let targets = section.targets.as_ref().map_or_else(|| vec![ALL_LINEAR.to_owned()], many);
        if targets.is_empty() {
            let right = format!("name linear layers such as `q_proj`, or `{ALL_LINEAR}`");
            return self.wrong("lora.targets", "empty", &right);
        }
        let default = LoraSettings::of_rank(rank);
        Ok(Some(LoraSettings {
            rank,
            alpha: self.number("lora.alpha", section.alpha.unwrap_or(default.alpha), 1e-6..=1e6)?,
            dropout: self.number("lora.dropout", section.dropout.unwrap_or(0.0), 0.0..=0.95)?,
            targets,
            rslora: section.rslora.unwrap_or(false),
            quantize_base: self.block_format(section)?,
        }))
    }

    fn block_format(&self, section: &LoraSection) -> Checked<Option<BlockFormat>> {
        let Some(name) = &section.quantize_base else { return Ok(None) };
        match name.parse() {
            Ok(format) => Ok(Some(format)),
            Err(right) => self.wrong("lora.quantize_base", format!("`{name}`"), &right),
        }
    }

    fn fit(&self, file: &StudyFile) -> Checked<FitSettings> {
        let section = &file.fit;
        let longest = self.data(file)?.max_length;
        let key = "fit.max_length";
        let lengths = section.max_length.as_ref().map(|lengths| self.counts(key, lengths)).transpose()?;
        let lengths = lengths.unwrap_or_default();
        for length in &lengths {
            if !(2..=longest).contains(length) {
                let right = format!("it must lie between 2 and `data.max_length`, which is {longest}");
                return self.wrong(key, length, &right);
            }
        }
        let ranks = section.lora_rank.as_ref().map(many).unwrap_or_default();
        Ok(FitSettings {
            max_length: lengths,
            gradient_checkpointing: section.gradient_checkpointing.as_ref().map(many).unwrap_or_default(),
            lora_rank: ranks.iter().map(|rank| self.trained(rank)).collect::<Checked<_>>()?,
            margin: self.margin(section)?,
        })
    }

    fn trained(&self, rank: &RankSection) -> Checked<Trained> {
        let key = "fit.lora_rank";
        match rank {
            RankSection::Rank(rank) => Ok(Trained::Lora(self.count(key, *rank, 1, LARGEST_RANK)?)),
            RankSection::Name(name) if name == "full" => Ok(Trained::Full),
            RankSection::Name(name) => {
                self.wrong(key, format!("`{name}`"), "give ranks such as 16, and `full` for all weights")
            }
        }
    }

    fn margin(&self, section: &FitSection) -> Checked<Margin> {
        let Some(text) = &section.margin else { return Ok(Margin::default()) };
        match text.parse() {
            Ok(bytes) => Ok(Margin(bytes)),
            Err(_) => {
                self.wrong("fit.margin", format!("`{text}`"), "write bytes with a unit, such as `64MiB`")
            }
        }
    }

    fn schedule(&self, section: &TrainSection) -> Checked<Schedule> {
        match section.schedule.as_deref() {
            None | Some("cosine") => Ok(Schedule::Cosine),
            Some("linear") => Ok(Schedule::Linear),
            Some("constant") => Ok(Schedule::Constant),
            Some("wsd" | "warmup_stable_decay") => Ok(Schedule::Wsd),
            Some(other) => {
                let right = "use `cosine`, `linear`, `constant` or `wsd`";
                self.wrong("train.schedule", format!("`{other}`"), right)
            }
        }
    }

    fn optimizer(&self, section: &TrainSection) -> Checked<Optimizer> {
        let Some(name) = section.optimizer.as_deref() else { return Ok(Optimizer::default()) };
        name.parse().or_else(|right: String| self.wrong("train.optimizer", format!("`{name}`"), &right))
    }

    fn quantize(&self, file: &StudyFile) -> Checked<QuantizeSettings> {
        // Without a test split of ours nothing can be said of what a file loses.
        let is_own = file.trainer.as_ref().is_some_and(|trainer| trainer.examples.is_some());
        let usual = if is_own { vec![] } else { vec!["q8_0".to_owned(), "q4_k_m".to_owned()] };
        let types = file.quantize.types.as_ref().map_or(usual, many);
        match types.iter().find(|name| !GGUF_TYPES.contains(&name.as_str())) {
            Some(unknown) => self.wrong(
                "quantize.types",
                format!("`{unknown}`"),
                &format!("use {}", GGUF_TYPES.join(", ")),
            ),
            None => Ok(QuantizeSettings { types }),
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
        assert_eq!(plain.space.default_point(), (Precision::F32, 1, 2e-4));
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

    #[test]
    fn the_first_suggestion_is_the_textbook_default_moved_into_the_space() {
        let space = study(
            "[space]\nlearning_rate = { low = 1e-3, high = 1e-2 }\neffective_batch_size = [4, 12, 64]\n",
        )
        .unwrap()
        .space;
        assert_eq!(space.default_point(), (Precision::F32, 1, 1e-3));
    }
}
