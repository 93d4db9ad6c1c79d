//! A `SentencePiece` BPE vocabulary as a `tokenizer.json`.
//!
//! `SentencePiece` joins the two neighbours whose joint piece has the highest score; a
//! `tokenizer.json` lists merges, the first first. So each way to cut a piece into two others is a
//! merge, in the order of the pieces' scores.
//!
//! Source: `generate_merges` and `LlamaConverter` in Transformers' `convert_slow_tokenizer.py`.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::vocabulary::{Kind, Vocabulary};

/// Key of the scores.
pub(super) const SCORES: &str = "tokenizer.ggml.scores";

/// What stands for a space in pieces.
const SPACE: &str = "\u{2581}";

/// A way to make a piece of two.
struct Merge<'a> {
    score: f32,
    left: &'a str,
    right: &'a str,
}

/// Everything of the file but added tokens and what is put around a text.
///
/// With `prefix` a text is tokenized as if a space stood before it.
pub(super) fn file(vocabulary: &Vocabulary, scores: &[f32], unknown: Option<&str>, prefix: bool) -> Json {
    let merges: Json =
        merges(vocabulary, scores).iter().map(|merge| json!([merge.left, merge.right])).collect();
    let prepend = json!({"type": "Prepend", "prepend": SPACE});
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let back = json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let with = |wanted: bool, step: &Json| wanted.then(|| step.clone());
    let normalizers: Vec<Json> = with(prefix, &prepend).into_iter().chain([replace]).collect();
    let decoders: Vec<Json> = [json!({"type": "ByteFallback"}), json!({"type": "Fuse"}), back]
        .into_iter()
        .chain(with(prefix, &strip))
        .collect();
    json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "unk_token": unknown,
            "fuse_unk": true,
            "byte_fallback": true,
            "vocab": vocabulary.to_vocab(),
            "merges": merges,
        },
    })
}

/// Merges in the order in which they are made.
fn merges<'a>(vocabulary: &'a Vocabulary, scores: &[f32]) -> Vec<Merge<'a>> {
    // Bytes, control and added tokens are never made of text.
    let is_piece = |kind| matches!(kind, Kind::Normal | Kind::Unused);
    let pieces = || vocabulary.tokens().filter(|(_, _, kind)| is_piece(*kind));
    let known: HashSet<&str> = pieces().map(|(_, text, _)| text).collect();
    let mut merges: Vec<Merge<'a>> = pieces()
        .flat_map(|(id, text, _)| {
            let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
            let score = scores.get(id).copied().unwrap_or(f32::MIN);
            cuts.map(move |(left, right)| Merge { score, left, right })
        })
        .filter(|merge| known.contains(merge.left) && known.contains(merge.right))
        .collect();
    merges.sort_by(order);
    merges
}

/// The highest score first; of the cuts of one piece the one with the longest left part.
fn order(a: &Merge<'_>, b: &Merge<'_>) -> Ordering {
    let lengths = |merge: &Merge<'_>| (merge.left.chars().count(), merge.right.chars().count());
    b.score.total_cmp(&a.score).then_with(|| lengths(b).cmp(&lengths(a)))
}
