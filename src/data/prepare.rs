//! The whole way from a study's data settings to examples in three splits.

use rayon::prelude::*;

use super::digest::digest;
use super::example::{Example, Frame, windows};
use super::split::Shares;
use super::{CleaningReport, DataError, Dataset, Row, Split, Tokenizer, clean, rows, source, split};
use crate::arch::ModelConfig;
use crate::space::{DataFormat, DataSettings};

/// Fewest documents that are split as wholes.
///
/// Of fewer, one document more or less is more than the ten per cent a split usually gets.
const LEAST_DOCUMENTS: usize = 10;

/// Reads, cleans, tokenizes and splits the data of a study. No split is ever empty.
///
/// A row longer than `max_length` is dropped and counted, never cut: an answer without its end
/// teaches the model not to stop. Plain text is cut into windows instead.
///
/// # Errors
/// As [`super::read_rows`]; a tokenizer or a `max_length` that does not suit the model; too few
/// rows left for three splits.
pub fn prepare(
    settings: &DataSettings,
    seed: u64,
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<Dataset, DataError> {
    check(settings, tokenizer, config)?;
    let frame = Frame::of(config);
    let documents = source::read(settings)?;
    let digest = digest(&documents, settings, seed, tokenizer, frame);
    let (rows, report) = clean(rows::parse(settings, &documents)?);
    drop(documents);
    let job = Job { settings, seed, tokenizer, frame };
    let plain = rows.iter().all(|row| row.prompt.is_none());
    let (report, parts) = if plain { job.texts(rows, report)? } else { job.pairs(rows, report)? };
    Ok(Dataset::of(parts, report, digest))
}

/// Reads and tokenizes a data file as a whole, for an evaluation: nothing is split.
///
/// The rows of a table are cleaned and scored as in training. A plain text is scored as it stands:
/// what the tokenizer makes of it, nothing trimmed and no end added, in windows of `max_length`
/// tokens of which only the first token of each is not scored.
///
/// # Errors
/// As [`super::read_rows`]; a tokenizer or a `max_length` that does not suit the model; no row
/// that fits.
pub fn tokenize(
    settings: &DataSettings,
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<(Vec<Example>, CleaningReport), DataError> {
    check(settings, tokenizer, config)?;
    let rows = super::read_rows(settings)?;
    let (examples, report) = match settings.format {
        DataFormat::Text => whole_texts(&rows, settings, tokenizer)?,
        _ => scored_rows(rows, settings, tokenizer, Frame::of(config))?,
    };
    if examples.is_empty() {
        return Err(DataError::NothingLeft { report, max_length: settings.max_length });
    }
    Ok((examples, report))
}

fn whole_texts(
    documents: &[Row],
    settings: &DataSettings,
    tokenizer: &Tokenizer,
) -> Result<(Vec<Example>, CleaningReport), DataError> {
    let mut report = CleaningReport { rows_read: documents.len(), ..CleaningReport::default() };
    let mut examples = Vec::new();
    for document in documents {
        let found = windows(&tokenizer.encode_whole(&document.completion)?, settings.max_length);
        *(if found.is_empty() { &mut report.empty } else { &mut report.kept }) += 1;
        examples.extend(found);
    }
    Ok((examples, report))
}

fn scored_rows(
    rows: Vec<Row>,
    settings: &DataSettings,
    tokenizer: &Tokenizer,
    frame: Frame,
) -> Result<(Vec<Example>, CleaningReport), DataError> {
    let (rows, mut report) = clean(rows);
    report.kept = 0;
    let mut examples = Vec::new();
    for row in &rows {
        let mut found = match row.prompt {
            None => frame.windows(&row.completion, settings.max_length, tokenizer)?,
            Some(_) => vec![frame.pair(row, &settings.separator, tokenizer)?],
        };
        let too_long = found.iter().any(|example| example.input_ids.len() > settings.max_length);
        found.retain(|example| !too_long && example.teaches());
        *(match (too_long, found.is_empty()) {
            (true, _) => &mut report.too_long,
            (_, true) => &mut report.empty,
            _ => &mut report.kept,
        }) += 1;
        examples.extend(found);
    }
    Ok((examples, report))
}

/// Whether the model has an embedding for every token and a position for every place.
fn check(settings: &DataSettings, tokenizer: &Tokenizer, config: &ModelConfig) -> Result<(), DataError> {
    let (max_length, positions) = (settings.max_length, config.max_position_embeddings);
    if max_length > positions {
        return Err(DataError::MaxLengthBeyondContext { max_length, positions });
    }
    tokenizer.check_against(config)
}

/// What rows become examples by.
struct Job<'a> {
    settings: &'a DataSettings,
    seed: u64,
    tokenizer: &'a Tokenizer,
    frame: Frame,
}

type Parts = (CleaningReport, Vec<(Example, Split)>);

impl Job<'_> {
    /// Rows with a prompt: one example each.
    fn pairs(&self, rows: Vec<Row>, mut report: CleaningReport) -> Result<Parts, DataError> {
        let encode = |row: &Row| self.frame.pair(row, &self.settings.separator, self.tokenizer);
        let examples = rows.par_iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let mut kept = (Vec::new(), Vec::new());
        for (row, example) in rows.into_iter().zip(examples) {
            if example.input_ids.len() > self.settings.max_length {
                report.too_long += 1;
            } else if example.teaches() {
                kept.0.push(row);
                kept.1.push(example);
            } else {
                report.empty += 1;
            }
        }
        let (rows, examples) = kept;
        report.kept = rows.len();
        let splits = self.split(&rows, &report)?;
        Ok((report, examples.into_iter().zip(splits).collect()))
    }

    /// Documents without a prompt: each gives one or more windows.
    fn texts(&self, rows: Vec<Row>, mut report: CleaningReport) -> Result<Parts, DataError> {
        let cut = |row: &Row| self.frame.windows(&row.completion, self.settings.max_length, self.tokenizer);
        let windows = rows.par_iter().map(cut).collect::<Result<Vec<_>, _>>()?;
        let (rows, windows): (Vec<Row>, Vec<Vec<Example>>) =
            rows.into_iter().zip(windows).filter(|(_, windows)| !windows.is_empty()).unzip();
        report.empty += report.kept - rows.len();
        report.kept = rows.len();
        let parts = if rows.len() < LEAST_DOCUMENTS {
            self.blocks(windows.concat(), &report)?
        } else {
            let splits = self.split(&rows, &report)?;
            let spread =
                |(windows, split): (Vec<Example>, Split)| windows.into_iter().map(move |w| (w, split));
            windows.into_iter().zip(splits).flat_map(spread).collect()
        };
        Ok((report, parts))
    }

    fn split(&self, rows: &[Row], report: &CleaningReport) -> Result<Vec<Split>, DataError> {
        self.not_empty(report)?;
        split(rows, self.seed, self.settings.validation_fraction, self.settings.test_fraction)
    }

    /// Splits the windows of a few documents into three stretches of text, training first.
    ///
    /// Whole documents would be too coarse. Single windows would leak: neighbours share their
    /// subject, their names and often a sentence, and then the loss of validation flatters. Three
    /// stretches have only two borders. The seed plays no part.
    fn blocks(
        &self,
        windows: Vec<Example>,
        report: &CleaningReport,
    ) -> Result<Vec<(Example, Split)>, DataError> {
        self.not_empty(report)?;
        let groups = windows.len();
        let shares = Shares::of(groups, self.settings.validation_fraction, self.settings.test_fraction)
            .ok_or(DataError::TooFewToSplit { rows: report.kept, groups, unit: "windows" })?;
        Ok(windows.into_iter().enumerate().map(|(at, window)| (window, shares.split_at(at))).collect())
    }

    fn not_empty(&self, report: &CleaningReport) -> Result<(), DataError> {
        if report.kept > 0 {
            return Ok(());
        }
        Err(DataError::NothingLeft { report: *report, max_length: self.settings.max_length })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::super::testing::{config, folder_of, quickstart, settings, tokenizer, write_file};
    use super::*;

    fn prepared(settings: &DataSettings) -> Result<Dataset, DataError> {
        let tokenizer = tokenizer();
        prepare(settings, 5, &tokenizer, &config(tokenizer.vocab_size(), 4096))
    }

    fn lengths(dataset: &Dataset) -> [usize; 3] {
        [dataset.train.len(), dataset.validation.len(), dataset.test.len()]
    }

    #[test]
    fn the_quickstart_table_becomes_three_splits_of_exact_sizes() {
        let dataset = prepared(&DataSettings { max_length: 256, ..quickstart() }).unwrap();
        let CleaningReport { empty, duplicate, too_long, kept, .. } = dataset.report;
        assert_eq!((empty, duplicate, too_long + kept), (12, 35, 982));
        assert!(too_long > 50 && kept > 500, "{}", dataset.report);
        let [train, validation, test] = lengths(&dataset);
        assert_eq!(train + validation + test, kept);
        // "Reason" and a few more terms have two entries, so groups and rows may differ by one or two.
        assert!([validation, test].iter().all(|n| n.abs_diff(kept / 10) < 3), "{validation} {test}");
        for example in dataset.train.iter().chain(&dataset.validation).chain(&dataset.test) {
            assert!(example.input_ids.len() <= 256 && example.teaches());
            assert_eq!(example.input_ids.last(), Some(&0));
        }
    }

    #[test]
    fn a_row_that_is_too_long_is_counted_and_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "prompt,completion\n".to_owned();
        for n in 0..20 {
            writeln!(text, "q{n},{}", "z".repeat(if n % 4 == 0 { 90 } else { 9 })).unwrap();
        }
        let file = write_file(folder.path(), "rows.csv", text.as_bytes());
        let dataset = prepared(&DataSettings { max_length: 60, ..settings(&file, DataFormat::Csv) }).unwrap();
        assert_eq!(dataset.report.to_string(), "20 rows read: 0 empty, 0 duplicate, 5 too long, 15 kept");
        assert_eq!(lengths(&dataset), [11, 2, 2]);
    }

    #[test]
    fn ten_documents_are_split_as_wholes() {
        let folder = folder_of(10);
        let settings = DataSettings { max_length: 16, ..settings(folder.path(), DataFormat::Text) };
        let dataset = prepared(&settings).unwrap();
        let firsts = |examples: &[Example]| {
            let mut ids: Vec<u32> =
                examples.iter().flat_map(|e| &e.input_ids).copied().filter(|id| *id != 0).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let (train, validation, test) =
            (firsts(&dataset.train), firsts(&dataset.validation), firsts(&dataset.test));
        assert_eq!(dataset.report.kept, 10);
        assert!(!validation.is_empty() && !test.is_empty());
        assert!(train.iter().all(|id| !validation.contains(id) && !test.contains(id)));
        assert!(validation.iter().all(|id| !test.contains(id)));
    }

    #[test]
    fn the_windows_of_few_documents_are_split_into_three_stretches() {
        let folder = folder_of(3);
        let settings = DataSettings { max_length: 8, ..settings(folder.path(), DataFormat::Text) };
        let dataset = prepared(&settings).unwrap();
        let joined: Vec<u32> = [&dataset.train, &dataset.validation, &dataset.test]
            .into_iter()
            .flatten()
            .flat_map(|example| example.input_ids.clone())
            .collect();
        let tokenizer = tokenizer();
        let first = tokenizer.encode(&"a".repeat(100)).unwrap();
        assert_eq!(joined[..first.len()], first);
        let [train, validation, test] = lengths(&dataset);
        assert!(train > 7 * validation && validation.abs_diff(test) <= 1, "{train} {validation} {test}");
    }

    #[test]
    fn too_little_data_says_what_remains_and_what_to_change() {
        let folder = tempfile::tempdir().unwrap();
        for (text, max_length, told) in [
            ("prompt,completion\n", 64, "no row is left to train on: 0 rows read"),
            ("prompt,completion\na,bbbbbb\nb,cccccc\n", 4, "2 too long, 0 kept"),
            ("prompt,completion\na,b\nA,c\nd,e\n", 64, "3 rows remain with 2 different prompts"),
        ] {
            let file = write_file(folder.path(), "rows.csv", text.as_bytes());
            let settings = DataSettings { max_length, ..settings(&file, DataFormat::Csv) };
            let error = prepared(&settings).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("hint:"), "{error}");
        }
        write_file(folder.path(), "short.txt", b"xyz");
        let error = prepared(&settings(folder.path(), DataFormat::Text)).unwrap_err().to_string();
        assert!(error.contains("1 different windows") && error.contains("data.max_length"), "{error}");
    }

    #[test]
    fn a_length_beyond_the_models_context_is_an_error_before_anything_is_read() {
        let tokenizer = tokenizer();
        let settings = settings(Path::new("no/such.csv"), DataFormat::Csv);
        let error =
            prepare(&settings, 0, &tokenizer, &config(tokenizer.vocab_size(), 63)).unwrap_err().to_string();
        assert!(error.contains("`data.max_length` is 64") && error.contains("63"), "{error}");
        let short = config(tokenizer.vocab_size(), 63);
        assert_eq!(tokenize(&settings, &tokenizer, &short).unwrap_err().to_string(), error);
    }

    fn scored(settings: &DataSettings) -> (Vec<Example>, CleaningReport) {
        let tokenizer = tokenizer();
        tokenize(settings, &tokenizer, &config(tokenizer.vocab_size(), 4096)).unwrap()
    }

    #[test]
    fn an_evaluated_text_is_every_token_of_the_file_and_none_more() {
        let folder = tempfile::tempdir().unwrap();
        let text = " the cat\r\n\n and the dog; zyx  \n";
        write_file(folder.path(), "a.txt", text.as_bytes());
        write_file(folder.path(), "b.txt", text.as_bytes());
        let whole = tokenizer().encode_whole(text).unwrap();
        for length in 2..=whole.len() + 1 {
            let settings = DataSettings { max_length: length, ..settings(folder.path(), DataFormat::Text) };
            let (examples, report) = scored(&settings);
            assert_eq!((report.rows_read, report.kept), (2, 2), "equal documents both count");
            let ids: Vec<u32> = examples.iter().flat_map(|example| example.input_ids.clone()).collect();
            // A last window of one token has nothing to predict.
            let kept = whole.len() - usize::from(whole.len() % length == 1);
            assert_eq!(ids, [&whole[..kept], &whole[..kept]].concat(), "length {length}");
            let unscored = 2 * whole.len().div_ceil(length);
            let scored: usize = examples.iter().map(|example| example.input_ids.len() - 1).sum();
            assert_eq!(scored, 2 * whole.len() - unscored, "length {length}");
        }
    }

    #[test]
    fn evaluated_rows_score_completions_only_and_count_what_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("prompt,completion\na,bb\na,bb\nc,\nd,{}\ne,ff\n", "z".repeat(90));
        let file = write_file(folder.path(), "rows.csv", text.as_bytes());
        let (examples, report) = scored(&DataSettings { max_length: 60, ..settings(&file, DataFormat::Csv) });
        assert_eq!(report.to_string(), "5 rows read: 1 empty, 1 duplicate, 1 too long, 2 kept");
        let prompts: Vec<usize> = examples.iter().map(|example| example.prompt_tokens).collect();
        assert_eq!(prompts, [2, 2], "prompt and separator are given");
    }

    #[test]
    fn the_same_settings_and_seed_give_the_same_data_set() {
        let settings = DataSettings { max_length: 512, ..quickstart() };
        let (first, tokenizer) = (prepared(&settings).unwrap(), tokenizer());
        assert_eq!(first, prepared(&settings).unwrap());
        let other = prepare(&settings, 6, &tokenizer, &config(tokenizer.vocab_size(), 4096)).unwrap();
        assert_ne!(first.digest, other.digest);
        assert_ne!(first.test, other.test);
    }
}
