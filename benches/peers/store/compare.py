"""The study's database next to Optuna's in SQLite: the same trials and values, in turns, on the same disk.

Both sides hold the same number of trials with the same number of intermediate values. Writes are timed on small files
of their own; waits on files of --trials trials, in fresh processes, the import of Python's modules not counted.
Optuna's SQLite is set as ours is (a write-ahead log, `synchronous` FULL, or NORMAL where a row says that a value
outlives the process only); the row "as Optuna comes" leaves it its rollback journal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

import machine  # noqa: E402

HERE = Path(__file__).resolve().parent
RESULTS = machine.ROOT / "results" / "peers" / "store.md"


@dataclass(frozen=True)
class Row:
    """One thing that is timed."""

    name: str
    what: str
    task: str
    unit: str
    """`…/s`, of `count` things, or `s` of one."""
    count: int = 1
    trials: int = 0
    values: int = 0
    peer: tuple[str, ...] = ()
    reads: bool = False


WRITES = [
    Row("create", "trials created, each on the disk before the next", "create", "trials/s", 200, trials=200),
    Row("record", "trials of 100 values recorded, each on the disk before the next", "record", "trials/s", 50, 50, 100),
    Row("append-durable", "values appended one by one, each on the disk before the next", "append-durable", "values/s",
        300, values=300),
    Row("append-default", "the same, as Optuna comes", "append-durable", "values/s", 300, values=300,
        peer=("--journal", "default")),
    Row("append", "values appended one by one, each outlives the process", "append", "values/s", 1000, values=1000,
        peer=("--sync", "NORMAL")),
]
READS = [
    Row("open", "open the study", "open", "s", reads=True),
    Row("best", "open it and find the best trial", "best", "s", reads=True),
    Row("history", "open it and read what the next suggestion rests on", "history", "s", reads=True),
    Row("all", "open it and read every trial with every value", "all", "s", reads=True),
]
SIZE = Row("size", "bytes of the file for each value", "record", "B")
ROWS = [*WRITES, *READS, SIZE]


@dataclass(frozen=True)
class Figure:
    """A row's values on both sides, in the order measured."""

    row: Row
    trials: int
    ours: list[float]
    peer: list[float]

    @property
    def better(self) -> str:
        return "higher" if self.row.unit.endswith("/s") else "lower"

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.peer)

    @property
    def name(self) -> str:
        return f"{self.row.name}, {self.trials:,} trials" if self.trials else self.row.name

    def as_json(self) -> dict:
        return {
            "row": self.name, "metric": self.row.what, "unit": self.row.unit, "ours": statistics.median(self.ours),
            "peer": statistics.median(self.peer), "ratio": self.ratio, "better": self.better, "n": len(self.ours),
        }

    def cells(self) -> list[str]:
        ahead = self.ratio > 1 if self.better == "higher" else self.ratio < 1
        ratio = f"{self.ratio:.3g}×"
        unit = f"{self.row.unit} {'↑' if self.better == 'higher' else '↓'}"
        return [self.name, self.row.what, unit, shown(self.ours), shown(self.peer), f"**{ratio}**" if ahead else ratio,
                str(len(self.ours))]


def shown(values: list[float]) -> str:
    """The median with the range."""
    digits = 0 if statistics.median(values) >= 100 else 1 if statistics.median(values) >= 10 else 4
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="store.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {row.name:15} {row.what}" for row in ROWS),
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run (default: all)")
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000], help="trials of the files that are read")
    parser.add_argument("--values", type=int, default=100, help="values of each trial (default: 100)")
    parser.add_argument("--alternations", type=int, default=3, help="runs per side and row (default: 3, at least 3)")
    parser.add_argument("--folder", type=Path, help="where the files are made (default: the system's temporary folder)")
    parser.add_argument("--check", action="store_true", help="check the arguments and stop")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no row named {', '.join(sorted(unknown))}; rows are: {', '.join(row.name for row in ROWS)}")
    if arguments.alternations < 3:
        parser.error("--alternations must be at least 3: a median of fewer says little")
    return arguments


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


class Sides:
    """Both programs, and the folder their files are in."""

    def __init__(self, ours: Path, folder: Path) -> None:
        self.commands = {"ours": [str(ours)], "peer": [sys.executable, str(HERE / "optuna_side.py")]}
        self.folder = folder

    def seconds(self, side: str, row: Row, file: Path) -> float:
        counts = [f"--trials={row.trials}", f"--values={row.values}"] if row.trials or row.values else []
        only_peer = row.peer if side == "peer" else []
        command = [*self.commands[side], row.task, str(file), *counts, *only_peer]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"store.sh: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])["seconds"]

    def alternate(self, row: Row, trials: int, alternations: int, file) -> Figure:
        found: dict[str, list[float]] = {"ours": [], "peer": []}
        for turn in range(alternations):
            for side, values in found.items():
                seconds = self.seconds(side, row, file(side, turn))
                values.append(seconds if row.unit == "s" else row.count / seconds)
            say(f"{row.name} {turn + 1}/{alternations}: ours {found['ours'][-1]:.4g}, Optuna {found['peer'][-1]:.4g} {row.unit}")
        return Figure(row, trials, found["ours"], found["peer"])

    def fill(self, trials: int, values: int) -> dict[str, Path]:
        """Files to read from; how they are written is not timed here, and the peer's is copied from one trial."""
        files = {}
        for side, task in (("ours", "record"), ("peer", "fill")):
            files[side] = self.folder / f"{side}-{trials}.db"
            seconds = self.seconds(side, Row("fill", "", task, "s", trials=trials, values=values), files[side])
            say(f"{side}: {trials} trials × {values} values recorded in {seconds:.0f} s")
        return files


def size(trials: int, values: int, files: dict[str, Path]) -> Figure:
    """Bytes a value; both files are whole, for the last process that had them open has ended."""
    ours, peer = ([files[side].stat().st_size / (trials * values)] for side in ("ours", "peer"))
    return Figure(SIZE, trials, ours, peer)


def versions() -> dict[str, str]:
    from importlib import metadata
    import sqlite3
    return {"diapason": f"{machine.crate_version()} ({machine.commit()})", "optuna": metadata.version("optuna"),
            "sqlalchemy": metadata.version("sqlalchemy"), "Optuna's sqlite": sqlite3.sqlite_version}


def document(figures: list[Figure], load: float) -> str:
    head = ["row", "what", "unit", "ours (min–max)", "Optuna (min–max)", "ours / Optuna", "n"]
    lines = [head, ["---", "---", "---", "--:", "--:", "--:", "--:"], *(figure.cells() for figure in figures)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        "# The study's database: diapason against Optuna's SQLite storage\n\n"
        f"{machine.describe()}; {date.today()}; {found}; load average at the start {load:.1f}.\n"
        f"{__doc__.split(chr(10), 2)[2].strip()}\nMade by `benches/peers/store.sh`.\n\n{table}\n"
    )


def main() -> int:
    arguments = parse_arguments()
    if arguments.check:
        return 0
    if arguments.ours is None:
        say("store.sh: --ours is missing; start benches/peers/store.sh instead")
        return 2
    wanted = set(arguments.rows or [row.name for row in ROWS])
    load, figures = os.getloadavg()[0], []
    versions()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        sides = Sides(arguments.ours, Path(folder))
        for row in (row for row in WRITES if row.name in wanted):
            figures.append(sides.alternate(row, 0, arguments.alternations,
                                           lambda side, turn, row=row: sides.folder / f"{row.name}-{side}-{turn}.db"))
        reads = [row for row in READS if row.name in wanted]
        for trials in arguments.trials if reads or SIZE.name in wanted else []:
            files = sides.fill(trials, arguments.values)
            figures += [sides.alternate(row, trials, arguments.alternations, lambda side, _: files[side]) for row in reads]
            figures += [size(trials, arguments.values, files)] if SIZE.name in wanted else []
    text = document(figures, load)
    if wanted == {row.name for row in ROWS}:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(text)
        say(f"written: {RESULTS}")
    print(text)
    print(json.dumps({"bench": "store", "machine": machine.describe(), "date": str(date.today()), "versions": versions(),
                      "rows": [figure.as_json() for figure in figures]}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
