#!/usr/bin/env python3
"""Records sweeps of real fine-tuning runs as tables for the comparison of searches.

    python3 benches/peers/search/record.py --binary target/release/diapason        # every task; goes on where it stopped
    python3 benches/peers/search/record.py --binary … --tasks definitions-lora      # some
    python3 benches/peers/search/record.py --pack                                  # only write tables/ from what is there

Each cell of a grid is one run of the program's own trial child (`diapason worker`): it trains up to 1/16 of its
steps, evaluates, is started again from its checkpoint up to 1/8, and so on to the end, as promotions do. What it
said is appended to a file of the work folder; a table in `tables/` holds those numbers and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

import machine  # noqa: E402
from sweeps import DATA, TASKS, Task, cells  # noqa: E402

HERE = Path(__file__).resolve().parent
TABLES = HERE / "tables"
LEVELS = (0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of a run's steps after which it is evaluated."""
MICRO_BATCH = 16
"""Most examples at once; larger batches are accumulated, which leaves the loss as it is."""
ENVIRONMENT = {
    # What the driver gives its children (src/executor/local/command.rs); one thread, because two runs go side by side.
    "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864", "MALLOC_ARENA_MAX": "1",
    "RAYON_NUM_THREADS": "1", "CANDLE_NUM_THREADS": "1",
}


def main() -> int:
    arguments = parse_arguments()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    tasks = [TASKS[name] for name in arguments.tasks or TASKS]
    if not arguments.pack:
        record(tasks, arguments.binary.resolve(), work, arguments.parallel)
    for task in tasks:
        pack(task, work)
    return 0


def parse_arguments() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="tasks:\n" + "\n".join(f"  {task.name:26} {task.what}" for task in TASKS.values()))
    parser.add_argument("--binary", type=Path, default=machine.ROOT / "target" / "release" / "diapason")
    parser.add_argument("--work", type=Path, default=caches / "diapason" / "sweeps", help="data sets, checkpoints, raw runs")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", choices=list(TASKS), help="default: all")
    parser.add_argument("--parallel", type=int, default=2, help="runs side by side, one thread each (default: 2)")
    parser.add_argument("--pack", action="store_true", help="run nothing, write the tables")
    return parser.parse_args()


def record(tasks: list[Task], binary: Path, work: Path, parallel: int) -> None:
    """Runs every cell that is not in the work folder yet."""
    for task in tasks:
        prepare(task, binary, work)
        file = work / f"{task.name}.jsonl"
        done = {(json.dumps(run["hyperparameters"], sort_keys=True), run["seed"]) for run in read_runs(file)}
        left = [cell for cell in cells(task) if (json.dumps(cell[0], sort_keys=True), cell[1]) not in done]
        print(f"{task.name}: {len(done)} runs are there, {len(left)} to do", file=sys.stderr, flush=True)
        lock = threading.Lock()

        def one(cell, task=task, file=file, lock=lock) -> None:
            run = measure(task, *cell, binary, work)
            with lock, file.open("a") as out:
                out.write(json.dumps(run) + "\n")

        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(one, left))
        pack(task, work)


def read_runs(file: Path) -> list[dict]:
    """What was measured; a last line cut off by a kill is no run."""
    if not file.exists():
        return []
    runs = []
    for line in file.read_text().splitlines():
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return runs


def prepare(task: Task, binary: Path, work: Path) -> None:
    """Makes the tokenized data set, and the model where it is a new one, by the shortest possible `tune`."""
    folder = work / "data" / task.data
    if (folder / "data.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    study = work / "data" / f"{task.data}.toml"
    data = DATA[task.data]
    source = data.source(work / "data", machine.ROOT)
    if data.make_model and not data.model(folder, machine.ROOT).exists():
        data.make_model(data.model(folder, machine.ROOT), machine.ROOT)
    study.write_text(data.study(source, folder, machine.ROOT))
    subprocess.run([str(binary), "tune", str(study)], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def stopped_at(run: dict) -> float | None:
    """Share of the run at which it diverged; none where it did not."""
    step = run["last_word"].get("step")
    return None if run["outcome"] == "completed" or step is None else step / run["total_steps"]


def parameters_of(model: Path) -> int:
    """Parameters of a model, by the shapes in its file."""
    with (model / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def data_facts(folder: Path) -> dict:
    """What the header and the lengths of a tokenized data set (src/data/cache.rs) say."""
    with (folder / "data.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        start, end = header["train.lengths"]["data_offsets"]
        file.seek(8 + size + start)
        lengths = [value for (value,) in struct.iter_unpack("<Q", file.read(end - start))]
    validation = header["validation.lengths"]["shape"][0]
    digest = json.loads(header["__metadata__"]["diapason"])["digest"]
    return {"train_examples": len(lengths), "train_tokens": sum(lengths), "validation_examples": validation, "digest": digest}


def measure(task: Task, hyperparameters: dict, seed: int, binary: Path, work: Path) -> dict:
    """One run to its end, rung by rung."""
    batch = hyperparameters["effective_batch_size"]
    total = max(len(LEVELS), round(task.epochs * data_facts(work / "data" / task.data)["train_examples"] / batch))
    steps = [max(at, round(level * total)) for at, level in enumerate(LEVELS, start=1)]
    name = "-".join(f"{value:g}" for value in hyperparameters.values())
    checkpoint = work / "checkpoints" / f"{task.name}-{name}-{seed}"
    # What a killed recording left behind would be gone on with, and its first levels never heard.
    shutil.rmtree(checkpoint, ignore_errors=True)
    began, heard, outcome = time.monotonic(), [], None
    started = {}
    for level, stop in zip(LEVELS, steps):
        spec = specification(task, hyperparameters, seed, total, stop, checkpoint, work)
        outcome, evaluations, started, seconds = rung(spec, binary)
        heard += [(level, loss, seconds) for step, loss in evaluations if step == stop]
        if outcome["event"] != "finished":
            break
        if len(heard) != LEVELS.index(level) + 1:
            raise RuntimeError(f"no evaluation at step {stop}: {spec}")
    shutil.rmtree(checkpoint, ignore_errors=True)
    return {
        "hyperparameters": hyperparameters, "seed": seed, "total_steps": total, "steps": steps,
        "outcome": {"finished": "completed"}.get(outcome["event"], outcome["event"]),
        "last_word": {key: value for key, value in outcome.items() if key in ("step", "class", "message", "live", "cap")},
        "curve": [[level, loss] for level, loss, _ in heard],
        "seconds": round(sum(seconds for *_, seconds in heard), 2), "wall_seconds": round(time.monotonic() - began, 2),
        "device": started.get("device"), "dtype": started.get("dtype"), "version": started.get("version"),
        "parameters": started.get("parameters"), "commit": source_commit(), "recorded": str(date.today()),
    }


@cache
def source_commit() -> str:
    """The last commit that touched what the binary is built from."""
    command = ["git", "-C", str(machine.ROOT), "log", "-1", "--format=%h", "--", "src", "Cargo.lock"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def pack(task: Task, work: Path) -> None:
    """Writes the table of a task, if every cell of it is there."""
    folder, runs = work / "data" / task.data, read_runs(work / f"{task.name}.jsonl")
    wanted = cells(task)
    by_cell = {(json.dumps(run["hyperparameters"], sort_keys=True), run["seed"]): run for run in runs}
    found = [by_cell.get((json.dumps(cell, sort_keys=True), seed)) for cell, seed in wanted]
    if None in found:
        print(f"{task.name}: {found.count(None)} of {len(wanted)} runs are missing, no table yet", file=sys.stderr)
        return
    facts = data_facts(folder)
    said = ("device", "dtype", "version", "parameters", "commit", "recorded")
    once = {key: sorted({run[key] for run in found}, key=str) for key in said}
    once["threads"] = [int(ENVIRONMENT["RAYON_NUM_THREADS"])]
    head = {
        "table": task.name, "what": task.what, "direction": "minimize", "metric": "validation loss, nats per scored token",
        "machine": machine.describe(), **{key: values[0] if len(values) == 1 else values for key, values in once.items()},
        "model_parameters": parameters_of(DATA[task.data].model(folder, machine.ROOT)),
        "data": {"what": DATA[task.data].what, **facts}, "from_nothing": bool(DATA[task.data].new_model), "epochs": task.epochs, "lora_rank": task.lora_rank,
        "schedule": task.schedule, "warmup_fraction": task.warmup_fraction, "weight_decay": task.weight_decay,
        "max_grad_norm": task.max_grad_norm, "seeds": [*task.seeds, task.second_seed], "resume": True,
        "levels": list(LEVELS), "default": task.default,
        "space": task.grid, "columns": ["hyperparameters", "seed", "outcome", "curve", "total_steps", "seconds", "stopped_at"],
    }
    rows = [json.dumps([[run["hyperparameters"][name] for name in task.grid], run["seed"], run["outcome"],
                        run["curve"], run["total_steps"], run["seconds"], stopped_at(run)], separators=(",", ":")) for run in found]
    body = json.dumps(head, indent=1).removesuffix("\n}") + ',\n "runs": [\n' + ",\n".join(rows) + "\n ]\n}\n"
    TABLES.mkdir(exist_ok=True)
    (TABLES / f"{task.name}.json").write_text(body)
    print(f"written: {TABLES / task.name}.json, {len(body) / 1000:.0f} kB", file=sys.stderr)


def specification(task: Task, hyperparameters: dict, seed: int, total: int, stop: int, checkpoint: Path, work: Path) -> dict:
    """What `src/trial/spec.rs` reads."""
    batch = hyperparameters["effective_batch_size"]
    micro = min(batch, MICRO_BATCH)
    folder = work / "data" / task.data
    rank = hyperparameters.get("lora_rank", task.lora_rank)
    lora = rank and {"rank": rank, "alpha": 2.0 * rank, "dropout": 0.0, "targets": ["all-linear"], "rslora": False}
    return {
        "device": "cpu", "model": str(DATA[task.data].model(folder, machine.ROOT)), "dataset": str(folder / "data.safetensors"),
        "hyperparams": {
            "precision": task.precision, "micro_batch_size": micro, "gradient_accumulation_steps": batch // micro,
            "learning_rate": hyperparameters["learning_rate"],
        },
        "train": {
            "seed": seed, "total_steps": total, "schedule": task.schedule,
            "warmup_fraction": hyperparameters.get("warmup_fraction", task.warmup_fraction),
            "optimizer": "adamw", "weight_decay": hyperparameters.get("weight_decay", task.weight_decay),
            "max_grad_norm": task.max_grad_norm, "gradient_checkpointing": False,
            "validation_examples": 256, "eval_micro_batch_size": 16, "lora": lora or None,
        },
        "task": {"kind": "train", "stop_at_step": stop, "evaluate_every": 10**9, "checkpoint": str(checkpoint), "best": None},
    }


def rung(spec: dict, binary: Path) -> tuple[dict, list, dict, float]:
    """One child: its last word, its evaluations, how it started, and its seconds of steps and evaluations."""
    child = subprocess.run([str(binary), "worker"], input=json.dumps(spec), text=True, capture_output=True,
                           env=os.environ | ENVIRONMENT)
    events = [json.loads(line) for line in child.stdout.splitlines() if line.strip()]
    if not events:
        raise RuntimeError(f"the child said nothing: {child.stderr[-2000:]}")
    last = events[-1]
    if last["event"] in ("failed", "started", "step", "eval"):
        raise RuntimeError(f"a run that says nothing of the hyperparameters: {last} {child.stderr[-2000:]}")
    evaluations = [(event["step"], event["loss_nats"]) for event in events if event["event"] == "eval"]
    seconds = sum(event["seconds"] for event in events if event["event"] in ("step", "eval"))
    started = next((event for event in events if event["event"] == "started"), {})
    return last, evaluations, started, seconds


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
