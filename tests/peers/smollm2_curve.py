"""The first steps of fine-tuning SmolLM2-135M: our loss beside PyTorch's, on the same batches.

Both start from one folder (`smollm2_folder.py`) and take the same tokens: The Devil's Dictionary
(public domain) in the model's own tokens, cut into sequences of LENGTH + 1 that follow one another;
a step takes the next ROWS of them. f32, AdamW with betas 0.9 and 0.99, no decay, no clipping, a
constant learning rate: row d-full of `benches/training_step.rs`.

Needs, in a virtual environment of its own (CPU is enough):

    pip install torch==2.15.0 transformers==5.23.0

Run, from the repository's root:

    python3 tests/peers/smollm2_folder.py target/smollm2
    cargo bench --bench training_step --no-run     # names the executable
    python3 tests/peers/smollm2_curve.py target/smollm2 --ours target/release/deps/training_step-…

Writes curve.csv (step, pytorch, diapason, difference) and README.md into OUT. Exit code 1 where a
difference exceeds the tolerance. Without --ours it prints PyTorch's losses and writes nothing; with
--write-tokens FILE it only writes the tokens, for `benches/formats.sh`.

How to read a difference, by PyTorch against itself: weights off by 6e-8 of their value change the
losses of 20 steps by 9e-7 at most; within 8 steps a second beta of 0.999 changes one by 4.5e-5 and a
learning rate 1 % too high by 1.9e-3. So 1e-3 is a loose limit; --tolerance 1e-5 tells more.
"""

import argparse
import array
import csv
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from provenance import commit, machine

TEXT = "search-spaces/quickstart/devils-dictionary.csv"
OUT = "results/kept/smollm2-curve"
BETAS, EPSILON = (0.9, 0.99), 1e-8


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Hugging Face folder of the model")
    parser.add_argument("--ours", metavar="PATH", help="executable of benches/training_step.rs")
    parser.add_argument("--steps", type=int, default=20)
    # What row d-full of our benchmark does; others only make sense without --ours.
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--tolerance", type=float, default=1e-3, help="nats")
    parser.add_argument("--out", default=OUT)
    parser.add_argument("--write-tokens", metavar="FILE", type=Path)
    return parser.parse_args()


def tokens(model, count):
    """The first tokens of the book."""
    with open(TEXT, encoding="utf-8-sig", newline="") as file:
        entries = [f"{row['term']}, {row['definition']}" for row in csv.DictReader(file)]
    ids = Tokenizer.from_file(str(Path(model) / "tokenizer.json")).encode("\n\n".join(entries)).ids
    if len(ids) < count:
        sys.exit(f"{TEXT} has {len(ids)} tokens, {count} are needed: fewer steps or shorter sequences")
    return ids[:count]


def pytorch(arguments, ids):
    """Loss of each step in nats, before its update."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.float32, attn_implementation="sdpa"
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=arguments.learning_rate, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True
    )
    batches = torch.tensor(ids).view(arguments.steps, arguments.rows, arguments.length + 1)
    losses = []
    for step, batch in enumerate(batches, 1):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        print(f"PyTorch step {step}: {losses[-1]:.6f}", file=sys.stderr)
    return losses


def write_tokens(file, ids):
    """As our benchmark reads them."""
    words = array.array("I", ids)
    if sys.byteorder == "big":
        words.byteswap()
    file.write_bytes(words.tobytes())


def diapason(arguments, ids):
    """The same of our benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokens.u32"
        write_tokens(file, ids)
        command = [arguments.ours, "d-full", "--steps", str(arguments.steps)]
        command += ["--model", arguments.model, "--tokens", str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments.ours}: exit code {done.returncode}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    shape = (result["micro_batch"], result["sequence_length"], len(result["losses"]))
    if shape != (arguments.rows, arguments.length, arguments.steps):
        sys.exit(f"ours has rows, length, steps {shape}, PyTorch other ones")
    return result["losses"]


def write(arguments, curve, largest):
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "curve.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "pytorch", "diapason", "difference"])
        writer.writerows([step, f"{a:.7f}", f"{b:.7f}", f"{b - a:.1e}"] for step, a, b in curve)
    (out / "README.md").write_text(f"""# SmolLM2-135M: our loss beside PyTorch's

`curve.csv`: loss in nats of each of the first {len(curve)} steps, before its update; largest difference {largest:.1e}.
f32, {arguments.rows} sequences of {arguments.length} tokens a step, AdamW, learning rate {arguments.learning_rate:g}, all weights.

Made by `tests/peers/smollm2_curve.py` (there: how to run it) with PyTorch {torch.__version__} and
Transformers {transformers.__version__}; commit {commit()}, {datetime.date.today()}, {machine()}.
""")


def main():
    arguments = options()
    ids = tokens(arguments.model, arguments.steps * arguments.rows * (arguments.length + 1))
    if arguments.write_tokens:
        return write_tokens(arguments.write_tokens, ids)
    theirs = pytorch(arguments, ids)
    if arguments.ours is None:
        return print(json.dumps(theirs))
    ours = diapason(arguments, ids)
    curve = list(zip(range(1, len(theirs) + 1), theirs, ours, strict=True))
    # A loss that is not a number is as far off as can be.
    differences = [abs(b - a) if b == b else float("inf") for _, a, b in curve]
    write(arguments, curve, max(differences))
    print(f"largest difference {max(differences):.1e} nats, tolerance {arguments.tolerance:g}")
    sys.exit(max(differences) > arguments.tolerance)


if __name__ == "__main__":
    main()
