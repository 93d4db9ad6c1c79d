"""How long a sampler takes to answer when so many trials have been told: the median of single answers.

Trials come from one smooth function of five hyperparameters, full runs only. What is timed is one round of telling
a result and asking for the next trial, because either may be where a program thinks.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from pathlib import Path

from ours import Conversation, command

SIZES = (100, 1000, 10000)
GP_SIZES = (100, 300)
"""Optuna's Gaussian process takes seconds there; at a thousand trials a round would take minutes."""
ROUNDS = 11
SPACE = {
    "learning_rate": (1e-6, 1e-2, True), "effective_batch_size": (4, 128, True), "lora_rank": (4, 128, True),
    "warmup_fraction": (0.0, 0.2, False), "weight_decay": (1e-3, 0.3, True),
}


def draw(generator: random.Random) -> dict:
    """A configuration."""
    return {name: generator.uniform(low, high) if not log else math.exp(generator.uniform(math.log(low), math.log(high)))
            for name, (low, high, log) in SPACE.items()}


def value(point: dict, generator: random.Random) -> float:
    """A bowl with noise."""
    return (math.log10(point["learning_rate"] / 2e-4) ** 2 + 0.1 * math.log2(point["effective_batch_size"] / 16) ** 2
            + point["warmup_fraction"] + 0.01 * generator.gauss(0.0, 1.0))


def ours(executable: Path, size: int) -> tuple[float, float]:
    """Median seconds of a round of ours, and the peak of its memory in MiB."""
    generator = random.Random(size)
    points = [draw(generator) for _ in range(size)]
    space = {name: {"type": "float", "low": low, "high": high, "log": log} for name, (low, high, log) in SPACE.items()}
    talk = Conversation(command(executable))
    try:
        # What is suggested first is answered without thinking, so that the trials are there quickly.
        talk.say({"op": "init", "direction": "minimize", "seed": 1, "space": space, "suggest_first": points,
                  "fidelity": {"levels": [1.0], "resume": True}, "context": {"method": "lora"}})
        trial = talk.say({"op": "ask"})
        for _ in range(size - 1):
            trial = told_and_asked(talk, trial, generator)
        seconds = []
        # The first answer after all of them may build what later ones keep: it is no steady state.
        for turn in range(ROUNDS + 1):
            began = time.perf_counter()
            trial = told_and_asked(talk, trial, generator)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[1:]), peak_mebibytes(talk.child.pid)
    finally:
        talk.close()


def told_and_asked(talk: Conversation, trial: dict, generator: random.Random) -> dict:
    """One round."""
    loss = value(trial["hyperparameters"], generator)
    talk.say({"op": "tell", "id": trial["id"], "points": [[1.0, loss]], "outcome": "completed"})
    return talk.say({"op": "ask"})


def peak_mebibytes(process: int) -> float:
    """The most memory a process ever had resident; not a number where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), math.nan)


def optuna(kind: str, size: int) -> float:
    """Median seconds of a round of Optuna's."""
    import optuna as package

    package.logging.set_verbosity(package.logging.ERROR)
    if kind == "gp":
        sampler, rounds = package.samplers.GPSampler(seed=1), 5
    else:
        sampler, rounds = package.samplers.TPESampler(seed=1, multivariate=True), ROUNDS
    generator = random.Random(size)
    study = package.create_study(sampler=sampler)
    ranges = {name: package.distributions.FloatDistribution(low, high, log=log) for name, (low, high, log) in SPACE.items()}
    for _ in range(size):
        point = draw(generator)
        study.add_trial(package.trial.create_trial(params=point, distributions=ranges, value=value(point, generator)))

    def asked():
        return study.ask(ranges)

    trial, seconds = asked(), []
    for _ in range(rounds):
        began = time.perf_counter()
        study.tell(trial, value(trial.params, generator))
        trial = asked()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
