"""From regret curves to figures: means and bands, budgets to a regret, worst ratios, the speed-up of workers. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from simulate import regret_at

BUDGETS = (1, 2, 3, 5, 7, 10, 15, 20)
FROM = 5
"""Budgets from which on a search must not be worse than its best peer."""
STEP = 0.125
FLOOR = 0.01
"""Added to both sides of a single table's ratio: below it regrets are noise, and their ratio is no news."""
MEAN_FLOOR = 0.001
"""The same for means over tables; it also keeps a peer that found every best configuration from a ratio without a number."""

Curve = Sequence[tuple[float, float]]
Group = dict[str, list[Curve]]
"""The curves of a search, by table, one a seed."""


def grid(horizon: float, start: float = STEP) -> list[float]:
    """Times at which curves are compared."""
    return [start + at * STEP for at in range(round((horizon - start) / STEP) + 1)]


def mean_at(group: Group, time: float) -> float:
    """Mean over the seeds of a table, then over tables."""
    return statistics.fmean(statistics.fmean(regret_at(curve, time) for curve in curves) for curves in group.values())


def band_at(group: Group, time: float) -> tuple[float, float]:
    """10 % and 90 % of all single runs."""
    values = sorted(regret_at(curve, time) for curves in group.values() for curve in curves)
    return quantile(values, 0.1), quantile(values, 0.9)


def error_at(group: Group, time: float) -> float:
    """Standard error of the mean, by seeds: each table's runs are independent, tables are not drawn."""
    variances = [
        statistics.variance([regret_at(curve, time) for curve in curves]) / len(curves)
        for curves in group.values() if len(curves) > 1
    ]
    return math.sqrt(sum(variances)) / len(group)


def quantile(ranked: list[float], share: float) -> float:
    """Of ranked values, between neighbours in proportion."""
    at = share * (len(ranked) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (at - low) * (ranked[high] - ranked[low])


def budget_to(group: Group, regret: float, horizon: float) -> float | None:
    """The first budget from which on the mean regret is at most this; none within the horizon."""
    reached = None
    for time in grid(horizon):
        if mean_at(group, time) > regret + 1e-12:
            reached = None
        elif reached is None:
            reached = time
    return reached


@dataclass(frozen=True)
class Worst:
    """Where a search stands worst against its best peer."""

    ratio: float
    budget: float
    ours: float
    best: float
    peer: str


def worst_ratio(ours: Group, peers: dict[str, Group], floor: float = MEAN_FLOOR) -> Worst:
    """The largest ratio of our mean regret to that of the best peer at the same budget, from `FROM` on, both a floor higher."""
    found = []
    for budget in (budget for budget in BUDGETS if budget >= FROM):
        peer = min(peers, key=lambda name: mean_at(peers[name], budget))
        best, own = mean_at(peers[peer], budget), mean_at(ours, budget)
        found.append(Worst((own + floor) / (best + floor), budget, own + floor, best + floor, peer))
    return max(found, key=lambda worst: worst.ratio)


def speed_up(one: Group, several: Group, horizon: float, start: float) -> float | None:
    """Progress per wall-clock of several workers over one.

    At each time from `start` to `horizon` at which several have come further than before, the time one worker needs to
    reach the mean regret that they have then, over that time; the geometric mean of these. (While several stand still,
    their time goes on and nothing is reached: at the best configuration of a table that would count as slowness.)
    Times at which one worker never gets there within its own curve are left out at the end: with them the figure would
    be higher.
    """
    times = grid(max(time for curves in one.values() for curve in curves for time, _ in curve))
    # The best so far of the means: an incumbent that looked better and is not takes nothing back.
    means, low = [], math.inf
    for time in times:
        low = min(low, mean_at(one, time))
        means.append(low)
    logs, best = [], math.inf
    for time in grid(horizon):
        reached = mean_at(several, time)
        if reached >= best:
            continue
        best = reached
        if time < start:
            continue
        alone = next((at for at, regret in zip(times, means) if regret <= best + 1e-12), None)
        if alone is not None:
            logs.append(math.log(alone / time))
    return math.exp(statistics.fmean(logs)) if logs else None
