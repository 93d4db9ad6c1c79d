"""Optuna's side of `store.sh`: one task a process, which prints its seconds as JSON.

Only the task is timed, not the import. `--journal` sets SQLite as the other side has it (a write-ahead log) or leaves
it as Optuna has it (a rollback journal); `--sync` is SQLite's `synchronous`.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from datetime import datetime

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import Engine

optuna.logging.set_verbosity(optuna.logging.WARNING)
NAME = "study"
OTHER = "+ t.number % 97 / 97.0"
"""What makes one trial's values differ from another's."""
COPIED = {
    "trial_params": {"param_name": "param_name", "param_value": "param_value", "distribution_json": "distribution_json"},
    "trial_values": {"objective": "objective", "value": f"value {OTHER}", "value_type": "value_type"},
    "trial_intermediate_values": {
        "step": "step", "intermediate_value": f"intermediate_value {OTHER}",
        "intermediate_value_type": "intermediate_value_type",
    },
}
"""Optuna's tables with the columns of a trial, and what they get."""
DISTRIBUTIONS = {
    "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1e3, log=True),
    "micro_batch_size": optuna.distributions.IntDistribution(1, 64),
    "gradient_accumulation_steps": optuna.distributions.IntDistribution(1, 64),
    "precision": optuna.distributions.CategoricalDistribution(("f32", "bf16")),
}


def main() -> None:
    arguments = parse_arguments()

    @event.listens_for(Engine, "connect")
    def configure(connection, _record) -> None:
        cursor = connection.cursor()
        if arguments.journal == "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {arguments.sync}")
        cursor.close()

    print(json.dumps({"seconds": TASKS[arguments.task](arguments)}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("file")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--values", type=int, default=100)
    parser.add_argument("--journal", choices=("wal", "default"), default="wal")
    parser.add_argument("--sync", choices=("FULL", "NORMAL", "OFF"), default="FULL")
    return parser.parse_args()


def storage(arguments: argparse.Namespace) -> RDBStorage:
    return RDBStorage(f"sqlite:///{arguments.file}")


def study(arguments: argparse.Namespace) -> optuna.Study:
    return optuna.create_study(study_name=NAME, storage=storage(arguments), load_if_exists=True)


def hyperparams(trial: int) -> dict:
    return {"learning_rate": 1e-5 * (1 + trial), "micro_batch_size": 8, "gradient_accumulation_steps": 2, "precision": "bf16"}


def value(step: int, trial: int) -> float:
    return 4 / (1 + step) + trial % 97 / 97


def template(trial: int, state: TrialState, values: dict[int, float]) -> FrozenTrial:
    """A trial that is created with all it has in one transaction, as `Study.add_trial` does."""
    now, ends = datetime.now(), state.is_finished()
    return FrozenTrial(
        number=-1, trial_id=-1, state=state, value=values[max(values)] if ends else None, datetime_start=now,
        datetime_complete=now if ends else None, params=hyperparams(trial), distributions=DISTRIBUTIONS, user_attrs={},
        system_attrs={}, intermediate_values=values,
    )


def record(arguments: argparse.Namespace) -> float:
    here = study(arguments)
    start = time.perf_counter()
    for trial in range(arguments.trials):
        values = {step: value(step, trial) for step in range(1, arguments.values + 1)}
        here.add_trial(template(trial, TrialState.COMPLETE, values))
    return time.perf_counter() - start


def fill(arguments: argparse.Namespace) -> float:
    """A file to read from: its first trial as Optuna records it, the others copied from it in Optuna's own tables."""
    start = time.perf_counter()
    record(argparse.Namespace(**{**vars(arguments), "trials": 1}))
    with sqlite3.connect(arguments.file) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"""
            INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
            WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n + 1 < {arguments.trials})
            SELECT n, study_id, state, datetime_start, datetime_complete FROM trials, count""")
        for table, columns in COPIED.items():
            names = ", ".join(columns)
            database.execute(f"""
                INSERT INTO {table} (trial_id, {names}) SELECT t.trial_id, {", ".join(columns.values())}
                FROM trials AS t, {table} AS one WHERE t.number > 0 AND one.trial_id = 1 ORDER BY t.trial_id, 2""")
    database.close()
    return time.perf_counter() - start


def create(arguments: argparse.Namespace) -> float:
    here = study(arguments)
    start = time.perf_counter()
    for trial in range(arguments.trials):
        here._storage.create_new_trial(here._study_id, template_trial=template(trial, TrialState.RUNNING, {}))
    return time.perf_counter() - start


def append(arguments: argparse.Namespace) -> float:
    here = study(arguments)
    number = here._storage.create_new_trial(here._study_id, template_trial=template(0, TrialState.RUNNING, {}))
    start = time.perf_counter()
    for step in range(1, arguments.values + 1):
        here._storage.set_trial_intermediate_value(number, step, value(step, 0))
    return time.perf_counter() - start


def open_study(arguments: argparse.Namespace) -> float:
    start = time.perf_counter()
    optuna.load_study(study_name=NAME, storage=storage(arguments))
    return time.perf_counter() - start


def best(arguments: argparse.Namespace) -> float:
    start = time.perf_counter()
    found = optuna.load_study(study_name=NAME, storage=storage(arguments)).best_trial
    assert found.params
    return time.perf_counter() - start


def everything(arguments: argparse.Namespace) -> float:
    start = time.perf_counter()
    trials = optuna.load_study(study_name=NAME, storage=storage(arguments)).get_trials(deepcopy=False)
    assert sum(len(trial.intermediate_values) for trial in trials) > 0
    return time.perf_counter() - start


TASKS = {
    "record": record, "create": create, "append-durable": append, "append": append, "open": open_study, "best": best,
    "all": everything, "history": everything, "fill": fill,
}


if __name__ == "__main__":
    main()
