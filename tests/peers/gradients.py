"""What PyTorch makes of tiny models of each family: logits, loss and the gradient of every weight.

The reference of `tests/gradients.rs`. Writes into OUT two files for each configuration:

    NAME.safetensors  weight.W in f16 (rounded before use, so nothing is lost) and gradient.W in f32,
                      for each weight W by its Hugging Face name; logits in f32 of the last position
                      of each example that is fed, the last token being a target alone
    NAME.json         config, examples (input_ids; prompt_tokens, of which none is scored),
                      loss_nats (mean over scored tokens), scored_tokens, made_by

Needs, in a virtual environment of its own (CPU is enough):

    pip install torch==2.15.0 transformers==5.23.0

Run:

    python3 tests/peers/gradients.py tests/fixtures/gradients

The loss is Transformers' own for a padded batch with its attention mask; the script fails where
each sequence alone, without mask or padding, has other gradients. Attention is sdpa, but where
scores have a soft cap, which only eager attention knows. No model has a padding token: PyTorch gives
the embedding of one no gradient. Prints a line per configuration.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

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


def family(model_type, **more):
    """A configuration of another family: three layers of grouped heads wider than the model."""
    return {
        "model_type": model_type,
        "vocab_size": 64,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "pad_token_id": None,
        "eos_token_id": 1,
    } | more


def longrope():
    """Phi-3.5's kind of rotary embedding: three pairs, extended from 16 to 128 positions."""
    return {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 16,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.4],
            "long_factor": [1.2, 2.5, 6.0],
        },
    }


# Windows of 8 and sequences several times as long, one shorter.
WINDOWED = [(41, 5), (23, 1), (6, 3)]
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# Name: sizes, and (tokens, prompt tokens) of each sequence.
CONFIGURATIONS = {
    "tied-gqa": (sizes(64, 16, 48, 2, 4, 2, 4, 10_000.0, True, 1e-5), [(17, 5), (11, 1), (6, 3)]),
    "untied-mha": (sizes(29, 16, 24, 3, 2, 2, 8, 500_000.0, False, 1e-6), [(9, 2), (24, 10)]),
    # Odd sizes, query heads wider than the model, one long sequence, an epsilon that is felt.
    "tied-odd": (sizes(37, 21, 35, 2, 3, 1, 8, 10_000.0, True, 1e-2), [(97, 4), (41, 1), (2, 1)]),
    # One pair of each head turns fast, one is blended, two are slow: with 97 positions all are felt.
    "llama-3": (
        family("llama", rope_theta=10_000.0, rope_scaling=LLAMA_3, attention_bias=True, mlp_bias=True),
        [(97, 4), (41, 1), (2, 1)],
    ),
    "mistral": (family("mistral", sliding_window=8, rope_theta=10_000.0), WINDOWED),
    # One layer sees all, two are local.
    "qwen2": (
        family(
            "qwen2", num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True,
            use_sliding_window=True, sliding_window=8, max_window_layers=1, rope_theta=1e6,
        ),
        WINDOWED,
    ),
    "qwen3": (family("qwen3", rope_theta=1e6, tie_word_embeddings=True), WINDOWED),
    # Caps that are felt, and scores scaled by neither the head's width nor the model's.
    "gemma2": (
        family(
            "gemma2", sliding_window=8, query_pre_attn_scalar=12, attn_logit_softcapping=1.5,
            final_logit_softcapping=2.5, tie_word_embeddings=True,
        ),
        WINDOWED,
    ),
    # Two local layers with a base of their own and one whose positions are scaled.
    "gemma3": (
        family(
            "gemma3_text", sliding_window=8, sliding_window_pattern=3, query_pre_attn_scalar=12,
            rope_theta=1e5, rope_local_base_freq=1e3, rope_scaling={"rope_type": "linear", "factor": 4.0},
            tie_word_embeddings=True,
        ),
        WINDOWED,
    ),
    "phi3": (family("phi3", sliding_window=8, partial_rotary_factor=0.5, rope_theta=10_000.0), WINDOWED),
    "phi3-short": (family("phi3") | longrope(), [(16, 2), (9, 1)]),
    "phi3-long": (family("phi3") | longrope(), [(41, 2), (23, 1)]),
}


def randomize(model, generator, neutral):
    """Matrices that keep the variance of what passes through; norms near the neutral weight."""
    for name, weight in model.named_parameters():
        values = torch.randn(weight.shape, generator=generator)
        if weight.dim() == 2:
            values = values * weight.shape[-1] ** -0.5
        else:
            values = 0.2 * values if name.endswith(".bias") else neutral + 0.2 * values
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
    output = model(input_ids=ids, attention_mask=mask, labels=labels)
    last = [len(tokens) - 2 for tokens, _ in examples]
    return output.loss, output.logits[range(len(examples)), last].detach()


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
    attention = "eager" if config.get("attn_logit_softcapping") else "sdpa"
    # Some families change what they are given.
    resolved = AutoConfig.for_model(**json.loads(json.dumps(config)))
    model = AutoModelForCausalLM.from_config(resolved, attn_implementation=attention)
    randomize(model, generator, neutral=0 if config["model_type"].startswith("gemma") else 1)
    examples = [(torch.randint(config["vocab_size"], (n,), generator=generator), p) for n, p in lengths]
    scored = sum(len(ids) - prompt for ids, prompt in examples)
    loss, logits = padded(model, examples)
    of_batch = gradients(model, loss)
    difference = check_equal(name, of_batch, gradients(model, alone(model, examples, scored)))
    tensors = {f"weight.{key}": weight.detach().half() for key, weight in model.named_parameters()}
    tensors |= {f"gradient.{key}": gradient for key, gradient in of_batch.items()}
    tensors["logits"] = logits
    save_file(tensors, out / f"{name}.safetensors")
    record = {
        "made_by": f"tests/peers/gradients.py, PyTorch {torch.__version__}, "
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
