"""Trains the same rows with diapason and with PyTorch, alternately, and compares what it took.

Every measurement is a fresh process. Per row: tokens/s of the median step, peak RSS, RSS above
what the process held before model and data, and the largest micro-batch whose peak RSS stays
within 3 GiB. `training.sh` prepares both sides and starts this; --ours can name any program that
speaks as the benchmark executable does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from datetime import date
from pathlib import Path

import machine
from largest import largest_within
from measure import OutOfMemory, Report, Setting, Side, SideError, run
from rows import GIB, MIB, ROWS, Case, cases
from table import Figure, markdown

CAP = 3 * GIB
PROBE_STEPS = 2
"""The optimizer's state is made in the first step and first met by a forward pass in the second."""
RESULTS = machine.ROOT / "results" / "peers" / "training.md"
SAME_LOSS = 0.05
"""First losses of two random initializations lie this near; farther apart is other work."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {row.name:7} {row.what}" for row in ROWS.values()),
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run (default: all)")
    parser.add_argument("--alternations", type=int, default=3, help="runs per side and row (default: 3, at least 3)")
    parser.add_argument("--no-largest", action="store_true", help="leave out the largest micro-batch")
    parser.add_argument("--malloc", choices=("tuned", "default"), default="tuned",
                        help="of both sides: tuned for speed as in our trials (default), or left as it is")
    parser.add_argument("--model", type=Path, help="folder in the Hugging Face layout, for the rows d-*")
    parser.add_argument("--tokens", type=Path, help="little-endian u32 token ids to train on")
    parser.add_argument("--keep", action="store_true",
                        help=f"write the table of a partial run or another malloc to {RESULTS.name} too")
    parser.add_argument("--check", action="store_true", help="check the arguments and stop")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row named {', '.join(unknown)}; rows are: {', '.join(ROWS)}")
    if arguments.alternations < 3:
        parser.error("--alternations must be at least 3: a median of fewer says little")
    for path in (arguments.model, arguments.tokens):
        if path is not None and not path.exists():
            parser.error(f"{path} does not exist")
    return arguments


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def setting_of(case: Case, arguments: argparse.Namespace) -> Setting:
    """The allocator, weights and text of every process of a case."""
    given: list[str] = []
    if arguments.model is not None and case.row.name.startswith("d-"):
        given += ["--model", str(arguments.model.resolve())]
    if arguments.tokens is not None:
        given += ["--tokens", str(arguments.tokens.resolve())]
    return Setting(arguments.malloc, tuple(given))


def alternate(
    case: Case, sides: tuple[Side, Side], alternations: int, setting: Setting
) -> tuple[list[Report], list[Report]]:
    """Ours, theirs, ours, theirs …, each in a fresh process."""
    reports: tuple[list[Report], list[Report]] = ([], [])
    for turn in range(alternations):
        for side, kept in zip(sides, reports):
            report = run(case, side, case.row.micro_batch, case.row.steps, setting)
            kept.append(report)
            say(f"{case.name} {turn + 1}/{alternations} {side.name}: {report.tokens_per_second:.0f} tokens/s, "
                f"peak {report.peak_rss_bytes / MIB:.0f} MiB, loss {report.losses[0]:.4f} → {report.losses[-1]:.4f}")
    return reports


def figures_of(case: Case, ours: list[Report], peer: list[Report]) -> list[Figure]:
    """Speed and memory of one case."""

    def figure(metric: str, unit: str, better: str, value) -> Figure:
        return Figure(case.name, metric, unit, better, [value(r) for r in ours], [value(r) for r in peer])

    return [
        figure("speed", "tokens/s", "higher", lambda r: r.tokens_per_second),
        figure("peak RSS", "MiB", "lower", lambda r: r.peak_rss_bytes / MIB),
        figure("RSS above idle", "MiB", "lower", lambda r: (r.peak_rss_bytes - r.idle_rss_bytes) / MIB),
    ]


def largest(case: Case, side: Side, report: Report, setting: Setting) -> int:
    """The largest micro-batch of one side under the cap; starts from what `report` measured."""

    def peak_of(size: int) -> int | None:
        try:
            peak = run(case, side, size, PROBE_STEPS, setting).peak_rss_bytes
        except OutOfMemory:
            say(f"{case.name} {side.name}: micro-batch {size} died of memory")
            return None
        say(f"{case.name} {side.name}: micro-batch {size} peaks at {peak / MIB:.0f} MiB")
        return peak

    size, _ = largest_within(CAP, peak_of, {case.row.micro_batch: report.peak_rss_bytes})
    say(f"{case.name} {side.name}: largest micro-batch under {CAP / GIB:.0f} GiB is {size}")
    return size


def loss_note(case: Case, ours: list[Report], peer: list[Report], same_weights: bool) -> str:
    """One line that shows both sides at the same work; warns where their losses lie apart."""
    a, b = ours[0].losses, peer[0].losses
    worst = max(abs(x - y) / abs(y) for x, y in zip(a, b)) if same_weights else abs(a[0] - b[0]) / abs(b[0])
    which = "largest relative difference over all steps" if same_weights else "random weights of each side's own"
    apart = not math.isfinite(worst) or worst > SAME_LOSS
    note = f"{case.name}: loss {a[0]:.4f} → {a[-1]:.4f} ours, {b[0]:.4f} → {b[-1]:.4f} PyTorch ({which}"
    return note + (f": {worst:.1e})" if same_weights else ")") + ("; **these are not the same task**" if apart else "")


def measure(case: Case, sides: tuple[Side, Side], arguments: argparse.Namespace) -> tuple[list[Figure], str]:
    """Every figure of one case, and the note on its losses."""
    setting = setting_of(case, arguments)
    ours, peer = alternate(case, sides, arguments.alternations, setting)
    figures = figures_of(case, ours, peer)
    if case.has_largest and not arguments.no_largest:
        sizes = [largest(case, side, reports[0], setting) for side, reports in zip(sides, (ours, peer))]
        metric = f"largest micro-batch under {CAP // GIB} GiB"
        figures.append(Figure(case.name, metric, "", "higher", [sizes[0]], [sizes[1]]))
    return figures, loss_note(case, ours, peer, "--model" in setting.options)


def document(figures: list[Figure], notes: list[str], load: float, malloc: str) -> str:
    """The table with what a reader needs to judge it."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    rows = "\n".join(f"- {note}" for note in notes)
    return (
        "# Training: diapason against PyTorch\n\n"
        f"{machine.describe()}; {date.today()}; {versions}; load average at the start {load:.1f}.\n"
        f"Medians of fresh processes, run alternately; two threads and {malloc} malloc on both sides.\n"
        "Made by `benches/peers/training.sh`.\n\n"
        f"{markdown(figures)}\n\n{rows}\n"
    )


def keep(text: str, arguments: argparse.Namespace, failed: bool) -> None:
    """Writes the table into the results folder; a part of it would hide the rest of the last one."""
    whole = set(arguments.rows or ROWS) == set(ROWS) and not arguments.no_largest and not failed
    if not (whole and arguments.malloc == "tuned" or arguments.keep):
        say(f"a partial run, or one of another setting: {RESULTS} stays as it was (--keep to write it)")
        return
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(text)
    say(f"written: {RESULTS}")


def main() -> int:
    arguments = parse_arguments()
    if arguments.check:
        return 0
    if arguments.ours is None:
        say("training.sh: --ours is missing; start benches/peers/training.sh instead")
        return 2
    load = os.getloadavg()[0]
    # Now: the tree may change while the executable runs.
    machine.versions()
    peer_command = (sys.executable, str(Path(__file__).with_name("pytorch_step.py")))
    sides = (Side("ours", (str(arguments.ours),), True), Side("PyTorch", peer_command, False))
    figures: list[Figure] = []
    notes: list[str] = []
    failures: list[str] = []
    for case in cases(arguments.rows or list(ROWS), machine.instructions()):
        try:
            measured, note = measure(case, sides, arguments)
        except SideError as error:
            # The other rows are worth their minutes all the same.
            failures.append(str(error))
            say(f"training.sh: {error}")
            continue
        figures += measured
        notes.append(note)
    notes += [f"failed: {failure.splitlines()[0]}" for failure in failures]
    text = document(figures, notes, load, arguments.malloc)
    keep(text, arguments, bool(failures))
    print(text)
    print(json.dumps({
        "bench": "training", "machine": machine.describe(), "date": str(date.today()),
        "versions": machine.versions(), "rows": [figure.as_json() for figure in figures],
    }, ensure_ascii=False))
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
