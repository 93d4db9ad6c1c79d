//! Safetensors files, read one tensor at a time: nothing but their headers is held.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::error::{ModelError, Result};
use super::weights::{PlannedTensor, WEIGHTS_FILE};

/// Name of the table of contents of weights in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Longest header of a safetensors file, as the `safetensors` crate has it.
const MAX_HEADER: u64 = 100_000_000;

/// Bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;

/// The tensors of one or more safetensors files.
#[derive(Debug, Default)]
pub struct TensorFiles {
    /// The file or the model's folder, for messages.
    source: PathBuf,
    places: HashMap<String, Place>,
    metadata: HashMap<String, String>,
}

/// Where one tensor lies.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, PathBuf>,
}

impl TensorFiles {
    /// The tensors of one file.
    ///
    /// # Errors
    /// The file is missing, cut off or no safetensors file.
    pub fn open(file: &Path) -> Result<Self> {
        let mut files = Self { source: file.to_owned(), ..Self::default() };
        files.add(file, &HashMap::new())?;
        Ok(files)
    }

    /// The weights of a model folder, in one file or in the shards its index lists.
    ///
    /// # Errors
    /// A file is missing, cut off or not what its name says.
    pub fn of_model(folder: &Path) -> Result<Self> {
        let mut files = Self { source: folder.to_owned(), ..Self::default() };
        let (shards, index) = indexed_files(folder)?;
        for file in shards {
            files.add(&file, &index)?;
        }
        Ok(files)
    }

    /// Names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// A text that was stored beside the tensors.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Number format in which most of the values are kept: that of the largest tensor.
    #[must_use]
    pub fn dtype(&self) -> DType {
        let largest = self.places.iter().max_by_key(|(name, place)| (place.bytes, *name));
        match largest.map(|(_, place)| place.dtype) {
            Some(Dtype::BF16) => DType::BF16,
            Some(Dtype::F16) => DType::F16,
            _ => DType::F32,
        }
    }

    /// Checks that a tensor is there, has the shape its configuration gives it, and is not quantized.
    ///
    /// # Errors
    /// It is missing, has another shape, or its numbers are in a format we cannot read.
    pub fn check(&self, name: &str, right: &[usize]) -> Result<()> {
        let Place { file, shape: found, dtype, .. } = self.place(name)?;
        if found != right {
            let problem = format!("has shape {found:?}, the configuration says {right:?}");
            return Err(mismatch(file, name, problem));
        }
        // Other formats are scaled by numbers kept elsewhere: taken as they are they would be nonsense.
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
            let problem = format!("is kept as {dtype:?}, and only F32, F16 and BF16 can be read");
            return Err(mismatch(file, name, problem));
        }
        Ok(())
    }

    /// One tensor that was written as `planned`, as it is.
    ///
    /// # Errors
    /// It is missing or kept otherwise, its file can't be read, or the device is full.
    pub fn load_exact(&self, planned: PlannedTensor<'_>, device: &Device) -> Result<Tensor> {
        let PlannedTensor { name, shape, dtype } = planned;
        let place = self.place(name)?;
        let found = DType::try_from(place.dtype)?;
        if (place.shape.as_slice(), found) != (shape, dtype) {
            let problem =
                format!("is {found:?} of shape {:?}, not {dtype:?} of shape {shape:?}", place.shape);
            return Err(mismatch(&place.file, name, problem));
        }
        Ok(self.stored(name)?.to_device(device)?)
    }

    /// One tensor as f32 on `device`.
    ///
    /// # Errors
    /// It is missing, its file can't be read, or the device is full.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        Ok(self.stored(name)?.to_dtype(DType::F32)?.to_device(device)?)
    }

    /// The same, but what is kept in bf16 or f16 stays as it is.
    ///
    /// # Errors
    /// It is missing, its file can't be read, or the device is full.
    pub fn load_stored(&self, name: &str, device: &Device) -> Result<Tensor> {
        let stored = self.stored(name)?;
        let stored = match stored.dtype() {
            DType::BF16 | DType::F16 => stored,
            _ => stored.to_dtype(DType::F32)?,
        };
        Ok(stored.to_device(device)?)
    }

    fn stored(&self, name: &str) -> Result<Tensor> {
        let place = self.place(name)?;
        let bytes = place.read().map_err(|source| ModelError::Io { file: place.file.clone(), source })?;
        Ok(Tensor::from_raw_buffer(&bytes, DType::try_from(place.dtype)?, &place.shape, &Device::Cpu)?)
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.get(name).ok_or_else(|| mismatch(&self.source, name, "is missing".to_owned()))
    }

    /// Adds the tensors of a file but those that the index says are in another.
    fn add(&mut self, file: &Path, index: &HashMap<String, PathBuf>) -> Result<()> {
        let (start, header) = read_header(file)?;
        for (name, info) in header.tensors() {
            if index.get(&name).is_some_and(|right| right != file) {
                continue;
            }
            let (from, to) = info.data_offsets;
            let place = Place {
                file: file.to_owned(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: start + from as u64,
                bytes: to - from,
            };
            self.places.insert(name, place);
        }
        self.metadata.extend(header.metadata().clone().unwrap_or_default());
        Ok(())
    }
}

impl Place {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.start))?;
        let mut bytes = vec![0; self.bytes];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn mismatch(file: &Path, name: &str, problem: String) -> ModelError {
    ModelError::Mismatch { file: file.to_owned(), name: name.to_owned(), problem }
}

fn damaged(file: &Path, message: &dyn fmt::Display) -> ModelError {
    ModelError::Weights { file: file.to_owned(), message: message.to_string() }
}

/// The files of a model's weights, each once: the single one, or those its index lists.
///
/// # Errors
/// There is neither, or the index is damaged.
pub fn weight_files(folder: &Path) -> Result<HashSet<PathBuf>> {
    Ok(indexed_files(folder)?.0)
}

/// The same, and the file of each tensor where an index says it.
fn indexed_files(folder: &Path) -> Result<(HashSet<PathBuf>, HashMap<String, PathBuf>)> {
    let single = folder.join(WEIGHTS_FILE);
    if single.is_file() {
        return Ok((HashSet::from([single]), HashMap::new()));
    }
    let index = folder.join(INDEX_FILE);
    let missing = |_| ModelError::Missing { folder: folder.to_owned(), file: WEIGHTS_FILE };
    let text = fs::read_to_string(&index).map_err(missing)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| damaged(&index, &error))?;
    let index: HashMap<String, PathBuf> =
        index.weight_map.into_iter().map(|(name, file)| (name, folder.join(file))).collect();
    Ok((index.values().cloned().collect(), index))
}

/// Where the data begins, and what the header says of it.
fn read_header(path: &Path) -> Result<(u64, Metadata)> {
    let io = |source| ModelError::Io { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(|error| damaged(path, &error))?;
    let length = file.metadata().map_err(io)?.len();
    let mut header = [0; 8];
    file.read_exact(&mut header).map_err(|_| damaged(path, &"shorter than the header of safetensors"))?;
    let header = u64::from_le_bytes(header);
    if header > MAX_HEADER.min(length) {
        return Err(damaged(path, &"not a safetensors file"));
    }
    let mut text = Vec::new();
    file.take(header).read_to_end(&mut text).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| damaged(path, &error))?;
    let start = LENGTH_BYTES + header;
    let needed = start.saturating_add(metadata.data_len() as u64);
    if needed != length {
        return Err(damaged(path, &format!("{length} bytes long where its header needs {needed}")));
    }
    Ok((start, metadata))
}

#[cfg(test)]
mod tests {
    use super::super::write_planned;
    use super::*;

    /// A folder with two tensors in `model.safetensors`.
    fn folder() -> (tempfile::TempDir, HashMap<String, Tensor>) {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |values: &[f32], dtype| {
            Tensor::new(values, &Device::Cpu)
                .unwrap()
                .reshape((1, values.len()))
                .unwrap()
                .to_dtype(dtype)
                .unwrap()
        };
        let tensors = HashMap::from([
            ("large".to_owned(), tensor(&[1.0, -2.0, 0.5, 4.0, 8.0], DType::BF16)),
            ("small".to_owned(), tensor(&[3.25, 7.0], DType::F32)),
        ]);
        candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
        (folder, tensors)
    }

    fn check_values(found: &TensorFiles, right: &HashMap<String, Tensor>) {
        let flat = |tensor: &Tensor| {
            tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(found.names().count(), right.len());
        for (name, tensor) in right {
            let loaded = found.load(name, &Device::Cpu).unwrap();
            assert_eq!((loaded.dtype(), loaded.dims()), (DType::F32, tensor.dims()), "{name}");
            assert_eq!(flat(&loaded), flat(tensor), "{name}");
        }
    }

    #[test]
    fn tensors_are_read_as_f32_and_the_largest_names_the_format() {
        let (folder, tensors) = folder();
        let files = TensorFiles::of_model(folder.path()).unwrap();
        check_values(&files, &tensors);
        assert_eq!(files.dtype(), DType::BF16);
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named_with_its_file() {
        let (folder, _) = folder();
        let files = TensorFiles::of_model(folder.path()).unwrap();
        files.check("small", &[1, 2]).unwrap();
        let error = files.check("small", &[2, 1]).unwrap_err().to_string();
        let file = folder.path().join(WEIGHTS_FILE);
        assert!(error.contains(&*file.to_string_lossy()) && error.contains("[1, 2]"), "{error}");
        let error = files.check("absent", &[1]).unwrap_err().to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()) && error.contains("missing"), "{error}");
    }

    /// Writes each tensor into a shard of its own, and the index.
    fn shard(folder: &Path, tensors: &HashMap<String, Tensor>) {
        let mut index = serde_json::Map::new();
        for (name, tensor) in tensors {
            let shard = format!("{name}.safetensors");
            let one = HashMap::from([(name.clone(), tensor.clone())]);
            candle_core::safetensors::save(&one, folder.join(&shard)).unwrap();
            index.insert(name.clone(), shard.into());
        }
        let index = serde_json::json!({ "metadata": {"total_size": 1}, "weight_map": index });
        fs::write(folder.join(INDEX_FILE), index.to_string()).unwrap();
    }

    #[test]
    fn shards_are_read_as_one_model_and_a_missing_one_is_named() {
        let (folder, mut tensors) = folder();
        fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
        let half = tensors["small"].to_dtype(DType::F16).unwrap();
        tensors.insert("half".to_owned(), half);
        shard(folder.path(), &tensors);
        check_values(&TensorFiles::of_model(folder.path()).unwrap(), &tensors);
        fs::remove_file(folder.path().join("small.safetensors")).unwrap();
        let error = TensorFiles::of_model(folder.path()).unwrap_err().to_string();
        assert!(error.contains("small.safetensors") && error.contains("not downloaded whole"), "{error}");
    }

    #[test]
    fn what_is_kept_narrow_stays_so_for_a_frozen_base() {
        let (folder, mut tensors) = folder();
        tensors.insert("half".to_owned(), tensors["small"].to_dtype(DType::F16).unwrap());
        candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
        let files = TensorFiles::of_model(folder.path()).unwrap();
        for (name, dtype) in [("large", DType::BF16), ("half", DType::F16), ("small", DType::F32)] {
            assert_eq!(files.load_stored(name, &Device::Cpu).unwrap().dtype(), dtype, "{name}");
        }
    }

    #[test]
    fn a_tensor_that_two_shards_hold_is_read_from_the_one_the_index_names() {
        let (folder, tensors) = folder();
        fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
        shard(folder.path(), &tensors);
        let stale = tensors["small"].zeros_like().unwrap();
        let both =
            HashMap::from([("large".to_owned(), tensors["large"].clone()), ("small".to_owned(), stale)]);
        candle_core::safetensors::save(&both, folder.path().join("large.safetensors")).unwrap();
        check_values(&TensorFiles::of_model(folder.path()).unwrap(), &tensors);
    }

    #[test]
    fn a_tensor_in_a_quantized_format_is_refused() {
        let (folder, _) = folder();
        let bytes = Tensor::new(&[1u8, 2], &Device::Cpu).unwrap();
        let tensors = HashMap::from([("packed".to_owned(), bytes)]);
        candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
        let files = TensorFiles::of_model(folder.path()).unwrap();
        let error = files.check("packed", &[2]).unwrap_err().to_string();
        assert!(error.contains("packed") && error.contains("U8") && error.contains("BF16"), "{error}");
    }

    #[test]
    fn what_was_planned_is_read_as_it_is_and_anything_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, shape) = (folder.path().join("state"), [2, 2]);
        let codes = Tensor::new(&[[0u8, 7], [128, 255]], &Device::Cpu).unwrap();
        let planned = PlannedTensor { name: "codes", shape: &shape, dtype: DType::U8 };
        write_planned(&file, &[planned], &|_| Ok(codes.clone()), &[]).unwrap();
        let files = TensorFiles::open(&file).unwrap();
        let read = files.load_exact(planned, &Device::Cpu).unwrap();
        assert_eq!(read.to_vec2::<u8>().unwrap(), codes.to_vec2::<u8>().unwrap());
        for wrong in [
            PlannedTensor { dtype: DType::F32, ..planned },
            PlannedTensor { shape: &[4], ..planned },
            PlannedTensor { name: "absent", ..planned },
        ] {
            let error = files.load_exact(wrong, &Device::Cpu).unwrap_err().to_string();
            assert!(error.contains(wrong.name) && error.contains("state"), "{error}");
        }
    }

    #[test]
    fn a_cut_off_file_says_how_long_it_should_be() {
        let (folder, _) = folder();
        let path = folder.path().join(WEIGHTS_FILE);
        let bytes = fs::read(&path).unwrap();
        let huge = b"\xff\xff\xff\xff\xff\xff\xff\x7fnot a header";
        for (content, word) in [
            (&bytes[..bytes.len() - 4], "needs"),
            (&bytes[..5], "shorter"),
            (&bytes[..60], "not a safetensors file"),
            (&huge[..], "not a safetensors file"),
        ] {
            fs::write(&path, content).unwrap();
            let error = TensorFiles::open(&path).unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains(WEIGHTS_FILE) && error.contains("hint"),
                "{error}"
            );
        }
    }
}
