"""Looks for the largest micro-batch with diapason's search and with other tools', on the same measured memory.

Each case is a memory curve of real training steps (`cargo bench --bench memory_curves`) under a cap drawn at
random. A tool that tries a size gets what the curve says: it passes, or it is out of memory. Counted are tries,
those that ran out of memory, the size returned over the true maximum, sizes returned that do not fit or were
never tried, and seconds: for each try the time of the tool's steps at that size, measured with the curve. A try
of ours is a process of its own that reads the model, takes two steps, evaluates and writes a checkpoint
(`fit` then times smaller sizes in it, which is left out: no other tool does); a try of the others is one step (Lightning: three) in a process that goes on, and one step where it fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

import machine  # noqa: E402
from curves import Case, draw, read  # noqa: E402
from finders import FINDERS, Search  # noqa: E402

CURVES = machine.ROOT / "results" / "kept" / "memory-curves" / "curves.json"
RESULTS = machine.ROOT / "results" / "peers" / "batch_finders.md"
OURS = "diapason"


@dataclass(frozen=True)
class Score:
    """What a search came to in one case."""

    probes: int
    crashes: int
    share: float
    """Of the true maximum, in per cent; 0 where the size returned does not fit."""
    unsafe: bool
    """The size returned does not fit."""
    untried: bool
    """The size returned was never tried, or failed when it was."""
    seconds: float


METRICS = (
    ("tries", "", "lower", lambda score: score.probes),
    ("out of memory", "", "lower", lambda score: score.crashes),
    ("result over true maximum", "%", "higher", lambda score: score.share),
    ("exact", "% of cases", "higher", lambda score: 100.0 * (score.share == 100.0)),
    ("returned and does not fit", "% of cases", "lower", lambda score: 100.0 * score.unsafe),
    ("returned untried", "% of cases", "lower", lambda score: 100.0 * score.untried),
    ("time", "s", "lower", lambda score: score.seconds),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="batch_finders.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {finder.name:20} {finder.what}" for finder in FINDERS.values()),
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="tools to compare with (default: all)")
    parser.add_argument("--cases", type=int, default=240, help="curves under a cap (default: 240, at least 200)")
    parser.add_argument("--seed", type=int, default=5, help="of the caps (default: 5)")
    parser.add_argument("--curves", type=Path, default=CURVES, help="what memory_curves wrote (default: the kept ones)")
    parser.add_argument("--keep", action="store_true", help=f"write a partial run to {RESULTS.name} too")
    parser.add_argument("--check", action="store_true", help="check the arguments and stop")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--binary", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.rows if name not in FINDERS]
    if unknown:
        parser.error(f"no row named {', '.join(unknown)}; rows are: {', '.join(FINDERS)}")
    if arguments.cases < 200:
        parser.error("--cases must be at least 200: a mean of fewer says little")
    if not arguments.curves.exists():
        parser.error(f"{arguments.curves} does not exist; `cargo bench --bench memory_curves -- FILE` writes it")
    return arguments


def start_seconds(binary: Path) -> float:
    """What it takes to start our program and end it: the median of nine."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([str(binary), "--version"], check=True, capture_output=True)
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(9))


def ours_of(executable: Path, path: Path, cases: list[Case]) -> list[Search]:
    """Our search in every case."""
    asked = json.dumps([{"curve": case.curve.name, "cap": case.cap} for case in cases])
    done = subprocess.run([str(executable), str(path)], input=asked, capture_output=True, text=True, check=True)
    answers = zip(cases, json.loads(done.stdout))
    return [
        Search([(size, case.curve.fits(size, case.cap)) for size in answer["probes"]], answer["result"] or 0)
        for case, answer in answers
    ]


def score(case: Case, search: Search, seconds: float) -> Score:
    """A search against the truth."""
    unsafe = search.result > case.truth
    return Score(
        probes=len(search.probes),
        crashes=sum(not passed for _, passed in search.probes),
        share=0.0 if unsafe else 100.0 * search.result / case.truth,
        unsafe=unsafe,
        untried=(search.result, True) not in search.probes,
        seconds=seconds,
    )


def ours_scores(cases: list[Case], searches: list[Search], start: float) -> list[Score]:
    """Of our search: whole probes, each in a process of its own."""
    return [
        score(case, search, sum(start + case.curve.probe(size) for size, _ in search.probes))
        for case, search in zip(cases, searches)
    ]


def peer_scores(cases: list[Case], name: str) -> list[Score]:
    """Of a tool: its steps, or the one that failed."""
    finder = FINDERS[name]
    scores = []
    for case in cases:
        search = finder.search(case)
        steps = ((size, finder.steps if passed else 1) for size, passed in search.probes)
        scores.append(score(case, search, sum(count * case.curve.step(size) for size, count in steps)))
    return scores


def figure(name: str, metric: tuple, ours: list[Score], peer: list[Score]) -> dict:
    """One metric of one tool beside ours, as a row of the JSON object: means over all cases."""
    label, unit, better, value = metric
    a, b = (statistics.fmean(map(value, scores)) for scores in (ours, peer))
    return {"row": name, "metric": label, "unit": unit, "ours": round(a, 3), "peer": round(b, 3),
            "ratio": round(a / b, 3) if b else None, "better": better, "n": len(ours)}


def markdown(scores: dict[str, list[Score]]) -> str:
    """One line a tool: the mean of each metric, and the worst of the counts and of the share."""
    head = ["tool"] + [f"{label}{', ' + unit if unit else ''} {'↑' if better == 'higher' else '↓'}"
                       for label, unit, better, _ in METRICS]
    lines = [head, ["---"] + ["--:"] * len(METRICS)]
    for name, of in scores.items():
        lines.append([f"**{name}**" if name == OURS else name] + [cell(metric, of) for metric in METRICS])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cell(metric: tuple, scores: list[Score]) -> str:
    """The mean, and the worst case where one can be worse than the mean says."""
    label, unit, better, value = metric
    values = [value(score) for score in scores]
    if "cases" in unit:
        return f"{statistics.fmean(values):.0f}"
    worst = min(values) if better == "higher" else max(values)
    digits = 0 if unit == "%" else 2
    return f"{statistics.fmean(values):.{digits}f} ({worst:.{0 if unit != 's' else 2}f})"


def versions(names: list[str]) -> dict[str, str]:
    """Of both sides."""
    packages = dict.fromkeys(package for name in names if (package := FINDERS[name].package))
    return {OURS: f"{machine.crate_version()} ({machine.commit()})"} | {name: metadata.version(name) for name in packages}


def document(scores: dict[str, list[Score]], cases: list[Case], found: dict[str, str], start: float, seed: int) -> str:
    """The table with what a reader needs to judge it."""
    truths = [case.truth for case in cases]
    curves = len({case.curve.name for case in cases})
    whats = "\n".join(f"- {finder.name}: {finder.what}" for finder in FINDERS.values() if finder.name in scores)
    return (
        "# The largest micro-batch: diapason's search against other tools'\n\n"
        f"{machine.describe()}; {date.today()}; {', '.join(f'{name} {version}' for name, version in found.items())}.\n"
        f"{len(cases)} cases (seed {seed}) on {curves} measured memory curves, true maxima {min(truths)} to "
        f"{max(truths)}, median {statistics.median(truths):.0f}. Means, worst case in brackets.\n"
        f"Seconds are of the steps that were tried, as measured with the curves; those of ours are whole probes in "
        f"processes of their own ({1000 * start:.0f} ms to start one).\n"
        "Made by `benches/peers/batch_finders.sh`; curves: `results/kept/memory-curves/`.\n\n"
        f"{markdown(scores)}\n\n{whats}\n"
    )


def main() -> int:
    arguments = parse_arguments()
    if arguments.check:
        return 0
    if arguments.ours is None or arguments.binary is None:
        print("batch_finders.sh: --ours is missing; start benches/peers/batch_finders.sh instead", file=sys.stderr)
        return 2
    names = arguments.rows or list(FINDERS)
    found = versions(names)
    cases = draw(read(arguments.curves), arguments.cases, arguments.seed)
    start = start_seconds(arguments.binary)
    ours = ours_scores(cases, ours_of(arguments.ours, arguments.curves, cases), start)
    # What the tools say of themselves is no part of the table.
    with contextlib.redirect_stdout(sys.stderr):
        scores = {OURS: ours} | {name: peer_scores(cases, name) for name in names}
    text = document(scores, cases, found, start, arguments.seed)
    if set(names) == set(FINDERS) and arguments.curves == CURVES or arguments.keep:
        RESULTS.write_text(text)
        print(f"written: {RESULTS}", file=sys.stderr)
    print(text)
    rows = [figure(name, metric, ours, scores[name]) for name in names for metric in METRICS]
    print(json.dumps({"bench": "batch_finders", "machine": machine.describe(), "date": str(date.today()),
                      "versions": found, "rows": rows}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
