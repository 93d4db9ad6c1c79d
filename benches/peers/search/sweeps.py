"""Which fine-tuning runs `record.py` records: data sets, and one grid a task."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Data:
    """A data set and the model that learns from it."""

    what: str
    section: str
    """Keys of `[data]` but the source."""
    source: Callable[[Path, Path], Path]
    """Path of the text, made in the first folder from the repository in the second where there is no file of it."""
    new_model: str = ""
    """Keys of `[model.new]`; empty for a pretrained model."""
    make_model: Callable[[Path, Path], None] | None = None
    """Makes the first folder, a pretrained model, with what the repository in the second has; none for the quickstart's."""

    def study(self, source: Path, output: Path, root: Path) -> str:
        """A study whose `tune` prepares the data set (and makes the model) and trains next to nothing."""
        model = f"[model.new]\n{self.new_model}" if self.new_model else f'[model]\nsource = "{self.model(output, root)}"'
        return (
            f'[study]\nname = "{output.name}"\nseed = 17\noutput = "{output}"\n{model}\n'
            f'[data]\nsource = "{source}"\n{self.section}\n'
            '[space]\nprecision = "f32"\nmicro_batch_size = 1\nlearning_rate = 1e-9\n'
            "[search]\ntrials = 1\nrungs = 1\nvalidation_examples = 1\n[train]\nepochs = 0.01\nevaluations = 1\n"
        )

    def model(self, output: Path, root: Path) -> Path:
        """The folder of the model."""
        return output / "base" if self.new_model or self.make_model else root / "search-spaces" / "quickstart" / "model"


def dictionary(_: Path, root: Path) -> Path:
    """The quickstart's table."""
    return root / "search-spaces" / "quickstart" / "devils-dictionary.csv"


def third_of_dictionary(folder: Path, root: Path) -> Path:
    """Every third entry of the quickstart's table."""
    with dictionary(folder, root).open(encoding="utf-8-sig", newline="") as whole:
        head, *entries = csv.reader(whole)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "third-of-dictionary.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([head, *entries[::3]])
    return path


def smollm2(folder: Path, root: Path) -> None:
    """SmolLM2-135M-Instruct; what that needs is said in the script."""
    script, partial = root / "tests" / "peers" / "smollm2_folder.py", folder.with_suffix(".partial")
    subprocess.run([sys.executable, str(script), str(partial)], check=True, stdout=sys.stderr)
    # A folder that is there is whole.
    partial.rename(folder)


def own_source(folder: Path, root: Path) -> Path:
    """Rust source of this repository as text; the table keeps the digest of what was read."""
    out = folder / "source-text"
    out.mkdir(parents=True, exist_ok=True)
    for name in ("arch", "trial"):
        for file in sorted((root / "src" / name).rglob("*.rs")):
            text = "-".join(file.relative_to(root / "src").with_suffix(".txt").parts)
            (out / text).write_bytes(file.read_bytes())
    return out


PAIRS = 'prompt = "{}"\ncompletion = "{}"\nmax_length = 96\nvalidation_fraction = 0.2\ntest_fraction = 0.02'
DATA = {
    "definitions": Data(
        "The Devil's Dictionary, entries of at most 96 tokens: the definition after the term",
        PAIRS.format("term", "definition"), dictionary,
    ),
    "terms": Data(
        "the same the other way round: the term after the definition",
        PAIRS.format("definition", "term"), dictionary,
    ),
    "source": Data(
        "windows of this repository's Rust source",
        'format = "text"\nmax_length = 96\nvalidation_fraction = 0.15\ntest_fraction = 0.02', own_source,
    ),
    "nothing": Data(
        "the definitions, for a new model of 0.4 million parameters that has read nothing",
        PAIRS.format("term", "definition"), dictionary,
        new_model="vocab_size = 1024\nhidden_size = 128\nintermediate_size = 256\nnum_hidden_layers = 2\nnum_attention_heads = 2\n",
    ),
    "third": Data(
        "a third of the definitions, for SmolLM2-135M-Instruct",
        PAIRS.format("term", "definition"), third_of_dictionary, make_model=smollm2,
    ),
}


def rates(low: float, count: int = 9, factor: float = 2.2) -> list[float]:
    """Learning rates that rise by a factor, to two digits."""
    return [float(f"{low * factor**at:.1e}") for at in range(count)]


BATCHES = [4, 8, 16, 32, 64]


@dataclass(frozen=True)
class Task:
    """One table."""

    name: str
    what: str
    data: str
    epochs: float
    grid: dict[str, list]
    lora_rank: int = 0
    """0: all weights are trained; of no account where the grid has `lora_rank`."""
    default: dict = field(default_factory=dict)
    """What a textbook would try first, as the nearest cell."""
    precision: str = "f32"
    schedule: str = "cosine"
    warmup_fraction: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    seeds: tuple[int, ...] = (17,)
    second_seed: int = 18
    """Of a handful of cells, for the noise."""


def cells(task: Task) -> list[tuple[dict, int]]:
    """Every cell with its seed; then every seventh again with another seed. The quick ones first."""
    names = list(task.grid)
    grid = [dict(zip(names, values)) for values in itertools.product(*task.grid.values())]
    grid.sort(key=lambda cell: -cell["effective_batch_size"])
    again = [(cell, task.second_seed) for cell in grid[3::7]]
    return [(cell, task.seeds[0]) for cell in grid] + again


FULL = {"learning_rate": 2e-5, "effective_batch_size": 16}
LORA = {"learning_rate": 2e-4, "effective_batch_size": 16}
# What small models are trained from nothing with: nanoGPT's rate for GPT-2 of 124 million parameters.
NOTHING = {"learning_rate": 6e-4, "effective_batch_size": 16}
TASKS = {
    task.name: task
    for task in (
        Task("definitions-full", "all weights, 2 epochs of the definitions", "definitions", 2,
             {"learning_rate": rates(3e-5), "effective_batch_size": BATCHES}, default=FULL),
        Task("definitions-full-short", "all weights, 1 epoch of the definitions", "definitions", 1,
             {"learning_rate": rates(3e-5), "effective_batch_size": BATCHES[:4]}, default=FULL),
        Task("definitions-lora", "LoRA of rank 8, 1 epoch of the definitions", "definitions", 1,
             {"learning_rate": rates(3e-4), "effective_batch_size": BATCHES}, lora_rank=8, default=LORA),
        Task("definitions-lora-ranks", "LoRA of rank 4 or 32, 1 epoch of the definitions", "definitions", 1,
             {"learning_rate": rates(3e-4, 7, 2.7), "effective_batch_size": [8, 16, 32], "lora_rank": [4, 32]},
             default=LORA | {"lora_rank": 4}),
        Task("terms-full", "all weights, 1 epoch of the terms, no clipping", "terms", 1,
             {"learning_rate": rates(1e-5), "effective_batch_size": BATCHES}, default=FULL, max_grad_norm=None),
        Task("source-full", "all weights, 1 epoch of the source", "source", 1,
             {"learning_rate": rates(3e-5), "effective_batch_size": [4, 16, 64], "warmup_fraction": [0.0, 0.1]},
             default=FULL | {"warmup_fraction": 0.1}),
        Task("source-lora", "LoRA of rank 16, 1 epoch of the source, linear schedule", "source", 1,
             {"learning_rate": rates(1e-4), "effective_batch_size": BATCHES[:4]}, lora_rank=16, default=LORA, schedule="linear"),
        Task("nothing-full", "a new small model, 3 epochs of the definitions", "nothing", 3,
             {"learning_rate": rates(1e-4), "effective_batch_size": BATCHES}, default=NOTHING, weight_decay=0.1),
        Task("smollm2-lora", "LoRA of rank 16, 1 epoch of a third of the definitions, bf16", "third", 1,
             {"learning_rate": rates(1e-4, 8), "effective_batch_size": BATCHES[:4]}, lora_rank=16, default=LORA, precision="bf16"),
        Task("smollm2-full", "all weights, 1 epoch of a third of the definitions, bf16", "third", 1,
             {"learning_rate": rates(1e-5, 8), "effective_batch_size": BATCHES[:3]}, default=FULL, precision="bf16"),
    )
}
