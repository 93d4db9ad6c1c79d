"""One measured process: how it is started, what it reports, and how it fails."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
from dataclasses import dataclass

from rows import GIB, THREADS, Case

# What src/executor/local/command.rs sets for the trials of a study: freed tensors stay with the process.
# Both sides get it, so that neither maps, zeroes and unmaps every large tensor in every step. It
# buys speed with memory: at a vocabulary of 49152 PyTorch's peak is a fifth higher than with the
# allocator's defaults, which is why the driver can also run both sides with those.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_ARENA_MAX": "1",
}
MEMORY_LIMIT = 12 * GIB
"""No child may hold more: a search for the largest size must not starve the machine."""
TIME_LIMIT_SECONDS = 3600
TAIL_LINES = 15
OUT_OF_MEMORY = ("out of memory", "memory allocation of", "MemoryError", "allocate memory", "DefaultCPUAllocator")


class SideError(Exception):
    """A side that crashed or said something else than it should."""

    def __init__(self, case: str, side: str, reason: str, tail: str = "") -> None:
        ending = f"; its last lines:\n{tail}" if tail else ""
        super().__init__(f"row {case}, {side}: {reason}{ending}")


class OutOfMemory(SideError):
    """A side that reached the memory limit."""


@dataclass(frozen=True)
class Side:
    """One of the two programs compared."""

    name: str
    command: tuple[str, ...]
    is_ours: bool


@dataclass(frozen=True)
class Report:
    """What one process measured of itself."""

    tokens_per_step: int
    step_seconds: list[float]
    losses: list[float]
    idle_rss_bytes: int
    peak_rss_bytes: int

    @property
    def tokens_per_second(self) -> float:
        """Of the median step, the warm-up step left out."""
        return self.tokens_per_step / statistics.median(self.step_seconds[1:])


@dataclass(frozen=True)
class Setting:
    """What holds for every process of a case."""

    malloc: str = "tuned"
    """`tuned` as for our trials, or `default`, the allocator's own behaviour."""
    options: tuple[str, ...] = ()
    """Weights and text, as both sides take them on their command line."""


def environment(case: Case, side: Side, malloc: str = "tuned") -> dict[str, str]:
    """The same allocator settings and thread count on both sides, and the case's own variables."""
    held = case.ours if side.is_ours else case.peer
    inherited = {name: value for name, value in os.environ.items() if name not in MALLOC}
    return {**inherited, **(MALLOC if malloc == "tuned" else {}), "RAYON_NUM_THREADS": str(THREADS), **held}


def limit_memory() -> None:
    """Runs in the child: private writable memory past the limit is refused."""
    # Not RLIMIT_AS: PyTorch maps gigabytes of libraries that it never touches.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))


def run(case: Case, side: Side, micro_batch: int, steps: int, setting: Setting) -> Report:
    """Runs one side once, in a fresh process.

    Raises OutOfMemory where the child died of the memory limit, SideError for anything else.
    """
    command = [*side.command, case.row.name, "--micro-batch", str(micro_batch), "--steps", str(steps), *setting.options]
    try:
        done = subprocess.run(
            command,
            env=environment(case, side, setting.malloc),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT_SECONDS,
            preexec_fn=limit_memory,
        )
    except OSError as error:
        raise SideError(case.name, side.name, f"cannot start {command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SideError(case.name, side.name, f"not done after {TIME_LIMIT_SECONDS} s") from error
    if done.returncode != 0:
        raise failure(case, side, done)
    return parse(case, side, done.stdout, micro_batch, steps)


def failure(case: Case, side: Side, done: subprocess.CompletedProcess[str]) -> SideError:
    """The error of a child that did not exit with 0."""
    tail = "\n".join(done.stderr.splitlines()[-TAIL_LINES:])
    code = done.returncode
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    kind = OutOfMemory if any(words in done.stderr for words in OUT_OF_MEMORY) else SideError
    return kind(case.name, side.name, f"failed ({how})", tail or "(nothing on stderr)")


def parse(case: Case, side: Side, stdout: str, micro_batch: int, steps: int) -> Report:
    """Reads the JSON line and checks that it is about the work asked for."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SideError(case.name, side.name, "printed no JSON line", stdout[-500:])
    try:
        said = json.loads(lines[-1])
        report = Report(**{name: said[name] for name in Report.__dataclass_fields__})
        ran = (said["row"], said["micro_batch"], said["sequence_length"], len(report.step_seconds))
    except (ValueError, KeyError, TypeError) as error:
        raise SideError(case.name, side.name, f"its JSON line is not readable: {error!r}", lines[-1]) from error
    asked = (case.row.name, micro_batch, case.row.sequence_length, steps)
    if ran != asked:
        raise SideError(case.name, side.name, f"ran (row, micro-batch, sequence, steps) {ran}, not {asked}")
    return report
