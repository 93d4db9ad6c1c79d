//! A prepared data set as one safetensors file, which every child of a study reads.
//!
//! For each split three tensors: `SPLIT.input_ids` (u32, all examples one behind the other),
//! `SPLIT.lengths` and `SPLIT.prompt_tokens` (u64, one number an example). Report, digest and the
//! version of the format are metadata.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{CleaningReport, DataError, Dataset, Example};
use crate::files::write_bytes;

/// Raised when files written before can no longer be read.
const FORMAT_VERSION: u32 = 1;

/// The one key of the metadata; a map of several would be written in random order.
const KEY: &str = "diapason";

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    report: CleaningReport,
    digest: String,
}

/// Why a file is no cached data set; [`read`] adds the file's name.
type Problem = String;

/// Writes a data set in one step: a reader finds all of it or nothing, even after a crash.
///
/// # Errors
/// The folder cannot be made or is full, or the file cannot be replaced.
pub fn write(dataset: &Dataset, file: &Path) -> Result<(), DataError> {
    let bytes = encode(dataset).map_err(|problem| DataError::Cache { file: file.to_owned(), problem })?;
    write_bytes(file, &bytes).map_err(DataError::file("write", file))
}

/// Reads a data set that [`write()`] wrote.
///
/// # Errors
/// The file is missing, cut short, or of another version.
pub fn read(file: &Path) -> Result<Dataset, DataError> {
    let bytes = fs::read(file).map_err(DataError::file("read", file))?;
    decode(&bytes).map_err(|problem| DataError::Cache { file: file.to_owned(), problem })
}

fn encode(dataset: &Dataset) -> Result<Vec<u8>, Problem> {
    let splits = [("train", &dataset.train), ("validation", &dataset.validation), ("test", &dataset.test)];
    let mut tensors = Vec::new();
    for (split, examples) in splits {
        let ids: Vec<u8> =
            examples.iter().flat_map(|e| &e.input_ids).flat_map(|id| id.to_le_bytes()).collect();
        let column = |value: fn(&Example) -> usize| -> Vec<u8> {
            examples.iter().flat_map(|example| (value(example) as u64).to_le_bytes()).collect()
        };
        tensors.push((format!("{split}.input_ids"), Dtype::U32, ids));
        tensors.push((format!("{split}.lengths"), Dtype::U64, column(|example| example.input_ids.len())));
        tensors.push((format!("{split}.prompt_tokens"), Dtype::U64, column(|example| example.prompt_tokens)));
    }
    let views = tensors.iter().map(|(name, dtype, bytes)| {
        let view = TensorView::new(*dtype, vec![bytes.len() * 8 / dtype.bitsize()], bytes);
        view.map(|view| (name, view)).map_err(|error| error.to_string())
    });
    let views = views.collect::<Result<Vec<_>, Problem>>()?;
    let header = Header { version: FORMAT_VERSION, report: dataset.report, digest: dataset.digest.clone() };
    let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), header)])))
        .map_err(|error| error.to_string())
}

fn decode(bytes: &[u8]) -> Result<Dataset, Problem> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|map| map.get(KEY)).ok_or("it has no header")?;
    let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
    if header.version != FORMAT_VERSION {
        return Err(format!("version {} where {FORMAT_VERSION} is read", header.version));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok(Dataset {
        train: examples(&tensors, "train")?,
        validation: examples(&tensors, "validation")?,
        test: examples(&tensors, "test")?,
        report: header.report,
        digest: header.digest,
    })
}

fn examples(tensors: &SafeTensors<'_>, split: &str) -> Result<Vec<Example>, Problem> {
    let ids = words(tensors, &format!("{split}.input_ids"), Dtype::U32)?;
    let lengths = words(tensors, &format!("{split}.lengths"), Dtype::U64)?;
    let prompts = words(tensors, &format!("{split}.prompt_tokens"), Dtype::U64)?;
    let mut rest: Vec<u32> = Vec::with_capacity(ids.len() / 4);
    rest.extend(ids.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
    let mut rest = rest.as_slice();
    let mut examples = Vec::with_capacity(lengths.len() / 8);
    for (length, prompt) in lengths.chunks_exact(8).zip(prompts.chunks_exact(8)) {
        let (length, prompt_tokens) = (number(length), number(prompt));
        let (own, others) =
            rest.split_at_checked(length).ok_or_else(|| format!("`{split}` ends within an example"))?;
        examples.push(Example { input_ids: own.to_vec(), prompt_tokens });
        rest = others;
    }
    if rest.is_empty() && lengths.len() == prompts.len() {
        return Ok(examples);
    }
    Err(format!("the tensors of `{split}` do not belong together"))
}

fn words<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8], Problem> {
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    if tensor.dtype() == dtype { Ok(tensor.data()) } else { Err(format!("`{name}` is {:?}", tensor.dtype())) }
}

/// Eight bytes as a number; one that this machine cannot address is longer than any file.
fn number(bytes: &[u8]) -> usize {
    let bytes = bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::write_file;
    use super::*;

    fn dataset(train: Vec<Example>, digest: &str) -> Dataset {
        let validation = vec![Example { input_ids: vec![7, u32::MAX], prompt_tokens: 1 }];
        let report = CleaningReport { rows_read: 9, empty: 1, duplicate: 2, too_long: 3, kept: 3 };
        Dataset { train, validation, test: vec![], report, digest: digest.to_owned() }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            train in prop::collection::vec((prop::collection::vec(any::<u32>(), 0..9), 0_usize..9), 0..9),
            digest in "[0-9a-f]{0,8}",
        ) {
            let example = |(input_ids, prompt_tokens)| Example { input_ids, prompt_tokens };
            let dataset = dataset(train.into_iter().map(example).collect(), &digest);
            let bytes = encode(&dataset).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), dataset);
        }
    }

    #[test]
    fn a_file_that_is_written_again_holds_the_new_data_set_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.safetensors");
        write(&dataset(vec![], "old"), &file).unwrap();
        write(&dataset(vec![], "new"), &file).unwrap();
        assert_eq!(read(&file).unwrap(), dataset(vec![], "new"));
        assert_eq!(fs::read(&file).unwrap(), encode(&dataset(vec![], "new")).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.safetensors");
        fs::create_dir(&file).unwrap();
        let error = write(&dataset(vec![], "new"), &file).unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("data.safetensors"), "{error}");
    }

    #[test]
    fn a_file_cut_short_or_of_another_version_is_an_error_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let whole = encode(&dataset(vec![], "d")).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        let file = write_file(folder.path(), "x", &whole[..40]);
        assert!(read(&file).unwrap_err().to_string().contains("delete the file"));
        let (old, new) = (br#"\"version\":1"#, br#"\"version\":9"#);
        let at = whole.windows(old.len()).position(|bytes| bytes == old).unwrap();
        let other = [&whole[..at], new, &whole[at + old.len()..]].concat();
        assert_eq!(decode(&other).unwrap_err(), "version 9 where 1 is read");
    }
}
