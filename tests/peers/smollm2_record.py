"""Fine-tuning SmolLM2-135M for the record: our run, through the product, beside PyTorch's on the same batches.

Two studies, `results/kept/smollm2-record/full.toml` (all weights) and `lora.toml` (adapters), train on The
Devil's Dictionary (public domain), two passes, f32, an effective batch of 16. PyTorch (with peft for the
adapters, from the same first values) then takes the same examples step by step, each with the learning rate
our database has for the step; the held-out loss is taken after the same steps.

Needs, in a virtual environment of its own (CPU is enough):

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2

Run, from the repository's root:

    python3 tests/peers/smollm2_folder.py target/smollm2
    for kind in full lora; do
        cargo run --release -- train results/kept/smollm2-record/$kind.toml
        cargo bench --bench study_batches -- $PWD/results/kept/smollm2-record/$kind.toml $PWD/target/smollm2-record/$kind-batches
    done
    python3 tests/peers/smollm2_record.py full lora

Writes KIND-steps.csv and KIND-held-out.csv beside the studies, and README.md. Exit code 1 where a held-out
loss is off by more than --tolerance nats.
"""

import argparse
import csv
import datetime
import json
import sqlite3
import sys
from pathlib import Path

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

from provenance import commit, machine

MODEL = "target/smollm2"
RUNS = Path("target/smollm2-record")
OUT = Path("results/kept/smollm2-record")
# What our AdamW has; PyTorch's default of the second beta is 0.999.
BETAS, EPSILON = (0.9, 0.99), 1e-8
# The defaults of a study file.
WEIGHT_DECAY, MAX_GRAD_NORM = 0.01, 1.0
MICRO_BATCH = 4


def ours(kind):
    """Steps (loss, learning rate) and held-out losses of our run, by step."""
    database = sqlite3.connect(RUNS / kind / "study.db")
    steps = database.execute(
        "SELECT step, loss_nats, learning_rate FROM rung JOIN step USING (measurement) ORDER BY step"
    ).fetchall()
    evaluations = database.execute(
        "SELECT step, eval.loss_nats FROM rung JOIN eval USING (measurement) ORDER BY step"
    ).fetchall()
    return {step: (loss, rate) for step, loss, rate in steps}, dict(evaluations)


def padded(examples):
    """Ids, targets (-100 where nothing is scored) and mask; the padding stands at the end."""
    length = max(len(example["input_ids"]) for example in examples)
    fill = lambda values, value: values + [value] * (length - len(values))
    ids = [fill(example["input_ids"], 0) for example in examples]
    targets = [fill([-100 if t is None else t for t in example["targets"]], -100) for example in examples]
    mask = [fill([1] * len(example["input_ids"]), 0) for example in examples]
    return tuple(torch.tensor(values) for values in (ids, targets, mask))


def total_nats(model, examples):
    """Sum of the losses over the scored tokens."""
    ids, targets, mask = padded(examples)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
    )


def scored(examples):
    return sum(target is not None for example in examples for target in example["targets"])


def micro_batches(examples):
    return [examples[start : start + MICRO_BATCH] for start in range(0, len(examples), MICRO_BATCH)]


@torch.no_grad()
def held_out(model, examples):
    model.eval()
    nats = sum(total_nats(model, some).item() for some in micro_batches(examples))
    model.train()
    return nats / scored(examples)


def pytorch(kind, rates, evaluated):
    """Loss of each step before its update, and held-out losses after the steps `evaluated`."""
    inputs = RUNS / f"{kind}-batches"
    batches = json.loads((inputs / "batches.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="sdpa")
    if kind == "lora":
        model = peft.PeftModel.from_pretrained(model, inputs / "adapter", is_trainable=True)
    model.train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.dim() == 2], "weight_decay": WEIGHT_DECAY},
        {"params": [parameter for parameter in trainable if parameter.dim() != 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPSILON, fused=True)
    losses, evaluations = {}, {0: held_out(model, batches["validation"])}
    for step, examples in enumerate(batches["steps"], 1):
        if step not in rates:
            break
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        nats, tokens = 0.0, scored(examples)
        for some in micro_batches(examples):
            loss = total_nats(model, some)
            (loss / tokens).backward()
            nats += loss.item()
        torch.nn.utils.clip_grad_norm_(trainable, MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses[step] = nats / tokens
        print(f"PyTorch {kind} step {step}: {losses[step]:.6f}", file=sys.stderr)
        if step in evaluated:
            evaluations[step] = held_out(model, batches["validation"])
    return losses, evaluations


def write(name, ours, theirs):
    """One curve; the largest difference in nats."""
    differences = [abs(theirs[step] - ours[step]) for step in sorted(ours)]
    with open(OUT / name, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "pytorch", "diapason", "difference"])
        for step in sorted(ours):
            a, b = theirs[step], ours[step]
            writer.writerow([step, f"{a:.7f}", f"{b:.7f}", f"{b - a:.1e}"])
    # A loss that is not a number is as far off as can be.
    return max(d if d == d else float("inf") for d in differences)


def record(kind):
    """Trains in PyTorch, writes both curves; a row of the README's table and the largest held-out difference."""
    steps, evaluations = ours(kind)
    losses, theirs = pytorch(kind, {step: rate for step, (_, rate) in steps.items()}, set(evaluations))
    worst_step = write(f"{kind}-steps.csv", {step: loss for step, (loss, _) in steps.items()}, losses)
    worst = write(f"{kind}-held-out.csv", evaluations, theirs)
    last = max(evaluations)
    row = f"| {kind} | {len(steps)} | {theirs[0]:.4f} | {theirs[last]:.4f} | {evaluations[last]:.4f} "
    return row + f"| {worst:.1e} | {worst_step:.1e} |", worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="+", choices=["full", "lora"])
    parser.add_argument("--tolerance", type=float, default=1e-2, help="nats")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows, worst = zip(*(record(kind) for kind in arguments.kinds))
    (OUT / "README.md").write_text(f"""# SmolLM2-135M, fine-tuned for the record

Held-out loss in nats a token on The Devil's Dictionary, in f32, PyTorch and Diapason on the same batches. Both
curves of each are in the CSV files; the studies are `full.toml` (all weights) and `lora.toml` (rank 16 on all
linear layers).

| | steps | before | after, PyTorch | after, Diapason | held-out, largest difference | step, largest difference |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Made by `tests/peers/smollm2_record.py` (there: how to run it) with PyTorch {torch.__version__}, Transformers
{transformers.__version__}, peft {peft.__version__}; commit {commit()}, {datetime.date.today()}, {machine()}.
""")
    print("\n".join(rows))
    sys.exit(max(worst) > arguments.tolerance)


if __name__ == "__main__":
    main()
