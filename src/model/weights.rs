//! Weights in and out, in the Hugging Face layout.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensorError, View};

use super::error::{ModelError, Result};
use crate::arch::{self, ModelConfig, ParameterSpec};
use crate::files::write_whole;

/// Name of a model's configuration.
pub const CONFIG_FILE: &str = "config.json";
/// Name of a model's weights when they are in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the table of contents of weights in several files.
const INDEX_FILE: &str = "model.safetensors.index.json";

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
    let maps = open_maps(folder)?;
    arch::parameters(config).iter().map(|spec| read_weight(folder, &maps, spec)).collect()
}

/// Number format in which a folder keeps its weights.
///
/// # Errors
/// A file is missing or damaged.
pub fn stored_dtype(folder: &Path) -> Result<DType> {
    let maps = open_maps(folder)?;
    let first = maps.iter().flat_map(MmapedSafetensors::tensors).next();
    Ok(match first.map(|(_, view)| view.dtype()) {
        Some(Dtype::BF16) => DType::BF16,
        Some(Dtype::F16) => DType::F16,
        _ => DType::F32,
    })
}

fn open_maps(folder: &Path) -> Result<Vec<MmapedSafetensors>> {
    let open = |file: &PathBuf| {
        // SAFETY: the map is read while the caller runs; another process that shortens the file
        // meanwhile could end this one with a bus error, as with every reader of mapped weights.
        #[expect(unsafe_code, reason = "memory-mapping keeps a second copy of the weights off the heap")]
        let mapped = unsafe { MmapedSafetensors::new(file) };
        mapped.map_err(|error| ModelError::Weights { file: file.clone(), message: first_line(&error) })
    };
    weight_files(folder)?.iter().map(open).collect()
}

fn read_weight(folder: &Path, maps: &[MmapedSafetensors], spec: &ParameterSpec) -> Result<Tensor> {
    let mismatch = |problem: String| ModelError::Mismatch {
        folder: folder.to_owned(),
        name: spec.name.clone(),
        problem,
    };
    let map = maps
        .iter()
        .find(|map| map.get(&spec.name).is_ok())
        .ok_or_else(|| mismatch("is missing".to_owned()))?;
    let tensor = map.load(&spec.name, &Device::Cpu)?;
    if tensor.dims() != spec.shape {
        return Err(mismatch(format!(
            "has shape {:?}, the configuration says {:?}",
            tensor.dims(),
            spec.shape
        )));
    }
    Ok(tensor.to_dtype(DType::F32)?)
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join(WEIGHTS_FILE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX_FILE);
    let missing = || ModelError::Missing { folder: folder.to_owned(), file: WEIGHTS_FILE };
    let text = fs::read_to_string(&index).map_err(|_| missing())?;
    let damaged = |message: String| ModelError::Weights { file: index.clone(), message };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| damaged("no `weight_map`".to_owned()))?;
    let mut names: Vec<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// candle's error without the path, which ours names, and without a backtrace.
fn first_line(error: &candle_core::Error) -> String {
    use candle_core::Error::{WithBacktrace, WithPath};
    if let WithPath { inner, .. } | WithBacktrace { inner, .. } = error {
        return first_line(inner);
    }
    error.to_string().lines().next().unwrap_or("unreadable").to_owned()
}

/// Writes named tensors to a safetensors file, each as `dtype`, whole or not at all.
///
/// # Errors
/// The file can't be written.
pub fn write_tensors(
    file: &Path,
    tensors: &[(&str, &Tensor)],
    dtype: DType,
    metadata: &[(&str, String)],
) -> Result<()> {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let views = tensors.iter().map(|(name, tensor)| (*name, Converted { tensor, dtype }));
    write_whole(file, |path| {
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            error => io::Error::other(error),
        })
    })
    .map_err(ModelError::io(file))
}

/// Writes a model folder that Transformers reads; tokenizer files are copied from `tokenizer_from`.
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
    fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    for name in
        ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
    {
        let from = tokenizer_from.join(name);
        if from.is_file() && from != folder.join(name) {
            fs::copy(&from, folder.join(name)).map_err(ModelError::io(&from))?;
        }
    }
    let file = folder.join(CONFIG_FILE);
    write_whole(&file, |path| fs::write(path, config.to_json())).map_err(ModelError::io(&file))?;
    let specs = arch::parameters(config);
    let named: Vec<(&str, &Tensor)> = specs.iter().map(|spec| spec.name.as_str()).zip(weights).collect();
    // Transformers refuses a file that does not say which framework wrote it.
    write_tensors(&folder.join(WEIGHTS_FILE), &named, dtype, &[("format", "pt".to_owned())])
}

/// A tensor that is converted when its bytes are asked for, one at a time.
struct Converted<'a> {
    tensor: &'a Tensor,
    dtype: DType,
}

impl View for Converted<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The trait has no way to report an error; an empty answer fails the length check of the
        // writer, which does.
        let bytes = self.tensor.to_dtype(self.dtype).map(|tensor| View::data(&tensor).into_owned());
        Cow::Owned(bytes.unwrap_or_default())
    }

    fn data_len(&self) -> usize {
        self.tensor.elem_count() * self.dtype.size_in_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Decoder;
    use crate::space::Precision;

    fn config() -> ModelConfig {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":1,"num_attention_heads":4,"tie_word_embeddings":false}"#;
        ModelConfig::from_json(json).unwrap()
    }

    fn written() -> (tempfile::TempDir, Vec<Tensor>) {
        let folder = tempfile::tempdir().unwrap();
        let model = Decoder::random(config(), 1, Precision::F32, &Device::Cpu).unwrap();
        write_folder(folder.path(), &config(), model.weights(), DType::F32, folder.path()).unwrap();
        (folder, model.weights().to_vec())
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

    #[test]
    fn a_broken_header_names_the_file() {
        let (folder, _) = written();
        let file = folder.path().join(WEIGHTS_FILE);
        fs::write(&file, b"\xff\xff\xff\xff\xff\xff\xff\x7fnot a header").unwrap();
        let error = read_weights(folder.path(), &config()).unwrap_err().to_string();
        assert_eq!(error.matches("model.safetensors").count(), 1, "{error}");
        assert!(error.contains("hint"), "{error}");
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
    fn a_file_that_cannot_be_written_is_named() {
        let (folder, weights) = written();
        let file = folder.path().join("taken");
        fs::create_dir(&file).unwrap();
        let named = [("weight", &weights[0])];
        let error = write_tensors(&file, &named, DType::F32, &[]).unwrap_err().to_string();
        assert!(error.contains("taken: "), "{error}");
        let error = write_tensors(&file.join("new/deep"), &named, DType::F32, &[]);
        assert!(error.is_ok());
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
