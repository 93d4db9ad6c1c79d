"""`diapason suggest` as a child process: the sampler over JSON lines (README, "suggest")."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from simulate import SLACK, Job
from tables import Cell, Facts, Observation, Parameter, Table

PRIORS = ("on", "off", "wrong")


class SuggestError(RuntimeError):
    """The child answered with an error, or not at all."""


@dataclass(frozen=True)
class Mode:
    """How ours is started."""

    prior: str = "on"
    """on: it is told the facts of the task; off: none; wrong: false ones."""
    ablate: str = ""
    """A part that is left out: prior, cost, interleave, forecast."""
    ladders: str = "choices"
    """choices: a ladder of numbers is sent as its values; range: as a range, and what comes back is the nearest cell."""


def described(parameter: Parameter, ladders: str) -> dict:
    """A hyperparameter in the protocol's words."""
    if parameter.is_categorical or (ladders == "choices" and not parameter.is_range):
        return {"type": "categorical", "choices": list(parameter.values)}
    kind = "int" if parameter.integer else "float"
    return {"type": kind, "low": parameter.low, "high": parameter.high, "log": parameter.log}


def context_of(facts: Facts | None, prior: str) -> dict:
    """The facts of a task in the protocol's words; none, or false ones: the other way to train, a thousand times the model."""
    if prior == "off" or (facts is None and prior == "on"):
        return {}
    if facts is None:
        # A table that is no fine-tuning at all, called one.
        return {"method": "lora", "model_parameters": 10**9, "training_tokens": 10**6, "lora_rank": 16}
    told = facts
    if prior == "wrong":
        is_lora = facts.method == "lora"
        told = Facts("full" if is_lora else "lora", 1000 * facts.parameters, facts.tokens, None if is_lora else 16)
    context = {"method": told.method, "model_parameters": int(told.parameters),
               "training_tokens": int(told.tokens)}
    return context | ({"lora_rank": told.lora_rank} if told.lora_rank else {})


def opening(table: Table, seed: int, default: Cell | None, mode: Mode) -> dict:
    """The first line of the conversation."""
    first = {
        "op": "init", "direction": table.direction, "seed": seed,
        "space": {parameter.name: described(parameter, mode.ladders) for parameter in table.parameters},
        "fidelity": {"levels": list(table.levels), "resume": True},
        "context": context_of(table.facts, mode.prior),
    }
    if default is not None:
        first["suggest_first"] = [table.hyperparameters(default)]
    if mode.ablate:
        first["ablate"] = [mode.ablate]
    return first


class Conversation:
    """One child, one line for one line; an error ends the benchmark."""

    def __init__(self, command: list[str]) -> None:
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(self, message: dict) -> dict:
        line = json.dumps(message)
        try:
            self.child.stdin.write(line + "\n")
            self.child.stdin.flush()
            answer = self.child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SuggestError(f"no answer to {line}: exit code {self.child.wait()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise SuggestError(f"{answer['error']} (in answer to {line})")
        return answer

    def close(self) -> None:
        """Ends the child by the end of its input."""
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.wait(timeout=60)
        self.child.stdout.close()


class Ours:
    """A conversation as a search."""

    def __init__(self, command: list[str], table: Table, seed: int, default: Cell | None, mode: Mode) -> None:
        self.table, self.talk = table, Conversation(command)
        try:
            self.talk.say(opening(table, seed, default, mode))
        except SuggestError:
            self.talk.close()
            raise
        self.told: dict[int, float] = {}
        """Level up to which each trial was told."""
        self.points: dict[int, list[Observation]] = {}
        self.finished = False

    def ask(self) -> Job | None:
        if self.finished:
            return None
        answer = self.talk.say({"op": "ask"})
        if answer.get("finished") or answer.get("wait"):
            self.finished = bool(answer.get("finished"))
            return None
        trial, until = answer["id"], answer["until_fidelity"]
        if until <= self.told.get(trial, 0.0) + SLACK:
            raise SuggestError(f"trial {trial} is to go to {until}, where it has been: {answer}")
        self.points[trial] = []
        return Job(self.table.cell(answer["hyperparameters"]), until, trial)

    def report(self, job: Job, seen: Observation) -> bool:
        if seen.level > self.told.get(job.handle, 0.0) + SLACK:
            self.points[job.handle].append(seen)
        return True

    def finish(self, job: Job) -> None:
        points = self.points.pop(job.handle)
        values = [[seen.level, seen.value] for seen in points if seen.value is not None]
        diverged = any(seen.value is None for seen in points)
        top = self.table.levels[-1]
        reached = max((level for level, _ in values), default=0.0)
        outcome = "diverged" if diverged else "completed" if reached >= top - SLACK else "running"
        self.talk.say({"op": "tell", "id": job.handle, "points": values, "outcome": outcome})
        self.told[job.handle] = max(reached, self.told.get(job.handle, 0.0))

    def close(self) -> None:
        self.talk.close()


def command(executable: Path) -> list[str]:
    """How the sampler is started."""
    return [str(executable), "suggest"]
