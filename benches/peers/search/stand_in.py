"""A stand-in for `diapason suggest`, for the tests of its driver only: random points, halving by two where it promotes.

    python3 stand_in.py [--error-at N] [--finish-at N]
"""

from __future__ import annotations

import json
import random
import sys


class StandIn:
    """The protocol with no brain."""

    def __init__(self) -> None:
        self.opening: dict = {}
        self.trials: dict[int, dict] = {}
        self.values: dict[int, float] = {}
        self.promoted: set[int] = set()

    def answer(self, message: dict) -> dict:
        return getattr(self, message["op"])(message)

    def init(self, message: dict) -> dict:
        self.opening, self.generator = message, random.Random(message["seed"])
        self.first = list(message.get("suggest_first", []))
        return {"ok": True}

    def ask(self, _: dict) -> dict:
        levels = self.opening["fidelity"]["levels"]
        ready = sorted(set(self.values) - self.promoted, key=self.values.__getitem__)
        if len(levels) > 1 and len(ready) >= 2:
            trial = ready[0]
            self.promoted.add(trial)
            return {"id": trial, "hyperparameters": self.trials[trial], "until_fidelity": levels[-1]}
        trial = len(self.trials)
        self.trials[trial] = self.first.pop(0) if self.first else {name: self.draw(how) for name, how in self.opening["space"].items()}
        return {"id": trial, "hyperparameters": self.trials[trial], "until_fidelity": levels[0]}

    def draw(self, how: dict):
        if how["type"] == "categorical":
            return self.generator.choice(how["choices"])
        return self.generator.uniform(how["low"], how["high"])

    def tell(self, message: dict) -> dict:
        if message["outcome"] == "running":
            self.values[message["id"]] = message["points"][-1][1]
        return {"ok": True}


def main() -> None:
    limits = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
    stand_in = StandIn()
    for number, line in enumerate(sys.stdin):
        answer = stand_in.answer(json.loads(line))
        if number == limits.get("--error-at"):
            answer = {"error": "no such trial"}
        if number == limits.get("--finish-at"):
            answer = {"finished": True, "reason": "exhausted"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
