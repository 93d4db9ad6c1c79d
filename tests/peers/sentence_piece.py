"""Trains a small SentencePiece vocabulary and writes what SentencePiece makes of some texts.

The reference for reading such a vocabulary from a GGUF file. It is trained as Llama 2's was: BPE,
bytes to fall back on, digits apart, nothing normalized, a space put before each text.

Needs, in a virtual environment of its own:

    pip install sentencepiece==0.2.3

Run, from the repository's root:

    python3 tests/peers/sentence_piece.py > tests/fixtures/tokenizers/sentence_piece.json

Writes one JSON object: tokens, scores and kinds as a GGUF lists them, and cases of text and ids.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece

TABLE = Path("search-spaces/quickstart/devils-dictionary.csv")
HARD = [
    "a",
    " a",
    "  two  spaces   three ",
    "tabs\tand\nnew\n\n\nlines\r\n",
    "1234567890 3.14 2³⁰ ½ ٣٤٥",
    "Überall élèves naïve Ångström ﬁn",
    "漢字とかな交じり文。中文句子！한국어",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 emoji",
    "def f(x):\n    return x[::-1] if x else {\"a\": 1}  # noqa",
    "\u2581 already \u2581there",
    "\x00\x7f\u200b\ufeff odd",
    "<0x0A> is not a line break",
]


def kind(model, token):
    """By the numbers of GGUF."""
    if model.is_unknown(token):
        return 2
    if model.is_control(token):
        return 3
    return 6 if model.is_byte(token) else 1


def main():
    lines = [line for line in TABLE.read_text().splitlines() if line]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=file,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    ids = range(model.vocab_size())
    cases = HARD + lines[:: len(lines) // 40]
    json.dump(
        {
            "tokens": [model.id_to_piece(token) for token in ids],
            "scores": [model.get_score(token) for token in ids],
            "kinds": [kind(model, token) for token in ids],
            "cases": [{"text": text, "ids": model.encode(text)} for text in cases],
        },
        sys.stdout,
        ensure_ascii=False,
    )
    print()


if __name__ == "__main__":
    main()
