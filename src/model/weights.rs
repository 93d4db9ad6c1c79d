//! Weights in and out, in the Hugging Face layout.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, View};

use super::error::{ModelError, Result};
use super::lora::is_linear_layer;
use super::{Decoder, Stored, TensorFiles};
use crate::arch::{self, ModelConfig, ParameterSpec};
use crate::data::TOKENIZER_FILES;
use crate::files::{write_bytes, write_whole};
use crate::space::{BlockFormat, Precision};

/// Name of a model's configuration.
pub const CONFIG_FILE: &str = "config.json";
/// Name of a model's weights when they are in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// How to sample from a model, where its authors say so.
pub const GENERATION_FILE: &str = "generation_config.json";

/// Reads and checks `config.json` of a model folder.
///
/// # Errors
/// The file is missing or describes no model we can train.
pub fn read_config(folder: &Path) -> Result<ModelConfig> {
    let file = folder.join(CONFIG_FILE);
    let text = fs::read_to_string(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound if folder.exists() => {
            ModelError::Missing { folder: folder.to_owned(), file: CONFIG_FILE }
        }
        io::ErrorKind::NotFound => ModelError::NoFolder { folder: folder.to_owned() },
        _ => ModelError::Io { file: file.clone(), source },
    })?;
    ModelConfig::from_json(&text).map_err(|source| ModelError::Config { file, source })
}

/// Reads every weight of `config` from a model folder, in the order of [`arch::parameters`], as f32.
///
/// # Errors
/// A file is missing or damaged, or a weight is missing or has another shape.
pub fn read_weights(folder: &Path, config: &ModelConfig) -> Result<Vec<Tensor>> {
    read_each(folder, config, |_, weight| Ok(weight.to_dtype(DType::F32)?))
}

/// The same for [`Decoder::frozen`]: what is kept in bf16 or f16 stays as it is, or the linear layers are put in
/// blocks on `device`, one after the other.
///
/// # Errors
/// A file is missing or damaged, or a weight is missing or has another shape; the device is full.
pub fn read_frozen_weights(
    folder: &Path,
    config: &ModelConfig,
    quantize: Option<BlockFormat>,
    device: &Device,
) -> Result<Vec<Stored>> {
    read_each(folder, config, |spec, weight| match quantize {
        Some(format) if is_linear_layer(spec) => Ok(Stored::quantized(&weight, format, device)?),
        _ => Ok(Stored::Plain(weight.to_device(device)?)),
    })
}

/// Reads every weight of `config` from a model folder once, and keeps none.
///
/// # Errors
/// A file is missing or damaged, or a weight is missing or has another shape.
pub fn check_weights(folder: &Path, config: &ModelConfig) -> Result<()> {
    read_each(folder, config, |_, _| Ok(())).map(drop)
}

fn read_each<R>(
    folder: &Path,
    config: &ModelConfig,
    make: impl Fn(&ParameterSpec, Tensor) -> Result<R>,
) -> Result<Vec<R>> {
    let files = TensorFiles::of_model(folder)?;
    let read = |spec: &ParameterSpec| {
        files.check(&spec.name, &spec.shape)?;
        make(spec, files.load_stored(&spec.name, &Device::Cpu)?)
    };
    arch::parameters(config).iter().map(read).collect()
}

/// Writes named tensors to a safetensors file, each as `dtype`, whole or not at all.
///
/// # Errors
/// The file can't be written, or a tensor can't be converted.
pub fn write_tensors<'a>(
    file: &Path,
    tensors: &[(&'a str, &'a Tensor)],
    dtype: DType,
    metadata: &[(&str, String)],
) -> Result<()> {
    let planned: Vec<PlannedTensor<'_>> =
        tensors.iter().map(|(name, tensor)| PlannedTensor { name, shape: tensor.dims(), dtype }).collect();
    write_planned(file, &planned, &|index| Ok(tensors[index].1.clone()), metadata)
}

/// A tensor that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct PlannedTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// How its values are kept in the file: f32, bf16 or f16; u8 for codes.
    pub dtype: DType,
}

impl PlannedTensor<'_> {
    /// Bytes of its values in the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.dtype.size_in_bytes()) as u64
    }
}

/// Writes tensors that are loaded when it is their turn, by their index, one at a time.
///
/// # Errors
/// The file can't be written, or a tensor can't be loaded or converted.
pub fn write_planned(
    file: &Path,
    tensors: &[PlannedTensor<'_>],
    load: &dyn Fn(usize) -> candle_core::Result<Tensor>,
    metadata: &[(&str, String)],
) -> Result<()> {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let failure = Cell::new(None);
    let view = |(index, tensor)| {
        let &PlannedTensor { name, .. } = tensor;
        (name, Pending { tensor, index, load, failure: &failure })
    };
    write_whole(file, at(file), |path| {
        safetensors::serialize_to_file(tensors.iter().enumerate().map(view), Some(metadata), path)
            .map_err(|error| at(file)(io::Error::other(error)))?;
        failure.take().map_or(Ok(()), |error| Err(ModelError::Tensor(error)))
    })
}

/// Writes `config.json` of a model whose weights are kept as `dtype`: Transformers loads them so.
///
/// # Errors
/// The file can't be written.
pub fn write_config(folder: &Path, config: &ModelConfig, dtype: DType) -> Result<()> {
    let file = folder.join(CONFIG_FILE);
    let dtype_name = match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        _ => "bfloat16",
    };
    write_bytes(&file, config.to_json_of(dtype_name).as_bytes()).map_err(at(&file))
}

/// Writes `model`, merged with its adapters, as a folder that Transformers reads; tokenizer files are
/// copied from `tokenizer_from`.
///
/// # Errors
/// A file can't be read or written.
pub fn write_model(folder: &Path, model: &Decoder, dtype: DType, tokenizer_from: &Path) -> Result<()> {
    write_layout(folder, model.config(), &|index| model.merged(index), dtype, tokenizer_from)
}

/// The same for weights in the order of [`arch::parameters`].
///
/// # Errors
/// A file can't be read or written.
pub fn write_folder(
    folder: &Path,
    config: &ModelConfig,
    weights: &[Tensor],
    dtype: DType,
    tokenizer_from: &Path,
) -> Result<()> {
    write_layout(folder, config, &|index| Ok(weights[index].clone()), dtype, tokenizer_from)
}

fn write_layout(
    folder: &Path,
    config: &ModelConfig,
    load: &dyn Fn(usize) -> candle_core::Result<Tensor>,
    dtype: DType,
    tokenizer_from: &Path,
) -> Result<()> {
    for name in TOKENIZER_FILES.into_iter().chain([GENERATION_FILE]) {
        let (from, to) = (tokenizer_from.join(name), folder.join(name));
        if from.is_file() && from != to {
            let bytes = fs::read(&from).map_err(at(&from))?;
            write_bytes(&to, &bytes).map_err(at(&to))?;
        }
    }
    write_config(folder, config, dtype)?;
    let specs = arch::parameters(config);
    let planned: Vec<PlannedTensor<'_>> =
        specs.iter().map(|spec| PlannedTensor { name: &spec.name, shape: &spec.shape, dtype }).collect();
    // Transformers refuses a file that does not say which framework wrote it.
    write_planned(&folder.join(WEIGHTS_FILE), &planned, load, &[("format", "pt".to_owned())])
}

/// Writes a model folder of fresh random weights, in bf16; tokenizer files that are there stay.
///
/// # Errors
/// A file can't be written.
pub fn write_random(folder: &Path, config: &ModelConfig, seed: u64) -> Result<()> {
    let model = Decoder::random(config.clone(), seed, Precision::F32, &Device::Cpu)?;
    write_model(folder, &model, DType::BF16, folder)
}

/// For `map_err`: a file operation that failed at `file`.
pub(super) fn at(file: &Path) -> impl FnOnce(io::Error) -> ModelError {
    let file = file.to_owned();
    move |source| ModelError::Io { file, source }
}

/// A tensor that is loaded and converted when its bytes are asked for.
struct Pending<'a> {
    tensor: &'a PlannedTensor<'a>,
    index: usize,
    load: &'a dyn Fn(usize) -> candle_core::Result<Tensor>,
    /// Why one failed: neither the trait nor the writer, which pads what is short, says so.
    failure: &'a Cell<Option<candle_core::Error>>,
}

impl View for Pending<'_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.dtype {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::U8 => Dtype::U8,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let loaded = (self.load)(self.index).and_then(|tensor| tensor.to_dtype(self.tensor.dtype));
        let bytes = loaded.map(|tensor| View::data(&tensor).into_owned());
        Cow::Owned(bytes.unwrap_or_else(|error| {
            self.failure.set(Some(error));
            Vec::new()
        }))
    }

    fn data_len(&self) -> usize {
        self.tensor.shape.iter().product::<usize>() * self.tensor.dtype.size_in_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":1,"num_attention_heads":4,"tie_word_embeddings":false}"#;
        ModelConfig::from_json(json).unwrap()
    }

    fn written() -> (tempfile::TempDir, Vec<Tensor>) {
        let folder = tempfile::tempdir().unwrap();
        let model = Decoder::random(config(), 1, Precision::F32, &Device::Cpu).unwrap();
        write_folder(folder.path(), &config(), &model.weights(), DType::F32, folder.path()).unwrap();
        (folder, model.weights())
    }

    #[test]
    fn weights_survive_the_round_trip() {
        let (folder, weights) = written();
        assert_eq!(read_config(folder.path()).unwrap(), config());
        let read = read_weights(folder.path(), &config()).unwrap();
        for (a, b) in weights.iter().zip(&read) {
            let same = a.flatten_all().unwrap().to_vec1::<f32>().unwrap()
                == b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(same);
        }
    }

    /// As a large tied model is published: shards, an index, no head.
    #[test]
    fn a_tied_model_in_shards_of_several_formats_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let config = ModelConfig { tie_word_embeddings: true, ..config() };
        let model = Decoder::random(config.clone(), 1, Precision::F32, &Device::Cpu).unwrap();
        let (specs, weights) = (arch::parameters(&config), model.weights());
        assert!(specs.iter().all(|spec| spec.name != "lm_head.weight"));
        let mut index = serde_json::Map::new();
        for (number, dtype) in [DType::F32, DType::BF16, DType::F16].into_iter().enumerate() {
            let shard = format!("model-{number}-of-3.safetensors");
            let named: Vec<(&str, &Tensor)> = specs
                .iter()
                .zip(&weights)
                .enumerate()
                .filter(|(at, _)| at % 3 == number)
                .map(|(_, (spec, weight))| (spec.name.as_str(), weight))
                .collect();
            write_tensors(&folder.path().join(&shard), &named, dtype, &[]).unwrap();
            index.extend(named.iter().map(|(name, _)| ((*name).to_owned(), shard.clone().into())));
        }
        let index = serde_json::json!({ "weight_map": index });
        fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let read = read_weights(folder.path(), &config).unwrap();
        assert_eq!(read.len(), specs.len());
        for ((at, a), b) in weights.iter().enumerate().zip(&read) {
            let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            // Weights are below 0.1 and norms are 1: half a unit of the last place of each format.
            assert!(difference <= [0.0, 2e-3, 3e-5][at % 3], "{at}: {difference}");
        }
    }

    #[test]
    fn a_written_folder_keeps_the_tokenizer_and_its_chat_template() {
        let (folder, weights) = written();
        fs::write(folder.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
        fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        let tuned = folder.path().join("deep/tuned");
        write_folder(&tuned, &config(), &weights, DType::F32, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(tuned.join("chat_template.jinja")).unwrap(), "{{ messages }}");
        assert_eq!(fs::read_to_string(tuned.join("tokenizer.json")).unwrap(), "{}");
    }

    #[test]
    fn a_random_model_is_the_same_for_the_same_seed_and_kept_in_bf16() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, seed| {
            write_random(&folder.path().join(name), &config(), seed).unwrap();
            fs::read(folder.path().join(name).join(WEIGHTS_FILE)).unwrap()
        };
        assert_eq!(made("a", 1), made("b", 1));
        assert_ne!(made("a", 1), made("b", 2));
        assert_eq!(TensorFiles::of_model(&folder.path().join("a")).unwrap().dtype(), DType::BF16);
    }

    #[test]
    fn a_tensor_that_cannot_be_converted_is_an_error_and_leaves_the_old_file() {
        let (folder, _) = written();
        let file = folder.path().join(WEIGHTS_FILE);
        let before = fs::read(&file).unwrap();
        let exponents = Tensor::from_raw_buffer(&[0; 4], DType::F8E8M0, &[4], &Device::Cpu).unwrap();
        let error = write_tensors(&file, &[("exponents", &exponents)], DType::F32, &[]).unwrap_err();
        assert!(matches!(error, ModelError::Tensor(_)), "{error}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let (folder, weights) = written();
        let below_a_file = folder.path().join(CONFIG_FILE).join("tuned");
        let error = write_folder(&below_a_file, &config(), &weights, DType::F32, folder.path()).unwrap_err();
        assert!(error.to_string().contains("tuned"), "{error}");
    }

    #[test]
    fn a_weight_of_another_shape_is_named_with_both_shapes() {
        let (folder, _) = written();
        let other = ModelConfig { intermediate_size: 32, ..config() };
        let error = read_weights(folder.path(), &other).unwrap_err().to_string();
        assert!(
            error.contains("gate_proj") && error.contains("[24, 16]") && error.contains("[32, 16]"),
            "{error}"
        );
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }

    #[test]
    fn a_folder_without_weights_says_what_belongs_there() {
        let missing = read_config(Path::new("no/such")).unwrap_err().to_string();
        assert!(missing.contains("no/such does not exist"), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        assert!(read_config(folder.path()).unwrap_err().to_string().contains("config.json"));
        assert!(
            read_weights(folder.path(), &config()).unwrap_err().to_string().contains("model.safetensors")
        );
    }
}
