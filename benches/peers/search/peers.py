"""The other programs, each asked and told in its own words.

Ladders of numbers are whole-number indices to them, as their users would write it, names are categories, ranges are
ranges. Of a run that diverged each is told the table's worst finite value, which its user could not know: ignoring
such runs, as some do by default, would only slow them down.
"""

from __future__ import annotations

import inspect
import logging
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from simulate import SLACK, Job
from tables import Cell, Observation, Table

FULL = 1.0


def told(table: Table, seen: Observation) -> float:
    """The value a program is told."""
    return table.worst if seen.value is None else seen.value


def index_of(parameter, value) -> int:
    """Position of a value on a ladder."""
    return parameter.values.index(value)


class Random:
    """Full runs of configurations drawn at random."""

    def __init__(self, table: Table, seed: int, default: Cell | None) -> None:
        self.table, self.generator, self.first = table, random.Random(seed), default

    def ask(self) -> Job:
        cell, self.first = self.first or self.table.draw(self.generator), None
        return Job(cell, FULL)

    def report(self, job: Job, seen: Observation) -> bool:
        return True

    def finish(self, job: Job) -> None:
        pass

    def close(self) -> None:
        pass


class Asha:
    """Asynchronous successive halving (Li et al. 2020) over random configurations, written here: promote the best
    third of a rung that was not promoted yet, else begin a new one at the lowest level."""

    reduction = 4

    def __init__(self, table: Table, seed: int, default: Cell | None) -> None:
        self.table, self.generator, self.first = table, random.Random(seed), default
        self.rungs = rungs_of(table.levels, self.reduction)
        self.values: list[dict[int, float]] = [{} for _ in self.rungs]
        self.promoted: list[set[int]] = [set() for _ in self.rungs]
        self.cells: list[Cell] = []

    def ask(self) -> Job:
        for rung in reversed(range(len(self.rungs) - 1)):
            ranked = sorted(self.values[rung], key=self.values[rung].__getitem__)
            for number in ranked[: len(ranked) // self.reduction]:
                if number not in self.promoted[rung]:
                    self.promoted[rung].add(number)
                    return Job(self.cells[number], self.rungs[rung + 1], (number, rung + 1))
        if self.first is not None:
            # The default is worth a full run at once.
            cell, self.first = self.first, None
            self.cells.append(cell)
            return Job(cell, FULL, (len(self.cells) - 1, len(self.rungs) - 1))
        self.cells.append(self.table.draw(self.generator))
        return Job(self.cells[-1], self.rungs[0], (len(self.cells) - 1, 0))

    def report(self, job: Job, seen: Observation) -> bool:
        number, _ = job.handle
        value = self.table.sign * seen.value if seen.value is not None else float("inf")
        for rung, level in enumerate(self.rungs):
            if abs(level - seen.level) < SLACK and value < float("inf"):
                self.values[rung][number] = value
        return True

    def finish(self, job: Job) -> None:
        pass

    def close(self) -> None:
        pass


def rungs_of(levels: tuple[float, ...], reduction: int) -> list[float]:
    """Levels a factor apart, from the top down."""
    rungs = [levels[-1]]
    for level in reversed(levels[:-1]):
        if level * reduction <= rungs[0] + SLACK:
            rungs.insert(0, level)
    return rungs


class Optuna:
    """A study of Optuna; with a pruner it hears of every level, else of full runs."""

    def __init__(self, table: Table, seed: int, default: Cell | None, sampler: Callable,
                 pruner: Callable | None = None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self.optuna, self.table, self.prunes = optuna, table, pruner is not None and len(table.levels) > 1
        self.study = optuna.create_study(
            direction=table.direction, sampler=sampler(optuna, seed),
            pruner=pruner(optuna) if self.prunes else optuna.pruners.NopPruner(),
        )
        self.last: dict[int, Observation] = {}
        if default is not None:
            self.study.enqueue_trial({
                parameter.name: value if parameter.is_range or parameter.is_categorical else index_of(parameter, value)
                for parameter, value in zip(table.parameters, default)
            })

    def ask(self) -> Job:
        trial = self.study.ask()
        return Job(tuple(self.suggest(trial, parameter) for parameter in self.table.parameters), FULL, trial)

    @staticmethod
    def suggest(trial, parameter):
        if parameter.is_categorical:
            return trial.suggest_categorical(parameter.name, list(parameter.values))
        if parameter.is_range:
            return trial.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log)
        return parameter.values[trial.suggest_int(parameter.name, 0, len(parameter.values) - 1)]

    def report(self, job: Job, seen: Observation) -> bool:
        self.last[job.handle.number] = seen
        if not self.prunes:
            return True
        job.handle.report(told(self.table, seen), steps_of(self.table, seen.level))
        return not job.handle.should_prune() or seen.level >= FULL - SLACK

    def finish(self, job: Job) -> None:
        seen = self.last.pop(job.handle.number)
        if self.prunes and seen.level < FULL - SLACK:
            self.study.tell(job.handle, state=self.optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(job.handle, told(self.table, seen))

    def close(self) -> None:
        pass


def steps_of(table: Table, level: float) -> int:
    """A level as a whole number of the smallest one."""
    return round(level / table.levels[0])


def tpe(optuna, seed: int):
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def gp(optuna, seed: int):
    import torch

    torch.set_num_threads(1)
    return optuna.samplers.GPSampler(seed=seed)


def hyperband(reduction: int) -> Callable:
    return lambda optuna: optuna.pruners.HyperbandPruner(min_resource=1, max_resource="auto", reduction_factor=reduction)


def config_space(table: Table, seed: int):
    """The space in ConfigSpace's words, for SMAC and DEHB."""
    import ConfigSpace as cs

    space = cs.ConfigurationSpace(seed=seed)
    for parameter in table.parameters:
        if parameter.is_categorical:
            space.add(cs.CategoricalHyperparameter(parameter.name, list(parameter.values)))
        elif parameter.is_range:
            space.add(cs.UniformFloatHyperparameter(parameter.name, parameter.low, parameter.high, log=parameter.log))
        else:
            space.add(cs.UniformIntegerHyperparameter(parameter.name, 0, len(parameter.values) - 1))
    return space


def cell_of(table: Table, configuration) -> Cell:
    """What a ConfigSpace configuration stands for."""
    return tuple(
        configuration[parameter.name] if parameter.is_range
        else str(configuration[parameter.name]) if parameter.is_categorical
        else parameter.values[int(configuration[parameter.name])]
        for parameter in table.parameters
    )


def configuration_of(table: Table, space, cell: Cell):
    """The ConfigSpace configuration that stands for a cell."""
    import ConfigSpace as cs

    return cs.Configuration(space, values={
        parameter.name: value if parameter.is_range or parameter.is_categorical else index_of(parameter, value)
        for parameter, value in zip(table.parameters, cell)
    })


class Smac:
    """SMAC's multi-fidelity facade by ask and tell; on one level its facade for hyperparameters."""

    trials = 100
    """What it is told it may try: it sets the size of its first, random part."""

    def __init__(self, table: Table, seed: int, default: Cell | None, reduction: int = 4) -> None:
        import smac
        from smac.initial_design import RandomInitialDesign, SobolInitialDesign

        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        self.table, self.folder = table, tempfile.TemporaryDirectory()
        space = config_space(table, seed)
        first = [] if default is None else [configuration_of(table, space, default)]
        several = len(table.levels) > 1
        budgets = {"min_budget": rungs_of(table.levels, reduction)[0], "max_budget": FULL} if several else {}
        scenario = smac.Scenario(space, deterministic=True, n_trials=self.trials if several else 20, seed=seed,
                                 output_directory=self.folder.name, **budgets)
        facade = smac.MultiFidelityFacade if several else smac.HyperparameterOptimizationFacade
        design = RandomInitialDesign if several else SobolInitialDesign
        extra = {"intensifier": facade.get_intensifier(scenario, eta=reduction)} if several else {}
        self.facade = facade(
            scenario, lambda config, seed=0, budget=0: 0.0, overwrite=True, logging_level=False,
            initial_design=design(scenario, additional_configs=first), **extra,
        )

    def ask(self) -> Job | None:
        from joblib import parallel_config
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        # Its forest asks for twelve threads, which only wait for each other; the trees are the same without.
        try:
            with parallel_config("sequential"):
                info = self.facade.ask()
        except ConfigurationSpaceExhaustedException:
            # It finds nothing new on a small table, and ends: what it has by then stays.
            return None
        level = FULL if info.budget is None else min(self.table.levels, key=lambda level: abs(level - info.budget))
        return Job(cell_of(self.table, info.config), level, (info, []))

    def report(self, job: Job, seen: Observation) -> bool:
        job.handle[1].append(seen)
        return True

    def finish(self, job: Job) -> None:
        from smac.runhistory.dataclasses import TrialValue

        info, seen = job.handle
        self.facade.tell(info, TrialValue(cost=self.table.sign * told(self.table, seen[-1])), save=False)

    def close(self) -> None:
        self.folder.cleanup()


class Dehb:
    """DEHB by ask and tell; it needs more than one level."""

    def __init__(self, table: Table, seed: int, default: Cell | None, reduction: int = 2) -> None:
        import dehb
        from loguru import logger

        logger.remove()
        warnings.simplefilter("ignore")
        self.table, self.first, self.folder = table, default, tempfile.TemporaryDirectory()
        space = config_space(table, seed)
        self.dehb = dehb.DEHB(
            cs=space, f=lambda *_, **__: {}, dimensions=len(table.parameters), eta=reduction, n_workers=1, seed=seed,
            min_fidelity=rungs_of(table.levels, reduction)[0], max_fidelity=FULL, output_path=self.folder.name,
            save_freq=None, log_level="ERROR",
        )

    def ask(self) -> Job:
        if self.first is not None:
            # It has no way to be given a configuration: the default is run beside it, in full.
            cell, self.first = self.first, None
            return Job(cell, FULL, (None, []))
        info = self.dehb.ask()
        level = min(self.table.levels, key=lambda level: abs(level - info["fidelity"]))
        return Job(cell_of(self.table, info["config"]), level, (info, []))

    def report(self, job: Job, seen: Observation) -> bool:
        job.handle[1].append(seen)
        return True

    def finish(self, job: Job) -> None:
        info, seen = job.handle
        if info is not None:
            self.dehb.tell(info, {"fitness": self.table.sign * told(self.table, seen[-1]), "cost": seen[-1].cost})

    def close(self) -> None:
        self.folder.cleanup()


@dataclass(frozen=True)
class Peer:
    """Another program."""

    name: str
    what: str
    make: Callable = field(repr=False)
    """(table, seed, default) to a search."""
    packages: tuple[str, ...] = ()
    levels: int = 1
    """It runs on tables of at least so many."""

    @cached_property
    def code(self) -> str:
        """The text of its driver: another one makes other curves."""
        parts = [DRIVERS[self.name], *COMMON[self.name]]
        return "".join(inspect.getsource(part) for part in parts)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("random", "full runs at random, written here", Random),
        Peer("asha", f"asynchronous halving by {Asha.reduction} over random configurations, written here", Asha, levels=2),
        Peer("optuna-tpe", "TPESampler(multivariate=True), full runs",
             lambda table, seed, default: Optuna(table, seed, default, tpe), ("optuna",)),
        Peer("optuna-tpe-hyperband", "the same with HyperbandPruner",
             lambda table, seed, default: Optuna(table, seed, default, tpe, hyperband(3)), ("optuna",), levels=2),
        Peer("optuna-gp", "GPSampler, full runs", lambda table, seed, default: Optuna(table, seed, default, gp),
             ("optuna", "torch")),
        Peer("smac", "multi-fidelity facade (Hyperband, random forest); on one level its facade for hyperparameters",
             Smac, ("smac", "scikit-learn")),
        Peer("dehb", "differential evolution with Hyperband", Dehb, ("DEHB",), levels=2),
    )
}
DRIVERS = {
    "random": Random, "asha": Asha, "optuna-tpe": Optuna, "optuna-tpe-hyperband": Optuna, "optuna-gp": Optuna, "smac": Smac,
    "dehb": Dehb,
}
COMMON = {
    "random": (), "asha": (rungs_of,),
    "optuna-tpe": (told, tpe), "optuna-tpe-hyperband": (told, steps_of, tpe, hyperband), "optuna-gp": (told, gp),
    "smac": (told, rungs_of, config_space, cell_of), "dehb": (told, rungs_of, config_space, cell_of),
}
