"""What PyTorch makes of tiny Llama models: the loss and the gradient of every weight.

The reference of `tests/gradients.rs`. Writes into OUT two files for each configuration:

    NAME.safetensors  weight.W in f16 (rounded before use, so nothing is lost) and gradient.W in f32,
                      for each weight W by its Hugging Face name
    NAME.json         config, examples (input_ids; prompt_tokens, of which none is scored),
                      loss_nats (mean over scored tokens), scored_tokens, made_by

Needs, in a virtual environment of its own (CPU is enough):

    pip install torch==2.15.0 transformers==5.23.0

Run:

    python3 tests/peers/llama_gradients.py tests/fixtures/gradients

The loss is Transformers' own for a padded batch with its attention mask; the script fails where
each sequence alone, without mask or padding, has other gradients. Prints a line per configuration.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

IGNORED = -100
# Far above float32 rounding, far below what a wrong mask does.
LARGEST_DIFFERENCE = 2e-5


def sizes(vocab, width, mlp, layers, heads, key_value_heads, head_width, rope_theta, tied, epsilon):
    """A configuration as `config.json` has it."""
    return {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": head_width,
        "rms_norm_eps": epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
    }


# Name: sizes, and (tokens, prompt tokens) of each sequence.
CONFIGURATIONS = {
    "tied-gqa": (sizes(64, 16, 48, 2, 4, 2, 4, 10_000.0, True, 1e-5), [(17, 5), (11, 1), (6, 3)]),
    "untied-mha": (sizes(29, 16, 24, 3, 2, 2, 8, 500_000.0, False, 1e-6), [(9, 2), (24, 10)]),
    # Odd sizes, query heads wider than the model, one long sequence, an epsilon that is felt.
    "tied-odd": (sizes(37, 21, 35, 2, 3, 1, 8, 10_000.0, True, 1e-2), [(97, 4), (41, 1), (2, 1)]),
}


def randomize(model, generator):
    """Matrices that keep the variance of what passes through; norms near one."""
    for name, weight in model.named_parameters():
        values = torch.randn(weight.shape, generator=generator)
        values = values * weight.shape[-1] ** -0.5 if weight.dim() == 2 else 1 + 0.2 * values
        weight.data.copy_(values.half().float())


def gradients(model, loss):
    """Of each weight by name, after a backward pass from nothing."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def padded(model, examples):
    """Mean loss over scored tokens of one batch, padded behind."""
    length = max(len(ids) for ids, _ in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row, (tokens, prompt) in enumerate(examples):
        ids[row, : len(tokens)] = tokens
        labels[row, prompt : len(tokens)] = tokens[prompt:]
        mask[row, : len(tokens)] = 1
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


def alone(model, examples, scored):
    """The same mean, every sequence by itself."""
    total = torch.zeros(())
    for tokens, prompt in examples:
        logits = model(input_ids=tokens[None]).logits[0, prompt - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, tokens[prompt:], reduction="sum")
    return total / scored


def check_equal(name, theirs, others):
    """Largest difference of any gradient, relative to the largest value of its tensor."""
    def difference(key):
        return ((theirs[key] - others[key]).abs().max() / theirs[key].abs().max()).item()

    worst = max(theirs, key=difference)
    if difference(worst) > LARGEST_DIFFERENCE:
        sys.exit(f"{name}: padding changes the gradient of {worst} by {difference(worst):.1e}")
    return difference(worst)


def make(name, config, lengths, seed, out):
    generator = torch.Generator().manual_seed(seed)
    arguments = {key: value for key, value in config.items() if key != "model_type"}
    model = LlamaForCausalLM(LlamaConfig(**arguments, attn_implementation="sdpa"))
    randomize(model, generator)
    examples = [(torch.randint(config["vocab_size"], (n,), generator=generator), p) for n, p in lengths]
    scored = sum(len(ids) - prompt for ids, prompt in examples)
    loss = padded(model, examples)
    of_batch = gradients(model, loss)
    difference = check_equal(name, of_batch, gradients(model, alone(model, examples, scored)))
    tensors = {f"weight.{key}": weight.detach().half() for key, weight in model.named_parameters()}
    tensors |= {f"gradient.{key}": gradient for key, gradient in of_batch.items()}
    save_file(tensors, out / f"{name}.safetensors")
    record = {
        "made_by": f"tests/peers/llama_gradients.py, PyTorch {torch.__version__}, "
        f"Transformers {transformers.__version__}",
        "config": config,
        "examples": [{"input_ids": ids.tolist(), "prompt_tokens": prompt} for ids, prompt in examples],
        "scored_tokens": scored,
        "loss_nats": loss.item(),
    }
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    smallest = min(gradient.abs().max().item() for gradient in of_batch.values())
    print(f"{name}: loss {loss.item():.6f}, {len(of_batch)} gradients, "
          f"largest value of the smallest {smallest:.1e}, padded against alone {difference:.1e}")


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for seed, (name, (config, lengths)) in enumerate(CONFIGURATIONS.items(), 1):
        make(name, config, lengths, seed, out)


if __name__ == "__main__":
    main()
