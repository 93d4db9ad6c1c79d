"""What ran the benchmark: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from rows import GIB

ROOT = Path(__file__).resolve().parents[3]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Those that decide the speed of a step."""


def cpu_fields() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def instructions() -> set[str]:
    """Which of `INSTRUCTIONS` the processor has."""
    return set(INSTRUCTIONS) & set(cpu_fields().get("flags", "").split())


def describe() -> str:
    """Processor, instruction sets that matter here, cores, memory, system."""
    fields = cpu_fields()
    sets = [name for name in INSTRUCTIONS if name in instructions()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    name = fields.get("model name", platform.machine())
    system = f"{platform.system()} {platform.release()}"
    return f"{name}, {os.cpu_count()} cores ({' '.join(sets)}), {memory:.0f} GiB, {system}"


@cache
def versions() -> dict[str, str]:
    """Of both sides, as they were when first asked for; the peers' are those of the running interpreter's environment."""
    found = {"diapason": f"{crate_version()} ({commit()})", "python": platform.python_version()}
    for name in ("torch", "transformers", "peft"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def crate_version() -> str:
    """The version in Cargo.toml."""
    match = re.search(r'^version = "(.*?)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    return match.group(1) if match else "unknown"


def commit() -> str:
    """The short commit of the working tree, marked where tracked files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"
