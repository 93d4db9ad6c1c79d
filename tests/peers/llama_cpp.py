"""What llama.cpp makes of a GGUF file: its tokens and its losses.

The reference for files that `diapason quantize` writes. It proves that llama.cpp loads a file,
tokenizes as the model's own tokenizer does, and computes the same loss as we do.

Needs, in a virtual environment of its own (CPU is enough):

    pip install cyllama==0.2.18 numpy

Run:

    python3 tests/peers/llama_cpp.py FILE.gguf REFERENCE.json

REFERENCE.json is one object, every key optional:

    texts      list of strings, tokenized without added first or last tokens; the texts of special
               tokens inside them are parsed
    sequences  list of token id lists, each scored as a whole
    first      list of integers, one a sequence: position of the first token that counts (default 1),
               as where only the completion after a prompt is scored; a sequence's token 0 never counts

Prints one JSON object:

    file, llama_cpp, tensor_bytes, vocab_size
    tokens      ids of each text
    loss_nats   mean negative log-likelihood of the scored tokens of each sequence
    scored      number of scored tokens of each sequence
    mean_nats   mean over all scored tokens of all sequences: long sequences count for more

Exit code 1 with the last log lines of llama.cpp on stderr when the file does not load.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from cyllama.llama import llama_cpp as llama

LOG_LINES_SHOWN = 8
F32 = 0  # ggml_type of the key and value cache
FLASH_ATTENTION_OFF = 0


class Model(llama.LlamaModel):
    """cyllama 0.2.18 asks the model for `n_vocab`, which only the vocabulary has."""

    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


def load(path, log):
    params = llama.LlamaModelParams()
    params.n_gpu_layers = 0
    try:
        return Model(path_model=path, params=params)
    except Exception as error:
        lines = "".join(log).splitlines()[-LOG_LINES_SHOWN:]
        sys.exit("\n".join([f"{path}: {error}", *lines]))


def context_for(model, longest):
    """Exact attention: a cache of 32 bits, no flash attention, a sequence in one batch."""
    params = llama.LlamaContextParams()
    params.n_ctx = params.n_batch = params.n_ubatch = max(longest, 32)
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = F32
    params.flash_attn_type = FLASH_ATTENTION_OFF
    return llama.LlamaContext(model=model, params=params)


def logits(context, tokens):
    """[tokens, vocabulary] in 64 bits."""
    context.kv_cache_clear(True)
    batch = llama.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1)
    for position, token in enumerate(tokens):
        batch.add(token, position, [0], True)
    context.decode(batch)
    rows = [np.array(context.get_logits_ith(i), dtype=np.float64) for i in range(len(tokens))]
    return np.stack(rows)


def losses(context, tokens, first):
    """Negative log-likelihood of each token from `first` on, given the ones before it."""
    rows = logits(context, tokens)
    peak = rows.max(-1, keepdims=True)
    log_sums = np.log(np.exp(rows - peak).sum(-1)) + peak[:, 0]
    return [log_sums[i - 1] - rows[i - 1, tokens[i]] for i in range(max(first, 1), len(tokens))]


def score(model, sequences, first):
    context = context_for(model, max(map(len, sequences)))
    each = [losses(context, tokens, start) for tokens, start in zip(sequences, first, strict=True)]
    mean = [float(np.mean(values)) if values else None for values in each]
    everything = [value for values in each for value in values]
    overall = float(np.mean(everything)) if everything else None
    return {"loss_nats": mean, "scored": [len(values) for values in each], "mean_nats": overall}


def main(path, reference_path):
    with open(reference_path, encoding="utf-8") as file:
        reference = json.load(file)
    log = []
    llama.set_log_callback(lambda *said: log.extend(part for part in said if isinstance(part, str)))
    llama.llama_backend_init()
    model = load(path, log)
    vocabulary = model.get_vocab()
    sequences = reference.get("sequences", [])
    report = {
        "file": path,
        "llama_cpp": f"cyllama {version('cyllama')}",
        "tensor_bytes": model.size,
        "vocab_size": vocabulary.n_vocab,
        "tokens": [vocabulary.tokenize(text, False, True) for text in reference.get("texts", [])],
    }
    if sequences:
        report |= score(model, sequences, reference.get("first", [1] * len(sequences)))
    print(json.dumps(report))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
