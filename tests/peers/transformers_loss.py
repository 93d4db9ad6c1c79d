"""What Hugging Face Transformers makes of a model folder: its loss on a test split or on a text.

The reference for what `diapason run` reports as test loss and `diapason eval` prints.

Needs, in a virtual environment of its own (CPU is enough):

    pip install torch transformers

Run, after the quickstart:

    python3 tests/peers/transformers_loss.py results/quickstart/model \\
        results/quickstart/data.safetensors reference.json
    python3 tests/peers/llama_cpp.py results/quickstart/gguf/quickstart-q8_0.gguf reference.json

The sequences are also written as the REFERENCE.json of `llama_cpp.py`, so that llama.cpp scores the
same tokens. Of a text, cut into windows of so many tokens, the first token of each unscored:

    python3 tests/peers/transformers_loss.py MODEL text.txt reference.json 512
    diapason eval MODEL --data text.txt --max-length 512 --json

With an adapter that PEFT puts onto the model (`pip install peft`), named behind these:

    python3 tests/peers/transformers_loss.py MODEL text.txt reference.json 512 ADAPTER
    diapason eval MODEL --data text.txt --max-length 512 --adapter ADAPTER --json

Prints one JSON object: model class, mean loss in nats per scored token, scored tokens.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def test_split(path: str) -> tuple[list[list[int]], list[int]]:
    """Token ids of each test example, and the position of its first scored token."""
    tensors = load_file(path)
    lengths = tensors["test.lengths"].tolist()
    sequences = [part.tolist() for part in tensors["test.input_ids"].long().split(lengths)]
    first = [max(prompt, 1) for prompt in tensors["test.prompt_tokens"].tolist()]
    return sequences, first


def windows(folder: str, path: str, length: int) -> tuple[list[list[int]], list[int]]:
    """The same of a text file."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(Path(path).read_bytes().decode())["input_ids"]
    sequences = [ids[start : start + length] for start in range(0, len(ids), length)]
    return sequences, [1] * len(sequences)


def main() -> None:
    folder, data, reference = sys.argv[1:4]
    if data.endswith(".txt"):
        sequences, first = windows(folder, data, int(sys.argv[4]))
    else:
        sequences, first = test_split(data)
    with open(reference, "w") as file:
        json.dump({"sequences": sequences, "first": first}, file)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if len(sys.argv) > 5:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, sys.argv[5]).eval()
    total, scored = 0.0, 0
    with torch.no_grad():
        for ids, start in zip(sequences, first):
            log_probabilities = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            targets = torch.tensor(ids[start:])
            total -= log_probabilities[start - 1 : -1].gather(1, targets[:, None]).double().sum().item()
            scored += len(targets)
    print(json.dumps({"model": type(model).__name__, "loss_nats": total / scored, "tokens": scored}))


if __name__ == "__main__":
    main()
