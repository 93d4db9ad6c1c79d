//! The weights of a model folder, read one tensor at a time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::QuantizeError;

/// Longest header of a safetensors file, as the `safetensors` crate has it.
const MAX_HEADER: u64 = 100_000_000;

/// Where one tensor lies.
struct Place {
    file: PathBuf,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

/// The tensors of a model folder; nothing but headers is held.
pub(super) struct Weights {
    folder: PathBuf,
    places: HashMap<String, Place>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, PathBuf>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// Files that are missing, cut off or not safetensors.
    pub(super) fn open(folder: &Path) -> Result<Self, QuantizeError> {
        let mut places = HashMap::new();
        for file in files(folder)? {
            places.extend(read_header(&file)?);
        }
        Ok(Self { folder: folder.to_owned(), places })
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Checks that a tensor is there and has the shape its configuration gives it.
    pub(super) fn check(&self, name: &str, right: &[usize]) -> Result<(), QuantizeError> {
        let place = self.place(name)?;
        if place.shape == right {
            return Ok(());
        }
        Err(QuantizeError::Shape {
            path: place.file.clone(),
            name: name.to_owned(),
            found: place.shape.clone(),
            right: right.to_vec(),
        })
    }

    /// One tensor in f32, on the CPU.
    pub(super) fn load(&self, name: &str) -> Result<Tensor, QuantizeError> {
        let place = self.place(name)?;
        let io = QuantizeError::io(&place.file);
        let mut file = File::open(&place.file).map_err(&io)?;
        file.seek(SeekFrom::Start(place.start)).map_err(&io)?;
        let mut bytes = vec![0; place.bytes];
        file.read_exact(&mut bytes).map_err(&io)?;
        DType::try_from(place.dtype)
            .and_then(|dtype| Tensor::from_raw_buffer(&bytes, dtype, &place.shape, &Device::Cpu))
            .and_then(|tensor| tensor.to_dtype(DType::F32))
            .map_err(QuantizeError::tensor(name))
    }

    fn place(&self, name: &str) -> Result<&Place, QuantizeError> {
        let missing = || QuantizeError::MissingTensor { path: self.folder.clone(), name: name.to_owned() };
        self.places.get(name).ok_or_else(missing)
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, QuantizeError> {
    let index = folder.join("model.safetensors.index.json");
    let whole = folder.join("model.safetensors");
    if whole.exists() || !index.exists() {
        return Ok(vec![whole]);
    }
    let text = fs::read_to_string(&index).map_err(QuantizeError::io(&index))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|error| broken(&index, &error))?;
    let mut files: Vec<PathBuf> = parsed.weight_map.values().map(|file| folder.join(file)).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn broken(path: &Path, message: &dyn std::fmt::Display) -> QuantizeError {
    QuantizeError::Weights { path: path.to_owned(), message: message.to_string() }
}

fn read_header(path: &Path) -> Result<HashMap<String, Place>, QuantizeError> {
    let io = QuantizeError::io(path);
    let mut file = File::open(path).map_err(&io)?;
    let length = file.metadata().map_err(&io)?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| broken(path, &"shorter than the header of safetensors"))?;
    let header = u64::from_le_bytes(size);
    if header > MAX_HEADER.min(length) {
        return Err(broken(path, &"not a safetensors file"));
    }
    let mut text = Vec::new();
    file.take(header).read_to_end(&mut text).map_err(&io)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| broken(path, &error))?;
    let data = 8 + header;
    let needed = data + metadata.data_len() as u64;
    if needed != length {
        return Err(broken(path, &format!("{length} bytes long where its header needs {needed}")));
    }
    let place = |info: &safetensors::tensor::TensorInfo| Place {
        file: path.to_owned(),
        dtype: info.dtype,
        shape: info.shape.clone(),
        start: data + info.data_offsets.0 as u64,
        bytes: info.data_offsets.1 - info.data_offsets.0,
    };
    Ok(metadata.tensors().into_iter().map(|(name, info)| (name, place(info))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{config, folder};
    use super::*;

    #[test]
    fn shards_are_read_as_one_model() {
        let whole = folder(&config());
        let path = whole.path().join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let mut weight_map = HashMap::new();
        for (number, (name, tensor)) in tensors.iter().enumerate() {
            let file = format!("model-{}.safetensors", number % 2);
            weight_map.entry(file).or_insert_with(HashMap::new).insert(name.clone(), tensor.clone());
        }
        fs::remove_file(&path).unwrap();
        let mut index = serde_json::Map::new();
        for (file, shard) in &weight_map {
            candle_core::safetensors::save(shard, whole.path().join(file)).unwrap();
            index.extend(shard.keys().map(|name| (name.clone(), file.clone().into())));
        }
        let index = serde_json::json!({ "weight_map": index });
        fs::write(whole.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let weights = Weights::open(whole.path()).unwrap();
        for (name, tensor) in &tensors {
            let read = weights.load(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(read, tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
    }

    #[test]
    fn a_cut_off_file_says_how_long_it_should_be() {
        let model = folder(&config());
        let path = model.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        for (kept, word) in [(bytes.len() - 4, "needs"), (5, "shorter"), (100, "safetensors")] {
            fs::write(&path, &bytes[..kept]).unwrap();
            let error = Weights::open(model.path()).err().unwrap().to_string();
            assert!(error.contains(word) && error.contains("model.safetensors"), "{error}");
        }
    }
}
