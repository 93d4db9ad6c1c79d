"""Synthetic tasks: an emulator of fine-tuning, calibrated on published measurements; no run of it was a real one.

A run's loss is a bowl over log learning rate and log batch (and rank, warm-up, weight decay), with

- an optimal learning rate that grows with the batch to the power 0.3;
- an optimum that lies around the textbook's (2e-5 for all weights, 2e-4 for LoRA) with a deviation of 0.4 decades;
- a cliff above the optimum: about a quarter of configurations drawn at random diverge;
- a floor below it: a rate that is too low leaves the model as it was;
- a best batch that grows with the tokens seen, so that short runs rank batches wrongly;
- runs stopped at 1/8 and 1/16 that rank with the final as 0.87 and 0.63 (Spearman, over runs that do not diverge);
- hills and hollows that all levels share, and noise from seed to seed.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from functools import cached_property

from tables import Cell, Facts, Observation, Parameter, Table, anchors_of

LEVELS = (0.0625, 0.125, 0.25, 0.5, 1.0)
RANKS = {0.0625: 0.63, 0.125: 0.87}
"""Rank correlation of a level with the final."""
BATCH_EXPONENT = 0.3
SPREAD_DECADES = 0.4
TEXTBOOK = {"full": -math.log10(2e-5), "lora": -math.log10(2e-4)}
DIVERGING = 0.25
FULL = 1.0
ROUGHNESS = 0.06
"""Deviation of the hills over the depth; makes random search as slow as it is on real tables."""
SAMPLE = 600
"""Configurations that the calibration looks at."""


@dataclass(frozen=True)
class Truth:
    """What the search is to find out about one task."""

    optimum: float
    """log10 of the best learning rate at batch 16."""
    batch: float
    """log2 of the best batch of a full run."""
    width: float
    """Decades of learning rate from the optimum in which the loss rises by `depth` / 4."""
    depth: float
    """Nats between the base model and the best configuration."""
    floor: float
    """Loss of the best configuration, in nats."""
    batch_drift: float
    """How many doublings the best batch grows by when the tokens double."""
    noise: float
    """Deviation of a final loss from seed to seed."""


class Emulator(Table):
    """One synthetic task; everything follows from its seed."""

    def __init__(self, name: str, method: str, seed: int, extras: tuple[str, ...], offset: float) -> None:
        generator = random.Random(f"emulator {name} {seed}")
        self.method, self.seed = method, seed
        self.size = 10 ** generator.uniform(8.0, 9.8)
        self.tokens = 10 ** generator.uniform(5.5, 8.0)
        center = -TEXTBOOK[method]
        self.law = Truth(
            optimum=center + offset, batch=generator.uniform(3.0, 5.5),
            width=generator.uniform(0.3, 0.5), depth=generator.uniform(0.3, 1.0), floor=generator.uniform(1.2, 2.4),
            batch_drift=generator.uniform(0.4, 0.7), noise=generator.uniform(0.002, 0.006),
        )
        parameters = [
            Parameter("learning_rate", (), 10 ** (center - 2.0), 10 ** (center + 2.0), log=True),
            Parameter.ladder("effective_batch_size", (4, 8, 16, 32, 64, 128)),
        ]
        parameters += [EXTRAS[extra] for extra in extras]
        default = {"learning_rate": 10**center, "effective_batch_size": 16, "lora_rank": 16, "warmup_fraction": 0.06,
                   "weight_decay": 0.01}
        super().__init__(
            name=f"synthetic/{name}", kind="synthetic", parameters=parameters, levels=LEVELS, direction="minimize",
            default=tuple(default[parameter.name] for parameter in parameters),
            facts=Facts(method, self.size, self.tokens, None),
        )
        # Smooth wiggles that the levels do not share: why short runs rank wrongly.
        self.waves = {
            level: [([generator.gauss(0.0, 2.5) for _ in parameters], generator.uniform(0.0, 2 * math.pi))
                    for _ in range(24)]
            for level in LEVELS
        }
        self.sample = [self.draw(generator) for _ in range(SAMPLE)]
        # The cliff stands where it cuts off the share of configurations that diverges in practice.
        heights = sorted((self.height(cell) for cell in self.sample), reverse=True)
        self.cliff = heights[round(DIVERGING * SAMPLE)]
        self.alive = [cell for cell in self.sample if not self.diverges(cell)]
        self.shared = {level: self.shared_with_final(level) for level in LEVELS[:-1]}
        self.blur = self.calibrated()
        self.worst = max(self.final(cell) for cell in self.alive)

    def unit(self, cell: Cell) -> list[float]:
        """Coordinates of about -1 to 1."""
        named = self.hyperparameters(cell)
        units = []
        for parameter in self.parameters:
            low, high, value = parameter.low, parameter.high, named[parameter.name]
            if parameter.log:
                low, high, value = math.log(low), math.log(high), math.log(value)
            units.append(2 * (value - low) / (high - low) - 1)
        return units

    def height(self, cell: Cell) -> float:
        """Decades of learning rate above the optimum for the batch and the rank."""
        named = self.hyperparameters(cell)
        best = self.law.optimum + BATCH_EXPONENT * math.log10(named["effective_batch_size"] / 16)
        best -= 0.15 * math.log10(named.get("lora_rank", 16) / 16)
        # Without warm-up the same rate is as bad as one somewhat higher.
        return math.log10(named["learning_rate"]) - best + 0.25 * max(0.0, 0.04 - named.get("warmup_fraction", 0.06)) / 0.04

    def diverges(self, cell: Cell) -> bool:
        return self.height(cell) > self.cliff

    def loss(self, cell: Cell, level: float) -> float:
        """Of a run without noise."""
        law, named = self.law, self.hyperparameters(cell)
        height = self.height(cell)
        width = law.width * (0.8 if height > 0 else 1.0)
        best_batch = law.batch + law.batch_drift * math.log2(level)
        excess = 0.25 * (height / width) ** 2 + 0.02 * (math.log2(named["effective_batch_size"]) - best_batch) ** 2
        excess += 0.03 * math.log2(16 / named.get("lora_rank", 16)) ** 2 * (named.get("lora_rank", 16) < 16)
        excess += 0.02 * math.log10(named.get("weight_decay", 0.01) / 0.02) ** 2
        # Far off, nothing is learnt: the loss ends at the base model's, somewhat above it for rates too high.
        ceiling = 1.0 if height < 0 else 1.6
        reached = excess / (1.0 + excess / ceiling)
        progress = law.depth * 0.5 * (level**-0.25 - 1.0) * (1.0 - min(reached, 1.0))
        # The waves of the last level are the landscape's own; they fade where nothing is learnt.
        rough = law.depth * ROUGHNESS * self.wave(cell, FULL) * (1.0 - min(reached, 1.0) / 2)
        return law.floor + law.depth * reached + progress + rough

    def final(self, cell: Cell) -> float:
        return self.loss(cell, FULL)

    def wiggle(self, cell: Cell, level: float) -> float:
        """About a standard normal over the space, smooth, another one at each level."""
        if level == FULL:
            return 0.0
        slope, mean = self.shared[level]
        return self.wave(cell, level) - slope * (self.final(cell) - mean)

    def wave(self, cell: Cell, level: float) -> float:
        """A sum of cosines over the space."""
        units, waves = self.unit(cell), self.waves[level]
        total = sum(math.cos(sum(a * u for a, u in zip(slopes, units)) + phase) for slopes, phase in waves)
        return total * math.sqrt(2.0 / len(waves))

    def shared_with_final(self, level: float) -> tuple[float, float]:
        """The line that the waves follow by chance; without it, stronger wiggles always mean less agreement."""
        finals = [self.final(cell) for cell in self.alive]
        fit = statistics.linear_regression(finals, [self.wave(cell, level) for cell in self.alive])
        return fit.slope, statistics.fmean(finals)

    def calibrated(self) -> dict[float, float]:
        """How strong the wiggles are at each level, so that the ranks agree as much as they do in practice."""
        finals = [self.final(cell) for cell in self.alive]
        found = {}
        for level, wanted in RANKS.items():
            clean = [self.loss(cell, level) for cell in self.alive]
            wiggles = [self.wiggle(cell, level) for cell in self.alive]
            low, high = 0.0, 4.0 * self.law.depth
            for _ in range(30):
                middle = (low + high) / 2
                blurred = [value + middle * wiggle for value, wiggle in zip(clean, wiggles)]
                low, high = (middle, high) if spearman(blurred, finals) > wanted else (low, middle)
            found[level] = low
        # Above 1/8 the disagreement halves with each doubling.
        return found | {0.25: found[0.125] / 2, 0.5: found[0.125] / 4, 1.0: 0.0}

    def run(self, cell: Cell, seed: int) -> list[Observation]:
        generator = random.Random(repr((self.name, self.seed, cell, seed)))
        stops = self.diverges(cell)
        end = generator.choice((0.03, 0.05, 0.1, 0.2)) if stops else math.inf
        observations = []
        for level in self.levels:
            if end < level:
                return [*observations, Observation(level, None, end)]
            noise = self.law.noise * (1.0 + 2.0 * (1.0 - level)) * generator.gauss(0.0, 1.0)
            value = self.loss(cell, level) + self.blur[level] * self.wiggle(cell, level) + noise
            observations.append(Observation(level, value, level))
        return observations

    def truth(self, cell: Cell) -> float | None:
        return None if self.diverges(cell) else self.final(cell)

    @cached_property
    def anchors(self) -> tuple[float, float]:
        _, median = anchors_of([self.truth(cell) for cell in self.sample])
        generator = random.Random(self.seed)
        best = min(self.alive, key=self.final)
        # The best of the sample, and downhill from it in ever smaller steps.
        for turn in range(3000):
            trial = self.near(best, 0.3 * (1 - turn / 3000), generator)
            if not self.diverges(trial) and self.final(trial) < self.final(best):
                best = trial
        return self.final(best), median

    def near(self, cell: Cell, reach: float, generator: random.Random) -> Cell:
        """A configuration near another one."""
        moved = []
        for parameter, value in zip(self.parameters, cell):
            if parameter.is_range:
                scale = math.log(parameter.high / parameter.low) if parameter.log else parameter.high - parameter.low
                step = generator.gauss(0.0, reach / 2) * scale
                moved.append(parameter.nearest(value * math.exp(step) if parameter.log else value + step))
            else:
                moved.append(generator.choice(parameter.values) if generator.random() < 0.3 else value)
        return tuple(moved)


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation."""

    def ranks(values: list[float]) -> list[float]:
        order = sorted(range(len(values)), key=values.__getitem__)
        out = [0.0] * len(values)
        for rank, at in enumerate(order):
            out[at] = float(rank)
        return out

    return statistics.correlation(ranks(a), ranks(b))


EXTRAS = {
    "lora_rank": Parameter.ladder("lora_rank", (4, 8, 16, 32, 64, 128)),
    "warmup_fraction": Parameter("warmup_fraction", (), 0.0, 0.2),
    "weight_decay": Parameter("weight_decay", (), 1e-3, 0.3, log=True),
}
SHAPES = (
    ("full", ()), ("full", ("warmup_fraction",)), ("full", ("warmup_fraction", "weight_decay")),
    ("lora", ("lora_rank",)), ("lora", ("lora_rank", "warmup_fraction")),
    ("lora", ("lora_rank", "warmup_fraction", "weight_decay")),
)


def offsets(seed: int) -> list[float]:
    """Where the optima lie around the textbook, in decades: the normal distribution in equal parts, in random order."""
    normal, count = statistics.NormalDist(0.0, SPREAD_DECADES), len(SHAPES)
    found = [normal.inv_cdf((at + 0.5) / count) for at in range(count)]
    random.Random(seed).shuffle(found)
    return found


NAMES = {f"{purpose}-{number}-{method}": (method, seed, extras, offset)
         for purpose, seed in (("tuning", 101), ("reporting", 202))
         for number, ((method, extras), offset) in enumerate(zip(SHAPES, offsets(seed)), start=1)}


class Lazy(dict):
    """Tasks by name, made when first asked for."""

    def __missing__(self, name: str) -> Emulator:
        self[name] = Emulator(name, *NAMES[name])
        return self[name]

    def __iter__(self):
        return iter(NAMES)


TASKS = Lazy()
