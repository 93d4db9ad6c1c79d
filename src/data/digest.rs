//! The fingerprint of a prepared data set: what it was made from, and how.

use super::Tokenizer;
use super::example::Frame;
use super::source::Document;
use crate::fingerprint::Fingerprint;
use crate::space::DataSettings;

/// Raised when the same source and settings come to give other examples.
const PREPARATION_VERSION: u32 = 1;

/// SHA-256, in hexadecimal, of everything that decides the examples.
///
/// Where the source lies does not: a study that is moved keeps its digest.
pub(super) fn digest(
    documents: &[Document],
    settings: &DataSettings,
    seed: u64,
    tokenizer: &Tokenizer,
    frame: Frame,
) -> String {
    // Taken apart without `..`, so that a new setting cannot be forgotten here.
    let DataSettings {
        source: _,
        format,
        columns,
        separator,
        max_length,
        validation_fraction,
        test_fraction,
    } = settings;
    let how = serde_json::json!({
        "version": PREPARATION_VERSION, "format": format, "columns": columns, "separator": separator,
        "max_length": max_length, "validation_fraction": validation_fraction,
        "test_fraction": test_fraction, "seed": seed, "before": frame.before, "after": frame.after,
    });
    let how = how.to_string();
    let texts = documents.iter().map(|document| document.text.as_bytes());
    let parts = [how.as_bytes(), tokenizer.bytes()].into_iter().chain(texts);
    let mut fingerprint = Fingerprint::default();
    parts.for_each(|part| fingerprint.part(part));
    fingerprint.hex()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{settings, tokenizer};
    use super::*;
    use crate::space::DataFormat;

    const FRAME: Frame = Frame { before: None, after: Some(0) };

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts.iter().map(|text| Document { file: "a".into(), text: (*text).to_owned() }).collect()
    }

    #[test]
    fn the_digest_follows_everything_that_decides_the_examples_and_not_the_path() {
        let (tokenizer, texts) = (tokenizer(), documents(&["ab", "c"]));
        let base = settings(Path::new("here.csv"), DataFormat::Csv);
        let of = |documents: &[Document], settings: &DataSettings, seed, frame| {
            digest(documents, settings, seed, &tokenizer, frame)
        };
        let first = of(&texts, &base, 1, FRAME);
        assert_eq!(first.len(), 64);
        assert_eq!(first, of(&texts, &settings(Path::new("there.csv"), DataFormat::Csv), 1, FRAME));
        let others = [
            of(&documents(&["a", "bc"]), &base, 1, FRAME),
            of(&texts, &DataSettings { max_length: 9, ..base.clone() }, 1, FRAME),
            of(&texts, &DataSettings { separator: " ".into(), ..base.clone() }, 1, FRAME),
            of(&texts, &base, 2, FRAME),
            of(&texts, &base, 1, Frame { before: Some(1), ..FRAME }),
            digest(&texts, &base, 1, &Tokenizer::train_bpe(std::iter::empty(), 257).unwrap(), FRAME),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
