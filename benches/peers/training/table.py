"""From measured values to the table for people and the JSON object for programs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One metric of one row: the values of both sides, in the order measured."""

    row: str
    metric: str
    unit: str
    better: str
    """`higher` or `lower`."""
    ours: list[float]
    peer: list[float]

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the peer's; None where the peer's is 0."""
        peer = statistics.median(self.peer)
        return statistics.median(self.ours) / peer if peer else None

    @property
    def n(self) -> int:
        """Measurements per side."""
        return min(len(self.ours), len(self.peer))

    def as_json(self) -> dict[str, Any]:
        """The figure as a row of the JSON object; `ratio` is null where the peer's value is 0."""
        return {
            "row": self.row,
            "metric": self.metric,
            "unit": self.unit,
            "ours": rounded(statistics.median(self.ours)),
            "peer": rounded(statistics.median(self.peer)),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "better": self.better,
            "n": self.n,
            "ours_spread": [rounded(min(self.ours)), rounded(max(self.ours))],
            "peer_spread": [rounded(min(self.peer)), rounded(max(self.peer))],
        }

    def cells(self) -> list[str]:
        """The figure as cells of the Markdown table."""
        arrow = "↑" if self.better == "higher" else "↓"
        unit = f", {self.unit}" if self.unit else ""
        return [self.row, f"{self.metric}{unit} {arrow}", with_spread(self.ours), with_spread(self.peer),
                ratio_cell(self), str(self.n)]


def rounded(value: float) -> float:
    """Tenths are finer than any spread here; whole numbers stay whole."""
    return value if isinstance(value, int) else round(value, 1)


def with_spread(values: list[float]) -> str:
    """The median, and the range where there is one."""
    middle = f"{statistics.median(values):,.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.0f}–{max(values):,.0f})"


def ratio_cell(figure: Figure) -> str:
    """The ratio in bold where ours is the better side."""
    if figure.ratio is None:
        return "**∞**" if statistics.median(figure.ours) > 0 and figure.better == "higher" else "–"
    ahead = figure.ratio > 1 if figure.better == "higher" else figure.ratio < 1
    text = f"{figure.ratio:.2f}×"
    return f"**{text}**" if ahead else text


def markdown(figures: list[Figure]) -> str:
    """The table, one line a figure."""
    head = ["row", "metric", "ours (min–max)", "PyTorch (min–max)", "ours / PyTorch", "n"]
    lines = [head, ["---", "---", "--:", "--:", "--:", "--:"], *(figure.cells() for figure in figures)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
