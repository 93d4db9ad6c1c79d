"""Memory and time by micro-batch size, as `memory_curves` measured them, and cases drawn on them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Curve:
    """One way to train; position 0 of each list is size 1."""

    name: str
    peaks: list[int]
    """Most bytes alive in any phase of training; an evaluation's batch is a separate question."""
    step_seconds: list[float]
    probe_seconds: list[float]
    """A probe of ours: model and data read, two steps, an evaluation, a checkpoint."""

    @property
    def largest(self) -> int:
        """The largest size that was measured."""
        return len(self.peaks)

    def fits(self, size: int, cap: int) -> bool:
        """Whether a size stays within the cap; sizes that were not measured are above every cap drawn."""
        return size <= self.largest and self.peaks[size - 1] <= cap

    def true_maximum(self, cap: int) -> int:
        """The largest size that fits."""
        return max(size for size in range(1, self.largest + 1) if self.fits(size, cap))

    def step(self, size: int) -> float:
        """Seconds of an optimizer step; beyond what was measured in proportion to the size."""
        return self.step_seconds[min(size, self.largest) - 1] * max(1.0, size / self.largest)

    def probe(self, size: int) -> float:
        """Seconds of a probe of ours."""
        return self.probe_seconds[min(size, self.largest) - 1]


@dataclass(frozen=True)
class Case:
    """A curve under a cap."""

    curve: Curve
    cap: int

    @property
    def truth(self) -> int:
        """The largest size that fits."""
        return self.curve.true_maximum(self.cap)


def read(path: Path) -> list[Curve]:
    """The curves of a file that `memory_curves` wrote."""
    curves = json.loads(path.read_text())["curves"]
    return [
        Curve(
            name=curve["name"],
            peaks=[max(at) for at in zip(*(of for phase, of in curve["measured"].items() if phase != "evaluate"))],
            step_seconds=curve["step_seconds"],
            probe_seconds=curve["probe_seconds"],
        )
        for curve in curves
    ]


def draw(curves: list[Curve], count: int, seed: int) -> list[Case]:
    """So many cases, as many on each curve; caps lie anywhere between the peaks of the smallest and largest size."""
    generator = random.Random(seed)
    turns = [curves[turn % len(curves)] for turn in range(count)]
    return [Case(curve, generator.randrange(min(curve.peaks), max(curve.peaks))) for curve in turns]
