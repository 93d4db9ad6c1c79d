"""The PyTorch side: trains one row for some steps and prints one JSON line of what it took.

    pytorch_step.py ROW [--micro-batch B] [--steps N] [--model DIR] [--tokens FILE]

One process measures one row, so that the peak it reports is the row's own. PyTorch gets what its
experts would use by default: sdpa attention, fused AdamW, gradients set to none, no cache of keys
and values, no copy of the logits where they are f32 already, and no name that keeps them alive
during the backward pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from rows import BETAS, EPSILON, LEARNING_RATE, LORA_ALPHA, LORA_RANK, ROWS, THREADS, Row  # noqa: E402

Batch = tuple[torch.Tensor, torch.Tensor]


def status_bytes(key: str) -> int:
    """A size in bytes from /proc/self/status, such as VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {key}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", metavar="ROW", choices=ROWS, help=", ".join(ROWS))
    parser.add_argument("--micro-batch", type=int, help="sequences per step (default: the row's)")
    parser.add_argument("--steps", type=int, help="steps, warm-up included (default: the row's)")
    parser.add_argument("--model", type=Path, help="folder in the Hugging Face layout (default: random weights)")
    parser.add_argument("--tokens", type=Path, help="little-endian u32 token ids (default: computed ids)")
    return parser.parse_args()


def base_model(row: Row, folder: Path | None) -> LlamaForCausalLM:
    """The row's model in f32: read from `folder`, or with random weights."""
    if folder is not None:
        return LlamaForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", use_cache=False
        )
    config = LlamaConfig(
        vocab_size=row.vocabulary,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=row.layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": row.rope_theta},
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def trainable_model(row: Row, folder: Path | None) -> torch.nn.Module:
    """The model to train; for LoRA the base is frozen f32 and the head has no adapter."""
    model: torch.nn.Module = base_model(row, folder)
    if row.lora:
        # Only this row needs peft; importing it above would burden every other row's memory.
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
    return model.train()


def computed_batch(row: Row, micro_batch: int) -> Batch:
    """Ids and targets computed from the position alone, the same on both sides.

    Shapes: ids (b, s), targets (b·s).
    """
    position = torch.arange(micro_batch * row.sequence_length)
    ids = (position * 2654435761 + 12345) % row.vocabulary
    targets = (position * 40503 + 777) % row.vocabulary
    return ids.view(micro_batch, row.sequence_length), targets


def batches_of_file(path: Path, row: Row, micro_batch: int, steps: int) -> Iterator[Batch]:
    """Consecutive sequences of s+1 ids: the first s are inputs, the last s targets."""
    shape = (micro_batch, row.sequence_length + 1)
    wanted = shape[0] * shape[1] * 4
    with path.open("rb") as file:
        for step in range(steps):
            data = file.read(wanted)
            if len(data) < wanted:
                raise SystemExit(f"{path} ends in step {step + 1} of {steps}: it needs {steps * wanted} bytes")
            ids = torch.frombuffer(bytearray(data), dtype=torch.int32).long().view(shape)
            yield ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)


def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in f32 over every position; `.float()` copies only what is not f32 yet."""
    return cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets)


def precision(row: Row) -> contextlib.AbstractContextManager:
    """Mixed precision over f32 weights, or nothing."""
    return torch.autocast("cpu", torch.bfloat16) if row.mixed_precision else contextlib.nullcontext()


def train(row: Row, model: torch.nn.Module, batches: Iterator[Batch]) -> tuple[list[float], list[float]]:
    """Trains a step per batch; gives the seconds and the loss of each."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True
    )
    seconds, losses = [], []
    for ids, targets in batches:
        start = time.perf_counter()
        with precision(row):
            # The logits have no name here: they are freed before the backward pass.
            loss = mean_loss(model(input_ids=ids).logits, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return seconds, losses


def main() -> None:
    arguments = parse_arguments()
    row = ROWS[arguments.row]
    if row.lora:
        import peft  # noqa: F401  Part of this row's imports, so part of its idle memory.
    torch.set_num_threads(THREADS)
    idle = status_bytes("VmRSS")
    micro_batch, steps = arguments.micro_batch or row.micro_batch, arguments.steps or row.steps
    model = trainable_model(row, arguments.model)
    if arguments.tokens is not None:
        batches = batches_of_file(arguments.tokens, row, micro_batch, steps)
    else:
        batches = iter([computed_batch(row, micro_batch)] * steps)
    seconds, losses = train(row, model, batches)
    report = {
        "row": row.name,
        "micro_batch": micro_batch,
        "sequence_length": row.sequence_length,
        "tokens_per_step": micro_batch * row.sequence_length,
        "step_seconds": seconds,
        "losses": losses,
        "idle_rss_bytes": idle,
        "peak_rss_bytes": status_bytes("VmHWM"),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
