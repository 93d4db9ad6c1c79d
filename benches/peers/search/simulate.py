"""Runs a search on a table under a clock, and meters it: the same for every program.

The clock counts full runs: a run from level a to level b takes b - a. A run of a configuration that was run before to
a lower level goes on from there and costs the difference only, whether or not the program knows of checkpoints;
one that reached its end (or the level asked for) starts again from nothing, with the next stored seed where the
table has several. A run that diverges costs what it had done by then.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Protocol

from tables import MOST_REGRET, Cell, Observation, Table

SLACK = 1e-9


@dataclass
class Job:
    """What a search wants run."""

    cell: Cell
    until: float
    """Level at which it wants to hear; levels on the way are reported too."""
    handle: object = None
    """The search's own name of it."""


class Search(Protocol):
    """A program under comparison."""

    def ask(self) -> Job | None:
        """The next run; None: nothing before another one has ended."""

    def report(self, job: Job, seen: Observation) -> bool:
        """What the run says at a level; False stops it there."""

    def finish(self, job: Job) -> None:
        """The run has reached its level, was stopped, or diverged."""

    def close(self) -> None:
        """Nothing more is asked."""


@dataclass(frozen=True)
class Seen:
    """An observation, when and of what."""

    time: float
    cell: Cell
    level: float
    value: float | None


@dataclass
class Run:
    """One run of a configuration."""

    observations: list[Observation]
    reached: int = 0
    """So many of them are paid for."""
    busy: bool = False

    @property
    def position(self) -> float:
        return self.observations[self.reached - 1].cost if self.reached else 0.0

    def can_go_to(self, level: float) -> bool:
        """Whether it can go on, and its last word is below the level."""
        if self.busy or self.reached == len(self.observations):
            return False
        return not self.reached or self.observations[self.reached - 1].level < level - SLACK


@dataclass
class Bench:
    """The runs that were begun on a table."""

    table: Table
    seed: int
    runs: dict[Cell, list[Run]] = field(default_factory=dict)

    def open(self, job: Job) -> Run:
        """The furthest run that can go on to the job's level, or a new one."""
        begun = self.runs.setdefault(job.cell, [])
        able = [run for run in begun if run.can_go_to(job.until)]
        if able:
            run = max(able, key=lambda run: run.reached)
        else:
            run = Run(self.table.run(job.cell, self.seed + len(begun)))
            begun.append(run)
        run.busy = True
        return run


def simulate(search: Search, table: Table, seed: int, horizon: float, workers: int = 1, timed: bool = False) -> list[Seen]:
    """Everything the search sees up to the horizon. With `timed`, a full run takes what the table says."""
    bench, log, order = Bench(table, seed), [], itertools.count()
    queue: list[tuple] = []
    idle, now = workers, 0.0
    try:
        while True:
            while idle and (job := search.ask()) is not None:
                idle -= 1
                run = bench.open(job)
                pace = table.seconds(job.cell) if timed else 1.0
                # What a run that goes on has said before costs nothing to say again.
                if not all(search.report(job, seen) for seen in run.observations[: run.reached]):
                    run.busy, idle = False, idle + 1
                    search.finish(job)
                    continue
                push(queue, order, now, job, run, pace)
            if not queue:
                return log
            now, _, job, run, pace = heapq.heappop(queue)
            if now > horizon + SLACK:
                return log
            seen = run.observations[run.reached]
            run.reached += 1
            log.append(Seen(now, job.cell, seen.level, seen.value))
            goes_on = search.report(job, seen)
            if seen.value is None or seen.level >= job.until - SLACK or not goes_on:
                run.busy, idle = False, idle + 1
                search.finish(job)
            else:
                push(queue, order, now, job, run, pace)
    finally:
        search.close()


def push(queue: list, order, now: float, job: Job, run: Run, pace: float) -> None:
    """When the run says its next word."""
    step = run.observations[run.reached].cost - run.position
    heapq.heappush(queue, (now + step * pace, next(order), job, run, pace))


def incumbents(log: list[Seen], table: Table) -> list[tuple[float, Cell]]:
    """Which configuration a user would take, and from when.

    One rule for every program: the best value seen at the highest level at which anything finite was seen.
    """
    found, best_level, best_value = [], 0.0, 0.0
    for seen in log:
        if seen.value is None or seen.level < best_level - SLACK:
            continue
        value = table.sign * seen.value
        if seen.level > best_level + SLACK or value < best_value:
            best_level, best_value = seen.level, value
            if not found or found[-1][1] != seen.cell:
                found.append((seen.time, seen.cell))
    return found


def regret_curve(log: list[Seen], table: Table) -> list[tuple[float, float]]:
    """The true regret of the incumbent as steps: (from when, regret)."""
    return [(time, table.regret(cell)) for time, cell in incumbents(log, table)]


def regret_at(curve: list[tuple[float, float]], time: float) -> float:
    """The regret at a time; of no incumbent at all, the most there is."""
    value = MOST_REGRET
    for since, regret in curve:
        if since > time + SLACK:
            break
        value = regret
    return value
