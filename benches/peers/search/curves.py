"""Regret curves of many runs: made in parallel, and kept so that no run is made twice."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import tables
from ours import Mode, Ours, command
from peers import PEERS
from simulate import regret_curve, simulate

OURS = "diapason"
Curve = list[tuple[float, float]]
HERE = Path(__file__).resolve().parent
RULES = ("simulate.py", "tables.py")
"""Their text is part of a kept curve's key: another rule makes other curves."""


@dataclass(frozen=True)
class Order:
    """One run to make."""

    search: str
    table: str
    seed: int
    horizon: float
    default: bool = False
    workers: int = 1
    timed: bool = False
    mode: Mode | None = None
    """Of ours only."""


@dataclass(frozen=True)
class Kitchen:
    """Where runs are made and kept."""

    executable: Path | None
    cache: Path
    processes: int


def key_of(order: Order) -> str:
    """What a peer's curve depends on."""
    peer = PEERS[order.search]
    packages = {name: metadata.version(name) for name in peer.packages}
    facts = [asdict(order), tables.digest(order.table), packages, rules(), peer.code]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


@cache
def rules() -> str:
    """The digest of how runs are metered and judged."""
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in RULES)).hexdigest()[:16]


def make(order: Order, executable: Path | None) -> Curve:
    """Makes one run."""
    table = tables.read(order.table)
    default = table.default if order.default else None
    if order.search == OURS:
        search = Ours(command(executable), table, order.seed, default, order.mode or Mode())
    else:
        search = PEERS[order.search].make(table, order.seed, default)
    return regret_curve(simulate(search, table, order.seed, order.horizon, order.workers, order.timed), table)


def kept_file(kitchen: Kitchen, order: Order) -> Path:
    return kitchen.cache / f"{order.search}--{order.table.replace('/', '-')}.jsonl"


def read_kept(file: Path) -> dict[str, Curve]:
    """The curves of a file by key; a line cut off is none."""
    found = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            key, curve = json.loads(line)
        except ValueError:
            continue
        found[key] = [tuple(step) for step in curve]
    return found


def batch(orders: list[Order], executable: Path | None) -> list[Curve]:
    """Runs of one search on one table, in one process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return [make(order, executable) for order in orders]


def all_of(orders: Iterable[Order], kitchen: Kitchen) -> dict[Order, Curve]:
    """Every run that was ordered; peers' come from the cache where they are there, ours are always made anew."""
    orders = list(dict.fromkeys(orders))
    kitchen.cache.mkdir(parents=True, exist_ok=True)
    kept, keys, found, missing = {}, {}, {}, []
    for order in orders:
        if order.search == OURS:
            missing.append(order)
            continue
        file = kept_file(kitchen, order)
        kept.setdefault(file, None)
        if kept[file] is None:
            kept[file] = read_kept(file)
        keys[order] = key_of(order)
        if keys[order] in kept[file]:
            found[order] = kept[file][keys[order]]
        else:
            missing.append(order)
    if missing:
        run(missing, kitchen, keys, found)
    return {order: found[order] for order in orders}


def run(missing: list[Order], kitchen: Kitchen, keys: dict[Order, str], found: dict[Order, Curve]) -> None:
    """Makes what is missing, a few runs of one search at a time, and keeps peers' as they come."""
    portions = portion(missing)
    print(f"search.sh: {len(missing)} runs to make", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(kitchen.processes) as pool:
        futures = [(orders, pool.submit(batch, orders, kitchen.executable)) for orders in portions]
        for done, (orders, future) in enumerate(futures, start=1):
            for order, curve in zip(orders, future.result()):
                found[order] = curve
                if order.search != OURS:
                    with kept_file(kitchen, order).open("a") as out:
                        out.write(json.dumps([keys[order], curve]) + "\n")
            if done % 50 == 0:
                print(f"search.sh: {done} of {len(portions)} portions", file=sys.stderr, flush=True)


def portion(orders: list[Order], size: int = 5) -> list[list[Order]]:
    """Orders of one search on one table together, so that a process reads few tables."""
    groups: dict[tuple[str, str], list[Order]] = {}
    for order in orders:
        groups.setdefault((order.table, order.search), []).append(order)
    return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]
