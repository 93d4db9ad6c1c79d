"""The loss of a model that knows only how often each token occurs.

The yardstick for "has learnt English": a pretrained model must be far below it.

    python3 search-spaces/quickstart/unigram.py results/pretrain/data.safetensors

Reads the tokenized data set of a study, counts tokens in the training split (add-one smoothing) and
prints the mean negative log-likelihood of the test split's scored tokens, in nats.
"""

import array
import collections
import json
import math
import struct
import sys


def read(path: str) -> dict[str, array.array]:
    """The tensors of a safetensors file by name; u32 and u64 only."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = file.read()
    codes = {"U32": "I", "U64": "Q"}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            tensors[name] = array.array(codes[entry["dtype"]], body[start:end])
    return tensors


def scored(tensors: dict[str, array.array], split: str) -> list[int]:
    """Tokens of a split that count: neither the prompt nor the first of an example."""
    ids, tokens, start = tensors[f"{split}.input_ids"], [], 0
    for length, prompt in zip(tensors[f"{split}.lengths"], tensors[f"{split}.prompt_tokens"]):
        tokens += ids[start + max(prompt, 1) : start + length]
        start += length
    return tokens


def main() -> None:
    tensors = read(sys.argv[1])
    counts = collections.Counter(tensors["train.input_ids"])
    test = scored(tensors, "test")
    vocabulary = max(max(counts), max(test)) + 1
    total = sum(counts.values()) + vocabulary
    loss = -sum(math.log((counts[token] + 1) / total) for token in test) / len(test)
    print(f"unigram loss {loss:.4f} nats per token over {len(test)} tokens")


if __name__ == "__main__":
    main()
